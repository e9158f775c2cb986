//! A small storage engine with a log and a checkpoint, and bugs of the kind that real ones had. Each is found within a few seeds.
#![expect(clippy::disallowed_methods, reason = "this is a program as people write it")]

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use steelmill_core::Result;
use steelmill_sim::fault::{DiskCall, DiskTrouble};
use steelmill_sim::{Campaign, DiskSettings, Durability, Sim, Summary};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Bug {
    None,
    /// A record counts as safe before the log is synced.
    SyncForgotten,
    /// The directory of the new log is not synced.
    NameForgotten,
    /// The checkpoint gets its name before its data is synced.
    RenameFirst,
    /// The number of records is written before the record, with one sync for both, and nothing tells a record that is not there.
    LengthFirst,
    /// A record of which a sector is missing counts.
    ChecksumForgotten,
    /// The log is emptied before the checkpoint's name is durable.
    TruncatedEarly,
    /// The checkpoint is synced, and its directory is not, before the log is emptied.
    RenameNotSynced,
    /// A sync that failed is made again, and believed (as PostgreSQL did until 2018).
    SyncRepeated,
}

/// How many records are in the log before a checkpoint is made.
const CHECKPOINT: u64 = 5;

const FOLDER: &str = "/var/lib";

struct Engine {
    bug: Bug,
    log: File,
    /// How long the log is, and how many records it has.
    length: u64,
    records: u64,
    last: u64,
}

/// A record's bytes: they differ by number, and some take more than a sector.
fn payload(number: u64) -> Vec<u8> {
    (0..20 + number * 389 % 1500).map(|at| (number * 31 + at) as u8 | 1).collect()
}

fn checksum(bytes: &[u8]) -> u32 {
    bytes.iter().fold(17, |sum: u32, byte| sum.wrapping_mul(31).wrapping_add(u32::from(*byte)))
}

fn word(bytes: &[u8]) -> u64 {
    u64::from_be_bytes(bytes.try_into().expect("eight bytes"))
}

fn sync_folder() -> io::Result<()> {
    File::open(FOLDER)?.sync_all()
}

