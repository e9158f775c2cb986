//! Crash in recovery: a journal counts as replayed although a second crash interrupted its replay.
//!
//! A store appends each record to a journal on its disk and acknowledges it. At every start it replays the journal into
//! a table, also on its disk, and then marks the journal as replayed up to its end. A crash in between is harmless: the
//! next start replays the same records again. Planted bug: the mark is set before the replay, so a second crash that
//! interrupts it loses the records that were not replayed yet.
//!
//! Machines are not restarted repeatedly by one fault, which would be both crashes.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use anyhow::ensure;
use steelmill_core::{Daemon, DaemonRef, Factory, Result, Scope};
use steelmill_sim::fault::{Budget, Family};
use steelmill_sim::{Clock, Machine, Sim};

use super::disk::Disk;
use super::talk::{Answers, Client, Listener, answer_all, think, words};
use super::{Bug, DELAYS_TCP, Version};

pub(crate) const BUG: Bug = Bug {
    name: "crash-in-recovery",
    missing_code: "the store marks its journal as replayed before it has replayed it",
    needed: "a crash, and another one while the journal is replayed",
    faults: &[CRASHES, CRASHES],
    may_help: DELAYS_TCP,
    scenario: |sim, version| Box::pin(scenario(sim, version)),
};

const CRASHES: &[Family] = &[Family::Exit, Family::PowerLoss];

struct Store {
    version: Version,
    listener: Listener,
    clock: DaemonRef<Clock>,
    files: Disk<Files>,
}

#[derive(Default)]
struct Files {
    journal: Vec<u64>,
    /// How many records of the journal are in the table.
    replayed: usize,
    table: BTreeSet<u64>,
}

impl Daemon for Store {
    fn build(factory: &mut Factory) -> Result<Self> {
        Ok(Self {
            version: *factory.value()?,
            listener: Listener::build(factory)?,
            clock: factory.get()?,
            files: Disk::of(factory)?,
        })
    }

    async fn prepare(&self, _: &Scope) -> Result {
        self.listener.bind(7000).await
    }

    async fn run(self: &Arc<Self>, scope: &Scope) -> Result {
        if scope.until_stopping(self.recover()).await.is_some() {
            self.listener.serve(scope, |stream| answer_all(self.clone(), stream)).await?;
        }
        Ok(())
    }
}

impl Store {
    async fn recover(&self) {
        let (records, end) = {
            let files = self.files.lock();
            (files.journal[files.replayed..].to_vec(), files.journal.len())
        };
        let mark = || self.files.lock().replayed = end;
        let replay = async {
            for record in records {
                self.clock.sleep(Duration::from_millis(4)).await;
                self.files.lock().table.insert(record);
            }
        };
        match self.version {
            Version::Right => {
                replay.await;
                mark();
            }
            Version::Planted => {
                mark();
                replay.await;
            }
        }
    }
}

impl Answers for Store {
    async fn answer(&self, request: &str) -> String {
        self.files.lock().journal.extend(words(request).1);
        "stored".to_owned()
    }
}

async fn scenario(sim: Sim, version: Version) -> Result {
    let (files, disk) = {
        let disk = Disk::<Files>::default();
        (disk.clone(), disk)
    };
    let store = sim.machine("store", move |factory| {
        factory.provide_value(version)?;
        factory.provide_value(disk.clone())?;
        factory.with::<Store>()
    });
    let store = store.start().await?;
    let client = sim.client("client");
    let stored = Rc::new(RefCell::new(Vec::new()));
    let records = sim.limit("records", 1..=1000);
    let storing = client.spawn("records", store_all(client.clone(), records, stored.clone()));

    let machines = [client, store.clone()];
    let mut families = Family::ALL.to_vec();
    families.retain(|family| *family != Family::RestartStorm);
    sim.inject_faults(Budget { ends: vec![store], families, ..Budget::of(&machines) }).run().await?;
    storing.await?;
    sim.clock().sleep(Duration::from_secs(60)).await; // until the journal is replayed

    let files = files.lock();
    let to_replay = &files.journal[files.replayed..];
    for record in stored.take() {
        let is_there = files.table.contains(&record) || to_replay.contains(&record);
        ensure!(is_there, "record {record} was acknowledged, and is neither in the table nor to be replayed");
    }
    Ok(())
}

async fn store_all(client: Machine, records: u64, stored: Rc<RefCell<Vec<u64>>>) {
    let mut store = Client::new(client.network(), "store:7000");
    for record in 0..records {
        think(&client, Duration::from_millis(80)).await;
        let answer = store.ask_within(Duration::from_secs(1), &client, &format!("store {record}")).await;
        if answer.is_ok_and(|answer| answer == "stored") {
            stored.borrow_mut().push(record);
        }
    }
}
