//! Calls on files through the C library, each as a safe function that returns the value or errno.
//!
//! Inside a simulated program the simulation answers them, elsewhere Linux does.
#![allow(unsafe_code, reason = "these are foreign functions; the argument stands beside each")]

use std::ffi::{CStr, CString, c_int};
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd, RawFd};

use super::super::calls::{Errno, last, result};

fn string(path: &str) -> CString {
    CString::new(path).expect("no path has a zero byte")
}

fn size(value: isize) -> Result<usize, Errno> {
    usize::try_from(value).map_err(|_| last())
}

/// openat(2).
pub(crate) fn open(base: RawFd, path: &str, flags: c_int, mode: u32) -> Result<OwnedFd, Errno> {
    let path = string(path);
    // SAFETY: the path is a string; what is opened is the caller's.
    result(unsafe { libc::openat(base, path.as_ptr(), flags | libc::O_CLOEXEC, mode) })
        .map(|fd| unsafe { OwnedFd::from_raw_fd(fd) })
}

/// dup(2).
pub(crate) fn duplicate(fd: &OwnedFd) -> Result<OwnedFd, Errno> {
    // SAFETY: it takes no pointer; what is opened is the caller's.
    result(unsafe { libc::dup(fd.as_raw_fd()) }).map(|fd| unsafe { OwnedFd::from_raw_fd(fd) })
}

/// read(2), or pread(2) at an offset.
pub(crate) fn read(fd: &OwnedFd, at: Option<i64>, buffer: &mut [u8]) -> Result<usize, Errno> {
    let (fd, place, length) = (fd.as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len());
    // SAFETY: the buffer has so many bytes.
    size(unsafe {
        match at {
            None => libc::read(fd, place, length),
            Some(at) => libc::pread64(fd, place, length, at),
        }
    })
}

/// readv(2), or preadv(2) at an offset.
pub(crate) fn read_parts(fd: &OwnedFd, at: Option<i64>, buffers: [&mut [u8]; 2]) -> Result<usize, Errno> {
    let vectors = buffers.map(|part| libc::iovec { iov_base: part.as_mut_ptr().cast(), iov_len: part.len() });
    // SAFETY: there are two buffers, of so many bytes.
    size(unsafe {
        match at {
            None => libc::readv(fd.as_raw_fd(), vectors.as_ptr(), 2),
            Some(at) => libc::preadv64(fd.as_raw_fd(), vectors.as_ptr(), 2, at),
        }
    })
}

/// write(2), or pwrite(2) at an offset.
pub(crate) fn write(fd: &OwnedFd, at: Option<i64>, bytes: &[u8]) -> Result<usize, Errno> {
    let (fd, place, length) = (fd.as_raw_fd(), bytes.as_ptr().cast(), bytes.len());
    // SAFETY: there are so many bytes.
    size(unsafe {
        match at {
            None => libc::write(fd, place, length),
            Some(at) => libc::pwrite64(fd, place, length, at),
        }
    })
}

/// writev(2), or pwritev(2) at an offset.
pub(crate) fn write_parts(fd: &OwnedFd, at: Option<i64>, parts: [&[u8]; 2]) -> Result<usize, Errno> {
    let vectors =
        parts.map(|part| libc::iovec { iov_base: part.as_ptr().cast_mut().cast(), iov_len: part.len() });
    // SAFETY: there are two parts, of so many bytes.
    size(unsafe {
        match at {
            None => libc::writev(fd.as_raw_fd(), vectors.as_ptr(), 2),
            Some(at) => libc::pwritev64(fd.as_raw_fd(), vectors.as_ptr(), 2, at),
        }
    })
}

/// lseek(2).
pub(crate) fn seek(fd: &OwnedFd, to: i64, whence: c_int) -> Result<i64, Errno> {
    // SAFETY: it takes no pointer.
    let at = unsafe { libc::lseek64(fd.as_raw_fd(), to, whence) };
    if at < 0 { Err(last()) } else { Ok(at) }
}

