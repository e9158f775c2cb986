//! Files by their paths: open(2), stat(2), access(2) and their kin, and what changes a file system.
//!
//! The scenario's own tasks have the real file system. A program, or a daemon, finds what its machine [has](crate::machine::files),
//! and changes nothing: its file system is read-only. Who asked for more is counted, and told by the audit.

use std::ffi::{CStr, OsStr, c_char, c_int, c_void};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use libc::{mode_t, off64_t, size_t, ssize_t, stat64 as Stat, statx as Statx, statx_timestamp};

use super::files::buffers;
use super::{answer, caller, process_of, set_errno};
use crate::host::audit;
use crate::kernel::internal::{internally, is_internal};
use crate::machine::cluster;
use crate::machine::descriptors::{Content, Errno, Object};
use crate::machine::files::Found;
use crate::machine::hosts::SCENARIO;
use crate::machine::real::{self, real};
use crate::machine::world::Process;
use crate::schema::system_use::SystemCall;

/// The process that calls, if it does not have the real file system.
pub(super) fn confined() -> Option<Process> {
    if is_internal() {
        return None;
    }
    let process = caller()?;
    if process.machine == SCENARIO {
        audit::note(SystemCall::File);
        return None;
    }
    Some(process)
}

/// A call that was refused.
pub(super) fn refused<T>(
    process: Process,
    call: SystemCall,
    what: &'static str,
    error: Errno,
) -> Result<T, Errno> {
    audit::note(call);
    cluster::with(process.run, |run| run.tally.count(what, 1));
    Err(error)
}

/// # Safety
/// `path` is a string.
unsafe fn path_of<'a>(path: *const c_char) -> &'a Path {
    // SAFETY: as the caller says.
    Path::new(OsStr::from_bytes(unsafe { CStr::from_ptr(path) }.to_bytes()))
}

/// Files by which std learns of limits on CPUs: no machine has one, nor has the scenario's.
fn is_of_limits(path: &Path) -> bool {
    path == Path::new("/proc/self/cgroup") || path.starts_with("/sys/fs/cgroup")
}

const WRITES: c_int = libc::O_WRONLY | libc::O_RDWR | libc::O_CREAT | libc::O_TRUNC;

/// `None` where the real file system is to be asked.
fn open_found(process: Process, path: &Path, flags: c_int) -> Result<Option<c_int>, Errno> {
    let content = match cluster::with(process.run, |run| run.find_file(process, path)) {
        Found::Symbols if flags & WRITES == 0 => return Ok(None),
        Found::Symbols => return refused(process, SystemCall::File, "refused writes of files", libc::EROFS),
        Found::Device(device) => Content::Device(device),
        Found::Content(_) | Found::Real(_) if flags & WRITES != 0 => {
            return refused(process, SystemCall::File, "refused writes of files", libc::EROFS);
        }
        Found::Content(bytes) => Content::of(bytes),
        Found::Real(path) => {
            let read = internally(|| std::fs::read(path));
            Content::of(read.map_err(|error| error.raw_os_error().unwrap_or(libc::EIO))?)
        }
        Found::Nothing if flags & libc::O_CREAT != 0 => {
            return refused(process, SystemCall::File, "refused writes of files", libc::EROFS);
        }
        Found::Nothing => return refused(process, SystemCall::File, "refused reads of files", libc::ENOENT),
    };
    cluster::with(process.run, |run| run.open_file(process, Object::Content(content), false)).map(Some)
}

/// # Safety
/// As open(2), whose third argument is read by those calls that pass it.
#[unsafe(no_mangle)]
unsafe extern "C" fn open64(path: *const c_char, flags: c_int, mode: mode_t) -> c_int {
    // SAFETY: open(2): it is a string.
    let name = unsafe { path_of(path) };
    if caller().is_some() && is_of_limits(name) {
        return answer(Err(libc::ENOENT));
    }
    match confined().map(|process| open_found(process, name, flags)) {
        Some(Ok(Some(fd))) => fd,
        // SAFETY: as ours.
        None | Some(Ok(None)) => unsafe {
            real!("open64", fn(*const c_char, c_int, mode_t) -> c_int)(path, flags, mode)
        },
        Some(Err(code)) => answer(Err(code)),
    }
}

/// # Safety
/// As open(2).
#[unsafe(no_mangle)]
unsafe extern "C" fn open(path: *const c_char, flags: c_int, mode: mode_t) -> c_int {
    // SAFETY: as ours; on a 64-bit system they are one.
    unsafe { open64(path, flags, mode) }
}

