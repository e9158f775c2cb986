//! What is due when: one time that everybody shares, and those of single daemons and children.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use crate::factory::SlotId;
use crate::lifecycle::ChildId;

/// Whose time is up. What is due at once comes in this order: children first, then dependents before what they need.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Alarm {
    Child(ChildId),
    Slot(Reverse<SlotId>),
    Shared,
}

/// All that is due. Most factories only ever use the shared one, which takes no memory.
#[derive(Default)]
pub(super) struct Alarms {
    shared: Option<Instant>,
    single: BTreeSet<(Instant, Alarm)>,
    at: BTreeMap<Alarm, Instant>,
    /// What the supervisor's timer is set to.
    pub(super) timer: Option<Instant>,
}

impl Alarms {
    /// Sets the shared one. A limit beyond the end of time is none.
    pub(super) fn share(&mut self, now: Instant, limit: Duration) {
        self.shared = now.checked_add(limit);
    }

    pub(super) fn unshare(&mut self) {
        self.shared = None;
    }

    /// Sets one in place of what it was.
    pub(super) fn set(&mut self, alarm: Alarm, now: Instant, limit: Duration) {
        self.clear(alarm);
        if let Some(at) = now.checked_add(limit) {
            self.single.insert((at, alarm));
            self.at.insert(alarm, at);
        }
    }

    pub(super) fn clear(&mut self, alarm: Alarm) {
        if let Some(at) = self.at.remove(&alarm) {
            self.single.remove(&(at, alarm));
        }
    }

    pub(super) fn clear_all(&mut self) {
        *self = Alarms { timer: self.timer, ..Alarms::default() };
    }

    /// Takes out the next one that is due.
    pub(super) fn due(&mut self, now: Instant) -> Option<Alarm> {
        if let Some((_, alarm)) = self.single.first().copied().filter(|(at, _)| *at <= now) {
            self.clear(alarm);
            return Some(alarm);
        }
        self.shared.take_if(|at| *at <= now).map(|_| Alarm::Shared)
    }

    /// The timer has rung, and has to be set again.
    pub(super) fn rang(&mut self) {
        self.timer = None;
    }

    /// What to set the timer to, when that is something else than before.
    pub(super) fn next(&mut self) -> Option<Option<Instant>> {
        let single = self.single.first().map(|(at, _)| *at);
        let next = [self.shared, single].into_iter().flatten().min();
        (std::mem::replace(&mut self.timer, next) != next).then_some(next)
    }
}
