//! System call instructions that a program executes itself, past the C library, as the crate rustix does.
//!
//! The kernel gives them back to us as a signal (Syscall User Dispatch,
//! [prctl(2)](https://man7.org/linux/man-pages/man2/prctl.2.html)): all that are not in the C library's own code, on the
//! thread on which a run executes. Each is answered as the C library's function of that call would be, which is ours. What has
//! none is made for real.
//!
//! The signal is raised by the instruction, so its handler executes where a system call may block, and may change to another
//! thread. It interrupts nothing.
#![allow(unsafe_code, reason = "answering system calls; the argument stands beside each place")]

use std::ffi::{CStr, c_char, c_int, c_void};
use std::marker::PhantomData;
use std::sync::Once;

use libc::{c_long, siginfo_t, ucontext_t};

use super::audit;
use super::libc::directories::entries;
use super::libc::refused as calls;
use crate::kernel::code::code_at;
use crate::machine::cluster;
use crate::machine::real;
use crate::schema::system_use::SystemCall;

// prctl(2) and sigaction(2); the crate libc has no names for these.
const PR_SET_SYSCALL_USER_DISPATCH: c_int = 59;
const PR_SYS_DISPATCH_OFF: usize = 0;
const PR_SYS_DISPATCH_ON: usize = 1;
const SYS_USER_DISPATCH: c_int = 2;

/// As long as it lives, system calls of this thread are caught.
pub(crate) struct Caught {
    /// It is of one thread.
    _not_send: PhantomData<*const ()>,
}

/// Catches this thread's system calls; `None` where the kernel cannot, which is before Linux 5.11.
pub(crate) fn catch() -> Option<Caught> {
    static HANDLER: Once = Once::new();
    if is_under_valgrind() {
        return None;
    }
    let allowed = code_at(real::address_of_syscall())?;
    HANDLER.call_once(set_handler);
    let is_on = dispatch(PR_SYS_DISPATCH_ON, allowed.start, allowed.len());
    is_on.then_some(Caught { _not_send: PhantomData })
}

/// valgrind executes the program, and its own calls on the same thread would be caught.
pub(super) fn is_under_valgrind() -> bool {
    // Not by our getenv(3), whose callers the audit lists.
    // SAFETY: the name is a string, and so is what is found, which nobody changes meanwhile.
    unsafe {
        let libraries = real::real!("getenv", fn(*const c_char) -> *mut c_char)(c"LD_PRELOAD".as_ptr());
        !libraries.is_null() && CStr::from_ptr(libraries).to_string_lossy().contains("vgpreload")
    }
}

impl Drop for Caught {
    fn drop(&mut self) {
        dispatch(PR_SYS_DISPATCH_OFF, 0, 0);
    }
}

fn dispatch(mode: usize, start: usize, length: usize) -> bool {
    // Without a selector every call outside of the range is caught.
    real::syscall(libc::SYS_prctl, [PR_SET_SYSCALL_USER_DISPATCH as usize, mode, start, length, 0, 0]) == 0
}

fn set_handler() {
    // SAFETY: zeros are a sigaction, with an empty mask. The handler keeps to what it says.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = handle as *const () as usize;
        // Another thread may make a call while one waits in a handler.
        action.sa_flags = libc::SA_SIGINFO | libc::SA_NODEFER;
        libc::sigaction(libc::SIGSYS, &raw const action, std::ptr::null_mut());
    }
}

/// Answers a caught call. Its number and arguments are in the registers that a call has them in (syscall(2)), and its result
/// is wanted in one, with an error as a negative number.
unsafe extern "C" fn handle(_: c_int, info: *mut siginfo_t, context: *mut c_void) {
    // SAFETY: sigaction(2): with SA_SIGINFO both are valid for as long as the handler executes.
    let (code, registers) =
        unsafe { ((*info).si_code, &mut (*context.cast::<ucontext_t>()).uc_mcontext.gregs) };
    if code != SYS_USER_DISPATCH {
        // Of a filter such as seccomp(2): its default action.
        // SAFETY: signal(2) takes any signal; it is raised again by the same instruction.
        unsafe { libc::signal(libc::SIGSYS, libc::SIG_DFL) };
        return;
    }
    let argument = |register: c_int| registers[register as usize] as usize;
    let arguments = [libc::REG_RDI, libc::REG_RSI, libc::REG_RDX, libc::REG_R10, libc::REG_R8, libc::REG_R9]
        .map(argument);
    let number = registers[libc::REG_RAX as usize];
    if cluster::is_simulating() {
        audit::note(SystemCall::Instruction);
    }
    // The instruction leaves errno alone.
    // SAFETY: every thread has an errno.
    let errno = unsafe { *libc::__errno_location() };
    // SAFETY: the arguments are what the call of that number takes.
    let result = unsafe { answer(number, arguments) };
    // SAFETY: as above.
    unsafe { *libc::__errno_location() = errno };
    registers[libc::REG_RAX as usize] = result as i64;
}

