//! Files by their paths: open(2), rename(2), unlink(2), mkdir(2) and their kin.
//!
//! The scenario's own tasks have the real file system. A program, or a daemon, has its machine's [disk](crate::machine::disk), and
//! beside it what the machine [tells of itself](crate::machine::files) and what the scenario allowed to be read; those it
//! cannot change. Who tries is counted, and told by the audit.

use std::ffi::{CStr, OsStr, c_char, c_int, c_uint};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use libc::{gid_t, mode_t, off64_t, size_t, ssize_t, uid_t};

use super::{answer, caller, is_guest, process_of, set_errno};
use crate::host::audit;
use crate::kernel::internal::{internally, is_internal};
use crate::kernel::timers::Nanos;
use crate::machine::cluster::{self, Cluster};
use crate::machine::descriptors::{Content, Errno, Object};
use crate::machine::disk::{Ino, ROOT, Renaming, Volume, checked_flags};
use crate::machine::files::Found;
use crate::machine::hosts::SCENARIO;
use crate::machine::real::real;
use crate::machine::threads::preempt;
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

fn refused_write<T>(process: Process) -> Result<T, Errno> {
    refused(process, SystemCall::File, "refused writes of files", libc::EROFS)
}

/// A path, and the descriptor of the directory that it begins at if it is relative.
#[derive(Clone, Copy)]
pub(super) struct At<'a> {
    pub(super) directory: c_int,
    pub(super) path: &'a [u8],
}

/// # Safety
/// `path` is a string.
pub(super) unsafe fn at_path<'a>(directory: c_int, path: *const c_char) -> At<'a> {
    // SAFETY: as the caller says.
    At { directory, path: unsafe { CStr::from_ptr(path) }.to_bytes() }
}

impl At<'_> {
    /// What is there beside the disk.
    pub(super) fn found(self, process: Process) -> Found {
        let found = cluster::with(process.run, |run| {
            let is_from_root = self.path.starts_with(b"/")
                || self.directory == libc::AT_FDCWD && run.disk(process.machine).is_in_root();
            match is_from_root && !self.path.is_empty() {
                true => run.find_file(process, Path::new(OsStr::from_bytes(self.path))),
                false => Found::Nothing,
            }
        });
        // Not where a backtrace is symbolized: that reads files once in the whole process, which may be in another run.
        if matches!(found, Found::Nothing) && is_guest() {
            preempt();
        }
        found
    }

    /// The directory of the disk that it begins at; the descriptor does not matter if it begins at the root.
    pub(super) fn start(self, run: &mut Cluster, process: Process) -> Result<Ino, Errno> {
        match self.path.starts_with(b"/") {
            _ if self.path.is_empty() => Err(libc::ENOENT),
            true => Ok(ROOT),
            false => run.directory_of(process, self.directory),
        }
    }

    /// Fails if it means something that cannot be changed.
    fn check_changeable(self, process: Process) -> Result<(), Errno> {
        match self.found(process) {
            Found::Nothing => Ok(()),
            _ => refused_write(process),
        }
    }
}

/// Does something with a path of the disk.
fn on_disk<T>(
    process: Process,
    at: At<'_>,
    action: impl FnOnce(&mut Volume, Ino, &[u8], Nanos) -> Result<T, Errno>,
) -> Result<T, Errno> {
    cluster::with(process.run, |run| {
        let from = at.start(run, process)?;
        let now = run.disk_time(process.machine);
        let result = action(run.disk(process.machine), from, at.path, now);
        run.tell_watchers(process.machine);
        result
    })
}

/// Changes something at a path of the disk.
fn change(
    process: Process,
    at: At<'_>,
    action: impl FnOnce(&mut Volume, Ino, &[u8], Nanos) -> Result<(), Errno>,
) -> Result<c_int, Errno> {
    at.check_changeable(process)?;
    on_disk(process, at, action).map(|()| 0)
}

/// Files by which std learns of limits on CPUs: no machine has one, nor has the scenario's.
fn is_of_limits(path: &Path) -> bool {
    path == Path::new("/proc/self/cgroup") || path.starts_with("/sys/fs/cgroup")
}

const WRITES: c_int = libc::O_WRONLY | libc::O_RDWR | libc::O_CREAT | libc::O_TRUNC;

