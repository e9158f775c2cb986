//! Open files of a disk: reading, writing, syncing.

use std::io::IoSlice;

use libc::c_int;

use super::bytes::{PAGE, Syncing};
use super::settings::Durability;
use super::tree::{Ino, Node, is_dots};
use super::{Cluster, Errno, Volume};
use crate::kernel::timers::Nanos;
use crate::machine::descriptors::{Buffers, FileId, Object};
use crate::machine::world::Process;
use crate::schema::disk_trouble::DiskCall;
use crate::schema::event::{DiskChange, EventKind};
use crate::schema::moment::Moment;

/// The longest file, as of ext4 with blocks of 4 KiB.
pub(crate) const LENGTH_MAX: u64 = (1 << 44) - PAGE as u64;

/// The most that one call transfers (read(2)).
const TRANSFER_MAX: usize = 0x7fff_f000;

/// An open file or directory of a disk.
#[derive(Debug, Clone, Copy)]
pub(crate) struct OpenFile {
    pub(crate) machine: u32,
    pub(crate) ino: Ino,
    /// Where the next read or write begins.
    pub(crate) at: u64,
    /// Those of open(2) that last: the access mode, O_APPEND, O_SYNC and others.
    pub(crate) flags: c_int,
}

/// What of open(2)'s flags fcntl(2) does not tell.
const PASSING: c_int = libc::O_CREAT | libc::O_EXCL | libc::O_TRUNC | libc::O_NOCTTY | libc::O_CLOEXEC;

/// The flags that O_PATH leaves: it "beats everything else".
const OF_PATHS: c_int = libc::O_PATH | libc::O_DIRECTORY | libc::O_NOFOLLOW | libc::O_CLOEXEC;

/// The flags of open(2) as they count.
///
/// # Errors
/// `EINVAL` for those that contradict each other.
pub(crate) fn checked_flags(flags: c_int) -> Result<c_int, Errno> {
    if flags & libc::O_PATH != 0 {
        return Ok(flags & OF_PATHS);
    }
    let makes_directory = flags & libc::O_CREAT != 0 && flags & libc::O_DIRECTORY != 0;
    let is_nameless = flags & libc::O_TMPFILE == libc::O_TMPFILE;
    let writes = flags & libc::O_ACCMODE != libc::O_RDONLY;
    if makes_directory || is_nameless && !writes { Err(libc::EINVAL) } else { Ok(flags) }
}

impl OpenFile {
    pub(crate) fn may_read(self) -> bool {
        matches!(self.flags & libc::O_ACCMODE, libc::O_RDONLY | libc::O_RDWR)
            && self.flags & libc::O_PATH == 0
    }

    pub(crate) fn may_write(self) -> bool {
        matches!(self.flags & libc::O_ACCMODE, libc::O_WRONLY | libc::O_RDWR)
            && self.flags & libc::O_PATH == 0
    }

    /// Whether a write is to be durable when it returns.
    fn is_synchronous(self) -> bool {
        self.flags & libc::O_DSYNC != 0 // O_SYNC contains it
    }

    /// Whether it may be mapped.
    pub(super) fn check_mapping(self, is_writable: bool) -> Result<(), Errno> {
        self.check_is_open()?;
        let is_allowed = self.may_read() && (!is_writable || self.may_write());
        if is_allowed { Ok(()) } else { Err(libc::EACCES) }
    }

    /// Fails where only its path can be used.
    fn check_is_open(self) -> Result<(), Errno> {
        if self.flags & libc::O_PATH == 0 { Ok(()) } else { Err(libc::EBADF) }
    }
}

/// Fails where a range ends behind all offsets.
fn check_range(offset: u64, length: usize) -> Result<(), Errno> {
    match offset.checked_add(length as u64) {
        Some(end) if i64::try_from(end).is_ok() => Ok(()),
        _ => Err(libc::EINVAL),
    }
}

