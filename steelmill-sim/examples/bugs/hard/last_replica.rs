//! Last replica: when all replicas are gone, the first to come back need not be the last that went.
//!
//! A coordinator writes to all replicas that are members, and removes those that do not answer. A write is acknowledged when at
//! least one member has it. Those removed are copied to and admitted again, one after the other. When the last member is gone
//! only that one may begin anew. Planted bug: any replica may.

use anyhow::ensure;
use steelmill_core::{Result, assert_reachable, assert_sometimes_at_most};
use steelmill_sim::Sim;
use steelmill_sim::fault::Budget;

use super::node::{Node, State, millis, start};
use crate::talk::{Client, think};
use crate::{Bug, DELAYS_TCP_OR_ENDS, Version};

pub(crate) const BUG: Bug = Bug {
    name: "last-replica",
    missing_code: "the coordinator does not wait for the replica that it removed last",
    needed: "four replicas cut off one after the other, and the last not the first to return",
    faults: &[DELAYS_TCP_OR_ENDS, DELAYS_TCP_OR_ENDS, DELAYS_TCP_OR_ENDS],
    may_help: DELAYS_TCP_OR_ENDS,
    scenario: |sim, version| Box::pin(scenario(sim, version)),
};

#[derive(Default)]
struct Replica {
    log: Vec<u64>,
}

impl State for Replica {
    /// `write NUMBER`; `copy NUMBERS`, of all that was written; `read`
    fn answer(node: &Node<Self>, verb: &str, numbers: &[u64]) -> String {
        let log = &mut node.state.lock().log;
        match verb {
            "write" => log.extend(numbers),
            "copy" => *log = numbers.to_vec(),
            _ => return text("log", log),
        }
        "done".to_owned()
    }
}

fn text(verb: &str, numbers: &[u64]) -> String {
    let numbers: String = numbers.iter().map(|number| format!(" {number}")).collect();
    format!("{verb}{numbers}")
}

const NAMES: [(&str, &str); 4] = [
    ("replica-1", "replica-1:7000"),
    ("replica-2", "replica-2:7000"),
    ("replica-3", "replica-3:7000"),
    ("replica-4", "replica-4:7000"),
];

async fn scenario(sim: Sim, version: Version) -> Result {
    let mut machines = Vec::new();
    for (name, _) in NAMES {
        machines.push(start::<Replica>(sim, name, version).await?.0);
    }
    let coordinator = sim.client("coordinator");
    let budget = Budget {
        lasts: millis(20_000),
        ends: machines.clone(),
        pauses: machines.clone(),
        down_max: 4,
        fault_max: millis(200),
        delay_max: millis(20),
        ..Budget::of(&[&machines[..], std::slice::from_ref(&coordinator)].concat())
    };
    let writes = sim.limit("writes", 1..=100);
    let writing = coordinator.spawn("coordinate", {
        let coordinator = coordinator.clone();
        async move {
            let mut replicas = NAMES.map(|(_, address)| Client::new(coordinator.network(), address));
            let mut members: Vec<usize> = (0..NAMES.len()).collect();
            let mut last = 0;
            // What a reader at a member would see.
            let mut log: Vec<u64> = Vec::new();
            let mut acknowledged = Vec::new();
            for write in 1..=writes {
                let mut written = false;
                for member in members.clone() {
                    let request = format!("write {write}");
                    match replicas[member].ask_within(millis(300), &coordinator, &request).await {
                        Ok(_) => written = true,
                        Err(_) => {
                            members.retain(|other| *other != member);
                            assert_reachable!("a replica is removed");
                            assert_sometimes_at_most!(members.len(), 1, "there is no replica to spare");
                            last = member;
                        }
                    }
                }
                if written {
                    log.push(write);
                    acknowledged.push(write);
                }
                // One of those removed is looked at again.
                let away = (0..NAMES.len()).find(|replica| {
                    !members.contains(replica) && (*replica as u64 + write).is_multiple_of(4)
                });
                if let Some(away) = away {
                    let replica = &mut replicas[away];
                    if !members.is_empty() {
                        let copy = text("copy", &log);
                        if replica.ask_within(millis(300), &coordinator, &copy).await.is_ok() {
                            members.push(away);
                        }
                    } else if (away == last || version == Version::Planted)
                        && let Ok(answer) = replica.ask_within(millis(300), &coordinator, "read").await
                    {
                        assert_reachable!("a replica begins anew");
                        log = crate::talk::words(&answer).1;
                        members.push(away);
                    }
                }
                think(&coordinator, millis(200)).await;
            }
            (log, acknowledged, members.is_empty())
        }
    });
    sim.inject_faults(budget).run().await?;
    let (log, acknowledged, is_down) = writing.await?;
    for write in acknowledged {
        ensure!(is_down || log.contains(&write), "write {write} was acknowledged and is lost");
    }
    Ok(())
}
