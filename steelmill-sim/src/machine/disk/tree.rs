//! The names on a disk: directories, and what is at a path (path_resolution(7)).
//!
//! A change of names is durable when a directory that it is in was synced. What a name meant for sure is kept until then.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use smallvec::SmallVec;

use super::bytes::Bytes;
use super::locks::Locks;
use super::notices::Notices;
use super::settings::Durability;
use super::survival::Survival;
use crate::kernel::timers::Nanos;
use crate::machine::descriptors::Errno;

/// Names an inode of a disk.
pub(crate) type Ino = u32;

/// The root directory, as ext4 numbers it.
pub(crate) const ROOT: Ino = 2;

pub(crate) type Name = Arc<[u8]>;

const NAME_MAX: usize = 255;
const PATH_MAX: usize = 4096;
const LINKS_FOLLOWED_MAX: u32 = 40;

/// A file, a directory or a symbolic link.
pub(super) struct Inode {
    pub(super) node: Node,
    /// Its permission bits.
    pub(super) mode: u32,
    pub(super) links: u32,
    /// How many open files and mappings refer to it.
    opened: u32,
    /// How many changes of names that are not durable refer to it.
    held: u32,
    /// When it was made, when its content and when anything of it changed, on the machine's wall clock, since the epoch.
    pub(super) created: Nanos,
    pub(super) modified: Nanos,
    pub(super) changed: Nanos,
    pub(super) locks: Option<Box<Locks>>,
    /// Whether it was made without a name, and may be given one (O_TMPFILE).
    is_linkable: bool,
}

pub(super) enum Node {
    File(Bytes),
    Directory {
        parent: Ino,
        names: BTreeMap<Name, Ino>,
    },
    Link(Arc<[u8]>),
    /// The name of a Unix socket.
    Socket,
}

/// A change of names, which happens as a whole.
struct Change {
    /// The directory, the name, and what it means then.
    names: SmallVec<[(Ino, Name, Option<Ino>); 2]>,
}

/// What a name means on the medium.
struct Meaning {
    ino: Option<Ino>,
    /// How many changes of it are not durable.
    unsynced: u32,
}

/// Drops a name from changes; how often it was there. What they held is to be released.
fn overtake(changes: &mut [Change], place: &(Ino, Name), released: &mut Vec<Ino>) -> u32 {
    let mut number = 0;
    for change in changes {
        change.names.retain(|(directory, name, to)| {
            let is_overtaken = (&*directory, &*name) == (&place.0, &place.1);
            if is_overtaken {
                number += 1;
                released.extend(to.iter().chain([&*directory]));
            }
            !is_overtaken
        });
    }
    number
}

/// The inodes of a disk and the names that they have.
pub(super) struct Tree {
    inodes: Vec<Option<Inode>>,
    free: Vec<Ino>,
    /// The changes of names that are not durable, in their order.
    changes: Vec<Change>,
    /// What the names of those changes mean on the medium.
    durable: BTreeMap<(Ino, Name), Meaning>,
    /// The files that are nobody's, and are there after a power loss that loses the change of their last name.
    orphans: BTreeSet<Ino>,
    /// How many pages all files take.
    pub(super) allocated: u64,
    /// What those who watch were not told yet.
    pub(super) notices: Notices,
}

/// What becomes of the last name of a path.
struct Last {
    is_followed: bool,
    /// A symbolic link is followed if there is a slash behind it.
    is_followed_by_slash: bool,
    /// It is to be that of a file, so the target of a link may not end with a slash.
    is_file: bool,
}

/// A path to something that may not exist: its directory and its last name.
pub(super) struct Place {
    pub(super) directory: Ino,
    pub(super) name: Name,
    /// It ends with a slash, so it can only be a directory.
    pub(super) is_directory: bool,
}

impl Tree {
    pub(super) fn new(now: Nanos) -> Self {
        let mut tree = Self {
            inodes: Vec::new(),
            free: Vec::new(),
            changes: Vec::new(),
            durable: BTreeMap::new(),
            orphans: BTreeSet::new(),
            allocated: 0,
            notices: Notices::default(),
        };
        tree.inodes.resize_with(ROOT as usize, || None);
        let root = tree.add(Node::Directory { parent: ROOT, names: BTreeMap::new() }, 0o755, now);
        tree.get_mut(root).links = 2;
        for path in
            ["dev", "etc", "home", "proc", "run", "tmp", "usr", "var", "var/lib", "var/log", "var/tmp"]
        {
            let place = tree.place(ROOT, path.as_bytes(), true).expect("its directory was made before");
            tree.make_directory(&place, 0o755, now).expect("it is new");
        }
        tree.sync_all();
        tree
    }

