//! C's streams (stdio(3)) on a machine's files: fopen(3) and its kin, which open files past open(2).
//!
//! The C library keeps the buffers. What it reads and writes reaches the machine by a descriptor (fopencookie(3)). A call from
//! there does not give the turn away, as another thread would wait for the stream's lock in the real kernel: so there are streams of
//! files alone, and not of pipes and sockets.

use std::ffi::{CStr, c_char, c_int, c_void};
use std::io::IoSlice;

use libc::{FILE, off64_t, size_t, ssize_t};

use super::files::{self, receive, send};
use super::paths::{confined, refused};
use super::{caller, set_errno, transfers};
use crate::machine::cluster;
use crate::machine::descriptors::{Errno, Object};
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
    /// As long as the C library's own, which is a block of the file system.
    buffer: [c_char; BUFFER],
}

const BUFFER: usize = 4096;

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

/// The value, or -1 and errno. A stream may outlive its process or its run, in which it was not closed: `gone` is what it is told
/// then. The C library has one list of all streams, and flushes whatever is in it.
fn answer<T: From<i8>>(
    cookie: &Cookie,
    gone: Result<T, Errno>,
    call: impl FnOnce(&Cookie) -> Result<T, Errno>,
) -> T {
    let Process { run, machine, incarnation } = cookie.process;
    let is_there = cluster::try_with(run, |run| run.is_alive(machine, incarnation)) == Some(true);
    super::answer(if is_there { call(cookie) } else { gone })
}

/// # Safety
/// As fopencookie(3): of a cookie of ours, with so much room.
unsafe extern "C" fn read(cookie: *mut c_void, buffer: *mut c_char, length: size_t) -> ssize_t {
    // SAFETY: as ours.
    let (cookie, buffer) = unsafe { (&*cookie.cast::<Cookie>(), files::buffer(buffer.cast(), length)) };
    answer(cookie, Err(libc::EIO), |cookie| {
        receive(cookie.process, cookie.fd, buffer, None).map(|read| read.bytes as ssize_t)
    })
}

/// # Safety
/// As fopencookie(3): of a cookie of ours, with so many bytes.
unsafe extern "C" fn write(cookie: *mut c_void, bytes: *const c_char, length: size_t) -> ssize_t {
    // SAFETY: as ours.
    let (cookie, bytes) =
        unsafe { (&*cookie.cast::<Cookie>(), std::slice::from_raw_parts(bytes.cast::<u8>(), length)) };
    let written = answer(cookie, Ok(length as ssize_t), |Cookie { process, fd, .. }| {
        let written = send(*process, *fd, &mut [IoSlice::new(bytes)], None)?;
        cluster::with(process.run, |run| {
            let (id, _) = run.descriptors.file(*process, *fd)?;
            // It takes no time, as nobody else may have the turn.
            run.sync_of_write(id).map_or(Ok(()), |sync| run.end_sync(sync))
        })?;
        Ok(written as ssize_t)
    });
    // fopencookie(3): an error is 0 here.
    written.max(0)
}

/// # Safety
/// As fopencookie(3): of a cookie of ours, with an offset.
unsafe extern "C" fn seek(cookie: *mut c_void, offset: *mut off64_t, whence: c_int) -> c_int {
    // SAFETY: as ours.
    let (cookie, offset) = unsafe { (&*cookie.cast::<Cookie>(), &mut *offset) };
    answer(cookie, Err(libc::EIO), |cookie| {
        *offset = transfers::seek(cookie.process, cookie.fd, *offset, whence)?;
        Ok(0)
    })
}

