//! Lease off by one: a keeper lends a resource again in the last tick of a lease.
//!
//! Time is counted in ticks of a tenth of a second, on clocks that agree. A lease is granted up to a tick, and its holder
//! relies on it until the end of that tick. The keeper may grant the next one only in a later tick. Planted bug: it
//! grants it in the same tick, so that two holders rely on the resource until the tick ends.
//!
//! The first holder renews in time, so the second one acquires the lease only after a renewal was delayed.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use steelmill_core::{Clock as _, Daemon, DaemonRef, Factory, Result, Scope};
use steelmill_sim::fault::Budget;
use steelmill_sim::{Clock, Machine, Network, Sim};
use tokio::sync::Notify;

use super::talk::{Answers, Client, Listener, answer_all, words};
use super::{Bug, DELAYS_TCP, Version};

pub(crate) const BUG: Bug = Bug {
    name: "last-tick",
    missing_code: "the keeper does not count the last tick of a lease as part of it",
    needed: "a delay of the first holder's renewal",
    faults: &[DELAYS_TCP],
    may_help: &[],
    scenario: |sim, version| Box::pin(scenario(sim, version)),
};

const TICK: Duration = Duration::from_millis(100);
const LEASE_TICKS: u64 = 10;

/// The number of the current tick.
fn tick(clock: &Clock) -> u64 {
    let since = clock.wall().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    (since.as_millis() / TICK.as_millis()) as u64
}

struct Keeper {
    version: Version,
    listener: Listener,
    clock: DaemonRef<Clock>,
    /// The holder of the last lease, and the last tick of it.
    lease: Mutex<(String, u64)>,
}

impl Daemon for Keeper {
    fn build(factory: &mut Factory) -> Result<Self> {
        let (version, clock) = (*factory.value()?, factory.get()?);
        Ok(Self { version, listener: Listener::build(factory)?, clock, lease: Mutex::default() })
    }

    async fn prepare(&self, _: &Scope) -> Result {
        self.listener.bind(7000).await
    }

    async fn run(self: &Arc<Self>, scope: &Scope) -> Result {
        self.listener.serve(scope, |stream| answer_all(self.clone(), stream)).await
    }
}

impl Answers for Keeper {
    async fn answer(&self, requester: &str) -> String {
        let now = tick(&self.clock);
        let mut lease = self.lease.lock().unwrap_or_else(PoisonError::into_inner);
        let (holder, last) = &*lease;
        let is_over = match self.version {
            Version::Right => now > *last,
            Version::Planted => now >= *last,
        };
        if holder != requester && !is_over {
            return "it is lent".to_owned();
        }
        *lease = (requester.to_owned(), now + LEASE_TICKS);
        format!("take it until {}", lease.1)
    }
}

struct Holder {
    name: String,
    clock: DaemonRef<Clock>,
    network: DaemonRef<Network>,
    renewal_interval: Duration,
    /// Notified of every acquisition and renewal.
    acquired: Arc<Notify>,
    /// The last tick of its lease.
    last: Mutex<u64>,
}

impl Daemon for Holder {
    fn build(factory: &mut Factory) -> Result<Self> {
        Ok(Self {
            name: factory.path().to_owned(),
            clock: factory.get()?,
            network: factory.get()?,
            renewal_interval: *factory.value()?,
            acquired: Arc::clone(&*factory.value::<Arc<Notify>>()?),
            last: Mutex::default(),
        })
    }

    async fn run(self: &Arc<Self>, scope: &Scope) -> Result {
        scope.until_stopping(self.acquire_loop()).await;
        Ok(())
    }
}

impl Holder {
    /// Whether it relies on the lease now.
    fn holds(&self) -> bool {
        tick(&self.clock) <= *self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn acquire_loop(&self) {
        let mut keeper = Client::new(*self.network, "keeper:7000");
        loop {
            let answer = self.clock.timeout(Duration::from_millis(200), keeper.ask(&self.name)).await;
            let granted =
                answer.ok().and_then(Result::ok).and_then(|answer| words(&answer).1.first().copied());
            if let Some(last) = granted {
                *self.last.lock().unwrap_or_else(PoisonError::into_inner) = last;
                self.acquired.notify_one();
            }
            let interval = if granted.is_some() { self.renewal_interval } else { Duration::from_millis(25) };
            self.clock.sleep(interval).await;
        }
    }
}

async fn scenario(sim: Sim, version: Version) -> Result {
    let keeper = sim.machine("keeper", move |factory| {
        factory.provide_value(version)?;
        factory.with::<Keeper>()
    });
    let keeper = keeper.start().await?;
    let acquired = Arc::new(Notify::new());
    let holder = async |name, renewal_interval: Duration| {
        let acquired = acquired.clone();
        let setup = move |factory: &mut Factory| {
            factory.provide_value(renewal_interval)?;
            factory.provide_value(acquired.clone())?;
            factory.with::<Holder>()
        };
        sim.machine(name, setup).start().await
    };
    let first = holder("holder-1", TICK).await?;
    acquired.notified().await;
    // The second one lets its lease expire, so that the first holds it most of the time.
    let holders = vec![first, holder("holder-2", 2 * LEASE_TICKS as u32 * TICK).await?];

    let watched = holders.clone();
    drop(sim.spawn("auditor", async move {
        loop {
            acquired.notified().await;
            let holds = |holder: &&Machine| holder.get::<Holder>().is_ok_and(|daemon| daemon.holds());
            assert!(watched.iter().filter(holds).count() <= 1, "both holders rely on the lease");
        }
    }));
    // The clocks agree, and the lease is only in the keeper's memory: no clock faults, and no machine ends.
    let machines = [&[keeper][..], &holders].concat();
    let budget = Budget { ends: Vec::new(), clocks: Vec::new(), ..Budget::of(&machines) };
    sim.inject_faults(budget).run().await?;
    Ok(())
}
