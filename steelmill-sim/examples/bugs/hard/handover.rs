//! Handover: both ends of a handover crash, and both own the shard.
//!
//! A mover moves shards: it freezes the shard at its source, copies it to the target, asks the source whether it is still
//! frozen (a crash thaws it), and then tells the target to own it, or to forget the copy. The target must do neither before it is
//! told. Planted bug: after a restart it owns what it has a copy of.

use std::collections::BTreeSet;

use anyhow::ensure;
use steelmill_core::{Result, assert_reachable, assert_sometimes};
use steelmill_sim::fault::{Budget, Family};
use steelmill_sim::{Machine, Sim};

use super::node::{Node, State, millis, start};
use crate::talk::{Client, think};
use crate::{Bug, ENDS, Version};

pub(crate) const BUG: Bug = Bug {
    name: "handover",
    missing_code: "the target does not wait to be told after a restart",
    needed: "a crash of the source, and one of the target, during one handover",
    faults: &[ENDS, ENDS],
    may_help: ENDS,
    scenario: |sim, version| Box::pin(scenario(sim, version)),
};

#[derive(Default)]
struct End {
    owned: BTreeSet<u64>,
    copied: BTreeSet<u64>,
    /// Not on the disk.
    frozen: BTreeSet<u64>,
}

impl State for End {
    fn started(&mut self, version: Version) {
        assert_sometimes!(!self.frozen.is_empty(), "a restart thaws a shard");
        assert_sometimes!(!self.copied.is_empty(), "a restart with a copy that nobody owns");
        self.frozen.clear();
        if version == Version::Planted {
            self.owned.append(&mut self.copied);
        }
    }

    fn answer(node: &Node<Self>, verb: &str, numbers: &[u64]) -> String {
        let shard = numbers[0];
        let mut state = node.state.lock();
        match verb {
            "freeze" => _ = state.frozen.insert(shard),
            "copy" => _ = state.copied.insert(shard),
            "forget" => _ = state.copied.remove(&shard),
            "own" => {
                state.copied.remove(&shard);
                state.owned.insert(shard);
            }
            "drop" => _ = state.owned.remove(&shard),
            _ => return if state.frozen.contains(&shard) { "frozen" } else { "thawed" }.to_owned(),
        }
        "done".to_owned()
    }
}

/// Asks until there is an answer.
async fn insist(client: &mut Client, mover: &Machine, request: String) -> String {
    loop {
        match client.ask_within(millis(100), mover, &request).await {
            Ok(answer) => return answer,
            Err(_) => mover.clock().sleep(millis(20)).await,
        }
    }
}

async fn scenario(sim: Sim, version: Version) -> Result {
    let (source, at_source) = start::<End>(sim, "source", version).await?;
    let (target, at_target) = start::<End>(sim, "target", version).await?;
    let mover = sim.client("mover");
    let ends = vec![source, target];
    let mut families = Family::ALL.to_vec();
    families.retain(|family| *family != Family::RestartStorm);
    let budget = Budget {
        lasts: millis(15_000),
        links: vec![ends[0].clone(), ends[1].clone(), mover.clone()],
        ends,
        down_max: 2,
        fault_max: millis(100),
        delay_max: millis(10),
        families,
        ..Budget::default()
    };
    let shards = sim.limit("shards", 1..=2);
    at_source.lock().owned.extend(1..=shards);
    let moving = mover.spawn("move", {
        let mover = mover.clone();
        async move {
            let network = mover.network();
            let (mut source, mut target) =
                (Client::new(network, "source:7000"), Client::new(network, "target:7000"));
            for shard in 1..=shards {
                insist(&mut source, &mover, format!("freeze {shard}")).await;
                insist(&mut target, &mover, format!("copy {shard}")).await;
                let answer = insist(&mut source, &mover, format!("frozen {shard}")).await;
                if answer == "frozen" {
                    insist(&mut target, &mover, format!("own {shard}")).await;
                    insist(&mut source, &mover, format!("drop {shard}")).await;
                } else {
                    assert_reachable!("a handover is called off");
                    insist(&mut target, &mover, format!("forget {shard}")).await;
                }
                think(&mover, millis(5000)).await;
            }
        }
    });
    sim.inject_faults(budget).run().await?;
    moving.await?;
    for shard in 1..=shards {
        let owners = [&at_source, &at_target].map(|end| end.lock().owned.contains(&shard));
        ensure!(owners != [true, true], "shard {shard} has two owners");
    }
    Ok(())
}