/// `None` where the real file system is to be asked.
fn open_found(process: Process, at: At<'_>, flags: c_int, mode: mode_t) -> Result<Option<c_int>, Errno> {
    let flags = checked_flags(flags)?;
    let writes = flags & WRITES != 0;
    let content = match at.found(process) {
        Found::Device(device) => Content::Device(device),
        Found::Symbols | Found::Content(_) | Found::Real(_) if writes => return refused_write(process),
        Found::Symbols => return Ok(None),
        Found::Content(bytes) => Content::of(bytes),
        Found::Real(path) => {
            let read = internally(|| std::fs::read(path));
            Content::of(read.map_err(|error| error.raw_os_error().unwrap_or(libc::EIO))?)
        }
        Found::Nothing => {
            return cluster::with(process.run, |run| {
                let from = at.start(run, process)?;
                let opened = run.open_on_disk(process, from, at.path, flags, mode);
                if opened == Err(libc::ENOENT) {
                    audit::note(SystemCall::File);
                }
                opened.map(Some)
            });
        }
    };
    cluster::with(process.run, |run| run.open_file(process, Object::Content(content), false)).map(Some)
}

/// # Safety
/// As open(2), whose third argument is read by those calls that pass it.
#[unsafe(no_mangle)]
unsafe extern "C" fn open64(path: *const c_char, flags: c_int, mode: mode_t) -> c_int {
    // SAFETY: open(2): it is a string.
    let at = unsafe { at_path(libc::AT_FDCWD, path) };
    if caller().is_some() && is_of_limits(Path::new(OsStr::from_bytes(at.path))) {
        return answer(Err(libc::ENOENT));
    }
    match confined().map(|process| open_found(process, at, flags, mode)) {
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
/// As creat(2).
#[unsafe(no_mangle)]
unsafe extern "C" fn creat(path: *const c_char, mode: mode_t) -> c_int {
    // SAFETY: as ours.
    unsafe { open64(path, libc::O_CREAT | libc::O_WRONLY | libc::O_TRUNC, mode) }
}

/// # Safety
/// As openat(2).
#[unsafe(no_mangle)]
unsafe extern "C" fn openat64(directory: c_int, path: *const c_char, flags: c_int, mode: mode_t) -> c_int {
    // SAFETY: openat(2): it is a string.
    match confined().map(|process| open_found(process, unsafe { at_path(directory, path) }, flags, mode)) {
        Some(Ok(Some(fd))) => fd,
        Some(Err(code)) => answer(Err(code)),
        // SAFETY: as ours.
        None | Some(Ok(None)) => unsafe {
            real!("openat64", fn(c_int, *const c_char, c_int, mode_t) -> c_int)(directory, path, flags, mode)
        },
    }
}

/// # Safety
/// As openat(2).
#[unsafe(no_mangle)]
unsafe extern "C" fn openat(directory: c_int, path: *const c_char, flags: c_int, mode: mode_t) -> c_int {
    // SAFETY: as ours; on a 64-bit system they are one.
    unsafe { openat64(directory, path, flags, mode) }
}

/// Functions that change something at a path.
macro_rules! changes {
    ($($name:literal $function:ident($($argument:ident: $type:ty),*), $process:ident, $change:expr;)*) => {$(
        /// # Safety
        /// As the C library's.
        #[unsafe(no_mangle)]
        unsafe extern "C" fn $function($($argument: $type),*) -> c_int {
            match confined() {
                Some($process) => answer($change),
                // SAFETY: as ours.
                None => unsafe { real!($name, fn($($type),*) -> c_int)($($argument),*) },
            }
        }
    )*};
}

/// A path from the current directory.
macro_rules! at {
    ($path:ident) => {
        at!(libc::AT_FDCWD, $path)
    };
    ($directory:expr, $path:ident) => {
        // SAFETY: the function's manual page: it is a string.
        unsafe { at_path($directory, $path) }
    };
}

fn make_directory(process: Process, at: At<'_>, mode: mode_t) -> Result<c_int, Errno> {
    change(process, at, |disk, from, path, now| disk.make_directory(from, path, mode, now))
}

fn unlink_at(process: Process, at: At<'_>, flags: c_int) -> Result<c_int, Errno> {
    change(process, at, |disk, from, path, now| match flags & libc::AT_REMOVEDIR {
        0 => disk.unlink(from, path, now),
        _ => disk.remove_directory(from, path, now),
    })
}

fn rename_at(process: Process, from: At<'_>, to: At<'_>, flags: c_uint) -> Result<c_int, Errno> {
    const BOTH: c_uint = libc::RENAME_EXCHANGE | libc::RENAME_NOREPLACE;
    if flags & !BOTH != 0 || flags == BOTH {
        return Err(libc::EINVAL);
    }
    from.check_changeable(process)?;
    to.check_changeable(process)?;
    let how = Renaming {
        exchanges: flags & libc::RENAME_EXCHANGE != 0,
        is_new: flags & libc::RENAME_NOREPLACE != 0,
    };
    cluster::with(process.run, |run| {
        let now = run.disk_time(process.machine);
        let one = from.start(run, process)?;
        run.disk(process.machine).check_place(one, from.path)?;
        let other = to.start(run, process)?;
        let renamed = run.disk(process.machine).rename((one, from.path), (other, to.path), how, now);
        run.tell_watchers(process.machine);
        renamed.map(|()| 0)
    })
}

/// The descriptor that a path of /proc/self/fd means.
fn descriptor_of(path: &[u8]) -> Option<c_int> {
    std::str::from_utf8(path.strip_prefix(b"/proc/self/fd/")?).ok()?.parse().ok()
}

fn link_at(process: Process, from: At<'_>, to: At<'_>, flags: c_int) -> Result<c_int, Errno> {
    to.check_changeable(process)?;
    let by_descriptor = match flags & libc::AT_EMPTY_PATH != 0 && from.path.is_empty() {
        true => Some(from.directory),
        false => descriptor_of(from.path),
    };
    if by_descriptor.is_none() {
        from.check_changeable(process)?;
    }
    cluster::with(process.run, |run| {
        let now = run.disk_time(process.machine);
        let ino = match by_descriptor {
            Some(fd) => run.opened_by_path(process, fd)?.ino,
            None => {
                let start = from.start(run, process)?;
                run.disk(process.machine).find(start, from.path, flags & libc::AT_SYMLINK_FOLLOW != 0)?
            }
        };
        let directory = to.start(run, process)?;
        let linked = run.disk(process.machine).link(ino, directory, to.path, now);
        run.tell_watchers(process.machine);
        linked.map(|()| 0)
    })
}

fn link_symbolically(process: Process, target: *const c_char, at: At<'_>) -> Result<c_int, Errno> {
    // SAFETY: symlink(2): it is a string.
    let target = unsafe { CStr::from_ptr(target) }.to_bytes();
    if target.is_empty() {
        return Err(libc::ENOENT);
    }
    change(process, at, |disk, from, path, now| disk.make_link(target, from, path, now))
}

fn set_mode(process: Process, at: At<'_>, mode: mode_t) -> Result<c_int, Errno> {
    change(process, at, |disk, from, path, now| {
        let ino = disk.find(from, path, true)?;
        disk.set_mode(ino, mode, now);
        Ok(())
    })
}

/// There is one user, to whom everything belongs.
fn set_owner(
    process: Process,
    at: At<'_>,
    owner: uid_t,
    group: gid_t,
    follows: bool,
) -> Result<c_int, Errno> {
    change(process, at, |disk, from, path, _| {
        disk.find(from, path, follows)?;
        if is_user(owner) && is_user(group) { Ok(()) } else { Err(libc::EPERM) }
    })
}

/// Whether an owner or a group is the only one, or is to be left alone.
fn is_user(number: u32) -> bool {
    number == super::users::USER || number == u32::MAX
}

fn change_directory(process: Process, at: At<'_>) -> Result<c_int, Errno> {
    on_disk(process, at, |disk, from, path, _| {
        let ino = disk.find(from, path, true)?;
        disk.change_directory(ino).map(|()| 0)
    })
}

fn truncate_at(process: Process, at: At<'_>, length: off64_t) -> Result<c_int, Errno> {
    let length = u64::try_from(length).map_err(|_| libc::EINVAL)?;
    change(process, at, |disk, from, path, now| {
        let ino = disk.find(from, path, true)?;
        if disk.is_directory(ino) {
            return Err(libc::EISDIR);
        }
        disk.check_access(ino, libc::W_OK as u32)?;
        disk.truncate(ino, length, now)
    })
}

changes! {
    "mkdir" mkdir(path: *const c_char, mode: mode_t), process, make_directory(process, at!(path), mode);
    "mkdirat" mkdirat(directory: c_int, path: *const c_char, mode: mode_t), process,
        make_directory(process, at!(directory, path), mode);
    "rmdir" rmdir(path: *const c_char), process, unlink_at(process, at!(path), libc::AT_REMOVEDIR);
    "unlink" unlink(path: *const c_char), process, unlink_at(process, at!(path), 0);
    "unlinkat" unlinkat(directory: c_int, path: *const c_char, flags: c_int), process,
        unlink_at(process, at!(directory, path), flags);
    "rename" rename(from: *const c_char, to: *const c_char), process, rename_at(process, at!(from), at!(to), 0);
    "renameat" renameat(one: c_int, from: *const c_char, other: c_int, to: *const c_char), process,
        rename_at(process, at!(one, from), at!(other, to), 0);
    "renameat2" renameat2(one: c_int, from: *const c_char, other: c_int, to: *const c_char, flags: c_uint), process,
        rename_at(process, at!(one, from), at!(other, to), flags);
    "link" link(from: *const c_char, to: *const c_char), process, link_at(process, at!(from), at!(to), 0);
    "linkat" linkat(one: c_int, from: *const c_char, other: c_int, to: *const c_char, flags: c_int), process,
        link_at(process, at!(one, from), at!(other, to), flags);
    "symlink" symlink(target: *const c_char, path: *const c_char), process,
        link_symbolically(process, target, at!(path));
    "symlinkat" symlinkat(target: *const c_char, directory: c_int, path: *const c_char), process,
        link_symbolically(process, target, at!(directory, path));
    "chmod" chmod(path: *const c_char, mode: mode_t), process, set_mode(process, at!(path), mode);
    "fchmodat" fchmodat(directory: c_int, path: *const c_char, mode: mode_t, _flags: c_int), process,
        set_mode(process, at!(directory, path), mode);
    "chown" chown(path: *const c_char, owner: uid_t, group: gid_t), process,
        set_owner(process, at!(path), owner, group, true);
    "lchown" lchown(path: *const c_char, owner: uid_t, group: gid_t), process,
        set_owner(process, at!(path), owner, group, false);
    "fchownat" fchownat(directory: c_int, path: *const c_char, owner: uid_t, group: gid_t, flags: c_int), process,
        set_owner(process, at!(directory, path), owner, group, flags & libc::AT_SYMLINK_NOFOLLOW == 0);
    "truncate64" truncate64(path: *const c_char, length: off64_t), process, truncate_at(process, at!(path), length);
    "truncate" truncate(path: *const c_char, length: off64_t), process, truncate_at(process, at!(path), length);
    "chdir" chdir(path: *const c_char), process, change_directory(process, at!(path));
    "mkfifo" mkfifo(_path: *const c_char, _mode: mode_t), process, refused_write(process);
    "mkfifoat" mkfifoat(_directory: c_int, _path: *const c_char, _mode: mode_t), process, refused_write(process);
    "mknod" mknod(_path: *const c_char, _mode: mode_t, _device: libc::dev_t), process, refused_write(process);
    "mknodat" mknodat(_directory: c_int, _path: *const c_char, _mode: mode_t, _device: libc::dev_t), process,
        refused_write(process);
    "chroot" chroot(_path: *const c_char), process,
        refused(process, SystemCall::File, "refused changes of the root", libc::EPERM);
}

/// The target of a symbolic link; `None` where the real file system is to be asked.
fn target_of(process: Process, at: At<'_>) -> Result<Option<Vec<u8>>, Errno> {
    match at.found(process) {
        Found::Content(_) | Found::Device(_) => Err(libc::EINVAL),
        Found::Real(_) | Found::Symbols => Ok(None),
        Found::Nothing => on_disk(process, at, |disk, from, path, _| {
            let ino = disk.find(from, path, false)?;
            disk.target(ino).map(|target| Some(target.to_vec()))
        }),
    }
}

/// # Safety
/// As readlink(2).
#[unsafe(no_mangle)]
unsafe extern "C" fn readlink(path: *const c_char, buffer: *mut c_char, room: size_t) -> ssize_t {
    // SAFETY: as ours.
    unsafe { readlinkat(libc::AT_FDCWD, path, buffer, room) }
}

/// # Safety
/// As readlinkat(2).
#[unsafe(no_mangle)]
unsafe extern "C" fn readlinkat(
    directory: c_int,
    path: *const c_char,
    buffer: *mut c_char,
    room: size_t,
) -> ssize_t {
    match confined().map(|process| target_of(process, at!(directory, path))) {
        Some(Ok(Some(target))) => {
            let n = target.len().min(room);
            // SAFETY: readlink(2): it has so much room.
            unsafe { buffer.cast::<u8>().copy_from_nonoverlapping(target.as_ptr(), n) };
            n as ssize_t
        }
        Some(Err(code)) => answer(Err(code)),
        // SAFETY: as ours.
        None | Some(Ok(None)) => unsafe {
            real!("readlinkat", fn(c_int, *const c_char, *mut c_char, size_t) -> ssize_t)(
                directory, path, buffer, room,
            )
        },
    }
}

/// Gives a string to a caller: in its buffer, or in one that is for it to free.
///
/// # Safety
/// `buffer` is null or has room for so many bytes.
unsafe fn give(bytes: &[u8], buffer: *mut c_char, room: size_t) -> Result<*mut c_char, Errno> {
    if bytes.len() >= room {
        return Err(if room == 0 { libc::EINVAL } else { libc::ERANGE });
    }
    // SAFETY: as the caller says; malloc(3) gives null or so many bytes.
    unsafe {
        let to = if buffer.is_null() { libc::malloc(room).cast::<c_char>() } else { buffer };
        if !to.is_null() {
            to.cast::<u8>().copy_from_nonoverlapping(bytes.as_ptr(), bytes.len());
            to.add(bytes.len()).write(0);
        }
        Ok(to)
    }
}

fn or_null(result: Result<*mut c_char, Errno>) -> *mut c_char {
    result.unwrap_or_else(|code| {
        set_errno(code);
        std::ptr::null_mut()
    })
}

/// # Safety
/// As realpath(3).
#[unsafe(no_mangle)]
unsafe extern "C" fn realpath(path: *const c_char, buffer: *mut c_char) -> *mut c_char {
    // SAFETY: as ours.
    let ask = || unsafe { real!("realpath", fn(*const c_char, *mut c_char) -> *mut c_char)(path, buffer) };
    let Some(process) = confined() else { return ask() };
    let at = at!(path);
    let real = match at.found(process) {
        Found::Real(_) | Found::Symbols => return ask(),
        Found::Content(_) | Found::Device(_) => Ok(at.path.to_vec()),
        Found::Nothing => on_disk(process, at, |disk, from, path, _| disk.real_path(from, path)),
    };
    // SAFETY: realpath(3): null, or room for so many bytes.
    or_null(real.and_then(|real| unsafe { give(&real, buffer, libc::PATH_MAX as usize) }))
}

/// # Safety
/// As getcwd(3).
#[unsafe(no_mangle)]
unsafe extern "C" fn getcwd(buffer: *mut c_char, room: size_t) -> *mut c_char {
    let Some(process) = confined() else {
        // SAFETY: as ours.
        return unsafe { real!("getcwd", fn(*mut c_char, size_t) -> *mut c_char)(buffer, room) };
    };
    let path = cluster::with(process.run, |run| {
        let disk = run.disk(process.machine);
        disk.path(disk.directory())
    });
    or_null(path.and_then(|path| {
        let room = if buffer.is_null() && room == 0 { path.len() + 1 } else { room };
        // SAFETY: getcwd(3): null, or valid for so many bytes.
        unsafe { give(&path, buffer, room) }
    }))
}

/// # Safety
/// As umask(2).
#[unsafe(no_mangle)]
unsafe extern "C" fn umask(mask: mode_t) -> mode_t {
    match confined() {
        Some(process) => cluster::with(process.run, |run| run.disk(process.machine).set_umask(mask)),
        // SAFETY: as ours.
        None => unsafe { real!("umask", fn(mode_t) -> mode_t)(mask) },
    }
}

/// Does something with an open file of the disk.
fn with_open(
    process: Process,
    fd: c_int,
    action: impl FnOnce(&mut Volume, Ino, Nanos) -> Result<(), Errno>,
) -> c_int {
    answer(cluster::with(process.run, |run| {
        let open = run.opened(process, fd)?;
        let now = run.disk_time(open.machine);
        let result = action(run.disk(open.machine), open.ino, now);
        run.tell_watchers(open.machine);
        result.map(|()| 0)
    }))
}

/// # Safety
/// As fchmod(2).
#[unsafe(no_mangle)]
unsafe extern "C" fn fchmod(fd: c_int, mode: mode_t) -> c_int {
    match process_of(fd) {
        Some(process) => with_open(process, fd, |disk, ino, now| {
            disk.set_mode(ino, mode, now);
            Ok(())
        }),
        // SAFETY: as ours.
        None => unsafe { real!("fchmod", fn(c_int, mode_t) -> c_int)(fd, mode) },
    }
}

/// # Safety
/// As fchown(2).
#[unsafe(no_mangle)]
unsafe extern "C" fn fchown(fd: c_int, owner: uid_t, group: gid_t) -> c_int {
    match process_of(fd) {
        Some(process) => with_open(process, fd, |_, _, _| match is_user(owner) && is_user(group) {
            true => Ok(()),
            false => Err(libc::EPERM),
        }),
        // SAFETY: as ours.
        None => unsafe { real!("fchown", fn(c_int, uid_t, gid_t) -> c_int)(fd, owner, group) },
    }
}

/// # Safety
/// As fchdir(2).
#[unsafe(no_mangle)]
unsafe extern "C" fn fchdir(fd: c_int) -> c_int {
    match process_of(fd) {
        Some(process) => answer(cluster::with(process.run, |run| {
            let open = run.opened_by_path(process, fd).map_err(|_| libc::ENOTDIR)?;
            run.disk(open.machine).change_directory(open.ino).map(|()| 0)
        })),
        // SAFETY: as ours.
        None => unsafe { real!("fchdir", fn(c_int) -> c_int)(fd) },
    }
}

/// The modification time of two that utimensat(2) is given; `None` to leave it.
///
/// # Safety
/// `times` is null or valid for reads of two.
unsafe fn modification(times: *const libc::timespec, now: Nanos) -> Result<Option<Nanos>, Errno> {
    if times.is_null() {
        return Ok(Some(now));
    }
    // SAFETY: as the caller says.
    let time = unsafe { *times.add(1) };
    match time.tv_nsec {
        libc::UTIME_NOW => Ok(Some(now)),
        libc::UTIME_OMIT => Ok(None),
        _ => super::duration_of(&time).map(|since| Some(since.as_nanos() as Nanos)),
    }
}

/// # Safety
/// As futimens(3).
#[unsafe(no_mangle)]
unsafe extern "C" fn futimens(fd: c_int, times: *const libc::timespec) -> c_int {
    match process_of(fd) {
        Some(process) => with_open(process, fd, |disk, ino, now| {
            // SAFETY: futimens(3): null, or two times.
            if let Some(modified) = unsafe { modification(times, now) }? {
                disk.set_modified(ino, modified, now);
            }
            Ok(())
        }),
        // SAFETY: as ours.
        None => unsafe { real!("futimens", fn(c_int, *const libc::timespec) -> c_int)(fd, times) },
    }
}

/// # Safety
/// As utimensat(2).
#[unsafe(no_mangle)]
unsafe extern "C" fn utimensat(
    directory: c_int,
    path: *const c_char,
    times: *const libc::timespec,
    flags: c_int,
) -> c_int {
    if path.is_null() {
        // SAFETY: as ours; the system call is so used for it.
        return unsafe { futimens(directory, times) };
    }
    let Some(process) = confined() else {
        // SAFETY: as ours.
        return unsafe {
            real!("utimensat", fn(c_int, *const c_char, *const libc::timespec, c_int) -> c_int)(
                directory, path, times, flags,
            )
        };
    };
    answer(change(process, at!(directory, path), |disk, from, path, now| {
        let ino = disk.find(from, path, flags & libc::AT_SYMLINK_NOFOLLOW == 0)?;
        // SAFETY: utimensat(2): null, or two times.
        if let Some(modified) = unsafe { modification(times, now) }? {
            disk.set_modified(ino, modified, now);
        }
        Ok(())
    }))
}
