//! What is done with an open file of a disk, beside read(2) and write(2): at an offset, its length, its syncs, copies within the kernel.

use std::ffi::{c_int, c_uint, c_void};

use libc::{iovec, off64_t, size_t, ssize_t};

use super::files::{self, buffers, parts, receive, send};
use super::paths::confined;
use super::{answer, process_of, set_errno};
use crate::machine::cluster::{self, Cluster};
use crate::machine::descriptors::{Buffers, Errno, Object};
use crate::machine::disk::{LENGTH_MAX, Sync};
use crate::machine::real::real;
use crate::machine::threads::block_on;
use crate::machine::world::{Process, SimWorld};

use steelmill_core::World as _;

/// Functions on a descriptor that are answered by its process, or by the C library if it has none. Each has a name for files of any
/// length, and one for those of 64 bits, which is the same.
macro_rules! calls {
    ($($($name:literal $function:ident),+ ($fd:ident: c_int $(, $argument:ident: $type:ty)*) -> $result:ty, $process:ident, $call:expr;)*) => {$(
        calls!(@ [$($name $function),+] ($fd: c_int $(, $argument: $type)*) -> $result, $process, $call);
    )*};
    (@ [$name:literal $function:ident $(, $other:literal $alias:ident)*] $arguments:tt -> $result:ty, $process:ident, $call:expr) => {
        calls!(% $name $function $arguments -> $result, $process, $call);
        $(calls!(% $other $alias $arguments -> $result, $process, $call);)*
    };
    (% $name:literal $function:ident ($fd:ident: c_int $(, $argument:ident: $type:ty)*) -> $result:ty, $process:ident, $call:expr) => {
        /// # Safety
        /// As the C library's.
        #[unsafe(no_mangle)]
        unsafe extern "C" fn $function($fd: c_int $(, $argument: $type)*) -> $result {
            match process_of($fd) {
                Some($process) => answer($call),
                // SAFETY: as ours.
                None => unsafe { real!($name, fn(c_int $(, $type)*) -> $result)($fd $(, $argument)*) },
            }
        }
    };
}

/// Waits while a disk works. A task cannot: for it, the disk takes no time.
pub(super) fn wait_for(process: Process, takes: u64) {
    if takes > 0 && super::is_guest() {
        block_on(SimWorld(process).clock().sleep(std::time::Duration::from_nanos(takes)));
    }
}

/// Makes durable what a sync that has begun is of.
pub(super) fn finish(process: Process, sync: Sync) -> Result<(), Errno> {
    wait_for(process, sync.takes);
    cluster::with(process.run, |run| run.end_sync(sync))
}

fn synced(process: Process, fd: c_int) -> Result<c_int, Errno> {
    let sync = cluster::with(process.run, |run| run.begin_sync(process, fd))?;
    finish(process, sync).map(|()| 0)
}

/// An offset that pread(2) and its kin take.
fn offset_of(offset: off64_t) -> Result<u64, Errno> {
    u64::try_from(offset).map_err(|_| libc::EINVAL)
}

fn read_at(process: Process, fd: c_int, mut buffers: Buffers<'_>, offset: off64_t) -> Result<ssize_t, Errno> {
    let offset = offset_of(offset)?;
    cluster::with(process.run, |run| {
        let (id, file) = run.descriptors.file(process, fd)?;
        match file.object {
            Object::File(_) => run.read_disk(id, &mut buffers, Some(offset)),
            _ => {
                run.file_length(process, fd)?;
                run.read_content(id, &mut buffers, Some(offset as usize))
            }
        }
    })
    .map(|n| n as ssize_t)
}

/// lseek(2).
pub(super) fn seek(process: Process, fd: c_int, offset: off64_t, whence: c_int) -> Result<off64_t, Errno> {
    cluster::with(process.run, |run| {
        let (id, file) = run.descriptors.file(process, fd)?;
        match file.object {
            Object::File(_) => run.seek_on_disk(id, offset, whence),
            _ => run.seek(process, fd, offset, whence),
        }
    })
}

