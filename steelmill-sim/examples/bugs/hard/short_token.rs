//! Short token: the number of a lease does not fit into the field that stores it.
//!
//! Two workers compete for a lease. Each new holder gets a higher token, and a store rejects writes with a lower one than it has
//! seen. Planted bug: the store keeps three bits of it, so that after seven changes of holder it rejects those that hold the lease.

use std::time::Instant;

use anyhow::ensure;
use steelmill_core::{Result, assert_reachable, assert_sometimes_at_least};
use steelmill_sim::Sim;
use steelmill_sim::fault::{Budget, Family};

use super::node::{Node, State, millis, start};
use crate::talk::{Client, think, words};
use crate::{Bug, DELAYS_TCP, Version};

pub(crate) const BUG: Bug = Bug {
    name: "short-token",
    missing_code: "the store does not have room for a whole token",
    needed: "eight holders of the lease",
    faults: &[DELAYS_TCP],
    may_help: DELAYS_TCP,
    scenario: |sim, version| Box::pin(scenario(sim, version)),
};

#[derive(Default)]
struct Keeper {
    token: u64,
    holder: u64,
    until: Option<Instant>,
    /// The newest token that the store has seen.
    seen: u64,
}

impl State for Keeper {
    /// `lease WORKER`; `write TOKEN WORKER`
    fn answer(node: &Node<Self>, verb: &str, numbers: &[u64]) -> String {
        let now = node.clock.now();
        let mut state = node.state.lock();
        if verb == "lease" {
            let is_free = state.until.is_none_or(|until| until < now);
            if is_free && state.holder != numbers[0] {
                (state.token, state.holder) = (state.token + 1, numbers[0]);
                assert_reachable!("the lease changes hands");
                assert_sometimes_at_least!(state.token, 10, "there were ten holders");
            } else if state.holder != numbers[0] {
                return "refused".to_owned();
            }
            state.until = Some(now + millis(600));
            return format!("granted {}", state.token);
        }
        let token = if node.version == Version::Planted { numbers[0] % 8 } else { numbers[0] };
        if token < state.seen && numbers[0] == state.token {
            return "rejected".to_owned();
        }
        state.seen = state.seen.max(token);
        "written".to_owned()
    }
}

async fn scenario(sim: Sim, version: Version) -> Result {
    let (keeper, _) = start::<Keeper>(sim, "keeper", version).await?;
    let workers = ["worker-1", "worker-2"].map(|name| sim.client(name));
    let links = vec![keeper, workers[0].clone(), workers[1].clone()];
    let mut families = Family::ALL.to_vec();
    families.retain(|family| *family != Family::Latency);
    let budget = Budget {
        lasts: millis(20_000),
        links,
        pauses: workers.to_vec(),
        fault_max: millis(1200),
        delay_max: millis(100),
        families,
        ..Budget::default()
    };
    let rounds = sim.limit("rounds", 1..=80);
    let tasks: Vec<_> = (1..)
        .zip(&workers)
        .map(|(number, worker)| {
            let worker = worker.clone();
            worker.clone().spawn("work", async move {
                let mut keeper = Client::new(worker.network(), "keeper:7000");
                for _ in 0..rounds {
                    let leased = keeper.ask_within(millis(300), &worker, &format!("lease {number}")).await;
                    if let Ok(leased) = leased
                        && let [token] = words(&leased).1[..]
                    {
                        let write = format!("write {token} {number}");
                        let written = keeper.ask_within(millis(300), &worker, &write).await;
                        let is_rejected = written.is_ok_and(|answer| answer == "rejected");
                        ensure!(!is_rejected, "the holder of the lease is rejected");
                    }
                    think(&worker, millis(400)).await;
                }
                Result::Ok(())
            })
        })
        .collect();
    sim.inject_faults(budget).run().await?;
    for task in tasks {
        task.await??;
    }
    Ok(())
}