/// Has the kernel forget what it read ahead, which lseek(2) takes for data where a file was only reserved.
pub(crate) fn forget_cache(fd: &OwnedFd) {
    // SAFETY: it takes no pointer.
    unsafe { libc::posix_fadvise64(fd.as_raw_fd(), 0, 0, libc::POSIX_FADV_DONTNEED) };
}

/// ftruncate(2).
pub(crate) fn truncate(fd: &OwnedFd, length: i64) -> Result<c_int, Errno> {
    // SAFETY: it takes no pointer.
    result(unsafe { libc::ftruncate64(fd.as_raw_fd(), length) })
}

/// truncate(2).
pub(crate) fn truncate_path(path: &str, length: i64) -> Result<c_int, Errno> {
    let path = string(path);
    // SAFETY: the path is a string.
    result(unsafe { libc::truncate64(path.as_ptr(), length) })
}

/// fallocate(2).
pub(crate) fn allocate(fd: &OwnedFd, mode: c_int, at: i64, length: i64) -> Result<c_int, Errno> {
    // SAFETY: it takes no pointer.
    result(unsafe { libc::fallocate64(fd.as_raw_fd(), mode, at, length) })
}

/// fsync(2), or fdatasync(2).
pub(crate) fn sync(fd: &OwnedFd, is_data: bool) -> Result<c_int, Errno> {
    // SAFETY: they take no pointer.
    result(unsafe { if is_data { libc::fdatasync(fd.as_raw_fd()) } else { libc::fsync(fd.as_raw_fd()) } })
}

/// renameat2(2).
pub(crate) fn rename(base: RawFd, from: &str, to: &str, flags: u32) -> Result<c_int, Errno> {
    let (from, to) = (string(from), string(to));
    // SAFETY: both are strings.
    result(unsafe { libc::renameat2(base, from.as_ptr(), base, to.as_ptr(), flags) })
}

/// linkat(2), from a path of its own.
pub(crate) fn link(base: RawFd, from: &str, to: &str, flags: c_int) -> Result<c_int, Errno> {
    let (from, to) = (string(from), string(to));
    // SAFETY: both are strings.
    result(unsafe { libc::linkat(base, from.as_ptr(), base, to.as_ptr(), flags) })
}

/// symlinkat(2).
pub(crate) fn symlink(target: &str, base: RawFd, path: &str) -> Result<c_int, Errno> {
    let (target, path) = (string(target), string(path));
    // SAFETY: both are strings.
    result(unsafe { libc::symlinkat(target.as_ptr(), base, path.as_ptr()) })
}

/// readlinkat(2).
pub(crate) fn read_link(base: RawFd, path: &str) -> Result<Vec<u8>, Errno> {
    let path = string(path);
    let mut buffer = vec![0; 300];
    // SAFETY: the path is a string, and the buffer has so many bytes.
    let n = size(unsafe { libc::readlinkat(base, path.as_ptr(), buffer.as_mut_ptr().cast(), buffer.len()) })?;
    buffer.truncate(n);
    Ok(buffer)
}

/// unlinkat(2).
pub(crate) fn unlink(base: RawFd, path: &str, flags: c_int) -> Result<c_int, Errno> {
    let path = string(path);
    // SAFETY: the path is a string.
    result(unsafe { libc::unlinkat(base, path.as_ptr(), flags) })
}

/// mkdirat(2).
pub(crate) fn make_directory(base: RawFd, path: &str, mode: u32) -> Result<c_int, Errno> {
    let path = string(path);
    // SAFETY: the path is a string.
    result(unsafe { libc::mkdirat(base, path.as_ptr(), mode) })
}

/// fdopendir(3), readdir(3) and closedir(3): names and types.
pub(crate) fn list(directory: OwnedFd) -> Result<Vec<(Vec<u8>, u8)>, Errno> {
    use std::os::fd::IntoRawFd as _;
    let fd = directory.into_raw_fd();
    let mut entries = Vec::new();
    // SAFETY: the descriptor is given away; an entry is valid until the next call.
    unsafe {
        let stream = libc::fdopendir(fd);
        if stream.is_null() {
            let error = last();
            libc::close(fd);
            return Err(error);
        }
        while let Some(entry) = libc::readdir64(stream).as_ref() {
            entries.push((CStr::from_ptr(entry.d_name.as_ptr()).to_bytes().to_vec(), entry.d_type));
        }
        libc::closedir(stream);
    }
    Ok(entries)
}