/// Calls the function of a system call; its result, or a negative error.
///
/// # Safety
/// The arguments are what the call of that number takes.
pub(super) unsafe fn answer(number: c_long, arguments: [usize; 6]) -> isize {
    /// Calls a function of the C library, whose name the linker has resolved to ours, with the first arguments of a call.
    macro_rules! function {
        ($function:ident()) => {
            // SAFETY: as below.
            unsafe { libc::$function() as isize }
        };
        ($function:ident($($argument:ty),* $(,)?)) => {{
            let mut words = arguments.into_iter();
            // SAFETY: as the caller says: the function takes what the call takes, in this order.
            unsafe { libc::$function($(<$argument>::of(words.next().unwrap_or(0))),*) as isize }
        }};
    }
    if let Some(code) = calls::refusal(number) {
        return -(code as isize);
    }
    let result = match number {
        libc::SYS_read => function!(read(c_int, *mut c_void, usize)),
        libc::SYS_write => function!(write(c_int, *const c_void, usize)),
        libc::SYS_readv => function!(readv(c_int, *const libc::iovec, c_int)),
        libc::SYS_writev => function!(writev(c_int, *const libc::iovec, c_int)),
        libc::SYS_open => function!(open(*const c_char, c_int, libc::c_uint)),
        libc::SYS_openat => function!(openat(c_int, *const c_char, c_int, libc::c_uint)),
        libc::SYS_getrusage => function!(getrusage(c_int, *mut libc::rusage)),
        libc::SYS_times => function!(times(*mut libc::tms)),
        libc::SYS_sysinfo => function!(sysinfo(*mut libc::sysinfo)),
        libc::SYS_prctl => function!(prctl(c_int, usize, usize, usize, usize)),
        libc::SYS_creat => function!(creat(*const c_char, libc::mode_t)),
        libc::SYS_mkdir => function!(mkdir(*const c_char, libc::mode_t)),
        libc::SYS_mkdirat => function!(mkdirat(c_int, *const c_char, libc::mode_t)),
        libc::SYS_rmdir => function!(rmdir(*const c_char)),
        libc::SYS_unlink => function!(unlink(*const c_char)),
        libc::SYS_unlinkat => function!(unlinkat(c_int, *const c_char, c_int)),
        libc::SYS_rename => function!(rename(*const c_char, *const c_char)),
        libc::SYS_renameat => function!(renameat(c_int, *const c_char, c_int, *const c_char)),
        libc::SYS_renameat2 => {
            function!(renameat2(c_int, *const c_char, c_int, *const c_char, libc::c_uint))
        }
        libc::SYS_link => function!(link(*const c_char, *const c_char)),
        libc::SYS_linkat => function!(linkat(c_int, *const c_char, c_int, *const c_char, c_int)),
        libc::SYS_symlink => function!(symlink(*const c_char, *const c_char)),
        libc::SYS_symlinkat => function!(symlinkat(*const c_char, c_int, *const c_char)),
        libc::SYS_readlink => function!(readlink(*const c_char, *mut c_char, usize)),
        libc::SYS_readlinkat => function!(readlinkat(c_int, *const c_char, *mut c_char, usize)),
        libc::SYS_chmod => function!(chmod(*const c_char, libc::mode_t)),
        libc::SYS_fchmod => function!(fchmod(c_int, libc::mode_t)),
        libc::SYS_fchmodat => {
            let [a, b, c, ..] = arguments;
            // SAFETY: as the caller says; the call has no flags.
            unsafe { libc::fchmodat(a as c_int, Argument::of(b), c as libc::mode_t, 0) as isize }
        }
        libc::SYS_chown => function!(chown(*const c_char, libc::uid_t, libc::gid_t)),
        libc::SYS_lchown => function!(lchown(*const c_char, libc::uid_t, libc::gid_t)),
        libc::SYS_fchown => function!(fchown(c_int, libc::uid_t, libc::gid_t)),
        libc::SYS_utimensat => function!(utimensat(c_int, *const c_char, *const libc::timespec, c_int)),
        libc::SYS_umask => function!(umask(libc::mode_t)),
        libc::SYS_chdir => function!(chdir(*const c_char)),
        libc::SYS_fchdir => function!(fchdir(c_int)),
        libc::SYS_stat => function!(stat64(*const c_char, *mut libc::stat64)),
        libc::SYS_lstat => function!(lstat64(*const c_char, *mut libc::stat64)),
        libc::SYS_fstat => function!(fstat64(c_int, *mut libc::stat64)),
        libc::SYS_newfstatat => function!(fstatat64(c_int, *const c_char, *mut libc::stat64, c_int)),
        libc::SYS_statx => {
            function!(statx(c_int, *const c_char, c_int, libc::c_uint, *mut libc::statx))
        }
        libc::SYS_access => function!(access(*const c_char, c_int)),
        libc::SYS_faccessat => {
            let [a, b, c, ..] = arguments;
            // SAFETY: as the caller says; the call has no flags.
            unsafe { libc::faccessat(a as c_int, Argument::of(b), c as c_int, 0) as isize }
        }
        libc::SYS_faccessat2 => function!(faccessat(c_int, *const c_char, c_int, c_int)),
        libc::SYS_getdents64 => {
            let [fd, buffer, room, ..] = arguments;
            // SAFETY: as the caller says.
            match unsafe { entries(fd as c_int, Argument::of(buffer), room) } {
                Some(Ok(n)) => n as isize,
                Some(Err(code)) => return -(code as isize),
                None => return real::syscall(number, arguments),
            }
        }
        libc::SYS_getcwd => {
            let [buffer, room, ..] = arguments;
            // SAFETY: as the caller says; unlike the function, the call gives the length with the zero at the end.
            unsafe {
                match libc::getcwd(Argument::of(buffer), room) {
                    path if path.is_null() => -1,
                    path => libc::strlen(path) as isize + 1,
                }
            }
        }
        libc::SYS_lseek => function!(lseek64(c_int, i64, c_int)),
        libc::SYS_pread64 => function!(pread64(c_int, *mut c_void, usize, i64)),
        libc::SYS_pwrite64 => function!(pwrite64(c_int, *const c_void, usize, i64)),
        libc::SYS_preadv => function!(preadv64(c_int, *const libc::iovec, c_int, i64)),
        libc::SYS_pwritev => function!(pwritev64(c_int, *const libc::iovec, c_int, i64)),
        libc::SYS_truncate => function!(truncate64(*const c_char, i64)),
        libc::SYS_ftruncate => function!(ftruncate64(c_int, i64)),
        libc::SYS_fallocate => function!(fallocate64(c_int, c_int, i64, i64)),
        libc::SYS_fadvise64 => return -function!(posix_fadvise64(c_int, i64, i64, c_int)),
        libc::SYS_fsync => function!(fsync(c_int)),
        libc::SYS_fdatasync => function!(fdatasync(c_int)),
        libc::SYS_syncfs => function!(syncfs(c_int)),
        libc::SYS_sync_file_range => function!(sync_file_range(c_int, i64, i64, libc::c_uint)),
        libc::SYS_flock => function!(flock(c_int, c_int)),
        libc::SYS_sendfile => function!(sendfile64(c_int, c_int, *mut i64, usize)),
        libc::SYS_copy_file_range => {
            function!(copy_file_range(c_int, *mut i64, c_int, *mut i64, usize, libc::c_uint))
        }
        libc::SYS_mmap => {
            let [a, b, c, d, e, f] = arguments;
            // SAFETY: as the caller says.
            let at =
                unsafe { libc::mmap64(Argument::of(a), b, c as c_int, d as c_int, e as c_int, f as i64) };
            at.expose_provenance() as isize
        }
        libc::SYS_munmap => function!(munmap(*mut c_void, usize)),
        libc::SYS_msync => function!(msync(*mut c_void, usize, c_int)),
        libc::SYS_mprotect => function!(mprotect(*mut c_void, usize, c_int)),
        libc::SYS_mremap => {
            let [a, b, c, d, e, _] = arguments;
            // SAFETY: as the caller says.
            let at = unsafe { libc::mremap(Argument::of(a), b, c, d as c_int, e) };
            at.expose_provenance() as isize
        }
        libc::SYS_close => function!(close(c_int)),
        libc::SYS_fcntl => function!(fcntl(c_int, c_int, usize)),
        libc::SYS_ioctl => function!(ioctl(c_int, libc::c_ulong, usize)),
        libc::SYS_dup => function!(dup(c_int)),
        libc::SYS_dup2 => function!(dup2(c_int, c_int)),
        libc::SYS_dup3 => function!(dup3(c_int, c_int, c_int)),
        libc::SYS_statfs => function!(statfs64(*const c_char, *mut libc::statfs64)),
        libc::SYS_fstatfs => function!(fstatfs64(c_int, *mut libc::statfs64)),
        libc::SYS_pipe => function!(pipe(*mut c_int)),
        libc::SYS_pipe2 => function!(pipe2(*mut c_int, c_int)),
        libc::SYS_socket => function!(socket(c_int, c_int, c_int)),
        libc::SYS_socketpair => function!(socketpair(c_int, c_int, c_int, *mut c_int)),
        libc::SYS_bind => function!(bind(c_int, *const libc::sockaddr, libc::socklen_t)),
        libc::SYS_listen => function!(listen(c_int, c_int)),
        libc::SYS_accept => function!(accept(c_int, *mut libc::sockaddr, *mut libc::socklen_t)),
        libc::SYS_accept4 => function!(accept4(c_int, *mut libc::sockaddr, *mut libc::socklen_t, c_int)),
        libc::SYS_connect => function!(connect(c_int, *const libc::sockaddr, libc::socklen_t)),
        libc::SYS_shutdown => function!(shutdown(c_int, c_int)),
        libc::SYS_getsockname => function!(getsockname(c_int, *mut libc::sockaddr, *mut libc::socklen_t)),
        libc::SYS_getpeername => function!(getpeername(c_int, *mut libc::sockaddr, *mut libc::socklen_t)),
        libc::SYS_getsockopt => function!(getsockopt(c_int, c_int, c_int, *mut c_void, *mut libc::socklen_t)),
        libc::SYS_setsockopt => function!(setsockopt(c_int, c_int, c_int, *const c_void, libc::socklen_t)),
        libc::SYS_sendto => {
            function!(sendto(c_int, *const c_void, usize, c_int, *const libc::sockaddr, libc::socklen_t))
        }
        libc::SYS_recvfrom => {
            function!(recvfrom(c_int, *mut c_void, usize, c_int, *mut libc::sockaddr, *mut libc::socklen_t))
        }
        libc::SYS_sendmsg => function!(sendmsg(c_int, *const libc::msghdr, c_int)),
        libc::SYS_recvmsg => function!(recvmsg(c_int, *mut libc::msghdr, c_int)),
        libc::SYS_epoll_create1 => function!(epoll_create1(c_int)),
        libc::SYS_epoll_ctl => function!(epoll_ctl(c_int, c_int, c_int, *mut libc::epoll_event)),
        libc::SYS_epoll_wait => function!(epoll_wait(c_int, *mut libc::epoll_event, c_int, c_int)),
        libc::SYS_epoll_pwait => {
            function!(epoll_pwait(c_int, *mut libc::epoll_event, c_int, c_int, *const libc::sigset_t))
        }
        libc::SYS_epoll_pwait2 => {
            function!(
                epoll_pwait2(
                    c_int,
                    *mut libc::epoll_event,
                    c_int,
                    *const libc::timespec,
                    *const libc::sigset_t,
                )
            )
        }
        libc::SYS_poll => function!(poll(*mut libc::pollfd, libc::nfds_t, c_int)),
        libc::SYS_ppoll => {
            function!(ppoll(*mut libc::pollfd, libc::nfds_t, *const libc::timespec, *const libc::sigset_t))
        }
        libc::SYS_select => function!(
            select(c_int, *mut libc::fd_set, *mut libc::fd_set, *mut libc::fd_set, *mut libc::timeval)
        ),
        // Its sixth argument, beyond the function's, is a mask that is not looked at.
        libc::SYS_pselect6 => {
            let [a, b, c, d, e, _] = arguments;
            // SAFETY: as the caller says.
            unsafe {
                let [b, c, d] = [b, c, d].map(Argument::of);
                libc::pselect(a as c_int, b, c, d, Argument::of(e), std::ptr::null()) as isize
            }
        }
        libc::SYS_inotify_init1 => function!(inotify_init1(c_int)),
        libc::SYS_inotify_add_watch => function!(inotify_add_watch(c_int, *const c_char, u32)),
        libc::SYS_inotify_rm_watch => function!(inotify_rm_watch(c_int, c_int)),
        libc::SYS_eventfd => {
            let [count, ..] = arguments;
            // SAFETY: it takes any numbers; the call has no flags.
            unsafe { libc::eventfd(count as libc::c_uint, 0) as isize }
        }
        libc::SYS_epoll_create => function!(epoll_create(c_int)),
        libc::SYS_sync => {
            // SAFETY: it may be called at any time.
            unsafe { libc::sync() };
            0
        }
        libc::SYS_sendmmsg => function!(sendmmsg(c_int, *mut libc::mmsghdr, libc::c_uint, c_int)),
        libc::SYS_recvmmsg => {
            function!(recvmmsg(c_int, *mut libc::mmsghdr, libc::c_uint, c_int, *mut libc::timespec))
        }
        libc::SYS_gettimeofday => function!(gettimeofday(*mut libc::timeval, *mut libc::timezone)),
        libc::SYS_time => function!(time(*mut libc::time_t)),
        libc::SYS_readahead => function!(readahead(c_int, i64, usize)),
        libc::SYS_pause => function!(pause()),
        libc::SYS_alarm => function!(alarm(libc::c_uint)),
        libc::SYS_utime => function!(utime(*const c_char, *const libc::utimbuf)),
        libc::SYS_utimes => function!(utimes(*const c_char, *const libc::timeval)),
        libc::SYS_sigaltstack => function!(sigaltstack(*const libc::stack_t, *mut libc::stack_t)),
        libc::SYS_rt_sigprocmask => {
            let [how, new, old, ..] = arguments;
            // SAFETY: as the caller says.
            unsafe { change_mask(how as c_int, Argument::of(new), Argument::of(old)) }
        }
        libc::SYS_rt_sigaction => {
            let [signal, new, old, ..] = arguments;
            // SAFETY: as the caller says.
            unsafe { change_action(signal as c_int, Argument::of(new), Argument::of(old)) }
        }
        libc::SYS_eventfd2 => function!(eventfd(libc::c_uint, c_int)),
        libc::SYS_timerfd_create => function!(timerfd_create(c_int, c_int)),
        libc::SYS_timerfd_settime => {
            function!(timerfd_settime(c_int, c_int, *const libc::itimerspec, *mut libc::itimerspec))
        }
        libc::SYS_timerfd_gettime => function!(timerfd_gettime(c_int, *mut libc::itimerspec)),
        libc::SYS_nanosleep => function!(nanosleep(*const libc::timespec, *mut libc::timespec)),
        // It gives its error as a positive number.
        libc::SYS_clock_nanosleep => {
            return -function!(
                clock_nanosleep(libc::clockid_t, c_int, *const libc::timespec, *mut libc::timespec)
            );
        }
        libc::SYS_clock_gettime => function!(clock_gettime(libc::clockid_t, *mut libc::timespec)),
        libc::SYS_getrandom => function!(getrandom(*mut c_void, usize, libc::c_uint)),
        libc::SYS_sched_yield => function!(sched_yield()),
        // Unlike the function, the call gives how many bytes the kernel's set has.
        libc::SYS_sched_getaffinity => {
            match function!(sched_getaffinity(libc::pid_t, usize, *mut libc::cpu_set_t)) {
                0 => size_of::<libc::c_ulong>() as isize,
                failed => failed,
            }
        }
        libc::SYS_getxattr => function!(getxattr(*const c_char, *const c_char, *mut c_void, usize)),
        libc::SYS_lgetxattr => function!(lgetxattr(*const c_char, *const c_char, *mut c_void, usize)),
        libc::SYS_fgetxattr => function!(fgetxattr(c_int, *const c_char, *mut c_void, usize)),
        libc::SYS_setxattr => {
            function!(setxattr(*const c_char, *const c_char, *const c_void, usize, c_int))
        }
        libc::SYS_lsetxattr => {
            function!(lsetxattr(*const c_char, *const c_char, *const c_void, usize, c_int))
        }
        libc::SYS_fsetxattr => function!(fsetxattr(c_int, *const c_char, *const c_void, usize, c_int)),
        libc::SYS_listxattr => function!(listxattr(*const c_char, *mut c_char, usize)),
        libc::SYS_llistxattr => function!(llistxattr(*const c_char, *mut c_char, usize)),
        libc::SYS_flistxattr => function!(flistxattr(c_int, *mut c_char, usize)),
        libc::SYS_removexattr => function!(removexattr(*const c_char, *const c_char)),
        libc::SYS_lremovexattr => function!(lremovexattr(*const c_char, *const c_char)),
        libc::SYS_fremovexattr => function!(fremovexattr(c_int, *const c_char)),
        libc::SYS_getrlimit => function!(getrlimit64(libc::c_uint, *mut libc::rlimit64)),
        libc::SYS_setrlimit => function!(setrlimit64(libc::c_uint, *const libc::rlimit64)),
        libc::SYS_prlimit64 => {
            function!(prlimit64(libc::pid_t, libc::c_uint, *const libc::rlimit64, *mut libc::rlimit64))
        }
        libc::SYS_memfd_create => function!(memfd_create(*const c_char, libc::c_uint)),
        libc::SYS_close_range => function!(close_range(libc::c_uint, libc::c_uint, c_int)),
        libc::SYS_fchownat => {
            function!(fchownat(c_int, *const c_char, libc::uid_t, libc::gid_t, c_int))
        }
        libc::SYS_mlock | libc::SYS_mlock2 => function!(mlock(*const c_void, usize)),
        libc::SYS_munlock => function!(munlock(*const c_void, usize)),
        libc::SYS_mlockall => function!(mlockall(c_int)),
        libc::SYS_munlockall => function!(munlockall()),
        libc::SYS_getcpu => {
            let [cpu, node, ..] = arguments;
            // SAFETY: as the caller says.
            let places: [*mut libc::c_uint; 2] = [cpu, node].map(Argument::of);
            // SAFETY: getcpu(2): each is null, or valid for a write.
            places
                .into_iter()
                .for_each(|place| unsafe { place.as_mut().into_iter().for_each(|cpu| *cpu = 0) });
            0
        }
        libc::SYS_getuid => function!(getuid()),
        libc::SYS_geteuid => function!(geteuid()),
        libc::SYS_getgid => function!(getgid()),
        libc::SYS_getegid => function!(getegid()),
        libc::SYS_getresuid => {
            function!(getresuid(*mut libc::uid_t, *mut libc::uid_t, *mut libc::uid_t))
        }
        libc::SYS_getresgid => {
            function!(getresgid(*mut libc::gid_t, *mut libc::gid_t, *mut libc::gid_t))
        }
        libc::SYS_setuid => function!(setuid(libc::uid_t)),
        libc::SYS_setgid => function!(setgid(libc::gid_t)),
        libc::SYS_setreuid => function!(setreuid(libc::uid_t, libc::uid_t)),
        libc::SYS_setregid => function!(setregid(libc::gid_t, libc::gid_t)),
        libc::SYS_setresuid => function!(setresuid(libc::uid_t, libc::uid_t, libc::uid_t)),
        libc::SYS_setresgid => function!(setresgid(libc::gid_t, libc::gid_t, libc::gid_t)),
        libc::SYS_getgroups => function!(getgroups(c_int, *mut libc::gid_t)),
        libc::SYS_getppid => function!(getppid()),
        libc::SYS_getpgid => function!(getpgid(libc::pid_t)),
        libc::SYS_getsid => function!(getsid(libc::pid_t)),
        libc::SYS_getpgrp => function!(getpgrp()),
        // The call gives 20 less the function's value, so that no value is negative.
        libc::SYS_getpriority => 20,
        libc::SYS_sched_getscheduler => function!(sched_getscheduler(libc::pid_t)),
        libc::SYS_tkill => {
            let [_, signal, ..] = arguments;
            // SAFETY: a signal may be sent to the own process.
            unsafe { libc::kill(0, signal as c_int) as isize }
        }
        libc::SYS_tgkill => {
            let [process, _, signal, ..] = arguments;
            // SAFETY: as above.
            unsafe { libc::kill(process as libc::pid_t, signal as c_int) as isize }
        }
        libc::SYS_exit_group => {
            let [code, ..] = arguments;
            // SAFETY: it may be called at any time.
            unsafe { libc::_exit(code as c_int) }
        }
        libc::SYS_getpid => function!(getpid()),
        libc::SYS_gettid => function!(gettid()),
        libc::SYS_uname => function!(uname(*mut libc::utsname)),
        libc::SYS_kill => function!(kill(libc::pid_t, c_int)),
        libc::SYS_futex => {
            let [a, b, c, d, e, f] = arguments;
            // SAFETY: as the caller says.
            unsafe { libc::syscall(libc::SYS_futex, a, b, c, d, e, f) as isize }
        }
        number => return real::syscall(number, arguments),
    };
    // SAFETY: every thread has an errno, which the function has set if it failed.
    if result == -1 { -(unsafe { *libc::__errno_location() } as isize) } else { result }
}

