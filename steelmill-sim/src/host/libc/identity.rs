//! What a program learns of the machine and the process it runs on: CPUs, host name, numbers of processes and threads.
//!
//! The machine of the simulation answers, not the one that simulates, so that a run repeats elsewhere.

use std::ffi::{c_char, c_int, c_long, c_uint};

use libc::{cpu_set_t, pid_t, size_t, utsname};

use super::{answer, caller, guest, limits};
use crate::machine::cluster;
use crate::machine::descriptors::Errno;
use crate::machine::proc::{CPUS, FREE, MEMORY, PAGE, PARENT, process_number};
use crate::machine::real::real;
use crate::machine::threads::{current_task, is_main_thread};
use crate::machine::world::Process;
use crate::schema::task::TaskId;

fn name_of(process: Process) -> String {
    cluster::with(process.run, |run| run.hosts[process.machine].name.to_string())
}

/// Copies a name and a zero, cut to the room; whether it fitted.
///
/// # Safety
/// `to` is valid for a write of `room` bytes.
unsafe fn copy(name: &str, to: *mut c_char, room: usize) -> bool {
    let length = name.len().min(room.saturating_sub(1));
    if room > 0 {
        // SAFETY: as the caller says.
        unsafe {
            std::ptr::copy_nonoverlapping(name.as_ptr(), to.cast::<u8>(), length);
            to.add(length).write(0);
        }
    }
    length == name.len()
}

/// # Safety
/// As sched_getaffinity(2).
#[unsafe(no_mangle)]
unsafe extern "C" fn sched_getaffinity(pid: pid_t, size: size_t, cpus: *mut cpu_set_t) -> c_int {
    if caller().is_none() {
        // SAFETY: as ours.
        return unsafe {
            real!("sched_getaffinity", fn(pid_t, size_t, *mut cpu_set_t) -> c_int)(pid, size, cpus)
        };
    }
    if size * 8 < CPUS {
        return answer(Err(libc::EINVAL));
    }
    // SAFETY: sched_getaffinity(2): `cpus` has `size` bytes, which hold as many bits as are set.
    unsafe {
        cpus.cast::<u8>().write_bytes(0, size);
        cpus.cast::<u8>().write((1 << CPUS) - 1);
    }
    0
}

/// Every CPU of a machine is like the others, so it makes no difference.
///
/// # Safety
/// As sched_setaffinity(2).
#[unsafe(no_mangle)]
unsafe extern "C" fn sched_setaffinity(pid: pid_t, size: size_t, cpus: *const cpu_set_t) -> c_int {
    match caller() {
        Some(_) => 0,
        // SAFETY: as ours.
        None => unsafe {
            real!("sched_setaffinity", fn(pid_t, size_t, *const cpu_set_t) -> c_int)(pid, size, cpus)
        },
    }
}

/// # Safety
/// As pthread_getaffinity_np(3).
#[unsafe(no_mangle)]
unsafe extern "C" fn pthread_getaffinity_np(
    thread: libc::pthread_t,
    size: size_t,
    cpus: *mut cpu_set_t,
) -> c_int {
    match caller() {
        // SAFETY: as ours.
        Some(_) => match unsafe { sched_getaffinity(0, size, cpus) } {
            0 => 0,
            _ => libc::EINVAL,
        },
        // SAFETY: as ours.
        None => unsafe {
            real!("pthread_getaffinity_np", fn(libc::pthread_t, size_t, *mut cpu_set_t) -> c_int)(
                thread, size, cpus,
            )
        },
    }
}

/// # Safety
/// As pthread_setaffinity_np(3).
#[unsafe(no_mangle)]
unsafe extern "C" fn pthread_setaffinity_np(
    thread: libc::pthread_t,
    size: size_t,
    cpus: *const cpu_set_t,
) -> c_int {
    match caller() {
        Some(_) => 0,
        // SAFETY: as ours.
        None => unsafe {
            real!("pthread_setaffinity_np", fn(libc::pthread_t, size_t, *const cpu_set_t) -> c_int)(
                thread, size, cpus,
            )
        },
    }
}

/// # Safety
/// As sysconf(3).
#[unsafe(no_mangle)]
unsafe extern "C" fn sysconf(name: c_int) -> c_long {
    match name {
        libc::_SC_NPROCESSORS_ONLN | libc::_SC_NPROCESSORS_CONF if caller().is_some() => CPUS as c_long,
        libc::_SC_PHYS_PAGES if caller().is_some() => (MEMORY / PAGE) as c_long,
        libc::_SC_OPEN_MAX if let Some(process) = caller() => limits::open_files(process) as c_long,
        libc::_SC_AVPHYS_PAGES if caller().is_some() => (FREE / PAGE) as c_long,
        // SAFETY: as ours.
        _ => unsafe { real!("sysconf", fn(c_int) -> c_long)(name) },
    }
}

