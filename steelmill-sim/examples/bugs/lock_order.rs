//! Deadlock by lock order: a bank locks both accounts of a transfer, in no fixed order.
//!
//! Between the two locks it requests a permit from another machine. The locks are acquired in the order of the account
//! numbers. Planted bug: they are acquired in the order of the request, so that two opposite transfers at the same time
//! deadlock, and later transfers queue behind them.

use std::sync::Arc;
use std::time::Duration;

use rand::RngExt as _;
use steelmill_core::{Daemon, DaemonRef, Factory, Result, Scope};
use steelmill_sim::fault::Budget;
use steelmill_sim::{Machine, Network, Sim};
use tokio::sync::Mutex;

use super::talk::{Answers, Client, Listener, answer_all, think, words};
use super::{Bug, Version};

pub(crate) const BUG: Bug = Bug {
    name: "lock-order",
    missing_code: "the bank does not lock the account with the lower number first",
    needed: "two opposite transfers, no fault",
    faults: &[],
    may_help: &[],
    scenario: |sim, version| Box::pin(scenario(sim, version)),
};

const ACCOUNTS: u64 = 3;

struct Bank {
    version: Version,
    listener: Listener,
    network: DaemonRef<Network>,
    accounts: [Mutex<i64>; ACCOUNTS as usize],
}

impl Daemon for Bank {
    fn build(factory: &mut Factory) -> Result<Self> {
        let accounts = [100; ACCOUNTS as usize].map(Mutex::new);
        let version = *factory.value()?;
        Ok(Self { version, listener: Listener::build(factory)?, network: factory.get()?, accounts })
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
        let [from, to] = numbers[..] else { return "which accounts?".to_owned() };
        match self.transfer(from as usize, to as usize).await {
            Ok(()) => "transferred".to_owned(),
            Err(error) => error.to_string(),
        }
    }
}

impl Bank {
    async fn transfer(&self, from: usize, to: usize) -> Result {
        let (first, second) = match self.version {
            Version::Right => (from.min(to), from.max(to)),
            Version::Planted => (from, to),
        };
        let mut one = self.accounts[first].lock().await;
        Client::new(*self.network, "office:7000").ask("permit").await?;
        let mut other = self.accounts[second].lock().await;
        let (from, to) = if first == from { (&mut *one, &mut *other) } else { (&mut *other, &mut *one) };
        *from -= 1;
        *to += 1;
        Ok(())
    }
}

struct Office {
    listener: Listener,
}

impl Daemon for Office {
    fn build(factory: &mut Factory) -> Result<Self> {
        Ok(Self { listener: Listener::build(factory)? })
    }

    async fn prepare(&self, _: &Scope) -> Result {
        self.listener.bind(7000).await
    }

    async fn run(self: &Arc<Self>, scope: &Scope) -> Result {
        self.listener.serve(scope, |stream| answer_all(self.clone(), stream)).await
    }
}

impl Answers for Office {
    async fn answer(&self, _: &str) -> String {
        "granted".to_owned()
    }
}

async fn scenario(sim: Sim, version: Version) -> Result {
    let office = sim.machine("office", |factory| factory.with::<Office>()).start().await?;
    let bank = sim.machine("bank", move |factory| {
        factory.provide_value(version)?;
        factory.with::<Bank>()
    });
    let bank = bank.start().await?;
    let clients = (1..=sim.limit("clients", 2..=3)).map(|number| sim.client(&format!("client-{number}")));
    let clients: Vec<Machine> = clients.collect();
    let count = sim.limit("transfers", 1..=200);
    let transfer = |client: &Machine| client.spawn("transfers", transfers(client.clone(), count));
    let transfers: Vec<_> = clients.iter().map(transfer).collect();

    // No request has a timeout, so no machine may end: a peer that loses power sends no reset.
    let machines: Vec<Machine> = clients.into_iter().chain([bank.clone(), office]).collect();
    sim.inject_faults(Budget { ends: Vec::new(), ..Budget::of(&machines) }).run().await?;
    for client in transfers {
        client.await?;
    }
    let bank = bank.get::<Bank>()?;
    let mut sum = 0;
    for account in &bank.accounts {
        sum += *account.lock().await;
    }
    anyhow::ensure!(sum == 100 * ACCOUNTS as i64, "the accounts hold {sum} in total");
    Ok(())
}

async fn transfers(client: Machine, count: u64) {
    let mut bank = Client::new(client.network(), "bank:7000");
    for _ in 0..count {
        think(&client, Duration::from_millis(300)).await;
        let from = client.entropy().rng().random_range(0..ACCOUNTS);
        let to = (from + client.entropy().rng().random_range(1..ACCOUNTS)) % ACCOUNTS;
        // The transfer may fail; what is checked is that every request ends.
        let _ = bank.ask(&format!("transfer {from} {to}")).await;
    }
}
