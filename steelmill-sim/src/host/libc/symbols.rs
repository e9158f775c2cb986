//! Whether the linker took our functions: it does for a program that contains this crate, and for the shared libraries that such a
//! program loads.

use std::ffi::CStr;
use std::sync::OnceLock;

/// All functions that this crate has in place of the C library's.
const OURS: &[&CStr] = &[
    c"_Unwind_RaiseException",
    c"__cxa_thread_atexit_impl",
    c"abort",
    c"accept",
    c"accept4",
    c"access",
    c"bind",
    c"chdir",
    c"chmod",
    c"chown",
    c"chroot",
    c"clearenv",
    c"clock_gettime",
    c"clock_nanosleep",
    c"close",
    c"connect",
    c"copy_file_range",
    c"dup",
    c"epoll_create",
    c"epoll_create1",
    c"epoll_ctl",
    c"epoll_pwait",
    c"epoll_pwait2",
    c"epoll_wait",
    c"eventfd",
    c"execv",
    c"execve",
    c"execvp",
    c"exit",
    c"fanotify_init",
    c"fcntl",
    c"fcntl64",
    c"fork",
    c"freeaddrinfo",
    c"fstat64",
    c"getaddrinfo",
    c"getcwd",
    c"getegid",
    c"getentropy",
    c"getenv",
    c"geteuid",
    c"getgid",
    c"gethostname",
    c"getpeername",
    c"getpid",
    c"getppid",
    c"getpwuid_r",
    c"getrandom",
    c"getsockname",
    c"getsockopt",
    c"gettid",
    c"gettimeofday",
    c"getuid",
    c"inotify_init",
    c"inotify_init1",
    c"ioctl",
    c"kill",
    c"lchown",
    c"link",
    c"linkat",
    c"listen",
    c"lseek64",
    c"lstat64",
    c"mkdir",
    c"mkfifo",
    c"nanosleep",
    c"open",
    c"open64",
    c"openat",
    c"openat64",
    c"opendir",
    c"pause",
    c"pipe",
    c"pipe2",
    c"poll",
    c"posix_spawn",
    c"posix_spawnp",
    c"ppoll",
    c"pread64",
    c"pthread_barrier_destroy",
    c"pthread_barrier_init",
    c"pthread_barrier_wait",
    c"pthread_cond_broadcast",
    c"pthread_cond_clockwait",
    c"pthread_cond_init",
    c"pthread_cond_signal",
    c"pthread_cond_timedwait",
    c"pthread_cond_wait",
    c"pthread_create",
    c"pthread_detach",
    c"pthread_join",
    c"pthread_kill",
    c"pthread_mutex_clocklock",
    c"pthread_mutex_lock",
    c"pthread_mutex_timedlock",
    c"pthread_mutex_unlock",
    c"pthread_once",
    c"pthread_rwlock_clockrdlock",
    c"pthread_rwlock_clockwrlock",
    c"pthread_rwlock_rdlock",
    c"pthread_rwlock_timedrdlock",
    c"pthread_rwlock_timedwrlock",
    c"pthread_rwlock_unlock",
    c"pthread_rwlock_wrlock",
    c"pthread_setname_np",
    c"pthread_sigmask",
    c"putenv",
    c"raise",
    c"read",
    c"readlink",
    c"readv",
    c"realpath",
    c"recv",
    c"recvfrom",
    c"recvmmsg",
    c"recvmsg",
    c"rename",
    c"rmdir",
    c"sched_getaffinity",
    c"sched_setaffinity",
    c"sched_yield",
    c"sem_post",
    c"sem_timedwait",
    c"sem_wait",
    c"send",
    c"sendfile",
    c"sendfile64",
    c"sendmmsg",
    c"sendmsg",
    c"sendto",
    c"setenv",
    c"setsockopt",
    c"shutdown",
    c"sigaction",
    c"sigaltstack",
    c"signal",
    c"signalfd",
    c"sigprocmask",
    c"sleep",
    c"socket",
    c"socketpair",
    c"splice",
    c"stat64",
    c"statx",
    c"symlink",
    c"syscall",
    c"sysconf",
    c"system",
    c"time",
    c"timerfd_create",
    c"timerfd_gettime",
    c"timerfd_settime",
    c"truncate64",
    c"uname",
    c"unlink",
    c"unlinkat",
    c"unsetenv",
    c"usleep",
    c"write",
    c"writev",
];

unsafe extern "C" {
    /// Where the program begins, and where its code ends (end(3)); the linker makes both.
    static __executable_start: u8;
    static etext: u8;
}

/// Those that are somebody else's, once and for all: programs would reach the real system by them.
pub(crate) fn not_ours() -> &'static [&'static CStr] {
    static NOT_OURS: OnceLock<Vec<&CStr>> = OnceLock::new();
    NOT_OURS.get_or_init(|| OURS.iter().copied().filter(|name| !is_ours(name)).collect())
}

/// Whether a name means a function of this program.
fn is_ours(name: &CStr) -> bool {
    // SAFETY: it ends with a zero.
    let function = unsafe { libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr()) };
    (&raw const __executable_start..&raw const etext).contains(&function.cast_const().cast())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use object::{Object as _, ObjectSymbol as _, SymbolKind};

    use super::*;

    #[test]
    fn all_are_ours_and_listed() {
        assert!(not_ours().is_empty(), "{:?}", not_ours());
        assert!(!is_ours(c"strlen") && !is_ours(c"no such function"), "they are not");
        let program = std::fs::read("/proc/self/exe").expect("this program");
        let program = object::File::parse(&*program).expect("this program");
        let exported = program.dynamic_symbols().filter(|symbol| {
            symbol.kind() == SymbolKind::Text && symbol.is_definition() && symbol.is_global()
        });
        let exported: BTreeSet<String> =
            exported.filter_map(|symbol| Some(symbol.name().ok()?.to_owned())).collect();
        let listed: BTreeSet<String> =
            OURS.iter().map(|name| name.to_str().expect("a name").to_owned()).collect();
        assert_eq!(exported.difference(&listed).collect::<Vec<_>>(), Vec::<&String>::new(), "not listed");
    }
}