/// statx(2).
pub(crate) fn status(base: RawFd, path: &str, flags: c_int) -> Result<libc::statx, Errno> {
    let path = string(path);
    let mask = libc::STATX_BASIC_STATS | libc::STATX_BTIME;
    let mut status = MaybeUninit::<libc::statx>::zeroed();
    // SAFETY: the path is a string, and there is room for the answer.
    result(unsafe { libc::statx(base, path.as_ptr(), flags, mask, status.as_mut_ptr()) })?;
    // SAFETY: it has been written.
    Ok(unsafe { status.assume_init() })
}

/// faccessat(2).
pub(crate) fn access(base: RawFd, path: &str, mode: c_int) -> Result<c_int, Errno> {
    let path = string(path);
    // SAFETY: the path is a string.
    result(unsafe { libc::faccessat(base, path.as_ptr(), mode, libc::AT_EACCESS) })
}

/// fchmodat(2).
pub(crate) fn set_mode(base: RawFd, path: &str, mode: u32) -> Result<c_int, Errno> {
    let path = string(path);
    // SAFETY: the path is a string.
    result(unsafe { libc::fchmodat(base, path.as_ptr(), mode, 0) })
}

/// fchmod(2).
pub(crate) fn set_mode_open(fd: &OwnedFd, mode: u32) -> Result<c_int, Errno> {
    // SAFETY: it takes no pointer.
    result(unsafe { libc::fchmod(fd.as_raw_fd(), mode) })
}

/// utimensat(2).
pub(crate) fn set_time(base: RawFd, path: &str, seconds: i64) -> Result<c_int, Errno> {
    let path = string(path);
    let time = libc::timespec { tv_sec: seconds, tv_nsec: 5 };
    let times = [time, time];
    // SAFETY: the path is a string, and there are two times.
    result(unsafe { libc::utimensat(base, path.as_ptr(), times.as_ptr(), 0) })
}

/// fcntl(2) with an integer.
pub(crate) fn control(fd: &OwnedFd, command: c_int, argument: c_int) -> Result<c_int, Errno> {
    // SAFETY: it takes no pointer.
    result(unsafe { libc::fcntl(fd.as_raw_fd(), command, argument) })
}

/// flock(2).
pub(crate) fn lock(fd: &OwnedFd, operation: c_int) -> Result<c_int, Errno> {
    // SAFETY: it takes no pointer.
    result(unsafe { libc::flock(fd.as_raw_fd(), operation) })
}

/// fcntl(2) with a lock, which it may change.
pub(crate) fn lock_range(fd: &OwnedFd, command: c_int, lock: &mut libc::flock) -> Result<c_int, Errno> {
    // SAFETY: it is a lock.
    result(unsafe { libc::fcntl(fd.as_raw_fd(), command, std::ptr::from_mut(lock)) })
}

/// This process.
pub(crate) fn process() -> i32 {
    // SAFETY: it takes no pointer.
    unsafe { libc::getpid() }
}

/// sendfile(2).
pub(crate) fn send_file(
    to: &OwnedFd,
    from: &OwnedFd,
    at: Option<&mut i64>,
    length: usize,
) -> Result<usize, Errno> {
    let at = at.map_or(std::ptr::null_mut(), std::ptr::from_mut);
    // SAFETY: the offset is null or one.
    size(unsafe { libc::sendfile64(to.as_raw_fd(), from.as_raw_fd(), at, length) })
}

/// copy_file_range(2).
pub(crate) fn copy_range(
    (from, at): (&OwnedFd, Option<&mut i64>),
    (to, to_at): (&OwnedFd, Option<&mut i64>),
    length: usize,
) -> Result<usize, Errno> {
    let [at, to_at] = [at, to_at].map(|at| at.map_or(std::ptr::null_mut(), std::ptr::from_mut));
    // SAFETY: the offsets are null or one.
    size(unsafe { libc::copy_file_range(from.as_raw_fd(), at, to.as_raw_fd(), to_at, length, 0) })
}