/// # Safety
/// As openat(2).
#[unsafe(no_mangle)]
unsafe extern "C" fn openat64(folder: c_int, path: *const c_char, flags: c_int, mode: mode_t) -> c_int {
    // No folder can be open. SAFETY: openat(2): it is a string.
    match confined().map(|process| open_found(process, unsafe { path_of(path) }, flags)) {
        Some(Ok(Some(fd))) => fd,
        Some(Err(code)) => answer(Err(code)),
        // SAFETY: as ours.
        None | Some(Ok(None)) => unsafe {
            real!("openat64", fn(c_int, *const c_char, c_int, mode_t) -> c_int)(folder, path, flags, mode)
        },
    }
}

/// # Safety
/// As openat(2).
#[unsafe(no_mangle)]
unsafe extern "C" fn openat(folder: c_int, path: *const c_char, flags: c_int, mode: mode_t) -> c_int {
    // SAFETY: as ours; on a 64-bit system they are one.
    unsafe { openat64(folder, path, flags, mode) }
}

/// What stat(2) tells of a file.
enum Status {
    /// How long it is.
    File(usize),
    Device,
}

impl Status {
    fn mode(&self) -> mode_t {
        match self {
            Status::File(_) => libc::S_IFREG | 0o444,
            Status::Device => libc::S_IFCHR | 0o666,
        }
    }

    fn size(&self) -> usize {
        match self {
            Status::File(size) => *size,
            Status::Device => 0,
        }
    }

    fn stat(&self) -> Stat {
        // SAFETY: zeros are a stat64.
        let mut stat: Stat = unsafe { std::mem::zeroed() };
        stat.st_mode = self.mode();
        stat.st_nlink = 1;
        stat.st_size = self.size() as off64_t;
        stat.st_blksize = 4096;
        stat
    }

    fn statx(&self) -> Statx {
        // SAFETY: zeros are a statx.
        let mut stat: Statx = unsafe { std::mem::zeroed() };
        stat.stx_mask = libc::STATX_BASIC_STATS;
        stat.stx_mode = self.mode() as u16;
        stat.stx_nlink = 1;
        stat.stx_size = self.size() as u64;
        stat.stx_blksize = 4096;
        let never: statx_timestamp = stat.stx_mtime;
        stat.stx_btime = never;
        stat
    }
}

/// Of what is at a path; `None` where the real file system is to be asked.
fn status_of(process: Process, path: &Path) -> Result<Option<Status>, Errno> {
    match cluster::with(process.run, |run| run.find_file(process, path)) {
        Found::Content(bytes) => Ok(Some(Status::File(bytes.len()))),
        Found::Device(_) => Ok(Some(Status::Device)),
        Found::Real(_) | Found::Symbols => Ok(None),
        Found::Nothing => refused(process, SystemCall::File, "refused reads of files", libc::ENOENT),
    }
}

/// Of an open file.
fn status_of_open(process: Process, fd: c_int) -> Result<Status, Errno> {
    cluster::with(process.run, |run| match run.file_length(process, fd) {
        Ok(Some(length)) => Ok(Status::File(length)),
        Ok(None) | Err(libc::ESPIPE) => Ok(Status::Device),
        Err(code) => Err(code),
    })
}

/// stat(2) by the system call, which the C library before 2.33 has no function of that name for. Its `stat64` is the kernel's.
fn real_stat(number: libc::c_long, arguments: [usize; 4]) -> c_int {
    let [a, b, c, d] = arguments;
    match real::syscall(number, [a, b, c, d, 0, 0]) {
        0 => 0,
        error => answer(Err(-error as Errno)),
    }
}

/// The functions that ask for the status of a path.
macro_rules! stat {
    ($function:ident, $flags:expr) => {
        /// # Safety
        /// As stat(2).
        #[unsafe(no_mangle)]
        unsafe extern "C" fn $function(path: *const c_char, to: *mut Stat) -> c_int {
            let ask = || {
                let arguments = [libc::AT_FDCWD as usize, path.addr(), to.addr(), $flags as usize];
                real_stat(libc::SYS_newfstatat, arguments)
            };
            let Some(process) = confined() else { return ask() };
            // SAFETY: stat(2): a string, and a place for a write.
            match status_of(process, unsafe { path_of(path) }) {
                Ok(None) => ask(),
                Ok(Some(status)) => {
                    // SAFETY: as above.
                    unsafe { to.write(status.stat()) };
                    0
                }
                Err(code) => answer(Err(code)),
            }
        }
    };
}