/// A sync of a file or a directory that has begun.
pub(crate) struct Sync {
    machine: u32,
    ino: Ino,
    bytes: Option<Syncing>,
    /// How long it takes.
    pub(crate) takes: Nanos,
}

impl Volume {
    /// What open(2) opens, made or emptied if the flags say so.
    fn open(&mut self, from: Ino, path: &[u8], flags: c_int, mode: u32, now: Nanos) -> Result<Ino, Errno> {
        let makes = flags & libc::O_CREAT != 0;
        let is_exclusive = makes && flags & libc::O_EXCL != 0;
        let mode = mode & 0o7777 & !self.umask;
        let writes = flags & libc::O_ACCMODE != libc::O_RDONLY;
        if flags & libc::O_TMPFILE == libc::O_TMPFILE {
            let directory = self.tree.find(from, path, flags & libc::O_NOFOLLOW == 0)?;
            self.tree.names(directory)?;
            self.check_access(directory, (libc::W_OK | libc::X_OK) as u32)?;
            let ino = self.tree.make_nameless(mode, flags & libc::O_EXCL == 0, now);
            self.tree.note(ino, libc::IN_OPEN);
            return Ok(ino);
        }
        let follows = flags & libc::O_NOFOLLOW == 0 && !is_exclusive;
        let place = match makes {
            true => {
                let named = self.tree.place_to_change(from, path)?;
                if path.ends_with(b"/") && !is_dots(&named.name) {
                    return Err(libc::EISDIR);
                }
                let place = if follows { self.tree.place_of_file(from, path)? } else { named };
                if place.is_directory && !is_dots(&place.name) {
                    return Err(libc::EISDIR);
                }
                place
            }
            false => self.tree.place(from, path, follows)?,
        };
        let found = self.tree.lookup(place.directory, &place.name)?;
        let Some(ino) = found else {
            if !makes {
                return Err(libc::ENOENT);
            }
            self.check_free(1)?;
            let ino = self.tree.make_file(&place, mode, now)?;
            self.tree.note(ino, libc::IN_OPEN);
            return Ok(ino);
        };
        if is_exclusive {
            return Err(libc::EEXIST);
        }
        let is_directory = match self.tree.get(ino).node {
            Node::Directory { .. } => true,
            Node::Link(_) if flags & libc::O_PATH != 0 => false,
            Node::Link(_) if flags & libc::O_DIRECTORY != 0 => return Err(libc::ENOTDIR),
            Node::Link(_) => return Err(libc::ELOOP),
            Node::Socket if flags & libc::O_PATH == 0 => return Err(libc::ENXIO),
            Node::File(_) | Node::Socket => false,
        };
        if is_directory && (writes || makes || flags & libc::O_TRUNC != 0) {
            return Err(libc::EISDIR);
        }
        if !is_directory && (place.is_directory || flags & libc::O_DIRECTORY != 0) {
            return Err(libc::ENOTDIR);
        }
        let wanted = match flags & libc::O_ACCMODE {
            _ if flags & libc::O_PATH != 0 => 0,
            libc::O_RDONLY => libc::R_OK,
            libc::O_WRONLY => libc::W_OK,
            _ => libc::R_OK | libc::W_OK,
        };
        let truncates = flags & libc::O_TRUNC != 0;
        self.check_access(ino, (wanted | if truncates { libc::W_OK } else { 0 }) as u32)?;
        if flags & libc::O_PATH == 0 {
            self.tree.note(ino, libc::IN_OPEN);
        }
        if truncates {
            self.truncate(ino, 0, now)?;
        }
        Ok(ino)
    }

    fn check_free(&self, pages: u64) -> Result<(), Errno> {
        let (room, error) = self.room();
        if room >= pages { Ok(()) } else { Err(error) }
    }

