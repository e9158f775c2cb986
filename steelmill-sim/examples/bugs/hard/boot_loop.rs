//! Boot loop: a store that starts in safe mode loses its journal.
//!
//! A store counts its starts, until it has run for long enough to be called stable. At the eighth in a row it starts in safe
//! mode, without the journal being folded into the snapshot, as that may be what kills it. Planted bug: safe mode begins
//! with an empty journal.

use std::collections::BTreeSet;

use anyhow::ensure;
use steelmill_core::{Result, assert_sometimes_at_least};
use steelmill_sim::Sim;
use steelmill_sim::fault::{Budget, Family};

use super::node::{Node, State, millis, start, write};
use crate::{Bug, ENDS, Version};

pub(crate) const BUG: Bug = Bug {
    name: "boot-loop",
    missing_code: "safe mode does not keep the journal",
    needed: "a store that dies seven times, each time soon after its start",
    faults: &[ENDS, ENDS, ENDS, ENDS],
    may_help: ENDS,
    scenario: |sim, version| Box::pin(scenario(sim, version)),
};

/// The number of starts in a row at which it starts in safe mode.
const BOOTS_MAX: u32 = 8;

#[derive(Default)]
struct Store {
    boots: u32,
    snapshot: BTreeSet<u64>,
    journal: Vec<u64>,
}

impl State for Store {
    fn started(&mut self, version: Version) {
        self.boots += 1;
        assert_sometimes_at_least!(self.boots, BOOTS_MAX, "the store starts in safe mode");
        if self.boots >= BOOTS_MAX && version == Version::Planted {
            self.journal.clear();
        }
    }

    fn answer(node: &Node<Self>, _: &str, numbers: &[u64]) -> String {
        node.state.lock().journal.extend(numbers);
        "written".to_owned()
    }

    async fn work(node: &Node<Self>) {
        loop {
            node.clock.sleep(millis(1_000)).await;
            let mut state = node.state.lock();
            state.boots = 0;
            let journal = std::mem::take(&mut state.journal);
            state.snapshot.extend(journal);
        }
    }
}

async fn scenario(sim: Sim, version: Version) -> Result {
    let (store, state) = start::<Store>(sim, "store", version).await?;
    let client = sim.client("client");
    let machines = [store, client.clone()];
    let mut families = Family::ALL.to_vec();
    families.retain(|family| *family != Family::RestartStorm);
    let budget = Budget {
        lasts: millis(20_000),
        ends: vec![machines[0].clone()],
        fault_max: millis(500),
        delay_max: millis(100),
        families,
        ..Budget::of(&machines)
    };
    let records = sim.limit("records", 1..=200);
    let writing = client.spawn("write", write(client.clone(), records, millis(300), millis(200)));
    sim.inject_faults(budget).run().await?;
    let written = writing.await?;
    let state = state.lock();
    for record in written {
        ensure!(
            state.snapshot.contains(&record) || state.journal.contains(&record),
            "record {record} was acknowledged and is lost"
        );
    }
    Ok(())
}
