//! Stale cache: an edge caches values of an origin and misses invalidations while its invalidation stream is broken.
//!
//! On a connection of its own the origin sends the edge every key that is set. When that connection breaks, the edge
//! connects again, but keys set in between are never sent. So the cache must be cleared with the connection.
//! Planted bug: it is not, so after one connection reset a key that was set before the edge reconnected stays stale.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::ensure;
use rand::RngExt as _;
use steelmill_core::{Daemon, DaemonRef, Factory, Result, Scope};
use steelmill_sim::fault::{Budget, Family};
use steelmill_sim::{Clock, Machine, Network, Sim, TcpStream};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::sync::broadcast;

use super::talk::{Answers, Client, Listener, answer_all, think};
use super::{Bug, Version};

pub(crate) const BUG: Bug = Bug {
    name: "stale-cache",
    missing_code: "the edge keeps its cache when it loses the invalidation stream",
    needed: "a reset of the connection between edge and origin",
    faults: &[&[Family::Reset]],
    may_help: &[],
    scenario: |sim, version| Box::pin(scenario(sim, version)),
};

/// Stores the values. One port serves requests, the other streams invalidations.
struct Origin {
    listener: Listener,
    changes_listener: Listener,
    values: Mutex<BTreeMap<String, String>>,
    changes: broadcast::Sender<String>,
}

impl Daemon for Origin {
    fn build(factory: &mut Factory) -> Result<Self> {
        Ok(Self {
            listener: Listener::build(factory)?,
            changes_listener: Listener::build(factory)?,
            values: Mutex::default(),
            changes: broadcast::Sender::new(1000),
        })
    }

    async fn prepare(&self, _: &Scope) -> Result {
        self.listener.bind(7000).await?;
        self.changes_listener.bind(7001).await
    }

    async fn run(self: &Arc<Self>, scope: &Scope) -> Result {
        let answers = self.listener.serve(scope, |stream| answer_all(self.clone(), stream));
        let changes =
            self.changes_listener.serve(scope, |stream| stream_changes(self.changes.subscribe(), stream));
        tokio::try_join!(answers, changes)?;
        Ok(())
    }
}

impl Answers for Origin {
    /// `get KEY`, `set KEY VALUE`
    async fn answer(&self, request: &str) -> String {
        let mut values = self.values.lock().unwrap_or_else(PoisonError::into_inner);
        match request.split(' ').collect::<Vec<_>>()[..] {
            ["set", key, value] => {
                values.insert(key.to_owned(), value.to_owned());
                let _ = self.changes.send(key.to_owned()); // fails without a subscriber
                "set".to_owned()
            }
            ["get", key] => values.get(key).cloned().unwrap_or_default(),
            _ => "get or set what?".to_owned(),
        }
    }
}

/// Sends one edge the key of every change from now on.
async fn stream_changes(mut changes: broadcast::Receiver<String>, mut edge: TcpStream) -> Result {
    edge.write_all(b"watched\n").await?;
    loop {
        let key = changes.recv().await?;
        edge.write_all(format!("{key}\n").as_bytes()).await?;
    }
}

/// Answers from its cache, or forwards the request to the origin.
struct Edge {
    version: Version,
    listener: Listener,
    clock: DaemonRef<Clock>,
    network: DaemonRef<Network>,
    cache: Mutex<Cache>,
}

#[derive(Default)]
struct Cache {
    values: BTreeMap<String, String>,
    is_watching: bool,
    /// Incremented by every invalidation: a read from before the last one may be stale and is not cached.
    invalidations: u64,
}

impl Daemon for Edge {
    fn build(factory: &mut Factory) -> Result<Self> {
        let (clock, network) = (factory.get()?, factory.get()?);
        let version = *factory.value()?;
        Ok(Self { version, listener: Listener::build(factory)?, clock, network, cache: Mutex::default() })
    }

    async fn prepare(&self, _: &Scope) -> Result {
        self.listener.bind(7000).await
    }

