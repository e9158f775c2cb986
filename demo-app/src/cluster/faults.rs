//! What is done to the cluster: drawn from the seed's stream of faults, one after the other, by two at a time.

use std::cell::RefMut;
use std::time::Duration;

use anyhow::ensure;
use steelmill_core::Result;

use super::Cluster;
use crate::gateway::Gateway;
use crate::lease::DRIFT_MAX_PPM;
use crate::world::sim::{Machine, Partition};

/// Goes on until `enough`, then undoes what it has done. Returns how many faults there were.
pub async fn trouble(cluster: &Cluster, enough: impl Fn() -> bool) -> Result<u64> {
    let sim = cluster.sim;
    let mut faults = 0;
    while !enough() {
        cluster.sleep_up_to(3_000).await;
        let gateway = cluster.victim();
        faults += 1;
        match sim.draw(12) {
            0..2 => {
                cluster
                    .cut_for(either_way(cluster, gateway, &cluster.lease))
                    .await
            }
            2..4 => {
                cluster
                    .cut_for(either_way(cluster, gateway, &cluster.store))
                    .await
            }
            4 => {
                let client = cluster.any(&cluster.clients);
                cluster.cut_for(either_way(cluster, gateway, client)).await;
            }
            5 => cluster.cut_for(sim.isolate(gateway)).await,
            6..8 => {
                let other = *cluster.any(&[&cluster.store, &cluster.lease, cluster.any(&cluster.clients)]);
                let slow = Duration::from_millis(20 + sim.draw(400));
                sim.set_link_latency(gateway, other, Duration::from_millis(1)..=slow);
                cluster.sleep_up_to(6_000).await;
                sim.reset_link_latency(gateway, other);
            }
            8 => cluster.let_clocks_drift(),
            way_to_end => {
                let Some(_mine) = cluster.may_end(gateway) else {
                    faults -= 1;
                    continue;
                };
                match way_to_end {
                    9 => gateway.exit(),
                    10 => gateway.power_loss(),
                    _ => stop_in_order(gateway).await?,
                }
                cluster.sleep_up_to(4_000).await;
                gateway.restart().await?;
            }
        }
    }
    Ok(faults)
}

/// Stops a gateway as its operator would.
pub async fn stop_in_order(gateway: &Machine) -> Result {
    let report = gateway.stop().await?;
    ensure!(
        report.is_clean(),
        "{} did not stop in order:\n{report}",
        gateway.name()
    );
    Ok(())
}

/// Cuts two machines off from each other: both ways, or one.
fn either_way(cluster: &Cluster, a: &Machine, b: &Machine) -> Partition {
    match cluster.sim.draw(4) {
        0 => cluster.sim.partition_one_way(a, b),
        1 => cluster.sim.partition_one_way(b, a),
        _ => cluster.sim.partition(a, b),
    }
}

impl Cluster {
    /// The gateway to be hit: more often than not the one that holds the lease.
    fn victim(&self) -> &Machine {
        let holds_lease = |machine: &&Machine| {
            machine
                .get::<Gateway>()
                .is_ok_and(|gateway| gateway.holds_lease())
        };
        match self.gateways.iter().find(holds_lease) {
            Some(holder) if self.sim.draw(10) < 7 => holder,
            _ => self.any(&self.gateways),
        }
    }

    fn any<'a, T>(&self, some: &'a [T]) -> &'a T {
        &some[self.sim.draw(some.len() as u64) as usize]
    }

    async fn sleep_up_to(&self, millis: u64) {
        self.sim
            .clock()
            .sleep(Duration::from_millis(self.sim.draw(millis)))
            .await;
    }

    async fn cut_for(&self, cut: Partition) {
        self.sleep_up_to(6_000).await;
        cut.heal();
    }

    /// The right to end `gateway` and start it again, unless somebody else is at it.
    fn may_end(&self, gateway: &Machine) -> Option<RefMut<'_, ()>> {
        let index = self
            .gateways
            .iter()
            .position(|other| other.name() == gateway.name())?;
        self.endings[index].try_borrow_mut().ok()
    }

    /// Gives every daemon's clock a new rate within the bound that the gateways count on.
    pub fn let_clocks_drift(&self) {
        for machine in self.gateways.iter().chain([&self.lease, &self.store]) {
            let rate = self.sim.draw(2 * u64::from(DRIFT_MAX_PPM) + 1) as i64;
            machine.set_drift(rate - i64::from(DRIFT_MAX_PPM));
        }
    }
}
