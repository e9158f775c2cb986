//! What may happen to the cluster, and the two things that only it knows how to do.
//!
//! Left to chance, the moments in which a wrong gateway would be found out are too short to be hit often: a late write
//! has to overtake a change of the lease, a clock has to be slow in just the forty milliseconds that the bound on drift
//! is there for. So two faults are aimed: [`lapse`] and [`hand_over`] make the conditions, wait for the moment, and let
//! the clients rush.

use std::time::Duration;

use anyhow::ensure;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use steelmill_core::Result;

use super::{Cluster, GATEWAYS};
use crate::gateway::Gateway;
use crate::lease::DRIFT_MAX_PPM;
use crate::world::sim::fault::{Budget, FaultCounts};
use crate::world::sim::{Impaired, Impairment, Machine, Partition};

/// How long clients rush around the end of a lease, before and after; and after, when requests are slow as well.
const RUSH_BEFORE: Duration = Duration::from_millis(60);
const RUSH_AFTER: Duration = Duration::from_millis(150);
const RUSH_AFTER_SLOW: Duration = Duration::from_millis(600);

/// A minute in which everything may happen to every machine, but that nothing ends lease or store: neither keeps
/// anything beyond its process yet.
pub async fn inject_faults(cluster: &Cluster) -> Result<FaultCounts> {
    let daemons = [&[cluster.lease.clone(), cluster.store.clone()], cluster.gateways.as_slice()].concat();
    let budget = Budget {
        lasts: Duration::from_secs(cluster.sim.limit("seconds of trouble", 1..=super::TROUBLE.as_secs())),
        links: [daemons.as_slice(), &cluster.clients].concat(),
        ends: cluster.gateways.clone(),
        pauses: daemons.clone(),
        clocks: daemons,
        down_max: 2,
        drift_max_ppm: DRIFT_MAX_PPM,
        ..Budget::default()
    };
    let nemesis = cluster.sim.inject_faults(budget);
    let nemesis = nemesis.own("lapse", 2..=6, |number| lapse(cluster, Choices::of(number)));
    nemesis.own("hand over", 1..=3, |number| hand_over(cluster, Choices::of(number))).run().await
}

/// A gateway loses its lease because it cannot renew it, at the worst moment: its clock is as wrong as it may be, its
/// requests are slow, and clients ask it and the next holder for the same key.
async fn lapse(cluster: &Cluster, mut choices: Choices) -> Result {
    cluster.let_clocks_drift(&mut choices);
    let gateway = cluster.victim(&mut choices);
    let slow_store = choices.flip().then(|| cluster.slow_down(gateway, &cluster.store, &mut choices));
    let slow_lease = choices.flip().then(|| cluster.slow_down(gateway, &cluster.lease, &mut choices));
    let clock = cluster.sim.clock();
    clock.sleep(Duration::from_millis(choices.below(2_500))).await;
    tracing::info!("lapse: {} is cut off from the lease", gateway.name());
    let cut = cluster.cut(gateway, &cluster.lease, &mut choices);
    if let Some(left) = lease_left(gateway) {
        clock.sleep(left.saturating_sub(RUSH_BEFORE)).await;
        let _rush = cluster.rush(gateway);
        let after = if slow_store.is_some() { RUSH_AFTER_SLOW } else { RUSH_AFTER };
        clock.sleep(RUSH_BEFORE + after).await;
    }
    drop((slow_store, slow_lease));
    clock.sleep(Duration::from_millis(choices.below(6_000))).await;
    cut.heal();
    Ok(())
}

/// A gateway is stopped as its operator would, while clients rush and its last requests may be late.
async fn hand_over(cluster: &Cluster, mut choices: Choices) -> Result {
    let gateway = cluster.victim(&mut choices);
    let Some(_mine) = gateway.claim().filter(|_| gateway.is_up()) else {
        return Ok(());
    };
    tracing::info!("hand over: {} is stopped as an operator would", gateway.name());
    let slow = choices.flip().then(|| cluster.slow_down(gateway, &cluster.store, &mut choices));
    let _rush = cluster.rush(gateway);
    stop_in_order(gateway).await?;
    cluster.sim.clock().sleep(RUSH_AFTER).await;
    drop(slow);
    gateway.restart().await
}

/// For how long a gateway relies on the lease, if it does.
fn lease_left(gateway: &Machine) -> Option<Duration> {
    gateway.get::<Gateway>().ok()?.lease_left()
}

/// Stops a gateway as its operator would.
pub async fn stop_in_order(gateway: &Machine) -> Result {
    let report = gateway.stop().await?;
    ensure!(report.is_clean(), "{} did not stop in order:\n{report}", gateway.name());
    Ok(())
}

/// The choices of one fault, all of them from the number that the plan has for it.
struct Choices(StdRng);

impl Choices {
    fn of(number: u64) -> Self {
        Self(StdRng::seed_from_u64(number))
    }

    fn below(&mut self, below: u64) -> u64 {
        self.0.random_range(0..below)
    }

    fn flip(&mut self) -> bool {
        self.below(2) == 0
    }
}

/// Undoes something when dropped.
struct Undo<F: FnMut()>(F);

impl<F: FnMut()> Drop for Undo<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

impl Cluster {
    /// The gateway to be hit: more often than not the one that holds the lease.
    fn victim(&self, choices: &mut Choices) -> &Machine {
        match self.gateways.iter().find(|gateway| lease_left(gateway).is_some()) {
            Some(holder) if choices.below(10) < 7 => holder,
            _ => &self.gateways[choices.below(GATEWAYS.len() as u64) as usize],
        }
    }

    /// Cuts two machines off from each other: both ways, or one.
    fn cut(&self, a: &Machine, b: &Machine, choices: &mut Choices) -> Partition {
        match choices.below(4) {
            0 => self.sim.partition_one_way(a, b),
            1 => self.sim.partition_one_way(b, a),
            _ => self.sim.partition(a, b),
        }
    }

    /// Makes everything between two machines slow, but not so slow that a gateway gives up waiting.
    fn slow_down(&self, a: &Machine, b: &Machine, choices: &mut Choices) -> Impaired {
        let delay_max = Duration::from_millis(50 + choices.below(400));
        let delay_min = if choices.below(4) == 0 { Duration::ZERO } else { delay_max / 2 };
        self.sim.impair(a, b, Impairment { delay_min, delay_max, ..Impairment::default() })
    }

    /// Lets clients ask for one key as fast as they can, half of them anybody but `gateway`.
    fn rush(&self, gateway: &Machine) -> Undo<impl FnMut()> {
        let avoided = GATEWAYS.iter().position(|(name, _)| *name == gateway.name());
        self.demand.rush.send_replace(avoided);
        let demand = self.demand.clone();
        Undo(move || {
            demand.rush.send_replace(None);
        })
    }

    /// Gives every daemon's clock a new rate within the bound that the gateways count on, most of them the extremes.
    fn let_clocks_drift(&self, choices: &mut Choices) {
        for machine in self.gateways.iter().chain([&self.lease, &self.store]) {
            let most = i64::from(DRIFT_MAX_PPM);
            machine.set_drift(match choices.below(3) {
                0 => -most,
                1 => most,
                _ => choices.below(2 * u64::from(DRIFT_MAX_PPM) + 1) as i64 - most,
            });
        }
    }
}
