//! Reordered commit: a replica applies a commit whose transaction has not arrived.
//!
//! A primary sends each transaction in one datagram and its commit in another, which it repeats until the replica
//! acknowledges it; only then does the next transaction follow. When the transaction was lost or overtaken, the replica
//! must answer the commit with `missing`. Planted bug: the replica does not check that it has the transaction,
//! acknowledges the commit, and lacks the amount.

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
    missing_code: "the replica does not check that it has received what it commits",
    needed: "one datagram lost or overtaken",
    faults: &[LOSES_OR_DELAYS_DATAGRAMS],
    may_help: &[],
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

/// Buffers transactions and applies them on commit.
struct Replica {
    version: Version,
    network: DaemonRef<Network>,
    socket: SetOnce<UdpSocket>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Received and not committed: amounts by transaction number.
    transactions: BTreeMap<u64, u64>,
    /// The number of the last committed transaction.
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
    /// Handles `transaction NUMBER AMOUNT` without a reply, and `commit NUMBER`. The reply to a commit is `done` with the last
    /// committed number, or `missing` with the number that has not arrived.
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

/// Commits one transaction after another on the replica.
struct Primary {
    clock: DaemonRef<Clock>,
    network: DaemonRef<Network>,
    /// The number of transactions to commit.
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

    /// Sends the transaction once, and the commit until the replica answers; true when it is committed.
    async fn is_done(&self, socket: &UdpSocket, number: u64, amount: u64) -> Result<bool> {
        // A name that cannot be looked up for now is as a datagram that is lost.
        let _ = socket.send_to(format!("transaction {number} {amount}").as_bytes(), "replica:7000").await;
        self.clock.sleep(Duration::from_millis(3)).await; // the write to its own disk
        loop {
            let _ = socket.send_to(format!("commit {number}").as_bytes(), "replica:7000").await;
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
        // It is asked for what it has committed, after its last transaction.
        factory.remain_when_finished();
        factory.with::<Primary>()
    });
    let primary = primary.start().await?;

    // Both keep their state only in memory, so neither machine may end.
    let machines = [primary.clone(), replica.clone()];
    sim.inject_faults(Budget { ends: Vec::new(), ..Budget::of(&machines) }).run().await?;
    sim.clock().sleep(Duration::from_secs(300)).await;
    let due = primary.get::<Primary>()?.sum.load(Ordering::Relaxed);
    let replica = replica.get::<Replica>()?;
    let state = replica.state.lock().unwrap_or_else(PoisonError::into_inner);
    ensure!(state.last == transactions, "only {} of {transactions} transactions are committed", state.last);
    ensure!(state.sum == due, "the replica has a sum of {}, the primary {due}", state.sum);
    Ok(())
}
