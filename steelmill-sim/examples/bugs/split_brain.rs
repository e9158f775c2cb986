//! Split brain: a paused leader writes after its lease has expired, and no fencing token stops it.
//!
//! A keeper grants leadership as a lease of one second with an increasing term. Two workers compete; the leader renews
//! its lease, then increments a counter in a store (read, work, write), which takes at most about half a second. The
//! first worker starts the next round at once. The second lets its lease expire after each round, and leads again when
//! the first does not renew. After an error a worker waits for a lease, because its last write may be in flight.
//!
//! The term is the fencing token: every read and write carries it, and the store rejects a term lower than the highest
//! it has seen. Planted bug: that check is missing, so a leader that was paused for longer than its lease between
//! its renewal and its write sets the count back.
//!
//! The store cannot tell a late write from a paused leader's, so the budget must not delay a message by as much as a
//! lease: delays are short, and there is no loss, because repeated retransmission has no upper bound. A partition is
//! allowed: a worker that times out resets its connection, so that its write is not retransmitted afterwards.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use steelmill_core::{Clock as _, Daemon, DaemonRef, Factory, Result, Scope, assert_always};
use steelmill_sim::fault::{Budget, Family};
use steelmill_sim::{Clock, Network, Sim};

use super::talk::{Answers, Client, Listener, answer_all, words};
use super::{Bug, Version};

pub(crate) const BUG: Bug = Bug {
    name: "split-brain",
    missing_code: "the store does not reject writes of a former leader",
    needed: "a pause of the leader longer than its lease",
    faults: &[&[Family::Pause]],
    // One that makes another worker the leader.
    may_help: &[Family::Pause],
    scenario: |sim, version| Box::pin(scenario(sim, version)),
};

const LEASE: Duration = Duration::from_secs(1);

/// The timeout of each request of a round.
const REQUEST_TIMEOUT: Duration = Duration::from_millis(150);

/// The retry interval while another worker leads.
const RETRY_INTERVAL: Duration = Duration::from_millis(20);

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
    /// `WORKER`: acquires or renews the lease for that worker.
    async fn answer(&self, worker: &str) -> String {
        let now = self.clock.now();
        let mut lease = self.lease.lock().unwrap_or_else(PoisonError::into_inner);
        if lease.holder != worker && lease.until.is_some_and(|until| until > now) {
            return format!("{} leads", lease.holder);
        }
        *lease = Lease { term: lease.term + 1, holder: worker.to_owned(), until: Some(now + LEASE) };
        format!("lead in term {}", lease.term)
    }
}

struct Store {
    version: Version,
    listener: Listener,
    count: Mutex<Count>,
}

#[derive(Default)]
struct Count {
    count: u64,
    /// The highest term of any read or write so far.
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

/// Increments the count while it holds the lease.
struct Worker {
    name: String,
    /// The pause between two rounds.
    round_interval: Duration,
    clock: DaemonRef<Clock>,
    network: DaemonRef<Network>,
}

impl Daemon for Worker {
    fn build(factory: &mut Factory) -> Result<Self> {
        let (name, round_interval) = (factory.path().to_owned(), *factory.value()?);
        Ok(Self { name, round_interval, clock: factory.get()?, network: factory.get()? })
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
                self.clock.sleep(if leads { self.round_interval } else { RETRY_INTERVAL }).await;
            }
            // After a whole lease none of its writes is in flight.
            self.clock.sleep(LEASE).await;
        }
    }

    /// Acquires or renews the lease and increments the count; false if another worker leads.
    async fn turn(&self, keeper: &mut Client, store: &mut Client) -> Result<bool> {
        let answer = self.clock.timeout(REQUEST_TIMEOUT, keeper.ask(&self.name)).await??;
        let (_, numbers) = words(&answer);
        let [term] = numbers[..] else { return Ok(false) };
        let count = self.clock.timeout(REQUEST_TIMEOUT, store.ask(&format!("read {term}"))).await??;
        self.clock.sleep(Duration::from_millis(50)).await; // the work between read and write
        let request = format!("write {term} {}", count.parse::<u64>()? + 1);
        self.clock.timeout(REQUEST_TIMEOUT, store.ask(&request)).await??;
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
    let worker = async |name, round_interval| {
        let setup = move |factory: &mut Factory| {
            factory.provide_value(round_interval)?;
            factory.with::<Worker>()
        };
        sim.machine(name, setup).start().await
    };
    let workers =
        vec![worker("worker-1", Duration::from_millis(5)).await?, worker("worker-2", 2 * LEASE).await?];

    // Keeper and store keep their state only in memory, and must answer at once: no ends, pauses or clock faults there.
    // Workers must not end either: a fault tied to their start or stop would shrink to itself and the fault that
    // caused it.
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
