//! What a machine does not have: other processes, and other sources of events. fork(2), inotify_init(2) and their kin fail as where a kernel lacks them.

use std::ffi::{c_char, c_int, c_long, c_uint, c_void};

use libc::pid_t;

use super::answer;
use super::paths::{confined, refused};
use crate::machine::real::real;
use crate::schema::system_use::SystemCall;

pub(super) const PROCESSES: &str = "refused processes";
const EVENTS: &str = "refused sources of events";
const SHARED: &str = "refused objects shared by processes";
const ALARMS: &str = "refused alarms";
const NEW_FILES: &str = "refused newer calls on files";
const TREES: &str = "refused walks over directories";

macro_rules! refuses {
    ($kind:ident, $what:expr; $($name:literal $function:ident($($argument:ident: $type:ty),*) -> $result:ty;)*) => {$(
        /// # Safety
        /// As the C library's.
        #[unsafe(no_mangle)]
        unsafe extern "C" fn $function($($argument: $type),*) -> $result {
            match confined() {
                Some(process) => answer(refused(process, SystemCall::$kind, $what, libc::ENOSYS)),
                // SAFETY: as ours.
                None => unsafe { real!($name, fn($($type),*) -> $result)($($argument),*) },
            }
        }
    )*};
}

refuses! { Process, PROCESSES;
    "fork" fork() -> pid_t;
    "execve" execve(path: *const c_char, arguments: *const *const c_char, environment: *const *const c_char) -> c_int;
    "execv" execv(path: *const c_char, arguments: *const *const c_char) -> c_int;
    "execvp" execvp(path: *const c_char, arguments: *const *const c_char) -> c_int;
    "system" system(command: *const c_char) -> c_int;
    "execvpe" execvpe(path: *const c_char, arguments: *const *const c_char, environment: *const *const c_char) -> c_int;
    "fexecve" fexecve(fd: c_int, arguments: *const *const c_char, environment: *const *const c_char) -> c_int;
}

/// fork(2) under another name, as POSIX allows: a stand-in cannot return twice on one stack.
///
/// # Safety
/// As vfork(2).
#[unsafe(no_mangle)]
unsafe extern "C" fn vfork() -> pid_t {
    // SAFETY: as ours.
    unsafe { fork() }
}

refuses! { Process, SHARED;
    "shm_open" shm_open(name: *const c_char, flags: c_int, mode: libc::mode_t) -> c_int;
    "shm_unlink" shm_unlink(name: *const c_char) -> c_int;
    "mq_open" mq_open(name: *const c_char, flags: c_int, mode: libc::mode_t, attributes: *const c_void) -> c_int;
    "mq_unlink" mq_unlink(name: *const c_char) -> c_int;
    "shmget" shmget(key: libc::key_t, size: usize, flags: c_int) -> c_int;
    "semget" semget(key: libc::key_t, count: c_int, flags: c_int) -> c_int;
    "msgget" msgget(key: libc::key_t, flags: c_int) -> c_int;
}

/// # Safety
/// As sem_open(3), whose mode and value do not matter here.
#[unsafe(no_mangle)]
unsafe extern "C" fn sem_open(
    name: *const c_char,
    flags: c_int,
    mode: libc::mode_t,
    value: c_uint,
) -> *mut libc::sem_t {
    match confined() {
        Some(process) => {
            answer::<c_int>(refused(process, SystemCall::Process, SHARED, libc::ENOSYS));
            std::ptr::null_mut()
        }
        // SAFETY: as ours.
        None => unsafe {
            real!("sem_open", fn(*const c_char, c_int, libc::mode_t, c_uint) -> *mut libc::sem_t)(
                name, flags, mode, value,
            )
        },
    }
}