    async fn run(self: &Arc<Self>, scope: &Scope) -> Result {
        let answers = self.listener.serve(scope, |stream| answer_all(self.clone(), stream));
        let watching = scope.until_stopping(self.watch_loop());
        let (answers, _) = tokio::join!(answers, watching);
        answers
    }
}

impl Edge {
    fn cache(&self) -> MutexGuard<'_, Cache> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn watch_loop(&self) {
        loop {
            let _broken = self.watch().await;
            {
                let mut cache = self.cache();
                cache.is_watching = false;
                cache.invalidations += 1;
                if self.version == Version::Right {
                    cache.values.clear();
                }
            }
            self.clock.sleep(Duration::from_secs(1)).await;
        }
    }

    async fn watch(&self) -> Result {
        let mut changes = BufReader::new(self.network.connect("origin:7001").await?).lines();
        while let Some(key) = changes.next_line().await? {
            let mut cache = self.cache();
            cache.is_watching = true; // the first line confirms the subscription
            cache.invalidations += 1;
            cache.values.remove(&key);
        }
        Ok(())
    }
}

impl Answers for Edge {
    /// `get KEY`
    async fn answer(&self, request: &str) -> String {
        let key = request.trim_start_matches("get ");
        let invalidations = {
            let cache = self.cache();
            if let Some(value) = cache.values.get(key) {
                return value.clone();
            }
            cache.invalidations
        };
        let Ok(value) = Client::new(*self.network, "origin:7000").ask(request).await else {
            return "the origin does not answer".to_owned();
        };
        let mut cache = self.cache();
        if cache.is_watching && cache.invalidations == invalidations {
            cache.values.insert(key.to_owned(), value.clone());
        }
        value
    }
}

const KEYS: u64 = 30;

/// How long nothing changes and no fault strikes before the edge must be up to date.
const QUIET: Duration = Duration::from_secs(60);

async fn scenario(sim: Sim, version: Version) -> Result {
    let origin = sim.machine("origin", |factory| factory.with::<Origin>()).start().await?;
    let edge = sim.machine("edge", move |factory| {
        factory.provide_value(version)?;
        factory.with::<Edge>()
    });
    let edge = edge.start().await?;
    let (writer, reader) = (sim.client("writer"), sim.client("reader"));
    let writes = writer.spawn("writes", write(writer.clone(), sim.limit("changes", 1..=60)));
    let reads = reader.spawn("reads", read(reader.clone(), sim.limit("reads", 1..=600)));

    // The origin's values are only in memory, so its machine must not end; and an edge's end would clear its cache.
    let machines = [origin, edge, writer, reader.clone()];
    sim.inject_faults(Budget { ends: Vec::new(), ..Budget::of(&machines) }).run().await?;
    writes.await?;
    reads.abort();
    sim.clock().sleep(QUIET).await;

    let (mut edge, mut origin) =
        (Client::new(reader.network(), "edge:7000"), Client::new(reader.network(), "origin:7000"));
    for key in 0..KEYS {
        let request = format!("get key-{key}");
        let (cached, value) = (edge.ask(&request).await?, origin.ask(&request).await?);
        ensure!(
            cached == value,
            "the edge returns {cached:?} for key-{key}, which has been {value:?} for {QUIET:?}"
        );
    }
    Ok(())
}

async fn write(writer: Machine, changes: u64) {
    let mut origin = Client::new(writer.network(), "origin:7000");
    for value in 0..changes {
        think(&writer, Duration::from_secs(2)).await;
        let key = writer.entropy().rng().random_range(0..KEYS);
        let _ = origin.ask_within(Duration::from_secs(1), &writer, &format!("set key-{key} {value}")).await;
    }
}

async fn read(reader: Machine, reads: u64) {
    let mut edge = Client::new(reader.network(), "edge:7000");
    for _ in 0..reads {
        think(&reader, Duration::from_millis(200)).await;
        let key = reader.entropy().rng().random_range(0..KEYS);
        let _ = edge.ask_within(Duration::from_secs(1), &reader, &format!("get key-{key}")).await;
    }
}
