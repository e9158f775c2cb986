//! Locks on files: flock(2), and the record locks of fcntl(2).

use std::ffi::c_int;

use super::{answer, process_of};
use crate::machine::cluster;
use crate::machine::descriptors::Errno;
use crate::machine::disk::{LockKind, Locking, OpenFile, Owner};
use crate::machine::proc::process_number;
use crate::machine::real::real;
use crate::machine::runtimes::may_block;
use crate::machine::threads::block_until;
use crate::machine::world::Process;

/// Sets a lock; waits for it, or fails at once.
fn lock(process: Process, open: OpenFile, locking: &Locking, waits: bool) -> Result<c_int, Errno> {
    let at_once = cluster::with(process.run, |run| run.try_lock(open.machine, open.ino, locking, || None));
    match at_once {
        true => {}
        false if !waits => return Err(libc::EAGAIN),
        false if !may_block() => return Err(libc::EAGAIN),
        false => block_until(|run, waiter| {
            run.try_lock(open.machine, open.ino, locking, || Some(waiter)).then_some(())
        }),
    }
    Ok(0)
}

/// # Safety
/// As flock(2).
#[unsafe(no_mangle)]
unsafe extern "C" fn flock(fd: c_int, operation: c_int) -> c_int {
    let Some(process) = process_of(fd) else {
        // SAFETY: as ours.
        return unsafe { real!("flock", fn(c_int, c_int) -> c_int)(fd, operation) };
    };
    let kind = match operation & !libc::LOCK_NB {
        libc::LOCK_SH => Ok(Some(LockKind::Shared)),
        libc::LOCK_EX => Ok(Some(LockKind::Exclusive)),
        libc::LOCK_UN => Ok(None),
        _ => Err(libc::EINVAL),
    };
    answer(kind.and_then(|kind| {
        let (open, owner) = cluster::with(process.run, |run| {
            let (id, _) = run.descriptors.file(process, fd)?;
            run.opened(process, fd).map(|open| (open, Owner::File(id)))
        })?;
        let locking = Locking { is_whole: true, owner, kind, start: 0, end: u64::MAX };
        lock(process, open, &locking, operation & libc::LOCK_NB == 0)
    }))
}

/// The range of a record lock, from where its beginning is counted.
fn range_of(wanted: &libc::flock, open: OpenFile, length: u64) -> Result<(u64, u64), Errno> {
    let base = match c_int::from(wanted.l_whence) {
        libc::SEEK_SET => 0,
        libc::SEEK_CUR => open.at as i64,
        libc::SEEK_END => length as i64,
        _ => return Err(libc::EINVAL),
    };
    let start = base.checked_add(wanted.l_start).ok_or(libc::EOVERFLOW)?;
    let (start, end) = match wanted.l_len {
        0 => (start, i64::MAX),
        more @ 1.. => (start, start.checked_add(more).ok_or(libc::EOVERFLOW)?),
        less => (start.checked_add(less).ok_or(libc::EINVAL)?, start),
    };
    let start = u64::try_from(start).map_err(|_| libc::EINVAL)?;
    Ok((start, if end == i64::MAX { u64::MAX } else { end as u64 }))
}

/// The commands of fcntl(2) for record locks: F_GETLK, F_SETLK, F_SETLKW, and those for open files (F_OFD_...).
///
/// # Safety
/// `wanted` is valid for reads and writes.
pub(super) unsafe fn control(
    process: Process,
    fd: c_int,
    command: c_int,
    wanted: *mut libc::flock,
) -> Result<c_int, Errno> {
    // SAFETY: as the caller says.
    let wanted = unsafe { &mut *wanted };
    let kind = match c_int::from(wanted.l_type) {
        libc::F_RDLCK => Some(LockKind::Shared),
        libc::F_WRLCK => Some(LockKind::Exclusive),
        libc::F_UNLCK => None,
        _ => return Err(libc::EINVAL),
    };
    let is_of_file = matches!(command, libc::F_OFD_GETLK | libc::F_OFD_SETLK | libc::F_OFD_SETLKW);
    if is_of_file && wanted.l_pid != 0 {
        return Err(libc::EINVAL);
    }
    let (open, owner, length) = cluster::with(process.run, |run| {
        let (id, _) = run.descriptors.file(process, fd)?;
        let open = run.opened(process, fd)?;
        let length = run.disk(open.machine).status(open.ino).length;
        Ok::<_, Errno>((open, if is_of_file { Owner::File(id) } else { Owner::Process }, length))
    })?;
    let (start, end) = range_of(wanted, open, length)?;
    if command == libc::F_GETLK && kind.is_none() {
        return Err(libc::EINVAL);
    }
    let locking = Locking { is_whole: false, owner, kind, start, end };
    if matches!(command, libc::F_GETLK | libc::F_OFD_GETLK) {
        let held = cluster::with(process.run, |run| run.lock_in_the_way(open.machine, open.ino, &locking));
        match held {
            None => wanted.l_type = libc::F_UNLCK as _,
            Some(held) => {
                wanted.l_type = match held.kind {
                    LockKind::Shared => libc::F_RDLCK as _,
                    LockKind::Exclusive => libc::F_WRLCK as _,
                };
                (wanted.l_whence, wanted.l_start) = (libc::SEEK_SET as _, held.start as i64);
                wanted.l_len = if held.end == u64::MAX { 0 } else { (held.end - held.start) as i64 };
                wanted.l_pid = match held.owner {
                    Owner::File(_) => -1,
                    Owner::Process => process_number(process),
                };
            }
        }
        return Ok(0);
    }
    let is_allowed = match kind {
        Some(LockKind::Shared) => open.may_read(),
        Some(LockKind::Exclusive) => open.may_write(),
        None => true,
    };
    match is_allowed {
        true => lock(process, open, &locking, matches!(command, libc::F_SETLKW | libc::F_OFD_SETLKW)),
        false => Err(libc::EBADF),
    }
}