refuses! { Other, EVENTS;
    "inotify_init" inotify_init() -> c_int;
    "inotify_init1" inotify_init1(flags: c_int) -> c_int;
    "fanotify_init" fanotify_init(flags: c_uint, file_flags: c_uint) -> c_int;
    "signalfd" signalfd(fd: c_int, mask: *const libc::sigset_t, flags: c_int) -> c_int;
    "sigwaitinfo" sigwaitinfo(mask: *const libc::sigset_t, information: *mut libc::siginfo_t) -> c_int;
    "sigtimedwait" sigtimedwait(mask: *const libc::sigset_t, information: *mut libc::siginfo_t, timeout: *const libc::timespec) -> c_int;
    "sigsuspend" sigsuspend(mask: *const libc::sigset_t) -> c_int;
}

refuses! { Other, ALARMS;
    "setitimer" setitimer(which: c_int, value: *const libc::itimerval, before: *mut libc::itimerval) -> c_int;
    "timer_create" timer_create(clock: libc::clockid_t, event: *mut c_void, timer: *mut c_void) -> c_int;
}

/// # Safety
/// As alarm(2), which knows no error: the alarm is counted as refused, and there was none before.
#[unsafe(no_mangle)]
unsafe extern "C" fn alarm(seconds: c_uint) -> c_uint {
    match confined() {
        Some(process) => {
            let _ = refused::<()>(process, SystemCall::Other, ALARMS, libc::ENOSYS);
            0
        }
        // SAFETY: as ours.
        None => unsafe { real!("alarm", fn(c_uint) -> c_uint)(seconds) },
    }
}

/// # Safety
/// As sigwait(3), which returns the error.
#[unsafe(no_mangle)]
unsafe extern "C" fn sigwait(mask: *const libc::sigset_t, signal: *mut c_int) -> c_int {
    match confined() {
        Some(process) => {
            refused(process, SystemCall::Other, EVENTS, libc::ENOSYS).unwrap_or_else(|code| code)
        }
        // SAFETY: as ours.
        None => unsafe { real!("sigwait", fn(*const libc::sigset_t, *mut c_int) -> c_int)(mask, signal) },
    }
}

refuses! { File, TREES;
    "utime" utime(path: *const c_char, times: *const c_void) -> c_int;
    "utimes" utimes(path: *const c_char, times: *const c_void) -> c_int;
    "lutimes" lutimes(path: *const c_char, times: *const c_void) -> c_int;
    "futimesat" futimesat(directory: c_int, path: *const c_char, times: *const c_void) -> c_int;
    "lockf" lockf(fd: c_int, command: c_int, length: libc::off_t) -> c_int;
    "lockf64" lockf64(fd: c_int, command: c_int, length: libc::off64_t) -> c_int;
    "scandir" scandir(path: *const c_char, list: *mut c_void, filter: *const c_void, order: *const c_void) -> c_int;
    "scandir64" scandir64(path: *const c_char, list: *mut c_void, filter: *const c_void, order: *const c_void) -> c_int;
    "ftw" ftw(path: *const c_char, function: *const c_void, depth: c_int) -> c_int;
    "ftw64" ftw64(path: *const c_char, function: *const c_void, depth: c_int) -> c_int;
    "nftw" nftw(path: *const c_char, function: *const c_void, depth: c_int, flags: c_int) -> c_int;
    "nftw64" nftw64(path: *const c_char, function: *const c_void, depth: c_int, flags: c_int) -> c_int;
    "glob" glob(pattern: *const c_char, flags: c_int, function: *const c_void, found: *mut c_void) -> c_int;
    "glob64" glob64(pattern: *const c_char, flags: c_int, function: *const c_void, found: *mut c_void) -> c_int;
}

/// A disk has no extended attributes (xattr(7)).
macro_rules! attributes {
    ($($name:literal $function:ident($($argument:ident: $type:ty),*) -> $result:ty;)*) => {$(
        /// # Safety
        /// As the C library's.
        #[unsafe(no_mangle)]
        unsafe extern "C" fn $function($($argument: $type),*) -> $result {
            match confined() {
                Some(_) => answer(Err(libc::EOPNOTSUPP)),
                // SAFETY: as ours.
                None => unsafe { real!($name, fn($($type),*) -> $result)($($argument),*) },
            }
        }
    )*};
}