/// rt_sigprocmask(2): the kernel's sets are shorter than the C library's.
///
/// # Safety
/// The sets are null, or valid.
unsafe fn change_mask(how: c_int, new: *const u64, old: *mut u64) -> isize {
    // SAFETY: zeros are an empty set, whose first word is the kernel's; the pointers are as the caller says.
    unsafe {
        let mut sets: [libc::sigset_t; 2] = std::mem::zeroed();
        let [wanted, former] = &mut sets;
        if let Some(new) = new.as_ref() {
            std::ptr::from_mut(wanted).cast::<u64>().write(*new);
        }
        let wanted = if new.is_null() { std::ptr::null() } else { std::ptr::from_ref(wanted) };
        let result = libc::sigprocmask(how, wanted, former);
        if let Some(old) = old.as_mut().filter(|_| result == 0) {
            *old = std::ptr::from_ref(former).cast::<u64>().read();
        }
        result as isize
    }
}

/// What rt_sigaction(2) takes, where the C library has another order.
#[repr(C)]
struct Action {
    handler: usize,
    flags: libc::c_ulong,
    restorer: usize,
    mask: u64,
}

/// rt_sigaction(2).
///
/// # Safety
/// The actions are null, or valid.
unsafe fn change_action(signal: c_int, new: *const Action, old: *mut Action) -> isize {
    // SAFETY: zeros are an action with an empty set, whose first word is the kernel's; the pointers are as the caller says.
    unsafe {
        let mut actions: [libc::sigaction; 2] = std::mem::zeroed();
        let [wanted, former] = &mut actions;
        if let Some(new) = new.as_ref() {
            (wanted.sa_sigaction, wanted.sa_flags) = (new.handler, new.flags as c_int);
            (&raw mut wanted.sa_mask).cast::<u64>().write(new.mask);
        }
        let wanted = if new.is_null() { std::ptr::null() } else { std::ptr::from_ref(wanted) };
        let result = libc::sigaction(signal, wanted, former);
        if let Some(old) = old.as_mut().filter(|_| result == 0) {
            (old.handler, old.flags, old.restorer) =
                (former.sa_sigaction, former.sa_flags as libc::c_ulong, 0);
            old.mask = (&raw const former.sa_mask).cast::<u64>().read();
        }
        result as isize
    }
}

/// What a call takes in a register.
trait Argument {
    fn of(word: usize) -> Self;
}

impl<T> Argument for *const T {
    fn of(word: usize) -> Self {
        std::ptr::with_exposed_provenance(word)
    }
}

impl<T> Argument for *mut T {
    fn of(word: usize) -> Self {
        std::ptr::with_exposed_provenance_mut(word)
    }
}

impl Argument for i32 {
    fn of(word: usize) -> Self {
        word as Self
    }
}

impl Argument for u32 {
    fn of(word: usize) -> Self {
        word as Self
    }
}

impl Argument for i64 {
    fn of(word: usize) -> Self {
        word as Self
    }
}

impl Argument for u64 {
    fn of(word: usize) -> Self {
        word as Self
    }
}

impl Argument for usize {
    fn of(word: usize) -> Self {
        word
    }
}
