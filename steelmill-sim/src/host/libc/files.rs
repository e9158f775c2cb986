//! Reading, writing and closing descriptors, and what fcntl(2) and ioctl(2) set on them.

use std::ffi::{c_int, c_uint, c_ulong, c_void};
use std::io::IoSlice;

use libc::{iovec, size_t, ssize_t};
use smallvec::SmallVec;

use super::paths::confined;
use super::{answer, caller, file_locks, interfaces, process_of, set_errno, sockets, transfers, when_ready};
use crate::machine::cluster::{self, Cluster};
use crate::machine::descriptors::{Buffers, Direction, Errno, FIRST, FileId, Object, Read};
use crate::machine::real::real;
use crate::machine::runtimes::{caller_of, is_orphan};
use crate::machine::world::Process;

/// The buffers of a vectored call.
///
/// # Safety
/// `vectors` is valid for reads of `count`, each of which is valid for writes.
pub(super) unsafe fn buffers<'a>(vectors: *const iovec, count: usize) -> Buffers<'a> {
    // SAFETY: as the caller says; an empty buffer may have any pointer, so it is left out.
    let part = |n| unsafe {
        let vector = &*vectors.add(n);
        (vector.iov_len > 0)
            .then(|| std::slice::from_raw_parts_mut(vector.iov_base.cast::<u8>(), vector.iov_len))
    };
    (0..count).filter_map(part).collect()
}

/// The buffer of a call.
///
/// # Safety
/// `buffer` is valid for writes of `length`, or that is 0.
pub(super) unsafe fn buffer<'a>(buffer: *mut c_void, length: size_t) -> Buffers<'a> {
    Buffers::one(match length {
        0 => &mut [],
        // SAFETY: as the caller says.
        _ => unsafe { std::slice::from_raw_parts_mut(buffer.cast::<u8>(), length) },
    })
}

/// What a write takes its bytes from: one part after the other.
pub(super) type Parts<'a> = SmallVec<[IoSlice<'a>; 2]>;

/// The parts of a vectored write.
///
/// # Safety
/// `vectors` is valid for reads of `count`, each of which is valid for reads.
pub(super) unsafe fn parts<'a>(vectors: *const iovec, count: usize) -> Parts<'a> {
    // SAFETY: as in `buffers`.
    let part = |n| unsafe {
        let vector = &*vectors.add(n);
        (vector.iov_len > 0)
            .then(|| IoSlice::new(std::slice::from_raw_parts(vector.iov_base.cast::<u8>(), vector.iov_len)))
    };
    (0..count).filter_map(part).collect()
}

/// What a call writes.
///
/// # Safety
/// `bytes` is valid for reads of `length`, or that is 0.
pub(super) unsafe fn part<'a>(bytes: *const c_void, length: size_t) -> Parts<'a> {
    let bytes = match length {
        0 => &[],
        // SAFETY: as the caller says.
        _ => unsafe { std::slice::from_raw_parts(bytes.cast::<u8>(), length) },
    };
    let count = usize::from(length > 0);
    Parts::from_buf_and_len([IoSlice::new(bytes), IoSlice::new(&[])], count)
}

/// Reads as soon as there is something. With flags it is recv(2), of sockets alone.
pub(super) fn receive(
    process: Process,
    fd: c_int,
    mut buffers: Buffers<'_>,
    flags: Option<c_int>,
) -> Result<Read, Errno> {
    let (of_socket, flags) = (flags.is_some(), flags.unwrap_or(0));
    let is_peek = flags & libc::MSG_PEEK != 0;
    let may_be_short = !is_peek && flags & libc::MSG_WAITALL == 0;
    let (mut is_first, mut is_short) = (true, false);
    let mut read = Read::of(0);
    when_ready(process, fd, Direction::Read, flags & libc::MSG_DONTWAIT != 0, |run, id| {
        if std::mem::take(&mut is_first) && is_stream(run, id, of_socket)? && may_be_short {
            let room = buffers.room();
            let length = run.transfer_length(room);
            is_short = length < room;
            if is_short {
                buffers.truncate(length);
            }
        }
        let Some(done) = run.read_file(id, &mut buffers, is_peek)? else { return Ok(None) };
        read = done;
        if is_short {
            run.report_again(process, fd);
        }
        Ok(Some(()))
    })?;
    Ok(read)
}