attributes! {
    "getxattr" getxattr(path: *const c_char, name: *const c_char, to: *mut c_void, room: usize) -> isize;
    "lgetxattr" lgetxattr(path: *const c_char, name: *const c_char, to: *mut c_void, room: usize) -> isize;
    "fgetxattr" fgetxattr(fd: c_int, name: *const c_char, to: *mut c_void, room: usize) -> isize;
    "setxattr" setxattr(path: *const c_char, name: *const c_char, from: *const c_void, length: usize, flags: c_int) -> c_int;
    "lsetxattr" lsetxattr(path: *const c_char, name: *const c_char, from: *const c_void, length: usize, flags: c_int) -> c_int;
    "fsetxattr" fsetxattr(fd: c_int, name: *const c_char, from: *const c_void, length: usize, flags: c_int) -> c_int;
    "listxattr" listxattr(path: *const c_char, list: *mut c_char, room: usize) -> isize;
    "llistxattr" llistxattr(path: *const c_char, list: *mut c_char, room: usize) -> isize;
    "flistxattr" flistxattr(fd: c_int, list: *mut c_char, room: usize) -> isize;
    "removexattr" removexattr(path: *const c_char, name: *const c_char) -> c_int;
    "lremovexattr" lremovexattr(path: *const c_char, name: *const c_char) -> c_int;
    "fremovexattr" fremovexattr(fd: c_int, name: *const c_char) -> c_int;
}

/// Returns the error, instead of setting errno.
macro_rules! spawns {
    ($($name:literal $function:ident;)*) => {$(
        /// # Safety
        /// As posix_spawn(3).
        #[unsafe(no_mangle)]
        unsafe extern "C" fn $function(
            pid: *mut pid_t,
            path: *const c_char,
            actions: *const c_void,
            attributes: *const c_void,
            arguments: *const *mut c_char,
            environment: *const *mut c_char,
        ) -> c_int {
            match confined() {
                Some(process) => {
                    refused(process, SystemCall::Process, PROCESSES, libc::ENOSYS).unwrap_or_else(|code| code)
                }
                // SAFETY: as ours.
                None => unsafe {
                    type Spawn = unsafe extern "C" fn(
                        *mut pid_t,
                        *const c_char,
                        *const c_void,
                        *const c_void,
                        *const *mut c_char,
                        *const *mut c_char,
                    ) -> c_int;
                    real!(@ $name, Spawn)(pid, path, actions, attributes, arguments, environment)
                },
            }
        }
    )*};
}

spawns! {
    "posix_spawn" posix_spawn;
    "posix_spawnp" posix_spawnp;
}

/// Whether a call by its number is one of these.
pub(in crate::host) fn is_refused(number: c_long) -> bool {
    let (call, what) = match number {
        libc::SYS_clone3 | libc::SYS_execve | libc::SYS_pidfd_open => (SystemCall::Process, PROCESSES),
        libc::SYS_mq_open | libc::SYS_shmget | libc::SYS_semget | libc::SYS_msgget => {
            (SystemCall::Process, SHARED)
        }
        libc::SYS_setitimer | libc::SYS_timer_create => (SystemCall::Other, ALARMS),
        libc::SYS_io_uring_setup
        | libc::SYS_rt_sigtimedwait
        | libc::SYS_rt_sigsuspend
        | libc::SYS_inotify_init1
        | libc::SYS_fanotify_init
        | libc::SYS_signalfd4
        | libc::SYS_perf_event_open
        | libc::SYS_userfaultfd => (SystemCall::Other, EVENTS),
        // Who asks so has another way, for a Linux without it.
        libc::SYS_openat2
        | libc::SYS_fchmodat2
        | libc::SYS_name_to_handle_at
        | libc::SYS_open_by_handle_at
        | libc::SYS_preadv2
        | libc::SYS_pwritev2
        | libc::SYS_splice
        | libc::SYS_tee
        | libc::SYS_vmsplice => (SystemCall::File, NEW_FILES),
        _ => return false,
    };
    confined().is_some_and(|process| refused::<()>(process, call, what, libc::ENOSYS).is_err())
}
