//! The trace of a run: its events, and the tables of tasks, machines, logs, states and operations that they index.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use steelmill_core::{Owner, State};

use super::event::{Event, EventKind};
use super::plan::Fault;
use super::portable::{self, SourceLocation, StaticStr};
use super::task::TaskId;

/// The events of a run in order, and the tables that they index.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Trace {
    /// The recorded events.
    pub events: Vec<Event>,
    /// How many events before the window were not recorded: see [`Settings::trace_window`](crate::Settings::trace_window).
    pub skipped: u64,
    /// How many events after the window were not recorded; a [`EventKind::Fail`] always is.
    pub dropped: u64,
    /// The index, among all events of the run, of the one that matters most: in a linearizability violation the last
    /// contradicting return, in a livelock the last advance of time, otherwise the last event.
    pub key_event: u64,
    /// Every task that was spawned.
    pub tasks: BTreeMap<TaskId, TaskInfo>,
    /// The machines' names, by number; 0 is the scenario's own.
    pub machines: Vec<String>,
    /// Log lines at `info` and above, or as `RUST_LOG` filters them.
    pub logs: Vec<Log>,
    /// Lifecycle states of factories and daemons.
    pub states: Vec<StateChange>,
    /// The health of daemons and the readiness of factories, where somebody requested it.
    pub health: Vec<HealthChange>,
    /// The clients' operations that a [`History`](crate::trace::history::History) recorded.
    pub operations: Vec<Operation>,
    /// The faults of the run's plan.
    pub faults: Vec<Fault>,
}

impl Trace {
    /// The number of events, recorded or not.
    pub(crate) fn all(&self) -> u64 {
        self.skipped + self.events.len() as u64 + self.dropped
    }

    /// The index of the [key event](Trace::key_event) among the recorded events.
    pub(crate) fn key_event_kept(&self) -> usize {
        (self.key_event.saturating_sub(self.skipped) as usize).min(self.events.len().saturating_sub(1))
    }

    /// The last contradicting return, if the run failed by a linearizability violation.
    pub(crate) fn contradiction(&self) -> Option<usize> {
        let key_event = self.key_event_kept();
        let is_blamed = match self.events.get(key_event)?.what {
            EventKind::Return { operation } => self.operations.get(operation as usize)?.is_blamed,
            _ => false,
        };
        is_blamed.then_some(key_event)
    }

    /// Drops all but `events` events from the key event on, and the failure, whose cause is then the last event kept.
    pub(crate) fn cut_after_key_event(&mut self, events: usize) {
        let end = self.key_event_kept() + events;
        if let [_, between @ .., failure @ Event { what: EventKind::Fail, .. }] =
            &self.events[end.min(self.events.len())..]
        {
            self.dropped += between.len() as u64 + 1;
            let failure = Event { cause: Some(end as u32 - 1), ..*failure };
            self.events.truncate(end);
            self.events.push(failure);
        }
    }
}

/// A task's name, machine, owner and origin.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[non_exhaustive]
pub struct TaskInfo {
    /// Its name, given to `spawn`.
    #[serde(deserialize_with = "portable::text")]
    pub name: StaticStr,
    /// The number of its machine.
    pub machine: u32,
    /// The factory and the daemon that own it; `None` for a task that was not spawned on a daemon's scope.
    #[serde(with = "portable::owner")]
    pub owner: Option<Arc<Owner>>,
    /// Where it was spawned.
    pub spawned_at: SourceLocation,
}

/// A log line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Log {
    /// Its severity.
    #[serde(with = "portable::by_name")]
    pub level: tracing::Level,
    /// Its target: the module's path, unless the program sets another.
    #[serde(deserialize_with = "portable::text")]
    pub target: StaticStr,
    /// The message, followed by the fields.
    pub text: String,
    /// Its file and line, if known.
    #[serde(deserialize_with = "portable::source_line")]
    pub place: Option<(&'static str, u32)>,
}

/// A change of the lifecycle state of a factory or a daemon.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct StateChange {
    /// The number of the factory's machine.
    pub machine: u32,
    /// The factory's path.
    pub factory: String,
    /// The daemon; `None` for the factory as a whole.
    pub daemon: Option<String>,
    /// The new state.
    #[serde(with = "portable::state")]
    pub state: State,
}

/// A change of a daemon's health, or of a factory's readiness.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct HealthChange {
    /// The number of the factory's machine.
    pub machine: u32,
    /// The factory's path.
    pub factory: String,
    /// The daemon; `None` for the factory as a whole.
    pub daemon: Option<String>,
    /// Whether it can serve.
    pub is_ready: bool,
    /// Whether it answers.
    pub is_live: bool,
    /// In words: `degraded: one replica is left`; of a factory `not ready: Store is failing: the disk is full`.
    pub text: String,
}

/// A client's operation in a [`History`](crate::trace::history::History).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Operation {
    /// The client's name.
    pub client: String,
    /// The key it acts on.
    pub key: String,
    /// The invocation, as the history's model prints it: `GET a`.
    pub what: String,
    /// Its result; `None` for an operation that never returned, whose effect is unknown.
    pub answer: Option<Answer>,
    /// Whether the linearizability check failed, and this operation is among those that no order explains.
    pub is_blamed: bool,
}

/// The result of an operation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Answer {
    /// It returned; printed with its invocation: `GET a -> "1"`.
    Returned(String),
    /// It certainly took no effect.
    Failed,
    /// Its client stopped waiting: it may take effect at any time, or never.
    Unknown,
}