    fn add(&mut self, node: Node, mode: u32, now: Nanos) -> Ino {
        let inode = Inode {
            node,
            mode,
            links: 0,
            opened: 0,
            held: 0,
            created: now,
            modified: now,
            changed: now,
            locks: None,
            is_linkable: false,
        };
        match self.free.pop() {
            Some(ino) => {
                self.inodes[ino as usize] = Some(inode);
                ino
            }
            None => {
                self.inodes.push(Some(inode));
                (self.inodes.len() - 1) as Ino
            }
        }
    }

    pub(super) fn is_there(&self, ino: Ino) -> bool {
        self.inodes[ino as usize].is_some()
    }

    pub(super) fn get(&self, ino: Ino) -> &Inode {
        self.inodes[ino as usize].as_ref().expect("an inode that something refers to")
    }

    pub(super) fn get_mut(&mut self, ino: Ino) -> &mut Inode {
        self.inodes[ino as usize].as_mut().expect("an inode that something refers to")
    }

    pub(super) fn bytes(&mut self, ino: Ino) -> Result<&mut Bytes, Errno> {
        match &mut self.get_mut(ino).node {
            Node::File(bytes) => Ok(bytes),
            Node::Directory { .. } => Err(libc::EISDIR),
            Node::Link(_) => Err(libc::EINVAL),
            Node::Socket => Err(libc::ENXIO),
        }
    }

    /// Changes what a file has, and with it how many pages all files take.
    pub(super) fn change_bytes<T>(
        &mut self,
        ino: Ino,
        change: impl FnOnce(&mut Bytes) -> T,
    ) -> Result<T, Errno> {
        let bytes = self.bytes(ino)?;
        let before = bytes.allocated();
        let changed = change(bytes);
        let after = bytes.allocated();
        self.allocated = self.allocated + after - before;
        Ok(changed)
    }

    /// All inodes, by number.
    pub(super) fn inodes(&mut self) -> impl Iterator<Item = (Ino, &mut Inode)> {
        self.inodes.iter_mut().enumerate().filter_map(|(ino, inode)| Some((ino as Ino, inode.as_mut()?)))
    }

    /// Keeps an inode while a file is open or a mapping is there.
    pub(super) fn open(&mut self, ino: Ino) {
        self.get_mut(ino).opened += 1;
    }

    pub(super) fn close(&mut self, ino: Ino) {
        self.get_mut(ino).opened -= 1;
        self.free_if_unused(ino);
    }

    /// Keeps an inode that a name may mean after a power loss.
    fn hold(&mut self, ino: Ino) {
        if ino != ROOT {
            self.get_mut(ino).held += 1;
        }
    }

    fn release(&mut self, ino: Ino) {
        if ino != ROOT {
            self.get_mut(ino).held -= 1;
            self.free_if_unused(ino);
        }
    }

    fn free_if_unused(&mut self, ino: Ino) {
        let inode = self.get(ino);
        if inode.links > 0 || inode.opened > 0 {
            return;
        }
        let is_forgotten = inode.held == 0;
        self.note_self(ino, libc::IN_DELETE_SELF);
        if let Node::File(bytes) = &self.get(ino).node
            && !self.orphans.contains(&ino)
        {
            self.allocated -= bytes.allocated(); // at the latest when the space is needed
            self.orphans.insert(ino);
        }
        if is_forgotten {
            self.inodes[ino as usize] = None;
            self.orphans.remove(&ino);
            self.free.push(ino);
        }
    }

    pub(super) fn names(&self, directory: Ino) -> Result<&BTreeMap<Name, Ino>, Errno> {
        match &self.get(directory).node {
            Node::Directory { names, .. } => Ok(names),
            _ => Err(libc::ENOTDIR),
        }
    }

    pub(super) fn parent(&self, directory: Ino) -> Ino {
        match &self.get(directory).node {
            Node::Directory { parent, .. } => *parent,
            _ => directory,
        }
    }

    fn is_directory(&self, ino: Ino) -> bool {
        matches!(self.get(ino).node, Node::Directory { .. })
    }

