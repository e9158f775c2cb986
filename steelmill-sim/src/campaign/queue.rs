//! Seed queue: hands seeds to the worker threads, kept seeds first.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crate::campaign::record::KeptSeed;
use crate::campaign::shard::Shard;
use crate::campaign::verify::SecondRun;
use crate::schema::settings::Seed;

pub(super) struct QueuedSeed<'a> {
    pub(super) seed: Seed,
    /// Its entry in the file of kept seeds, if it is a kept seed.
    pub(super) kept: Option<&'a KeptSeed>,
    pub(super) second_run: Option<&'a SecondRun>,
}

pub(super) struct Queue<'a> {
    /// The number of seeds besides the kept ones.
    pub(super) asked: u64,
    pub(super) kept: Vec<(Option<SecondRun>, KeptSeed)>,
    pub(super) second_run: Option<SecondRun>,
    pub(super) first: Seed,
    pub(super) shard: Shard,
    /// The number of seeds taken, kept ones included.
    pub(super) next: AtomicUsize,
    pub(super) failures_left: AtomicUsize,
    pub(super) stop: &'a AtomicBool,
}

impl Queue<'_> {
    /// Raises the number of seeds, after all were taken.
    pub(super) fn extend(&mut self, asked: u64) {
        self.next = AtomicUsize::new(self.kept.len() + self.asked as usize);
        self.asked = asked;
    }

    /// The next seed, or `None` at the end of the campaign. Kept seeds all run, however many of them fail.
    pub(super) fn take(&self) -> Option<QueuedSeed<'_>> {
        if self.stop.load(Ordering::Relaxed) {
            return None;
        }
        let taken = self.next.fetch_add(1, Ordering::Relaxed);
        if let Some((second_run, kept)) = self.kept.get(taken) {
            return Some(QueuedSeed { seed: kept.seed, kept: Some(kept), second_run: second_run.as_ref() });
        }
        let nth = (taken - self.kept.len()) as u64;
        if nth >= self.asked || self.failures_left.load(Ordering::Relaxed) == 0 {
            return None;
        }
        let seed = Seed(self.first.0.wrapping_add(self.shard.index(nth)));
        Some(QueuedSeed { seed, kept: None, second_run: self.second_run.as_ref() })
    }

    /// Counts a red seed; false when the limit was reached before.
    pub(super) fn count_failure(&self) -> bool {
        let one_less = |left: usize| left.checked_sub(1);
        self.failures_left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less).is_ok()
    }
}
