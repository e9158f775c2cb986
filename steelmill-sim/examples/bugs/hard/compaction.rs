//! Compaction: after three crashes in a row while it compacts, a store believes the wrong file.
//!
//! Every second a store writes its records to a new file, and then replaces the old one by it. A crash in between leaves the new
//! file, which is not complete. It must be removed. Planted bug: after the third such crash in a row the store takes the new file
//! for the better one.

use std::collections::BTreeSet;

use anyhow::ensure;
use steelmill_core::{Result, assert_sometimes_at_least};
use steelmill_sim::Sim;
use steelmill_sim::fault::{Budget, Family};

use super::node::{Node, State, millis, start, write};
use crate::{Bug, ENDS, Version};

pub(crate) const BUG: Bug = Bug {
    name: "compaction",
    missing_code: "the store does not remove an incomplete file after the third crash",
    needed: "three crashes in a row, each while the store compacts",
    faults: &[ENDS, ENDS, ENDS],
    may_help: ENDS,
    scenario: |sim, version| Box::pin(scenario(sim, version)),
};

#[derive(Default)]
struct Store {
    file: BTreeSet<u64>,
    new: Option<BTreeSet<u64>>,
    /// Crashes in a row while it compacted.
    crashes: u32,
}

impl State for Store {
    fn started(&mut self, version: Version) {
        let Some(new) = self.new.take() else { return };
        self.crashes += 1;
        assert_sometimes_at_least!(self.crashes, 3, "three compactions in a row were interrupted");
        if self.crashes >= 3 && version == Version::Planted {
            self.file = new;
        }
    }

    fn answer(node: &Node<Self>, _: &str, numbers: &[u64]) -> String {
        node.state.lock().file.extend(numbers);
        "written".to_owned()
    }

    async fn work(node: &Node<Self>) {
        loop {
            node.clock.sleep(millis(1000)).await;
            node.state.lock().new = Some(BTreeSet::new());
            node.clock.sleep(millis(200)).await;
            let mut state = node.state.lock();
            (state.new, state.crashes) = (None, 0);
        }
    }
}

async fn scenario(sim: Sim, version: Version) -> Result {
    let (store, state) = start::<Store>(sim, "store", version).await?;
    let client = sim.client("client");
    let links = vec![store.clone(), client.clone()];
    let mut families = Family::ALL.to_vec();
    families.retain(|family| *family != Family::RestartStorm);
    let budget = Budget {
        lasts: millis(20_000),
        links,
        ends: vec![store],
        fault_max: millis(300),
        delay_max: millis(50),
        families,
        ..Budget::default()
    };
    let records = sim.limit("records", 1..=100);
    let writing = client.spawn("write", write(client.clone(), records, millis(200), millis(400)));
    sim.inject_faults(budget).run().await?;
    let written = writing.await?;
    for record in written {
        ensure!(state.lock().file.contains(&record), "record {record} was acknowledged and is lost");
    }
    Ok(())
}