    /// What a name in a directory means.
    pub(super) fn lookup(&self, directory: Ino, name: &[u8]) -> Result<Option<Ino>, Errno> {
        match name {
            b"." => self.names(directory).map(|_| Some(directory)),
            b".." => self.names(directory).map(|_| Some(self.parent(directory))),
            name if name.len() > NAME_MAX => Err(libc::ENAMETOOLONG),
            name => Ok(self.names(directory)?.get(name).copied()),
        }
    }

    /// What is at a path from a directory on.
    pub(super) fn find(&self, from: Ino, path: &[u8], follows: bool) -> Result<Ino, Errno> {
        let place = self.place(from, path, follows)?;
        let found = self.lookup(place.directory, &place.name)?.ok_or(libc::ENOENT)?;
        if place.is_directory && !self.is_directory(found) {
            return Err(libc::ENOTDIR);
        }
        Ok(found)
    }

    /// The directory and the name that a path means, symbolic links followed; the last one only if asked to.
    ///
    /// A slash behind the last name has it followed, too.
    pub(super) fn place(&self, from: Ino, path: &[u8], follows: bool) -> Result<Place, Errno> {
        self.walk(from, path, &Last { is_followed: follows, is_followed_by_slash: true, is_file: false })
    }

    /// The directory and the name that a path means for a call that makes a file there, unless there is one: symbolic links are
    /// followed, and none may say that it is a directory.
    pub(super) fn place_of_file(&self, from: Ino, path: &[u8]) -> Result<Place, Errno> {
        self.walk(from, path, &Last { is_followed: true, is_followed_by_slash: true, is_file: true })
    }

    /// The directory and the name that a path means for a call that changes what the name is: a symbolic link is not followed,
    /// even if there is a slash behind it.
    pub(super) fn place_to_change(&self, from: Ino, path: &[u8]) -> Result<Place, Errno> {
        self.walk(from, path, &Last { is_followed: false, is_followed_by_slash: false, is_file: false })
    }

    fn walk(&self, from: Ino, path: &[u8], last: &Last) -> Result<Place, Errno> {
        if path.is_empty() {
            return Err(libc::ENOENT);
        }
        if path.len() >= PATH_MAX {
            return Err(libc::ENAMETOOLONG);
        }
        let mut at = if path[0] == b'/' { ROOT } else { from };
        // What is left of it, the next name last.
        let mut left: Vec<Name> = names_of(path).rev().collect();
        let mut is_directory = path.ends_with(b"/") || path.ends_with(b"/.") || path.ends_with(b"/..");
        let (mut followed, mut has_slash) = (0, false);
        while let Some(name) = left.pop() {
            self.check_searchable(at)?;
            let is_last = left.is_empty();
            if is_last && has_slash && last.is_file && !is_dots(&name) {
                return Err(libc::EISDIR);
            }
            // What is wrong with the last name is the caller's to find.
            let found = match self.lookup(at, &name) {
                Err(_) if is_last => None,
                found => found?,
            };
            let target = match found.map(|ino| (ino, &self.get(ino).node)) {
                Some((_, Node::Link(target)))
                    if !is_last || last.is_followed || last.is_followed_by_slash && is_directory =>
                {
                    target
                }
                _ if is_last => return Ok(Place { directory: at, name, is_directory }),
                Some((ino, Node::Directory { .. })) => {
                    at = ino;
                    continue;
                }
                Some(_) => return Err(libc::ENOTDIR),
                None => return Err(libc::ENOENT),
            };
            followed += 1;
            if followed > LINKS_FOLLOWED_MAX {
                return Err(libc::ELOOP);
            }
            has_slash |= is_last && target.ends_with(b"/");
            is_directory |= has_slash;
            if target.first() == Some(&b'/') {
                at = ROOT;
            }
            left.extend(names_of(target).rev());
            if left.is_empty() {
                left.push(Name::from(&b"."[..]));
            }
        }
        Ok(Place { directory: at, name: Name::from(&b"."[..]), is_directory: true })
    }

    /// Fails unless its owner may look for names in a directory.
    fn check_searchable(&self, directory: Ino) -> Result<(), Errno> {
        if self.get(directory).mode & 0o100 == 0 { Err(libc::EACCES) } else { Ok(()) }
    }

