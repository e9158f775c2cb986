//! Statistics of a run for its outcome: counts, limits, fault plan, coverage, tasks aborted at a deadline.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use super::coverage::CoverageCounts;
use super::deadline_exceeded::ExceededDeadlines;
use super::panics::Allowed;
use crate::schema::outcome::Panicked;
use crate::schema::plan::Plan;

pub(crate) struct Tally {
    /// Totals of [`Sim::count`](crate::Sim::count).
    pub(crate) counts: BTreeMap<&'static str, u64>,
    /// Ranges of [`Sim::limit`](crate::Sim::limit), by name.
    pub(crate) limits: BTreeMap<&'static str, RangeInclusive<u64>>,
    /// The fault plan, once it is drawn or read.
    pub(crate) plan: Option<Plan>,
    pub(crate) coverage: CoverageCounts,
    /// Tasks that were aborted because their time was up.
    pub(crate) exceeded_deadlines: ExceededDeadlines,
    /// Failures that the scenario allowed.
    pub(crate) allowed: Vec<Allowed>,
    /// The last panic before the run failed.
    pub(crate) last_panic: Option<Panicked>,
}

impl Tally {
    /// Adds to a count, and returns its total.
    pub(crate) fn count(&mut self, what: &'static str, n: u64) -> u64 {
        let total = self.counts.entry(what).or_default();
        *total += n;
        *total
    }
}

impl Tally {
    pub(crate) fn new() -> Self {
        Self {
            counts: BTreeMap::new(),
            limits: BTreeMap::new(),
            plan: None,
            coverage: CoverageCounts::new(),
            exceeded_deadlines: ExceededDeadlines::default(),
            allowed: Vec::new(),
            last_panic: None,
        }
    }
}
