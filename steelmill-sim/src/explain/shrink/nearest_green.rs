//! The nearest run that passes, to be compared with the shrunk one: the same up to a moment as late as possible.

use std::cmp::Reverse;
use std::fmt;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::{Search, redrawn};
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
    /// The nearest run that passes: drawn anew after the latest time at which a sample of the failure rates did not fail alike, or
    /// else without the last fault of the plan, which takes only what the failure takes.
    pub(super) fn nearest_green(&self) -> Option<NearestGreen> {
        let with = |plan: &Plan| Settings {
            faults: Faults::Plan(plan.clone()),
            trace: true,
            ..self.settings.clone()
        };
        // Of one time the first; it may have failed in another way.
        let mut unlike = self.unlike.clone();
        unlike.sort_by_key(|(until, _)| Reverse(*until));
        for (until, seed) in unlike.into_iter().take(TRIES_MAX) {
            let outcome = self.campaign.attempt(redrawn(&with(&self.plan), until, seed));
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
