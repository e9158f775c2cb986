//! Waiter registrations: a task by its key, or a foreign waker of a combinator such as `FuturesUnordered`.

use std::task::Waker;

use super::watch::WatchId;
use crate::schema::task::TaskKey;

/// A registered waiter.
///
/// A foreign waker runs code of its own when it is cloned, dropped or woken. None of that may happen while the run's state
/// is borrowed: [`Waiter::of`] clones it before the borrow, and foreign waiters are woken and dropped after it.
#[derive(Debug)]
pub(crate) enum Waiter {
    Task(TaskKey),
    Foreign(Waker),
    /// A watch of a group: see [`watch`](super::watch).
    Watch(WatchId),
}

impl Waiter {
    #[inline]
    fn will_wake(&self, other: &Self) -> bool {
        match (self, other) {
            (Waiter::Task(a), Waiter::Task(b)) => a == b,
            (Waiter::Foreign(a), Waiter::Foreign(b)) => a.will_wake(b),
            (Waiter::Watch(a), Waiter::Watch(b)) => a == b,
            _ => false,
        }
    }
}

/// A list of waiters, in the order of registration: nearly always one task, sometimes several.
#[derive(Debug, Default)]
pub(crate) enum Waiters {
    #[default]
    None,
    One(Waiter),
    Several(Vec<Waiter>),
}

impl Waiters {
    /// Registers a waiter, once. A duplicate is returned, to be dropped outside of the borrow.
    #[inline]
    pub(crate) fn add(&mut self, waiter: Waiter) -> Option<Waiter> {
        match self {
            Waiters::None => *self = Waiters::One(waiter),
            Waiters::One(only) if only.will_wake(&waiter) => return Some(waiter),
            _ => return self.add_another(waiter),
        }
        None
    }

    #[cold]
    fn add_another(&mut self, waiter: Waiter) -> Option<Waiter> {
        let mut all = match self.take() {
            Waiters::None => Vec::new(),
            Waiters::One(only) => vec![only],
            Waiters::Several(all) => all,
        };
        let mut duplicate = None;
        if all.iter().any(|other| other.will_wake(&waiter)) {
            duplicate = Some(waiter);
        } else {
            all.push(waiter);
        }
        *self = Waiters::Several(all);
        duplicate
    }

    #[inline]
    pub(crate) fn take(&mut self) -> Self {
        std::mem::take(self)
    }
}
