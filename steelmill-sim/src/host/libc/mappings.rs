//! Memory that is a file's: mmap(2), msync(2) and their kin. Other memory is the real kernel's.

use std::ffi::{c_int, c_uint, c_void};

use libc::{off64_t, size_t};

use super::transfers::finish;
use super::{answer, process_of, set_errno};
use crate::machine::cluster;
use crate::machine::descriptors::{Errno, Object};
use crate::machine::disk::MapCall;
use crate::machine::real::{self, real};
use crate::machine::runtimes::caller;
use crate::machine::world::Process;

/// Maps a file of the machine; `None` for a device, which is as memory of nobody.
fn map(process: Process, fd: c_int, call: MapCall) -> Result<Option<usize>, Errno> {
    if !call.offset.unsigned_abs().is_multiple_of(4096) {
        return Err(libc::EINVAL);
    }
    cluster::with(process.run, |run| match run.descriptors.file(process, fd)?.1.object {
        Object::File(open) if open.flags & libc::O_PATH != 0 => Err(libc::EBADF),
        _ if call.length == 0 => Err(libc::EINVAL),
        Object::File(open) => run.map_file(process, open, call).map(Some),
        Object::Content(_) if call.flags & libc::MAP_TYPE == libc::MAP_PRIVATE => {
            let length = run.file_length(process, fd)?;
            if length.is_some() { run.map_content(process, fd, call).map(Some) } else { Ok(None) }
        }
        _ => Err(libc::ENODEV),
    })
}

/// # Safety
/// As mmap(2).
#[unsafe(no_mangle)]
unsafe extern "C" fn mmap64(
    address: *mut c_void,
    length: size_t,
    protection: c_int,
    flags: c_int,
    fd: c_int,
    offset: off64_t,
) -> *mut c_void {
    let ask = |flags: c_int, fd: c_int| {
        let arguments =
            [address.addr(), length, protection as usize, flags as usize, fd as usize, offset as usize];
        usize::try_from(real::syscall(libc::SYS_mmap, arguments)).ok()
    };
    let is_of_file = flags & libc::MAP_ANONYMOUS == 0;
    let mapped = match process_of(fd).filter(|_| is_of_file) {
        Some(process) => {
            match map(process, fd, MapCall { address: address.addr(), length, protection, flags, offset }) {
                Ok(Some(at)) => Some(at),
                Ok(None) => ask(flags | libc::MAP_ANONYMOUS, -1),
                Err(code) => {
                    set_errno(code);
                    None
                }
            }
        }
        None => {
            let at = ask(flags, fd);
            if flags & libc::MAP_FIXED != 0 && at.is_some() {
                forget(address.addr(), length);
            }
            at
        }
    };
    mapped.map_or(libc::MAP_FAILED, std::ptr::with_exposed_provenance_mut)
}

/// # Safety
/// As mmap(2).
#[unsafe(no_mangle)]
unsafe extern "C" fn mmap(
    address: *mut c_void,
    length: size_t,
    protection: c_int,
    flags: c_int,
    fd: c_int,
    offset: off64_t,
) -> *mut c_void {
    // SAFETY: as ours; on a 64-bit system they are one.
    unsafe { mmap64(address, length, protection, flags, fd, offset) }
}

/// A part of memory is no longer what was mapped there.
fn forget(address: usize, length: size_t) {
    if let Some(process) = caller() {
        cluster::try_with(process.run, |run| {
            run.forget_mapped(process, address..address.saturating_add(length))
        });
    }
}

/// The process that calls, if an address is in a mapped file.
fn process_of_mapped(address: *mut c_void) -> Option<Process> {
    let process = caller()?;
    cluster::try_with(process.run, |run| run.is_mapped(address.addr()))?.then_some(process)
}

/// # Safety
/// As munmap(2).
#[unsafe(no_mangle)]
unsafe extern "C" fn munmap(address: *mut c_void, length: size_t) -> c_int {
    // SAFETY: as ours.
    let result = unsafe { real!("munmap", fn(*mut c_void, size_t) -> c_int)(address, length) };
    if result == 0 {
        forget(address.addr(), length);
    }
    result
}

/// # Safety
/// As mremap(2), whose fifth argument is read by those calls that pass it.
#[unsafe(no_mangle)]
unsafe extern "C" fn mremap(
    address: *mut c_void,
    length: size_t,
    new_length: size_t,
    flags: c_int,
    new_address: *mut c_void,
) -> *mut c_void {
    // SAFETY: as ours.
    let at = unsafe {
        real!("mremap", fn(*mut c_void, size_t, size_t, c_int, *mut c_void) -> *mut c_void)(
            address,
            length,
            new_length,
            flags,
            new_address,
        )
    };
    if at != libc::MAP_FAILED
        && let Some(process) = process_of_mapped(address)
    {
        cluster::with(process.run, |run| run.mapping_moved(address.addr(), at.addr(), new_length));
    }
    at
}

/// # Safety
/// As mprotect(2).
#[unsafe(no_mangle)]
unsafe extern "C" fn mprotect(address: *mut c_void, length: size_t, protection: c_int) -> c_int {
    if protection & libc::PROT_WRITE != 0
        && let Some(process) = process_of_mapped(address)
    {
        let at = address.addr()..address.addr() + length;
        cluster::with(process.run, |run| run.mapping_writable(at));
    }
    // SAFETY: as ours.
    unsafe { real!("mprotect", fn(*mut c_void, size_t, c_int) -> c_int)(address, length, protection) }
}

/// # Safety
/// As msync(2).
#[unsafe(no_mangle)]
unsafe extern "C" fn msync(address: *mut c_void, length: size_t, flags: c_int) -> c_int {
    let Some(process) = process_of_mapped(address) else {
        // SAFETY: as ours.
        return unsafe { real!("msync", fn(*mut c_void, size_t, c_int) -> c_int)(address, length, flags) };
    };
    if !address.addr().is_multiple_of(4096)
        || flags & (libc::MS_SYNC | libc::MS_ASYNC) == libc::MS_SYNC | libc::MS_ASYNC
    {
        return answer(Err(libc::EINVAL));
    }
    if flags & libc::MS_SYNC != 0 {
        let at = address.addr()..address.addr() + length;
        let syncs = cluster::with(process.run, |run| run.begin_sync_of_mapped(at));
        let synced = syncs.into_iter().try_for_each(|sync| finish(process, sync));
        return answer(synced.map(|()| 0));
    }
    0
}

/// Memory that is not to be written to a swap area: a machine has none, so there is nothing to do.
macro_rules! locks {
    ($($name:literal $function:ident($($argument:ident: $type:ty),*);)*) => {$(
        /// # Safety
        /// As mlock(2).
        #[unsafe(no_mangle)]
        unsafe extern "C" fn $function($($argument: $type),*) -> c_int {
            match caller() {
                Some(_) => 0,
                // SAFETY: as ours.
                None => unsafe { real!($name, fn($($type),*) -> c_int)($($argument),*) },
            }
        }
    )*};
}

locks! {
    "mlock" mlock(address: *const c_void, length: size_t);
    "mlock2" mlock2(address: *const c_void, length: size_t, flags: c_uint);
    "munlock" munlock(address: *const c_void, length: size_t);
    "mlockall" mlockall(flags: c_int);
    "munlockall" munlockall();
}
