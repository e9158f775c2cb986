//! A lease without a margin for drift: a keeper lends something for a second, to one holder at a time.
//!
//! A holder counts from before it asked, so that its time is over before the keeper lends to another, whatever the
//! network does. But it counts on its own clock, and the two may part by ten per cent each. So it relies on a little
//! less than a second. Left out: the little less.
//!
//! The first holder is there before the second one, and asks again in time; so the second one gets a turn only where
//! something keeps the first from asking. So it takes two things: that, and a clock that drifts.

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
    left_out: "the holder relies on the whole lease, on a clock that may be slow",
    takes: "a clock that drifts, and something that keeps the first holder from asking in time",
    faults: &[&[Family::Drift], KEEPS_FROM_ASKING],
    scenario: |sim, version| Box::pin(scenario(sim, version)),
};

const KEEPS_FROM_ASKING: &[Family] = &[
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

/// Lends.
struct Keeper {
    listener: Listener,
    clock: DaemonRef<Clock>,
    lent: Mutex<Option<(String, Instant)>>,
}

impl Daemon for Keeper {
    fn build(factory: &mut Factory) -> Result<Self> {
        Ok(Self { listener: Listener::build(factory)?, clock: factory.get()?, lent: Mutex::default() })
    }

    async fn prepare(&self, _: &Scope) -> Result {
        self.listener.bind(7000).await
    }

    async fn run(self: &Arc<Self>, scope: &Scope) -> Result {
        self.listener.serve(scope, |stream| answer_all(self.clone(), stream)).await
    }
}

impl Answers for Keeper {
    async fn answer(&self, asker: &str) -> String {
        let now = self.clock.now();
        let mut lent = self.lent.lock().unwrap_or_else(PoisonError::into_inner);
        match &*lent {
            Some((holder, until)) if holder != asker && *until > now => "it is lent".to_owned(),
            _ => {
                *lent = Some((asker.to_owned(), now + LEASE));
                "take it".to_owned()
            }
        }
    }
}

/// Asks for it, and asks again in time.
struct Holder {
    version: Version,
    name: String,
    clock: DaemonRef<Clock>,
    network: DaemonRef<Network>,
    /// How soon it asks again for what it has.
    again: Duration,
    /// Told of every time that it gets it.
    taken: Arc<Notify>,
    until: Mutex<Option<Instant>>,
}

impl Daemon for Holder {
    fn build(factory: &mut Factory) -> Result<Self> {
        let (clock, network) = (factory.get()?, factory.get()?);
        let (version, name) = (*factory.value()?, factory.path().to_owned());
        let (again, taken) = (*factory.value()?, Arc::clone(&*factory.value::<Arc<Notify>>()?));
        Ok(Self { version, name, clock, network, again, taken, until: Mutex::default() })
    }

    async fn run(self: &Arc<Self>, scope: &Scope) -> Result {
        scope.until_stopping(self.ask_for_ever()).await;
        Ok(())
    }
}

impl Holder {
    /// Whether it relies on having it.
    fn holds(&self) -> bool {
        let until = *self.until.lock().unwrap_or_else(PoisonError::into_inner);
        until.is_some_and(|until| self.clock.now() < until)
    }

    async fn ask_for_ever(&self) {
        let mut keeper = Client::new(*self.network, "keeper:7000");
        loop {
            let asked = self.clock.now();
            let answer = self.clock.timeout(Duration::from_millis(100), keeper.ask(&self.name)).await;
            let has_it = matches!(answer, Ok(Ok(answer)) if answer == "take it");
            if has_it {
                let safe = match self.version {
                    Version::Right => LEASE * (1_000_000 - DRIFT_MAX_PPM) / (1_000_000 + DRIFT_MAX_PPM),
                    Version::Planted => LEASE,
                };
                *self.until.lock().unwrap_or_else(PoisonError::into_inner) = Some(asked + safe);
                self.taken.notify_one();
            }
            self.clock.sleep(if has_it { self.again } else { Duration::from_millis(5) }).await;
        }
    }
}

async fn scenario(sim: Sim, version: Version) -> Result {
    let keeper = sim.machine("keeper", |factory| factory.with::<Keeper>()).start().await?;
    let taken = Arc::new(Notify::new());
    let holder = async |name, again| {
        let taken = taken.clone();
        let setup = move |factory: &mut Factory| {
            factory.provide_value(version)?;
            factory.provide_value(Duration::from_millis(again))?;
            factory.provide_value(taken.clone())?;
            factory.with::<Holder>()
        };
        sim.machine(name, setup).start().await
    };
    let first = holder("holder-1", 50).await?;
    taken.notified().await;
    let holders = vec![first, holder("holder-2", 2000).await?];

    let watched = holders.clone();
    drop(sim.spawn("auditor", async move {
        loop {
            taken.notified().await;
            let holds = |holder: &&Machine| holder.get::<Holder>().is_ok_and(|daemon| daemon.holds());
            assert!(watched.iter().filter(holds).count() <= 1, "both rely on having it");
        }
    }));
    // What the keeper has lent is in its memory, so it must not end. Holders live on, too: a fault that is tied to their
    // start or stop would take whatever brought that about, besides.
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
