//! What a task is called: in a run's tables and wakers, and in a trace.

use std::fmt;

use serde::{Deserialize, Serialize};

#[cfg(not(target_pointer_width = "64"))]
compile_error!("steelmill-sim packs a task's name into a waker's pointer and needs a 64-bit target");

/// A task of one run, small enough for a waker's pointer: 20 bits of run, 20 of generation, 24 of index.
///
/// A name is mistaken for another only when a waker is kept for a million runs of the process *and* the same slot is
/// then in the same generation modulo a million; the price would be a spurious wake.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct TaskKey(u64);

const INDEX_BITS: u32 = 24;
const PART_BITS: u32 = 20;
const PART_MASK: u64 = (1 << PART_BITS) - 1;

impl TaskKey {
    /// No task's: its index is past the end of every table.
    pub(crate) const NONE: Self = Self(u64::MAX);

    /// One more than the greatest index that fits.
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

    /// The same place with its next task.
    pub(crate) fn next_generation(self) -> Self {
        let generation = ((self.0 >> INDEX_BITS) + 1) & PART_MASK;
        Self(self.0 & !(PART_MASK << INDEX_BITS) | generation << INDEX_BITS)
    }

    #[inline]
    pub(crate) fn is_run(self, run: u32) -> bool {
        self.0 >> (PART_BITS + INDEX_BITS) == u64::from(run) & PART_MASK
    }

    /// A number that is the same in every run of the seed: for the digest.
    #[inline]
    pub(crate) fn within_run(self) -> u64 {
        self.0 & ((1 << (PART_BITS + INDEX_BITS)) - 1)
    }

    /// The place, and the generation, of what [`within_run`](Self::within_run) gave.
    pub(crate) fn parts(within_run: u64) -> (u64, u64) {
        (within_run & ((1 << INDEX_BITS) - 1), within_run >> INDEX_BITS)
    }

    /// The key that a waker carries as its data pointer.
    #[inline]
    pub(crate) fn of_word(word: u64) -> Self {
        Self(word)
    }

    /// What a waker carries as its data pointer.
    #[inline]
    pub(crate) fn word(self) -> u64 {
        self.0
    }
}

/// A task of a run; the same in every run of the seed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TaskId(pub(crate) u64);

impl TaskId {
    pub(crate) fn of(key: TaskKey) -> Self {
        Self(key.within_run())
    }

    /// Its place in the run's table.
    pub(crate) fn place(self) -> usize {
        TaskKey::parts(self.0).0 as usize
    }
}

impl fmt::Display for TaskId {
    /// Its place in the run's table, and how many tasks had that place before it: `#12`, `#12.1`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (place, former) = TaskKey::parts(self.0);
        write!(f, "#{place}")?;
        if former > 0 {
            write!(f, ".{former}")?;
        }
        Ok(())
    }
}
