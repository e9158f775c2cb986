//! What a machine does not have: other processes, other sources of events, and what takes a privilege. fork(2), signalfd(2),
//! mount(2) and their kin fail as where a kernel lacks them, or as for an unprivileged user. Nothing is done for real.

use std::ffi::{c_char, c_int, c_long, c_uint, c_ulong, c_void};

use libc::pid_t;

use super::paths::{confined, refused};
use super::{answer, set_errno};
use crate::machine::descriptors::Errno;
use crate::machine::real::real;
use crate::schema::system_use::SystemCall;

pub(super) const PROCESSES: &str = "refused processes";
const EVENTS: &str = "refused sources of events";
const SHARED: &str = "refused objects shared by processes";
const ALARMS: &str = "refused alarms";
const NEW_FILES: &str = "refused newer calls on files";
const TREES: &str = "refused walks over directories";
pub(super) const PRIVILEGES: &str = "refused calls that take a privilege";
const PRIORITIES: &str = "refused changes of priorities";
const TERMINALS: &str = "refused terminals";
const ASYNCHRONOUS: &str = "refused asynchronous calls of the C library";
const NAME_SERVERS: &str = "refused calls of the C library's resolver";

/// Functions that set errno and give -1.
macro_rules! refuses {
    ($kind:ident, $what:expr, $error:ident; $($name:literal $function:ident($($argument:ident: $type:ty),*) -> $result:ty;)*) => {$(
        /// # Safety
        /// As the C library's.
        #[unsafe(no_mangle)]
        unsafe extern "C" fn $function($($argument: $type),*) -> $result {
            match confined() {
                Some(process) => answer(refused(process, SystemCall::$kind, $what, libc::$error)),
                // SAFETY: as ours.
                None => unsafe { real!(@ $name, unsafe extern "C" fn($($type),*) -> $result)($($argument),*) },
            }
        }
    )*};
}

/// Functions that give their error.
macro_rules! gives_refusal {
    ($kind:ident, $what:expr, $error:ident; $($name:literal $function:ident($($argument:ident: $type:ty),*);)*) => {$(
        /// # Safety
        /// As the C library's.
        #[unsafe(no_mangle)]
        unsafe extern "C" fn $function($($argument: $type),*) -> c_int {
            match confined() {
                Some(process) => {
                    refused(process, SystemCall::$kind, $what, libc::$error).unwrap_or_else(|code| code)
                }
                // SAFETY: as ours.
                None => unsafe { real!(@ $name, unsafe extern "C" fn($($type),*) -> c_int)($($argument),*) },
            }
        }
    )*};
}

refuses! { Process, PROCESSES, ENOSYS;
    "fork" fork() -> pid_t;
    "execve" execve(path: *const c_char, arguments: *const *const c_char, environment: *const *const c_char) -> c_int;
    "execv" execv(path: *const c_char, arguments: *const *const c_char) -> c_int;
    "execvp" execvp(path: *const c_char, arguments: *const *const c_char) -> c_int;
    "system" system(command: *const c_char) -> c_int;
    "execvpe" execvpe(path: *const c_char, arguments: *const *const c_char, environment: *const *const c_char) -> c_int;
    "fexecve" fexecve(fd: c_int, arguments: *const *const c_char, environment: *const *const c_char) -> c_int;
    "execveat" execveat(directory: c_int, path: *const c_char, arguments: *const *const c_char, environment: *const *const c_char, flags: c_int) -> c_int;
    "_Fork" _Fork() -> pid_t;
    "daemon" daemon(keeps_directory: c_int, keeps_output: c_int) -> c_int;
    "wordexp" wordexp(words: *const c_char, expansion: *mut c_void, flags: c_int) -> c_int;
    "ptrace" ptrace(request: c_long, pid: pid_t, address: *mut c_void, data: *mut c_void) -> c_long;
    "process_vm_readv" process_vm_readv(pid: pid_t, to: *const c_void, to_count: c_ulong, from: *const c_void, from_count: c_ulong, flags: c_ulong) -> isize;
    "process_vm_writev" process_vm_writev(pid: pid_t, from: *const c_void, from_count: c_ulong, to: *const c_void, to_count: c_ulong, flags: c_ulong) -> isize;
    "pidfd_open" pidfd_open(pid: pid_t, flags: c_uint) -> c_int;
}

