//! How events get into a trace, and how it is known what led to them.
//!
//! While a task is polled, whatever happens comes of that poll. While the world acts (a timer fires, something of the
//! network is due), it comes of what is due at that moment.

use std::io::IoSlice;
use std::ops::Range;

use super::kernel::Kernel;
use crate::schema::decision::{Decision, Stream};
use crate::schema::event::{Event, What};
use crate::schema::outcome::Cause;
use crate::schema::plan::Plan;
use crate::schema::task::{TaskId, TaskKey};
use crate::schema::trace::{Log, Operation, StateChange, TaskInfo, Trace};

/// A trace while it is written.
#[derive(Default)]
pub(crate) struct Recorder {
    pub(crate) trace: Trace,
    /// Which events are to be kept.
    window: Range<u64>,
    /// The event at which time passed last, among all.
    time_passed: u64,
    /// The event at which each operation returned, among all; the last of those that cannot be ordered.
    returned: Vec<u64>,
    contradiction: Option<u64>,
    /// What it comes of that something happens now.
    pub(crate) because: Option<u32>,
    /// The event that made each task ready, by the task's place in its table.
    ready: Vec<Option<u32>>,
    /// Who set each timer, and in which poll, by the timer's place.
    timers: Vec<Option<(TaskId, Option<u32>)>>,
    /// For each foreign waker that is about to be woken, what led to that.
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

    /// Whether this is kept if it happens next.
    fn keeps(&self, what: What) -> bool {
        let next = self.trace.all();
        self.window.contains(&next) || next < self.window.start && what.lasts() || what == What::Fail
    }
}

/// What happens all the time.
impl<E> Kernel<E> {
    /// Takes an event into the digest, and into the trace where there is one.
    #[inline]
    pub(crate) fn happened(&mut self, what: What) {
        self.happened_often(|| what);
    }

    /// The same for what happens all the time. It is put together twice, once for the few words that the digest needs
    /// and once for the trace, so that nothing is written to memory for a trace that there is not.
    #[inline(always)]
    pub(crate) fn happened_often(&mut self, what: impl Fn() -> What) {
        if let Some(words) = what().words() {
            self.digest.event(words);
        }
        if self.recorder.is_some() {
            self.note(what());
        }
    }

    /// Bytes were handed to the network; the digest has taken them in.
    #[inline]
    pub(crate) fn sent(&mut self, parts: &[IoSlice<'_>], bytes: usize) {
        if self.recorder.is_some() {
            let start = start_of(parts.iter().flat_map(|part| part.iter()).take(bytes));
            self.note(What::Send { bytes: bytes as u64, start });
        }
    }

    /// A random number was drawn below `below`, or as a whole word where that is 0.
    #[inline]
    pub(crate) fn drawn(&mut self, Decision { stream, index, value }: Decision, below: u64) {
        self.happened_often(|| What::Draw { stream, index, below, value });
    }

    /// Puts an event into the trace; its place there, unless there are too many.
    #[cold]
    pub(crate) fn note(&mut self, what: What) -> Option<u32> {
        // Which task is next is nobody's own doing.
        let is_scheduling = matches!(what, What::Draw { stream: Stream::Schedule | Stream::Slowness, .. });
        let task = self.tasks.current_key().filter(|_| !is_scheduling).map(TaskId::of);
        let (at, digest) = (self.now, self.digest.value());
        let recorder = self.recorder.as_mut()?;
        let cause = match what {
            What::Poll { task, .. } => recorder.ready.get(task.place()).copied().flatten(),
            What::Time { .. } => None,
            _ if is_scheduling => None,
            _ => recorder.because,
        };
        let place = recorder.trace.all();
        let number = recorder.note(Event { at, task, cause, what, digest });
        match what {
            What::Poll { .. } => recorder.because = number,
            What::Spawn { task, .. } | What::Wake { task } => put(&mut recorder.ready, task.place(), number),
            What::Time { .. } => recorder.time_passed = place,
            What::Return { operation } => recorder.returned[operation as usize] = place,
            What::Blame { operation } => {
                let returned = recorder.returned[operation as usize];
                recorder.contradiction = recorder.contradiction.max(Some(returned));
            }
            _ => {}
        }
        number
    }
}

/// Tasks and timers.
impl<E> Kernel<E> {
    /// A task has been spawned.
    #[inline]
    pub(crate) fn spawned(&mut self, key: TaskKey, info: impl FnOnce() -> TaskInfo) {
        if let Some(recorder) = &mut self.recorder {
            recorder.trace.tasks.insert(TaskId::of(key), info());
        }
    }