fn write_at(
    process: Process,
    fd: c_int,
    parts: &[std::io::IoSlice<'_>],
    offset: off64_t,
) -> Result<ssize_t, Errno> {
    let offset = offset_of(offset)?;
    let (written, sync) = cluster::with(process.run, |run| {
        let (id, file) = run.descriptors.file(process, fd)?;
        match file.object {
            Object::File(_) => {
                let written = run.write_disk(id, parts, Some(offset))?;
                Ok((written, run.sync_of_write(id)))
            }
            Object::Content(_) => run.write_file(id, parts).map(|n| (n.unwrap_or(0), None)),
            _ => Err(libc::ESPIPE),
        }
    })?;
    sync.map_or(Ok(()), |sync| finish(process, sync))?;
    Ok(written as ssize_t)
}

/// What reads into several buffers: of a directory, too, there is nothing to read if these have no room.
pub(super) fn read_parts(
    buffers: Buffers<'_>,
    read: impl FnOnce(Buffers<'_>) -> Result<ssize_t, Errno>,
) -> Result<ssize_t, Errno> {
    let has_room = buffers.room() > 0;
    read(buffers).or_else(|error| if error == libc::EISDIR && !has_room { Ok(0) } else { Err(error) })
}

/// preadv2(2) and pwritev2(2) with an offset of -1 go on from where the last ended.
fn read_from(process: Process, fd: c_int, buffers: Buffers<'_>, offset: off64_t) -> Result<ssize_t, Errno> {
    match offset {
        -1 => receive(process, fd, buffers, None).map(|read| read.bytes as ssize_t),
        offset => read_at(process, fd, buffers, offset),
    }
}

calls! {
    "pread64" pread64, "pread" pread(fd: c_int, buffer: *mut c_void, length: size_t, offset: off64_t) -> ssize_t, process, {
        // SAFETY: pread(2): it is valid for writes.
        let buffer = unsafe { files::buffer(buffer, length) };
        read_at(process, fd, buffer, offset)
    };
    "pwrite64" pwrite64, "pwrite" pwrite(fd: c_int, buffer: *const c_void, length: size_t, offset: off64_t) -> ssize_t, process, {
        // SAFETY: pwrite(2): it is valid for reads.
        let part = unsafe { files::part(buffer, length) };
        write_at(process, fd, &part, offset)
    };
    "preadv64" preadv64, "preadv" preadv(fd: c_int, vectors: *const iovec, count: c_int, offset: off64_t) -> ssize_t, process,
        // SAFETY: preadv(2): so many, each valid for writes.
        read_parts(unsafe { buffers(vectors, count.max(0) as usize) }, |buffers| read_at(process, fd, buffers, offset));
    "pwritev64" pwritev64, "pwritev" pwritev(fd: c_int, vectors: *const iovec, count: c_int, offset: off64_t) -> ssize_t, process,
        // SAFETY: pwritev(2): so many, each valid for reads.
        write_at(process, fd, &unsafe { parts(vectors, count.max(0) as usize) }, offset);
    "preadv64v2" preadv64v2, "preadv2" preadv2(fd: c_int, vectors: *const iovec, count: c_int, offset: off64_t, _flags: c_int) -> ssize_t, process,
        // SAFETY: preadv2(2): so many, each valid for writes.
        read_parts(unsafe { buffers(vectors, count.max(0) as usize) }, |buffers| read_from(process, fd, buffers, offset));
    "pwritev64v2" pwritev64v2, "pwritev2" pwritev2(fd: c_int, vectors: *const iovec, count: c_int, offset: off64_t, _flags: c_int) -> ssize_t, process, {
        // SAFETY: pwritev2(2): so many, each valid for reads.
        let mut parts = unsafe { parts(vectors, count.max(0) as usize) };
        match offset {
            -1 => send(process, fd, &mut parts, None).map(|n| n as ssize_t),
            offset => write_at(process, fd, &parts, offset),
        }
    };
    "lseek64" lseek64, "lseek" lseek(fd: c_int, offset: off64_t, whence: c_int) -> off64_t, process,
        seek(process, fd, offset, whence);
    "ftruncate64" ftruncate64, "ftruncate" ftruncate(fd: c_int, length: off64_t) -> c_int, process,
        match length {
            // Whatever the descriptor is.
            ..0 => Err(libc::EINVAL),
            _ => cluster::with(process.run, |run| run.truncate_open(process, fd, length)).map(|()| 0),
        };
    "fallocate64" fallocate64, "fallocate" fallocate(fd: c_int, mode: c_int, offset: off64_t, length: off64_t) -> c_int, process,
        cluster::with(process.run, |run| run.allocate(process, fd, mode, offset, length)).map(|()| 0);
    "fsync" fsync(fd: c_int) -> c_int, process, synced(process, fd);
    "fdatasync" fdatasync(fd: c_int) -> c_int, process, synced(process, fd);
    "sync_file_range" sync_file_range(fd: c_int, _offset: off64_t, _length: off64_t, _flags: c_uint) -> c_int, process,
        // It "is not suitable for data integrity operations" (sync_file_range(2)): it promises nothing.
        cluster::with(process.run, |run| run.opened(process, fd)).map(|_| 0);
    "syncfs" syncfs(fd: c_int) -> c_int, process, {
        let open = cluster::with(process.run, |run| run.opened(process, fd));
        open.map(|_| {
            sync_all(process);
            0
        })
    };
    "readahead" readahead(fd: c_int, _offset: off64_t, _length: size_t) -> ssize_t, process,
        cluster::with(process.run, |run| run.opened(process, fd)).map(|_| 0);
}

/// They return the error, instead of setting errno.
macro_rules! returning {
    ($($name:literal $function:ident($fd:ident: c_int $(, $argument:ident: $type:ty)*), $process:ident, $call:expr;)*) => {$(
        /// # Safety
        /// As the C library's.
        #[unsafe(no_mangle)]
        unsafe extern "C" fn $function($fd: c_int $(, $argument: $type)*) -> c_int {
            match process_of($fd) {
                Some($process) => $call.err().unwrap_or(0),
                // SAFETY: as ours.
                None => unsafe { real!($name, fn(c_int $(, $type)*) -> c_int)($fd $(, $argument)*) },
            }
        }
    )*};
}

returning! {
    "posix_fallocate64" posix_fallocate64(fd: c_int, offset: off64_t, length: off64_t), process,
        cluster::with(process.run, |run| run.allocate(process, fd, 0, offset, length));
    "posix_fallocate" posix_fallocate(fd: c_int, offset: off64_t, length: off64_t), process,
        cluster::with(process.run, |run| run.allocate(process, fd, 0, offset, length));
    "posix_fadvise64" posix_fadvise64(fd: c_int, _offset: off64_t, _length: off64_t, _advice: c_int), process,
        cluster::with(process.run, |run| run.opened(process, fd));
    "posix_fadvise" posix_fadvise(fd: c_int, _offset: off64_t, _length: off64_t, _advice: c_int), process,
        cluster::with(process.run, |run| run.opened(process, fd));
}

fn sync_all(process: Process) {
    let takes = cluster::with(process.run, |run| run.sync_time(process.machine));
    wait_for(process, takes);
    cluster::with(process.run, |run| run.disk(process.machine).sync_all());
}

/// # Safety
/// As sync(2).
#[unsafe(no_mangle)]
unsafe extern "C" fn sync() {
    match confined() {
        Some(process) => sync_all(process),
        // SAFETY: as ours.
        None => unsafe { real!("sync", fn() -> ())() },
    }
}

/// How much a copy within the kernel moves at once.
const COPIED_AT_ONCE: usize = 64 << 10;

/// Fails where a copy is not possible, as Linux does: of sendfile(2), or of files alone by copy_file_range(2). Whether it is of a
/// directory, and whether to a file that is appended to, which is found out later.
fn check_copy(
    run: &mut Cluster,
    process: Process,
    (from, to): (c_int, c_int),
    is_of_files: bool,
) -> Result<(bool, bool), Errno> {
    let mut file = |fd| match run.descriptors.file(process, fd)?.1.object {
        Object::File(open) if open.flags & libc::O_PATH != 0 => Err(libc::EBADF),
        Object::File(open) => {
            Ok::<_, Errno>(Some((Some(open), run.disk(open.machine).is_directory(open.ino))))
        }
        Object::Content(_) => Ok(Some((None, false))),
        _ => Ok(None),
    };
    let [from, to] = [file(from)?, file(to)?];
    // Where the source is no file a caller then reads and writes itself.
    let Some((source, is_directory)) = from else { return Err(libc::EINVAL) };
    let may_read = source.is_none_or(|open| open.may_read());
    let appends = match to {
        None if is_of_files => return Err(libc::EINVAL),
        None => false,
        Some((target, is_of_directory)) => {
            if is_of_files && (is_directory || is_of_directory) {
                return Err(libc::EISDIR);
            }
            let may_write = target.is_none_or(|open| open.may_write());
            let appends = target.is_some_and(|open| open.flags & libc::O_APPEND != 0);
            if !may_read || !may_write || is_of_files && appends {
                return Err(libc::EBADF);
            }
            appends
        }
    };
    if may_read { Ok((is_directory, appends)) } else { Err(libc::EBADF) }
}

/// Where a file is read from or written to next; none for what has no such place.
fn place_of(run: &mut Cluster, process: Process, fd: c_int) -> Option<off64_t> {
    match run.descriptors.file(process, fd).ok()?.1.object {
        Object::File(open) => Some(open.at as off64_t),
        _ => None,
    }
}

/// Copies between descriptors, from and to offsets or from where each was; how much. `None` if neither is of a process.
///
/// # Safety
/// The offsets are null or valid for reads and writes.
unsafe fn copy(
    (from, from_offset): (c_int, *mut off64_t),
    (to, to_offset): (c_int, *mut off64_t),
    length: size_t,
    is_of_files: bool,
) -> Option<Result<ssize_t, Errno>> {
    let process = process_of(from).or_else(|| process_of(to))?;
    // SAFETY: as the caller says.
    let [given, to_given] = [from_offset, to_offset].map(|offset| unsafe { offset.as_ref() }.copied());
    let copied = copy_at(process, (from, given), (to, to_given), length, is_of_files);
    if let Ok(n) = copied {
        for offset in [from_offset, to_offset].into_iter().filter(|offset| !offset.is_null()) {
            // SAFETY: as the caller says.
            unsafe { *offset += n as off64_t };
        }
    }
    Some(copied)
}

fn copy_at(
    process: Process,
    (from, given): (c_int, Option<off64_t>),
    (to, to_given): (c_int, Option<off64_t>),
    length: size_t,
    is_of_files: bool,
) -> Result<ssize_t, Errno> {
    let ((is_directory, appends), place, to_place) = cluster::with(process.run, |run| {
        let kinds = check_copy(run, process, (from, to), is_of_files)?;
        Ok::<_, Errno>((kinds, place_of(run, process, from), place_of(run, process, to)))
    })?;
    let mut length = length;
    let begins = given.or(place).unwrap_or(0);
    if begins.checked_add_unsigned(length as u64).is_none() && !is_of_files {
        return Err(libc::EINVAL);
    }
    if !is_of_files && place.is_some() && begins > LENGTH_MAX as off64_t - off64_t::from(length > 0) {
        return Err(libc::EOVERFLOW);
    }
    if appends || is_directory && length > 0 {
        return Err(libc::EINVAL);
    }
    if is_of_files {
        let places = (given.or(place).unwrap_or(0), to_given.or(to_place).unwrap_or(0));
        length = cluster::with(process.run, |run| run.check_range_copy(process, (from, to), places, length))?;
    }
    // As the kernel does, piece by piece: a file that is copied to its own end grows.
    let mut bytes = vec![0; length.min(COPIED_AT_ONCE)];
    let mut copied = 0;
    let mut failed = None;
    while copied < length {
        let wanted = (length - copied).min(COPIED_AT_ONCE);
        let piece = copy_piece(
            process,
            (from, given.or(place).map(|at| at + copied as off64_t)),
            (to, to_given.or(to_place).map(|at| at + copied as off64_t)),
            &mut bytes[..wanted],
        );
        match piece {
            Ok(n) => copied += n as usize,
            Err(code) => failed = Some(code),
        }
        // A stream takes what has room.
        if to_place.is_none() || !matches!(piece, Ok(1..)) {
            break;
        }
    }
    if let (0, Some(code)) = (copied, failed) {
        return Err(code);
    }
    cluster::with(process.run, |run| {
        let places =
            [(from, place.filter(|_| given.is_none())), (to, to_place.filter(|_| to_given.is_none()))];
        for (fd, place) in places {
            if let Some(place) = place {
                run.set_position(process, fd, place as u64 + copied as u64);
            }
        }
    });
    Ok(copied as ssize_t)
}

/// Copies what fits into a buffer, from and to offsets or from where each was; how much.
fn copy_piece(
    process: Process,
    (from, at): (c_int, Option<off64_t>),
    (to, to_at): (c_int, Option<off64_t>),
    bytes: &mut [u8],
) -> Result<ssize_t, Errno> {
    let room = Buffers::one(&mut *bytes);
    let n = match at {
        None => receive(process, from, room, None)?.bytes,
        Some(at) => read_at(process, from, room, at)? as usize,
    };
    let mut part = [std::io::IoSlice::new(&bytes[..n])];
    let written = match to_at {
        _ if n == 0 => return Ok(0),
        None => send(process, to, &mut part, None)? as ssize_t,
        Some(at) => write_at(process, to, &part, at)?,
    };
    // What has a place of its own was read as a whole.
    if at.is_none() {
        cluster::with(process.run, |run| run.seek(process, from, written as i64 - n as i64, libc::SEEK_CUR))?;
    }
    Ok(written)
}

/// The functions that copy from a descriptor to another.
macro_rules! copies {
    ($($name:literal $function:ident($($argument:ident: $type:ty),*), $copy:expr;)*) => {$(
        /// # Safety
        /// As the C library's.
        #[unsafe(no_mangle)]
        unsafe extern "C" fn $function($($argument: $type),*) -> ssize_t {
            // SAFETY: as ours.
            match unsafe { $copy } {
                Some(copied) => answer(copied),
                // SAFETY: as ours.
                None => unsafe { real!($name, fn($($type),*) -> ssize_t)($($argument),*) },
            }
        }
    )*};
}

copies! {
    "sendfile64" sendfile64(to: c_int, from: c_int, offset: *mut off64_t, length: size_t),
        copy((from, offset), (to, std::ptr::null_mut()), length, false);
    "sendfile" sendfile(to: c_int, from: c_int, offset: *mut off64_t, length: size_t),
        copy((from, offset), (to, std::ptr::null_mut()), length, false);
    "copy_file_range" copy_file_range(
        from: c_int, from_offset: *mut off64_t, to: c_int, to_offset: *mut off64_t, length: size_t, _flags: c_uint
    ), copy((from, from_offset), (to, to_offset), length, true);
}

/// A pipe is needed on one side (splice(2)), for which this has none.
///
/// # Safety
/// As splice(2).
#[unsafe(no_mangle)]
unsafe extern "C" fn splice(
    from: c_int,
    from_offset: *mut off64_t,
    to: c_int,
    to_offset: *mut off64_t,
    length: size_t,
    flags: c_uint,
) -> ssize_t {
    if process_of(from).or_else(|| process_of(to)).is_some() {
        set_errno(libc::EINVAL);
        return -1;
    }
    type Splice = unsafe extern "C" fn(c_int, *mut off64_t, c_int, *mut off64_t, size_t, c_uint) -> ssize_t;
    // SAFETY: as ours.
    unsafe { real!(@ "splice", Splice)(from, from_offset, to, to_offset, length, flags) }
}
