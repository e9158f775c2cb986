//! A machine's disk, beneath the calls for files of the standard library, of tokio and of the C library.
//!
//! What a program writes is seen at once by all who read, survives the end of a process, and is durable when it was synced. A
//! power loss leaves of the rest what [`survival`] draws. A disk is made when something is first done with it.
//!
//! The disk models what a program can see of a file system in a computer that loses its power. It has one user, who may do
//! everything that permission bits allow an owner.

/// The example of docs/disk.md is a test.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/disk.md")]
struct Page;

mod bytes; // what a file has, and had
mod handle; // what a scenario does with a disk
mod locks; // flock(2), and record locks
mod mapping; // mmap(2)
mod memory; // what mappings share
mod notices; // what happens, for those who watch
mod open; // open files
mod settings; // what a disk is like
mod survival; // what a power loss leaves
mod tree; // names
mod trouble; // what goes wrong

use std::collections::BTreeMap;

use super::cluster::Cluster;
use super::descriptors::Errno;
use crate::kernel::timers::Nanos;
use crate::schema::decision::Stream;
pub use handle::Disk;
pub(crate) use locks::{LockKind, Locking, Owner};
pub(crate) use mapping::{MapCall, Mappings};
pub(crate) use notices::Notice;
pub(crate) use open::{LENGTH_MAX, OpenFile, Sync, checked_flags};
pub use settings::{DiskSettings, Durability};
use survival::Survival;
pub(crate) use tree::{Ino, ROOT};
use tree::{Node, Place, Tree};
pub use trouble::Troubled;
use trouble::Troubles;

/// The permission bits that a new file of a process does not get (umask(2)), until it says otherwise.
const UMASK: u32 = 0o022;

/// The disks of a run, by machine.
pub(crate) type Disks = BTreeMap<u32, Volume>;

/// A file system on a disk, and what the present process of its machine set for itself.
pub(crate) struct Volume {
    tree: Tree,
    pub(crate) settings: DiskSettings,
    /// The current directory.
    directory: Ino,
    umask: u32,
    troubles: Troubles,
    /// Whether something was opened or made on it.
    is_used: bool,
}

/// What stat(2) tells.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Status {
    pub(crate) ino: u64,
    /// The type of file and its permission bits.
    pub(crate) mode: u32,
    pub(crate) links: u32,
    pub(crate) length: u64,
    /// In blocks of 512 bytes.
    pub(crate) blocks: u64,
    pub(crate) created: Nanos,
    pub(crate) modified: Nanos,
    pub(crate) changed: Nanos,
}

/// An entry of a directory.
pub(crate) struct Entry {
    pub(crate) ino: u64,
    /// DT_REG and its kin of readdir(3).
    pub(crate) kind: u8,
    pub(crate) name: Box<[u8]>,
}

/// How a name is changed to another (renameat2(2)).
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Renaming {
    pub(crate) exchanges: bool,
    pub(crate) is_new: bool,
}

impl Volume {
    fn new(settings: DiskSettings, now: Nanos) -> Self {
        Self {
            tree: Tree::new(now),
            settings,
            directory: ROOT,
            umask: UMASK,
            troubles: Troubles::default(),
            is_used: false,
        }
    }

    /// The current directory of the process.
    pub(crate) fn directory(&self) -> Ino {
        self.directory
    }

    pub(crate) fn is_in_root(&self) -> bool {
        self.directory == ROOT
    }

    /// How many pages there are, and how many of them are free (statfs(2)).
    pub(crate) fn space(&self) -> (u64, u64) {
        (self.settings.capacity / bytes::PAGE as u64, self.free())
    }

    /// How many pages the user may still fill, and the error of one more.
    fn room(&self) -> (u64, Errno) {
        let free = self.free();
        let quota = match self.troubles.is_over_quota() {
            true => Some(0),
            false => self
                .settings
                .quota
                .map(|quota| (quota / bytes::PAGE as u64).saturating_sub(self.tree.allocated)),
        };
        // Quotas are looked at first.
        match quota {
            Some(left) if left <= free => (left, libc::EDQUOT),
            _ => (free, libc::ENOSPC),
        }
    }

    /// How many pages are free.
    fn free(&self) -> u64 {
        match self.troubles.is_full() {
            true => 0,
            false => (self.settings.capacity / bytes::PAGE as u64).saturating_sub(self.tree.allocated),
        }
    }

