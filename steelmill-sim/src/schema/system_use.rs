//! Audit results: which code calls the operating system for time, entropy or threads inside a run.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The kind of a system call that an audit reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum SystemCall {
    /// A monotonic clock, as read by `Instant::now`. The virtual clock answers.
    MonotonicClock,
    /// The wall clock, as read by `SystemTime::now`. The virtual clock answers.
    WallClock,
    /// Random bytes, as read by `rand::rng`. They come from the seed.
    Entropy,
    /// The start of a thread. A task's is simulated, on its machine; another is a real one, so the run may not repeat.
    Thread,
    /// An environment variable, as read by `std::env::var`. The real process's answers, unless a program reads it.
    Environment,
    /// A real file, by its path. The scenario may use it; a program or a daemon is refused, unless the scenario
    /// [allowed](crate::Sim::allow_reading) it.
    File,
    /// Another program, as started by `std::process::Command`. It is refused, unless the scenario starts it.
    Process,
    /// Something else that is not simulated, such as io_uring or signalfd. It is refused, unless the scenario asks.
    Other,
    /// A system call by an instruction of the program's own, past the C library, as the crate rustix makes it. The simulation
    /// answers as for the C library's function; what it does not know, Linux answers.
    Instruction,
}

impl fmt::Display for SystemCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            SystemCall::MonotonicClock => "the monotonic clock",
            SystemCall::WallClock => "the wall clock",
            SystemCall::Entropy => "entropy",
            SystemCall::Thread => "a thread",
            SystemCall::Environment => "the environment",
            SystemCall::File => "a file",
            SystemCall::Process => "another process",
            SystemCall::Other => "what is not simulated",
            SystemCall::Instruction => "a system call past the C library",
        })
    }
}

/// One place in the program that makes a system call inside a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct SystemUse {
    /// The kind of call.
    pub call: SystemCall,
    /// The innermost function outside of the standard library and dependencies, with file and line.
    pub place: String,
    /// The number of calls.
    pub times: u64,
    /// The machine of the first call.
    pub machine: String,
    /// The virtual time of the first call.
    pub at: Duration,
    /// The backtrace of the first call, innermost function first.
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
