//! Duplicate delivery: a meter sends numbered datagrams, and a counter adds each to a bill.
//!
//! A lost datagram is tolerated, a duplicate must not be billed again: the counter ignores a number that is not greater
//! than the last. Planted bug: that check is missing, and a network that duplicates datagrams is enough.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::ensure;
use steelmill_core::{Daemon, DaemonRef, Factory, Result, Scope, SetOnce};
use steelmill_sim::fault::{Budget, Family};
use steelmill_sim::{Network, Sim, UdpSocket};

use super::talk::words;
use super::{Bug, Version};

pub(crate) const BUG: Bug = Bug {
    name: "twice-billed",
    missing_code: "the counter does not check that a datagram is newer than the last",
    needed: "duplicated datagrams",
    faults: &[&[Family::Duplication]],
    may_help: &[],
    scenario: |sim, version| Box::pin(scenario(sim, version)),
};

struct Counter {
    version: Version,
    network: DaemonRef<Network>,
    socket: SetOnce<UdpSocket>,
    /// The numbers of the billed datagrams, in order of arrival.
    bill: Mutex<Vec<u64>>,
}

impl Daemon for Counter {
    fn build(factory: &mut Factory) -> Result<Self> {
        let version = *factory.value()?;
        Ok(Self { version, network: factory.get()?, socket: SetOnce::new(), bill: Mutex::default() })
    }

    async fn prepare(&self, _: &Scope) -> Result {
        self.socket.set(self.network.bind_udp("0.0.0.0:7000").await?)
    }

    async fn run(self: &Arc<Self>, scope: &Scope) -> Result {
        let socket = self.socket.get()?;
        let mut datagram = [0; 100];
        while let Some(received) = scope.until_stopping(socket.recv(&mut datagram)).await {
            let (_, numbers) = words(str::from_utf8(&datagram[..received?])?);
            numbers.into_iter().for_each(|number| self.add(number));
        }
        Ok(())
    }
}

impl Counter {
    fn add(&self, number: u64) {
        let mut bill = self.bill.lock().unwrap_or_else(PoisonError::into_inner);
        let is_new = bill.last().is_none_or(|last| number > *last);
        if is_new || self.version == Version::Planted {
            bill.push(number);
        }
    }
}

async fn scenario(sim: Sim, version: Version) -> Result {
    let counter = sim.machine("counter", move |factory| {
        factory.provide_value(version)?;
        factory.with::<Counter>()
    });
    let counter = counter.start().await?;
    let meter = sim.client("meter");
    let measuring = meter.clone();
    let datagrams = sim.limit("datagrams", 1..=5000);
    // A name would have to be looked up for each datagram, which may fail.
    let target = (counter.address(), 7000);
    let measuring = meter.spawn("measure", async move {
        let socket = measuring.network().bind_udp("0.0.0.0:0").await?;
        for number in 1..=datagrams {
            measuring.clock().sleep(Duration::from_millis(1)).await;
            socket.send_to(format!("add {number}").as_bytes(), target).await?;
        }
        Ok::<_, anyhow::Error>(())
    });

    // The bill is only in the counter's memory, so its machine must not end.
    let machines = [counter.clone(), meter];
    let budget = Budget { ends: Vec::new(), lasts: Duration::from_secs(5), ..Budget::of(&machines) };
    sim.inject_faults(budget).run().await?;
    measuring.await??;
    let counter = counter.get::<Counter>()?;
    let bill = counter.bill.lock().unwrap_or_else(PoisonError::into_inner);
    let mut billed = BTreeSet::new();
    for number in &*bill {
        ensure!(billed.insert(*number), "number {number} is billed twice");
    }
    Ok(())
}