    /// Fails unless its owner may change the names in a directory.
    fn check_writable(&self, directory: Ino) -> Result<(), Errno> {
        if self.get(directory).mode & 0o300 == 0o300 { Ok(()) } else { Err(libc::EACCES) }
    }

    /// The path of a directory from the root; `None` when it has been removed.
    pub(super) fn path(&self, mut directory: Ino) -> Option<Vec<u8>> {
        let mut names: Vec<&Name> = Vec::new();
        while directory != ROOT {
            let parent = self.parent(directory);
            let (name, _) = self.names(parent).ok()?.iter().find(|(_, ino)| **ino == directory)?;
            names.push(name);
            directory = parent;
        }
        let mut path = Vec::new();
        names.iter().rev().for_each(|name| {
            path.push(b'/');
            path.extend_from_slice(name);
        });
        Some(if path.is_empty() { b"/".to_vec() } else { path })
    }

    fn set_name(&mut self, directory: Ino, name: &Name, to: Option<Ino>, now: Nanos) {
        let inode = self.get_mut(directory);
        (inode.modified, inode.changed) = (now, now);
        let Node::Directory { names, .. } = &mut inode.node else { return };
        match to {
            Some(ino) => names.insert(name.clone(), ino),
            None => names.remove(name),
        };
    }

    /// Changes what names mean, all at once.
    fn change(&mut self, names: SmallVec<[(Ino, Name, Option<Ino>); 2]>, now: Nanos) {
        for (directory, name, to) in &names {
            let place = (*directory, name.clone());
            match self.durable.get_mut(&place) {
                Some(meaning) => meaning.unsynced += 1,
                None => {
                    let ino = self.names(*directory).ok().and_then(|names| names.get(name).copied());
                    ino.into_iter().for_each(|ino| self.hold(ino));
                    self.durable.insert(place, Meaning { ino, unsynced: 1 });
                }
            }
            to.iter().for_each(|ino| self.hold(*ino));
            self.hold(*directory);
            self.set_name(*directory, name, *to, now);
        }
        self.changes.push(Change { names });
    }

    pub(super) fn make_file(&mut self, place: &Place, mode: u32, now: Nanos) -> Result<Ino, Errno> {
        self.make(place, Node::File(Bytes::default()), mode, now)
    }

    /// A file without a name (O_TMPFILE).
    pub(super) fn make_nameless(&mut self, mode: u32, is_linkable: bool, now: Nanos) -> Ino {
        let ino = self.add(Node::File(Bytes::default()), mode, now);
        self.get_mut(ino).is_linkable = is_linkable;
        ino
    }

    pub(super) fn make_link(&mut self, place: &Place, target: &[u8], now: Nanos) -> Result<Ino, Errno> {
        self.make(place, Node::Link(target.into()), 0o777, now)
    }

    pub(super) fn make_socket(&mut self, place: &Place, mode: u32, now: Nanos) -> Result<Ino, Errno> {
        self.make(place, Node::Socket, mode, now)
    }

    pub(super) fn make_directory(&mut self, place: &Place, mode: u32, now: Nanos) -> Result<Ino, Errno> {
        let names = BTreeMap::new();
        let ino = self.make(place, Node::Directory { parent: place.directory, names }, mode, now)?;
        self.get_mut(ino).links += 1;
        self.get_mut(place.directory).links += 1;
        Ok(ino)
    }

    fn make(&mut self, place: &Place, node: Node, mode: u32, now: Nanos) -> Result<Ino, Errno> {
        self.check_new(place, matches!(node, Node::Directory { .. }))?;
        let ino = self.add(node, mode, now);
        self.get_mut(ino).links = 1;
        self.change(SmallVec::from_iter([(place.directory, place.name.clone(), Some(ino))]), now);
        self.note_name(place, ino, libc::IN_CREATE);
        Ok(ino)
    }

    /// Fails unless a name can be made, in the order in which Linux finds it out: nothing can be made in a directory that was
    /// removed.
    fn check_new(&self, place: &Place, is_directory: bool) -> Result<(), Errno> {
        if self.lookup(place.directory, &place.name)?.is_some() {
            return Err(libc::EEXIST);
        }
        if place.is_directory && !is_directory || self.get(place.directory).links == 0 {
            return Err(libc::ENOENT);
        }
        self.check_writable(place.directory)
    }

