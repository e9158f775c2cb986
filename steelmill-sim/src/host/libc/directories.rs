//! Directories as they are read: opendir(3), readdir(3) and their kin.

use std::ffi::{c_char, c_int, c_long, c_void};

use libc::{dirent64, size_t, ssize_t};

use super::paths::{at_path, confined};
use super::{answer, process_of, set_errno};
use crate::machine::cluster;
use crate::machine::descriptors::Errno;
use crate::machine::disk::Entry;
use crate::machine::files::Found;
use crate::machine::real::real;
use crate::machine::world::Process;

/// How ours begin. The C library's begin with a descriptor and a lock, which are small numbers.
const MARK: u64 = 0x6469_7265_6374_6f72;

/// An open directory, as it was when it was opened or rewound.
#[repr(C)]
struct Directory {
    mark: u64,
    process: Process,
    fd: c_int,
    entries: Vec<Entry>,
    next: usize,
    /// What readdir(3) gave last.
    given: dirent64,
}

/// A stream of ours; `None` for one of the C library's.
///
/// # Safety
/// opendir(3) or fdopendir(3) gave it, and closedir(3) has not taken it.
unsafe fn ours<'a>(stream: *mut c_void) -> Option<&'a mut Directory> {
    let directory = stream.cast::<Directory>();
    // SAFETY: as the caller says: either is longer than the mark.
    unsafe { ((*directory).mark == MARK).then(|| &mut *directory) }
}

fn entries_of(process: Process, fd: c_int) -> Result<Vec<Entry>, Errno> {
    cluster::with(process.run, |run| {
        let open = run.opened(process, fd)?;
        let entries = run.disk(open.machine).entries(open.ino);
        run.tell_watchers(open.machine);
        entries
    })
}

fn stream_of(process: Process, fd: c_int) -> *mut c_void {
    match entries_of(process, fd) {
        Ok(entries) => {
            // SAFETY: zeros are a dirent64.
            let given = unsafe { std::mem::zeroed() };
            Box::into_raw(Box::new(Directory { mark: MARK, process, fd, entries, next: 0, given })).cast()
        }
        Err(code) => {
            set_errno(if code == libc::EINVAL { libc::ENOTDIR } else { code });
            std::ptr::null_mut()
        }
    }
}

/// # Safety
/// As opendir(3).
#[unsafe(no_mangle)]
unsafe extern "C" fn opendir(path: *const c_char) -> *mut c_void {
    // SAFETY: as ours.
    let ask = || unsafe { real!("opendir", fn(*const c_char) -> *mut c_void)(path) };
    let Some(process) = confined() else { return ask() };
    // SAFETY: opendir(3): it is a string.
    if let Found::Real(_) | Found::Symbols = unsafe { at_path(libc::AT_FDCWD, path) }.found(process) {
        return ask();
    }
    // SAFETY: as ours.
    match unsafe { libc::open64(path, libc::O_RDONLY | libc::O_DIRECTORY | libc::O_CLOEXEC) } {
        -1 => std::ptr::null_mut(),
        fd => stream_of(process, fd),
    }
}

/// # Safety
/// As fdopendir(3).
#[unsafe(no_mangle)]
unsafe extern "C" fn fdopendir(fd: c_int) -> *mut c_void {
    match process_of(fd) {
        Some(process) => stream_of(process, fd),
        // SAFETY: as ours.
        None => unsafe { real!("fdopendir", fn(c_int) -> *mut c_void)(fd) },
    }
}

/// # Safety
/// As readdir(3).
#[unsafe(no_mangle)]
unsafe extern "C" fn readdir64(stream: *mut c_void) -> *mut dirent64 {
    // SAFETY: as ours.
    let Some(directory) = (unsafe { ours(stream) }) else {
        // SAFETY: as ours.
        return unsafe { real!("readdir64", fn(*mut c_void) -> *mut dirent64)(stream) };
    };
    let Some(entry) = directory.entries.get(directory.next) else { return std::ptr::null_mut() };
    directory.next += 1;
    let given = &mut directory.given;
    (given.d_ino, given.d_off) = (entry.ino, directory.next as i64);
    (given.d_reclen, given.d_type) = (size_of::<dirent64>() as u16, entry.kind);
    for (to, from) in given.d_name.iter_mut().zip(entry.name.iter().chain([&0])) {
        *to = *from as c_char;
    }
    given
}

/// # Safety
/// As readdir(3).
#[unsafe(no_mangle)]
unsafe extern "C" fn readdir(stream: *mut c_void) -> *mut dirent64 {
    // SAFETY: as ours; on a 64-bit system they are one.
    unsafe { readdir64(stream) }
}

