//! What each fault of a disk does to each database, for the table of docs/disk.md:
//!
//! ```text
//! FAULT_SEEDS=500 cargo test -p steelmill-ecosystem --test databases faults -- --nocapture
//! ```
//!
//! A disk has trouble for a while, and loses its power; a database may refuse what it is asked for, and is then opened again.
//! When the trouble is over it is opened for the last time: what was committed is there, or it is not, or it refuses.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use steelmill_sim::fault::{DiskCall, DiskTrouble};
use steelmill_sim::{Campaign, DiskSettings, Durability, Sim};

use crate::fjall::Fjall;
use crate::lmdb::Lmdb;
use crate::redb::Redb;
use crate::sqlite::{Rollback, Sqlite, WriteAhead};
use crate::{DIRECTORY, Database, Log, Refusal, row, wrong};

/// The kinds of trouble, with rates at which most runs have some of it.
const TROUBLES: [(&str, DiskTrouble); 11] = [
    ("power losses alone", DiskTrouble::Slow { delay_max: Duration::ZERO }),
    ("read errors", DiskTrouble::Errors { of: DiskCall::Read, ppm: 20_000 }),
    ("write errors", DiskTrouble::Errors { of: DiskCall::Write, ppm: 20_000 }),
    ("sync errors", DiskTrouble::Errors { of: DiskCall::Sync, ppm: 50_000 }),
    ("no space", DiskTrouble::Full),
    ("short transfers", DiskTrouble::Short { ppm: 100_000 }),
    ("slow syncs", DiskTrouble::Slow { delay_max: Duration::from_millis(20) }),
    ("lost writes", DiskTrouble::LostWrites { ppm: 20_000 }),
    ("misdirected writes", DiskTrouble::MisdirectedWrites { ppm: 20_000 }),
    ("misdirected reads", DiskTrouble::MisdirectedReads { ppm: 20_000 }),
    ("bit rot", DiskTrouble::BitRot { sectors: 3 }),
];

/// Whether a disk says that all is well, and it is not.
fn is_damage(trouble: DiskTrouble) -> bool {
    !matches!(
        trouble,
        DiskTrouble::Errors { .. } | DiskTrouble::Full | DiskTrouble::Short { .. } | DiskTrouble::Slow { .. }
    )
}

/// How a database came through.
const KEPT: &str = "kept";
const LOST: &str = "lost";
const REFUSED: &str = "refused";
const PANICKED: &str = "panicked";

/// Commits until it is refused.
fn commit<D: Database>(log: &Log) -> Result<&'static str, Refusal> {
    let mut database = D::open(Path::new(DIRECTORY))?;
    if wrong(&database, log)?.is_some() {
        return Ok(LOST);
    }
    loop {
        let number = database.last()? + 1;
        log.begun.store(number.max(log.begun.load(Relaxed)), Relaxed);
        database.commit(number, &row(number))?;
        log.committed.store(number, Relaxed);
        std::thread::sleep(Duration::from_micros(300));
    }
}

/// Opens it for the last time.
fn look<D: Database>(log: &Log) -> Result<&'static str, Refusal> {
    let database = D::open(Path::new(DIRECTORY))?;
    Ok(if wrong(&database, log)?.is_some() { LOST } else { KEPT })
}

