//! Ignored error reply: a sender delivers parcels to a depot and treats a rejection as an acknowledgement.
//!
//! The depot rejects a parcel when it is full, and the sender must retry. Planted bug: the sender accepts any reply. A
//! test is too small to fill the depot, so a rare branch (`buggify!`) makes it reject a parcel although it has room.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::ensure;
use steelmill_core::{Daemon, Factory, Result, Scope, buggify};
use steelmill_sim::fault::{Budget, Family};
use steelmill_sim::{Machine, Sim};

use super::talk::{Answers, Client, Listener, answer_all, think, words};
use super::{Bug, Version};

pub(crate) const BUG: Bug = Bug {
    name: "ignored-refusal",
    missing_code: "the sender does not check that its parcel was accepted",
    needed: "the rare branch in which the depot is full (`buggify!`)",
    faults: &[&[Family::Buggify]],
    may_help: &[],
    scenario: |sim, version| Box::pin(scenario(sim, version)),
};

struct Depot {
    listener: Listener,
    parcels: Mutex<BTreeSet<u64>>,
}

const CAPACITY: usize = 100_000;

impl Daemon for Depot {
    fn build(factory: &mut Factory) -> Result<Self> {
        Ok(Self { listener: Listener::build(factory)?, parcels: Mutex::default() })
    }

    async fn prepare(&self, _: &Scope) -> Result {
        self.listener.bind(7000).await
    }

    async fn run(self: &Arc<Self>, scope: &Scope) -> Result {
        self.listener.serve(scope, |stream| answer_all(self.clone(), stream)).await
    }
}

impl Answers for Depot {
    async fn answer(&self, request: &str) -> String {
        let mut parcels = self.parcels.lock().unwrap_or_else(PoisonError::into_inner);
        if parcels.len() >= CAPACITY || buggify!(0.01) {
            return "refused".to_owned();
        }
        let (_, numbers) = words(request);
        parcels.extend(numbers);
        "taken".to_owned()
    }
}

async fn scenario(sim: Sim, version: Version) -> Result {
    let depot = sim.machine("depot", |factory| factory.with::<Depot>()).start().await?;
    let sender = sim.client("sender");
    let count = sim.limit("parcels", 1..=600);
    let sending = sender.spawn("parcels", send_all(sender.clone(), count, version));

    // The depot's parcels are only in memory, so its machine must not end.
    let machines = [depot.clone(), sender];
    sim.inject_faults(Budget { ends: Vec::new(), ..Budget::of(&machines) }).run().await?;
    sending.await?;
    let depot = depot.get::<Depot>()?;
    let parcels = depot.parcels.lock().unwrap_or_else(PoisonError::into_inner);
    for number in 0..count {
        ensure!(parcels.contains(&number), "parcel {number} is not in the depot");
    }
    Ok(())
}

/// Sends each parcel until it is accepted.
async fn send_all(sender: Machine, count: u64, version: Version) {
    let mut depot = Client::new(sender.network(), "depot:7000");
    for number in 0..count {
        think(&sender, Duration::from_millis(150)).await;
        let request = format!("parcel {number}");
        loop {
            let answer = depot.ask_within(Duration::from_secs(1), &sender, &request).await;
            if answer.is_ok_and(|answer| answer == "taken" || version == Version::Planted) {
                break;
            }
            think(&sender, Duration::from_millis(50)).await;
        }
    }
}
