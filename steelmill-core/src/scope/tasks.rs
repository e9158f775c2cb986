//! The tasks of one daemon, counted by name, without a lock and without memory per task.
//!
//! Names are `&'static str`, so there are few: each has one counter, appended on first use and kept. What always holds:
//! once the tasks are closed and the last has left, nobody is admitted any more.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Set when the daemon has ended and only its tasks are awaited.
const CLOSED: usize = 1;
/// Set when the tasks have been told to end at once.
const KILLED: usize = 2;
/// One task.
const ONE: usize = 4;

#[derive(Default)]
pub(crate) struct Tasks {
    /// The number of tasks, times [`ONE`], and the two flags.
    state: AtomicUsize,
    names: OnceLock<Box<Named>>,
}

struct Named {
    name: &'static str,
    live: AtomicUsize,
    next: OnceLock<Box<Named>>,
}

impl Tasks {
    /// Lets a task in, if the daemon still takes any.
    pub(crate) fn admit(&self, name: &'static str) -> bool {
        let enter = |state| (state & KILLED == 0 && state != CLOSED).then(|| state + ONE);
        if self.state.fetch_update(Ordering::AcqRel, Ordering::Acquire, enter).is_err() {
            return false;
        }
        self.named(name).live.fetch_add(1, Ordering::Relaxed);
        true
    }

    /// A task has ended; true when it was the last one of a daemon that has ended.
    pub(crate) fn leave(&self, name: &'static str) -> bool {
        self.named(name).live.fetch_sub(1, Ordering::Relaxed);
        let before = self.state.fetch_sub(ONE, Ordering::AcqRel);
        before & CLOSED != 0 && before / ONE == 1
    }

    /// The daemon has ended; true when it has no tasks left, false when the last one's [`leave`](Tasks::leave) will
    /// say so.
    pub(crate) fn close(&self) -> bool {
        self.state.fetch_or(CLOSED, Ordering::AcqRel) / ONE == 0
    }

    /// Takes no more tasks.
    pub(crate) fn kill(&self) {
        self.state.fetch_or(KILLED, Ordering::AcqRel);
    }

    /// The tasks that run: names in the order of first use, and how many of each.
    pub(crate) fn live(&self) -> impl Iterator<Item = (&'static str, usize)> {
        let mut next = self.names.get();
        let counts = std::iter::from_fn(move || {
            let named = next?;
            next = named.next.get();
            Some((named.name, named.live.load(Ordering::Relaxed)))
        });
        counts.filter(|(_, live)| *live > 0)
    }

    fn named(&self, name: &'static str) -> &Named {
        let mut cell = &self.names;
        loop {
            let named = cell.get_or_init(|| Box::new(Named::new(name)));
            if named.name == name {
                return named;
            }
            cell = &named.next;
        }
    }
}

impl Named {
    fn new(name: &'static str) -> Self {
        Named { name, live: AtomicUsize::new(0), next: OnceLock::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn live(tasks: &Tasks) -> Vec<(&'static str, usize)> {
        tasks.live().collect()
    }

    #[test]
    fn tasks_are_counted_by_name() {
        let tasks = Tasks::default();
        for name in ["connection", "flush", "connection"] {
            assert!(tasks.admit(name));
        }
        assert_eq!(live(&tasks), [("connection", 2), ("flush", 1)]);
        assert!(!tasks.leave("flush"));
        assert_eq!(live(&tasks), [("connection", 2)]);
    }

    #[test]
    fn the_last_task_of_an_ended_daemon_says_so() {
        let tasks = Tasks::default();
        assert!(tasks.admit("a"));
        assert!(tasks.admit("b"));
        assert!(!tasks.close());
        assert!(!tasks.leave("b"));
        assert!(tasks.leave("a"));
    }

    #[test]
    fn a_draining_daemon_takes_tasks_until_the_last_has_left() {
        let tasks = Tasks::default();
        assert!(tasks.admit("a"));
        tasks.close();
        assert!(tasks.admit("b"), "a task may spawn another while the daemon drains");
        tasks.leave("a");
        assert!(tasks.leave("b"));
        assert!(!tasks.admit("c"));
    }

    #[test]
    fn an_idle_daemon_closes_at_once_and_refuses_tasks() {
        let tasks = Tasks::default();
        assert!(tasks.close());
        assert!(!tasks.admit("a"));
    }

    #[test]
    fn killed_tasks_are_not_replaced() {
        let tasks = Tasks::default();
        assert!(tasks.admit("a"));
        tasks.kill();
        assert!(!tasks.admit("a"));
        assert!(!tasks.leave("a"), "the daemon itself has not ended yet");
        assert!(tasks.close());
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "threads are what it is about")]
    fn threads_agree_on_the_counts() {
        let tasks = Tasks::default();
        std::thread::scope(|scope| {
            for name in ["a", "b", "c", "d"] {
                let tasks = &tasks;
                scope.spawn(move || {
                    for _ in 0..1_000 {
                        assert!(tasks.admit(name));
                        tasks.leave(name);
                    }
                });
            }
        });
        assert_eq!(live(&tasks), []);
        assert!(tasks.close());
    }
}