    /// link(2).
    pub(super) fn link(&mut self, ino: Ino, place: &Place, now: Nanos) -> Result<(), Errno> {
        self.check_new(place, false)?;
        if self.is_directory(ino) {
            return Err(libc::EPERM);
        }
        let inode = self.get_mut(ino);
        if inode.links == 0 && !inode.is_linkable {
            return Err(libc::ENOENT);
        }
        inode.is_linkable = false; // once
        inode.links += 1;
        inode.changed = now;
        self.change(SmallVec::from_iter([(place.directory, place.name.clone(), Some(ino))]), now);
        self.note_self(ino, libc::IN_ATTRIB);
        self.note_name(place, ino, libc::IN_CREATE);
        Ok(())
    }

    /// unlink(2).
    pub(super) fn unlink(&mut self, place: &Place, now: Nanos) -> Result<(), Errno> {
        if is_dots(&place.name) {
            return Err(libc::EISDIR);
        }
        let ino = self.lookup(place.directory, &place.name)?.ok_or(libc::ENOENT)?;
        if place.is_directory {
            return Err(if self.is_directory(ino) { libc::EISDIR } else { libc::ENOTDIR });
        }
        self.check_writable(place.directory)?;
        if self.is_directory(ino) {
            return Err(libc::EISDIR);
        }
        self.change(SmallVec::from_iter([(place.directory, place.name.clone(), None)]), now);
        self.note_self(ino, libc::IN_ATTRIB);
        self.note_name(place, ino, libc::IN_DELETE);
        self.drop_link(ino, now);
        Ok(())
    }

    /// rmdir(2).
    pub(super) fn remove_directory(&mut self, place: &Place, now: Nanos) -> Result<(), Errno> {
        match &*place.name {
            b"." => return Err(libc::EINVAL),
            b".." => return Err(libc::ENOTEMPTY),
            _ => {}
        }
        let ino = self.lookup(place.directory, &place.name)?.ok_or(libc::ENOENT)?;
        self.check_writable(place.directory)?;
        if !self.names(ino)?.is_empty() {
            return Err(libc::ENOTEMPTY);
        }
        self.change(SmallVec::from_iter([(place.directory, place.name.clone(), None)]), now);
        self.note_name(place, ino, libc::IN_DELETE);
        self.drop_directory(place.directory, ino, now);
        Ok(())
    }

    fn drop_link(&mut self, ino: Ino, now: Nanos) {
        let inode = self.get_mut(ino);
        inode.links -= 1;
        inode.changed = now;
        self.free_if_unused(ino);
    }

    fn drop_directory(&mut self, parent: Ino, ino: Ino, now: Nanos) {
        self.get_mut(parent).links -= 1;
        self.get_mut(ino).links = 1;
        self.drop_link(ino, now);
    }

    /// rename(2); `exchanges` and `is_new` are RENAME_EXCHANGE and RENAME_NOREPLACE.
    pub(super) fn rename(
        &mut self,
        from: &Place,
        to: &Place,
        exchanges: bool,
        is_new: bool,
        now: Nanos,
    ) -> Result<(), Errno> {
        if is_dots(&from.name) {
            return Err(libc::EBUSY);
        }
        if is_dots(&to.name) {
            return Err(if is_new { libc::EEXIST } else { libc::EBUSY });
        }
        let moved = self.lookup(from.directory, &from.name)?.ok_or(libc::ENOENT)?;
        let replaced = self.lookup(to.directory, &to.name)?;
        let is_directory = self.is_directory(moved);
        match replaced {
            Some(_) if is_new => return Err(libc::EEXIST),
            None if exchanges => return Err(libc::ENOENT),
            Some(replaced) if exchanges && !self.is_directory(replaced) && to.is_directory => {
                return Err(libc::ENOTDIR);
            }
            _ => {}
        }
        if !is_directory && (from.is_directory || !exchanges && to.is_directory) {
            return Err(libc::ENOTDIR);
        }
        if is_directory && self.is_within(to.directory, moved) {
            return Err(libc::EINVAL);
        }
        if let Some(replaced) = replaced
            && self.is_directory(replaced)
            && self.is_within(from.directory, replaced)
        {
            return Err(if exchanges { libc::EINVAL } else { libc::ENOTEMPTY });
        }
        if replaced == Some(moved) {
            return Ok(());
        }
        self.check_writable(from.directory)?;
        if replaced.is_none() && self.get(to.directory).links == 0 {
            return Err(libc::ENOENT);
        }
        self.check_writable(to.directory)?;
        match replaced.map(|replaced| (replaced, self.is_directory(replaced))) {
            Some((_, false)) if !exchanges && is_directory => return Err(libc::ENOTDIR),
            Some((_, true)) if !exchanges && !is_directory => return Err(libc::EISDIR),
            _ => {}
        }
        // A directory that is moved to another one has its entry `..` changed.
        if from.directory != to.directory {
            for changed in [Some(moved), replaced.filter(|_| exchanges)].into_iter().flatten() {
                if self.is_directory(changed) && self.get(changed).mode & 0o200 == 0 {
                    return Err(libc::EACCES);
                }
            }
        }
        if let Some(replaced) = replaced.filter(|_| is_directory && !exchanges)
            && !self.names(replaced)?.is_empty()
        {
            return Err(libc::ENOTEMPTY);
        }
        let names = [
            (from.directory, from.name.clone(), replaced.filter(|_| exchanges)),
            (to.directory, to.name.clone(), Some(moved)),
        ];
        self.change(SmallVec::from_iter(names), now);
        self.get_mut(moved).changed = now;
        self.move_directory(moved, from.directory, to.directory);
        self.note_move(from, to, moved, replaced.filter(|_| !exchanges));
        match replaced {
            Some(other) if exchanges => {
                self.note_move(to, from, other, None);
                self.get_mut(other).changed = now;
                self.move_directory(other, to.directory, from.directory);
            }
            Some(replaced) if is_directory => self.drop_directory(to.directory, replaced, now),
            Some(replaced) => self.drop_link(replaced, now),
            None => {}
        }
        Ok(())
    }