/// Whether a file is a socket of a stream, of which any part may be transferred; ENOTSOCK where it has to be a socket.
#[inline]
fn is_stream(run: &mut Cluster, id: FileId, of_socket: bool) -> Result<bool, Errno> {
    match &run.descriptors.get(id).object {
        Object::Socket(socket) if socket.connection().is_some() => Ok(true),
        Object::Socket(socket) => {
            let socket = *socket;
            Ok(run.is_stream_socket(socket))
        }
        Object::Netlink(_) => Ok(false),
        _ if of_socket => Err(libc::ENOTSOCK),
        // Of a pipe a read gives all that there is, and a write of PIPE_BUF or less is whole (pipe(7)).
        _ => Ok(false),
    }
}

/// Writes as soon as there is room. A blocking write of a stream goes on until all is written (write(2) on a socket). With flags
/// it is send(2), of sockets alone.
pub(super) fn send(
    process: Process,
    fd: c_int,
    mut parts: &mut [IoSlice<'_>],
    flags: Option<c_int>,
) -> Result<usize, Errno> {
    let (of_socket, flags) = (flags.is_some(), flags.unwrap_or(0));
    let is_nonblocking = flags & libc::MSG_DONTWAIT != 0;
    let mut written = 0;
    loop {
        let whole: usize = parts.iter().map(|part| part.len()).sum();
        let (mut is_first, mut length, mut is_blocking) = (true, whole, false);
        let sent = when_ready(process, fd, Direction::Write, is_nonblocking, |run, id| {
            if std::mem::take(&mut is_first) {
                match is_stream(run, id, of_socket)? {
                    true => length = run.transfer_length(whole),
                    false => sockets::bind_before_sending(run, id)?,
                }
            }
            let sent = match length < whole {
                true => run.write_file(id, &first_bytes(parts, length))?,
                false => run.write_file(id, parts)?,
            };
            if length < whole && sent.is_some() {
                run.report_again(process, fd);
            }
            is_blocking = !run.descriptors.get(id).is_nonblocking;
            Ok(sent)
        });
        match sent {
            Ok(n) if n == whole => return Ok(written + n),
            Ok(n) => {
                written += n;
                IoSlice::advance_slices(&mut parts, n);
                if n == 0 || !is_blocking || is_nonblocking {
                    return Ok(written);
                }
            }
            Err(_) if written > 0 => return Ok(written),
            Err(code) => return Err(code),
        }
    }
}

/// write(2), and a sync where the file was opened for that (O_SYNC).
fn write_and_sync(process: Process, fd: c_int, parts: &mut [IoSlice<'_>]) -> Result<ssize_t, Errno> {
    let written = send(process, fd, parts, None)?;
    let sync = cluster::with(process.run, |run| {
        let (id, _) = run.descriptors.file(process, fd).ok()?;
        run.sync_of_write(id)
    });
    sync.map_or(Ok(()), |sync| transfers::finish(process, sync))?;
    Ok(written as ssize_t)
}

/// The first bytes of several parts.
fn first_bytes<'a>(parts: &'a [IoSlice<'_>], mut length: usize) -> Parts<'a> {
    let mut some = Parts::new();
    for part in parts {
        let n = part.len().min(length);
        some.push(IoSlice::new(&part[..n]));
        length -= n;
        if length == 0 {
            break;
        }
    }
    some
}

/// # Safety
/// As read(2).
#[unsafe(no_mangle)]
unsafe extern "C" fn read(fd: c_int, buffer: *mut c_void, length: size_t) -> ssize_t {
    match process_of(fd) {
        // SAFETY: as ours.
        Some(process) => answer(
            receive(process, fd, unsafe { self::buffer(buffer, length) }, None)
                .map(|read| read.bytes as ssize_t),
        ),
        // SAFETY: as ours.
        None => unsafe { real!("read", fn(c_int, *mut c_void, size_t) -> ssize_t)(fd, buffer, length) },
    }
}

/// # Safety
/// As write(2).
#[unsafe(no_mangle)]
unsafe extern "C" fn write(fd: c_int, buffer: *const c_void, length: size_t) -> ssize_t {
    match process_of(fd) {
        // SAFETY: as ours.
        Some(process) => answer(write_and_sync(process, fd, &mut unsafe { part(buffer, length) })),
        None if is_orphan(fd) => length as ssize_t,
        // SAFETY: as ours.
        None => unsafe { real!("write", fn(c_int, *const c_void, size_t) -> ssize_t)(fd, buffer, length) },
    }
}

/// # Safety
/// As readv(2).
#[unsafe(no_mangle)]
unsafe extern "C" fn readv(fd: c_int, vectors: *const iovec, count: c_int) -> ssize_t {
    match process_of(fd) {
        // SAFETY: as ours.
        Some(process) => {
            answer(transfers::read_parts(unsafe { buffers(vectors, count.max(0) as usize) }, |buffers| {
                receive(process, fd, buffers, None).map(|read| read.bytes as ssize_t)
            }))
        }
        // SAFETY: as ours.
        None => unsafe { real!("readv", fn(c_int, *const iovec, c_int) -> ssize_t)(fd, vectors, count) },
    }
}

/// # Safety
/// As writev(2).
#[unsafe(no_mangle)]
unsafe extern "C" fn writev(fd: c_int, vectors: *const iovec, count: c_int) -> ssize_t {
    match process_of(fd) {
        // SAFETY: as ours.
        Some(process) => {
            answer(write_and_sync(process, fd, &mut unsafe { parts(vectors, count.max(0) as usize) }))
        }
        // SAFETY: as ours.
        None => unsafe { real!("writev", fn(c_int, *const iovec, c_int) -> ssize_t)(fd, vectors, count) },
    }
}

/// # Safety
/// As close(2).
#[unsafe(no_mangle)]
unsafe extern "C" fn close(fd: c_int) -> c_int {
    match process_of(fd) {
        Some(process) => {
            answer(cluster::with(process.run, |run| run.close_descriptor(process, fd)).map(|()| 0))
        }
        None if is_orphan(fd) => 0,
        // SAFETY: as ours.
        None => unsafe { real!("close", fn(c_int) -> c_int)(fd) },
    }
}

/// # Safety
/// As close_range(2). Those of the real process stay open, but for its standard streams, which a machine's process does not close.
#[unsafe(no_mangle)]
unsafe extern "C" fn close_range(first: c_uint, last: c_uint, flags: c_int) -> c_int {
    /// CLOSE_RANGE_CLOEXEC: they are marked instead, which has no effect here.
    const MARKS: c_int = 4;
    let Some(process) = confined() else {
        // SAFETY: as ours.
        return unsafe { real!("close_range", fn(c_uint, c_uint, c_int) -> c_int)(first, last, flags) };
    };
    if first > last {
        return answer(Err(libc::EINVAL));
    }
    if flags & MARKS == 0 {
        cluster::with(process.run, |run| run.close_descriptors(process, first, last));
    }
    0
}

/// # Safety
/// As closefrom(3).
#[unsafe(no_mangle)]
unsafe extern "C" fn closefrom(first: c_int) {
    match confined() {
        // SAFETY: as ours.
        Some(_) => unsafe { _ = close_range(first.max(0) as c_uint, c_uint::MAX, 0) },
        // SAFETY: as ours.
        None => unsafe { real!("closefrom", fn(c_int) -> ())(first) },
    }
}

/// No descriptor of a process is a terminal, whatever the real process writes to.
///
/// # Safety
/// As isatty(3).
#[unsafe(no_mangle)]
unsafe extern "C" fn isatty(fd: c_int) -> c_int {
    match confined() {
        Some(process) => {
            let is_known =
                fd < FIRST || cluster::with(process.run, |run| run.descriptors.file(process, fd).is_ok());
            set_errno(if is_known { libc::ENOTTY } else { libc::EBADF });
            0
        }
        // SAFETY: as ours.
        None => unsafe { real!("isatty", fn(c_int) -> c_int)(fd) },
    }
}

/// Whether a request is one to a terminal: TCGETS to TIOCGPTPEER.
fn is_of_terminal(request: c_ulong) -> bool {
    request >> 8 & 0xff == 0x54
        && !matches!(request, libc::FIONBIO | libc::FIONREAD | libc::FIOCLEX | libc::FIONCLEX)
}

/// What the kernel of a 64-bit system tells of every open file; the crate libc has zero for it.
const LARGE: c_int = 0o100_000;

fn control(process: Process, fd: c_int, command: c_int, argument: usize) -> Result<c_int, Errno> {
    cluster::with(process.run, |run| match command {
        libc::F_GETFD => run.descriptors.file(process, fd).map(|_| libc::FD_CLOEXEC),
        libc::F_SETFD => run.descriptors.file(process, fd).map(|_| 0),
        libc::F_GETFL => {
            let (_, file) = run.descriptors.file(process, fd)?;
            let mode = match file.object {
                Object::File(open) if open.flags & libc::O_PATH != 0 => return Ok(open.flags),
                Object::File(open) => open.flags | LARGE,
                _ => libc::O_RDWR,
            };
            Ok(mode & !libc::O_NONBLOCK | if file.is_nonblocking { libc::O_NONBLOCK } else { 0 })
        }
        libc::F_SETFL => {
            let (_, file) = run.descriptors.file(process, fd)?;
            if matches!(file.object, Object::File(open) if open.flags & libc::O_PATH != 0) {
                return Err(libc::EBADF);
            }
            file.is_nonblocking = argument as c_int & libc::O_NONBLOCK != 0;
            if let Object::File(open) = &mut file.object {
                let set = libc::O_APPEND | libc::O_DIRECT | libc::O_NOATIME;
                open.flags = open.flags & !set | argument as c_int & set;
            }
            Ok(0)
        }
        _ => Err(libc::EINVAL),
    })
}

/// Another descriptor for the file of one. A library's static may hold a descriptor of another process: of an earlier run, of
/// another machine, or of the real one, as tokio's does for signals. What such a one stands for is not here, so its duplicate
/// is the end of a socket pair that nobody writes to.
fn duplicate(process: Process, fd: c_int, least: c_int) -> Result<c_int, Errno> {
    cluster::with(process.run, |run| match run.duplicate(process, fd, least) {
        Err(libc::EBADF) => {
            let [silent, kept] = run.unix_sockets(process, true).map(Object::Socket);
            run.open_file(process, kept, true)?;
            run.open_file(process, silent, true)
        }
        duplicated => duplicated,
    })
}

/// fcntl(2) takes an argument or none; see `syscall` for why a function of three is the same to its caller.
///
/// # Safety
/// As fcntl(2).
#[unsafe(no_mangle)]
unsafe extern "C" fn fcntl(fd: c_int, command: c_int, argument: usize) -> c_int {
    if let (Some(process), libc::F_DUPFD | libc::F_DUPFD_CLOEXEC) = (caller(), command)
        && fd > libc::STDERR_FILENO
    {
        return answer(duplicate(process, fd, argument as c_int));
    }
    match process_of(fd) {
        Some(process) if matches!(command, libc::F_GETLK..=libc::F_SETLKW | libc::F_OFD_GETLK..=libc::F_OFD_SETLKW) =>
        {
            // SAFETY: fcntl(2): with these commands the argument is a lock.
            answer(unsafe {
                file_locks::control(process, fd, command, std::ptr::with_exposed_provenance_mut(argument))
            })
        }
        Some(process) => answer(control(process, fd, command, argument)),
        None if is_orphan(fd) && command == libc::F_GETFD => libc::FD_CLOEXEC,
        // SAFETY: as ours.
        None => unsafe { real!("fcntl", fn(c_int, c_int, usize) -> c_int)(fd, command, argument) },
    }
}

/// # Safety
/// As fcntl(2).
#[unsafe(no_mangle)]
unsafe extern "C" fn fcntl64(fd: c_int, command: c_int, argument: usize) -> c_int {
    // SAFETY: as ours; on a 64-bit system they are one.
    unsafe { fcntl(fd, command, argument) }
}

/// # Safety
/// As ioctl(2).
#[unsafe(no_mangle)]
unsafe extern "C" fn ioctl(fd: c_int, request: c_ulong, argument: *mut c_int) -> c_int {
    let Some(process) = process_of(fd) else {
        if is_of_terminal(request) && confined().is_some() {
            return answer(Err(libc::ENOTTY));
        }
        // SAFETY: as ours.
        return unsafe { real!("ioctl", fn(c_int, c_ulong, *mut c_int) -> c_int)(fd, request, argument) };
    };
    // SAFETY: as ours.
    if let Some(told) = unsafe { interfaces::control(process, request, argument) } {
        return answer(told);
    }
    answer(cluster::with(process.run, |run| {
        let (id, file) = run.descriptors.file(process, fd)?;
        match request {
            libc::FIONBIO => {
                // SAFETY: ioctl(2): this request's argument is an int to read.
                file.is_nonblocking = unsafe { argument.read() } != 0;
                Ok(0)
            }
            libc::FIOCLEX | libc::FIONCLEX => Ok(0),
            libc::FIONREAD => {
                let count = run.available(id)?;
                // SAFETY: ioctl(2): this request's argument is an int to write.
                unsafe { argument.write(count as c_int) };
                Ok(0)
            }
            _ => Err(libc::ENOTTY),
        }
    }))
}

/// # Safety
/// As dup(2).
#[unsafe(no_mangle)]
unsafe extern "C" fn dup(fd: c_int) -> c_int {
    match process_of(fd) {
        Some(process) => answer(cluster::with(process.run, |run| run.duplicate(process, fd, 0))),
        // SAFETY: as ours.
        None => unsafe { real!("dup", fn(c_int) -> c_int)(fd) },
    }
}

/// # Safety
/// As dup2(2).
#[unsafe(no_mangle)]
unsafe extern "C" fn dup2(fd: c_int, to: c_int) -> c_int {
    match process_of(fd) {
        Some(process) => answer(cluster::with(process.run, |run| run.duplicate_to(process, fd, to))),
        // A real one in place of a machine's: none has it.
        None if caller_of(to).is_some() => answer(Err(libc::EBADF)),
        // SAFETY: as ours.
        None => unsafe { real!("dup2", fn(c_int, c_int) -> c_int)(fd, to) },
    }
}

/// # Safety
/// As dup3(2).
#[unsafe(no_mangle)]
unsafe extern "C" fn dup3(fd: c_int, to: c_int, flags: c_int) -> c_int {
    match process_of(fd).or_else(|| caller_of(to)) {
        Some(_) if fd == to || flags & !libc::O_CLOEXEC != 0 => answer(Err(libc::EINVAL)),
        // SAFETY: as ours.
        Some(_) => unsafe { dup2(fd, to) },
        // SAFETY: as ours.
        None => unsafe { real!("dup3", fn(c_int, c_int, c_int) -> c_int)(fd, to, flags) },
    }
}

/// # Safety
/// As pipe2(2).
#[unsafe(no_mangle)]
unsafe extern "C" fn pipe2(ends: *mut c_int, flags: c_int) -> c_int {
    match caller() {
        Some(process) => {
            let open = |run: &mut Cluster| run.open_pipe().map(Object::Pipe);
            // SAFETY: as ours.
            answer(unsafe { open_both(process, ends, flags & libc::O_NONBLOCK != 0, open) })
        }
        // SAFETY: as ours.
        None => unsafe { real!("pipe2", fn(*mut c_int, c_int) -> c_int)(ends, flags) },
    }
}

/// # Safety
/// As pipe(2).
#[unsafe(no_mangle)]
unsafe extern "C" fn pipe(ends: *mut c_int) -> c_int {
    // SAFETY: as ours.
    unsafe { pipe2(ends, 0) }
}

/// Opens two files at once: a pipe, or a socket pair.
///
/// # Safety
/// `ends` is valid for two writes.
pub(super) unsafe fn open_both(
    process: Process,
    ends: *mut c_int,
    is_nonblocking: bool,
    open: impl FnOnce(&mut Cluster) -> [Object; 2],
) -> Result<c_int, Errno> {
    let opened = cluster::with(process.run, |run| {
        let [one, other] = open(run);
        let one = run.open_file(process, one, is_nonblocking);
        let other = run.open_file(process, other, is_nonblocking);
        match (one, other) {
            (Ok(one), Ok(other)) => Ok([one, other]),
            (one, other) => {
                for fd in [one, other].into_iter().flatten() {
                    let _ = run.close_descriptor(process, fd);
                }
                Err(libc::EMFILE)
            }
        }
    })?;
    // SAFETY: as the caller says.
    unsafe { ends.cast::<[c_int; 2]>().write(opened) };
    Ok(0)
}
