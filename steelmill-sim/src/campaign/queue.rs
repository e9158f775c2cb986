//! The seeds of a campaign, in the order of their turns: those that were kept, and then its own.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crate::campaign::record::KeptSeed;
use crate::campaign::shard::Shard;
use crate::campaign::verify::Again;
use crate::schema::settings::Seed;

/// A seed whose turn it is.
pub(super) struct Turn<'a> {
    pub(super) seed: Seed,
    /// As it was kept, if it was.
    pub(super) kept: Option<&'a KeptSeed>,
    /// Where it is run for a second time, if it is.
    pub(super) again: Option<&'a Again>,
}

/// The seeds that are left.
pub(super) struct Queue<'a> {
    pub(super) asked: u64,
    /// Those that come first, each with where it is run for a second time.
    pub(super) kept: Vec<(Option<Again>, KeptSeed)>,
    pub(super) again: Option<Again>,
    pub(super) first: Seed,
    pub(super) shard: Shard,
    /// How many turns there were.
    pub(super) next: AtomicUsize,
    pub(super) failures_left: AtomicUsize,
    pub(super) stop: &'a AtomicBool,
}

impl Queue<'_> {
    /// Deals out more, when all were.
    pub(super) fn go_on(&mut self, asked: u64) {
        self.next = AtomicUsize::new(self.kept.len() + self.asked as usize);
        self.asked = asked;
    }

    /// The next one, unless the campaign is over. Those that were kept are tried however many of them fail.
    pub(super) fn take(&self) -> Option<Turn<'_>> {
        if self.stop.load(Ordering::Relaxed) {
            return None;
        }
        let turn = self.next.fetch_add(1, Ordering::Relaxed);
        if let Some((again, kept)) = self.kept.get(turn) {
            return Some(Turn { seed: kept.seed, kept: Some(kept), again: again.as_ref() });
        }
        let nth = (turn - self.kept.len()) as u64;
        if nth >= self.asked || self.failures_left.load(Ordering::Relaxed) == 0 {
            return None;
        }
        let seed = Seed(self.first.0.wrapping_add(self.shard.place(nth)));
        Some(Turn { seed, kept: None, again: self.again.as_ref() })
    }

    /// Whether a red seed more is to be told of.
    pub(super) fn admits_failure(&self) -> bool {
        let one_less = |left: usize| left.checked_sub(1);
        self.failures_left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less).is_ok()
    }
}
