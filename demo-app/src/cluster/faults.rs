//! The fault budget of the cluster, and targeted faults of its own.
//!
//! The moments in which a wrong gateway would be caught are too short for random faults: a late write has to overtake
//! a change of the lease holder; a clock has to be slow in just the forty milliseconds that the drift bound covers; a
//! lease daemon has to be restarted just when the holder cannot hear of it. So [`lapse`], [`hand_over`],
//! [`restart_store`] and [`restart_lease`] make the conditions, wait for the moment, and start a burst of requests.

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

/// How long a burst lasts before and after the end of a lease; and after it, if requests are slow as well.
const BURST_BEFORE: Duration = Duration::from_millis(60);
const BURST_AFTER: Duration = Duration::from_millis(150);
const BURST_AFTER_SLOW: Duration = Duration::from_millis(600);

/// How long a burst lasts around a restart of the store or the lease daemon; the latter's includes the wait for the end
/// of earlier leases.
const BURST_AT_STORE_RESTART: Duration = Duration::from_millis(800);
const BURST_AT_LEASE_RESTART: Duration = Duration::from_millis(2_500);

/// Injects faults on all machines for a minute.
pub async fn inject_faults(cluster: &Cluster) -> Result<FaultCounts> {
    let daemons = [&[cluster.lease.clone(), cluster.store.clone()], cluster.gateways.as_slice()].concat();
    let budget = Budget {
        lasts: Duration::from_secs(
            cluster.sim.limit("seconds of trouble", 1..=super::FAULTS_DURATION.as_secs()),
        ),
        links: [daemons.as_slice(), &cluster.clients].concat(),
        ends: daemons.clone(),
        disks: if cluster.has_disks {
            vec![cluster.lease.clone(), cluster.store.clone()]
        } else {
            Vec::new()
        },
        pauses: daemons.clone(),
        clocks: daemons,
        down_max: 2,
        drift_max_ppm: DRIFT_MAX_PPM,
        ..Budget::default()
    };
    let nemesis = cluster.sim.inject_faults(budget);
    let nemesis = nemesis.own("lapse", 2..=6, |number| lapse(cluster, Choices::of(number)));
    let nemesis = nemesis.own("hand over", 1..=3, |number| hand_over(cluster, Choices::of(number)));
    let nemesis =
        nemesis.own("restart the store", 0..=2, |number| restart_store(cluster, Choices::of(number)));
    let nemesis =
        nemesis.own("restart the lease", 0..=2, |number| restart_lease(cluster, Choices::of(number)));
    nemesis.run().await
}

/// A gateway cannot renew its lease, at the worst moment: its clock is off by up to the bound, its requests are slow,
/// and clients use one key on it and on the next holder.
async fn lapse(cluster: &Cluster, mut choices: Choices) -> Result {
    cluster.set_clock_drift(&mut choices);
    let gateway = cluster.victim(&mut choices);
    let slow_store = choices.flip().then(|| cluster.slow_down(gateway, &cluster.store, &mut choices));
    let slow_lease = choices.flip().then(|| cluster.slow_down(gateway, &cluster.lease, &mut choices));
    let clock = cluster.sim.clock();
    clock.sleep(Duration::from_millis(choices.below(2_500))).await;
    tracing::info!("lapse: {} is partitioned from the lease daemon", gateway.name());
    let cut = cluster.cut(gateway, &cluster.lease, &mut choices);
    if let Some(left) = lease_left(gateway) {
        clock.sleep(left.saturating_sub(BURST_BEFORE)).await;
        let _burst = cluster.burst(gateway);
        let after = if slow_store.is_some() { BURST_AFTER_SLOW } else { BURST_AFTER };
        clock.sleep(BURST_BEFORE + after).await;
    }
    drop((slow_store, slow_lease));
    clock.sleep(Duration::from_millis(choices.below(6_000))).await;
    cut.heal();
    Ok(())
}

/// A gateway is stopped cleanly during a burst, while its last requests may be late.
async fn hand_over(cluster: &Cluster, mut choices: Choices) -> Result {
    let gateway = cluster.victim(&mut choices);
    let Some(_claim) = gateway.claim().filter(|_| gateway.is_up()) else {
        return Ok(());
    };
    tracing::info!("hand over: {} is stopped as an operator would", gateway.name());
    let slow = choices.flip().then(|| cluster.slow_down(gateway, &cluster.store, &mut choices));
    let _burst = cluster.burst(gateway);
    stop_cleanly(gateway).await?;
    cluster.sim.clock().sleep(BURST_AFTER).await;
    drop(slow);
    restart(gateway).await;
    Ok(())
}

