//! Recorded random draws: the stream of a draw, its value, and reseeding from a time on.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::plan::Family;

/// The purpose of a random draw. Each stream is independent: one more draw in one leaves all others as they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Stream {
    /// Which ready task runs next: 0 is the oldest, and each of the others has as many numbers as its speed says; under
    /// [`Pct`](crate::Schedule::Pct) a priority.
    Schedule,
    /// How many speeds tasks may have, then the logarithm of each task's: see [`Weighted`](crate::Schedule::Weighted).
    Speed,
    /// A message's latency: nanoseconds above the link's minimum.
    Latency,
    /// The scenario's own choices, made by [`Sim::draw`](crate::Sim::draw).
    Fault,
    /// Entropy that a machine's code reads; the number is the machine's.
    Entropy(u32),
    /// Whether an impaired link loses a message: 0 to 999,999, lost below the rate in ppm.
    Loss,
    /// Whether an impaired link duplicates a datagram: 0 to 999,999, duplicated below the rate in ppm.
    Duplication,
    /// Whether an impaired link reorders a datagram: 0 to 999,999, as for `Loss`; then its delay in nanoseconds.
    Reordering,
    /// Whether a message gets a tail latency: 0 to 999,999, as for `Loss`; then the extra latency in nanoseconds.
    Tail,
    /// Whether a stream's transfer is short: 0 to 999,999, as for `Loss`; then how many bytes are taken or arrive at first, and how many
    /// nanoseconds later the rest does.
    Short,
    /// Whether a datagram, or what a stream delivers, is changed on its way: 0 to 999,999, as for `Loss`; then which byte, and by what.
    Corruption,
    /// How long a machine with trouble takes to look a name up, in nanoseconds, and whether that fails: 0 to 999,999, as for `Loss`.
    Lookup,
    /// The faults of one family in the plan.
    Plan(Family),
    /// How long a disk takes for a sync, in nanoseconds above its least; and what goes wrong there.
    Disk,
    /// What a power loss leaves of what was not synced.
    Survival,
    /// The delay before a slow machine polls a ready task, in nanoseconds.
    Slowness,
    /// Whether a rare branch ([`buggify!`](steelmill_core::buggify)) is taken: 0 to 999,999, taken from one million minus
    /// its rate in ppm on. The number is a hash of the branch's name.
    Buggify(u32),
}

/// One random draw: its stream, its index in that stream, and its value. The unit of recording and replay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decision {
    /// The stream it was drawn from.
    pub stream: Stream,
    /// How many draws of that stream came before it.
    pub index: u64,
    /// The value.
    pub value: u64,
}

/// Replaces the seed from a virtual time on; everything before stays the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reseed {
    /// The virtual time of the change.
    pub at: Duration,
    /// The stream; `None` for all.
    pub stream: Option<Stream>,
    /// The new seed.
    pub seed: u64,
}
