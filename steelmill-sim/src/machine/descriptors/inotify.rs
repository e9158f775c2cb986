//! Watches on files and directories (inotify(7)).

use std::collections::{BTreeMap, VecDeque};

use super::{Buffers, Errno, Object, READABLE};
use crate::kernel::waiter::Waiters;
use crate::machine::cluster::Cluster;
use crate::machine::disk::{Ino, Notice, Volume};
use crate::machine::world::Process;

/// How many events wait to be read at most: `/proc/sys/fs/inotify/max_queued_events`.
const QUEUE_MAX: usize = 16_384;

/// The size of an event without a name; names are filled up to a multiple of it.
const HEAD: usize = size_of::<libc::inotify_event>();

/// The events that a watch may be for.
const EVENTS: u32 = libc::IN_ALL_EVENTS;

/// What says how a watch is added, beside what it is for.
const HOW: u32 = libc::IN_MASK_ADD | libc::IN_MASK_CREATE | libc::IN_ONLYDIR | libc::IN_DONT_FOLLOW;

struct Watch {
    /// `None` for what is not on the disk, and never changes.
    ino: Option<Ino>,
    mask: u32,
}

#[derive(PartialEq, Eq)]
struct Event {
    watch: i32,
    mask: u32,
    cookie: u32,
    name: Box<[u8]>,
}

impl Event {
    /// The length of its name, with the zeros behind it.
    fn room(&self) -> usize {
        match self.name.len() {
            0 => 0,
            length => (length + 1).next_multiple_of(HEAD),
        }
    }

    fn encoded(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEAD + self.room());
        bytes.extend(self.watch.to_ne_bytes());
        for word in [self.mask, self.cookie, self.room() as u32] {
            bytes.extend(word.to_ne_bytes());
        }
        bytes.extend(&self.name);
        bytes.resize(HEAD + self.room(), 0);
        bytes
    }
}

pub(crate) struct Inotify {
    pub(super) machine: u32,
    watches: BTreeMap<i32, Watch>,
    by_inode: BTreeMap<Ino, i32>,
    /// The watch that was added last. Its number is not used again.
    last: i32,
    queue: VecDeque<Event>,
    pub(crate) waiters: Waiters,
}

impl Inotify {
    pub(crate) fn new(machine: u32) -> Self {
        Self {
            machine,
            watches: BTreeMap::new(),
            by_inode: BTreeMap::new(),
            last: 0,
            queue: VecDeque::new(),
            waiters: Waiters::default(),
        }
    }

    /// Adds a watch, or changes that of the same inode; its number.
    ///
    /// # Errors
    /// As inotify_add_watch(2).
    pub(crate) fn watch(&mut self, ino: Option<Ino>, mask: u32) -> Result<i32, Errno> {
        let wanted = mask & !HOW;
        if let Some(number) = ino.and_then(|ino| self.by_inode.get(&ino)).copied()
            && let Some(watch) = self.watches.get_mut(&number)
        {
            if mask & libc::IN_MASK_CREATE != 0 {
                return Err(libc::EEXIST);
            }
            let former = if mask & libc::IN_MASK_ADD != 0 { watch.mask } else { 0 };
            watch.mask = former | wanted;
            return Ok(number);
        }
        self.last += 1;
        self.watches.insert(self.last, Watch { ino, mask: wanted });
        ino.into_iter().for_each(|ino| _ = self.by_inode.insert(ino, self.last));
        Ok(self.last)
    }

    /// Removes a watch, and says so.
    ///
    /// # Errors
    /// `EINVAL` where there is none of that number.
    pub(crate) fn unwatch(&mut self, number: i32) -> Result<(), Errno> {
        let watch = self.watches.remove(&number).ok_or(libc::EINVAL)?;
        watch.ino.into_iter().for_each(|ino| _ = self.by_inode.remove(&ino));
        self.queue(Event { watch: number, mask: libc::IN_IGNORED, cookie: 0, name: Box::default() });
        Ok(())
    }

