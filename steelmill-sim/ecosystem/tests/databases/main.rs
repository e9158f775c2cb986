//! Embedded databases on a simulated disk, as they are: what was committed is there after every power loss.
#![expect(
    clippy::disallowed_methods,
    unsafe_code,
    reason = "these are programs as people write them; LMDB's `open` is unsafe"
)]

mod faults; // what each fault of a disk does to them
mod fjall; // a log-structured merge tree, with threads of its own
mod lmdb; // LMDB by heed, which maps its file
mod redb; // a B-tree that is copied on write
mod sqlite; // SQLite by rusqlite, with a rollback journal and with a write-ahead log

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::LocalBoxFuture;
use steelmill_sim::fault::{Budget, Family, Fault, Kind};
use steelmill_sim::{Campaign, DiskSettings, Seed, Sim};

/// Why a database does not do what it is asked for.
type Refusal = Box<dyn std::error::Error>;

/// A database with one row a transaction, and in each the number of the last one. Old rows are deleted.
trait Database {
    /// What it is called in a table.
    const NAME: &str;

    /// Whether it can be opened after a power loss in the middle of its creation.
    const IS_CREATED_AT_ONCE: bool = true;

    fn open(directory: &Path) -> Result<Self, Refusal>
    where
        Self: Sized;

    /// Whether a power loss may lead to this, and is known to.
    fn is_known(_: &Refusal) -> bool {
        false
    }

    /// The number of the last transaction that was committed; 0 if there is none.
    fn last(&self) -> Result<u64, Refusal>;

    /// The row of a transaction.
    fn row(&self, number: u64) -> Result<Option<Vec<u8>>, Refusal>;

    /// Writes the row of a transaction and its number, and deletes the row that is [`KEPT`] transactions older.
    fn commit(&mut self, number: u64, row: &[u8]) -> Result<(), Refusal>;
}

/// How many rows a database keeps.
const KEPT: u64 = 8;

/// The row that a transaction writes: some take several pages.
fn row(number: u64) -> Vec<u8> {
    let length = 20 + number.wrapping_mul(7919) % 9000;
    (0..length).map(|at| (number.wrapping_mul(31) + at) as u8).collect()
}

/// What the programs of a run tell each other beside the disk: which transactions were begun and committed.
#[derive(Default)]
struct Log {
    begun: AtomicU64,
    committed: AtomicU64,
}

/// Where a database is.
const DIRECTORY: &str = "/var/lib/database";

/// What is wrong with a database, if anything is.
fn wrong<D: Database>(database: &D, log: &Log) -> Result<Option<String>, Refusal> {
    let last = database.last()?;
    let (begun, committed) = (log.begun.load(Relaxed), log.committed.load(Relaxed));
    if last < committed {
        return Ok(Some(format!(
            "transaction {committed} was committed, and {last} is the last one that is there"
        )));
    }
    if last > begun {
        return Ok(Some(format!("transaction {last} is there, and {begun} was the last one that was begun")));
    }
    for number in (last + 1).saturating_sub(KEPT).max(1)..=last {
        if database.row(number)? != Some(row(number)) {
            return Ok(Some(format!("the row of transaction {number} of {last} is another one")));
        }
    }
    Ok(None)
}

/// Opens a database, checks it, and commits transactions for ever.
fn use_database<D: Database>(log: &Log) -> Result<(), Refusal> {
    let mut database = D::open(Path::new(DIRECTORY))?;
    let wrong = wrong(&database, log)?;
    assert_eq!(wrong, None);
    for number in database.last()? + 1.. {
        log.begun.store(number, Relaxed);
        database.commit(number, &row(number))?;
        log.committed.store(number, Relaxed);
        // Time passes, though nothing may be synced.
        std::thread::sleep(Duration::from_micros(300));
    }
    Ok(())
}

/// Cuts the power of a machine with a database again and again, as the plan of the seed says.
async fn power_losses<D: Database>(sim: Sim, settings: DiskSettings) -> steelmill_core::Result {
    let log = Arc::new(Log::default());
    let program = sim.program("database", {
        let log = log.clone();
        move || match use_database::<D>(&log) {
            Err(refusal) if !D::is_known(&refusal) => panic!("{refusal}"),
            _ => {}
        }
    });
    program.disk().set(settings);
    program
        .disk()
        .write(Path::new(DIRECTORY).join("directory"), "is made by whoever installs the program")?;
    let program = program.start().await?;
    while !D::IS_CREATED_AT_ONCE && log.committed.load(Relaxed) == 0 {
        sim.clock().sleep(Duration::from_millis(1)).await;
    }
    let budget = Budget {
        lasts: Duration::from_millis(150),
        ends: vec![program.clone()],
        families: vec![Family::PowerLoss],
        fault_max: Duration::from_millis(5),
        faults_min: 2,
        ..Budget::default()
    };
    sim.inject_faults(budget).run().await?;
    sim.clock().sleep(Duration::from_millis(30)).await;
    if !program.is_up() {
        sim.count("refused to open", 1);
    }
    program.exit();
    sim.count("transactions", log.committed.load(Relaxed));
    Ok(())
}

fn campaign<D: Database + 'static>(
    settings: DiskSettings,
) -> Campaign<impl Fn(Sim) -> LocalBoxFuture<'static, steelmill_core::Result> + Send + Sync> {
    Campaign::new(move |sim| power_losses::<D>(sim, settings).boxed_local())
}

/// What was committed is there.
#[track_caller]
fn keeps_what_it_committed<D: Database + 'static>() {
    keeps_what_it_committed_on::<D>(DiskSettings::default());
}

#[track_caller]
fn keeps_what_it_committed_on<D: Database + 'static>(settings: DiskSettings) {
    campaign::<D>(settings).seeds(500).check();
}

/// Something that was committed is lost, and a red seed is shrunk to the power loss that shows it; its trace tells what the disk
/// lost.
#[track_caller]
fn loses<D: Database + 'static>(settings: DiskSettings) {
    let campaign = campaign::<D>(settings).explain_runs(60);
    let shrunk =
        (1..=100).map(Seed).find_map(|seed| campaign.shrink(seed, |_| ())).expect("some seed is red");
    let faults = &shrunk.plan.faults;
    assert!(!faults.is_empty() && faults.len() <= 2, "{faults:?}");
    let trace = shrunk.outcome.trace.expect("it was traced");
    // The end of the process is enough where a database had not even written.
    let is_end = |fault: &Fault| matches!(fault.what, Kind::Exit { .. });
    let tells = trace.logs.iter().any(|log| log.text.contains("the power loss of database: "));
    assert!(tells || faults.iter().all(is_end), "{faults:?}, {:?}", trace.logs);
}

const LYING: fn() -> DiskSettings = || DiskSettings { ignores_syncs: true, ..DiskSettings::default() };
