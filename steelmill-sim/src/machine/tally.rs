//! What a run tells of itself at its end, beside its digest: counts, limits, faults, visits.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use super::coverage::CoverageCounts;
use super::overstays::Overstays;
use super::panics::Allowed;
use crate::schema::outcome::Panicked;
use crate::schema::plan::Plan;

pub(crate) struct Tally {
    /// What the scenario counted.
    pub(crate) counts: BTreeMap<&'static str, u64>,
    /// What of the workload may be less, and from where to where.
    pub(crate) limits: BTreeMap<&'static str, RangeInclusive<u64>>,
    /// The faults that are to strike, once that is known.
    pub(crate) plan: Option<Plan>,
    /// Visits of coverage points.
    pub(crate) coverage: CoverageCounts,
    /// Tasks that were aborted because their time was up.
    pub(crate) overstays: Overstays,
    /// Failures that the scenario allowed.
    pub(crate) allowed: Vec<Allowed>,
    /// The last panic before the run failed.
    pub(crate) last_panic: Option<Panicked>,
}

impl Tally {
    pub(crate) fn new() -> Self {
        Self {
            counts: BTreeMap::new(),
            limits: BTreeMap::new(),
            plan: None,
            coverage: CoverageCounts::new(),
            overstays: Overstays::default(),
            allowed: Vec::new(),
            last_panic: None,
        }
    }
}
