//! Task keys, packed into a waker's data pointer, and task ids, as shown in traces.

use std::fmt;

use serde::{Deserialize, Serialize};

#[cfg(not(target_pointer_width = "64"))]
compile_error!("steelmill-sim packs a task's key into a waker's pointer and needs a 64-bit target");

/// The key of a task: 20 bits of run, 20 of generation and 24 of slot index, so that it fits a waker's data pointer.
///
/// Two keys are equal by mistake only when a waker is kept for a million runs of the process *and* the same slot is then
/// in the same generation modulo a million; the consequence is a spurious wake.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct TaskKey(u64);

const INDEX_BITS: u32 = 24;
const PART_BITS: u32 = 20;
const PART_MASK: u64 = (1 << PART_BITS) - 1;

impl TaskKey {
    /// The key of no task: its index is past the end of every table.
    pub(crate) const NONE: Self = Self(u64::MAX);

    /// One more than the greatest valid index.
    pub(crate) const INDEX_END: usize = (1 << INDEX_BITS) - 1;

    #[inline]
    pub(crate) fn new(run: u32, generation: u32, index: u32) -> Self {
        let run = u64::from(run) & PART_MASK;
        let generation = u64::from(generation) & PART_MASK;
        Self(run << (PART_BITS + INDEX_BITS) | generation << INDEX_BITS | u64::from(index))
    }

    #[inline]
    pub(crate) fn index(self) -> usize {
        (self.0 & ((1 << INDEX_BITS) - 1)) as usize
    }

    /// The key of the next task in the same slot.
    pub(crate) fn next_generation(self) -> Self {
        let generation = ((self.0 >> INDEX_BITS) + 1) & PART_MASK;
        Self(self.0 & !(PART_MASK << INDEX_BITS) | generation << INDEX_BITS)
    }

    #[inline]
    pub(crate) fn is_run(self, run: u32) -> bool {
        self.0 >> (PART_BITS + INDEX_BITS) == u64::from(run) & PART_MASK
    }

    /// The key without its run: the same in every run of the seed, as the digest needs.
    #[inline]
    pub(crate) fn within_run(self) -> u64 {
        self.0 & ((1 << (PART_BITS + INDEX_BITS)) - 1)
    }

    /// The slot index and the generation of a [`within_run`](Self::within_run).
    pub(crate) fn parts(within_run: u64) -> (u64, u64) {
        (within_run & ((1 << INDEX_BITS) - 1), within_run >> INDEX_BITS)
    }

    #[inline]
    pub(crate) fn from_raw(raw: u64) -> Self {
        Self(raw)
    }

    /// The value of a waker's data pointer.
    #[inline]
    pub(crate) fn to_raw(self) -> u64 {
        self.0
    }
}

/// The id of a task in a run; the same in every run of the seed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TaskId(pub(crate) u64);

impl TaskId {
    pub(crate) fn of(key: TaskKey) -> Self {
        Self(key.within_run())
    }

    pub(crate) fn slot(self) -> usize {
        TaskKey::parts(self.0).0 as usize
    }
}

impl fmt::Display for TaskId {
    /// Its slot in the task table, and the slot's generation unless that is 0: `#12`, `#12.1`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (slot, generation) = TaskKey::parts(self.0);
        write!(f, "#{slot}")?;
        if generation > 0 {
            write!(f, ".{generation}")?;
        }
        Ok(())
    }
}
