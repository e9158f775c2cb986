//! Unscoped task: a recorder acknowledges records at once and sends them to an archive in a background task.
//!
//! The task collects records for a tenth of a second, to send them as one batch. Spawned on the daemon's scope, it is
//! awaited when the recorder stops, and no acknowledged record is lost. Planted bug: it is spawned on the machine, so a
//! redeployment (an orderly stop and a restart) ends it before it has sent.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::ensure;
use steelmill_core::{Clock as _, Daemon, DaemonRef, Deadlines, Factory, Result, Scope, SetOnce};
use steelmill_sim::fault::{Budget, Family};
use steelmill_sim::{Clock, Machine, Network, Sim, Spawner};

use super::talk::{Answers, Client, Listener, answer_all, think, words};
use super::{Bug, Version};

pub(crate) const BUG: Bug = Bug {
    name: "forgotten-task",
    missing_code: "the recorder's sender is not spawned on its scope, so a stop does not wait for it",
    needed: "a redeployment",
    faults: &[&[Family::Own]],
    may_help: &[],
    scenario: |sim, version| Box::pin(scenario(sim, version)),
};

struct Recorder {
    version: Version,
    listener: Listener,
    clock: DaemonRef<Clock>,
    network: DaemonRef<Network>,
    spawner: DaemonRef<Spawner>,
    scope: SetOnce<Scope>,
    batch: Arc<Mutex<Vec<u64>>>,
}

impl Daemon for Recorder {
    fn build(factory: &mut Factory) -> Result<Self> {
        Ok(Self {
            version: *factory.value()?,
            listener: Listener::build(factory)?,
            clock: factory.get()?,
            network: factory.get()?,
            spawner: factory.get()?,
            scope: SetOnce::new(),
            batch: Arc::default(),
        })
    }

    async fn prepare(&self, scope: &Scope) -> Result {
        self.scope.set(scope.clone())?;
        self.listener.bind(7000).await
    }

    async fn run(self: &Arc<Self>, scope: &Scope) -> Result {
        self.listener.serve(scope, |stream| answer_all(self.clone(), stream)).await
    }
}

impl Answers for Recorder {
    async fn answer(&self, record: &str) -> String {
        let (_, numbers) = words(record);
        let (Ok(scope), [record]) = (self.scope.get(), &numbers[..]) else {
            return "record what?".to_owned();
        };
        let is_first = {
            let mut batch = self.batch.lock().unwrap_or_else(PoisonError::into_inner);
            batch.push(*record);
            batch.len() == 1
        };
        if is_first {
            let sending = send(*self.clock, *self.network, self.batch.clone());
            match self.version {
                Version::Right => scope.spawn("send", sending),
                Version::Planted => drop(self.spawner.spawn("send", sending)),
            }
        }
        "recorded".to_owned()
    }
}

/// Waits for the batch to fill, and sends it until the archive acknowledges it.
async fn send(clock: Clock, network: Network, batch: Arc<Mutex<Vec<u64>>>) {
    clock.sleep(Duration::from_millis(100)).await;
    let records = std::mem::take(&mut *batch.lock().unwrap_or_else(PoisonError::into_inner));
    let records: Vec<String> = records.iter().map(u64::to_string).collect();
    let request = format!("keep {}", records.join(" "));
    let mut archive = Client::new(network, "archive:7000");
    while !matches!(clock.timeout(Duration::from_secs(1), archive.ask(&request)).await, Ok(Ok(_))) {
        clock.sleep(Duration::from_millis(100)).await;
    }
}

#[derive(Default)]
struct Records(Mutex<BTreeSet<u64>>);

struct Archive {
    listener: Listener,
    records: Records,
}

impl Daemon for Archive {
    fn build(factory: &mut Factory) -> Result<Self> {
        Ok(Self { listener: Listener::build(factory)?, records: Records::default() })
    }

    async fn prepare(&self, _: &Scope) -> Result {
        self.listener.bind(7000).await
    }

    async fn run(self: &Arc<Self>, scope: &Scope) -> Result {
        self.listener.serve(scope, |stream| answer_all(self.clone(), stream)).await
    }
}

impl Answers for Archive {
    async fn answer(&self, request: &str) -> String {
        let (_, numbers) = words(request);
        self.records.0.lock().unwrap_or_else(PoisonError::into_inner).extend(numbers);
        "kept".to_owned()
    }
}

async fn scenario(sim: Sim, version: Version) -> Result {
    let archive = sim.machine("archive", |factory| factory.with::<Archive>()).start().await?;
    let recorder = sim.machine("recorder", move |factory| {
        // Longer than any fault lasts, so that the sender is not aborted.
        factory.deadlines(Deadlines { stop: Duration::from_secs(120), ..Deadlines::default() });
        factory.provide_value(version)?;
        factory.with::<Recorder>()
    });
    let recorder = recorder.start().await?;
    let source = sim.client("source");
    let recorded = Rc::new(RefCell::new(Vec::new()));
    let recording =
        source.spawn("records", record_all(source.clone(), sim.limit("records", 1..=3000), recorded.clone()));

    // A crash may lose unsent records, which is no bug of this protocol: no machine ends.
    let machines = [archive.clone(), recorder.clone(), source];
    let redeployments = RefCell::new(Vec::new());
    let redeploy = async |_| {
        redeployments.borrow_mut().push(sim.spawn("redeploy", redeploy(recorder.clone())));
        Ok(())
    };
    let budget = Budget { ends: Vec::new(), ..Budget::of(&machines) };
    sim.inject_faults(budget).own("redeployment", 0..=3, redeploy).run().await?;
    for redeployment in redeployments.take() {
        redeployment.await??;
    }
    recording.await?;
    sim.clock().sleep(Duration::from_secs(120)).await;

    let archive = archive.get::<Archive>()?;
    let kept = archive.records.0.lock().unwrap_or_else(PoisonError::into_inner);
    for record in recorded.take() {
        ensure!(kept.contains(&record), "the archive lacks record {record}, which was acknowledged");
    }
    Ok(())
}

/// Stops a machine in an orderly way, and restarts it.
async fn redeploy(machine: Machine) -> Result {
    // Not while the machine is paused or being redeployed.
    let Some(_claim) = machine.claim() else { return Ok(()) };
    let life = machine.stop().await?;
    ensure!(life.is_success(), "{life}");
    machine.restart().await
}

async fn record_all(source: Machine, records: u64, recorded: Rc<RefCell<Vec<u64>>>) {
    let mut recorder = Client::new(source.network(), "recorder:7000");
    for record in 0..records {
        think(&source, Duration::from_millis(50)).await;
        let answer = recorder.ask_within(Duration::from_secs(1), &source, &format!("record {record}")).await;
        if answer.is_ok_and(|answer| answer == "recorded") {
            recorded.borrow_mut().push(record);
        }
    }
}
