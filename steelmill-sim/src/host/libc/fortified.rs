//! Functions that C code calls in place of others where it was compiled with `_FORTIFY_SOURCE`: they are given how large a buffer
//! is. The C library's own would go on to the real system.

use std::ffi::{c_char, c_int, c_uint, c_void};

use libc::{nfds_t, off64_t, pollfd, size_t, sockaddr, socklen_t, ssize_t, timespec};

use super::paths::confined;
use super::{caller, process_of};
use crate::machine::real::real;

/// A function with a check goes on to the one without it, if the check holds and it is called by a process of a machine. Else the
/// C library's own ends the real process, or does what it does.
macro_rules! fortified {
    ($($name:literal $function:ident($($argument:ident: $type:ty),*) -> $result:ty, $is_ours:expr, $plain:expr;)*) => {$(
        /// # Safety
        /// As the function without a check.
        #[unsafe(no_mangle)]
        unsafe extern "C" fn $function($($argument: $type),*) -> $result {
            // SAFETY: as ours.
            unsafe {
                match $is_ours {
                    true => $plain,
                    false => real!(@ $name, unsafe extern "C" fn($($type),*) -> $result)($($argument),*),
                }
            }
        }
    )*};
}

fn is_of_process(fd: c_int, wanted: usize, room: usize) -> bool {
    wanted <= room && process_of(fd).is_some()
}

fn is_of_caller(wanted: usize, room: usize) -> bool {
    wanted <= room && caller().is_some()
}

fn is_of_guest(wanted: usize, room: usize) -> bool {
    wanted <= room && confined().is_some()
}

fortified! {
    "__read_chk" __read_chk(fd: c_int, buffer: *mut c_void, length: size_t, room: size_t) -> ssize_t,
        is_of_process(fd, length, room), libc::read(fd, buffer, length);
    "__pread_chk" __pread_chk(fd: c_int, buffer: *mut c_void, length: size_t, at: off64_t, room: size_t) -> ssize_t,
        is_of_process(fd, length, room), libc::pread64(fd, buffer, length, at);
    "__pread64_chk" __pread64_chk(fd: c_int, buffer: *mut c_void, length: size_t, at: off64_t, room: size_t) -> ssize_t,
        is_of_process(fd, length, room), libc::pread64(fd, buffer, length, at);
    "__recv_chk" __recv_chk(fd: c_int, buffer: *mut c_void, length: size_t, room: size_t, flags: c_int) -> ssize_t,
        is_of_process(fd, length, room), libc::recv(fd, buffer, length, flags);
    "__recvfrom_chk" __recvfrom_chk(
        fd: c_int, buffer: *mut c_void, length: size_t, room: size_t, flags: c_int, from: *mut sockaddr, n: *mut socklen_t
    ) -> ssize_t, is_of_process(fd, length, room), libc::recvfrom(fd, buffer, length, flags, from, n);
    "__poll_chk" __poll_chk(fds: *mut pollfd, number: nfds_t, timeout: c_int, room: size_t) -> c_int,
        is_of_caller(number as usize * size_of::<pollfd>(), room), libc::poll(fds, number, timeout);
    "__ppoll_chk" __ppoll_chk(
        fds: *mut pollfd, number: nfds_t, timeout: *const timespec, mask: *const libc::sigset_t, room: size_t
    ) -> c_int,
        is_of_caller(number as usize * size_of::<pollfd>(), room), libc::ppoll(fds, number, timeout, mask);
    "__readlink_chk" __readlink_chk(path: *const c_char, buffer: *mut c_char, length: size_t, room: size_t) -> ssize_t,
        is_of_guest(length, room), libc::readlink(path, buffer, length);
    "__readlinkat_chk" __readlinkat_chk(
        directory: c_int, path: *const c_char, buffer: *mut c_char, length: size_t, room: size_t
    ) -> ssize_t, is_of_guest(length, room), libc::readlinkat(directory, path, buffer, length);
    "__getcwd_chk" __getcwd_chk(buffer: *mut c_char, length: size_t, room: size_t) -> *mut c_char,
        is_of_guest(length, room), libc::getcwd(buffer, length);
    "__realpath_chk" __realpath_chk(path: *const c_char, buffer: *mut c_char, room: size_t) -> *mut c_char,
        is_of_guest(libc::PATH_MAX as usize, room), libc::realpath(path, buffer);
    "__gethostname_chk" __gethostname_chk(buffer: *mut c_char, length: size_t, room: size_t) -> c_int,
        is_of_caller(length, room), libc::gethostname(buffer, length);
    // Their check is that no mode is needed.
    "__open_2" __open_2(path: *const c_char, flags: c_int) -> c_int,
        is_of_guest(needs_mode(flags), 0), libc::open64(path, flags, 0 as c_uint);
    "__open64_2" __open64_2(path: *const c_char, flags: c_int) -> c_int,
        is_of_guest(needs_mode(flags), 0), libc::open64(path, flags, 0 as c_uint);
    "__openat_2" __openat_2(directory: c_int, path: *const c_char, flags: c_int) -> c_int,
        is_of_guest(needs_mode(flags), 0), libc::openat64(directory, path, flags, 0 as c_uint);
    "__openat64_2" __openat64_2(directory: c_int, path: *const c_char, flags: c_int) -> c_int,
        is_of_guest(needs_mode(flags), 0), libc::openat64(directory, path, flags, 0 as c_uint);
}

fn needs_mode(flags: c_int) -> usize {
    usize::from(flags & libc::O_CREAT != 0 || flags & libc::O_TMPFILE == libc::O_TMPFILE)
}