/// Mapped memory, which is unmapped when it is dropped.
pub(crate) struct Mapping {
    at: *mut u8,
    pub(crate) length: usize,
    /// Where in its file it begins.
    pub(crate) offset: u64,
    pub(crate) is_writable: bool,
    /// The file, opened once more.
    pub(crate) file: OwnedFd,
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: it was mapped so, and nobody has a reference.
        unsafe { libc::munmap(self.at.cast(), self.length) };
    }
}

impl Mapping {
    /// mmap(2).
    pub(crate) fn new(
        fd: &OwnedFd,
        is_shared: bool,
        is_writable: bool,
        offset: i64,
        length: usize,
    ) -> Result<Self, Errno> {
        let protection = libc::PROT_READ | if is_writable { libc::PROT_WRITE } else { 0 };
        let flags = if is_shared { libc::MAP_SHARED } else { libc::MAP_PRIVATE };
        // SAFETY: it takes no place that is in use.
        let at =
            unsafe { libc::mmap64(std::ptr::null_mut(), length, protection, flags, fd.as_raw_fd(), offset) };
        if at == libc::MAP_FAILED {
            return Err(last());
        }
        let file = duplicate(fd)?;
        Ok(Self { at: at.cast(), length, offset: offset as u64, is_writable, file })
    }

    /// How many of its bytes are of the file or of its last page: others cannot be touched.
    fn touchable(&self) -> usize {
        let length =
            status(self.file.as_raw_fd(), "", libc::AT_EMPTY_PATH).map_or(0, |status| status.stx_size);
        let within = length.next_multiple_of(4096).saturating_sub(self.offset);
        (within as usize).min(self.length)
    }

    /// A part of what can be touched.
    fn part(&self, at: usize, length: usize) -> Option<(*mut u8, usize)> {
        let n = self.touchable().checked_sub(at)?.min(length);
        // SAFETY: it is within.
        Some((unsafe { self.at.add(at) }, n))
    }

    pub(crate) fn load(&self, at: usize, length: usize) -> Option<Vec<u8>> {
        let (place, n) = self.part(at, length)?;
        // SAFETY: so much is within, and of the file.
        Some((0..n).map(|byte| unsafe { place.add(byte).read_volatile() }).collect())
    }

    /// Writes some bytes; how many.
    pub(crate) fn store(&mut self, at: usize, bytes: &[u8]) -> Option<usize> {
        let (place, n) = self.part(at, bytes.len())?;
        for (place, byte) in (0..n).map(|byte| (place.wrapping_add(byte), bytes[byte])) {
            // SAFETY: as above.
            unsafe { place.write_volatile(byte) };
        }
        Some(n)
    }

    /// msync(2).
    pub(crate) fn sync(&self) -> Result<c_int, Errno> {
        // SAFETY: it is mapped.
        result(unsafe { libc::msync(self.at.cast(), self.length, libc::MS_SYNC) })
    }
}

/// Makes this thread's files those of a user without privileges, as a machine's are; the user before (setfsuid(2)).
pub(crate) fn set_file_user(user: u32) -> u32 {
    // SAFETY: they take no pointer, and are of this thread alone.
    unsafe {
        libc::setfsgid(user);
        libc::setfsuid(user) as u32
    }
}

/// Whether a directory is of ext4 (statfs(2)).
pub(crate) fn is_ext4(path: &str) -> Result<bool, Errno> {
    let path = string(path);
    let mut status = MaybeUninit::<libc::statfs>::zeroed();
    // SAFETY: the path is a string, and there is room for the answer.
    result(unsafe { libc::statfs(path.as_ptr(), status.as_mut_ptr()) })?;
    // SAFETY: it has been written.
    Ok(unsafe { status.assume_init() }.f_type == libc::EXT4_SUPER_MAGIC)
}
