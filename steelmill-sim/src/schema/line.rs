//! Human-readable trace events, with names in place of numbers.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A trace event in readable form, complete without the rest of the trace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// Its virtual time.
    pub at: Duration,
    /// The machine whose task was being polled; `None` for timers, the network and faults.
    pub machine: Option<String>,
    /// The factory that owns the task.
    pub factory: Option<String>,
    /// The daemon that owns the task.
    pub daemon: Option<String>,
    /// The task's name and number.
    pub task: Option<String>,
    /// The event in words.
    pub what: String,
    /// The run's digest after it.
    pub digest: u64,
}

impl fmt::Display for Line {
    /// `12.000345678 gateway-1: Cache (gateway-1/lease-7): "refresh" #12: send 14 bytes: "..."`. A factory with its
    /// machine's name is omitted.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: ", seconds(self.at.as_nanos() as u64), self.machine.as_deref().unwrap_or("-"))?;
        let factory = self.factory.as_ref().filter(|factory| Some(*factory) != self.machine.as_ref());
        match (&self.daemon, factory) {
            (Some(daemon), Some(factory)) => write!(f, "{daemon} ({factory}): ")?,
            (Some(daemon), None) => write!(f, "{daemon}: ")?,
            (None, Some(factory)) => write!(f, "({factory}): ")?,
            (None, None) => {}
        }
        if let Some(task) = &self.task {
            write!(f, "{task}: ")?;
        }
        f.write_str(&self.what)
    }
}

pub(crate) fn seconds(nanos: u64) -> String {
    format!("{}.{:09}", nanos / 1_000_000_000, nanos % 1_000_000_000)
}