    /// Writes some of what is given: up to where the disk is full.
    fn write(
        &mut self,
        ino: Ino,
        mut offset: u64,
        parts: &[IoSlice<'_>],
        room: usize,
        now: Nanos,
    ) -> Result<usize, Errno> {
        let mut written = 0;
        for part in parts {
            let part = &part[..part.len().min(room.min(TRANSFER_MAX) - written)];
            let n = self.write_part(ino, offset, part);
            match n {
                Ok(n) => {
                    (written, offset) = (written + n, offset + n as u64);
                    if n < part.len() {
                        break;
                    }
                }
                Err(_) if written > 0 => break,
                Err(error) => return Err(error),
            }
        }
        if written > 0 {
            let inode = self.tree.get_mut(ino);
            (inode.modified, inode.changed) = (now, now);
        }
        Ok(written)
    }

    fn write_part(&mut self, ino: Ino, offset: u64, part: &[u8]) -> Result<usize, Errno> {
        if part.is_empty() {
            return Ok(0);
        }
        if offset >= LENGTH_MAX {
            return Err(libc::EFBIG);
        }
        let mut length = part.len().min((LENGTH_MAX - offset) as usize);
        let (room, error) = self.room();
        let bytes = self.tree.bytes(ino)?;
        let needed = |length: usize| {
            (offset + length as u64).div_ceil(PAGE as u64)
                - offset / PAGE as u64
                - bytes.allocated_in(offset, length as u64)
        };
        while length > 0 && needed(length) > room {
            // Up to the page before.
            length = length.saturating_sub(((offset + length as u64 - 1) % PAGE as u64 + 1) as usize);
        }
        if length == 0 {
            return Err(error);
        }
        self.tree.change_bytes(ino, |bytes| bytes.write(offset, &part[..length]))?;
        Ok(length)
    }
}

impl Cluster {
    /// Opens what is at a path of the caller's disk.
    pub(crate) fn open_on_disk(
        &mut self,
        process: Process,
        from: Ino,
        path: &[u8],
        flags: c_int,
        mode: u32,
    ) -> Result<i32, Errno> {
        let now = self.disk_time(process.machine);
        let volume = self.disk(process.machine);
        let opened = volume.open(from, path, flags, mode, now);
        if let Ok(ino) = opened {
            volume.tree.open(ino);
            volume.is_used = true;
        }
        self.tell_watchers(process.machine);
        let ino = opened?;
        let open = OpenFile { machine: process.machine, ino, at: 0, flags: flags & !PASSING };
        self.open_file(process, Object::File(open), flags & libc::O_NONBLOCK != 0)
    }

    /// The open file of a descriptor.
    ///
    /// # Errors
    /// `EBADF` where it was opened for its path alone (O_PATH), and `EINVAL` where it is no file of a disk.
    pub(crate) fn opened(&mut self, process: Process, fd: i32) -> Result<OpenFile, Errno> {
        let open = self.opened_by_path(process, fd)?;
        if open.flags & libc::O_PATH == 0 { Ok(open) } else { Err(libc::EBADF) }
    }

    /// The same for calls that need no more than a path.
    pub(crate) fn opened_by_path(&mut self, process: Process, fd: i32) -> Result<OpenFile, Errno> {
        match self.descriptors.file(process, fd)?.1.object {
            Object::File(open) => Ok(open),
            _ => Err(libc::EINVAL),
        }
    }

    /// The directory that a call with a descriptor begins at.
    pub(crate) fn directory_of(&mut self, process: Process, fd: c_int) -> Result<Ino, Errno> {
        if fd == libc::AT_FDCWD {
            return Ok(self.disk(process.machine).directory());
        }
        let ino = match self.descriptors.file(process, fd)?.1.object {
            Object::File(OpenFile { ino, .. }) => ino,
            _ => return Err(libc::ENOTDIR),
        };
        self.disk(process.machine).tree.names(ino).map(|_| ino)
    }

    pub(crate) fn close_on_disk(&mut self, open: OpenFile) {
        if let Some(volume) = self.disks.get_mut(&open.machine) {
            if open.flags & libc::O_PATH == 0 {
                let mask = if open.may_write() { libc::IN_CLOSE_WRITE } else { libc::IN_CLOSE_NOWRITE };
                volume.tree.note(open.ino, mask);
            }
            volume.tree.close(open.ino);
        }
        self.tell_watchers(open.machine);
    }

