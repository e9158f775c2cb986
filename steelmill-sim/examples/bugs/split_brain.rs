//! Split brain through a paused leader: two workers, of which the one that leads counts something up in a store.
//!
//! A keeper says who leads, for three seconds each time, with a term that is greater than any before. The leader gives
//! that back well before it is over, and begins nothing that might take longer. The first worker asks again at once, the
//! second gets a turn where the first does not. But a leader may be paused, after it has read and before it writes,
//! until long after the other has taken over. So each write carries its term, and the
//! store refuses a term that is less than one it has seen. Left out: the refusal. Then a leader that was paused for
//! longer than its lease sets the count back.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use steelmill_core::{Clock as _, Daemon, DaemonRef, Factory, Result, Scope, assert_always};
use steelmill_sim::fault::{Budget, Family};
use steelmill_sim::{Clock, Network, Sim};

use super::talk::{Answers, Door, Way, answer_all, words};
use super::{Bug, Version};

pub(crate) const BUG: Bug = Bug {
    name: "split-brain",
    left_out: "the store does not refuse a write of a former leader",
    takes: "a pause of the leader that is longer than its lease",
    families: &[Family::Pause],
    faults: 1,
    scenario: |sim, version| Box::pin(scenario(sim, version)),
};

const LEASE: Duration = Duration::from_secs(3);

/// The leader begins nothing in the last part of its lease; longer than a round of reading and writing may take.
const MARGIN: Duration = Duration::from_millis(1800);
const LIMIT: Duration = Duration::from_millis(400);

/// Says who leads.
struct Keeper {
    door: Door,
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
        Ok(Self { door: Door::build(factory)?, clock: factory.get()?, lease: Mutex::default() })
    }

    async fn prepare(&self, _: &Scope) -> Result {
        self.door.open(7000).await
    }

    async fn run(self: &Arc<Self>, scope: &Scope) -> Result {
        self.door.serve(scope, |stream| answer_all(self.clone(), stream)).await
    }
}

impl Answers for Keeper {
    /// `WORKER`, who would lead, or `back TERM`.
    async fn answer(&self, asker: &str) -> String {
        let now = self.clock.now();
        let mut lease = self.lease.lock().unwrap_or_else(PoisonError::into_inner);
        if let (_, numbers) = words(asker)
            && let [term] = numbers[..]
        {
            lease.until = lease.until.filter(|_| lease.term != term);
            return "thanks".to_owned();
        }
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
    door: Door,
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
        Ok(Self { version: *factory.value()?, door: Door::build(factory)?, count: Mutex::default() })
    }

    async fn prepare(&self, _: &Scope) -> Result {
        self.door.open(7000).await
    }

    async fn run(self: &Arc<Self>, scope: &Scope) -> Result {
        self.door.serve(scope, |stream| answer_all(self.clone(), stream)).await
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
    /// Before it asks to lead again.
    patience: Duration,
    clock: DaemonRef<Clock>,
    network: DaemonRef<Network>,
}

impl Daemon for Worker {
    fn build(factory: &mut Factory) -> Result<Self> {
        Ok(Self {
            name: factory.path().to_owned(),
            patience: *factory.value()?,
            clock: factory.get()?,
            network: factory.get()?,
        })
    }

    async fn run(self: &Arc<Self>, scope: &Scope) -> Result {
        scope.until_stopping(self.work()).await;
        Ok(())
    }
}

impl Worker {
    async fn work(&self) {
        let mut keeper = Way::new(*self.network, "keeper:7000");
        loop {
            let asked = self.clock.now();
            if let Ok(Ok(answer)) = self.clock.timeout(LIMIT, keeper.ask(&self.name)).await
                && let (_, numbers) = words(&answer)
                && let [term] = numbers[..]
            {
                // A tenure that ends badly is given up, and with it what is still on its way.
                let _ = self.lead(term, asked + LEASE - MARGIN).await;
                let _ = self.clock.timeout(LIMIT, keeper.ask(&format!("back {term}"))).await;
            }
            self.clock.sleep(self.patience).await;
        }
    }

    async fn lead(&self, term: u64, until: Instant) -> Result {
        let mut store = Way::new(*self.network, "store:7000");
        while self.clock.now() < until {
            let count = self.clock.timeout(LIMIT, store.ask(&format!("read {term}"))).await??;
            self.clock.sleep(Duration::from_millis(20)).await; // the work itself
            let request = format!("write {term} {}", count.parse::<u64>()? + 1);
            self.clock.timeout(LIMIT, store.ask(&request)).await??;
        }
        Ok(())
    }
}

async fn scenario(sim: Sim, version: Version) -> Result {
    let keeper = sim.machine("keeper", |factory| factory.with::<Keeper>()).start().await?;
    let store = sim.machine("store", move |factory| {
        factory.provide_value(version)?;
        factory.with::<Store>()
    });
    let store = store.start().await?;
    let worker = async |name, patience| {
        let setup = move |factory: &mut Factory| {
            factory.provide_value(Duration::from_millis(patience))?;
            factory.with::<Worker>()
        };
        sim.machine(name, setup).start().await
    };
    let workers = vec![worker("worker-1", 5).await?, worker("worker-2", 200).await?];

    // Keeper and store hold all they know in their memory, and answer in no time.
    let links = [&[keeper, store][..], &workers].concat();
    sim.trouble(Budget {
        links,
        ends: workers.clone(),
        pauses: workers.clone(),
        clocks: workers,
        ..Budget::default()
    })
    .run()
    .await?;
    Ok(())
}
