//! Waiting for many files at once (epoll(7)).

use std::collections::{BTreeMap, BTreeSet};

use super::{Errno, FileId, READABLE};
use crate::kernel::tasks::WaitsFor;
use crate::kernel::waiter::Waiter;
use crate::kernel::watch::{GroupId, WatchId};
use crate::machine::cluster::Cluster;
use crate::machine::world::Process;
use crate::schema::decision::Stream;

/// An epoll: the files it watches, by descriptor and file, as Linux has it: a number that is used anew is another entry.
pub(crate) struct Epoll {
    pub(super) group: GroupId,
    interests: BTreeMap<(i32, FileId), WatchId>,
    by_watch: BTreeMap<WatchId, Interest>,
}

/// What a program wants to be told of a file, and the word that it is told with.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Interest {
    pub(crate) fd: i32,
    pub(crate) events: u32,
    pub(crate) data: u64,
    file: FileId,
}

impl Interest {
    pub(crate) fn new(fd: i32, events: u32, data: u64) -> Self {
        Self { fd, events, data, file: 0 }
    }

    /// Whether it may be left out where another epoll is told (`EPOLLEXCLUSIVE`): none is here, as Linux promises one at least.
    fn is_exclusive(&self) -> bool {
        self.events & libc::EPOLLEXCLUSIVE as u32 != 0
    }
}

/// A file is watched by an epoll: that epoll's file, and the key there.
pub(super) type Watching = (FileId, i32);

/// Reported whether they are asked for or not, until `EPOLLONESHOT` disarms.
const ALWAYS: u32 = (libc::EPOLLERR | libc::EPOLLHUP) as u32;

/// What is left of an interest that is disarmed.
const PRIVATE: u32 = (libc::EPOLLET | libc::EPOLLONESHOT | libc::EPOLLWAKEUP | libc::EPOLLEXCLUSIVE) as u32;

/// How deep epolls may watch each other: `EP_MAX_NESTS` of Linux.
const NESTS_MAX: usize = 4;

/// What may be asked for together with `EPOLLEXCLUSIVE` (epoll_ctl(2)).
const WITH_EXCLUSIVE: u32 = (libc::EPOLLIN
    | libc::EPOLLOUT
    | libc::EPOLLERR
    | libc::EPOLLHUP
    | libc::EPOLLWAKEUP
    | libc::EPOLLET
    | libc::EPOLLEXCLUSIVE) as u32;

impl Cluster {
    pub(crate) fn open_epoll(&mut self, process: Process) -> Result<i32, Errno> {
        let group = self.kernel.watches.add_group();
        let epoll = Epoll { group, interests: BTreeMap::new(), by_watch: BTreeMap::new() };
        self.open_file(process, super::Object::Epoll(epoll), false)
    }

    fn epoll(&mut self, id: FileId) -> Result<&mut Epoll, Errno> {
        match &mut self.descriptors.get(id).object {
            super::Object::Epoll(epoll) => Ok(epoll),
            _ => Err(libc::EINVAL),
        }
    }