    pub(crate) fn status(&self, ino: Ino) -> Status {
        let inode = self.tree.get(ino);
        let (kind, length, pages) = match &inode.node {
            Node::File(bytes) => (libc::S_IFREG, bytes.length(), bytes.allocated()),
            Node::Directory { names, .. } => (libc::S_IFDIR, 4096 * (1 + names.len() as u64 / 64), 1),
            Node::Link(target) => (libc::S_IFLNK, target.len() as u64, 0),
            Node::Socket => (libc::S_IFSOCK, 0, 0),
        };
        Status {
            ino: u64::from(ino),
            mode: kind | inode.mode,
            links: inode.links,
            length,
            blocks: pages * (bytes::PAGE as u64 / 512),
            created: inode.created,
            modified: inode.modified,
            changed: inode.changed,
        }
    }

    pub(crate) fn is_directory(&self, ino: Ino) -> bool {
        self.tree.names(ino).is_ok()
    }

    pub(crate) fn find(&self, from: Ino, path: &[u8], follows: bool) -> Result<Ino, Errno> {
        self.tree.find(from, path, follows)
    }

    fn place(&self, from: Ino, path: &[u8]) -> Result<Place, Errno> {
        self.tree.place_to_change(from, path)
    }

    /// Fails where there is no way to the last name of a path.
    pub(crate) fn check_place(&self, from: Ino, path: &[u8]) -> Result<(), Errno> {
        self.place(from, path).map(drop)
    }

    pub(crate) fn make_directory(
        &mut self,
        from: Ino,
        path: &[u8],
        mode: u32,
        now: Nanos,
    ) -> Result<(), Errno> {
        let place = self.place(from, path)?;
        self.tree.make_directory(&place, mode & 0o1777 & !self.umask, now).map(drop)
    }

    pub(crate) fn remove_directory(&mut self, from: Ino, path: &[u8], now: Nanos) -> Result<(), Errno> {
        let place = self.place(from, path)?;
        self.tree.remove_directory(&place, now)
    }

    pub(crate) fn unlink(&mut self, from: Ino, path: &[u8], now: Nanos) -> Result<(), Errno> {
        let place = self.place(from, path)?;
        self.tree.unlink(&place, now)
    }

    pub(crate) fn rename(
        &mut self,
        from: (Ino, &[u8]),
        to: (Ino, &[u8]),
        how: Renaming,
        now: Nanos,
    ) -> Result<(), Errno> {
        let (from, to) = (self.place(from.0, from.1)?, self.place(to.0, to.1)?);
        self.tree.rename(&from, &to, how.exchanges, how.is_new, now)
    }

    pub(crate) fn link(&mut self, ino: Ino, from: Ino, path: &[u8], now: Nanos) -> Result<(), Errno> {
        let place = self.place(from, path)?;
        self.tree.link(ino, &place, now)
    }

    pub(crate) fn make_link(
        &mut self,
        target: &[u8],
        from: Ino,
        path: &[u8],
        now: Nanos,
    ) -> Result<(), Errno> {
        let place = self.place(from, path)?;
        self.tree.make_link(&place, target, now).map(drop)
    }

    /// The name of a Unix socket (bind(2)).
    pub(crate) fn make_socket(&mut self, path: &[u8], now: Nanos) -> Result<Ino, Errno> {
        let place = self.place(self.directory, path)?;
        self.tree.make_socket(&place, 0o777 & !self.umask, now)
    }

    /// What a symbolic link says.
    pub(crate) fn target(&self, ino: Ino) -> Result<&[u8], Errno> {
        match &self.tree.get(ino).node {
            Node::Link(target) => Ok(target),
            _ => Err(libc::EINVAL),
        }
    }

    /// The path of what is at a path, without symbolic links (realpath(3)).
    pub(crate) fn real_path(&self, from: Ino, path: &[u8]) -> Result<Vec<u8>, Errno> {
        let place = self.tree.place(from, path, true)?;
        let found = self.tree.lookup(place.directory, &place.name)?.ok_or(libc::ENOENT)?;
        if let Node::Directory { .. } = self.tree.get(found).node {
            return self.tree.path(found).ok_or(libc::ENOENT);
        }
        if place.is_directory {
            return Err(libc::ENOTDIR);
        }
        let mut path = self.tree.path(place.directory).ok_or(libc::ENOENT)?;
        if path != b"/" {
            path.push(b'/');
        }
        path.extend_from_slice(&place.name);
        Ok(path)
    }

    /// The path of a directory; none when it was removed.
    pub(crate) fn path(&self, directory: Ino) -> Result<Vec<u8>, Errno> {
        self.tree.path(directory).ok_or(libc::ENOENT)
    }

    pub(crate) fn change_directory(&mut self, ino: Ino) -> Result<(), Errno> {
        self.tree.names(ino)?;
        self.tree.open(ino);
        let former = std::mem::replace(&mut self.directory, ino);
        if former != ROOT {
            self.tree.close(former);
        }
        Ok(())
    }

    pub(crate) fn set_umask(&mut self, mask: u32) -> u32 {
        std::mem::replace(&mut self.umask, mask & 0o777)
    }

