//! Tombstone: a replica forgets a deletion that the other replica has not heard of yet.
//!
//! Two replicas set and delete values, and pull each other's entries; of two versions of an entry the newer one wins. A
//! deleted entry is kept as a tombstone until the other replica has acknowledged it: a pull says which state of the
//! other was merged last. Planted bug: a tombstone is removed after two seconds. When the other replica was away for
//! as long, its old value comes back.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::ensure;
use rand::RngExt as _;
use steelmill_core::{Clock as _, Daemon, DaemonRef, Factory, Result, Scope};
use steelmill_sim::fault::Budget;
use steelmill_sim::{Clock, Machine, Network, Sim};

use super::talk::{Answers, Client, Listener, answer_all, think, words};
use super::{Bug, DELAYS_TCP, Version};

pub(crate) const BUG: Bug = Bug {
    name: "tombstone",
    missing_code: "a replica does not wait for the other's acknowledgement before it removes a tombstone",
    needed: "a replica cut off for longer than tombstones are kept",
    faults: &[DELAYS_TCP],
    may_help: DELAYS_TCP,
    scenario: |sim, version| Box::pin(scenario(sim, version)),
};

const TOMBSTONE_LIFE: Duration = Duration::from_secs(2);
const KEYS: u64 = 50;

struct Replica {
    version: Version,
    other: &'static str,
    listener: Listener,
    clock: DaemonRef<Clock>,
    network: DaemonRef<Network>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// By key.
    entries: BTreeMap<u64, Entry>,
    /// Incremented by every change.
    number: u64,
    /// The number of the last state that the other replica has merged.
    acknowledged: u64,
}

struct Entry {
    version: u64,
    is_deleted: bool,
    /// The state's number when the entry was changed, and the time.
    since: u64,
    changed: Instant,
}

impl Daemon for Replica {
    fn build(factory: &mut Factory) -> Result<Self> {
        let other = if factory.path() == "replica-1" { "replica-2:7000" } else { "replica-1:7000" };
        Ok(Self {
            version: *factory.value()?,
            other,
            listener: Listener::build(factory)?,
            clock: factory.get()?,
            network: factory.get()?,
            state: Mutex::default(),
        })
    }

    async fn prepare(&self, _: &Scope) -> Result {
        self.listener.bind(7000).await
    }

    async fn run(self: &Arc<Self>, scope: &Scope) -> Result {
        let answers = self.listener.serve(scope, |stream| answer_all(self.clone(), stream));
        let pulls = scope.until_stopping(self.pull_loop());
        let (answers, _) = tokio::join!(answers, pulls);
        answers
    }
}

impl Answers for Replica {
    /// `pull MERGED` with the number of the state that was merged last. The reply is the state: its number, and the key,
    /// the version and 1 if deleted of each entry.
    async fn answer(&self, request: &str) -> String {
        let mut state = self.state();
        let (_, numbers) = words(request);
        state.acknowledged = numbers.first().copied().unwrap_or_default().max(state.acknowledged);
        let entry =
            |(key, entry): (&u64, &Entry)| format!(" {key} {} {}", entry.version, u8::from(entry.is_deleted));
        format!("{}{}", state.number, state.entries.iter().map(entry).collect::<String>())
    }
}

impl Replica {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn pull_loop(&self) {
        let mut other = Client::new(*self.network, self.other);
        let mut merged = 0;
        loop {
            let pulled =
                self.clock.timeout(Duration::from_secs(1), other.ask(&format!("pull {merged}"))).await;
            if let Ok(Ok(pulled)) = pulled
                && let [number, entries @ ..] = &words(&pulled).1[..]
            {
                entries.chunks_exact(3).for_each(|entry| self.merge(entry[0], entry[1], entry[2] == 1));
                merged = *number;
            }
            // Not while a pull is in progress: its reply may be older than the acknowledgement.
            self.remove_tombstones();
            self.clock.sleep(Duration::from_millis(300)).await;
        }
    }

    /// Takes over an entry of the other replica, or a change of its own, if it is newer.
    fn merge(&self, key: u64, version: u64, is_deleted: bool) {
        let changed = self.clock.now();
        let mut state = self.state();
        // A value that it does not have needs no tombstone: the other has none either.
        if state.entries.get(&key).map_or(!is_deleted, |entry| entry.version < version) {
            state.number += 1;
            let since = state.number;
            state.entries.insert(key, Entry { version, is_deleted, since, changed });
        }
    }

    fn remove_tombstones(&self) {
        let now = self.clock.now();
        let mut state = self.state();
        let acknowledged = state.acknowledged;
        state.entries.retain(|_, entry| {
            let is_needed = match self.version {
                Version::Right => entry.since > acknowledged,
                Version::Planted => now - entry.changed < TOMBSTONE_LIFE,
            };
            !entry.is_deleted || is_needed
        });
    }
}

/// The last change of every key.
type Newest = Arc<Mutex<BTreeMap<u64, u64>>>;

async fn scenario(sim: Sim, version: Version) -> Result {
    let replica = async |name| {
        let setup = move |factory: &mut Factory| {
            factory.provide_value(version)?;
            factory.with::<Replica>()
        };
        sim.machine(name, setup).start().await
    };
    let replicas = [replica("replica-1").await?, replica("replica-2").await?];
    let (versions, newest) = (Arc::new(AtomicU64::new(1)), Newest::default());
    let changes = sim.limit("changes", 1..=150);
    let change = |machine: &Machine| {
        machine.spawn("changes", change_all(machine.clone(), changes, versions.clone(), newest.clone()))
    };
    let changing: Vec<_> = replicas.iter().map(change).collect();

    // The entries are only in memory, so no machine may end.
    sim.inject_faults(Budget { ends: Vec::new(), ..Budget::of(&replicas) }).run().await?;
    for replica in changing {
        replica.await??;
    }
    sim.clock().sleep(Duration::from_secs(20)).await;

    let newest = newest.lock().unwrap_or_else(PoisonError::into_inner);
    for replica in replicas {
        let (name, replica) = (replica.name().to_owned(), replica.get::<Replica>()?);
        for (key, entry) in replica.state().entries.iter().filter(|(_, entry)| !entry.is_deleted) {
            let is_newest = newest.get(key) == Some(&entry.version);
            ensure!(is_newest, "a value of key {key} came back at {name:?}: it was changed or deleted later");
        }
    }
    Ok(())
}

/// Sets keys that the machine's replica does not have, and sets or deletes those that it has.
async fn change_all(machine: Machine, changes: u64, versions: Arc<AtomicU64>, newest: Newest) -> Result {
    for _ in 0..changes {
        think(&machine, Duration::from_millis(800)).await;
        let replica = machine.get::<Replica>()?;
        let (key, is_deleted) = {
            let mut random = machine.entropy().rng();
            (random.random_range(0..KEYS), random.random_range(0..2) == 0)
        };
        let has_value = replica.state().entries.get(&key).is_some_and(|entry| !entry.is_deleted);
        let version = versions.fetch_add(1, Ordering::Relaxed);
        replica.merge(key, version, is_deleted && has_value);
        newest.lock().unwrap_or_else(PoisonError::into_inner).insert(key, version);
    }
    Ok(())
}
