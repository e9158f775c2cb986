//! Two-phase commit: a participant that has promised to commit decides by itself.
//!
//! A coordinator asks two banks to prepare a transfer. When both have, it writes the decision to its disk and tells one
//! bank after the other to commit. A bank that has prepared and hears nothing must ask the coordinator for the outcome
//! until it answers: a transfer that is neither decided nor in progress there is aborted. Planted bug: the bank aborts a
//! transfer by itself after two seconds, although the coordinator has decided to commit it.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::ensure;
use steelmill_core::{Clock as _, Daemon, DaemonRef, Factory, Result, Scope, SetOnce};
use steelmill_sim::fault::Budget;
use steelmill_sim::{Clock, Machine, Network, Sim};

use super::disk::Disk;
use super::talk::{Answers, Client, Listener, answer_all, think, words};
use super::{Bug, DELAYS_TCP_OR_ENDS, Version};

pub(crate) const BUG: Bug = Bug {
    name: "two-phase-commit",
    missing_code: "a bank that hears no decision does not ask the coordinator for it",
    needed: "the coordinator dead or cut off between its decision and the second commit",
    faults: &[DELAYS_TCP_OR_ENDS],
    may_help: DELAYS_TCP_OR_ENDS, // two delays may add up to the bank's two seconds
    scenario: |sim, version| Box::pin(scenario(sim, version)),
};

const REQUEST_TIMEOUT: Duration = Duration::from_millis(300);

struct Coordinator {
    listener: Listener,
    clock: DaemonRef<Clock>,
    network: DaemonRef<Network>,
    in_progress: Mutex<BTreeSet<u64>>,
    /// The transfers that are to be committed.
    decided: Disk<BTreeSet<u64>>,
}

impl Daemon for Coordinator {
    fn build(factory: &mut Factory) -> Result<Self> {
        Ok(Self {
            listener: Listener::build(factory)?,
            clock: factory.get()?,
            network: factory.get()?,
            in_progress: Mutex::default(),
            decided: Disk::of(factory)?,
        })
    }

    async fn prepare(&self, _: &Scope) -> Result {
        self.listener.bind(7000).await
    }

    async fn run(self: &Arc<Self>, scope: &Scope) -> Result {
        self.listener.serve(scope, |stream| answer_all(self.clone(), stream)).await
    }
}

impl Answers for Coordinator {
    /// `transfer NUMBER` from a client, `outcome NUMBER` from a bank.
    async fn answer(&self, request: &str) -> String {
        let (words, numbers) = words(request);
        match (words[0], &numbers[..]) {
            ("transfer", [number]) => self.transfer(*number).await,
            ("outcome", [number]) if self.decided.lock().contains(number) => "commit",
            ("outcome", [number]) if self.in_progress().contains(number) => "wait",
            _ => "abort",
        }
        .to_owned()
    }
}

impl Coordinator {
    fn in_progress(&self) -> MutexGuard<'_, BTreeSet<u64>> {
        self.in_progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn transfer(&self, number: u64) -> &'static str {
        self.in_progress().insert(number);
        let mut banks = ["bank-1:7000", "bank-2:7000"].map(|bank| Client::new(*self.network, bank));
        let mut is_prepared = true;
        for bank in &mut banks {
            let request = format!("prepare {number}");
            let answer = self.clock.timeout(REQUEST_TIMEOUT, bank.ask(&request)).await;
            is_prepared &= matches!(answer, Ok(Ok(answer)) if answer == "prepared");
        }
        if is_prepared {
            self.decided.lock().insert(number);
        }
        self.in_progress().remove(&number);
        if !is_prepared {
            return "aborted";
        }
        for bank in &mut banks {
            let request = format!("commit {number}");
            while !matches!(self.clock.timeout(REQUEST_TIMEOUT, bank.ask(&request)).await, Ok(Ok(_))) {
                self.clock.sleep(REQUEST_TIMEOUT).await;
            }
        }
        "committed"
    }
}

struct Bank {
    version: Version,
    listener: Listener,
    clock: DaemonRef<Clock>,
    network: DaemonRef<Network>,
    scope: SetOnce<Scope>,
    transfers: Arc<Mutex<BTreeMap<u64, State>>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Prepared,
    Committed,
    Aborted,
}

impl Daemon for Bank {
    fn build(factory: &mut Factory) -> Result<Self> {
        Ok(Self {
            version: *factory.value()?,
            listener: Listener::build(factory)?,
            clock: factory.get()?,
            network: factory.get()?,
            scope: SetOnce::new(),
            transfers: Arc::default(),
        })
    }

    async fn prepare(&self, scope: &Scope) -> Result {
        self.scope.set(scope.clone())?;
        self.listener.bind(7000).await
    }

