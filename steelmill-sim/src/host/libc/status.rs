//! What is known of a file: stat(2) and its kin, access(2), statfs(2).

use std::ffi::{c_char, c_int};

use libc::{mode_t, off64_t, stat64 as Stat, statx as Statx, statx_timestamp};

use super::paths::{At, at_path, confined};
use super::{answer, process_of};
use crate::kernel::timers::Nanos;
use crate::machine::cluster;
use crate::machine::descriptors::{Errno, Object};
use crate::machine::disk::Status as OnDisk;
use crate::machine::files::Found;
use crate::machine::real::{self, real};
use crate::machine::world::Process;

/// The device that a disk is; another one for each machine.
const DEVICE_FIRST: u64 = 0x800;

/// What stat(2) tells of a file.
enum Status {
    /// One that a machine has without a disk: how long it is.
    Content(usize),
    Device,
    OnDisk(u32, OnDisk),
}

/// Parts of a time.
fn split(time: Nanos) -> (i64, i64) {
    ((time / 1_000_000_000) as i64, (time % 1_000_000_000) as i64)
}

fn set(timestamp: &mut statx_timestamp, time: Nanos) {
    let (seconds, nanos) = split(time);
    (timestamp.tv_sec, timestamp.tv_nsec) = (seconds, nanos as u32);
}

impl Status {
    fn mode(&self) -> mode_t {
        match self {
            Status::Content(_) => libc::S_IFREG | 0o444,
            Status::Device => libc::S_IFCHR | 0o666,
            Status::OnDisk(_, status) => status.mode,
        }
    }

    fn size(&self) -> u64 {
        match self {
            Status::Content(size) => *size as u64,
            Status::Device => 0,
            Status::OnDisk(_, status) => status.length,
        }
    }

    fn stat(&self) -> Stat {
        // SAFETY: zeros are a stat64.
        let mut stat: Stat = unsafe { std::mem::zeroed() };
        stat.st_mode = self.mode();
        stat.st_nlink = 1;
        stat.st_size = self.size() as off64_t;
        stat.st_blksize = 4096;
        if let Status::OnDisk(machine, status) = self {
            stat.st_dev = DEVICE_FIRST + u64::from(*machine);
            stat.st_ino = status.ino;
            stat.st_nlink = status.links.into();
            (stat.st_uid, stat.st_gid) = (super::users::USER, super::users::USER);
            stat.st_blocks = status.blocks as i64;
            (stat.st_mtime, stat.st_mtime_nsec) = split(status.modified);
            (stat.st_atime, stat.st_atime_nsec) = split(status.modified);
            (stat.st_ctime, stat.st_ctime_nsec) = split(status.changed);
        }
        stat
    }

    fn statx(&self) -> Statx {
        // SAFETY: zeros are a statx.
        let mut stat: Statx = unsafe { std::mem::zeroed() };
        stat.stx_mask = libc::STATX_BASIC_STATS;
        stat.stx_mode = self.mode() as u16;
        stat.stx_nlink = 1;
        stat.stx_size = self.size();
        stat.stx_blksize = 4096;
        if let Status::OnDisk(machine, status) = self {
            stat.stx_mask |= libc::STATX_BTIME;
            set(&mut stat.stx_btime, status.created);
            set(&mut stat.stx_mtime, status.modified);
            set(&mut stat.stx_atime, status.modified);
            set(&mut stat.stx_ctime, status.changed);
            stat.stx_dev_major = (DEVICE_FIRST >> 8) as u32;
            stat.stx_dev_minor = *machine;
            stat.stx_ino = status.ino;
            stat.stx_nlink = status.links;
            (stat.stx_uid, stat.stx_gid) = (super::users::USER, super::users::USER);
            stat.stx_blocks = status.blocks;
        }
        stat
    }
}

/// Of what is at a path; `None` where the real file system is to be asked.
fn status_of(process: Process, at: At<'_>, follows: bool) -> Result<Option<Status>, Errno> {
    Ok(match at.found(process) {
        Found::Content(bytes) => Some(Status::Content(bytes.len())),
        Found::Device(_) => Some(Status::Device),
        Found::Real(_) | Found::Symbols => None,
        Found::Nothing => Some(cluster::with(process.run, |run| {
            let from = at.start(run, process)?;
            let volume = run.disk(process.machine);
            let ino = volume.find(from, at.path, follows)?;
            Ok::<_, Errno>(Status::OnDisk(process.machine, volume.status(ino)))
        })?),
    })
}