/// The store dies and is started again at once, while clients use one key. Without a disk it loses all keys.
async fn restart_store(cluster: &Cluster, mut choices: Choices) -> Result {
    let Some(_claim) = cluster.store.claim().filter(|_| cluster.store.is_up()) else {
        return Ok(());
    };
    let _burst = cluster.burst(cluster.victim(&mut choices));
    let clock = cluster.sim.clock();
    clock.sleep(Duration::from_millis(choices.below(100))).await;
    tracing::info!("restart the store");
    end(&cluster.store, &mut choices);
    clock.sleep(Duration::from_millis(choices.below(50))).await;
    restart(&cluster.store).await;
    clock.sleep(BURST_AT_STORE_RESTART).await;
    Ok(())
}

/// The lease daemon dies and is started again at once, while the holder of its lease cannot reach it.
async fn restart_lease(cluster: &Cluster, mut choices: Choices) -> Result {
    let Some(_claim) = cluster.lease.claim().filter(|_| cluster.lease.is_up()) else {
        return Ok(());
    };
    let gateway = cluster.victim(&mut choices);
    let _cut = choices.flip().then(|| cluster.cut(gateway, &cluster.lease, &mut choices));
    let _burst = cluster.burst(gateway);
    let clock = cluster.sim.clock();
    clock.sleep(Duration::from_millis(choices.below(500))).await;
    tracing::info!("restart the lease");
    end(&cluster.lease, &mut choices);
    clock.sleep(Duration::from_millis(choices.below(50))).await;
    restart(&cluster.lease).await;
    clock.sleep(BURST_AT_LEASE_RESTART).await;
    Ok(())
}

/// Ends a machine's process, or its power.
fn end(machine: &Machine, choices: &mut Choices) {
    match choices.flip() {
        true => machine.exit(),
        false => machine.power_loss(),
    }
}

/// Starts a machine, again and again while its disk or a lookup of names fails, until it is up.
pub async fn restart(machine: &Machine) {
    while let Err(error) = machine.restart().await {
        tracing::info!("{} did not restart: {error:#}", machine.name());
        machine.clock().sleep(super::RETRY).await;
        if machine.is_up() {
            return;
        }
    }
}

/// How long a gateway may still rely on the lease; `None` if it does not hold it.
pub fn lease_left(gateway: &Machine) -> Option<Duration> {
    gateway.get::<Gateway>().ok()?.lease_left()
}

/// Stops a gateway as an operator would, and checks its report.
pub async fn stop_cleanly(gateway: &Machine) -> Result {
    let life = gateway.stop().await?;
    ensure!(life.is_success(), "{} did not stop cleanly: {life}", gateway.name());
    Ok(())
}

/// The random choices of one fault, all derived from its number in the plan.
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

/// Calls a closure when dropped.
struct OnDrop<F: FnMut()>(F);

impl<F: FnMut()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

impl Cluster {
    /// The gateway to hit: with a probability of at least 70% the lease holder.
    fn victim(&self, choices: &mut Choices) -> &Machine {
        match self.gateways.iter().find(|gateway| lease_left(gateway).is_some()) {
            Some(holder) if choices.below(10) < 7 => holder,
            _ => &self.gateways[choices.below(GATEWAYS.len() as u64) as usize],
        }
    }

    /// Partitions two machines, in one direction or both.
    fn cut(&self, a: &Machine, b: &Machine, choices: &mut Choices) -> Partition {
        match choices.below(4) {
            0 => self.sim.partition_one_way(a, b),
            1 => self.sim.partition_one_way(b, a),
            _ => self.sim.partition(a, b),
        }
    }

    /// Delays everything between two machines, but by less than a gateway's timeout.
    fn slow_down(&self, a: &Machine, b: &Machine, choices: &mut Choices) -> Impaired {
        let delay_max = Duration::from_millis(50 + choices.below(400));
        let delay_min = if choices.below(4) == 0 { Duration::ZERO } else { delay_max / 2 };
        self.sim.impair(a, b, Impairment { delay_min, delay_max, ..Impairment::default() })
    }

    /// Starts a burst until the result is dropped: all clients use one key, and half of them avoid `gateway`.
    fn burst(&self, gateway: &Machine) -> OnDrop<impl FnMut()> {
        let avoided = GATEWAYS.iter().position(|(name, _)| *name == gateway.name());
        self.control.burst.send_replace(avoided);
        let control = self.control.clone();
        OnDrop(move || {
            control.burst.send_replace(None);
        })
    }

    /// Sets a new drift for every daemon's clock, within the bound that gateways rely on; most get an extreme.
    fn set_clock_drift(&self, choices: &mut Choices) {
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
