//! Reordered commit: a primary sends a replica each transaction in a datagram, and in another that it is to be done.
//!
//! It says so again until the replica answers that it is done, and only then turns to the next. A commit that comes before
//! its transaction, because that was lost or is late, must be answered with a wish for the transaction. Left out: looking
//! whether it is there. Then the commit of nothing counts as done, and the replica lacks a transaction.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::ensure;
use steelmill_core::{Clock as _, Daemon, DaemonRef, Factory, Result, Scope, SetOnce};
use steelmill_sim::fault::{Budget, Family};
use steelmill_sim::{Clock, Network, Sim, UdpSocket};

use super::talk::words;
use super::{Bug, Version};

pub(crate) const BUG: Bug = Bug {
    name: "reordered-commit",
    left_out: "the replica does not look whether it has what it is to commit",
    takes: "one datagram that is lost, or overtaken",
    faults: &[LOSES_OR_DELAYS_DATAGRAMS],
    scenario: |sim, version| Box::pin(scenario(sim, version)),
};

const LOSES_OR_DELAYS_DATAGRAMS: &[Family] = &[
    Family::Loss,
    Family::Reordering,
    Family::Slow,
    Family::Tail,
    Family::Partition,
    Family::PartitionOneWay,
    Family::Isolation,
];

/// Takes transactions, and does them when it is told to.
struct Replica {
    version: Version,
    network: DaemonRef<Network>,
    socket: SetOnce<UdpSocket>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// What has come and is not done, by number.
    transactions: BTreeMap<u64, u64>,
    /// The number of the last one that was done.
    last: u64,
    sum: u64,
}

impl Daemon for Replica {
    fn build(factory: &mut Factory) -> Result<Self> {
        let version = *factory.value()?;
        Ok(Self { version, network: factory.get()?, socket: SetOnce::new(), state: Mutex::default() })
    }

    async fn prepare(&self, _: &Scope) -> Result {
        self.socket.set(self.network.bind_udp("0.0.0.0:7000").await?)
    }

    async fn run(self: &Arc<Self>, scope: &Scope) -> Result {
        let socket = self.socket.get()?;
        let mut datagram = [0; 100];
        while let Some(received) = scope.until_stopping(socket.recv_from(&mut datagram)).await {
            let (length, primary) = received?;
            if let Some(answer) = self.take(str::from_utf8(&datagram[..length])?) {
                socket.send_to(answer.as_bytes(), primary).await?;
            }
        }
        Ok(())
    }
}

impl Replica {
    /// Takes `transaction NUMBER AMOUNT`, or `commit NUMBER`, which it answers: with the last one that is `done` by now,
    /// or with the one that is `missing`.
    fn take(&self, message: &str) -> Option<String> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let (_, numbers) = words(message);
        match numbers[..] {
            [number, amount] => {
                if number > state.last {
                    state.transactions.insert(number, amount);
                }
                None
            }
            [number] if number > state.last => {
                let amount = state.transactions.remove(&number);
                if amount.is_none() && self.version == Version::Right {
                    return Some(format!("missing {number}"));
                }
                state.sum += amount.unwrap_or_default();
                state.last = number;
                Some(format!("done {number}"))
            }
            _ => Some(format!("done {}", state.last)),
        }
    }
}

/// Has one transaction after another done by the replica.
struct Primary {
    clock: DaemonRef<Clock>,
    network: DaemonRef<Network>,
    /// How many there are.
    transactions: u64,
    sum: AtomicU64,
}

impl Daemon for Primary {
    fn build(factory: &mut Factory) -> Result<Self> {
        Ok(Self {
            clock: factory.get()?,
            network: factory.get()?,
            transactions: *factory.value()?,
            sum: AtomicU64::new(0),
        })
    }

    async fn run(self: &Arc<Self>, scope: &Scope) -> Result {
        match scope.until_stopping(self.work()).await {
            Some(ended) => ended,
            None => Ok(()),
        }
    }
}

impl Primary {
    async fn work(&self) -> Result {
        let socket = self.network.bind_udp("0.0.0.0:7000").await?;
        for number in 1..=self.transactions {
            self.clock.sleep(Duration::from_millis(20)).await;
            let amount = number % 10 + 1;
            while !self.is_done(&socket, number, amount).await? {}
            self.sum.fetch_add(amount, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Whether it was done with this transaction sent once, and as many commits as it takes to get an answer.
    async fn is_done(&self, socket: &UdpSocket, number: u64, amount: u64) -> Result<bool> {
        socket.send_to(format!("transaction {number} {amount}").as_bytes(), "replica:7000").await?;
        self.clock.sleep(Duration::from_millis(3)).await; // it writes to its own disk meanwhile
        loop {
            socket.send_to(format!("commit {number}").as_bytes(), "replica:7000").await?;
            let answered = async {
                let mut datagram = [0; 100];
                loop {
                    let length = socket.recv(&mut datagram).await?;
                    let (words, numbers) = words(str::from_utf8(&datagram[..length])?);
                    if numbers == [number] {
                        return Ok(words[0] == "done");
                    }
                }
            };
            if let Ok(answer) = self.clock.timeout(Duration::from_millis(20), answered).await {
                return answer;
            }
        }
    }
}

async fn scenario(sim: Sim, version: Version) -> Result {
    let replica = sim.machine("replica", move |factory| {
        factory.provide_value(version)?;
        factory.with::<Replica>()
    });
    let replica = replica.start().await?;
    let transactions = sim.limit("transactions", 1..=2000);
    let primary = sim.machine("primary", move |factory| {
        factory.provide_value(transactions)?;
        factory.with::<Primary>()
    });
    let primary = primary.start().await?;

    // Both hold all they know in their memory, so neither may end.
    let machines = [primary.clone(), replica.clone()];
    sim.inject_faults(Budget { ends: Vec::new(), ..Budget::of(&machines) }).run().await?;
    sim.clock().sleep(Duration::from_secs(300)).await;
    let due = primary.get::<Primary>()?.sum.load(Ordering::Relaxed);
    let replica = replica.get::<Replica>()?;
    let state = replica.state.lock().unwrap_or_else(PoisonError::into_inner);
    ensure!(state.last == transactions, "only {} of {transactions} transactions are done", state.last);
    ensure!(state.sum == due, "the replica has {} where the primary has {due}", state.sum);
    Ok(())
}