    fn move_directory(&mut self, moved: Ino, from: Ino, to: Ino) {
        if let Node::Directory { parent, .. } = &mut self.get_mut(moved).node {
            *parent = to;
            self.get_mut(from).links -= 1;
            self.get_mut(to).links += 1;
        }
    }

    /// Whether a directory is another one or lies in it.
    fn is_within(&self, mut directory: Ino, other: Ino) -> bool {
        while directory != other && directory != ROOT {
            directory = self.parent(directory);
        }
        directory == other
    }

    /// How many changes of names are not durable.
    pub(super) fn unsynced_changes(&self) -> usize {
        self.changes.len()
    }

    /// Makes the changes durable that a directory is in.
    pub(super) fn sync_directory(&mut self, directory: Ino) {
        self.sync_changes(|change| change.names.iter().any(|(other, ..)| *other == directory));
    }

    /// Makes all changes of names durable.
    pub(super) fn sync_names(&mut self) {
        self.sync_changes(|_| true);
    }

    fn sync_changes(&mut self, is_synced: impl Fn(&Change) -> bool) {
        let (mut left, mut released) = (Vec::new(), Vec::new());
        for change in std::mem::take(&mut self.changes) {
            if !is_synced(&change) {
                left.push(change);
                continue;
            }
            for (directory, name, to) in change.names {
                let place = (directory, name);
                let meaning = self.durable.get_mut(&place).expect("a change of names has one");
                meaning.unsynced -= 1;
                if meaning.unsynced > 0 {
                    // Earlier changes of the name that are not synced are overtaken.
                    meaning.unsynced -= overtake(&mut left, &place, &mut released);
                }
                // The meaning takes over the change's hold on what the name means.
                released.extend(std::mem::replace(&mut meaning.ino, to));
                released.push(directory);
                if meaning.unsynced == 0 {
                    let settled = self.durable.remove(&place);
                    released.extend(settled.and_then(|meaning| meaning.ino));
                }
            }
        }
        left.retain(|change| !change.names.is_empty());
        self.changes = left;
        released.into_iter().for_each(|ino| self.release(ino));
    }

    /// sync(2).
    pub(super) fn sync_all(&mut self) {
        self.sync_names();
        for (_, inode) in self.inodes() {
            if let Node::File(bytes) = &mut inode.node {
                let syncing = bytes.begin_sync(None);
                bytes.end_sync(&syncing);
            }
        }
    }

