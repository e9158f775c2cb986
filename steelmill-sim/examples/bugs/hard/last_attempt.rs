//! Last attempt: a parcel whose delivery was given up is forgotten.
//!
//! A courier tries to deliver each parcel up to six times, and waits twice as long each time. What it gives up goes to a
//! list for people to look at. Planted bug: it does not.

use anyhow::ensure;
use std::collections::BTreeSet;

use steelmill_core::{Result, assert_sometimes_at_least};
use steelmill_sim::Sim;
use steelmill_sim::fault::Budget;

use super::node::{Node, State, millis, start};
use crate::talk::{Client, think};
use crate::{Bug, DELAYS_TCP_OR_ENDS, Version};

pub(crate) const BUG: Bug = Bug {
    name: "last-attempt",
    missing_code: "the courier does not list a parcel that it has given up",
    needed: "six attempts in a row that fail, each longer after the last",
    faults: &[DELAYS_TCP_OR_ENDS],
    may_help: DELAYS_TCP_OR_ENDS,
    scenario: |sim, version| Box::pin(scenario(sim, version)),
};

const ATTEMPTS_MAX: u32 = 6;

#[derive(Default)]
struct Depot {
    parcels: BTreeSet<u64>,
}

impl State for Depot {
    fn answer(node: &Node<Self>, _: &str, numbers: &[u64]) -> String {
        node.state.lock().parcels.extend(numbers);
        "taken".to_owned()
    }
}

async fn scenario(sim: Sim, version: Version) -> Result {
    let (depot, state) = start::<Depot>(sim, "depot", version).await?;
    let courier = sim.client("courier");
    let links = vec![depot.clone(), courier.clone()];
    let budget = Budget {
        lasts: millis(20_000),
        links,
        ends: vec![depot],
        fault_max: millis(600),
        delay_max: millis(100),
        ..Budget::default()
    };
    let parcels = sim.limit("parcels", 1..=100);
    let delivering = courier.spawn("deliver", {
        let courier = courier.clone();
        async move {
            let mut given_up = BTreeSet::new();
            let mut depot = Client::new(courier.network(), "depot:7000");
            'parcels: for parcel in 1..=parcels {
                for attempt in 1..=ATTEMPTS_MAX {
                    assert_sometimes_at_least!(attempt, ATTEMPTS_MAX, "a parcel has its last attempt");
                    let request = format!("put {parcel}");
                    if depot.ask_within(millis(400), &courier, &request).await.is_ok() {
                        think(&courier, millis(200)).await;
                        continue 'parcels;
                    }
                    courier.clock().sleep(millis(100) * 2_u32.pow(attempt)).await;
                }
                if version == Version::Right {
                    given_up.insert(parcel);
                }
            }
            given_up
        }
    });
    sim.inject_faults(budget).run().await?;
    let given_up = delivering.await?;
    for parcel in 1..=parcels {
        let is_known = state.lock().parcels.contains(&parcel) || given_up.contains(&parcel);
        ensure!(is_known, "nobody knows of parcel {parcel}");
    }
    Ok(())
}
