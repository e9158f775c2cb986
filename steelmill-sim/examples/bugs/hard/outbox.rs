//! Outbox: what is added to a full outbox replaces what waits in it.
//!
//! A sensor takes a reading every 100 ms and sends them to a collector, in order, as soon as that can be reached. Readings
//! that wait are in an outbox with room for fifty. When it is full the sensor must stop reading. Planted bug: it drops the
//! oldest.

use std::cell::RefCell;
use std::collections::{BTreeSet, VecDeque};
use std::rc::Rc;

use anyhow::ensure;
use steelmill_core::{Result, assert_always_at_most};
use steelmill_sim::Sim;
use steelmill_sim::fault::Budget;

use super::node::{Node, State, millis, start};
use crate::talk::Client;
use crate::{Bug, DELAYS_TCP_OR_ENDS, Version};

pub(crate) const BUG: Bug = Bug {
    name: "outbox",
    missing_code: "the sensor does not stop reading while its outbox is full",
    needed: "a collector that is away most of the time, until fifty readings wait",
    faults: &[DELAYS_TCP_OR_ENDS],
    may_help: DELAYS_TCP_OR_ENDS,
    scenario: |sim, version| Box::pin(scenario(sim, version)),
};

const ROOM: usize = 50;

#[derive(Default)]
struct Collector {
    readings: BTreeSet<u64>,
}

impl State for Collector {
    fn answer(node: &Node<Self>, _: &str, numbers: &[u64]) -> String {
        node.state.lock().readings.extend(numbers);
        "collected".to_owned()
    }
}

fn add(outbox: &mut VecDeque<u64>, reading: u64) {
    if outbox.len() == ROOM {
        outbox.pop_front();
    }
    outbox.push_back(reading);
    assert_always_at_most!(outbox.len(), ROOM, "the outbox has room");
}

async fn scenario(sim: Sim, version: Version) -> Result {
    let (collector, state) = start::<Collector>(sim, "collector", version).await?;
    let sensor = sim.client("sensor");
    let links = vec![collector.clone(), sensor.clone()];
    let budget = Budget {
        lasts: millis(20_000),
        links,
        ends: vec![collector],
        fault_max: millis(700),
        delay_max: millis(50),
        ..Budget::default()
    };
    let readings = sim.limit("readings", 1..=200);
    let outbox = Rc::new(RefCell::new(VecDeque::new()));
    let reading = sensor.spawn("read", {
        let (sensor, outbox) = (sensor.clone(), outbox.clone());
        async move {
            for reading in 1..=readings {
                while version == Version::Right && outbox.borrow().len() == ROOM {
                    sensor.clock().sleep(millis(10)).await;
                }
                add(&mut outbox.borrow_mut(), reading);
                sensor.clock().sleep(millis(100)).await;
            }
        }
    });
    let sending = sensor.spawn("send", {
        let (sensor, outbox) = (sensor.clone(), outbox.clone());
        async move {
            let mut collector = Client::new(sensor.network(), "collector:7000");
            loop {
                let next = outbox.borrow().front().copied();
                if let Some(next) = next
                    && collector.ask_within(millis(200), &sensor, &format!("put {next}")).await.is_ok()
                {
                    outbox.borrow_mut().retain(|reading| *reading != next);
                }
                sensor.clock().sleep(millis(40)).await;
            }
        }
    });
    sim.inject_faults(budget).run().await?;
    reading.await?;
    sim.clock().sleep(millis(10_000)).await;
    drop(sending);
    for reading in 1..=readings {
        ensure!(state.lock().readings.contains(&reading), "reading {reading} is lost");
    }
    Ok(())
}