    fn open_mut(&mut self, id: FileId) -> Result<&mut OpenFile, Errno> {
        match &mut self.descriptors.get(id).object {
            Object::File(open) => Ok(open),
            _ => Err(libc::ESPIPE),
        }
    }

    /// Reads from where the last read or write ended, unless an offset is given (pread(2)).
    pub(crate) fn read_disk(
        &mut self,
        id: FileId,
        buffers: &mut Buffers<'_>,
        offset: Option<u64>,
    ) -> Result<usize, Errno> {
        let open = *self.open_mut(id)?;
        if !open.may_read() {
            return Err(libc::EBADF);
        }
        let from = offset.unwrap_or(open.at);
        check_range(from, buffers.room())?;
        buffers.truncate(TRANSFER_MAX);
        let mut behind = 0;
        if !self.disk(open.machine).troubles.is_none() {
            let length = self.disk(open.machine).tree.bytes(open.ino)?.length();
            let wanted = buffers.room().min(length.saturating_sub(from) as usize);
            let room;
            (behind, room) = self.trouble_read(open.machine, open.ino, from, wanted)?;
            buffers.truncate(room);
        }
        let bytes = self.disk(open.machine).tree.bytes(open.ino)?;
        let mut done = 0;
        for part in &mut buffers.parts {
            let n = bytes.read_behind(behind, from + done as u64, part);
            done += n;
            if n < part.len() {
                break;
            }
        }
        if offset.is_none() {
            self.open_mut(id)?.at = from + done as u64;
        }
        if done > 0 {
            self.disk(open.machine).tree.note(open.ino, libc::IN_ACCESS);
            self.tell_watchers(open.machine);
        }
        Ok(done)
    }