    pub(crate) fn set_mode(&mut self, ino: Ino, mode: u32, now: Nanos) {
        let inode = self.tree.get_mut(ino);
        (inode.mode, inode.changed) = (mode & 0o7777, now);
        self.tree.note(ino, libc::IN_ATTRIB);
    }

    /// Sets when a file was last modified (utimensat(2)).
    pub(crate) fn set_modified(&mut self, ino: Ino, modified: Nanos, now: Nanos) {
        let inode = self.tree.get_mut(ino);
        (inode.modified, inode.changed) = (modified, now);
        self.tree.note(ino, libc::IN_ATTRIB);
    }

    /// Whether a file may be read, written and executed or searched, by its owner.
    pub(crate) fn check_access(&self, ino: Ino, wanted: u32) -> Result<(), Errno> {
        let mode = self.tree.get(ino).mode >> 6;
        if mode & wanted == wanted { Ok(()) } else { Err(libc::EACCES) }
    }

    pub(crate) fn truncate(&mut self, ino: Ino, length: u64, now: Nanos) -> Result<(), Errno> {
        self.tree.bytes(ino)?;
        if length > LENGTH_MAX {
            return Err(libc::EFBIG);
        }
        self.tree.change_bytes(ino, |bytes| bytes.set_length(length))?;
        let inode = self.tree.get_mut(ino);
        (inode.modified, inode.changed) = (now, now);
        self.tree.note(ino, libc::IN_MODIFY);
        Ok(())
    }

    /// The entries of a directory, `.` and `..` first.
    pub(crate) fn entries(&mut self, directory: Ino) -> Result<Vec<Entry>, Errno> {
        self.tree.names(directory)?;
        self.tree.note(directory, libc::IN_ACCESS);
        let entry = |name: &[u8], ino: Ino| Entry {
            ino: u64::from(ino),
            kind: match self.tree.get(ino).node {
                Node::File(_) => libc::DT_REG,
                Node::Directory { .. } => libc::DT_DIR,
                Node::Link(_) => libc::DT_LNK,
                Node::Socket => libc::DT_SOCK,
            },
            name: name.into(),
        };
        let mut entries = vec![entry(b".", directory), entry(b"..", self.tree.parent(directory))];
        entries.extend(self.tree.names(directory)?.iter().map(|(name, ino)| entry(name, *ino)));
        Ok(entries)
    }

    /// All changes of names, and all data, are durable (sync(2)).
    pub(crate) fn sync_all(&mut self) {
        if !self.settings.ignores_syncs {
            self.tree.sync_all();
        }
    }
}

impl Cluster {
    /// Whether something was opened or made on the disk of a machine.
    pub(crate) fn uses_disk(&self, machine: u32) -> bool {
        self.disks.get(&machine).is_some_and(|volume| volume.is_used)
    }

    /// The disk of a machine.
    pub(crate) fn disk(&mut self, machine: u32) -> &mut Volume {
        // As old as the epoch: it must not matter who looks first.
        self.disks.entry(machine).or_insert_with(|| Volume::new(DiskSettings::default(), 0))
    }

    /// What time a file is given.
    pub(crate) fn disk_time(&self, machine: u32) -> Nanos {
        let since = self.wall(machine).duration_since(std::time::UNIX_EPOCH);
        since.map_or(0, |since| since.as_nanos() as Nanos)
    }

    /// How long a sync takes.
    pub(crate) fn sync_time(&mut self, machine: u32) -> Nanos {
        let DiskSettings { sync_min, sync_max, .. } = self.disk(machine).settings;
        let (least, most) = (sync_min.as_nanos() as Nanos, sync_max.as_nanos() as Nanos);
        least + self.kernel.draw(Stream::Disk, most.saturating_sub(least) + 1)
    }

    /// A process has ended: what it set for itself is gone.
    pub(crate) fn disk_process_ended(&mut self, machine: u32) {
        self.unmap_all(machine);
        if let Some(volume) = self.disks.get_mut(&machine) {
            let former = std::mem::replace(&mut volume.directory, ROOT);
            if former != ROOT {
                volume.tree.close(former);
            }
            volume.umask = UMASK;
        }
    }

    /// The power of a machine's disk is gone, and nothing has a file open. What is lost, in words.
    pub(crate) fn disk_lost_power(&mut self, machine: u32) -> Vec<String> {
        let Some(volume) = self.disks.get_mut(&machine) else { return Vec::new() };
        let kernel = &mut self.kernel;
        let mut draw = |below| kernel.draw(Stream::Survival, below);
        let DiskSettings { durability, sector, .. } = volume.settings;
        let lost = volume.tree.lose_power(&mut Survival::new(&mut draw, durability, sector), durability);
        let Volume { tree, troubles, .. } = volume;
        troubles.forget(|ino| tree.is_there(ino));
        lost
    }
}