    /// Hears of what has happened on the disk.
    pub(crate) fn hear(&mut self, notice: &Notice, volume: &Volume) {
        match notice {
            Notice::Name { directory, name, mask, cookie } => {
                if let Some(number) = self.by_inode.get(directory) {
                    self.happens(*number, *mask, *cookie, name);
                }
            }
            Notice::Inode { ino, mask, reaches_parent } => {
                if *reaches_parent {
                    let name_in = |(directory, number): (&Ino, &i32)| {
                        Some((*number, volume.name_in(*directory, *ino)?))
                    };
                    let told: Vec<_> = self.by_inode.iter().filter_map(name_in).collect();
                    told.into_iter().for_each(|(number, name)| self.happens(number, *mask, 0, name));
                }
                let Some(number) = self.by_inode.get(ino).copied() else { return };
                self.happens(number, *mask, 0, &[]);
                if mask & libc::IN_DELETE_SELF != 0 {
                    let _ = self.unwatch(number); // a watch for one event may be gone
                }
            }
        }
    }

    /// Something happens that a watch may be for.
    fn happens(&mut self, number: i32, mask: u32, cookie: u32, name: &[u8]) {
        let Some(watch) = self.watches.get(&number).filter(|watch| watch.mask & mask & EVENTS != 0) else {
            return;
        };
        let is_once = watch.mask & libc::IN_ONESHOT != 0;
        self.queue(Event { watch: number, mask, cookie, name: name.into() });
        if is_once {
            let _ = self.unwatch(number); // it is there
        }
    }

    /// Queues an event, unless the last one says the same (`inotify_merge()`).
    fn queue(&mut self, event: Event) {
        let is_same = |last: &Event| {
            (last.watch, last.mask, &last.name) == (event.watch, event.mask, &event.name)
                && last.mask & libc::IN_IGNORED == 0
        };
        match self.queue.len() {
            _ if self.queue.back().is_some_and(is_same) => {}
            ..QUEUE_MAX => self.queue.push_back(event),
            QUEUE_MAX => {
                let mask = libc::IN_Q_OVERFLOW;
                self.queue.push_back(Event { watch: -1, mask, cookie: 0, name: Box::default() });
            }
            _ => {} // it was said that some are lost
        }
    }

    /// Whether there is something to read.
    pub(crate) fn has_any(&self) -> bool {
        !self.queue.is_empty()
    }

    pub(super) fn readiness(&self) -> u32 {
        if self.has_any() { READABLE as u32 } else { 0 }
    }

    /// How many bytes could be read.
    pub(super) fn available(&self) -> usize {
        self.queue.iter().map(|event| HEAD + event.room()).sum()
    }

    /// Reads as many events as there is room for.
    ///
    /// # Errors
    /// `EINVAL` where there is no room for the first.
    pub(super) fn read(&mut self, buffers: &mut Buffers<'_>) -> Result<Option<usize>, Errno> {
        let mut done = 0;
        while let Some(event) = self.queue.front() {
            let bytes = event.encoded();
            if done + bytes.len() > buffers.room() {
                break;
            }
            buffers.put(done, &bytes);
            done += bytes.len();
            self.queue.pop_front();
        }
        match done {
            0 if self.has_any() => Err(libc::EINVAL),
            0 => Ok(None),
            done => Ok(Some(done)),
        }
    }
}

impl Cluster {
    /// Opens one that watches nothing yet; its descriptor.
    pub(crate) fn open_inotify(&mut self, process: Process, is_nonblocking: bool) -> Result<i32, Errno> {
        let inotify = Object::Inotify(Inotify::new(process.machine));
        let fd = self.open_file(process, inotify, is_nonblocking)?;
        let (id, _) = self.descriptors.file(process, fd)?;
        self.disk(process.machine).add_watcher(id);
        Ok(fd)
    }

    /// The one that a descriptor names.
    ///
    /// # Errors
    /// `EINVAL` where it names something else.
    pub(crate) fn inotify(&mut self, process: Process, fd: i32) -> Result<&mut Inotify, Errno> {
        match &mut self.descriptors.file(process, fd)?.1.object {
            Object::Inotify(inotify) => Ok(inotify),
            _ => Err(libc::EINVAL),
        }
    }

    /// Removes a watch (inotify_rm_watch(2)).
    pub(crate) fn remove_watch(&mut self, process: Process, fd: i32, watch: i32) -> Result<i32, Errno> {
        let inotify = self.inotify(process, fd)?;
        inotify.unwatch(watch)?;
        let waiters = inotify.waiters.take();
        self.kernel.wake_all(waiters);
        Ok(0)
    }
}
