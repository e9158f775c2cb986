//! Workload limits: sizes of the workload that a plan may reduce and shrinking minimizes.
//!
//! A failure with two clients is easier to read than one with forty. A scenario declares sizes with [`Sim::limit`].

use std::ops::RangeInclusive;

use anyhow::anyhow;

use crate::machine::cluster::Cluster;
use crate::machine::sim::Sim;
use crate::schema::outcome::Cause;
use crate::schema::plan::Faults;

impl Sim {
    /// A size of the workload, such as the number of clients: the range's end, unless the run's plan limits it to less.
    /// [`Campaign::shrink`](crate::Campaign::shrink) searches for the smallest value with which a red seed still fails.
    ///
    /// The run fails if the plan's limit is below the range's start, or if it limits a size that is not declared.
    ///
    /// # Panics
    /// When the range is empty; when `of` was declared with another range before.
    ///
    /// ```
    /// use steelmill_sim::fault::{Faults, Plan};
    /// use steelmill_sim::{Seed, Settings, Sim, simulate};
    ///
    /// async fn scenario(sim: Sim) -> anyhow::Result<()> {
    ///     let clients = sim.limit("clients", 1..=4);
    ///     sim.count("clients", clients);
    ///     Ok(())
    /// }
    /// let settings = Settings::new(Seed(1));
    /// assert_eq!(simulate(settings.clone(), &scenario).counts["clients"], 4);
    ///
    /// let plan = Plan::from_json(r#"{"faults": [], "limits": {"clients": 2}}"#)?;
    /// let settings = Settings { faults: Faults::Plan(plan), ..settings };
    /// assert_eq!(simulate(settings, &scenario).counts["clients"], 2);
    /// # anyhow::Ok(())
    /// ```
    pub fn limit(&self, of: &'static str, range: RangeInclusive<u64>) -> u64 {
        assert!(!range.is_empty(), "limit {of:?}: the range {range:?} is empty");
        let known = self.with(|run| run.tally.limits.entry(of).or_insert_with(|| range.clone()).clone());
        assert_eq!(known, range, "limit {of:?} was declared with another range before");
        self.with(|run| {
            let wanted = match &run.kernel.settings.faults {
                Faults::Plan(plan) => plan.limits.get(of).copied(),
                Faults::Swarm | Faults::None => None,
            };
            let wanted = wanted.unwrap_or(u64::MAX);
            if wanted < *range.start() {
                let least = range.start();
                run.kernel.fail(Cause::Error(anyhow!(
                    "the plan limits {of:?} to {wanted}, and the scenario needs {least} at least"
                )));
            }
            wanted.clamp(*range.start(), *range.end())
        })
    }
}

impl Cluster {
    /// A limit of the plan that the scenario did not declare, checked when the scenario has ended.
    pub(crate) fn unknown_limit(&self) -> Option<Cause> {
        let Faults::Plan(plan) = &self.kernel.settings.faults else { return None };
        let unknown = plan.limits.keys().find(|name| !self.tally.limits.contains_key(name.as_str()))?;
        let known: Vec<&str> = self.tally.limits.keys().copied().collect();
        let known = if known.is_empty() { "nothing".to_owned() } else { known.join(", ") };
        Some(Cause::Error(anyhow!(
            "the plan limits {unknown:?}, which the scenario does not declare; it declares: {known}"
        )))
    }
}
