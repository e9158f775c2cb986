//! Stale cache: an edge keeps what it has read from an origin, and is told what has changed.
//!
//! The edge watches the origin over a connection of its own, on which the origin names every key that is set. When that
//! connection breaks the edge watches anew; but what was set in between it is never told. So what it has kept goes with
//! the connection. Left out: that. Then a reset is enough, and one key that was set before the edge watched again stays
//! as it was for ever.

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
    left_out: "the edge does not forget what it has kept when it is told of changes no more",
    takes: "a reset of the connection between edge and origin",
    faults: &[&[Family::Reset]],
    scenario: |sim, version| Box::pin(scenario(sim, version)),
};

/// Holds the values. One port answers, the other tells of changes.
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
        let changes = self.changes_listener.serve(scope, |stream| tell(self.changes.subscribe(), stream));
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
                let _ = self.changes.send(key.to_owned()); // whoever watches
                "set".to_owned()
            }
            ["get", key] => values.get(key).cloned().unwrap_or_default(),
            _ => "get or set what?".to_owned(),
        }
    }
}

/// Tells one edge of every change from now on.
async fn tell(mut changes: broadcast::Receiver<String>, mut edge: TcpStream) -> Result {
    edge.write_all(b"watched\n").await?;
    loop {
        let key = changes.recv().await?;
        edge.write_all(format!("{key}\n").as_bytes()).await?;
    }
}

/// Answers from what it has kept, or else asks the origin.
struct Edge {
    version: Version,
    listener: Listener,
    clock: DaemonRef<Clock>,
    network: DaemonRef<Network>,
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    values: BTreeMap<String, String>,
    is_watching: bool,
    /// How often something was forgotten: what was asked for before may be as old.
    forgotten: u64,
}

impl Daemon for Edge {
    fn build(factory: &mut Factory) -> Result<Self> {
        let (clock, network) = (factory.get()?, factory.get()?);
        let version = *factory.value()?;
        Ok(Self { version, listener: Listener::build(factory)?, clock, network, kept: Mutex::default() })
    }

    async fn prepare(&self, _: &Scope) -> Result {
        self.listener.bind(7000).await
    }

    async fn run(self: &Arc<Self>, scope: &Scope) -> Result {
        let answers = self.listener.serve(scope, |stream| answer_all(self.clone(), stream));
        let watching = scope.until_stopping(self.watch_for_ever());
        let (answers, _) = tokio::join!(answers, watching);
        answers
    }
}

impl Edge {
    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn watch_for_ever(&self) {
        loop {
            let _broken = self.watch().await;
            {
                let mut kept = self.kept();
                kept.is_watching = false;
                kept.forgotten += 1;
                if self.version == Version::Right {
                    kept.values.clear();
                }
            }
            self.clock.sleep(Duration::from_secs(1)).await;
        }
    }

    async fn watch(&self) -> Result {
        let mut changes = BufReader::new(self.network.connect("origin:7001").await?).lines();
        while let Some(key) = changes.next_line().await? {
            let mut kept = self.kept();
            kept.is_watching = true; // from the first line on
            kept.forgotten += 1;
            kept.values.remove(&key);
        }
        Ok(())
    }
}

impl Answers for Edge {
    /// `get KEY`
    async fn answer(&self, request: &str) -> String {
        let key = request.trim_start_matches("get ");
        let forgotten = {
            let kept = self.kept();
            if let Some(value) = kept.values.get(key) {
                return value.clone();
            }
            kept.forgotten
        };
        let Ok(value) = Client::new(*self.network, "origin:7000").ask(request).await else {
            return "the origin does not answer".to_owned();
        };
        let mut kept = self.kept();
        if kept.is_watching && kept.forgotten == forgotten {
            kept.values.insert(key.to_owned(), value.clone());
        }
        value
    }
}

const KEYS: u64 = 30;

/// How long everything is left alone before the edge must know all.
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

    // The origin's values are in its memory, so it must not end. An edge that does forgets what is stale with the rest.
    let machines = [origin, edge, writer, reader.clone()];
    sim.inject_faults(Budget { ends: Vec::new(), ..Budget::of(&machines) }).run().await?;
    writes.await?;
    reads.abort();
    sim.clock().sleep(QUIET).await;

    let (mut edge, mut origin) =
        (Client::new(reader.network(), "edge:7000"), Client::new(reader.network(), "origin:7000"));
    for key in 0..KEYS {
        let request = format!("get key-{key}");
        let (kept, value) = (edge.ask(&request).await?, origin.ask(&request).await?);
        ensure!(
            kept == value,
            "the edge says {kept:?} for key-{key}, which has been {value:?} for {QUIET:?}"
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
