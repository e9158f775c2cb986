//! C's streams (stdio(3)) on a machine's files: fopen(3) and its kin, which open files past open(2).
//!
//! The C library keeps the buffers. What it reads and writes reaches the machine by a descriptor (fopencookie(3)). A call from
//! there does not give the turn away: another thread would wait for the stream's lock in the real kernel.

use std::ffi::{CStr, c_char, c_int, c_void};
use std::io::IoSlice;

use libc::{FILE, iovec, off64_t, size_t, ssize_t};

use super::files::{buffers, receive, send};
use super::paths::{confined, refused};
use super::{set_errno, transfers};
use crate::machine::cluster;
use crate::machine::descriptors::Errno;
use crate::machine::real::real;
use crate::machine::runtimes::caller_of;
use crate::machine::world::Process;
use crate::schema::system_use::SystemCall;

/// What a stream of ours is of.
struct Cookie {
    process: Process,
    fd: c_int,
    /// Where the C library has its state.
    stream: *mut FILE,
}

/// fopencookie(3)'s functions.
#[repr(C)]
struct Functions {
    read: unsafe extern "C" fn(*mut c_void, *mut c_char, size_t) -> ssize_t,
    write: unsafe extern "C" fn(*mut c_void, *const c_char, size_t) -> ssize_t,
    seek: unsafe extern "C" fn(*mut c_void, *mut off64_t, c_int) -> c_int,
    close: unsafe extern "C" fn(*mut c_void) -> c_int,
}

unsafe extern "C" {
    fn fopencookie(cookie: *mut c_void, mode: *const c_char, functions: Functions) -> *mut FILE;
}

/// The value, or `failed` and errno. A stream may outlive its run, in which it was not closed: that is as a disk that is gone.
fn answer<T>(cookie: &Cookie, failed: T, call: impl FnOnce(&Cookie) -> Result<T, Errno>) -> T {
    let is_there = cluster::try_with(cookie.process.run, |_| ()).is_some();
    let result = if is_there { call(cookie) } else { Err(libc::EIO) };
    result.unwrap_or_else(|code| {
        set_errno(code);
        failed
    })
}

/// # Safety
/// As fopencookie(3): of a cookie of ours, with so much room.
unsafe extern "C" fn read(cookie: *mut c_void, buffer: *mut c_char, length: size_t) -> ssize_t {
    let vector = iovec { iov_base: buffer.cast(), iov_len: length };
    // SAFETY: as ours.
    let (cookie, buffers) = unsafe { (&*cookie.cast::<Cookie>(), buffers(&raw const vector, 1)) };
    answer(cookie, -1, |cookie| {
        receive(cookie.process, cookie.fd, buffers, 0).map(|read| read.bytes as ssize_t)
    })
}

/// # Safety
/// As fopencookie(3): of a cookie of ours, with so many bytes.
unsafe extern "C" fn write(cookie: *mut c_void, bytes: *const c_char, length: size_t) -> ssize_t {
    // SAFETY: as ours.
    let (cookie, bytes) =
        unsafe { (&*cookie.cast::<Cookie>(), std::slice::from_raw_parts(bytes.cast::<u8>(), length)) };
    answer(cookie, 0, |cookie| {
        send(cookie.process, cookie.fd, &mut [IoSlice::new(bytes)], 0).map(|n| n as ssize_t)
    })
}

/// # Safety
/// As fopencookie(3): of a cookie of ours, with an offset.
unsafe extern "C" fn seek(cookie: *mut c_void, offset: *mut off64_t, whence: c_int) -> c_int {
    // SAFETY: as ours.
    let (cookie, offset) = unsafe { (&*cookie.cast::<Cookie>(), &mut *offset) };
    answer(cookie, -1, |cookie| {
        *offset = transfers::seek(cookie.process, cookie.fd, *offset, whence)?;
        Ok(0)
    })
}