stat!(stat64, 0);
stat!(lstat64, libc::AT_SYMLINK_NOFOLLOW);

/// # Safety
/// As fstat(2).
#[unsafe(no_mangle)]
unsafe extern "C" fn fstat64(fd: c_int, to: *mut Stat) -> c_int {
    match process_of(fd) {
        Some(process) => answer(status_of_open(process, fd).map(|status| {
            // SAFETY: fstat(2): it is valid for a write.
            unsafe { to.write(status.stat()) };
            0
        })),
        None => real_stat(libc::SYS_fstat, [fd as usize, to.addr(), 0, 0]),
    }
}

/// # Safety
/// As statx(2).
#[unsafe(no_mangle)]
unsafe extern "C" fn statx(
    folder: c_int,
    path: *const c_char,
    flags: c_int,
    mask: libc::c_uint,
    to: *mut Statx,
) -> c_int {
    // SAFETY: as ours.
    let ask = || unsafe {
        real!("statx", fn(c_int, *const c_char, c_int, libc::c_uint, *mut Statx) -> c_int)(
            folder, path, flags, mask, to,
        )
    };
    // std asks so, by null, whether there is the call.
    let is_of_descriptor = path.is_null() || flags & libc::AT_EMPTY_PATH != 0;
    let status = match is_of_descriptor {
        true => process_of(folder).map(|process| status_of_open(process, folder).map(Some)),
        // SAFETY: statx(2): it is a string.
        false => confined().map(|process| status_of(process, unsafe { path_of(path) })),
    };
    match status {
        None | Some(Ok(None)) => ask(),
        Some(Ok(_)) if path.is_null() || to.is_null() => answer(Err(libc::EFAULT)),
        Some(Ok(Some(status))) => {
            // SAFETY: statx(2): it is valid for a write.
            unsafe { to.write(status.statx()) };
            0
        }
        Some(Err(code)) => answer(Err(code)),
    }
}

/// # Safety
/// As access(2).
#[unsafe(no_mangle)]
unsafe extern "C" fn access(path: *const c_char, mode: c_int) -> c_int {
    // SAFETY: as ours.
    let ask = || unsafe { real!("access", fn(*const c_char, c_int) -> c_int)(path, mode) };
    let Some(process) = confined() else { return ask() };
    // SAFETY: access(2): it is a string.
    match status_of(process, unsafe { path_of(path) }) {
        Ok(None | Some(Status::File(_))) if mode & libc::W_OK != 0 => answer(Err(libc::EROFS)),
        Ok(None) => ask(),
        Ok(Some(_)) => 0,
        Err(code) => answer(Err(code)),
    }
}

/// # Safety
/// As lseek(2).
#[unsafe(no_mangle)]
unsafe extern "C" fn lseek64(fd: c_int, offset: off64_t, whence: c_int) -> off64_t {
    match process_of(fd) {
        Some(process) => match cluster::with(process.run, |run| run.seek(process, fd, offset, whence)) {
            Ok(at) => at,
            Err(code) => {
                set_errno(code);
                -1
            }
        },
        // SAFETY: as ours.
        None => unsafe { real!("lseek64", fn(c_int, off64_t, c_int) -> off64_t)(fd, offset, whence) },
    }
}

/// # Safety
/// As pread(2).
#[unsafe(no_mangle)]
unsafe extern "C" fn pread64(fd: c_int, buffer: *mut c_void, length: size_t, offset: off64_t) -> ssize_t {
    let Some(process) = process_of(fd) else {
        // SAFETY: as ours.
        return unsafe {
            real!("pread64", fn(c_int, *mut c_void, size_t, off64_t) -> ssize_t)(fd, buffer, length, offset)
        };
    };
    let Ok(offset) = usize::try_from(offset) else { return answer(Err(libc::EINVAL)) };
    let vector = libc::iovec { iov_base: buffer, iov_len: length };
    // SAFETY: pread(2): it is valid for writes.
    let mut buffers = unsafe { buffers(&raw const vector, 1) };
    answer(cluster::with(process.run, |run| {
        run.file_length(process, fd)?;
        let (id, _) = run.descriptors.file(process, fd)?;
        run.read_content(id, &mut buffers, Some(offset)).map(|n| n as ssize_t)
    }))
}

