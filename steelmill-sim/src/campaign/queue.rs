//! Seed queue: hands seeds to the worker threads in order, kept seeds first, up to the red seed that ends the campaign.
//!
//! A campaign reports the seeds that one thread would have run, however many threads it has: those up to the last of its
//! [`failures_max`](crate::Campaign::failures_max) lowest red seeds. What other threads ran beyond that is dropped.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::campaign::guidance::Run;
use crate::campaign::record::KeptSeed;
use crate::campaign::shard::Shard;
use crate::campaign::verify::SecondRun;
use crate::schema::decision::Redraws;
use crate::schema::settings::Seed;

pub(super) struct QueuedSeed<'a> {
    /// The number of seeds taken before it.
    pub(super) place: usize,
    pub(super) seed: Seed,
    /// How its run is varied from the seed's own; `None` or empty if it is as the campaign's settings say.
    pub(super) redraws: Option<&'a Redraws>,
    /// Its entry in the file of kept seeds, if it is a kept seed.
    pub(super) kept: Option<&'a KeptSeed>,
    pub(super) second_run: Option<&'a SecondRun>,
}

pub(super) struct Queue<'a> {
    /// The number of seeds besides the kept ones.
    pub(super) requested: u64,
    pub(super) kept: Vec<(Option<SecondRun>, KeptSeed)>,
    pub(super) second_run: Option<SecondRun>,
    pub(super) first: Seed,
    /// The runs of a guided campaign so far, besides the kept ones.
    pub(super) chosen: Option<Vec<Run>>,
    pub(super) shard: Shard,
    /// The number of seeds taken, kept ones included.
    pub(super) next: AtomicUsize,
    pub(super) red: Mutex<RedPlaces>,
    pub(super) stop: &'a AtomicBool,
}

impl Queue<'_> {
    /// Raises the number of seeds, after all were taken.
    pub(super) fn extend(&mut self, requested: u64) {
        self.next = AtomicUsize::new(self.kept.len() + self.requested as usize);
        self.requested = requested;
    }

    /// The next seed, or `None` at the end of the campaign. Kept seeds all run, however many of them fail.
    pub(super) fn take(&self) -> Option<QueuedSeed<'_>> {
        if self.stop.load(Ordering::Relaxed) {
            return None;
        }
        let place = self.next.fetch_add(1, Ordering::Relaxed);
        if let Some((second_run, kept)) = self.kept.get(place) {
            let (kept, second_run) = (Some(kept), second_run.as_ref());
            return Some(QueuedSeed {
                place,
                seed: self.kept[place].1.seed,
                redraws: None,
                kept,
                second_run,
            });
        }
        let nth = (place - self.kept.len()) as u64;
        if nth >= self.requested || self.is_beyond(place) {
            return None;
        }
        let (seed, redraws) = match &self.chosen {
            Some(chosen) => {
                let Run { seed, redraws } = &chosen[nth as usize];
                (*seed, Some(redraws))
            }
            None => (self.nth_seed(nth), None),
        };
        Some(QueuedSeed { place, seed, redraws, kept: None, second_run: self.second_run.as_ref() })
    }

    /// The seed of a campaign, or of its shard, by its place.
    pub(super) fn nth_seed(&self, nth: u64) -> Seed {
        Seed(self.first.0.wrapping_add(self.shard.index(nth)))
    }

    /// Notes a red seed.
    pub(super) fn failed(&self, place: usize) {
        self.red().places.insert(place);
    }

    /// Whether the campaign ends before this place.
    pub(super) fn is_beyond(&self, place: usize) -> bool {
        place >= self.kept.len() && self.red().last().is_some_and(|last| place > last)
    }

    fn red(&self) -> impl std::ops::DerefMut<Target = RedPlaces> {
        self.red.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The places of the red seeds so far.
pub(super) struct RedPlaces {
    pub(super) places: BTreeSet<usize>,
    pub(super) failures_max: usize,
}

impl RedPlaces {
    /// The place of the red seed that ends the campaign. Until all before it have ended, it may still become a lower one.
    fn last(&self) -> Option<usize> {
        self.places.iter().nth(self.failures_max - 1).copied()
    }
}

/// Puts what comes in any order into that of places.
pub(super) struct InOrder<T> {
    next: usize,
    waiting: BTreeMap<usize, T>,
}

impl<T> InOrder<T> {
    pub(super) fn from(first: usize) -> Self {
        Self { next: first, waiting: BTreeMap::new() }
    }

    pub(super) fn add(&mut self, place: usize, item: T) {
        self.waiting.insert(place, item);
    }

    /// The next item, if it has come.
    pub(super) fn pop(&mut self) -> Option<(usize, T)> {
        let first = self.waiting.first_entry().filter(|first| *first.key() == self.next)?;
        self.next += 1;
        Some(first.remove_entry())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_leave_in_the_order_of_their_places() {
        let mut order = InOrder::from(3);
        order.add(5, 'c');
        order.add(4, 'b');
        assert_eq!(order.pop(), None, "3 has not come");
        order.add(3, 'a');
        assert_eq!(std::iter::from_fn(|| order.pop()).collect::<Vec<_>>(), [(3, 'a'), (4, 'b'), (5, 'c')]);
    }

    #[test]
    fn the_last_red_seed_moves_down_when_a_lower_one_is_found() {
        let mut red = RedPlaces { places: [9, 30].into(), failures_max: 2 };
        assert_eq!(red.last(), Some(30));
        red.places.insert(12);
        assert_eq!(red.last(), Some(12));
        assert_eq!(RedPlaces { places: [9].into(), failures_max: 2 }.last(), None);
    }
}
