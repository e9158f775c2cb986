//! Guidance: chooses the runs of a campaign that learns.
//!
//! Half of the runs are of fresh seeds. The others are varied from a former run that came to a rare place: the same up to the
//! moment at which it came there, and drawn anew from then on. A place is a coverage point that was hit, or a step of a bound's
//! value. It is chosen the more often the fewer runs came there.
//!
//! Choices depend on the campaign's first seed and on what was learned, never on time or threads: a campaign learns from a batch
//! of runs in the order of their places, after all of them have ended.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use steelmill_core::coverage;

use crate::kernel::decisions::mix;
use crate::schema::decision::Redraws;
use crate::schema::outcome::{Outcome, Reached};
use crate::schema::settings::Seed;

/// The number of runs between two times at which a campaign learns. It must be the same on all machines.
pub(super) const BATCH: u64 = 32;

/// A run: of a seed, varied or not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Run {
    pub(super) seed: Seed,
    pub(super) redraws: Redraws,
}

/// The runs that are kept for a place. More would not help: most of its runs come to others from it.
const KEPT_MAX: u64 = 10;

/// The runs that a file of kept seeds holds for the next campaign.
const LEARNED_MAX: usize = 32;

pub(super) struct Guide {
    key: u64,
    drawn: u64,
    /// Runs of an earlier campaign, which come first.
    learned: VecDeque<Run>,
    /// The number of fresh seeds chosen.
    fresh: u64,
    /// By the order of their points in the source, and level.
    places: BTreeMap<(usize, i32), Place>,
    /// The order of the program's points in the source; the linker's differs between builds.
    order: Vec<usize>,
}

#[derive(Default)]
struct Place {
    /// How many runs came there.
    runs: u64,
    /// Some of them, with the moment at which they did.
    kept: Vec<(Run, Reached)>,
}

impl Guide {
    /// One that has learned nothing but these runs of an earlier campaign.
    pub(super) fn new(first: Seed, learned: impl IntoIterator<Item = Run>) -> Self {
        let points = coverage::all();
        let mut sorted: Vec<usize> = (0..points.len()).collect();
        sorted.sort_by_key(|index| &points[*index]);
        let mut order = vec![0; points.len()];
        sorted.into_iter().enumerate().for_each(|(rank, index)| order[index] = rank);
        let learned = learned.into_iter().collect();
        Self { key: mix(first.0), drawn: 0, learned, fresh: 0, places: BTreeMap::new(), order }
    }

    /// The next run; `fresh` gives the campaign's seeds.
    pub(super) fn choose(&mut self, fresh: impl Fn(u64) -> Seed) -> Run {
        if let Some(learned) = self.learned.pop_front() {
            return learned;
        }
        if !self.places.is_empty() && self.below(2) == 0 {
            return self.vary();
        }
        let seed = fresh(self.fresh);
        self.fresh += 1;
        Run { seed, redraws: Redraws::default() }
    }

    fn vary(&mut self) -> Run {
        let weight = |place: &Place| (1 << 32) / place.runs;
        let mut left = self.below(self.places.values().map(weight).sum());
        let mut places = self.places.values();
        let chosen = places.find(|place| match left.checked_sub(weight(place)) {
            Some(rest) => {
                left = rest;
                false
            }
            None => true,
        });
        let kept = chosen.expect("the sum of all weights is above").kept.clone();
        let (run, reached) = &kept[self.below(kept.len() as u64) as usize];
        // Half of the times somewhat earlier, so that what led to the place may come with something else.
        let earlier = match self.below(2) {
            0 => Duration::ZERO,
            _ => Duration::from_micros(500 << self.below(12)),
        };
        let seed = self.next();
        Run { seed: run.seed, redraws: run.redraws.then(reached.at.saturating_sub(earlier), seed) }
    }

    /// Learns from a run. A red one is not varied: most of what comes from it has the same failure.
    pub(super) fn learn(&mut self, outcome: &Outcome) {
        if !outcome.passed() {
            return;
        }
        for reached in &outcome.reached {
            let name = (self.order[reached.point], reached.level);
            let runs = self.places.get(&name).map_or(0, |place| place.runs) + 1;
            let chosen = self.below(runs);
            let place = self.places.entry(name).or_default();
            place.runs = runs;
            let run = Run { seed: outcome.seed, redraws: outcome.redraws.clone() };
            // Each run that came there is kept with the same chance.
            if (place.kept.len() as u64) < KEPT_MAX {
                place.kept.push((run, *reached));
            } else if let Some(kept) = place.kept.get_mut(chosen as usize) {
                *kept = (run, *reached);
            }
        }
    }

    /// What a later campaign is to begin with: a run for each of the rarest places.
    pub(super) fn learned(&self) -> Vec<Run> {
        let mut places: Vec<_> = self.places.values().collect();
        places.sort_by_key(|place| place.runs); // stable: by place where equal
        let mut learned: Vec<Run> = Vec::new();
        for (run, _) in places.into_iter().filter_map(|place| place.kept.first()) {
            if learned.len() < LEARNED_MAX && !learned.contains(run) {
                learned.push(run.clone());
            }
        }
        learned
    }

    fn next(&mut self) -> u64 {
        self.drawn += 1;
        mix(self.key ^ mix(self.drawn))
    }

    fn below(&mut self, below: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(below)) >> 64) as u64
    }
}