/// Of an open file.
fn status_of_open(process: Process, fd: c_int) -> Result<Status, Errno> {
    cluster::with(process.run, |run| {
        if let Object::File(open) = run.descriptors.file(process, fd)?.1.object {
            return Ok(Status::OnDisk(open.machine, run.disk(open.machine).status(open.ino)));
        }
        match run.file_length(process, fd) {
            Ok(Some(length)) => Ok(Status::Content(length)),
            Ok(None) | Err(libc::ESPIPE) => Ok(Status::Device),
            Err(code) => Err(code),
        }
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

/// Tells the status of a path, or of a descriptor by an empty path.
///
/// # Safety
/// As fstatat(2).
unsafe fn tell(directory: c_int, path: *const c_char, to: *mut Stat, flags: c_int) -> c_int {
    let ask =
        || real_stat(libc::SYS_newfstatat, [directory as usize, path.addr(), to.addr(), flags as usize]);
    if flags & libc::AT_EMPTY_PATH != 0 {
        // SAFETY: as ours.
        return unsafe { tell_open(directory, to) };
    }
    let Some(process) = confined() else { return ask() };
    // SAFETY: stat(2): a string, and a place for a write.
    match status_of(process, unsafe { at_path(directory, path) }, flags & libc::AT_SYMLINK_NOFOLLOW == 0) {
        Ok(None) => ask(),
        Ok(Some(status)) => {
            // SAFETY: as above.
            unsafe { to.write(status.stat()) };
            0
        }
        Err(code) => answer(Err(code)),
    }
}

/// # Safety
/// As fstat(2).
unsafe fn tell_open(fd: c_int, to: *mut Stat) -> c_int {
    match process_of(fd) {
        Some(process) => answer(status_of_open(process, fd).map(|status| {
            // SAFETY: fstat(2): it is valid for a write.
            unsafe { to.write(status.stat()) };
            0
        })),
        None => real_stat(libc::SYS_fstat, [fd as usize, to.addr(), 0, 0]),
    }
}

/// The functions of a name for files of any length, and of the same for those of 64 bits, which is one.
macro_rules! stat {
    ($($function:ident $of_64:ident($($argument:ident: $type:ty),*) => $tell:expr;)*) => {$(
        /// # Safety
        /// As stat(2).
        #[unsafe(no_mangle)]
        unsafe extern "C" fn $function($($argument: $type),*) -> c_int {
            // SAFETY: as ours.
            unsafe { $tell }
        }

        /// # Safety
        /// As stat(2).
        #[unsafe(no_mangle)]
        unsafe extern "C" fn $of_64($($argument: $type),*) -> c_int {
            // SAFETY: as ours.
            unsafe { $tell }
        }
    )*};
}

stat! {
    stat stat64(path: *const c_char, to: *mut Stat) => tell(libc::AT_FDCWD, path, to, 0);
    lstat lstat64(path: *const c_char, to: *mut Stat) => tell(libc::AT_FDCWD, path, to, libc::AT_SYMLINK_NOFOLLOW);
    fstat fstat64(fd: c_int, to: *mut Stat) => tell_open(fd, to);
    fstatat fstatat64(directory: c_int, path: *const c_char, to: *mut Stat, flags: c_int) => tell(directory, path, to, flags);
}

/// # Safety
/// As statx(2).
#[unsafe(no_mangle)]
unsafe extern "C" fn statx(
    directory: c_int,
    path: *const c_char,
    flags: c_int,
    mask: libc::c_uint,
    to: *mut Statx,
) -> c_int {
    // SAFETY: as ours.
    let ask = || unsafe {
        real!("statx", fn(c_int, *const c_char, c_int, libc::c_uint, *mut Statx) -> c_int)(
            directory, path, flags, mask, to,
        )
    };
    // std asks so, by null, whether there is the call.
    let is_of_descriptor = path.is_null() || flags & libc::AT_EMPTY_PATH != 0;
    let follows = flags & libc::AT_SYMLINK_NOFOLLOW == 0;
    let status = match is_of_descriptor {
        true => process_of(directory).map(|process| status_of_open(process, directory).map(Some)),
        // SAFETY: statx(2): it is a string.
        false => confined().map(|process| status_of(process, unsafe { at_path(directory, path) }, follows)),
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

/// Whether a process may read, write or execute what is at a path; `None` as above.
fn check(process: Process, at: At<'_>, mode: c_int) -> Result<Option<()>, Errno> {
    match status_of(process, at, true)? {
        None | Some(Status::Content(_)) if mode & libc::W_OK != 0 => Err(libc::EROFS),
        None => Ok(None),
        Some(Status::OnDisk(_, status)) if status.mode >> 6 & mode as u32 & 7 != mode as u32 & 7 => {
            Err(libc::EACCES)
        }
        Some(_) => Ok(Some(())),
    }
}

/// # Safety
/// As access(2).
#[unsafe(no_mangle)]
unsafe extern "C" fn access(path: *const c_char, mode: c_int) -> c_int {
    // SAFETY: as ours.
    unsafe { faccessat(libc::AT_FDCWD, path, mode, 0) }
}

/// # Safety
/// As faccessat(2).
#[unsafe(no_mangle)]
unsafe extern "C" fn faccessat(directory: c_int, path: *const c_char, mode: c_int, flags: c_int) -> c_int {
    // SAFETY: faccessat(2): it is a string.
    match confined().map(|process| check(process, unsafe { at_path(directory, path) }, mode)) {
        // SAFETY: as ours.
        None | Some(Ok(None)) => unsafe {
            real!("faccessat", fn(c_int, *const c_char, c_int, c_int) -> c_int)(directory, path, mode, flags)
        },
        Some(result) => answer(result.map(|_| 0)),
    }
}

/// What a file system has in all: pages, and how many of them are free.
type Space = (u64, u64);

/// How many files a disk may have, which is as many as there is memory for.
const FILES: u64 = 1 << 24;

/// The longest name.
const NAME: u64 = 255;

/// `None` where the real file system is to be asked.
fn space_at(process: Process, path: *const c_char) -> Result<Option<Space>, Errno> {
    // SAFETY: statfs(2): it is a string.
    let at = unsafe { at_path(libc::AT_FDCWD, path) };
    let status = status_of(process, at, true)?;
    Ok(status.map(|_| cluster::with(process.run, |run| run.disk(process.machine).space())))
}

fn space_of(process: Process, fd: c_int) -> Result<Option<Space>, Errno> {
    cluster::with(process.run, |run| {
        run.descriptors.file(process, fd)?;
        Ok(Some(run.disk(process.machine).space()))
    })
}

fn filled_statfs(to: &mut libc::statfs64, (all, free): Space) {
    (to.f_type, to.f_bsize, to.f_frsize) = (libc::EXT4_SUPER_MAGIC, 4096, 4096);
    (to.f_blocks, to.f_bfree, to.f_bavail) = (all, free, free);
    (to.f_files, to.f_ffree, to.f_namelen) = (FILES, FILES, NAME as _);
}

fn filled_statvfs(to: &mut libc::statvfs64, (all, free): Space) {
    (to.f_bsize, to.f_frsize) = (4096, 4096);
    (to.f_blocks, to.f_bfree, to.f_bavail) = (all, free, free);
    (to.f_files, to.f_ffree, to.f_favail, to.f_namemax) = (FILES, FILES, FILES, NAME);
}

/// Functions that tell of a file system.
macro_rules! space {
    ($($name:literal $function:ident($what:ident: $type:ty, $to:ty), $process:expr, $space:ident, $filled:ident;)*) => {$(
        /// # Safety
        /// As statfs(2) and statvfs(3).
        #[unsafe(no_mangle)]
        unsafe extern "C" fn $function($what: $type, to: *mut $to) -> c_int {
            match $process.map(|process| $space(process, $what)) {
                // SAFETY: as ours.
                None | Some(Ok(None)) => unsafe { real!($name, fn($type, *mut $to) -> c_int)($what, to) },
                Some(Err(code)) => answer(Err(code)),
                Some(Ok(Some(space))) => {
                    // SAFETY: as ours: it is valid for a write, and zeros are one.
                    unsafe {
                        to.write_bytes(0, 1);
                        $filled(&mut *to, space);
                    }
                    0
                }
            }
        }
    )*};
}

space! {
    "statfs64" statfs64(path: *const c_char, libc::statfs64), confined(), space_at, filled_statfs;
    "statfs" statfs(path: *const c_char, libc::statfs64), confined(), space_at, filled_statfs;
    "fstatfs64" fstatfs64(fd: c_int, libc::statfs64), process_of(fd), space_of, filled_statfs;
    "fstatfs" fstatfs(fd: c_int, libc::statfs64), process_of(fd), space_of, filled_statfs;
    "statvfs64" statvfs64(path: *const c_char, libc::statvfs64), confined(), space_at, filled_statvfs;
    "statvfs" statvfs(path: *const c_char, libc::statvfs64), confined(), space_at, filled_statvfs;
    "fstatvfs64" fstatvfs64(fd: c_int, libc::statvfs64), process_of(fd), space_of, filled_statvfs;
    "fstatvfs" fstatvfs(fd: c_int, libc::statvfs64), process_of(fd), space_of, filled_statvfs;
}
