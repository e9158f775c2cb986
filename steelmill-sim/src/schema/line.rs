//! An event as a person reads it.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// An event as a person reads it: nothing in it needs the rest of the trace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// When, in virtual time.
    pub at: Duration,
    /// The machine whose task was being polled; `None` for what the world does.
    pub machine: Option<String>,
    /// The factory the task works for.
    pub factory: Option<String>,
    /// The daemon the task works for.
    pub daemon: Option<String>,
    /// The task's name and number.
    pub task: Option<String>,
    /// What happened.
    pub what: String,
    /// The run's digest after it.
    pub digest: u64,
}

impl fmt::Display for Line {
    /// `12.000345678 gateway-1: Cache (gateway-1/lease-7): "refresh" #12: send 14 bytes: "..."`. A factory that is called
    /// as its machine is left out.
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
