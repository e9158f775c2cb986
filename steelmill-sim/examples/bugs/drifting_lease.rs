//! Lease without a margin for clock drift: a keeper lends a resource for one second to one holder at a time.
//!
//! A holder measures the lease on its own clock, from before its request was sent, so that network delay only shortens
//! it. Both clocks may drift by ten per cent, so the holder must stop relying on the lease a little early.
//! Planted bug: that margin is missing.
//!
//! The first holder renews in time, so the second one acquires the lease only after a renewal was delayed. The bug
//! therefore needs two faults: that delay, and clock drift.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use steelmill_core::{Clock as _, Daemon, DaemonRef, Factory, Result, Scope};
use steelmill_sim::fault::{Budget, Family};
use steelmill_sim::{Clock, Machine, Network, Sim};
use tokio::sync::Notify;

use super::talk::{Answers, Client, Listener, answer_all};
use super::{Bug, Version};

pub(crate) const BUG: Bug = Bug {
    name: "drifting-lease",
    missing_code: "the lease holder allows no margin for its own slow clock",
    needed: "clock drift, and a delay of the first holder's renewal",
    faults: &[&[Family::Drift], DELAYS_RENEWAL],
    may_help: &[],
    scenario: |sim, version| Box::pin(scenario(sim, version)),
};

const DELAYS_RENEWAL: &[Family] = &[
    Family::Pause,
    Family::SlowMachine,
    Family::Partition,
    Family::PartitionOneWay,
    Family::Isolation,
    Family::Loss,
    Family::Slow,
    Family::Tail,
];

const LEASE: Duration = Duration::from_secs(1);
const DRIFT_MAX_PPM: u32 = 100_000;

struct Keeper {
    listener: Listener,
    clock: DaemonRef<Clock>,
    lease: Mutex<Option<(String, Instant)>>,
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
    async fn answer(&self, requester: &str) -> String {
        let now = self.clock.now();
        let mut lease = self.lease.lock().unwrap_or_else(PoisonError::into_inner);
        match &*lease {
            Some((holder, until)) if holder != requester && *until > now => "it is lent".to_owned(),
            _ => {
                *lease = Some((requester.to_owned(), now + LEASE));
                "take it".to_owned()
            }
        }
    }
}

struct Holder {
    version: Version,
    name: String,
    clock: DaemonRef<Clock>,
    network: DaemonRef<Network>,
    /// The interval between renewals.
    renewal_interval: Duration,
    /// Notified of every acquisition and renewal.
    acquired: Arc<Notify>,
    until: Mutex<Option<Instant>>,
}

impl Daemon for Holder {
    fn build(factory: &mut Factory) -> Result<Self> {
        let (clock, network) = (factory.get()?, factory.get()?);
        let (version, name) = (*factory.value()?, factory.path().to_owned());
        let (renewal_interval, acquired) = (*factory.value()?, Arc::clone(&*factory.value::<Arc<Notify>>()?));
        Ok(Self { version, name, clock, network, renewal_interval, acquired, until: Mutex::default() })
    }

    async fn run(self: &Arc<Self>, scope: &Scope) -> Result {
        scope.until_stopping(self.acquire_loop()).await;
        Ok(())
    }
}

impl Holder {
    /// Whether it relies on the lease now.
    fn holds(&self) -> bool {
        let until = *self.until.lock().unwrap_or_else(PoisonError::into_inner);
        until.is_some_and(|until| self.clock.now() < until)
    }

    async fn acquire_loop(&self) {
        let mut keeper = Client::new(*self.network, "keeper:7000");
        loop {
            let asked = self.clock.now();
            let answer = self.clock.timeout(Duration::from_millis(100), keeper.ask(&self.name)).await;
            let granted = matches!(answer, Ok(Ok(answer)) if answer == "take it");
            if granted {
                let safe = match self.version {
                    Version::Right => LEASE * (1_000_000 - DRIFT_MAX_PPM) / (1_000_000 + DRIFT_MAX_PPM),
                    Version::Planted => LEASE,
                };
                *self.until.lock().unwrap_or_else(PoisonError::into_inner) = Some(asked + safe);
                self.acquired.notify_one();
            }
            self.clock.sleep(if granted { self.renewal_interval } else { Duration::from_millis(5) }).await;
        }
    }
}

async fn scenario(sim: Sim, version: Version) -> Result {
    let keeper = sim.machine("keeper", |factory| factory.with::<Keeper>()).start().await?;
    let acquired = Arc::new(Notify::new());
    let holder = async |name, renewal_interval| {
        let acquired = acquired.clone();
        let setup = move |factory: &mut Factory| {
            factory.provide_value(version)?;
            factory.provide_value(Duration::from_millis(renewal_interval))?;
            factory.provide_value(acquired.clone())?;
            factory.with::<Holder>()
        };
        sim.machine(name, setup).start().await
    };
    let first = holder("holder-1", 50).await?;
    acquired.notified().await;
    let holders = vec![first, holder("holder-2", 2000).await?];

    let watched = holders.clone();
    drop(sim.spawn("auditor", async move {
        loop {
            acquired.notified().await;
            let holds = |holder: &&Machine| holder.get::<Holder>().is_ok_and(|daemon| daemon.holds());
            assert!(watched.iter().filter(holds).count() <= 1, "both holders rely on the lease");
        }
    }));
    // The lease is only in the keeper's memory, so its machine must not end. Holders must not end either: a fault tied
    // to their start or stop would shrink to itself and the fault that caused it.
    let machines = [&[keeper][..], &holders].concat();
    let budget = Budget {
        lasts: Duration::from_secs(180),
        ends: Vec::new(),
        drift_max_ppm: DRIFT_MAX_PPM,
        fault_max: Duration::from_secs(60),
        ..Budget::of(&machines)
    };
    sim.inject_faults(budget).run().await?;
    Ok(())
}
