//! Readiness lists: which of many things something has happened to, for whoever waits for any of them (epoll(7)).
//!
//! A *watch* waits at one thing, as a [`Waiter`] of it. When it is woken it is put, once, into the ready list of its
//! *group*, and the waiters of the group are woken. Whoever takes it from there looks at the thing, and has the watch wait
//! again.

use std::collections::VecDeque;

use smallvec::SmallVec;

use super::kernel::Kernel;
use super::waiter::{Waiter, Waiters};

/// Names a watch; the generation tells a reused slot apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct WatchId {
    index: u32,
    generation: u32,
}

/// Names a group of watches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct GroupId(u32);

struct Watch {
    generation: u32,
    group: GroupId,
    is_queued: bool,
}

#[derive(Default)]
struct Group {
    ready: VecDeque<WatchId>,
    waiters: Waiters,
}

/// All watches and groups of a run.
#[derive(Default)]
pub(crate) struct Watches {
    all: Vec<Watch>,
    free: Vec<u32>,
    groups: Vec<Group>,
    free_groups: Vec<u32>,
}

impl Watches {
    pub(crate) fn add_group(&mut self) -> GroupId {
        GroupId(self.free_groups.pop().unwrap_or_else(|| {
            self.groups.push(Group::default());
            (self.groups.len() - 1) as u32
        }))
    }

    /// Removes a group, after its watches; its waiters come back.
    pub(crate) fn remove_group(&mut self, group: GroupId) -> Waiters {
        self.free_groups.push(group.0);
        std::mem::take(&mut self.groups[group.0 as usize]).waiters
    }

    pub(crate) fn add(&mut self, group: GroupId) -> WatchId {
        let index = self.free.pop().unwrap_or_else(|| {
            self.all.push(Watch { generation: 0, group, is_queued: false });
            (self.all.len() - 1) as u32
        });
        let watch = &mut self.all[index as usize];
        (watch.group, watch.is_queued) = (group, false);
        WatchId { index, generation: watch.generation }
    }

    pub(crate) fn remove(&mut self, id: WatchId) {
        let Some(watch) = self.get(id) else { return };
        watch.generation = watch.generation.wrapping_add(1);
        let group = watch.group;
        self.groups[group.0 as usize].ready.retain(|ready| *ready != id);
        self.free.push(id.index);
    }

    fn get(&mut self, id: WatchId) -> Option<&mut Watch> {
        self.all.get_mut(id.index as usize).filter(|watch| watch.generation == id.generation)
    }

    /// The watches of a group that something has happened to, in that order; its ready list is empty afterwards.
    pub(crate) fn take_ready(&mut self, group: GroupId) -> SmallVec<[WatchId; 8]> {
        let queue = &mut self.groups[group.0 as usize].ready;
        let mut ready = SmallVec::new();
        while let Some(id) = queue.pop_front() {
            self.all[id.index as usize].is_queued = false;
            ready.push(id);
        }
        ready
    }

    /// The same, which stay there.
    pub(crate) fn ready(&self, group: GroupId) -> SmallVec<[WatchId; 8]> {
        self.groups[group.0 as usize].ready.iter().copied().collect()
    }

    pub(crate) fn has_ready(&self, group: GroupId) -> bool {
        !self.groups[group.0 as usize].ready.is_empty()
    }

    /// Adds a waiter for the next thing that happens to any watch of a group; one that is not needed comes back.
    pub(crate) fn wait(&mut self, group: GroupId, waiter: Waiter) -> Option<Waiter> {
        self.groups[group.0 as usize].waiters.add(waiter)
    }
}

impl<E> Kernel<E> {
    /// Puts a watch into its group's ready list and wakes who waits for that.
    #[inline(never)]
    pub(crate) fn watch_fires(&mut self, id: WatchId) {
        let Some(watch) = self.watches.get(id) else { return };
        if std::mem::replace(&mut watch.is_queued, true) {
            return;
        }
        let group = watch.group.0 as usize;
        let group = &mut self.watches.groups[group];
        group.ready.push_back(id);
        let waiters = group.waiters.take();
        self.wake_all(waiters);
    }
}
