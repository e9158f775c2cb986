//! The recorder: writes events into the digest and the trace, with the event that caused each (happens-before).
//!
//! While a task is polled, the poll causes every event. Between polls, the due timer or network event does.

use std::io::IoSlice;
use std::ops::Range;

use super::kernel::Kernel;
use crate::schema::decision::{Decision, Stream};
use crate::schema::event::{Event, EventKind};
use crate::schema::outcome::Cause;
use crate::schema::plan::Plan;
use crate::schema::task::{TaskId, TaskKey};
use crate::schema::trace::{HealthChange, Log, Operation, StateChange, TaskInfo, Trace};

#[derive(Default)]
pub(crate) struct Recorder {
    pub(crate) trace: Trace,
    /// The events to record, counted among all.
    window: Range<u64>,
    /// The last event at which time passed, counted among all.
    time_passed: u64,
    /// The event at which each operation returned, counted among all; the last one that contradicts others.
    returned: Vec<u64>,
    contradiction: Option<u64>,
    /// The cause of the next event.
    pub(crate) cause: Option<u32>,
    /// The event that made each task ready, by slot.
    ready: Vec<Option<u32>>,
    /// The task that set each timer, and the poll in which it did, by the timer's index.
    timers: Vec<Option<(TaskId, Option<u32>)>>,
    /// The cause of each deferred wake of a foreign waker.
    wakers: Vec<Option<u32>>,
}

impl Recorder {
    pub(crate) fn new(window: Range<u64>) -> Self {
        Self { window, ..Self::default() }
    }

    fn note(&mut self, event: Event) -> Option<u32> {
        if !self.keeps(event.what) {
            let is_early = self.trace.all() < self.window.start;
            *(if is_early { &mut self.trace.skipped } else { &mut self.trace.dropped }) += 1;
            return None;
        }
        self.trace.events.push(event);
        Some(last(&self.trace.events))
    }

    pub(super) fn rename(&mut self, key: TaskKey, name: &'static str) {
        if let Some(info) = self.trace.tasks.get_mut(&TaskId::of(key)) {
            info.name = name;
        }
    }

    fn keeps(&self, what: EventKind) -> bool {
        let next = self.trace.all();
        self.window.contains(&next)
            || next < self.window.start && what.is_state_change()
            || what == EventKind::Fail
    }
}

impl<E> Kernel<E> {
    /// Records an event in the digest, and in the trace if there is one.
    #[inline]
    pub(crate) fn happened(&mut self, what: EventKind) {
        self.happened_often(|| what);
    }

    /// Like [`happened`](Kernel::happened), for hot paths. The event is built twice, for the few words that the digest
    /// hashes and for the trace, so that an untraced run writes no event to memory.
    #[inline(always)]
    pub(crate) fn happened_often(&mut self, what: impl Fn() -> EventKind) {
        if let Some(words) = what().words() {
            self.digest.event(words);
        }
        if self.recorder.is_some() {
            self.note(what());
        }
    }

    /// Records bytes written to a socket; the digest has hashed them already.
    #[inline]
    pub(crate) fn sent(&mut self, parts: &[IoSlice<'_>], bytes: usize) {
        if self.recorder.is_some() {
            let start = start_of(parts.iter().flat_map(|part| part.iter()).take(bytes));
            self.note(EventKind::Send { bytes: bytes as u64, start });
        }
    }

    /// Records a random draw below `below`, or of any `u64` if that is 0.
    #[inline]
    pub(crate) fn drawn(&mut self, Decision { stream, index, value }: Decision, below: u64) {
        self.happened_often(|| EventKind::Draw { stream, index, below, value });
    }

    /// Records an event in the trace; its index there, or `None` outside of the window.
    #[cold]
    pub(crate) fn note(&mut self, what: EventKind) -> Option<u32> {
        // No task causes a scheduling decision.
        let is_scheduling =
            matches!(what, EventKind::Draw { stream: Stream::Schedule | Stream::Slowness, .. });
        let task = self.tasks.current_key().filter(|_| !is_scheduling).map(TaskId::of);
        let (at, digest) = (self.now, self.digest.value());
        let recorder = self.recorder.as_mut()?;
        let cause = match what {
            EventKind::Poll { task, .. } => recorder.ready.get(task.slot()).copied().flatten(),
            EventKind::Time { .. } => None,
            _ if is_scheduling => None,
            _ => recorder.cause,
        };
        let index = recorder.trace.all();
        let number = recorder.note(Event { at, task, cause, what, digest });
        match what {
            EventKind::Poll { .. } => recorder.cause = number,
            EventKind::Spawn { task, .. } | EventKind::Wake { task } => {
                put(&mut recorder.ready, task.slot(), number)
            }
            EventKind::Time { .. } => recorder.time_passed = index,
            EventKind::Return { operation } => recorder.returned[operation as usize] = index,
            EventKind::Blame { operation } => {
                let returned = recorder.returned[operation as usize];
                recorder.contradiction = recorder.contradiction.max(Some(returned));
            }
            _ => {}
        }
        number
    }
}

impl<E> Kernel<E> {
    #[inline]
    pub(crate) fn spawned(&mut self, key: TaskKey, info: impl FnOnce() -> TaskInfo) {
        if let Some(recorder) = &mut self.recorder {
            recorder.trace.tasks.insert(TaskId::of(key), info());
        }
    }