// A process of a machine has no children.
refuses! { Process, PROCESSES, ECHILD;
    "wait" wait(status: *mut c_int) -> pid_t;
    "waitpid" waitpid(pid: pid_t, status: *mut c_int, options: c_int) -> pid_t;
    "waitid" waitid(kind: c_int, id: c_uint, information: *mut libc::siginfo_t, options: c_int) -> c_int;
    "wait3" wait3(status: *mut c_int, options: c_int, usage: *mut libc::rusage) -> pid_t;
    "wait4" wait4(pid: pid_t, status: *mut c_int, options: c_int, usage: *mut libc::rusage) -> pid_t;
}

gives_refusal! { Other, EVENTS, ENOSYS;
    "pthread_cancel" pthread_cancel(thread: libc::pthread_t);
    "pthread_sigqueue" pthread_sigqueue(thread: libc::pthread_t, signal: c_int, value: *mut c_void);
}

gives_refusal! { Other, PRIORITIES, EPERM;
    "pthread_setschedparam" pthread_setschedparam(thread: libc::pthread_t, policy: c_int, parameters: *const c_void);
    "pthread_setschedprio" pthread_setschedprio(thread: libc::pthread_t, priority: c_int);
}

refuses! { Other, PRIORITIES, EPERM;
    "sched_setscheduler" sched_setscheduler(pid: pid_t, policy: c_int, parameters: *const c_void) -> c_int;
    "sched_setparam" sched_setparam(pid: pid_t, parameters: *const c_void) -> c_int;
    "setpriority" setpriority(which: c_uint, who: c_uint, priority: c_int) -> c_int;
    "nice" nice(change: c_int) -> c_int;
}

refuses! { Other, PRIVILEGES, EPERM;
    "acct" acct(path: *const c_char) -> c_int;
    "adjtime" adjtime(change: *const c_void, before: *mut c_void) -> c_int;
    "adjtimex" adjtimex(clock: *mut c_void) -> c_int;
    "clock_adjtime" clock_adjtime(clock: libc::clockid_t, change: *mut c_void) -> c_int;
    "clock_settime" clock_settime(clock: libc::clockid_t, time: *const libc::timespec) -> c_int;
    "delete_module" delete_module(name: *const c_char, flags: c_uint) -> c_int;
    "init_module" init_module(image: *mut c_void, length: c_ulong, values: *const c_char) -> c_int;
    "initgroups" initgroups(user: *const c_char, group: libc::gid_t) -> c_int;
    "klogctl" klogctl(kind: c_int, buffer: *mut c_char, length: c_int) -> c_int;
    "mount" mount(source: *const c_char, target: *const c_char, kind: *const c_char, flags: c_ulong, data: *const c_void) -> c_int;
    "ntp_adjtime" ntp_adjtime(clock: *mut c_void) -> c_int;
    "pivot_root" pivot_root(root: *const c_char, old: *const c_char) -> c_int;
    "quotactl" quotactl(command: c_int, special: *const c_char, id: c_int, address: *mut c_char) -> c_int;
    "reboot" reboot(command: c_int) -> c_int;
    "setdomainname" setdomainname(name: *const c_char, length: usize) -> c_int;
    "setgroups" setgroups(count: usize, groups: *const libc::gid_t) -> c_int;
    "sethostname" sethostname(name: *const c_char, length: usize) -> c_int;
    "setns" setns(fd: c_int, kind: c_int) -> c_int;
    "setpgid" setpgid(pid: pid_t, group: pid_t) -> c_int;
    "setsid" setsid() -> pid_t;
    "settimeofday" settimeofday(time: *const libc::timeval, zone: *const c_void) -> c_int;
    "swapoff" swapoff(path: *const c_char) -> c_int;
    "swapon" swapon(path: *const c_char, flags: c_int) -> c_int;
    "umount" umount(target: *const c_char) -> c_int;
    "umount2" umount2(target: *const c_char, flags: c_int) -> c_int;
    "unshare" unshare(flags: c_int) -> c_int;
    "vhangup" vhangup() -> c_int;
}