/// Functions that take a path and are refused, unless the scenario allowed to read there.
macro_rules! reads {
    ($($name:literal $function:ident($path:ident: $first:ty $(, $argument:ident: $type:ty)*) -> $result:ty, else $failed:expr;)*) => {$(
        /// # Safety
        /// As the C library's.
        #[unsafe(no_mangle)]
        unsafe extern "C" fn $function($path: $first $(, $argument: $type)*) -> $result {
            if let Some(process) = confined() {
                // SAFETY: it is a string.
                match status_of(process, unsafe { path_of($path) }) {
                    Ok(None) => {}
                    Ok(Some(_)) => {
                        set_errno(libc::EINVAL);
                        return $failed;
                    }
                    Err(code) => {
                        set_errno(code);
                        return $failed;
                    }
                }
            }
            // SAFETY: as ours.
            unsafe { real!($name, fn($first $(, $type)*) -> $result)($path $(, $argument)*) }
        }
    )*};
}

reads! {
    "readlink" readlink(path: *const c_char, buffer: *mut c_char, room: size_t) -> ssize_t, else -1;
    "realpath" realpath(path: *const c_char, buffer: *mut c_char) -> *mut c_char, else std::ptr::null_mut();
    "opendir" opendir(path: *const c_char) -> *mut c_void, else std::ptr::null_mut();
}

/// Functions that change a file system, which a machine's does not allow.
macro_rules! changes {
    ($($name:literal $function:ident($($argument:ident: $type:ty),*);)*) => {$(
        /// # Safety
        /// As the C library's.
        #[unsafe(no_mangle)]
        unsafe extern "C" fn $function($($argument: $type),*) -> c_int {
            match confined() {
                Some(process) => answer(refused(process, SystemCall::File, "refused writes of files", libc::EROFS)),
                // SAFETY: as ours.
                None => unsafe { real!($name, fn($($type),*) -> c_int)($($argument),*) },
            }
        }
    )*};
}

changes! {
    "mkdir" mkdir(path: *const c_char, mode: mode_t);
    "rmdir" rmdir(path: *const c_char);
    "unlinkat" unlinkat(folder: c_int, path: *const c_char, flags: c_int);
    "rename" rename(from: *const c_char, to: *const c_char);
    "link" link(from: *const c_char, to: *const c_char);
    "linkat" linkat(from_folder: c_int, from: *const c_char, to_folder: c_int, to: *const c_char, flags: c_int);
    "symlink" symlink(target: *const c_char, path: *const c_char);
    "chmod" chmod(path: *const c_char, mode: mode_t);
    "chown" chown(path: *const c_char, owner: libc::uid_t, group: libc::gid_t);
    "lchown" lchown(path: *const c_char, owner: libc::uid_t, group: libc::gid_t);
    "truncate64" truncate64(path: *const c_char, length: off64_t);
    "mkfifo" mkfifo(path: *const c_char, mode: mode_t);
    "chdir" chdir(path: *const c_char);
    "chroot" chroot(path: *const c_char);
}

/// Of what a program has made only the paths of Unix sockets can be removed.
///
/// # Safety
/// As unlink(2).
#[unsafe(no_mangle)]
unsafe extern "C" fn unlink(path: *const c_char) -> c_int {
    let Some(process) = confined() else {
        // SAFETY: as ours.
        return unsafe { real!("unlink", fn(*const c_char) -> c_int)(path) };
    };
    // SAFETY: unlink(2): a string.
    let name = unsafe { CStr::from_ptr(path) }.to_bytes();
    match cluster::with(process.run, |run| run.unix_unlink(process.machine, name)) {
        true => 0,
        false => answer(refused(process, SystemCall::File, "refused writes of files", libc::EROFS)),
    }
}

/// A program's is `/`.
///
/// # Safety
/// As getcwd(3).
#[unsafe(no_mangle)]
unsafe extern "C" fn getcwd(buffer: *mut c_char, room: size_t) -> *mut c_char {
    if confined().is_none() {
        // SAFETY: as ours.
        return unsafe { real!("getcwd", fn(*mut c_char, size_t) -> *mut c_char)(buffer, room) };
    }
    if !buffer.is_null() && room < 2 {
        set_errno(if room == 0 { libc::EINVAL } else { libc::ERANGE });
        return std::ptr::null_mut();
    }
    // SAFETY: getcwd(3): null, or valid for so many bytes; what is allocated is for the caller to free.
    unsafe {
        let to = if buffer.is_null() { libc::malloc(room.max(2)).cast::<c_char>() } else { buffer };
        if !to.is_null() {
            to.copy_from_nonoverlapping(c"/".as_ptr(), 2);
        }
        to
    }
}