/// # Safety
/// As gethostname(2).
#[unsafe(no_mangle)]
unsafe extern "C" fn gethostname(name: *mut c_char, room: size_t) -> c_int {
    let Some(process) = caller() else {
        // SAFETY: as ours.
        return unsafe { real!("gethostname", fn(*mut c_char, size_t) -> c_int)(name, room) };
    };
    // SAFETY: as ours.
    match unsafe { copy(&name_of(process), name, room) } {
        true => 0,
        false => answer(Err(libc::ENAMETOOLONG)),
    }
}

/// # Safety
/// As uname(2).
#[unsafe(no_mangle)]
unsafe extern "C" fn uname(names: *mut utsname) -> c_int {
    // SAFETY: as ours.
    let result = unsafe { real!("uname", fn(*mut utsname) -> c_int)(names) };
    if let Some(process) = caller().filter(|_| result == 0) {
        // SAFETY: uname(2): the struct is valid for a write.
        unsafe {
            let node = &mut (*names).nodename;
            copy(&name_of(process), node.as_mut_ptr(), node.len());
        }
    }
    result
}

/// # Safety
/// As getpid(2).
#[unsafe(no_mangle)]
unsafe extern "C" fn getpid() -> pid_t {
    match caller() {
        Some(process) => process_number(process),
        // SAFETY: as ours.
        None => unsafe { real!("getpid", fn() -> pid_t)() },
    }
}

/// # Safety
/// As gettid(2).
#[unsafe(no_mangle)]
unsafe extern "C" fn gettid() -> pid_t {
    match guest() {
        // A main thread's is its process's; others have numbers that no process has.
        Some(process) if is_main_thread() => process_number(process),
        Some(_) => (1 << 20) + TaskId::of(current_task()).slot() as pid_t,
        // SAFETY: as ours.
        None => unsafe { real!("gettid", fn() -> pid_t)() },
    }
}

/// # Safety
/// As getppid(2).
#[unsafe(no_mangle)]
unsafe extern "C" fn getppid() -> pid_t {
    match caller() {
        Some(_) => PARENT,
        // SAFETY: as ours.
        None => unsafe { real!("getppid", fn() -> pid_t)() },
    }
}

/// # Safety
/// As sched_getcpu(3).
#[unsafe(no_mangle)]
unsafe extern "C" fn sched_getcpu() -> c_int {
    match caller() {
        Some(_) => 0,
        // SAFETY: as ours.
        None => unsafe { real!("sched_getcpu", fn() -> c_int)() },
    }
}

/// # Safety
/// As getcpu(2).
#[unsafe(no_mangle)]
unsafe extern "C" fn getcpu(cpu: *mut c_uint, node: *mut c_uint) -> c_int {
    if caller().is_none() {
        // SAFETY: as ours.
        return unsafe { real!("getcpu", fn(*mut c_uint, *mut c_uint) -> c_int)(cpu, node) };
    }
    // SAFETY: getcpu(2): each is null, or valid for a write.
    let places = unsafe { [cpu.as_mut(), node.as_mut()] };
    places.into_iter().flatten().for_each(|place| *place = 0);
    0
}

/// The process leads a session and a group of its own, as what an init system starts.
fn group_of(process: Process, pid: pid_t) -> Result<pid_t, Errno> {
    let own = process_number(process);
    if pid == 0 || pid == own { Ok(own) } else { Err(libc::ESRCH) }
}

macro_rules! groups {
    ($($name:literal $function:ident;)*) => {$(
        /// # Safety
        /// As the system call of that name.
        #[unsafe(no_mangle)]
        unsafe extern "C" fn $function(pid: pid_t) -> pid_t {
            match caller() {
                Some(process) => answer(group_of(process, pid)),
                // SAFETY: as ours.
                None => unsafe { real!($name, fn(pid_t) -> pid_t)(pid) },
            }
        }
    )*};
}

groups! {
    "getpgid" getpgid;
    "getsid" getsid;
}

/// # Safety
/// As getpgrp(2).
#[unsafe(no_mangle)]
unsafe extern "C" fn getpgrp() -> pid_t {
    match caller() {
        Some(process) => process_number(process),
        // SAFETY: as ours.
        None => unsafe { real!("getpgrp", fn() -> pid_t)() },
    }
}

/// # Safety
/// As getpriority(2).
#[unsafe(no_mangle)]
unsafe extern "C" fn getpriority(which: c_uint, who: c_uint) -> c_int {
    match caller() {
        Some(_) => 0,
        // SAFETY: as ours.
        None => unsafe { real!("getpriority", fn(c_uint, c_uint) -> c_int)(which, who) },
    }
}

/// # Safety
/// As sched_getscheduler(2).
#[unsafe(no_mangle)]
unsafe extern "C" fn sched_getscheduler(pid: pid_t) -> c_int {
    match caller() {
        Some(_) => libc::SCHED_OTHER,
        // SAFETY: as ours.
        None => unsafe { real!("sched_getscheduler", fn(pid_t) -> c_int)(pid) },
    }
}