refuses! { File, TERMINALS, ENOSYS;
    "getpt" getpt() -> c_int;
    "posix_openpt" posix_openpt(flags: c_int) -> c_int;
    "login_tty" login_tty(fd: c_int) -> c_int;
    "openpty" openpty(master: *mut c_int, slave: *mut c_int, name: *mut c_char, settings: *const c_void, size: *const c_void) -> c_int;
    "forkpty" forkpty(master: *mut c_int, name: *mut c_char, settings: *const c_void, size: *const c_void) -> pid_t;
}

refuses! { Other, ASYNCHRONOUS, ENOSYS;
    "aio_read" aio_read(block: *mut c_void) -> c_int;
    "aio_read64" aio_read64(block: *mut c_void) -> c_int;
    "aio_write" aio_write(block: *mut c_void) -> c_int;
    "aio_write64" aio_write64(block: *mut c_void) -> c_int;
    "aio_fsync" aio_fsync(operation: c_int, block: *mut c_void) -> c_int;
    "aio_fsync64" aio_fsync64(operation: c_int, block: *mut c_void) -> c_int;
    "lio_listio" lio_listio(mode: c_int, list: *const *mut c_void, count: c_int, event: *mut c_void) -> c_int;
    "lio_listio64" lio_listio64(mode: c_int, list: *const *mut c_void, count: c_int, event: *mut c_void) -> c_int;
}

gives_refusal! { Other, ASYNCHRONOUS, EAI_SYSTEM;
    "getaddrinfo_a" getaddrinfo_a(mode: c_int, list: *mut *mut c_void, count: c_int, event: *mut c_void);
}

refuses! { Other, NAME_SERVERS, ENOSYS;
    "__res_init" __res_init() -> c_int;
    "__res_ninit" __res_ninit(state: *mut c_void) -> c_int;
    "res_query" res_query(name: *const c_char, class: c_int, kind: c_int, reply: *mut u8, room: c_int) -> c_int;
    "__res_query" __res_query(name: *const c_char, class: c_int, kind: c_int, reply: *mut u8, room: c_int) -> c_int;
    "res_search" res_search(name: *const c_char, class: c_int, kind: c_int, reply: *mut u8, room: c_int) -> c_int;
    "__res_search" __res_search(name: *const c_char, class: c_int, kind: c_int, reply: *mut u8, room: c_int) -> c_int;
    "res_nquery" res_nquery(state: *mut c_void, name: *const c_char, class: c_int, kind: c_int, reply: *mut u8, room: c_int) -> c_int;
    "__res_nquery" __res_nquery(state: *mut c_void, name: *const c_char, class: c_int, kind: c_int, reply: *mut u8, room: c_int) -> c_int;
    "res_nsearch" res_nsearch(state: *mut c_void, name: *const c_char, class: c_int, kind: c_int, reply: *mut u8, room: c_int) -> c_int;
    "__res_nsearch" __res_nsearch(state: *mut c_void, name: *const c_char, class: c_int, kind: c_int, reply: *mut u8, room: c_int) -> c_int;
    "res_send" res_send(query: *const u8, length: c_int, reply: *mut u8, room: c_int) -> c_int;
    "__res_send" __res_send(query: *const u8, length: c_int, reply: *mut u8, room: c_int) -> c_int;
}

