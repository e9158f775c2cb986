//! What is done to the cluster: drawn from the seed's stream of faults, one after the other, by two at a time.
//!
//! Left to chance, the moments in which a wrong gateway would be found out are too short to be hit often: a late write
//! has to overtake a change of the lease, a clock has to be slow in just the forty milliseconds that the bound on drift
//! is there for. So some faults are aimed: [`lapse`] makes the conditions, waits for the moment, and lets the clients
//! rush.

use std::time::Duration;

use anyhow::ensure;
use steelmill_core::Result;

use super::{Cluster, GATEWAYS};
use crate::gateway::Gateway;
use crate::lease::DRIFT_MAX_PPM;
use crate::world::sim::{Machine, Partition};

/// How long clients rush around the end of a lease, before and after; and after, when requests are slow as well.
const RUSH_BEFORE: Duration = Duration::from_millis(60);
const RUSH_AFTER: Duration = Duration::from_millis(150);
const RUSH_AFTER_SLOW: Duration = Duration::from_millis(600);

/// Goes on until `enough`, then undoes what it has done. Returns how many faults there were.
pub async fn trouble(cluster: &Cluster, enough: impl Fn() -> bool) -> Result<u64> {
    let sim = cluster.sim;
    let mut faults = 0;
    while !enough() {
        cluster.sleep_up_to(3_000).await;
        let gateway = cluster.victim();
        faults += 1;
        match sim.draw(14) {
            0..3 => lapse(cluster, gateway).await,
            3 => cluster.cut_for(cluster.cut(gateway, &cluster.lease)).await,
            4 | 5 => cluster.cut_for(cluster.cut(gateway, &cluster.store)).await,
            6 => cluster.cut_for(cluster.cut(gateway, cluster.any(&cluster.clients))).await,
            7 => cluster.cut_for(sim.isolate(gateway)).await,
            8 | 9 => {
                let client = cluster.any(&cluster.clients);
                let slow = cluster
                    .slow_down(gateway, [&cluster.store, &cluster.lease, client][sim.draw(3) as usize]);
                cluster.sleep_up_to(6_000).await;
                drop(slow);
            }
            10 => cluster.let_clocks_drift(),
            end => {
                let Some(_mine) = cluster.may_end(gateway) else {
                    faults -= 1;
                    continue;
                };
                match end {
                    11 => gateway.exit(),
                    12 => gateway.power_loss(),
                    _ => {
                        let slow = (sim.draw(2) == 0).then(|| cluster.slow_down(gateway, &cluster.store));
                        let _rush = cluster.rush(gateway);
                        stop_in_order(gateway).await?;
                        cluster.sim.clock().sleep(RUSH_AFTER).await;
                        drop(slow);
                    }
                }
                cluster.sleep_up_to(4_000).await;
                gateway.restart().await?;
            }
        }
    }
    Ok(faults)
}

/// A gateway loses its lease because it cannot renew it, at the worst moment: its clock is as wrong as it may be, its
/// requests are slow, and clients ask it and the next holder for the same key.
async fn lapse(cluster: &Cluster, gateway: &Machine) {
    cluster.let_clocks_drift();
    let slow_store = (cluster.sim.draw(2) == 0).then(|| cluster.slow_down(gateway, &cluster.store));
    let slow_lease = (cluster.sim.draw(2) == 0).then(|| cluster.slow_down(gateway, &cluster.lease));
    cluster.sleep_up_to(2_500).await;
    let cut = cluster.cut(gateway, &cluster.lease);
    if let Some(left) = lease_left(gateway) {
        let clock = cluster.sim.clock();
        clock.sleep(left.saturating_sub(RUSH_BEFORE)).await;
        let _rush = cluster.rush(gateway);
        let after = if slow_store.is_some() { RUSH_AFTER_SLOW } else { RUSH_AFTER };
        clock.sleep(RUSH_BEFORE + after).await;
    }
    drop((slow_store, slow_lease));
    cluster.cut_for(cut).await;
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

/// Undoes something when dropped.
pub struct Undo<F: FnMut()>(F);

impl<F: FnMut()> Drop for Undo<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

impl Cluster {
    /// The gateway to be hit: more often than not the one that holds the lease.
    fn victim(&self) -> &Machine {
        match self.gateways.iter().find(|gateway| lease_left(gateway).is_some()) {
            Some(holder) if self.sim.draw(10) < 7 => holder,
            _ => self.any(&self.gateways),
        }
    }

    fn any<'a, T>(&self, some: &'a [T]) -> &'a T {
        &some[self.sim.draw(some.len() as u64) as usize]
    }

    async fn sleep_up_to(&self, millis: u64) {
        let pause = Duration::from_millis(self.sim.draw(millis));
        self.sim.clock().sleep(pause).await;
    }

    /// Cuts two machines off from each other: both ways, or one.
    fn cut(&self, a: &Machine, b: &Machine) -> Partition {
        match self.sim.draw(4) {
            0 => self.sim.partition_one_way(a, b),
            1 => self.sim.partition_one_way(b, a),
            _ => self.sim.partition(a, b),
        }
    }

    async fn cut_for(&self, cut: Partition) {
        self.sleep_up_to(6_000).await;
        cut.heal();
    }

    /// Makes everything between two machines slow, but not so slow that a gateway gives up waiting.
    fn slow_down(&self, a: &Machine, b: &Machine) -> Undo<impl FnMut()> {
        let most = Duration::from_millis(50 + self.sim.draw(400));
        let least = if self.sim.draw(4) == 0 { Duration::from_millis(1) } else { most / 2 };
        self.sim.set_link_latency(a, b, least..=most);
        let (sim, a, b) = (self.sim, a.clone(), b.clone());
        Undo(move || sim.reset_link_latency(&a, &b))
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

    /// The right to end `gateway` and start it again, unless somebody else is at it.
    fn may_end(&self, gateway: &Machine) -> Option<Undo<impl FnMut()>> {
        let index = GATEWAYS.iter().position(|(name, _)| *name == gateway.name())?;
        let ending = &self.endings[index];
        (!ending.replace(true)).then(|| Undo(|| ending.set(false)))
    }

    /// Gives every daemon's clock a new rate within the bound that the gateways count on, most of them the extremes.
    pub fn let_clocks_drift(&self) {
        for machine in self.gateways.iter().chain([&self.lease, &self.store]) {
            let most = i64::from(DRIFT_MAX_PPM);
            machine.set_drift(match self.sim.draw(3) {
                0 => -most,
                1 => most,
                _ => self.sim.draw(2 * u64::from(DRIFT_MAX_PPM) + 1) as i64 - most,
            });
        }
    }
}