    async fn run(self: &Arc<Self>, scope: &Scope) -> Result {
        self.listener.serve(scope, |stream| answer_all(self.clone(), stream)).await
    }
}

impl Answers for Bank {
    /// `prepare NUMBER`, `commit NUMBER`
    async fn answer(&self, request: &str) -> String {
        let (words, numbers) = words(request);
        let (Ok(scope), [number]) = (self.scope.get(), &numbers[..]) else {
            return "prepare what?".to_owned();
        };
        match words[0] {
            "prepare" => {
                self.transfers().insert(*number, State::Prepared);
                let (clock, network) = (*self.clock, *self.network);
                scope
                    .spawn("resolve", resolve(clock, network, self.version, self.transfers.clone(), *number));
                "prepared".to_owned()
            }
            _ => {
                self.clock.sleep(Duration::from_millis(150)).await; // the write to its own disk
                end(&self.transfers, *number, State::Committed);
                "committed".to_owned()
            }
        }
    }
}

impl Bank {
    fn transfers(&self) -> MutexGuard<'_, BTreeMap<u64, State>> {
        self.transfers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Commits or aborts a transfer, unless it has ended already.
fn end(transfers: &Mutex<BTreeMap<u64, State>>, number: u64, state: State) {
    let mut transfers = transfers.lock().unwrap_or_else(PoisonError::into_inner);
    if transfers.get(&number) == Some(&State::Prepared) {
        transfers.insert(number, state);
    }
}

/// Finds out how a prepared transfer ends, if the coordinator does not tell within two seconds.
async fn resolve(
    clock: Clock,
    network: Network,
    version: Version,
    transfers: Arc<Mutex<BTreeMap<u64, State>>>,
    number: u64,
) {
    clock.sleep(Duration::from_secs(2)).await;
    let mut coordinator = Client::new(network, "coordinator:7000");
    while transfers.lock().unwrap_or_else(PoisonError::into_inner).get(&number) == Some(&State::Prepared) {
        let request = format!("outcome {number}");
        let outcome = match version {
            Version::Right => clock.timeout(REQUEST_TIMEOUT, coordinator.ask(&request)).await,
            Version::Planted => Ok(Ok("abort".to_owned())),
        };
        match outcome {
            Ok(Ok(outcome)) if outcome == "commit" => end(&transfers, number, State::Committed),
            Ok(Ok(outcome)) if outcome == "abort" => end(&transfers, number, State::Aborted),
            _ => clock.sleep(REQUEST_TIMEOUT).await,
        }
    }
}

async fn scenario(sim: Sim, version: Version) -> Result {
    let bank = async |name| {
        let setup = move |factory: &mut Factory| {
            factory.provide_value(version)?;
            factory.with::<Bank>()
        };
        sim.machine(name, setup).start().await
    };
    let banks = [bank("bank-1").await?, bank("bank-2").await?];
    let (decided, disk) = {
        let disk = Disk::<BTreeSet<u64>>::default();
        (disk.clone(), disk)
    };
    let coordinator = sim.machine("coordinator", move |factory| {
        factory.provide_value(disk.clone())?;
        factory.with::<Coordinator>()
    });
    let coordinator = coordinator.start().await?;
    let client = sim.client("client");
    let count = sim.limit("transfers", 1..=150);
    let transfer = |teller| {
        client.spawn("transfers", transfer_all(client.clone(), teller * count..(teller + 1) * count))
    };
    let transfers: Vec<_> = (0..sim.limit("tellers", 1..=2)).map(transfer).collect();

    // The banks keep their transfers only in memory, so their machines must not end.
    let machines = [&[coordinator.clone(), client.clone()][..], &banks].concat();
    sim.inject_faults(Budget { ends: vec![coordinator], ..Budget::of(&machines) }).run().await?;
    for teller in transfers {
        teller.await?;
    }
    sim.clock().sleep(Duration::from_secs(60)).await;

    let decided = decided.lock();
    for bank in banks {
        let (name, bank) = (bank.name().to_owned(), bank.get::<Bank>()?);
        for (number, state) in &*bank.transfers() {
            let due = if decided.contains(number) { State::Committed } else { State::Aborted };
            ensure!(
                *state == due,
                "transfer {number} is {state:?} by {name}, but the coordinator's decision is {due:?}"
            );
        }
    }
    Ok(())
}

/// Requests the transfers with these numbers, each once.
async fn transfer_all(client: Machine, transfers: Range<u64>) {
    let mut coordinator = Client::new(client.network(), "coordinator:7000");
    for number in transfers {
        think(&client, Duration::from_millis(200)).await;
        // Whether it is committed or not, both banks must agree.
        let request = format!("transfer {number}");
        let _ = coordinator.ask_within(Duration::from_secs(1), &client, &request).await;
    }
}