    /// Leaves what survives a power loss; nothing is open any more. What is lost, in words.
    pub(super) fn lose_power(&mut self, survival: &mut Survival<'_>, durability: Durability) -> Vec<String> {
        let names = self.unsynced_names();
        let mut lost = Vec::new();
        let survives = survival.changes(self.changes.len());
        let changes = std::mem::take(&mut self.changes);
        let durable = std::mem::take(&mut self.durable);
        let mut meanings: BTreeMap<(Ino, Name), Option<Ino>> =
            durable.into_iter().map(|(place, meaning)| (place, meaning.ino)).collect();
        for (change, survives) in changes.into_iter().zip(survives) {
            if !survives {
                let names = change.names.iter().map(|(_, name, _)| String::from_utf8_lossy(name));
                lost.push(format!("the change of {} is lost", names.collect::<Vec<_>>().join(" and ")));
            } else {
                let is_replacement = change.names.len() > 1;
                for (directory, name, to) in change.names {
                    if let (Durability::Ext4, true, Some(ino)) = (durability, is_replacement, to)
                        && let Ok(bytes) = self.bytes(ino)
                    {
                        // ext4(5), auto_da_alloc: what a file is replaced by has its data.
                        let syncing = bytes.begin_sync(None);
                        bytes.end_sync(&syncing);
                    }
                    meanings.insert((directory, name), to);
                }
            }
        }
        for ((directory, name), meaning) in meanings {
            if let Node::Directory { names, .. } = &mut self.get_mut(directory).node {
                match meaning {
                    Some(ino) => names.insert(name, ino),
                    None => names.remove(&name),
                };
            }
        }
        for (ino, inode) in self.inodes() {
            inode.locks = None;
            if let Node::File(bytes) = &mut inode.node {
                let name = || {
                    names
                        .get(&ino)
                        .map_or("a file without a name".into(), |name| String::from_utf8_lossy(name))
                };
                lost.extend(bytes.lose_power(survival).map(|what| format!("{}: {what}", name())));
            }
        }
        self.check();
        lost
    }

    /// The names of the files that are not synced.
    fn unsynced_names(&self) -> BTreeMap<Ino, Name> {
        let directories = self.inodes.iter().flatten().filter_map(|inode| match &inode.node {
            Node::Directory { names, .. } => Some(names),
            _ => None,
        });
        let is_unsynced = |ino: Ino| matches!(&self.get(ino).node, Node::File(bytes) if !bytes.is_synced());
        let names = directories.flatten().filter(|(_, ino)| is_unsynced(**ino));
        names.map(|(name, ino)| (*ino, name.clone())).collect()
    }

    /// What fsck(8) does: counts links, and frees what no path leads to.
    fn check(&mut self) {
        let mut links = vec![0_u32; self.inodes.len()];
        let mut parents = vec![ROOT; self.inodes.len()];
        let mut reached = vec![ROOT];
        links[ROOT as usize] = 2;
        while let Some(directory) = reached.pop() {
            let names: Vec<(Name, Ino)> = match self.names(directory) {
                Ok(names) => names.iter().map(|(name, ino)| (name.clone(), *ino)).collect(),
                Err(_) => continue,
            };
            for (name, ino) in names {
                let is_directory = self.is_directory(ino);
                if is_directory && links[ino as usize] > 0 {
                    // A rename of which one half survived would have left it in two places.
                    if let Node::Directory { names, .. } = &mut self.get_mut(directory).node {
                        names.remove(&name);
                    }
                    continue;
                }
                links[ino as usize] += 1;
                if is_directory {
                    links[ino as usize] += 1;
                    links[directory as usize] += 1;
                    parents[ino as usize] = directory;
                    reached.push(ino);
                }
            }
        }
        self.allocated = 0;
        self.orphans.clear();
        for ino in ROOT as usize..self.inodes.len() {
            let Some(inode) = &mut self.inodes[ino] else { continue };
            (inode.links, inode.opened, inode.held) = (links[ino], 0, 0);
            if let Node::Directory { parent, .. } = &mut inode.node {
                *parent = parents[ino];
            }
            if links[ino] == 0 {
                self.inodes[ino] = None;
                self.free.push(ino as Ino);
            } else if let Node::File(bytes) = &inode.node {
                self.allocated += bytes.allocated();
            }
        }
    }
}

/// Whether a name means a directory or its parent in every directory.
pub(super) fn is_dots(name: &[u8]) -> bool {
    matches!(name, b"." | b"..")
}

/// The names of a path, without empty ones.
fn names_of(path: &[u8]) -> impl DoubleEndedIterator<Item = Name> + '_ {
    path.split(|byte| *byte == b'/').filter(|name| !name.is_empty()).map(Name::from)
}
