//! How much of its workload a run has: what the scenario says may be less, and what the plan says of it.
//!
//! A failure with two clients is read sooner than one with forty. Only the scenario knows what of it can be less, so it
//! asks; a plan may then say how much there is to be, and what shrinks a red seed looks for the least.

use std::ops::RangeInclusive;

use anyhow::anyhow;

use crate::machine::cluster::Cluster;
use crate::machine::sim::Sim;
use crate::schema::outcome::Cause;
use crate::schema::plan::Faults;

impl Sim {
    /// How much of something the workload has: as much as the range's end, unless the run's plan says less; never less
    /// than the range's beginning. What may be less is what [`Campaign::shrink`](crate::Campaign::shrink) makes less.
    ///
    /// A plan that says less than the scenario can do with fails the run, and so does one that limits what the scenario
    /// does not ask for.
    ///
    /// # Panics
    /// When the range is empty; when the same was asked for with another range before.
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
        assert!(!range.is_empty(), "{of}: there is no number in {range:?}");
        let known = self.with(|run| run.tally.limits.entry(of).or_insert_with(|| range.clone()).clone());
        assert_eq!(known, range, "{of} was asked for with another range before");
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
    /// What is wrong with the plan's limits, once the scenario has asked for all it wants.
    pub(crate) fn unknown_limit(&self) -> Option<Cause> {
        let Faults::Plan(plan) = &self.kernel.settings.faults else { return None };
        let unknown = plan.limits.keys().find(|name| !self.tally.limits.contains_key(name.as_str()))?;
        let known: Vec<&str> = self.tally.limits.keys().copied().collect();
        let known = if known.is_empty() { "nothing".to_owned() } else { known.join(", ") };
        Some(Cause::Error(anyhow!(
            "the plan limits {unknown:?}, which the scenario does not ask for: it asks for {known}"
        )))
    }
}
