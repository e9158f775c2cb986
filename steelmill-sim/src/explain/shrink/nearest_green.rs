//! The nearest run that passes, to be compared with the shrunk one: the same up to a moment as late as possible.

use std::fmt;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::{FailureRate, Search};
use crate::schema::decision::Redraws;
use crate::schema::outcome::Outcome;
use crate::schema::plan::{Fault, Faults, Plan};
use crate::schema::settings::Settings;

/// A run that passes and has much in common with a shrunk one.
#[derive(Debug)]
#[non_exhaustive]
pub struct NearestGreen {
    /// How it differs.
    pub differs: Differs,
    /// The run, traced.
    pub outcome: Outcome,
}

/// How a run that passes differs from a shrunk one.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Differs {
    /// Everything after this time is drawn anew.
    DrawnAnew(Duration),
    /// The plan's last fault is left out.
    Without(Box<Fault>),
}

impl fmt::Display for Differs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Differs::DrawnAnew(after) => {
                write!(f, "everything after {:.6} s is drawn anew", after.as_secs_f64())
            }
            Differs::Without(fault) => write!(f, "this fault is left out: {fault}"),
        }
    }
}

/// The maximum number of runs that are tried.
const TRIES_MAX: usize = 30;

impl Search<'_> {
    /// The nearest run that passes: drawn anew after the latest sampled time at which that helps, or else without the last
    /// fault of the plan, which takes only what the failure takes.
    pub(super) fn nearest_green(&self, failure_rates: &[FailureRate]) -> Option<NearestGreen> {
        if failure_rates.is_empty() {
            return None;
        }
        let may_pass = failure_rates.iter().rev().filter(|rate| rate.failed < rate.runs);
        let redraws: Vec<_> = may_pass
            .flat_map(|rate| self.redraw_seeds(rate.runs).map(|seed| (rate.until, seed)))
            .take(TRIES_MAX)
            .collect();
        let with = |plan: &Plan| Settings {
            faults: Faults::Plan(plan.clone()),
            trace: true,
            ..self.settings.clone()
        };
        for (until, seed) in redraws {
            let reseeds = Redraws::of(&self.settings.reseeds).then(until, seed).reseeds();
            let outcome = self.campaign.attempt(Settings { reseeds, ..with(&self.plan) });
            if outcome.failure.is_none() {
                return Some(NearestGreen { differs: Differs::DrawnAnew(until), outcome });
            }
            if self.campaign.stop.load(Ordering::Relaxed) {
                return None;
            }
        }
        let mut plan = self.plan.clone();
        let left_out = plan.faults.pop()?;
        let outcome = self.campaign.attempt(with(&plan));
        outcome
            .failure
            .is_none()
            .then(|| NearestGreen { differs: Differs::Without(Box::new(left_out)), outcome })
    }
}
