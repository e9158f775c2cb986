//! Limits of resources: getrlimit(2), setrlimit(2), prlimit(2).

use std::ffi::{c_int, c_uint};

use libc::{pid_t, rlimit64};

use super::{answer, caller};
use crate::machine::cluster;
use crate::machine::descriptors::Errno;
use crate::machine::limits::{Limit, OPEN_FILES};
use crate::machine::proc::process_number;
use crate::machine::real::real;
use crate::machine::world::Process;

/// Sets a limit, if one is given, and tells the former.
fn exchange(process: Process, kind: c_uint, new: Option<rlimit64>) -> Result<rlimit64, Errno> {
    let machine = process.machine;
    let former = cluster::with(process.run, |run| {
        let former = run.limits.get(machine, kind)?;
        if let Some(rlimit64 { rlim_cur: soft, rlim_max: hard }) = new {
            run.limits.set(machine, kind, Limit { soft, hard })?;
        }
        Ok::<_, Errno>(former)
    })?;
    Ok(rlimit64 { rlim_cur: former.soft, rlim_max: former.hard })
}

/// # Safety
/// As prlimit(2).
#[unsafe(no_mangle)]
unsafe extern "C" fn prlimit64(pid: pid_t, kind: c_uint, new: *const rlimit64, old: *mut rlimit64) -> c_int {
    let Some(process) = caller() else {
        // SAFETY: as ours.
        return unsafe {
            real!("prlimit64", fn(pid_t, c_uint, *const rlimit64, *mut rlimit64) -> c_int)(
                pid, kind, new, old,
            )
        };
    };
    if pid != 0 && pid != process_number(process) {
        return answer(Err(libc::ESRCH));
    }
    // SAFETY: prlimit(2): both are null, or valid for a read and for a write.
    let former = exchange(process, kind, unsafe { new.as_ref() }.copied());
    answer(former.map(|former| {
        if !old.is_null() {
            // SAFETY: as above.
            unsafe { old.write(former) };
        }
        0
    }))
}

/// Functions that are prlimit(2) under other names. On a 64-bit system those with a number in their names are the same.
macro_rules! limits {
    ($($name:literal $function:ident($($argument:ident: $type:ty),*) of $kind:ident of $pid:expr, $new:expr, $old:expr;)*) => {$(
        /// # Safety
        /// As getrlimit(2).
        #[unsafe(no_mangle)]
        unsafe extern "C" fn $function($($argument: $type),*) -> c_int {
            match caller() {
                // SAFETY: as ours.
                Some(_) => unsafe { prlimit64($pid, $kind, $new, $old) },
                // SAFETY: as ours.
                None => unsafe { real!($name, fn($($type),*) -> c_int)($($argument),*) },
            }
        }
    )*};
}

limits! {
    "prlimit" prlimit(pid: pid_t, kind: c_uint, new: *const rlimit64, old: *mut rlimit64) of kind of pid, new, old;
    "getrlimit" getrlimit(kind: c_uint, limit: *mut rlimit64) of kind of 0, std::ptr::null(), limit;
    "getrlimit64" getrlimit64(kind: c_uint, limit: *mut rlimit64) of kind of 0, std::ptr::null(), limit;
    "setrlimit" setrlimit(kind: c_uint, limit: *const rlimit64) of kind of 0, limit, std::ptr::null_mut();
    "setrlimit64" setrlimit64(kind: c_uint, limit: *const rlimit64) of kind of 0, limit, std::ptr::null_mut();
}

/// # Safety
/// As getdtablesize(3).
#[unsafe(no_mangle)]
unsafe extern "C" fn getdtablesize() -> c_int {
    match caller() {
        Some(process) => open_files(process) as c_int,
        // SAFETY: as ours.
        None => unsafe { real!("getdtablesize", fn() -> c_int)() },
    }
}

/// How many files a process may have open.
pub(super) fn open_files(process: Process) -> u64 {
    let limit = cluster::with(process.run, |run| run.limits.get(process.machine, OPEN_FILES));
    limit.map_or(u64::MAX, |limit| limit.soft)
}
