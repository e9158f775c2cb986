//! What a run is asked to be: its seed, its limits, its schedule, what to record or replay.

use std::time::Duration;

use crate::decisions::{Decision, Rekey};
use crate::fault::Faults;

/// Where all randomness of a run comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Seed(pub u64);

impl std::fmt::Display for Seed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// Which of the ready tasks runs next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Schedule {
    /// Any of them, with equal chance.
    #[default]
    Uniform,
    /// The one that has been ready for longest.
    Fifo,
}

/// The settings of a run.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where all randomness comes from.
    pub seed: Seed,
    /// Which task runs next.
    pub schedule: Schedule,
    /// What goes wrong, where the scenario lets it: see [`Sim::trouble`](crate::Sim::trouble).
    pub faults: Faults,
    /// How much virtual time may pass before the run fails.
    pub time_limit: Duration,
    /// How many polls may happen without any time passing before the run fails as a livelock.
    pub poll_limit: u64,
    /// Whether to keep the list of decisions.
    pub record: bool,
    /// Whether to keep the list of events.
    pub trace: bool,
    /// Decisions to take instead of drawing; past the list's end, the defaults.
    pub replay: Option<Vec<Decision>>,
    /// Moments from which on streams draw as another seed would.
    pub rekeys: Vec<Rekey>,
    /// Whether a poll that never comes back ends the process, with the seed and the task named.
    pub watched: bool,
}

impl Settings {
    /// The settings of a plain run: uniform schedule, a day of virtual time, ten million polls without time passing.
    pub fn new(seed: Seed) -> Self {
        Self {
            seed,
            schedule: Schedule::Uniform,
            faults: Faults::Swarm,
            time_limit: Duration::from_secs(24 * 3600),
            poll_limit: 10_000_000,
            record: false,
            trace: false,
            replay: None,
            rekeys: Vec::new(),
            watched: false,
        }
    }
}