/// # Safety
/// As fopencookie(3): of a cookie of ours, which is no more then.
unsafe extern "C" fn close(cookie: *mut c_void) -> c_int {
    // SAFETY: `stream_of` made it from a box.
    let cookie = unsafe { Box::from_raw(cookie.cast::<Cookie>()) };
    answer(&cookie, -1, |Cookie { process, fd, stream }| {
        cluster::with(process.run, |run| {
            run.descriptors.streams.remove(&stream.addr());
            run.close_descriptor(*process, *fd).map(|()| 0)
        })
    })
}

/// Null, and errno.
fn none(code: Errno) -> *mut FILE {
    set_errno(code);
    std::ptr::null_mut()
}

/// What open(2) is given for a mode of fopen(3).
fn flags_of(mode: &CStr) -> Option<c_int> {
    let mode = mode.to_bytes().split(|byte| *byte == b',').next().unwrap_or_default();
    let (kind, rest) = mode.split_first()?;
    let access = if rest.contains(&b'+') { libc::O_RDWR } else { libc::O_WRONLY };
    let flags = match kind {
        b'r' if access == libc::O_RDWR => access,
        b'r' => libc::O_RDONLY,
        b'w' => access | libc::O_CREAT | libc::O_TRUNC,
        b'a' => access | libc::O_CREAT | libc::O_APPEND,
        _ => return None,
    };
    Some(flags | if rest.contains(&b'x') { libc::O_EXCL } else { 0 })
}

/// A stream of a descriptor.
///
/// # Safety
/// `mode` is one of fopen(3).
unsafe fn stream_of(process: Process, fd: c_int, mode: *const c_char) -> *mut FILE {
    let cookie = Box::into_raw(Box::new(Cookie { process, fd, stream: std::ptr::null_mut() }));
    // SAFETY: the functions take such a cookie, until `close` has.
    let stream = unsafe { fopencookie(cookie.cast(), mode, Functions { read, write, seek, close }) };
    // SAFETY: the C library gives it to the functions alone, none of which it has called.
    let cookie = unsafe { &mut *cookie };
    cookie.stream = stream;
    cluster::with(process.run, |run| run.descriptors.streams.insert(stream.addr(), fd));
    stream
}

/// # Safety
/// As fopen(3).
#[unsafe(no_mangle)]
unsafe extern "C" fn fopen64(path: *const c_char, mode: *const c_char) -> *mut FILE {
    let Some(process) = confined() else {
        // SAFETY: as ours.
        return unsafe { real!("fopen64", fn(*const c_char, *const c_char) -> *mut FILE)(path, mode) };
    };
    // SAFETY: fopen(3): it is a string.
    let Some(flags) = flags_of(unsafe { CStr::from_ptr(mode) }) else { return none(libc::EINVAL) };
    // SAFETY: as ours.
    unsafe {
        match libc::open64(path, flags, 0o666) {
            -1 => std::ptr::null_mut(),
            // What backtraces are made of is read past the run.
            fd if caller_of(fd).is_none() => real!("fdopen", fn(c_int, *const c_char) -> *mut FILE)(fd, mode),
            fd => stream_of(process, fd, mode),
        }
    }
}

/// # Safety
/// As fopen(3).
#[unsafe(no_mangle)]
unsafe extern "C" fn fopen(path: *const c_char, mode: *const c_char) -> *mut FILE {
    // SAFETY: as ours; on a 64-bit system they are one.
    unsafe { fopen64(path, mode) }
}

/// # Safety
/// As fdopen(3).
#[unsafe(no_mangle)]
unsafe extern "C" fn fdopen(fd: c_int, mode: *const c_char) -> *mut FILE {
    let Some(process) = caller_of(fd) else {
        // SAFETY: as ours.
        return unsafe { real!("fdopen", fn(c_int, *const c_char) -> *mut FILE)(fd, mode) };
    };
    // SAFETY: fdopen(3): it is a string.
    if flags_of(unsafe { CStr::from_ptr(mode) }).is_none() {
        return none(libc::EINVAL);
    }
    match cluster::with(process.run, |run| run.descriptors.file(process, fd).map(drop)) {
        // SAFETY: it is a mode.
        Ok(()) => unsafe { stream_of(process, fd, mode) },
        Err(code) => none(code),
    }
}