    /// A task is about to be made ready.
    #[cold]
    pub(crate) fn note_wake(&mut self, key: TaskKey) {
        if self.tasks.is_waiting(key) {
            self.note(What::Wake { task: TaskId::of(key) });
        }
    }

    /// The task that is polled has set the timer in this place.
    #[cold]
    pub(crate) fn note_timer_set(&mut self, place: u32) {
        let task = self.tasks.current_key().map(TaskId::of);
        if let Some(recorder) = &mut self.recorder {
            let set = task.map(|task| (task, recorder.because));
            put(&mut recorder.timers, place as usize, set);
        }
    }

    /// The timer in this place fires.
    pub(crate) fn note_timer(&mut self, place: u32) {
        let Some(recorder) = &mut self.recorder else { return };
        let Some((task, cause)) = recorder.timers.get_mut(place as usize).and_then(Option::take) else {
            return;
        };
        recorder.because = cause;
        let fired = self.note(What::Timer { task });
        self.now_comes_of(fired);
    }

    /// A foreign waker will be woken when the run's state is no longer borrowed.
    #[inline]
    pub(crate) fn note_foreign_wake(&mut self) {
        if let Some(recorder) = &mut self.recorder {
            recorder.wakers.push(recorder.because);
        }
    }

    /// For each foreign waker that is woken now, what led to that. Nothing without a trace.
    #[inline]
    pub(crate) fn take_foreign_wakes_causes(&mut self) -> Vec<Option<u32>> {
        self.recorder.as_mut().map(|recorder| std::mem::take(&mut recorder.wakers)).unwrap_or_default()
    }

    /// From here on whatever happens comes of an event; of which it did before.
    pub(crate) fn now_comes_of(&mut self, event: Option<u32>) -> Option<u32> {
        let recorder = self.recorder.as_mut()?;
        std::mem::replace(&mut recorder.because, event)
    }
}

/// What is told from outside of the executor and the network.
impl<E> Kernel<E> {
    /// Something was logged.
    pub(crate) fn logged(&mut self, log: Log) {
        let Some(recorder) = &mut self.recorder else { return };
        let number = recorder.trace.logs.len() as u32;
        if recorder.keeps(What::Log { log: number }) {
            recorder.trace.logs.push(log);
        }
        self.note(What::Log { log: number });
    }

    /// A factory, or a daemon, does something else from now on.
    pub(crate) fn state_changed(&mut self, change: impl FnOnce() -> StateChange) {
        let Some(recorder) = &mut self.recorder else { return };
        recorder.trace.states.push(change());
        let state = last(&recorder.trace.states);
        self.note(What::State { state });
    }

    /// A client is about to do something; its number.
    pub(crate) fn invoked(&mut self, operation: Operation) -> Option<u32> {
        let recorder = self.recorder.as_mut()?;
        recorder.trace.operations.push(operation);
        recorder.returned.push(0);
        let operation = last(&recorder.trace.operations);
        self.note(What::Invoke { operation });
        Some(operation)
    }

    /// The trace, to be kept beyond the run. If the run has failed then by what happened last.
    pub(crate) fn take_trace(&mut self, failed: Option<&Cause>, plan: Option<&Plan>) -> Option<Trace> {
        let recorder = self.recorder.as_mut()?;
        if failed.is_some() {
            recorder.because = (!recorder.trace.events.is_empty()).then(|| last(&recorder.trace.events));
            self.note(What::Fail);
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

/// The first bytes, and zeros where there are fewer.
pub(crate) fn start_of<'b>(bytes: impl Iterator<Item = &'b u8>) -> [u8; 16] {
    let mut start = [0; 16];
    start.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
    start
}

/// The number of what was pushed last.
fn last<T>(all: &[T]) -> u32 {
    all.len().saturating_sub(1) as u32
}

/// Puts something into its place.
fn put<T: Clone>(all: &mut Vec<Option<T>>, place: usize, item: Option<T>) {
    if all.len() <= place {
        all.resize(place + 1, None);
    }
    all[place] = item;
}
