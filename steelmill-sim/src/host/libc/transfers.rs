//! What is done with an open file of a disk, beside read(2) and write(2): at an offset, its length, its syncs, copies within the kernel.

use std::ffi::{c_int, c_uint, c_void};

use libc::{iovec, off64_t, size_t, ssize_t};

use super::files::{buffers, parts, receive, send};
use super::paths::confined;
use super::{answer, process_of, set_errno};
use crate::machine::cluster::{self, Cluster};
use crate::machine::descriptors::{Buffers, Errno, Object};
use crate::machine::disk::Sync;
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

/// preadv2(2) and pwritev2(2) with an offset of -1 go on from where the last ended.
fn read_from(process: Process, fd: c_int, buffers: Buffers<'_>, offset: off64_t) -> Result<ssize_t, Errno> {
    match offset {
        -1 => receive(process, fd, buffers, 0).map(|read| read.bytes as ssize_t),
        offset => read_at(process, fd, buffers, offset),
    }
}

calls! {
    "pread64" pread64, "pread" pread(fd: c_int, buffer: *mut c_void, length: size_t, offset: off64_t) -> ssize_t, process, {
        let vector = iovec { iov_base: buffer, iov_len: length };
        // SAFETY: pread(2): it is valid for writes.
        let buffers = unsafe { buffers(&raw const vector, 1) };
        read_at(process, fd, buffers, offset)
    };
    "pwrite64" pwrite64, "pwrite" pwrite(fd: c_int, buffer: *const c_void, length: size_t, offset: off64_t) -> ssize_t, process, {
        let vector = iovec { iov_base: buffer.cast_mut(), iov_len: length };
        // SAFETY: pwrite(2): it is valid for reads.
        let parts = unsafe { parts(&raw const vector, 1) };
        write_at(process, fd, &parts, offset)
    };
    "preadv64" preadv64, "preadv" preadv(fd: c_int, vectors: *const iovec, count: c_int, offset: off64_t) -> ssize_t, process,
        // SAFETY: preadv(2): so many, each valid for writes.
        read_at(process, fd, unsafe { buffers(vectors, count.max(0) as usize) }, offset);
    "pwritev64" pwritev64, "pwritev" pwritev(fd: c_int, vectors: *const iovec, count: c_int, offset: off64_t) -> ssize_t, process,
        // SAFETY: pwritev(2): so many, each valid for reads.
        write_at(process, fd, &unsafe { parts(vectors, count.max(0) as usize) }, offset);
    "preadv64v2" preadv64v2, "preadv2" preadv2(fd: c_int, vectors: *const iovec, count: c_int, offset: off64_t, _flags: c_int) -> ssize_t, process,
        // SAFETY: preadv2(2): so many, each valid for writes.
        read_from(process, fd, unsafe { buffers(vectors, count.max(0) as usize) }, offset);
    "pwritev64v2" pwritev64v2, "pwritev2" pwritev2(fd: c_int, vectors: *const iovec, count: c_int, offset: off64_t, _flags: c_int) -> ssize_t, process, {
        // SAFETY: pwritev2(2): so many, each valid for reads.
        let mut parts = unsafe { parts(vectors, count.max(0) as usize) };
        match offset {
            -1 => send(process, fd, &mut parts, 0).map(|n| n as ssize_t),
            offset => write_at(process, fd, &parts, offset),
        }
    };
    "lseek64" lseek64, "lseek" lseek(fd: c_int, offset: off64_t, whence: c_int) -> off64_t, process,
        cluster::with(process.run, |run| {
            let (id, file) = run.descriptors.file(process, fd)?;
            match file.object {
                Object::File(_) => run.seek_on_disk(id, offset, whence),
                _ => run.seek(process, fd, offset, whence),
            }
        });
    "ftruncate64" ftruncate64, "ftruncate" ftruncate(fd: c_int, length: off64_t) -> c_int, process,
        cluster::with(process.run, |run| run.truncate_open(process, fd, length)).map(|()| 0);
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
    let is_file = |run: &mut Cluster, fd| {
        Ok::<_, Errno>(matches!(
            run.descriptors.file(process, fd)?.1.object,
            Object::File(_) | Object::Content(_)
        ))
    };
    let are_files =
        cluster::with(process.run, |run| Ok::<_, Errno>([is_file(run, from)?, is_file(run, to)?]));
    match are_files {
        Err(code) => return Some(Err(code)),
        // A caller then reads and writes itself.
        Ok([false, _]) => return Some(Err(libc::EINVAL)),
        Ok([_, false]) if is_of_files => return Some(Err(libc::EINVAL)),
        Ok(_) => {}
    }
    let mut bytes = vec![0; length.min(COPIED_AT_ONCE)];
    let room = Buffers { parts: smallvec::SmallVec::from_iter([&mut bytes[..]]) };
    let n = match from_offset.is_null() {
        true => receive(process, from, room, 0).map(|read| read.bytes),
        // SAFETY: as the caller says.
        false => read_at(process, from, room, unsafe { *from_offset }).map(|n| n as usize),
    };
    Some(n.and_then(|n| {
        let mut part = [std::io::IoSlice::new(&bytes[..n])];
        let written = match to_offset.is_null() {
            _ if n == 0 => Ok(0),
            true => send(process, to, &mut part, 0).map(|n| n as ssize_t),
            // SAFETY: as the caller says.
            false => write_at(process, to, &part, unsafe { *to_offset }),
        }?;
        if from_offset.is_null() {
            let back = written as i64 - n as i64;
            let _ = cluster::with(process.run, |run| {
                let (id, file) = run.descriptors.file(process, from)?;
                match file.object {
                    Object::File(_) => run.seek_on_disk(id, back, libc::SEEK_CUR),
                    _ => run.seek(process, from, back, libc::SEEK_CUR),
                }
            });
        }
        for offset in [from_offset, to_offset].into_iter().filter(|offset| !offset.is_null()) {
            // SAFETY: as the caller says.
            unsafe { *offset += written as off64_t };
        }
        Ok(written)
    }))
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
