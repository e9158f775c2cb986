//! Ignored refusal: a sender brings parcels to a depot, which takes them as long as it has room.
//!
//! A parcel that the depot refuses is brought again. Left out: looking at what the depot says; any answer will do. A depot
//! that is full is rare, and in so small a test there is none. So the depot has a rare branch, which a simulation takes
//! now and then: it refuses although it has room.

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
    left_out: "the sender does not look whether its parcel was taken",
    takes: "the rare branch in which the depot is full",
    faults: &[&[Family::Buggify]],
    scenario: |sim, version| Box::pin(scenario(sim, version)),
};

struct Depot {
    listener: Listener,
    parcels: Mutex<BTreeSet<u64>>,
}

const ROOM: usize = 100_000;

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
        if parcels.len() >= ROOM || buggify!(0.01) {
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

    // What the depot has is in its memory, so it must not end.
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

/// Brings each parcel until it is taken.
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