/// # Safety
/// As fopencookie(3): of a cookie of ours, which is no more then.
unsafe extern "C" fn close(cookie: *mut c_void) -> c_int {
    // SAFETY: `stream_of` made it from a box.
    let cookie = unsafe { Box::from_raw(cookie.cast::<Cookie>()) };
    answer(&cookie, Ok(0), |Cookie { process, fd, stream, .. }| {
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

fn refuse(process: Process, call: SystemCall, what: &'static str) -> *mut FILE {
    refused(process, call, what, libc::ENOSYS).unwrap_or_else(none)
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

/// The mode of fopen(3) for such flags, in the one form that fopencookie(3) reads.
fn mode_of(flags: c_int) -> &'static CStr {
    match (flags & libc::O_ACCMODE, flags & libc::O_APPEND != 0, flags & libc::O_TRUNC != 0) {
        (libc::O_RDONLY, ..) => c"r",
        (libc::O_RDWR, true, _) => c"a+",
        (libc::O_RDWR, _, true) => c"w+",
        (libc::O_RDWR, ..) => c"r+",
        (_, true, _) => c"a",
        _ => c"w",
    }
}

/// A stream of a descriptor, for the flags of its mode.
fn stream_of(process: Process, fd: c_int, flags: c_int) -> *mut FILE {
    let cookie = Cookie { process, fd, stream: std::ptr::null_mut(), buffer: [0; BUFFER] };
    let cookie = Box::into_raw(Box::new(cookie));
    let functions = Functions { read, write, seek, close };
    // SAFETY: the functions take such a cookie, until `close` has. The C library gives it to them alone, none of which it has
    // called; and it has no more use for the buffer when it has called `close`.
    let stream = unsafe {
        let stream = fopencookie(cookie.cast(), mode_of(flags).as_ptr(), functions);
        (*cookie).stream = stream;
        libc::setvbuf(stream, (&raw mut (*cookie).buffer).cast(), libc::_IOFBF, BUFFER);
        if flags & libc::O_APPEND != 0 && flags & libc::O_ACCMODE == libc::O_WRONLY {
            libc::fseek(stream, 0, libc::SEEK_END);
        }
        stream
    };
    cluster::with(process.run, |run| run.stream_made(process, fd, stream.expose_provenance()));
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
            fd => stream_of(process, fd, flags),
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
    let Some(flags) = flags_of(unsafe { CStr::from_ptr(mode) }) else { return none(libc::EINVAL) };
    let is_file = cluster::with(process.run, |run| {
        let (_, file) = run.descriptors.file(process, fd)?;
        Ok::<_, Errno>(matches!(file.object, Object::File(_) | Object::Content(_)))
    });
    match is_file {
        Err(code) => return none(code),
        Ok(false) => return refuse(process, SystemCall::Other, OF_NO_FILE),
        Ok(true) => {}
    }
    // SAFETY: fcntl(2) of a descriptor that is there.
    let of_file = unsafe { libc::fcntl(fd, libc::F_GETFL) };
    // Who may do both may do either.
    if ![libc::O_RDWR, flags & libc::O_ACCMODE].contains(&(of_file & libc::O_ACCMODE)) {
        return none(libc::EINVAL);
    }
    if flags & libc::O_APPEND != 0 {
        // SAFETY: as above.
        unsafe { libc::fcntl(fd, libc::F_SETFL, of_file | libc::O_APPEND) };
    }
    stream_of(process, fd, flags)
}

const OF_NO_FILE: &str = "refused streams of pipes and sockets";

/// Whatever has the stream of another file from then on would have the real one.
///
/// # Safety
/// As freopen(3).
#[unsafe(no_mangle)]
unsafe extern "C" fn freopen64(path: *const c_char, mode: *const c_char, stream: *mut FILE) -> *mut FILE {
    match confined() {
        Some(process) => refuse(process, SystemCall::File, REOPENED),
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
            fd => stream_of(process, fd, libc::O_RDWR | libc::O_TRUNC),
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
        Some(process) => refuse(process, SystemCall::Process, super::refused::PROCESSES),
        // SAFETY: as ours.
        None => unsafe { real!("popen", fn(*const c_char, *const c_char) -> *mut FILE)(command, mode) },
    }
}

/// The descriptor of a stream of ours.
fn descriptor_of(stream: *mut FILE) -> Option<c_int> {
    let process = caller()?;
    cluster::with(process.run, |run| run.descriptors.streams.get(&stream.addr()).map(|stream| stream.fd))
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