/// Whatever has the stream of another file from then on would have the real one.
///
/// # Safety
/// As freopen(3).
#[unsafe(no_mangle)]
unsafe extern "C" fn freopen64(path: *const c_char, mode: *const c_char, stream: *mut FILE) -> *mut FILE {
    match confined() {
        Some(process) => {
            none(refused::<()>(process, SystemCall::File, REOPENED, libc::ENOSYS).err().unwrap_or(0))
        }
        // SAFETY: as ours.
        None => unsafe {
            real!("freopen64", fn(*const c_char, *const c_char, *mut FILE) -> *mut FILE)(path, mode, stream)
        },
    }
}

const REOPENED: &str = "refused streams";

/// # Safety
/// As freopen(3).
#[unsafe(no_mangle)]
unsafe extern "C" fn freopen(path: *const c_char, mode: *const c_char, stream: *mut FILE) -> *mut FILE {
    // SAFETY: as ours; on a 64-bit system they are one.
    unsafe { freopen64(path, mode, stream) }
}

/// # Safety
/// As tmpfile(3).
#[unsafe(no_mangle)]
unsafe extern "C" fn tmpfile64() -> *mut FILE {
    let Some(process) = confined() else {
        // SAFETY: as ours.
        return unsafe { real!("tmpfile64", fn() -> *mut FILE)() };
    };
    // SAFETY: the path and the mode are strings.
    unsafe {
        match libc::open64(c"/tmp".as_ptr(), libc::O_TMPFILE | libc::O_RDWR | libc::O_EXCL, 0o600) {
            -1 => std::ptr::null_mut(),
            fd => stream_of(process, fd, c"w+".as_ptr()),
        }
    }
}

/// # Safety
/// As tmpfile(3).
#[unsafe(no_mangle)]
unsafe extern "C" fn tmpfile() -> *mut FILE {
    // SAFETY: as ours; on a 64-bit system they are one.
    unsafe { tmpfile64() }
}

/// # Safety
/// As popen(3).
#[unsafe(no_mangle)]
unsafe extern "C" fn popen(command: *const c_char, mode: *const c_char) -> *mut FILE {
    match confined() {
        Some(process) => none(
            refused::<()>(process, SystemCall::Process, super::refused::PROCESSES, libc::ENOSYS)
                .err()
                .unwrap_or(0),
        ),
        // SAFETY: as ours.
        None => unsafe { real!("popen", fn(*const c_char, *const c_char) -> *mut FILE)(command, mode) },
    }
}

/// The descriptor of a stream of ours.
fn descriptor_of(stream: *mut FILE) -> Option<c_int> {
    let process = confined()?;
    cluster::with(process.run, |run| run.descriptors.streams.get(&stream.addr()).copied())
}

/// # Safety
/// As fileno(3).
#[unsafe(no_mangle)]
unsafe extern "C" fn fileno(stream: *mut FILE) -> c_int {
    // SAFETY: as ours.
    descriptor_of(stream).unwrap_or_else(|| unsafe { real!("fileno", fn(*mut FILE) -> c_int)(stream) })
}

/// # Safety
/// As fileno(3).
#[unsafe(no_mangle)]
unsafe extern "C" fn fileno_unlocked(stream: *mut FILE) -> c_int {
    // SAFETY: as ours.
    unsafe { fileno(stream) }
}

/// # Safety
/// As remove(3).
#[unsafe(no_mangle)]
unsafe extern "C" fn remove(path: *const c_char) -> c_int {
    if confined().is_none() {
        // SAFETY: as ours.
        return unsafe { real!("remove", fn(*const c_char) -> c_int)(path) };
    }
    // SAFETY: as ours.
    unsafe {
        match libc::unlink(path) {
            -1 if *libc::__errno_location() == libc::EISDIR => libc::rmdir(path),
            result => result,
        }
    }
}
