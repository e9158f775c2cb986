//! What happens to files and directories, for those who watch them (inotify(7)).
//!
//! Whatever changes a disk takes note of it while somebody watches, in the order in which Linux tells of it (`fsnotify()` and its
//! callers); at the end of the call it is told.

use super::tree::{Ino, Name, Node, Place, Tree};
use super::{Cluster, Volume};
use crate::machine::descriptors::{FileId, Object};

/// Something that happened.
pub(crate) enum Notice {
    /// To a name in a directory: it was made, removed, or moved there or away. Both notices of a move have its cookie.
    Name { directory: Ino, name: Name, mask: u32, cookie: u32 },
    /// To a file or a directory.
    Inode { ino: Ino, mask: u32, reaches_parent: bool },
}

/// What was not told yet.
#[derive(Default)]
pub(super) struct Notices {
    /// Those who are told: inotify's files.
    watchers: Vec<FileId>,
    all: Vec<Notice>,
    /// Of the last move.
    cookie: u32,
}

impl Tree {
    fn with_kind(&self, ino: Ino, mask: u32) -> u32 {
        match self.get(ino).node {
            Node::Directory { .. } => mask | libc::IN_ISDIR,
            _ => mask,
        }
    }

    /// A file or a directory was read, changed, opened or closed. Its directory hears that, too.
    pub(super) fn note(&mut self, ino: Ino, mask: u32) {
        if !self.notices.watchers.is_empty() {
            let mask = self.with_kind(ino, mask);
            self.notices.all.push(Notice::Inode { ino, mask, reaches_parent: true });
        }
    }

    /// Something happened to an inode that its directory does not hear of.
    pub(super) fn note_self(&mut self, ino: Ino, mask: u32) {
        if !self.notices.watchers.is_empty() {
            let is_of_itself = mask & (libc::IN_DELETE_SELF | libc::IN_MOVE_SELF) != 0;
            let mask = if is_of_itself { mask } else { self.with_kind(ino, mask) };
            self.notices.all.push(Notice::Inode { ino, mask, reaches_parent: false });
        }
    }

    /// A name came to mean an inode, or means it no more.
    pub(super) fn note_name(&mut self, place: &Place, ino: Ino, mask: u32) {
        if !self.notices.watchers.is_empty() {
            let (mask, cookie) = (self.with_kind(ino, mask), 0);
            let (directory, name) = (place.directory, place.name.clone());
            self.notices.all.push(Notice::Name { directory, name, mask, cookie });
        }
    }

    /// An inode was moved from a name to another, where another one may have been.
    pub(super) fn note_move(&mut self, from: &Place, to: &Place, moved: Ino, replaced: Option<Ino>) {
        if self.notices.watchers.is_empty() {
            return;
        }
        self.notices.cookie += 1;
        let cookie = self.notices.cookie;
        for (place, mask) in [(from, libc::IN_MOVED_FROM), (to, libc::IN_MOVED_TO)] {
            let mask = self.with_kind(moved, mask);
            let (directory, name) = (place.directory, place.name.clone());
            self.notices.all.push(Notice::Name { directory, name, mask, cookie });
        }
        if let Some(replaced) = replaced {
            self.note_self(replaced, libc::IN_ATTRIB);
        }
        self.note_self(moved, libc::IN_MOVE_SELF);
    }
}

impl Volume {
    /// The name of an inode in a directory.
    pub(crate) fn name_in(&self, directory: Ino, ino: Ino) -> Option<&Name> {
        let names = self.tree.names(directory).ok()?;
        names.iter().find(|(_, other)| **other == ino).map(|(name, _)| name)
    }

    /// Has a file of inotify told of what happens.
    pub(crate) fn add_watcher(&mut self, id: FileId) {
        self.tree.notices.watchers.push(id);
    }
}

impl Cluster {
    /// Tells those who watch a machine's disk what has happened on it.
    #[inline]
    pub(crate) fn tell_watchers(&mut self, machine: u32) {
        if self.disks.get(&machine).is_some_and(|volume| !volume.tree.notices.all.is_empty()) {
            self.tell_all(machine);
        }
    }

    #[cold]
    fn tell_all(&mut self, machine: u32) {
        let Some(volume) = self.disks.get_mut(&machine) else { return };
        let notices = std::mem::take(&mut volume.tree.notices.all);
        let volume = &*volume;
        for id in &volume.tree.notices.watchers {
            let Object::Inotify(inotify) = &mut self.descriptors.get(*id).object else { continue };
            notices.iter().for_each(|notice| inotify.hear(notice, volume));
            if inotify.has_any() {
                let waiters = inotify.waiters.take();
                self.kernel.wake_all(waiters);
            }
        }
    }

    /// A file of inotify is closed.
    pub(crate) fn watcher_gone(&mut self, machine: u32, id: FileId) {
        if let Some(volume) = self.disks.get_mut(&machine) {
            volume.tree.notices.watchers.retain(|watcher| *watcher != id);
        }
    }
}
