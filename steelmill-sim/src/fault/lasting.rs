//! Machines that stay broken after fault injection, for checks of progress with a minority down.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::Context as _;
use steelmill_core::Result;

use super::Budget;
use crate::machine::links::Partition;
use crate::machine::machine::{Claim, Machine};
use crate::machine::sim::Sim;

/// Machines that stay broken until [`heal`](Broken::heal): see [`Nemesis::run_leaving_broken`](super::Nemesis::run_leaving_broken).
#[derive(Debug)]
#[must_use = "machines stay broken until this is healed"]
pub struct Broken(Vec<(Machine, Damage)>);

/// What is wrong with a machine that stays broken. Each field is kept for its drop, or for healing.
#[derive(Debug)]
enum Damage {
    Down { _claim: Option<Claim> },
    Isolated(Partition),
    Slow,
}

impl Broken {
    /// Breaks so many of the budget's machines in ways that it allows, both drawn from the seed.
    pub(super) fn draw(sim: Sim, budget: &Budget, number: usize) -> Self {
        let mut seen = BTreeSet::new();
        let all = [&budget.ends, &budget.links, &budget.pauses];
        let mut left: Vec<&Machine> =
            all.into_iter().flatten().filter(|machine| seen.insert(machine.name().to_owned())).collect();
        let mut broken = Vec::new();
        while broken.len() < number && !left.is_empty() {
            let machine = left.swap_remove(sim.draw(left.len() as u64) as usize);
            let is_in = |machines: &[Machine]| machines.iter().any(|other| other.name() == machine.name());
            let ways: Vec<Way> = [
                (is_in(&budget.ends), Way::Down),
                (is_in(&budget.links), Way::Isolated),
                (is_in(&budget.pauses), Way::Slow),
            ]
            .into_iter()
            .filter_map(|(is_allowed, way)| is_allowed.then_some(way))
            .collect();
            let damage = match ways[sim.draw(ways.len() as u64) as usize] {
                Way::Down => {
                    let claim = machine.claim();
                    machine.exit();
                    Damage::Down { _claim: claim }
                }
                Way::Isolated => Damage::Isolated(sim.isolate(machine)),
                Way::Slow => {
                    machine.set_slowness(budget.delay_max);
                    Damage::Slow
                }
            };
            tracing::info!("{} stays broken: {damage:?}", machine.name());
            broken.push((machine.clone(), damage));
        }
        Self(broken)
    }

    /// The machines that are broken.
    pub fn machines(&self) -> impl Iterator<Item = &Machine> {
        self.0.iter().map(|(machine, _)| machine)
    }

    /// Heals them: restarts those that are down.
    ///
    /// # Errors
    /// When a machine does not restart.
    pub async fn heal(self) -> Result {
        for (machine, damage) in self.0 {
            match damage {
                Damage::Down { .. } => {
                    let restarted = machine.restart().await;
                    restarted.with_context(|| format!("{} does not start again", machine.name()))?;
                }
                Damage::Isolated(partition) => partition.heal(),
                Damage::Slow => machine.set_slowness(Duration::ZERO),
            }
        }
        Ok(())
    }
}

/// A way in which a machine may stay broken.
#[derive(Clone, Copy)]
enum Way {
    Down,
    Isolated,
    Slow,
}
