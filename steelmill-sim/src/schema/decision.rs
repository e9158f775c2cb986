//! Draws of randomness: what they are for, and what came of one.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::plan::Family;

/// What a draw is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Stream {
    /// Which ready task runs next: its place among them, oldest first; or the priorities that decide it.
    Schedule,
    /// How long a message is on its way: nanoseconds above the link's least.
    Latency,
    /// What the scenario does to its cluster, by [`Sim::draw`](crate::Sim::draw).
    Fault,
    /// What a machine's own code draws; the number is the machine's.
    Entropy(u32),
    /// Whether an impaired link loses a message: 0 to 999,999, and lost below its rate.
    Loss,
    /// Whether an impaired link doubles a datagram, likewise.
    Duplication,
    /// Whether an impaired link lets others overtake a datagram, likewise, and then for how many nanoseconds.
    Reordering,
    /// Whether a message is very late, likewise, and then by how many nanoseconds.
    Tail,
    /// What goes wrong: a family's part of the plan.
    Plan(Family),
    /// How late a slow machine turns to a task that is ready, in nanoseconds.
    Slowness,
    /// Whether a rare branch ([`buggify!`](steelmill_core::buggify)) is taken: 0 to 999,999, and taken from its rate's
    /// complement on. The number is made from its name.
    Buggify(u32),
}

/// One draw: its stream, its place in that stream, and what came of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decision {
    /// What it was for.
    pub stream: Stream,
    /// How many draws of that stream came before it.
    pub index: u64,
    /// What was drawn.
    pub value: u64,
}

/// From a moment on, draw as another seed would: what happened before stays the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reseed {
    /// When, in virtual time.
    pub at: Duration,
    /// The stream; `None` for all.
    pub stream: Option<Stream>,
    /// The seed to draw from then on.
    pub seed: u64,
}
