//! Timeouts: one shared by the factory, and those of single daemons and children.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use crate::control::{ChildId, SlotId};

/// Whose timeout. At equal times children come first, then dependents before their dependencies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Timeout {
    Child(ChildId),
    Slot(Reverse<SlotId>),
    Shared,
}

/// All pending timeouts. Most factories only use the shared one, which allocates nothing.
#[derive(Default)]
pub(super) struct Timeouts {
    shared: Option<Instant>,
    single: BTreeSet<(Instant, Timeout)>,
    at: BTreeMap<Timeout, Instant>,
    /// The current setting of the supervisor's timer.
    pub(super) timer: Option<Instant>,
}

impl Timeouts {
    /// Sets the shared timeout; one that overflows `Instant` never fires.
    pub(super) fn set_shared(&mut self, now: Instant, limit: Duration) {
        self.shared = now.checked_add(limit);
    }

    /// Sets the shared timeout; `None` never fires.
    pub(super) fn set_shared_at(&mut self, at: Option<Instant>) {
        self.shared = at;
    }

    pub(super) fn clear_shared(&mut self) {
        self.shared = None;
    }

    /// Sets or replaces a timeout.
    pub(super) fn set(&mut self, timeout: Timeout, now: Instant, limit: Duration) {
        self.clear(timeout);
        if let Some(at) = now.checked_add(limit) {
            self.single.insert((at, timeout));
            self.at.insert(timeout, at);
        }
    }

    pub(super) fn clear(&mut self, timeout: Timeout) {
        if let Some(at) = self.at.remove(&timeout) {
            self.single.remove(&(at, timeout));
        }
    }

    pub(super) fn clear_all(&mut self) {
        *self = Timeouts { timer: self.timer, ..Timeouts::default() };
    }

    /// Removes the next timeout that is due.
    pub(super) fn due(&mut self, now: Instant) -> Option<Timeout> {
        if let Some((_, timeout)) = self.single.first().copied().filter(|(at, _)| *at <= now) {
            self.clear(timeout);
            return Some(timeout);
        }
        self.shared.take_if(|at| *at <= now).map(|_| Timeout::Shared)
    }

    /// The timer has fired and has to be set again.
    pub(super) fn fired(&mut self) {
        self.timer = None;
    }

    /// When the next timeout is due.
    pub(super) fn first(&self) -> Option<Instant> {
        let single = self.single.first().map(|(at, _)| *at);
        [self.shared, single].into_iter().flatten().min()
    }

    /// The new setting of the timer, if it has changed.
    pub(super) fn next(&mut self) -> Option<Option<Instant>> {
        let next = self.first();
        (std::mem::replace(&mut self.timer, next) != next).then_some(next)
    }
}