/// # Safety
/// As closedir(3).
#[unsafe(no_mangle)]
unsafe extern "C" fn closedir(stream: *mut c_void) -> c_int {
    // SAFETY: as ours.
    match unsafe { ours(stream) } {
        Some(directory) => {
            // SAFETY: `stream_of` made it from a box.
            let directory = unsafe { Box::from_raw(directory) };
            let closed = cluster::try_with(directory.process.run, |run| {
                run.close_descriptor(directory.process, directory.fd)
            });
            answer(closed.unwrap_or(Ok(())).map(|()| 0))
        }
        // SAFETY: as ours.
        None => unsafe { real!("closedir", fn(*mut c_void) -> c_int)(stream) },
    }
}

/// # Safety
/// As dirfd(3).
#[unsafe(no_mangle)]
unsafe extern "C" fn dirfd(stream: *mut c_void) -> c_int {
    // SAFETY: as ours.
    match unsafe { ours(stream) } {
        Some(directory) => directory.fd,
        // SAFETY: as ours.
        None => unsafe { real!("dirfd", fn(*mut c_void) -> c_int)(stream) },
    }
}

/// # Safety
/// As rewinddir(3).
#[unsafe(no_mangle)]
unsafe extern "C" fn rewinddir(stream: *mut c_void) {
    // SAFETY: as ours.
    match unsafe { ours(stream) } {
        Some(directory) => {
            directory.next = 0;
            directory.entries = entries_of(directory.process, directory.fd).unwrap_or_default();
        }
        // SAFETY: as ours.
        None => unsafe { real!("rewinddir", fn(*mut c_void) -> ())(stream) },
    }
}

/// # Safety
/// As telldir(3).
#[unsafe(no_mangle)]
unsafe extern "C" fn telldir(stream: *mut c_void) -> c_long {
    // SAFETY: as ours.
    match unsafe { ours(stream) } {
        Some(directory) => directory.next as c_long,
        // SAFETY: as ours.
        None => unsafe { real!("telldir", fn(*mut c_void) -> c_long)(stream) },
    }
}

/// # Safety
/// As seekdir(3).
#[unsafe(no_mangle)]
unsafe extern "C" fn seekdir(stream: *mut c_void, to: c_long) {
    // SAFETY: as ours.
    match unsafe { ours(stream) } {
        Some(directory) => directory.next = to.max(0) as usize,
        // SAFETY: as ours.
        None => unsafe { real!("seekdir", fn(*mut c_void, c_long) -> ())(stream, to) },
    }
}

/// # Safety
/// As getdents64(2).
#[unsafe(no_mangle)]
unsafe extern "C" fn getdents64(fd: c_int, buffer: *mut c_void, room: size_t) -> ssize_t {
    // SAFETY: as ours.
    match unsafe { entries(fd, buffer.cast(), room) } {
        Some(result) => answer(result.map(|length| length as ssize_t)),
        // SAFETY: as ours.
        None => unsafe { real!("getdents64", fn(c_int, *mut c_void, size_t) -> ssize_t)(fd, buffer, room) },
    }
}

/// Fills a buffer with entries of an open directory from where it was read before, as getdents64(2).
///
/// # Safety
/// `buffer` is valid for so many bytes.
pub(in crate::host) unsafe fn entries(
    fd: c_int,
    buffer: *mut u8,
    room: usize,
) -> Option<Result<usize, Errno>> {
    /// What comes before a name.
    const HEAD: usize = 19;
    let process = process_of(fd)?;
    let (all, from) = match entries_of(process, fd) {
        Ok(all) => (all, cluster::with(process.run, |run| run.opened(process, fd).map_or(0, |open| open.at))),
        Err(code) => return Some(Err(if code == libc::EINVAL { libc::ENOTDIR } else { code })),
    };
    let (mut used, mut next) = (0, from as usize);
    for entry in all.iter().skip(from as usize) {
        let length = (HEAD + entry.name.len() + 1).next_multiple_of(8);
        if used + length > room {
            if used == 0 {
                return Some(Err(libc::EINVAL));
            }
            break;
        }
        next += 1;
        let mut record = vec![0; length];
        record[..8].copy_from_slice(&entry.ino.to_ne_bytes());
        record[8..16].copy_from_slice(&(next as u64).to_ne_bytes());
        record[16..18].copy_from_slice(&(length as u16).to_ne_bytes());
        record[18] = entry.kind;
        record[HEAD..HEAD + entry.name.len()].copy_from_slice(&entry.name);
        // SAFETY: as the caller says; it fits, as was just checked.
        unsafe { buffer.add(used).copy_from_nonoverlapping(record.as_ptr(), length) };
        used += length;
    }
    cluster::with(process.run, |run| run.set_position(process, fd, next as u64));
    Some(Ok(used))
}
