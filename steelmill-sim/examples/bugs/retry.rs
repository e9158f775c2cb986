//! Retry without idempotence: a shop repeats a charge when the bank's reply does not arrive in time.
//!
//! Each charge has a unique number, by which the bank deduplicates. Planted bug: the deduplication is missing, so one
//! lost or late reply charges the customer twice.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::ensure;
use steelmill_core::{Daemon, DaemonRef, Factory, Result, Scope};
use steelmill_sim::fault::Budget;
use steelmill_sim::{Clock, Machine, Sim};

use super::talk::{Answers, Client, Listener, answer_all, think, words};
use super::{Bug, DELAYS_TCP, Version};

pub(crate) const BUG: Bug = Bug {
    name: "retry",
    missing_code: "the bank does not deduplicate retried charges",
    needed: "one reply lost or late",
    faults: &[DELAYS_TCP],
    may_help: &[],
    scenario: |sim, version| Box::pin(scenario(sim, version)),
};

struct Bank {
    version: Version,
    listener: Listener,
    clock: DaemonRef<Clock>,
    books: Mutex<Books>,
}

#[derive(Default)]
struct Books {
    charged: u64,
    done: BTreeSet<u64>,
}

impl Daemon for Bank {
    fn build(factory: &mut Factory) -> Result<Self> {
        Ok(Self {
            version: *factory.value()?,
            listener: Listener::build(factory)?,
            clock: factory.get()?,
            books: Mutex::default(),
        })
    }

    async fn prepare(&self, _: &Scope) -> Result {
        self.listener.bind(7000).await
    }

    async fn run(self: &Arc<Self>, scope: &Scope) -> Result {
        self.listener.serve(scope, |stream| answer_all(self.clone(), stream)).await
    }
}

impl Answers for Bank {
    async fn answer(&self, request: &str) -> String {
        let (_, numbers) = words(request);
        let [charge, amount] = numbers[..] else { return "charge what?".to_owned() };
        {
            let mut books = self.books.lock().unwrap_or_else(PoisonError::into_inner);
            let is_new = books.done.insert(charge);
            if is_new || self.version == Version::Planted {
                books.charged += amount;
            }
        }
        self.clock.sleep(Duration::from_millis(100)).await; // confirmation by the customer's bank
        "charged".to_owned()
    }
}

const AMOUNT: u64 = 10;

async fn scenario(sim: Sim, version: Version) -> Result {
    let bank = sim.machine("bank", move |factory| {
        factory.provide_value(version)?;
        factory.with::<Bank>()
    });
    let bank = bank.start().await?;
    let shops: Vec<Machine> =
        (0..sim.limit("shops", 1..=2)).map(|number| sim.client(&format!("shop-{}", number + 1))).collect();
    let count = sim.limit("charges", 1..=400);
    let charge = |(number, shop): (u64, &Machine)| {
        let first = number * count;
        shop.spawn("charges", charge_all(first..first + count, shop.clone()))
    };
    let charges: Vec<_> = (0..).zip(&shops).map(charge).collect();
    let due = shops.len() as u64 * count * AMOUNT;

    // The bank's books are only in memory, so its machine must not end.
    let machines: Vec<Machine> = shops.into_iter().chain([bank.clone()]).collect();
    sim.inject_faults(Budget { ends: Vec::new(), ..Budget::of(&machines) }).run().await?;
    for shop in charges {
        shop.await?;
    }
    let charged = bank.get::<Bank>()?.books.lock().unwrap_or_else(PoisonError::into_inner).charged;
    ensure!(charged == due, "{charged} was charged, but {due} was due");
    Ok(())
}

/// Sends the charges with these numbers, each until it is acknowledged.
async fn charge_all(charges: Range<u64>, shop: Machine) {
    let mut bank = Client::new(shop.network(), "bank:7000");
    for charge in charges {
        think(&shop, Duration::from_millis(40)).await;
        let request = format!("charge {charge} {AMOUNT}");
        while bank.ask_within(Duration::from_millis(500), &shop, &request).await.is_err() {
            think(&shop, Duration::from_millis(200)).await;
        }
    }
}
