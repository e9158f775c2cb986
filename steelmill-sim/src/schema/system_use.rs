//! What code asked the system for inside a run, as an audit found it.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// What was asked of the system.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SystemCall {
    /// The time since some moment, as by `Instant::now`. Answered from the virtual clock.
    MonotonicClock,
    /// The date, as by `SystemTime::now`. Answered from the virtual clock.
    WallClock,
    /// Random bytes, as by `rand::rng`. Answered from the seed.
    Entropy,
    /// A thread. It is started, and from then on the run may not repeat.
    Thread,
}

impl fmt::Display for SystemCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            SystemCall::MonotonicClock => "the monotonic clock",
            SystemCall::WallClock => "the wall clock",
            SystemCall::Entropy => "entropy",
            SystemCall::Thread => "a thread",
        })
    }
}

/// One place in a program that asks the system for something inside a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SystemUse {
    /// For what.
    pub call: SystemCall,
    /// Where: the innermost function that is neither the standard library's nor a dependency's.
    pub place: String,
    /// How often.
    pub times: u64,
    /// The machine that did it first.
    pub machine: String,
    /// When it did.
    pub at: Duration,
    /// How it got there, innermost first.
    pub backtrace: String,
}

impl fmt::Display for SystemUse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { call, place, times, machine, at, backtrace } = self;
        let times = if *times == 1 { "once".to_owned() } else { format!("{times} times") };
        write!(f, "{call}, {times}, first by {machine} at {:.9} s: {place}", at.as_secs_f64())?;
        backtrace.lines().try_for_each(|line| write!(f, "\n    {line}"))
    }
}
