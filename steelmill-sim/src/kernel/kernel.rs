//! The kernel of one run: its time, its tasks, its draws and its digest. It knows machines as numbers with names, and
//! whatever else is due at some time as an `E`.
//!
//! While it is borrowed no code of a user may run: futures are handed out to be polled and dropped, and foreign wakers wait
//! until [`take_later`](Kernel::take_later).

use std::sync::Arc;
use std::task::Waker;

use super::decisions::Decisions;
use super::digest::Digest;
use super::recorder::Recorder;
use super::tasks::Tasks;
use super::timers::{Nanos, Timers, nanos};
use super::waiter::{Waiter, Waiters};
use super::watch::Watches;
use super::watchdog::Watch;
use crate::schema::decision::Stream;
use crate::schema::outcome::Cause;
use crate::schema::plan::{Faults, Plan};
use crate::schema::settings::Settings;
use crate::schema::task::TaskKey;

/// Which run a handle belongs to; no two runs of a process share one.
pub(crate) type RunId = u32;

/// What is to be done with a foreign waker as soon as the state is no longer borrowed.
pub(crate) enum Later {
    Wake(Waker),
    Drop(Waker),
}

pub(crate) struct Kernel<E> {
    pub(crate) settings: Settings,
    pub(crate) now: Nanos,
    pub(crate) time_limit: Nanos,
    pub(crate) timers: Timers<E>,
    pub(crate) tasks: Tasks,
    pub(crate) watches: Watches,
    pub(crate) decisions: Decisions,
    pub(crate) digest: Digest,
    /// Where the run is traced.
    pub(crate) recorder: Option<Box<Recorder>>,
    pub(crate) watch: Option<Arc<Watch>>,
    /// By number.
    pub(crate) machine_names: Vec<Arc<str>>,
    /// How many timers fired and other events came due.
    pub(crate) events: u64,
    /// Set when the run is to end: its scenario has returned (`None`), or something made it fail.
    pub(crate) over: Option<Option<Cause>>,
    /// A wake came from another thread, so the run may not repeat.
    pub(crate) impure: bool,
    later: Vec<Later>,
}

impl<E> Kernel<E> {
    pub(crate) fn new(id: RunId, settings: Settings) -> Self {
        let seed = settings.seed.0;
        let mut decisions = Decisions::new(seed, settings.record, settings.replay.as_deref());
        if let Faults::Plan(Plan { order: Some(order), .. }) = &settings.faults {
            decisions.set_order(order);
        }
        Self {
            now: 0,
            time_limit: nanos(settings.time_limit),
            timers: Timers::new(),
            tasks: Tasks::new(id, &settings),
            watches: Watches::default(),
            decisions,
            digest: Digest::new(seed),
            recorder: settings.trace.then(|| Box::new(Recorder::new(settings.trace_window.clone()))),
            watch: settings.poll_time_limit.map(|limit| Watch::begin(settings.seed, limit)),
            machine_names: Vec::new(),
            events: 0,
            over: None,
            impure: false,
            later: Vec::new(),
            settings,
        }
    }

    /// Ends the run as failed; the first cause stands.
    pub(crate) fn fail(&mut self, cause: Cause) {
        if self.over.is_none() {
            self.over = Some(Some(cause));
        }
    }

    #[inline]
    pub(crate) fn draw(&mut self, stream: Stream, below: u64) -> u64 {
        let drawn = self.decisions.draw(stream, below);
        self.drawn(drawn, below);
        drawn.value
    }
}

/// Waking.
impl<E> Kernel<E> {
    /// Wakes whoever waits; foreign wakers as soon as the state is free.
    #[inline(always)]
    pub(crate) fn wake(&mut self, waiter: Waiter) {
        match waiter {
            Waiter::Task(key) => {
                self.wake_task(key);
            }
            Waiter::Foreign(waker) => self.wake_later(waker),
            Waiter::Watch(watch) => self.watch_fires(watch),
        }
    }

    #[inline(never)]
    fn wake_later(&mut self, waker: Waker) {
        self.note_foreign_wake();
        self.later.push(Later::Wake(waker));
    }

    /// Makes a task ready; whether there is one of that key.
    #[inline]
    pub(crate) fn wake_task(&mut self, key: TaskKey) -> bool {
        if self.recorder.is_some() {
            self.note_wake(key);
        }
        self.tasks.wake(key)
    }

    /// Wakes all waiters of a list.
    #[inline]
    pub(crate) fn wake_all(&mut self, waiters: Waiters) {
        match waiters {
            Waiters::None => {}
            Waiters::One(waiter) => self.wake(waiter),
            Waiters::Several(all) => all.into_iter().for_each(|waiter| self.wake(waiter)),
        }
    }

    /// Drops a waiter where that is safe.
    #[inline]
    pub(crate) fn discard(&mut self, waiter: Option<Waiter>) {
        if let Some(Waiter::Foreign(waker)) = waiter {
            self.later.push(Later::Drop(waker));
        }
    }

    /// Drops all waiters of a list where that is safe.
    pub(crate) fn discard_all(&mut self, waiters: Waiters) {
        match waiters {
            Waiters::None => {}
            Waiters::One(waiter) => self.discard(Some(waiter)),
            Waiters::Several(all) => all.into_iter().for_each(|waiter| self.discard(Some(waiter))),
        }
    }

    /// Whether foreign wakers wait for the state to be free.
    #[inline]
    pub(crate) fn has_later(&self) -> bool {
        !self.later.is_empty()
    }

    /// What is to be done with foreign wakers, in the order it came up.
    pub(crate) fn take_later(&mut self) -> Vec<Later> {
        std::mem::take(&mut self.later)
    }
}
