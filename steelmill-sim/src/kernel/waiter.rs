//! Who waits for something: a task by its key, or a waker that a combinator such as `FuturesUnordered` brought.

use std::task::Waker;

use super::watch::WatchId;
use crate::schema::task::TaskKey;

/// Who is to be woken.
///
/// A foreign waker runs code of its own when cloned, dropped or woken, so none of that may happen while the run's
/// state is borrowed: [`Waiter::of`] is called before, and foreign waiters are woken and dropped after.
#[derive(Debug)]
pub(crate) enum Waiter {
    Task(TaskKey),
    Foreign(Waker),
    /// A watch of a group: see [`watch`](super::watch).
    Watch(WatchId),
}

impl Waiter {
    /// Whether both wake the same task in the same way.
    #[inline]
    pub(crate) fn same(&self, other: &Self) -> bool {
        match (self, other) {
            (Waiter::Task(a), Waiter::Task(b)) => a == b,
            (Waiter::Foreign(a), Waiter::Foreign(b)) => a.will_wake(b),
            (Waiter::Watch(a), Waiter::Watch(b)) => a == b,
            _ => false,
        }
    }
}

/// Who waits at a place, in the order they came: nearly always one task, sometimes several.
#[derive(Debug, Default)]
pub(crate) enum Waiters {
    #[default]
    None,
    One(Waiter),
    Several(Vec<Waiter>),
}

impl Waiters {
    /// Adds a waiter, once. What was not needed comes back to be dropped elsewhere.
    #[inline]
    pub(crate) fn add(&mut self, waiter: Waiter) -> Option<Waiter> {
        match self {
            Waiters::None => *self = Waiters::One(waiter),
            Waiters::One(only) if only.same(&waiter) => return Some(waiter),
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
        let mut unneeded = None;
        if all.iter().any(|other| other.same(&waiter)) {
            unneeded = Some(waiter);
        } else {
            all.push(waiter);
        }
        *self = Waiters::Several(all);
        unneeded
    }

    /// Takes all of them.
    #[inline]
    pub(crate) fn take(&mut self) -> Self {
        std::mem::take(self)
    }
}