    /// Writes where the last read or write ended, or at the end (O_APPEND), unless an offset is given (pwrite(2), which on Linux
    /// appends, too).
    pub(crate) fn write_disk(
        &mut self,
        id: FileId,
        parts: &[IoSlice<'_>],
        offset: Option<u64>,
    ) -> Result<usize, Errno> {
        let open = *self.open_mut(id)?;
        if !open.may_write() {
            return Err(libc::EBADF);
        }
        check_range(offset.unwrap_or(open.at), parts.iter().map(|part| part.len()).sum())?;
        let now = self.disk_time(open.machine);
        let mut room = usize::MAX;
        if !self.disk(open.machine).troubles.is_none() {
            if self.disk_fails(open.machine, DiskCall::Write) {
                return Err(libc::EIO);
            }
            room = self.short(open.machine, parts.iter().map(|part| part.len()).sum());
        }
        let volume = self.disk(open.machine);
        let at = match open.flags & libc::O_APPEND {
            0 => offset.unwrap_or(open.at),
            _ => volume.tree.bytes(open.ino)?.length(),
        };
        let written = volume.write(open.ino, at, parts, room, now)?;
        volume.troubles.written(open.ino, at, written);
        self.kernel.happened(EventKind::Disk {
            machine: open.machine,
            change: DiskChange::Written { file: open.ino, offset: at, bytes: written as u64 },
        });
        if written > 0 {
            self.disk(open.machine).tree.note(open.ino, libc::IN_MODIFY);
            self.tell_watchers(open.machine);
        }
        // A write of nothing does not go to the end.
        if offset.is_none() && written > 0 {
            self.open_mut(id)?.at = at + written as u64;
        }
        Ok(written)
    }

    /// Whether what was written has to be synced before the call returns: then what.
    pub(crate) fn sync_of_write(&mut self, id: FileId) -> Option<Sync> {
        let open = *self.open_mut(id).ok()?;
        open.is_synchronous().then(|| self.begin_sync_of(open.machine, open.ino))
    }

    /// fsync(2): what it makes durable is what was written before it.
    pub(crate) fn begin_sync(&mut self, process: Process, fd: c_int) -> Result<Sync, Errno> {
        let open = self.opened(process, fd)?;
        Ok(self.begin_sync_of(open.machine, open.ino))
    }

    pub(super) fn begin_sync_of(&mut self, machine: u32, ino: Ino) -> Sync {
        let takes = self.sync_time(machine) + self.sync_delay(machine);
        self.moment_reached(machine, Moment::Syncing);
        let bytes = self.disk(machine).tree.change_bytes(ino, |bytes| bytes.begin_sync(None)).ok();
        Sync { machine, ino, bytes, takes }
    }

    /// The time that a sync takes is over.
    ///
    /// # Errors
    /// `EIO`, when it failed.
    pub(crate) fn end_sync(&mut self, mut sync: Sync) -> Result<(), Errno> {
        let fails = self.disk_fails(sync.machine, DiskCall::Sync);
        self.kernel.happened(EventKind::Disk {
            machine: sync.machine,
            change: if fails {
                DiskChange::SyncFailed { file: sync.ino }
            } else {
                let pages = sync.bytes.as_ref().map_or(0, |bytes| bytes.pages() as u64);
                DiskChange::Synced { file: sync.ino, pages }
            },
        });
        if fails {
            if let (Ok(bytes), Some(syncing)) = (self.disk(sync.machine).tree.bytes(sync.ino), &sync.bytes) {
                bytes.fail_sync(syncing);
            }
            return Err(libc::EIO);
        }
        if let Some(syncing) = sync.bytes.as_mut().filter(|_| !self.disk(sync.machine).troubles.is_none()) {
            self.trouble_sync(sync.machine, sync.ino, syncing);
        }
        let Volume { tree, settings, .. } = self.disk(sync.machine);
        if settings.ignores_syncs {
            return Ok(());
        }
        match &sync.bytes {
            Some(syncing) => {
                if let Ok(bytes) = tree.bytes(sync.ino) {
                    bytes.end_sync(syncing);
                }
                if settings.durability == Durability::Ext4 {
                    tree.sync_names(); // one journal for all
                }
            }
            None if settings.durability == Durability::Ext4 => tree.sync_names(),
            None => tree.sync_directory(sync.ino),
        }
        Ok(())
    }

    /// lseek(2): where the next read or write begins.
    pub(crate) fn seek_on_disk(&mut self, id: FileId, offset: i64, whence: c_int) -> Result<i64, Errno> {
        let open = *self.open_mut(id)?;
        open.check_is_open()?;
        let from = u64::try_from(offset);
        let bytes = self.disk(open.machine).tree.bytes(open.ino);
        let length = bytes.as_ref().map_or(0, |bytes| bytes.length());
        let to = match whence {
            libc::SEEK_SET => Some(offset),
            libc::SEEK_CUR => (open.at as i64).checked_add(offset),
            libc::SEEK_END => (length as i64).checked_add(offset),
            libc::SEEK_DATA | libc::SEEK_HOLE => {
                let (bytes, from) = (bytes?, from.map_err(|_| libc::ENXIO)?);
                let found =
                    if whence == libc::SEEK_DATA { bytes.data_from(from) } else { bytes.hole_from(from) };
                Some(found.ok_or(libc::ENXIO)? as i64)
            }
            _ => None,
        };
        let to = to.filter(|to| (0..=LENGTH_MAX as i64).contains(to)).ok_or(libc::EINVAL)?;
        self.open_mut(id)?.at = to as u64;
        Ok(to)
    }

    /// How much copy_file_range(2) copies. It fails behind the longest file, and where the ranges of one file overlap.
    pub(crate) fn check_range_copy(
        &mut self,
        process: Process,
        (from, to): (c_int, c_int),
        (at, to_at): (i64, i64),
        length: usize,
    ) -> Result<usize, Errno> {
        let (from, to) = match (self.opened(process, from), self.opened(process, to)) {
            (Ok(from), Ok(to)) => (from, to),
            _ => return Ok(length),
        };
        let (Ok(at), Ok(to_at)) = (u64::try_from(at), u64::try_from(to_at)) else { return Err(libc::EINVAL) };
        let there = self.disk(from.machine).tree.bytes(from.ino)?.length();
        let copied = there.saturating_sub(at).min(length as u64);
        if to_at >= LENGTH_MAX {
            return Err(libc::EFBIG);
        }
        let is_one = (from.machine, from.ino) == (to.machine, to.ino);
        if is_one && to_at + copied > at && to_at < at + copied {
            return Err(libc::EINVAL);
        }
        Ok(copied as usize)
    }

    /// Where the next entry of a directory is read from (getdents64(2)).
    pub(crate) fn set_position(&mut self, process: Process, fd: c_int, at: u64) {
        if let Ok((_, file)) = self.descriptors.file(process, fd)
            && let Object::File(open) = &mut file.object
        {
            open.at = at;
        }
    }

    /// ftruncate(2).
    pub(crate) fn truncate_open(&mut self, process: Process, fd: c_int, length: i64) -> Result<(), Errno> {
        let open = self.opened(process, fd)?;
        let length = u64::try_from(length).map_err(|_| libc::EINVAL)?;
        if !open.may_write() {
            return Err(libc::EINVAL);
        }
        let now = self.disk_time(open.machine);
        let truncated = self.disk(open.machine).truncate(open.ino, length, now);
        self.tell_watchers(open.machine);
        truncated
    }

    /// fallocate(2).
    pub(crate) fn allocate(
        &mut self,
        process: Process,
        fd: c_int,
        mode: c_int,
        offset: i64,
        length: i64,
    ) -> Result<(), Errno> {
        const KINDS: c_int = libc::FALLOC_FL_PUNCH_HOLE
            | libc::FALLOC_FL_ZERO_RANGE
            | libc::FALLOC_FL_COLLAPSE_RANGE
            | libc::FALLOC_FL_INSERT_RANGE;
        let open = self.opened(process, fd)?;
        let (Ok(offset), Ok(length @ 1..)) = (u64::try_from(offset), u64::try_from(length)) else {
            return Err(libc::EINVAL);
        };
        let keeps_length = mode & libc::FALLOC_FL_KEEP_SIZE != 0;
        match mode & !libc::FALLOC_FL_KEEP_SIZE {
            0 | libc::FALLOC_FL_ZERO_RANGE => {}
            libc::FALLOC_FL_PUNCH_HOLE if keeps_length => {}
            libc::FALLOC_FL_COLLAPSE_RANGE | libc::FALLOC_FL_INSERT_RANGE if !keeps_length => {}
            _ => return Err(libc::EOPNOTSUPP),
        }
        if !open.may_write() {
            return Err(libc::EBADF);
        }
        if offset.saturating_add(length) > LENGTH_MAX {
            return Err(libc::EFBIG);
        }
        let now = self.disk_time(open.machine);
        let volume = self.disk(open.machine);
        let inode = volume.tree.get_mut(open.ino);
        (inode.modified, inode.changed) = (now, now);
        let (room, error) = volume.room();
        volume.tree.change_bytes(open.ino, |bytes| {
            let end = (offset + length).div_ceil(PAGE as u64);
            let needed = end - offset / PAGE as u64 - bytes.allocated_in(offset, length);
            match mode & KINDS {
                0 | libc::FALLOC_FL_ZERO_RANGE if needed > room => return Err(error),
                0 => bytes.allocate(offset, length, keeps_length),
                libc::FALLOC_FL_PUNCH_HOLE => bytes.punch(offset, length),
                libc::FALLOC_FL_ZERO_RANGE => {
                    bytes.punch(offset, length);
                    bytes.allocate(offset, length, keeps_length);
                }
                kind => return bytes.shift(offset, length, kind == libc::FALLOC_FL_INSERT_RANGE, LENGTH_MAX),
            }
            Ok(())
        })??;
        volume.tree.note(open.ino, libc::IN_MODIFY);
        self.tell_watchers(open.machine);
        Ok(())
    }
}
