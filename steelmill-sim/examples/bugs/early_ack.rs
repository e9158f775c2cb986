//! Early acknowledgement: a primary acknowledges a write before its replica has it.
//!
//! The primary collects writes for a tenth of a second, sends them to the replica as one batch, and acknowledges them
//! when the replica has the batch. A crash of the primary loses its memory, and the replica's log is what is left.
//! Planted bug: a write is acknowledged as soon as it is in the batch, so a crash loses acknowledged writes.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::rc::Rc;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::ensure;
use steelmill_core::{Clock as _, Daemon, DaemonRef, Factory, Result, Scope};
use steelmill_sim::fault::Budget;
use steelmill_sim::{Clock, Machine, Network, Sim};
use tokio::sync::oneshot;

use super::talk::{Answers, Client, Listener, answer_all, think, words};
use super::{Bug, ENDS, Version};

pub(crate) const BUG: Bug = Bug {
    name: "early-ack",
    missing_code: "the primary does not wait for its replica before it acknowledges a write",
    needed: "a crash of the primary",
    faults: &[ENDS],
    may_help: &[],
    scenario: |sim, version| Box::pin(scenario(sim, version)),
};

struct Primary {
    version: Version,
    listener: Listener,
    clock: DaemonRef<Clock>,
    network: DaemonRef<Network>,
    batch: Mutex<Batch>,
}

/// Each write with the sender that reports it replicated.
type Batch = Vec<(u64, oneshot::Sender<()>)>;

impl Daemon for Primary {
    fn build(factory: &mut Factory) -> Result<Self> {
        Ok(Self {
            version: *factory.value()?,
            listener: Listener::build(factory)?,
            clock: factory.get()?,
            network: factory.get()?,
            batch: Mutex::default(),
        })
    }

    async fn prepare(&self, _: &Scope) -> Result {
        self.listener.bind(7000).await
    }

    async fn run(self: &Arc<Self>, scope: &Scope) -> Result {
        let answers = self.listener.serve(scope, |stream| answer_all(self.clone(), stream));
        let replicating = scope.until_stopping(self.replicate_loop());
        let (answers, _) = tokio::join!(answers, replicating);
        answers
    }
}

impl Answers for Primary {
    async fn answer(&self, request: &str) -> String {
        let (_, numbers) = words(request);
        let [write] = numbers[..] else { return "write what?".to_owned() };
        let (replicated, is_replicated) = oneshot::channel();
        self.batch().push((write, replicated));
        if self.version == Version::Right && is_replicated.await.is_err() {
            return "not written".to_owned();
        }
        "written".to_owned()
    }
}

impl Primary {
    fn batch(&self) -> MutexGuard<'_, Batch> {
        self.batch.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends each batch until the replica acknowledges it.
    async fn replicate_loop(&self) {
        let mut replica = Client::new(*self.network, "replica:7000");
        loop {
            self.clock.sleep(Duration::from_millis(100)).await;
            let batch = std::mem::take(&mut *self.batch());
            if batch.is_empty() {
                continue;
            }
            let writes: Vec<String> = batch.iter().map(|(write, _)| write.to_string()).collect();
            let request = format!("append {}", writes.join(" "));
            while !matches!(
                self.clock.timeout(Duration::from_secs(1), replica.ask(&request)).await,
                Ok(Ok(_))
            ) {
                self.clock.sleep(Duration::from_millis(100)).await;
            }
            for (_, replicated) in batch {
                let _ = replicated.send(()); // fails if the client has given up
            }
        }
    }
}

struct Replica {
    listener: Listener,
    log: Mutex<BTreeSet<u64>>,
}

impl Daemon for Replica {
    fn build(factory: &mut Factory) -> Result<Self> {
        Ok(Self { listener: Listener::build(factory)?, log: Mutex::default() })
    }

    async fn prepare(&self, _: &Scope) -> Result {
        self.listener.bind(7000).await
    }

    async fn run(self: &Arc<Self>, scope: &Scope) -> Result {
        self.listener.serve(scope, |stream| answer_all(self.clone(), stream)).await
    }
}

impl Answers for Replica {
    async fn answer(&self, request: &str) -> String {
        let (_, numbers) = words(request);
        self.log.lock().unwrap_or_else(PoisonError::into_inner).extend(numbers);
        "appended".to_owned()
    }
}

async fn scenario(sim: Sim, version: Version) -> Result {
    let replica = sim.machine("replica", |factory| factory.with::<Replica>()).start().await?;
    let primary = sim.machine("primary", move |factory| {
        factory.provide_value(version)?;
        factory.with::<Primary>()
    });
    let primary = primary.start().await?;
    let client = sim.client("client");
    let written = Rc::new(RefCell::new(Vec::new()));
    let writes = sim.limit("writes", 1..=1000);
    let writing = client.spawn("writes", write_all(client.clone(), writes, written.clone()));

    // The replica's log is only in memory, so its machine must not end.
    let machines = [client, replica.clone(), primary.clone()];
    sim.inject_faults(Budget { ends: vec![primary], ..Budget::of(&machines) }).run().await?;
    writing.await?;
    sim.clock().sleep(Duration::from_secs(60)).await;

    let replica = replica.get::<Replica>()?;
    let log = replica.log.lock().unwrap_or_else(PoisonError::into_inner);
    for write in written.take() {
        ensure!(log.contains(&write), "the replica lacks write {write}, which was acknowledged");
    }
    Ok(())
}

async fn write_all(client: Machine, writes: u64, written: Rc<RefCell<Vec<u64>>>) {
    let mut primary = Client::new(client.network(), "primary:7000");
    for write in 0..writes {
        think(&client, Duration::from_millis(50)).await;
        let answer = primary.ask_within(Duration::from_secs(1), &client, &format!("write {write}")).await;
        if answer.is_ok_and(|answer| answer == "written") {
            written.borrow_mut().push(write);
        }
    }
}
