//! The kernel state of one run. Machines are numbers with names; events other than timers are of type `E`.
//!
//! User code must not run while the kernel is borrowed: futures are handed out to be polled and dropped, and calls of
//! foreign wakers are queued until [`take_waker_actions`](Kernel::take_waker_actions).

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
use crate::schema::estimates::Estimates;
use crate::schema::outcome::Cause;
use crate::schema::plan::{Faults, Plan};
use crate::schema::settings::{Schedule, Settings};
use crate::schema::task::TaskKey;

/// The id of a run, unique in the process.
pub(crate) type RunId = u32;

/// The numbers of speeds of which a run has one: see [`Schedule::Weighted`].
const SPEEDS: [usize; 4] = [1, 3, 5, 7];

/// A call of a foreign waker, deferred until the run's state is no longer borrowed.
pub(crate) enum WakerAction {
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
    /// `Some` if the run is traced.
    pub(crate) recorder: Option<Box<Recorder>>,
    pub(crate) watch: Option<Arc<Watch>>,
    pub(crate) machine_names: Vec<Arc<str>>,
    /// The number of timers fired and other events handled.
    pub(crate) events: u64,
    /// Set when the run is to end: the scenario has returned (`None`), or the run has failed.
    pub(crate) over: Option<Option<Cause>>,
    /// Another thread woke a task, or the run started a thread, so the run may not repeat.
    pub(crate) impure: bool,
    waker_actions: Vec<WakerAction>,
}

impl<E> Kernel<E> {
    pub(crate) fn new(id: RunId, settings: Settings) -> Self {
        let seed = settings.seed.0;
        let mut decisions = Decisions::new(seed, settings.record, settings.replay.as_deref());
        if let Faults::Plan(Plan { order: Some(order), .. }) = &settings.faults {
            decisions.set_order(order);
        }
        let speeds = match settings.schedule {
            Schedule::Weighted => SPEEDS[decisions.draw(Stream::Speed, SPEEDS.len() as u64).value as usize],
            _ => 1,
        };
        Self {
            now: 0,
            time_limit: nanos(settings.time_limit),
            timers: Timers::new(),
            tasks: Tasks::new(id, &settings, speeds),
            watches: Watches::default(),
            decisions,
            digest: Digest::new(seed),
            recorder: settings.trace.then(|| Box::new(Recorder::new(settings.trace_window.clone()))),
            watch: settings.poll_time_limit.map(|limit| Watch::begin(settings.seed, limit)),
            machine_names: Vec::new(),
            events: 0,
            over: None,
            impure: false,
            waker_actions: Vec::new(),
            settings,
        }
    }

    /// What other runs may draw by, with a schedule that counts.
    pub(crate) fn counted(&self) -> Estimates {
        self.tasks
            .policy
            .as_ref()
            .map_or_else(Estimates::default, |policy| policy.counted(&self.machine_names))
    }

    /// Fails the run; the first cause wins.
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

impl<E> Kernel<E> {
    /// Wakes a waiter; a foreign waker as soon as the state is no longer borrowed.
    #[inline(always)]
    pub(crate) fn wake(&mut self, waiter: Waiter) {
        match waiter {
            Waiter::Task(key) => {
                self.wake_task(key);
            }
            Waiter::Foreign(waker) => self.wake_foreign(waker),
            Waiter::Watch(watch) => self.watch_fires(watch),
        }
    }

    #[inline(never)]
    fn wake_foreign(&mut self, waker: Waker) {
        self.note_foreign_wake();
        self.waker_actions.push(WakerAction::Wake(waker));
    }

    /// Makes a task ready; `false` if no task has that key.
    #[inline]
    pub(crate) fn wake_task(&mut self, key: TaskKey) -> bool {
        if self.recorder.is_some() {
            self.note_wake(key);
        }
        self.tasks.wake(key)
    }

    #[inline]
    pub(crate) fn wake_all(&mut self, waiters: Waiters) {
        match waiters {
            Waiters::None => {}
            Waiters::One(waiter) => self.wake(waiter),
            Waiters::Several(all) => all.into_iter().for_each(|waiter| self.wake(waiter)),
        }
    }

    /// Drops a waiter; a foreign waker as soon as the state is no longer borrowed.
    #[inline]
    pub(crate) fn discard(&mut self, waiter: Option<Waiter>) {
        if let Some(Waiter::Foreign(waker)) = waiter {
            self.waker_actions.push(WakerAction::Drop(waker));
        }
    }

    pub(crate) fn discard_all(&mut self, waiters: Waiters) {
        match waiters {
            Waiters::None => {}
            Waiters::One(waiter) => self.discard(Some(waiter)),
            Waiters::Several(all) => all.into_iter().for_each(|waiter| self.discard(Some(waiter))),
        }
    }

    #[inline]
    pub(crate) fn has_waker_actions(&self) -> bool {
        !self.waker_actions.is_empty()
    }

    /// The deferred calls of foreign wakers, in order, to be made outside of the borrow.
    pub(crate) fn take_waker_actions(&mut self) -> Vec<WakerAction> {
        std::mem::take(&mut self.waker_actions)
    }
}