    /// epoll_ctl(2).
    pub(crate) fn epoll_control(
        &mut self,
        process: Process,
        epoll: i32,
        operation: i32,
        interest: Interest,
    ) -> Result<(), Errno> {
        let (epoll, _) = self.descriptors.file(process, epoll)?;
        let (file, _) = self.descriptors.file(process, interest.fd)?;
        if epoll == file {
            return Err(libc::EINVAL);
        }
        if interest.is_exclusive() {
            let is_epoll = matches!(self.descriptors.get(file).object, super::Object::Epoll(_));
            if operation == libc::EPOLL_CTL_MOD || is_epoll || interest.events & !WITH_EXCLUSIVE != 0 {
                return Err(libc::EINVAL);
            }
        }
        let interest = Interest { file, events: interest.events | ALWAYS, ..interest };
        let key = (interest.fd, file);
        let known = self.epoll(epoll)?.interests.get(&key).copied();
        match (operation, known) {
            (libc::EPOLL_CTL_ADD, Some(_)) => Err(libc::EEXIST),
            (libc::EPOLL_CTL_ADD, None) => {
                self.check_nesting(epoll, file)?;
                let group = self.epoll(epoll)?.group;
                let watch = self.kernel.watches.add(group);
                let kept = self.epoll(epoll)?;
                kept.interests.insert(key, watch);
                kept.by_watch.insert(watch, interest);
                self.descriptors.get(file).watches.insert((epoll, interest.fd));
                self.watch_file(file, watch, interest);
                Ok(())
            }
            (libc::EPOLL_CTL_MOD, Some(watch)) => {
                if self.epoll(epoll)?.by_watch.get(&watch).is_some_and(Interest::is_exclusive) {
                    return Err(libc::EINVAL);
                }
                self.epoll(epoll)?.by_watch.insert(watch, interest);
                self.watch_file(file, watch, interest);
                Ok(())
            }
            (libc::EPOLL_CTL_DEL, Some(watch)) => {
                let kept = self.epoll(epoll)?;
                kept.interests.remove(&key);
                kept.by_watch.remove(&watch);
                self.kernel.watches.remove(watch);
                self.descriptors.get(file).watches.remove(&(epoll, interest.fd));
                Ok(())
            }
            (libc::EPOLL_CTL_MOD | libc::EPOLL_CTL_DEL, None) => Err(libc::ENOENT),
            _ => Err(libc::EINVAL),
        }
    }

    /// What a file is has changed: whoever watches it waits for what it is now.
    pub(crate) fn watch_anew(&mut self, file: FileId) {
        let watching: Vec<Watching> = self.descriptors.get(file).watches.iter().copied().collect();
        for (epoll, fd) in watching {
            let Ok(kept) = self.epoll(epoll) else { continue };
            let Some(watch) = kept.interests.get(&(fd, file)).copied() else { continue };
            let Some(interest) = kept.by_watch.get(&watch).copied() else { continue };
            self.watch_file(file, watch, interest);
        }
    }

    /// Has a watch fire as soon as its file may be ready: now, if it is.
    fn watch_file(&mut self, file: FileId, watch: WatchId, interest: Interest) {
        self.await_file(file, || Waiter::Watch(watch));
        if self.readiness(file) & interest.events != 0 {
            self.kernel.watch_fires(watch);
        }
    }

    /// Tells the events of an epoll, `limit` at most: what happened to a file, and the word that it is told with. How many they
    /// were: none when nothing is ready.
    pub(crate) fn epoll_events(
        &mut self,
        id: FileId,
        limit: usize,
        mut tell: impl FnMut(u32, u64),
    ) -> Result<usize, Errno> {
        let group = self.epoll(id)?.group;
        if !self.kernel.watches.has_ready(group) {
            return Ok(0);
        }
        let mut ready = self.kernel.watches.take_ready(group);
        // In which order, and how many at once: from the seed, as on Linux it depends on what happened in between.
        for place in (1..ready.len()).rev() {
            let other = self.kernel.draw(Stream::Schedule, place as u64 + 1) as usize;
            ready.swap(place, other);
        }
        let limit = match ready.len().min(limit) {
            several @ 2.. => 1 + self.kernel.draw(Stream::Schedule, several as u64) as usize,
            few => few,
        };
        let mut told = 0;
        for watch in ready {
            let Some(interest) = self.epoll(id)?.by_watch.get(&watch).copied() else { continue };
            if told == limit {
                self.kernel.watch_fires(watch); // it stays ready
                continue;
            }
            let hit = self.readiness(interest.file) & interest.events;
            if interest.events & !PRIVATE == 0 {
                continue; // disarmed by EPOLLONESHOT
            }
            self.await_file(interest.file, || Waiter::Watch(watch));
            if hit == 0 {
                continue;
            }
            tell(hit, interest.data);
            told += 1;
            let is_level = interest.events & (libc::EPOLLET as u32 | libc::EPOLLONESHOT as u32) == 0;
            if is_level {
                self.kernel.watch_fires(watch); // it is looked at again by the next wait
            }
            if interest.events & libc::EPOLLONESHOT as u32 != 0 {
                let disarmed = Interest { events: interest.events & PRIVATE, ..interest };
                self.epoll(id)?.by_watch.insert(watch, disarmed);
            }
        }
        Ok(told)
    }