/// # Safety
/// As clone(2), whose arguments behind these are passed on as well.
#[unsafe(no_mangle)]
unsafe extern "C" fn clone(
    function: *mut c_void,
    stack: *mut c_void,
    flags: c_int,
    argument: *mut c_void,
    parent: *mut c_void,
    locals: *mut c_void,
    child: *mut c_void,
) -> c_int {
    match confined() {
        Some(process) => answer(refused(process, SystemCall::Process, PROCESSES, libc::ENOSYS)),
        // SAFETY: as ours.
        None => unsafe {
            type Pointer = *mut c_void;
            real!("clone", fn(Pointer, Pointer, c_int, Pointer, Pointer, Pointer, Pointer) -> c_int)(
                function, stack, flags, argument, parent, locals, child,
            )
        },
    }
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

refuses! { Process, SHARED, ENOSYS;
    "shm_open" shm_open(name: *const c_char, flags: c_int, mode: libc::mode_t) -> c_int;
    "shm_unlink" shm_unlink(name: *const c_char) -> c_int;
    "mq_open" mq_open(name: *const c_char, flags: c_int, mode: libc::mode_t, attributes: *const c_void) -> c_int;
    "mq_unlink" mq_unlink(name: *const c_char) -> c_int;
    "shmget" shmget(key: libc::key_t, size: usize, flags: c_int) -> c_int;
    "semget" semget(key: libc::key_t, count: c_int, flags: c_int) -> c_int;
    "msgget" msgget(key: libc::key_t, flags: c_int) -> c_int;
    "sem_unlink" sem_unlink(name: *const c_char) -> c_int;
}

// Of what one process may name by a number alone.
refuses! { Process, SHARED, EINVAL;
    "shmctl" shmctl(id: c_int, command: c_int, buffer: *mut c_void) -> c_int;
    "msgctl" msgctl(id: c_int, command: c_int, buffer: *mut c_void) -> c_int;
    "msgsnd" msgsnd(id: c_int, message: *const c_void, length: usize, flags: c_int) -> c_int;
    "msgrcv" msgrcv(id: c_int, message: *mut c_void, room: usize, kind: c_long, flags: c_int) -> isize;
    "shmdt" shmdt(address: *const c_void) -> c_int;
    "semop" semop(id: c_int, operations: *mut c_void, count: usize) -> c_int;
    "semtimedop" semtimedop(id: c_int, operations: *mut c_void, count: usize, timeout: *const libc::timespec) -> c_int;
}

/// # Safety
/// As shmat(2), which gives -1 as an address.
#[unsafe(no_mangle)]
unsafe extern "C" fn shmat(id: c_int, address: *const c_void, flags: c_int) -> *mut c_void {
    match confined() {
        Some(process) => {
            answer::<c_int>(refused(process, SystemCall::Process, SHARED, libc::EINVAL));
            libc::MAP_FAILED
        }
        // SAFETY: as ours.
        None => unsafe { real!("shmat", fn(c_int, *const c_void, c_int) -> *mut c_void)(id, address, flags) },
    }
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

refuses! { Other, EVENTS, ENOSYS;
    "fanotify_init" fanotify_init(flags: c_uint, file_flags: c_uint) -> c_int;
    "signalfd" signalfd(fd: c_int, mask: *const libc::sigset_t, flags: c_int) -> c_int;
    "sigwaitinfo" sigwaitinfo(mask: *const libc::sigset_t, information: *mut libc::siginfo_t) -> c_int;
    "sigtimedwait" sigtimedwait(mask: *const libc::sigset_t, information: *mut libc::siginfo_t, timeout: *const libc::timespec) -> c_int;
    "sigsuspend" sigsuspend(mask: *const libc::sigset_t) -> c_int;
    "sigqueue" sigqueue(pid: pid_t, signal: c_int, value: *mut c_void) -> c_int;
}

refuses! { Other, ALARMS, ENOSYS;
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

refuses! { File, TREES, ENOSYS;
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
    "scandirat" scandirat(directory: c_int, path: *const c_char, list: *mut c_void, filter: *const c_void, order: *const c_void) -> c_int;
    "scandirat64" scandirat64(directory: c_int, path: *const c_char, list: *mut c_void, filter: *const c_void, order: *const c_void) -> c_int;
    "glob64" glob64(pattern: *const c_char, flags: c_int, function: *const c_void, found: *mut c_void) -> c_int;
}

/// Functions that fail as they do on Linux for what a machine has, and are not counted.
macro_rules! fails {
    ($error:ident; $($name:literal $function:ident($($argument:ident: $type:ty),*) -> $result:ty;)*) => {$(
        /// # Safety
        /// As the C library's.
        #[unsafe(no_mangle)]
        unsafe extern "C" fn $function($($argument: $type),*) -> $result {
            match confined() {
                Some(_) => answer(Err(libc::$error)),
                // SAFETY: as ours.
                None => unsafe { real!($name, fn($($type),*) -> $result)($($argument),*) },
            }
        }
    )*};
}

// A disk has no extended attributes (xattr(7)).
fails! { EOPNOTSUPP;
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

// No descriptor is a terminal (termios(3)).
fails! { ENOTTY;
    "tcgetattr" tcgetattr(fd: c_int, settings: *mut c_void) -> c_int;
    "tcsetattr" tcsetattr(fd: c_int, when: c_int, settings: *const c_void) -> c_int;
    "tcgetpgrp" tcgetpgrp(fd: c_int) -> pid_t;
    "tcsetpgrp" tcsetpgrp(fd: c_int, group: pid_t) -> c_int;
    "tcgetsid" tcgetsid(fd: c_int) -> pid_t;
    "tcdrain" tcdrain(fd: c_int) -> c_int;
    "tcflow" tcflow(fd: c_int, action: c_int) -> c_int;
    "tcflush" tcflush(fd: c_int, queue: c_int) -> c_int;
    "tcsendbreak" tcsendbreak(fd: c_int, duration: c_int) -> c_int;
}

/// # Safety
/// As ttyname_r(3).
#[unsafe(no_mangle)]
unsafe extern "C" fn ttyname_r(fd: c_int, name: *mut c_char, room: usize) -> c_int {
    match confined() {
        Some(_) => libc::ENOTTY,
        // SAFETY: as ours.
        None => unsafe { real!("ttyname_r", fn(c_int, *mut c_char, usize) -> c_int)(fd, name, room) },
    }
}

/// # Safety
/// As ttyname(3).
#[unsafe(no_mangle)]
unsafe extern "C" fn ttyname(fd: c_int) -> *mut c_char {
    match confined() {
        Some(_) => {
            set_errno(libc::ENOTTY);
            std::ptr::null_mut()
        }
        // SAFETY: as ours.
        None => unsafe { real!("ttyname", fn(c_int) -> *mut c_char)(fd) },
    }
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

/// With what a call by its number is refused, if it is one of these.
pub(in crate::host) fn refusal(number: c_long) -> Option<Errno> {
    // Not on all processors.
    #[cfg(target_arch = "x86_64")]
    if matches!(number, libc::SYS_fork | libc::SYS_vfork) {
        return refused::<()>(confined()?, SystemCall::Process, PROCESSES, libc::ENOSYS).err();
    }
    let (call, what, error) = match number {
        libc::SYS_clone
        | libc::SYS_clone3
        | libc::SYS_execve
        | libc::SYS_execveat
        | libc::SYS_pidfd_open
        | libc::SYS_pidfd_getfd
        | libc::SYS_pidfd_send_signal
        | libc::SYS_process_madvise
        | libc::SYS_process_vm_readv
        | libc::SYS_process_vm_writev
        | libc::SYS_ptrace
        | libc::SYS_kcmp => (SystemCall::Process, PROCESSES, libc::ENOSYS),
        libc::SYS_wait4 | libc::SYS_waitid => (SystemCall::Process, PROCESSES, libc::ECHILD),
        libc::SYS_mq_open | libc::SYS_shmget | libc::SYS_semget | libc::SYS_msgget => {
            (SystemCall::Process, SHARED, libc::ENOSYS)
        }
        libc::SYS_shmat
        | libc::SYS_shmctl
        | libc::SYS_semctl
        | libc::SYS_semop
        | libc::SYS_semtimedop
        | libc::SYS_msgctl
        | libc::SYS_msgsnd
        | libc::SYS_msgrcv => (SystemCall::Process, SHARED, libc::EINVAL),
        libc::SYS_setitimer | libc::SYS_timer_create => (SystemCall::Other, ALARMS, libc::ENOSYS),
        libc::SYS_io_uring_setup
        | libc::SYS_io_setup
        | libc::SYS_futex_waitv
        | libc::SYS_rt_sigtimedwait
        | libc::SYS_rt_sigsuspend
        | libc::SYS_rt_sigqueueinfo
        | libc::SYS_rt_tgsigqueueinfo
        | libc::SYS_fanotify_init
        | libc::SYS_signalfd4
        | libc::SYS_perf_event_open
        | libc::SYS_userfaultfd => (SystemCall::Other, EVENTS, libc::ENOSYS),
        // Who asks so has another way, for a Linux without it.
        libc::SYS_openat2
        | libc::SYS_fchmodat2
        | libc::SYS_name_to_handle_at
        | libc::SYS_open_by_handle_at
        | libc::SYS_preadv2
        | libc::SYS_pwritev2
        | libc::SYS_splice
        | libc::SYS_tee
        | libc::SYS_vmsplice => (SystemCall::File, NEW_FILES, libc::ENOSYS),
        libc::SYS_mknod | libc::SYS_mknodat => (SystemCall::File, TREES, libc::EROFS),
        // What a process may forbid itself, the simulation and its other machines would be forbidden as well.
        libc::SYS_seccomp
        | libc::SYS_landlock_create_ruleset
        | libc::SYS_landlock_add_rule
        | libc::SYS_landlock_restrict_self
        | libc::SYS_bpf
        | libc::SYS_add_key
        | libc::SYS_request_key
        | libc::SYS_keyctl
        | libc::SYS_mbind
        | libc::SYS_set_mempolicy
        | libc::SYS_migrate_pages
        | libc::SYS_move_pages => (SystemCall::Other, PRIVILEGES, libc::ENOSYS),
        libc::SYS_acct
        | libc::SYS_adjtimex
        | libc::SYS_capset
        | libc::SYS_chroot
        | libc::SYS_clock_adjtime
        | libc::SYS_clock_settime
        | libc::SYS_delete_module
        | libc::SYS_finit_module
        | libc::SYS_fsopen
        | libc::SYS_init_module
        | libc::SYS_kexec_load
        | libc::SYS_mount
        | libc::SYS_mount_setattr
        | libc::SYS_move_mount
        | libc::SYS_open_tree
        | libc::SYS_pivot_root
        | libc::SYS_quotactl
        | libc::SYS_reboot
        | libc::SYS_setdomainname
        | libc::SYS_setfsgid
        | libc::SYS_setfsuid
        | libc::SYS_setgroups
        | libc::SYS_sethostname
        | libc::SYS_setns
        | libc::SYS_setpgid
        | libc::SYS_setsid
        | libc::SYS_settimeofday
        | libc::SYS_swapoff
        | libc::SYS_swapon
        | libc::SYS_syslog
        | libc::SYS_umount2
        | libc::SYS_unshare
        | libc::SYS_vhangup => (SystemCall::Other, PRIVILEGES, libc::EPERM),
        libc::SYS_ioprio_set
        | libc::SYS_sched_setattr
        | libc::SYS_sched_setparam
        | libc::SYS_sched_setscheduler
        | libc::SYS_setpriority => (SystemCall::Other, PRIORITIES, libc::EPERM),
        _ => return None,
    };
    refused::<()>(confined()?, call, what, error).err()
}
