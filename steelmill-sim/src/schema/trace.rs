//! What a trace holds: the events of a run, and the names of what they speak of.

use std::collections::BTreeMap;
use std::panic::Location;
use std::sync::Arc;

use steelmill_core::{Owner, State};

use super::event::{Event, What};
use super::plan::Fault;
use super::task::TaskId;

/// The events of a run, in order, and the names of what they speak of.
#[derive(Debug, Clone, Default)]
pub struct Trace {
    /// What happened.
    pub events: Vec<Event>,
    /// How many events of the beginning were not kept: see [`Settings::trace_window`](crate::Settings::trace_window).
    pub skipped: u64,
    /// How many after those that were kept were not; a [`What::Fail`] always is.
    pub dropped: u64,
    /// Which event matters most, counted among all of the run's, kept or not. Where answers contradict each other it is the
    /// last of these, in a livelock the last at which time passed, and else the last one.
    pub key_event: u64,
    /// Every task that was spawned.
    pub tasks: BTreeMap<TaskId, TaskInfo>,
    /// The machines' names, by number; 0 is the scenario's own.
    pub machines: Vec<String>,
    /// What was logged, at `info` and above, or as `RUST_LOG` says.
    pub logs: Vec<Log>,
    /// What factories and daemons came to do.
    pub states: Vec<StateChange>,
    /// What clients did, as far as a [`History`](crate::trace::history::History) was told.
    pub operations: Vec<Operation>,
    /// What was to go wrong.
    pub faults: Vec<Fault>,
}

impl Trace {
    /// How many events there were, kept or not.
    pub(crate) fn all(&self) -> u64 {
        self.skipped + self.events.len() as u64 + self.dropped
    }

    /// Where the [key_event](Trace::key_event) stands among the events that were kept.
    pub(crate) fn key_event_kept(&self) -> usize {
        // Whatever was skipped came before all that is in the window.
        (self.key_event.saturating_sub(self.skipped) as usize).min(self.events.len().saturating_sub(1))
    }

    /// The last of the answers that contradict each other, if it is by them that the run failed.
    pub(crate) fn contradiction(&self) -> Option<usize> {
        let key_event = self.key_event_kept();
        let is_blamed = match self.events.get(key_event)?.what {
            What::Return { operation } => self.operations.get(operation as usize)?.is_blamed,
            _ => false,
        };
        is_blamed.then_some(key_event)
    }

    /// Drops what comes so many events after the key_event, but the failure, which comes of what is last then.
    pub(crate) fn cut_after_key_event(&mut self, events: usize) {
        let end = self.key_event_kept() + events;
        if let [_, between @ .., failure @ Event { what: What::Fail, .. }] =
            &self.events[end.min(self.events.len())..]
        {
            self.dropped += between.len() as u64 + 1;
            let failure = Event { cause: Some(end as u32 - 1), ..*failure };
            self.events.truncate(end);
            self.events.push(failure);
        }
    }
}

/// What is known of a task.
#[derive(Debug, Clone)]
pub struct TaskInfo {
    /// What its spawner called it.
    pub name: &'static str,
    /// The number of the machine it lives on.
    pub machine: u32,
    /// Whom it works for.
    pub owner: Option<Arc<Owner>>,
    /// Where it was spawned.
    pub spawned_at: &'static Location<'static>,
}

/// A log line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Log {
    /// How bad it is.
    pub level: tracing::Level,
    /// Which part of the program says so: a module's path, unless the program says otherwise.
    pub target: &'static str,
    /// The message, and after it the fields.
    pub text: String,
    /// The file and the line that it comes from, as far as they are known.
    pub place: Option<(&'static str, u32)>,
}

/// A factory, or a daemon of one, does something else from now on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateChange {
    /// The machine the factory lives on.
    pub machine: u32,
    /// The factory's path.
    pub factory: String,
    /// The daemon; `None` for the factory as a whole.
    pub daemon: Option<String>,
    /// What it does.
    pub state: State,
}

/// What a client did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operation {
    /// Who asked.
    pub client: String,
    /// What it acted on.
    pub key: String,
    /// What was asked, as the history's model tells it: `GET a`.
    pub what: String,
    /// What came of it; `None` for one that never returned, whose outcome is unknown.
    pub answer: Option<Answer>,
    /// Whether it is among those that cannot be ordered: the history was checked, and was not linearizable.
    pub is_blamed: bool,
}

/// What came of an operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// This, question included: `GET a -> "1"`.
    Returned(String),
    /// It certainly did not take effect.
    Failed,
    /// Its client stopped waiting: it may take effect at any time, or never.
    Unknown,
}