    /// Has every epoll report a file's readiness anew. A transfer that was less than it could have been says to who watches
    /// edges that the rest will be another one (epoll(7), question 9).
    pub(crate) fn report_again(&mut self, process: Process, fd: i32) {
        let Ok((id, file)) = self.descriptors.file(process, fd) else { return };
        let watches = file.watches.clone();
        for (epoll, fd) in watches {
            let watch = self.epoll(epoll).ok().and_then(|epoll| epoll.interests.get(&(fd, id)).copied());
            if let Some(watch) = watch {
                self.kernel.watch_fires(watch);
            }
        }
    }

    /// Has a waiter woken when something happens to a file of the epoll.
    pub(crate) fn await_epoll(&mut self, id: FileId, waiter: Waiter) -> Result<(), Errno> {
        let group = self.epoll(id)?.group;
        self.kernel.waits_for(WaitsFor::Epoll);
        let unneeded = self.kernel.watches.wait(group, waiter);
        self.kernel.discard(unneeded);
        Ok(())
    }

    /// Whether it would tell something: what has happened to a file may be over.
    pub(super) fn epoll_readiness(&mut self, id: FileId) -> u32 {
        let Ok(epoll) = self.epoll(id) else { return 0 };
        let group = epoll.group;
        if !self.kernel.watches.has_ready(group) {
            return 0;
        }
        let ready = self.kernel.watches.ready(group);
        let is_ready = ready.into_iter().any(|watch| {
            let interest = self.epoll(id).ok().and_then(|epoll| epoll.by_watch.get(&watch).copied());
            interest.is_some_and(|interest| self.readiness(interest.file) & interest.events != 0)
        });
        if is_ready { READABLE as u32 } else { 0 }
    }

    /// Whether an epoll may watch a file: not itself, by way of others, nor a chain of too many.
    ///
    /// # Errors
    /// `ELOOP` as `ep_loop_check()` of Linux.
    fn check_nesting(&mut self, epoll: FileId, file: FileId) -> Result<(), Errno> {
        let (Some(below), above) = (self.depth_below(file, epoll), self.depth_above(epoll)) else {
            return Err(libc::ELOOP);
        };
        if below + above > NESTS_MAX { Err(libc::ELOOP) } else { Ok(()) }
    }

    /// How many epolls are one below the other from a file on; `None` if `other` is one of them.
    fn depth_below(&mut self, file: FileId, other: FileId) -> Option<usize> {
        if file == other {
            return None;
        }
        let Ok(epoll) = self.epoll(file) else { return Some(0) };
        let files: BTreeSet<FileId> = epoll.interests.keys().map(|(_, file)| *file).collect();
        files.into_iter().try_fold(1, |deepest, file| Some(deepest.max(1 + self.depth_below(file, other)?)))
    }

    /// How many epolls are one above the other, from those that watch one on.
    fn depth_above(&mut self, epoll: FileId) -> usize {
        let above: BTreeSet<FileId> =
            self.descriptors.get(epoll).watches.iter().map(|(above, _)| *above).collect();
        above.into_iter().map(|above| 1 + self.depth_above(above)).max().unwrap_or(0)
    }

    pub(super) fn close_epoll(&mut self, id: FileId, epoll: Epoll) {
        for ((fd, file), watch) in epoll.interests {
            self.kernel.watches.remove(watch);
            if let Some(Some(file)) = self.descriptors.files.get_mut(file as usize) {
                file.watches.remove(&(id, fd));
            }
        }
        let waiters = self.kernel.watches.remove_group(epoll.group);
        self.kernel.wake_all(waiters);
    }

    /// A file is closed: epolls forget it (epoll(7), question 6).
    pub(super) fn stop_watching(&mut self, file: FileId) {
        let watches: BTreeSet<Watching> = std::mem::take(&mut self.descriptors.get(file).watches);
        for (epoll, fd) in watches {
            let Ok(kept) = self.epoll(epoll) else { continue };
            if let Some(watch) = kept.interests.remove(&(fd, file)) {
                kept.by_watch.remove(&watch);
                self.kernel.watches.remove(watch);
            }
        }
    }
}