async fn run<D: Database>(sim: Sim, trouble: DiskTrouble, durability: Durability) -> steelmill_core::Result {
    let (log, told) = (Arc::new(Log::default()), Arc::new(Mutex::new(None)));
    let is_last = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let program = sim.program("database", {
        let (log, told, is_last) = (log.clone(), told.clone(), is_last.clone());
        move || {
            let go =
                AssertUnwindSafe(|| if is_last.load(Relaxed) { look::<D>(&log) } else { commit::<D>(&log) });
            let how = match catch_unwind(go) {
                Ok(Ok(how)) => how,
                Ok(Err(_)) => REFUSED,
                Err(_) => PANICKED,
            };
            *told.lock().expect("nobody panics with it") = Some(how);
        }
    });
    program.disk().set(DiskSettings { durability, ..DiskSettings::default() });
    program
        .disk()
        .write(Path::new(DIRECTORY).join("directory"), "is made by whoever installs the program")?;
    let mut program = program.start().await?;
    while log.committed.load(Relaxed) < 3 {
        sim.clock().sleep(Duration::from_millis(1)).await;
    }
    let mut panics = 0;
    for _ in 0..3 {
        sim.clock().sleep(Duration::from_micros(sim.draw(10_000))).await;
        let begun = program.disk().trouble(trouble);
        for _ in 0..5 {
            sim.clock().sleep(Duration::from_micros(sim.draw(6_000))).await;
            let how = told.lock().expect("nobody panics with it").take();
            panics += u64::from(how == Some(PANICKED));
            if how.is_some() {
                program.restart().await?;
            }
        }
        drop(begun);
        program.power_loss();
        program = program.start().await?;
    }
    program.exit();
    *told.lock().expect("nobody panics with it") = None;
    is_last.store(true, Relaxed);
    let program = program.start().await?;
    anyhow::ensure!(program.ended().await.is_success());
    sim.count(told.lock().expect("nobody panics with it").unwrap_or(PANICKED), 1);
    sim.count("panics meanwhile", panics);
    sim.count("transactions", log.committed.load(Relaxed));
    Ok(())
}

/// How many runs of how many ended badly, and how, as a cell of the table. Whoever crashed did so in C code, or at a signal.
fn cell<D: Database + 'static>(trouble: DiskTrouble, durability: Durability, may_crash: bool) -> String {
    let seeds = std::env::var("FAULT_SEEDS").ok().and_then(|seeds| seeds.parse().ok()).unwrap_or(4);
    let campaign = Campaign::new(move |sim| run::<D>(sim, trouble, durability)).seeds(seeds);
    let summary = campaign.failures_max(usize::MAX).run();
    let total = |what| summary.counts.get(what).map_or(0, |count| count.total);
    let ends = [LOST, REFUSED, PANICKED].map(|what| (total(what), what));
    let crashed = (summary.failed.len() as u64, "crashed");
    let failure = summary.failed.first().and_then(|outcome| outcome.failure.as_ref());
    let failure = failure.map(ToString::to_string).unwrap_or_default();
    assert!(crashed.0 == 0 || may_crash, "{}: {trouble:?}: {summary}\n{failure}", D::NAME);
    let bad = ends.into_iter().chain([crashed]).filter(|(n, _)| *n > 0);
    let bad: Vec<String> = bad.map(|(n, what)| format!("{n} {what}")).collect();
    if bad.is_empty() { "-".into() } else { bad.join(", ") }
}

/// Prints a column of the table. What is no damage loses nothing that was committed, unless a database is known for it.
fn column<D: Database + 'static>(durability: Durability, known: &[&str]) {
    for (name, trouble) in TROUBLES {
        let is_known = is_damage(trouble) || known.contains(&name);
        let cell = cell::<D>(trouble, durability, is_known);
        println!("| {name} | {} | {cell}", D::NAME);
        assert!(
            is_damage(trouble) || known.contains(&name) || !cell.contains(LOST),
            "{}: {name}: {cell}",
            D::NAME
        );
    }
}

#[test]
fn faults_and_redb() {
    // It panics at what it reads from memory after a sync that failed, and once more as it unwinds.
    column::<Redb<true>>(Durability::Posix, &["sync errors"]);
}

#[test]
fn faults_and_sqlite() {
    column::<Sqlite<Rollback>>(Durability::Posix, &[]);
    // What its log has after a sync that failed is read again from memory, and is not on the medium.
    column::<Sqlite<WriteAhead>>(Durability::Posix, &["sync errors"]);
}

#[test]
fn faults_and_lmdb() {
    column::<Lmdb<true, false>>(Durability::Posix, &[]);
}

#[test]
fn faults_and_fjall() {
    // What its journal has after a sync that failed is read again from memory, and is not on the medium.
    column::<Fjall<true>>(Durability::Ext4, &["sync errors"]);
}