    #[cold]
    pub(crate) fn note_wake(&mut self, key: TaskKey) {
        if self.tasks.is_waiting(key) {
            self.note(EventKind::Wake { task: TaskId::of(key) });
        }
    }

    /// Remembers that the polled task set the timer with this index.
    #[cold]
    pub(crate) fn note_timer_set(&mut self, index: u32) {
        let task = self.tasks.current_key().map(TaskId::of);
        if let Some(recorder) = &mut self.recorder {
            let set = task.map(|task| (task, recorder.cause));
            put(&mut recorder.timers, index as usize, set);
        }
    }

    /// Records that the timer with this index fires, which causes the events that follow.
    pub(crate) fn note_timer(&mut self, index: u32) {
        let Some(recorder) = &mut self.recorder else { return };
        let Some((task, cause)) = recorder.timers.get_mut(index as usize).and_then(Option::take) else {
            return;
        };
        recorder.cause = cause;
        let fired = self.note(EventKind::Timer { task });
        self.replace_cause(fired);
    }

    /// Remembers the cause of a deferred wake of a foreign waker.
    #[inline]
    pub(crate) fn note_foreign_wake(&mut self) {
        if let Some(recorder) = &mut self.recorder {
            recorder.wakers.push(recorder.cause);
        }
    }

    /// The causes of the deferred wakes of foreign wakers, in order. Empty without a trace.
    #[inline]
    pub(crate) fn take_foreign_wake_causes(&mut self) -> Vec<Option<u32>> {
        self.recorder.as_mut().map(|recorder| std::mem::take(&mut recorder.wakers)).unwrap_or_default()
    }

    /// Sets the cause of the events that follow; returns the former one.
    pub(crate) fn replace_cause(&mut self, event: Option<u32>) -> Option<u32> {
        let recorder = self.recorder.as_mut()?;
        std::mem::replace(&mut recorder.cause, event)
    }
}

impl<E> Kernel<E> {
    pub(crate) fn logged(&mut self, log: Log) {
        let Some(recorder) = &mut self.recorder else { return };
        let number = recorder.trace.logs.len() as u32;
        if recorder.keeps(EventKind::Log { log: number }) {
            recorder.trace.logs.push(log);
        }
        self.note(EventKind::Log { log: number });
    }

    pub(crate) fn state_changed(&mut self, change: impl FnOnce() -> StateChange) {
        let Some(recorder) = &mut self.recorder else { return };
        recorder.trace.states.push(change());
        let state = last(&recorder.trace.states);
        self.note(EventKind::State { state });
    }

    pub(crate) fn health_changed(&mut self, change: impl FnOnce() -> HealthChange) {
        let Some(recorder) = &mut self.recorder else { return };
        recorder.trace.health.push(change());
        let health = last(&recorder.trace.health);
        self.note(EventKind::Health { health });
    }

    /// Records the invocation of an operation; its index in the trace.
    pub(crate) fn invoked(&mut self, operation: Operation) -> Option<u32> {
        let recorder = self.recorder.as_mut()?;
        recorder.trace.operations.push(operation);
        recorder.returned.push(0);
        let operation = last(&recorder.trace.operations);
        self.note(EventKind::Invoke { operation });
        Some(operation)
    }

    /// The finished trace. A failure of the run is caused by the last event.
    pub(crate) fn take_trace(&mut self, failed: Option<&Cause>, plan: Option<&Plan>) -> Option<Trace> {
        let recorder = self.recorder.as_mut()?;
        if failed.is_some() {
            recorder.cause = (!recorder.trace.events.is_empty()).then(|| last(&recorder.trace.events));
            self.note(EventKind::Fail);
        }
        let Recorder { mut trace, time_passed, contradiction, .. } = *self.recorder.take()?;
        trace.key_event = match failed {
            Some(Cause::Livelock { .. }) => Some(time_passed),
            Some(_) => contradiction,
            None => None,
        }
        .unwrap_or(trace.all().saturating_sub(1));
        trace.machines = self.machine_names.iter().map(|name| name.to_string()).collect();
        trace.faults = plan.iter().flat_map(|plan| plan.faults.clone()).collect();
        Some(trace)
    }
}

/// The first 16 bytes, padded with zeros.
pub(crate) fn start_of<'b>(bytes: impl Iterator<Item = &'b u8>) -> [u8; 16] {
    let mut start = [0; 16];
    start.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
    start
}

fn last<T>(all: &[T]) -> u32 {
    all.len().saturating_sub(1) as u32
}

fn put<T: Clone>(all: &mut Vec<Option<T>>, index: usize, item: Option<T>) {
    if all.len() <= index {
        all.resize(index + 1, None);
    }
    all[index] = item;
}
