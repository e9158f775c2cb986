//! Split brain through a paused leader: two workers, of which the one that leads counts something up in a store.
//!
//! A keeper says who leads, for a second from each time that the leader asks, with a term that is greater than any
//! before. The leader asks before each round of reading and writing, which is over in half a second or so. The first
//! worker goes on from round to round; the second gets a turn where the first does not ask, and lets its lease run out
//! after one round. A round that ends badly may have left a write on its way: so its worker begins no other before the
//! lease is over.
//!
//! But a leader may be paused, after it was told that it leads and before it writes, until long after the other has taken
//! over. So each write carries its term, and the store refuses a term that is less than one it has seen. Left out: the
//! refusal. Then a leader whose pause outlasts its lease sets the count back.
//!
//! To the store, a write that is late looks like one of a leader that was paused. So the budget has nothing that makes a
//! message late by as much as a lease: delays are short, and no message is lost, because one that is lost again and again
//! may be as late as one likes. What a worker gives up while the way is cut is not sent afterwards.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use steelmill_core::{Clock as _, Daemon, DaemonRef, Factory, Result, Scope, assert_always};
use steelmill_sim::fault::{Budget, Family};
use steelmill_sim::{Clock, Network, Sim};

use super::talk::{Answers, Client, Listener, answer_all, words};
use super::{Bug, Version};

pub(crate) const BUG: Bug = Bug {
    name: "split-brain",
    left_out: "the store does not refuse a write of a former leader",
    takes: "a pause of the leader that outlasts its lease",
    faults: &[&[Family::Pause]],
    scenario: |sim, version| Box::pin(scenario(sim, version)),
};

const LEASE: Duration = Duration::from_secs(1);

/// For one request of a round.
const LIMIT: Duration = Duration::from_millis(150);

/// Before one asks again who was told that another leads.
const PATIENCE: Duration = Duration::from_millis(20);

/// Says who leads.
struct Keeper {
    listener: Listener,
    clock: DaemonRef<Clock>,
    lease: Mutex<Lease>,
}

#[derive(Default)]
struct Lease {
    term: u64,
    holder: String,
    until: Option<Instant>,
}

impl Daemon for Keeper {
    fn build(factory: &mut Factory) -> Result<Self> {
        Ok(Self { listener: Listener::build(factory)?, clock: factory.get()?, lease: Mutex::default() })
    }

    async fn prepare(&self, _: &Scope) -> Result {
        self.listener.bind(7000).await
    }

    async fn run(self: &Arc<Self>, scope: &Scope) -> Result {
        self.listener.serve(scope, |stream| answer_all(self.clone(), stream)).await
    }
}

impl Answers for Keeper {
    /// `WORKER`, who would lead, or go on leading.
    async fn answer(&self, asker: &str) -> String {
        let now = self.clock.now();
        let mut lease = self.lease.lock().unwrap_or_else(PoisonError::into_inner);
        if lease.holder != asker && lease.until.is_some_and(|until| until > now) {
            return format!("{} leads", lease.holder);
        }
        *lease = Lease { term: lease.term + 1, holder: asker.to_owned(), until: Some(now + LEASE) };
        format!("lead in term {}", lease.term)
    }
}

/// Holds the count.
struct Store {
    version: Version,
    listener: Listener,
    count: Mutex<Count>,
}

#[derive(Default)]
struct Count {
    count: u64,
    /// Of the newest leader that has read or written.
    term: u64,
}

impl Daemon for Store {
    fn build(factory: &mut Factory) -> Result<Self> {
        Ok(Self { version: *factory.value()?, listener: Listener::build(factory)?, count: Mutex::default() })
    }

    async fn prepare(&self, _: &Scope) -> Result {
        self.listener.bind(7000).await
    }

    async fn run(self: &Arc<Self>, scope: &Scope) -> Result {
        self.listener.serve(scope, |stream| answer_all(self.clone(), stream)).await
    }
}

impl Answers for Store {
    /// `read TERM`, `write TERM COUNT`
    async fn answer(&self, request: &str) -> String {
        let mut count = self.count.lock().unwrap_or_else(PoisonError::into_inner);
        let (_, numbers) = words(request);
        let term = numbers.first().copied().unwrap_or_default();
        if term < count.term && self.version == Version::Right {
            return "refused".to_owned();
        }
        count.term = term;
        if let Some(new) = numbers.get(1) {
            assert_always!(*new > count.count, "the count only grows, but from {} to {new}", count.count);
            count.count = *new;
        }
        count.count.to_string()
    }
}

/// Counts up for as long as it leads.
struct Worker {
    name: String,
    /// Between two rounds.
    rest: Duration,
    clock: DaemonRef<Clock>,
    network: DaemonRef<Network>,
}

impl Daemon for Worker {
    fn build(factory: &mut Factory) -> Result<Self> {
        let (name, rest) = (factory.path().to_owned(), *factory.value()?);
        Ok(Self { name, rest, clock: factory.get()?, network: factory.get()? })
    }

    async fn run(self: &Arc<Self>, scope: &Scope) -> Result {
        scope.until_stopping(self.work()).await;
        Ok(())
    }
}

impl Worker {
    async fn work(&self) {
        loop {
            let mut keeper = Client::new(*self.network, "keeper:7000");
            let mut store = Client::new(*self.network, "store:7000");
            while let Ok(leads) = self.turn(&mut keeper, &mut store).await {
                self.clock.sleep(if leads { self.rest } else { PATIENCE }).await;
            }
            // By then nothing of what it has sent is on its way any more.
            self.clock.sleep(LEASE).await;
        }
    }

    /// Counts one up, if it leads; whether it does.
    async fn turn(&self, keeper: &mut Client, store: &mut Client) -> Result<bool> {
        let answer = self.clock.timeout(LIMIT, keeper.ask(&self.name)).await??;
        let (_, numbers) = words(&answer);
        let [term] = numbers[..] else { return Ok(false) };
        let count = self.clock.timeout(LIMIT, store.ask(&format!("read {term}"))).await??;
        self.clock.sleep(Duration::from_millis(50)).await; // the work itself
        let request = format!("write {term} {}", count.parse::<u64>()? + 1);
        self.clock.timeout(LIMIT, store.ask(&request)).await??;
        Ok(true)
    }
}

async fn scenario(sim: Sim, version: Version) -> Result {
    let keeper = sim.machine("keeper", |factory| factory.with::<Keeper>()).start().await?;
    let store = sim.machine("store", move |factory| {
        factory.provide_value(version)?;
        factory.with::<Store>()
    });
    let store = store.start().await?;
    let worker = async |name, rest| {
        let setup = move |factory: &mut Factory| {
            factory.provide_value(rest)?;
            factory.with::<Worker>()
        };
        sim.machine(name, setup).start().await
    };
    let workers =
        vec![worker("worker-1", Duration::from_millis(5)).await?, worker("worker-2", 2 * LEASE).await?];

    // Keeper and store hold all they know in their memory, and answer in no time. Workers live on, too: a fault that is
    // tied to their start or stop would take whatever brought that about, besides.
    let links = [&[keeper, store][..], &workers].concat();
    let mut families = Family::ALL.to_vec();
    families.retain(|family| *family != Family::Loss);
    let budget = Budget {
        links,
        pauses: workers.clone(),
        clocks: workers,
        delay_max: Duration::from_millis(50),
        families,
        ..Budget::default()
    };
    sim.inject_faults(budget).run().await?;
    Ok(())
}
