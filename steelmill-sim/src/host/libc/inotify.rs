//! Watches on files: inotify_init(2), inotify_add_watch(2), inotify_rm_watch(2).

use std::ffi::{c_char, c_int};

use super::answer;
use super::paths::{At, at_path, confined};
use crate::machine::cluster;
use crate::machine::descriptors::Errno;
use crate::machine::files::Found;
use crate::machine::real::real;
use crate::machine::world::Process;

/// # Safety
/// As inotify_init1(2).
#[unsafe(no_mangle)]
unsafe extern "C" fn inotify_init1(flags: c_int) -> c_int {
    let Some(process) = confined() else {
        // SAFETY: as ours.
        return unsafe { real!("inotify_init1", fn(c_int) -> c_int)(flags) };
    };
    if flags & !(libc::IN_NONBLOCK | libc::IN_CLOEXEC) != 0 {
        return answer(Err(libc::EINVAL));
    }
    answer(cluster::with(process.run, |run| run.open_inotify(process, flags & libc::IN_NONBLOCK != 0)))
}

/// # Safety
/// As inotify_init(2).
#[unsafe(no_mangle)]
unsafe extern "C" fn inotify_init() -> c_int {
    // SAFETY: as ours.
    unsafe { inotify_init1(0) }
}

/// All bits that a mask may have (`ALL_INOTIFY_BITS`).
const KNOWN: u32 = libc::IN_ALL_EVENTS
    | libc::IN_UNMOUNT
    | libc::IN_Q_OVERFLOW
    | libc::IN_IGNORED
    | libc::IN_ONLYDIR
    | libc::IN_DONT_FOLLOW
    | libc::IN_EXCL_UNLINK
    | libc::IN_MASK_CREATE
    | libc::IN_MASK_ADD
    | libc::IN_ISDIR
    | libc::IN_ONESHOT;

fn watch(process: Process, fd: c_int, at: At<'_>, mask: u32) -> Result<c_int, Errno> {
    const BOTH: u32 = libc::IN_MASK_ADD | libc::IN_MASK_CREATE;
    if mask & KNOWN == 0 {
        return Err(libc::EINVAL);
    }
    cluster::with(process.run, |run| run.inotify(process, fd).map(drop))?;
    if mask & BOTH == BOTH {
        return Err(libc::EINVAL);
    }
    let is_on_disk = matches!(at.found(process), Found::Nothing);
    cluster::with(process.run, |run| {
        let mut ino = None;
        if is_on_disk {
            let from = at.start(run, process)?;
            let disk = run.disk(process.machine);
            let found = disk.find(from, at.path, mask & libc::IN_DONT_FOLLOW == 0)?;
            disk.check_access(found, libc::R_OK as u32)?;
            if mask & libc::IN_ONLYDIR != 0 && !disk.is_directory(found) {
                return Err(libc::ENOTDIR);
            }
            ino = Some(found);
        }
        run.inotify(process, fd)?.watch(ino, mask)
    })
}

/// # Safety
/// As inotify_add_watch(2).
#[unsafe(no_mangle)]
unsafe extern "C" fn inotify_add_watch(fd: c_int, path: *const c_char, mask: u32) -> c_int {
    match confined() {
        // SAFETY: inotify_add_watch(2): it is a string.
        Some(process) => answer(watch(process, fd, unsafe { at_path(libc::AT_FDCWD, path) }, mask)),
        // SAFETY: as ours.
        None => unsafe { real!("inotify_add_watch", fn(c_int, *const c_char, u32) -> c_int)(fd, path, mask) },
    }
}

/// # Safety
/// As inotify_rm_watch(2).
#[unsafe(no_mangle)]
unsafe extern "C" fn inotify_rm_watch(fd: c_int, watch: c_int) -> c_int {
    match confined() {
        Some(process) => answer(cluster::with(process.run, |run| run.remove_watch(process, fd, watch))),
        // SAFETY: as ours.
        None => unsafe { real!("inotify_rm_watch", fn(c_int, c_int) -> c_int)(fd, watch) },
    }
}