impl Engine {
    fn open(bug: Bug) -> io::Result<Self> {
        let path = Path::new(FOLDER).join("log");
        let mut log = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        if bug != Bug::NameForgotten {
            sync_folder()?;
        }
        let mut last = match fs::read(Path::new(FOLDER).join("checkpoint")) {
            Ok(bytes) => {
                assert!(bytes.len() == 12 && bytes[8..] == checksum(&bytes[..8]).to_be_bytes(), "{bytes:?}");
                word(&bytes[..8])
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
            Err(error) => return Err(error),
        };
        let mut bytes = Vec::new();
        log.read_to_end(&mut bytes)?;
        // The number of records, and the records: number, length, checksum, payload.
        let promised = if bytes.len() >= 8 { word(&bytes[..8]) } else { 0 };
        let (mut at, mut records) = (8, 0);
        while let Some(header) = bytes.get(at..at + 20) {
            let (number, length) = (word(&header[..8]), word(&header[8..16]) as usize);
            let Some(payload_of) = bytes.get(at + 20..at + 20 + length).filter(|_| length > 0) else { break };
            let is_whole = header[16..] == checksum(payload_of).to_be_bytes();
            if bug == Bug::LengthFirst && records == promised
                || !is_whole && !matches!(bug, Bug::ChecksumForgotten | Bug::LengthFirst)
            {
                break;
            }
            if number > last {
                assert_eq!(number, last + 1, "a record is missing");
                assert!(payload_of == payload(number), "record {number} has other bytes");
                last = number;
            }
            (at, records) = (at + 20 + length, records + 1);
        }
        if bug == Bug::LengthFirst {
            assert!(records >= promised, "{promised} records were promised, and {records} are there");
        }
        log.set_len(at as u64)?;
        log.sync_all()?;
        Ok(Self { bug, log, length: at as u64, records, last })
    }

    fn sync(&self) -> io::Result<()> {
        match self.bug {
            Bug::SyncForgotten => Ok(()),
            Bug::SyncRepeated => self.log.sync_data().or_else(|_| self.log.sync_data()),
            _ => self.log.sync_data(),
        }
    }

    fn append(&mut self) -> io::Result<()> {
        let number = self.last + 1;
        let payload = payload(number);
        let mut record = number.to_be_bytes().to_vec();
        record.extend((payload.len() as u64).to_be_bytes());
        record.extend(checksum(&payload).to_be_bytes());
        record.extend(payload);
        if self.bug == Bug::LengthFirst {
            self.log.write_all_at(&(self.records + 1).to_be_bytes(), 0)?;
        }
        self.log.write_all_at(&record, self.length)?;
        self.sync()?;
        (self.length, self.records, self.last) =
            (self.length + record.len() as u64, self.records + 1, number);
        if self.records >= CHECKPOINT { self.checkpoint() } else { Ok(()) }
    }

    /// Replaces the checkpoint, and empties the log.
    fn checkpoint(&mut self) -> io::Result<()> {
        let [new, path] = ["checkpoint.new", "checkpoint"].map(|name| Path::new(FOLDER).join(name));
        let mut bytes = self.last.to_be_bytes().to_vec();
        bytes.extend(checksum(&bytes).to_be_bytes());
        let mut file = File::create(&new)?;
        file.write_all(&bytes)?;
        if self.bug != Bug::RenameFirst {
            file.sync_all()?;
        }
        if self.bug == Bug::TruncatedEarly {
            self.empty()?;
        }
        fs::rename(new, path)?;
        if self.bug != Bug::RenameNotSynced {
            sync_folder()?;
        }
        self.empty()
    }

    fn empty(&mut self) -> io::Result<()> {
        self.log.set_len(8)?;
        self.log.write_all_at(&[0; 8], 0)?;
        self.log.sync_all()?;
        (self.length, self.records) = (8, 0);
        Ok(())
    }
}

/// Appends until the power is lost, or the disk fails; what was told to be safe is there after the next start.
fn use_engine(bug: Bug, begun: &AtomicU64, safe: &AtomicU64) {
    let Ok(mut engine) = Engine::open(bug) else { return };
    let (first, safely) = (engine.last, safe.load(Relaxed));
    assert!(first >= safely, "record {safely} was safe, and {first} is the last one");
    assert!(first <= begun.load(Relaxed), "record {first} was never written");
    loop {
        begun.store(engine.last + 1, Relaxed);
        if engine.append().is_err() {
            return;
        }
        safe.store(engine.last, Relaxed);
        std::thread::sleep(Duration::from_micros(100));
    }
}

fn campaign(bug: Bug, seeds: u64) -> Summary {
    let scenario = move |sim: Sim| async move {
        let numbers = Arc::new((AtomicU64::new(0), AtomicU64::new(0)));
        let engine = sim.program("engine", {
            let numbers = numbers.clone();
            move || use_engine(bug, &numbers.0, &numbers.1)
        });
        let durability = [Durability::Posix, Durability::Ext4][sim.draw(2) as usize];
        engine.disk().set(DiskSettings { durability, ..DiskSettings::default() });
        for _ in 0..6 {
            let engine = engine.clone().start().await?;
            let trouble = (bug == Bug::SyncRepeated || sim.draw(4) == 0)
                .then(|| engine.disk().trouble(DiskTrouble::Errors { of: DiskCall::Sync, ppm: 150_000 }));
            sim.clock().sleep(Duration::from_micros(sim.draw(30_000))).await;
            drop(trouble);
            engine.power_loss();
        }
        Result::Ok(())
    };
    Campaign::new(scenario).seeds(seeds).run()
}

#[test]
fn an_engine_that_syncs_what_it_has_to_loses_nothing() {
    let summary = campaign(Bug::None, 200);
    assert!(summary.passed(), "{summary}");
}

#[test]
fn each_bug_of_a_storage_engine_is_found_within_a_few_seeds() {
    for bug in [
        Bug::SyncForgotten,
        Bug::NameForgotten,
        Bug::RenameFirst,
        Bug::LengthFirst,
        Bug::ChecksumForgotten,
        Bug::TruncatedEarly,
        Bug::RenameNotSynced,
        Bug::SyncRepeated,
    ] {
        let summary = campaign(bug, 50);
        assert!(!summary.passed(), "{bug:?} was not found: {summary}");
    }
}
