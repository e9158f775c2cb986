//! fjall: a log-structured merge tree.

use std::path::Path;

use fjall::{Keyspace, KeyspaceCreateOptions, PersistMode};

use crate::{KEPT, LYING, keeps_what_it_committed, loses};

struct Fjall<const SYNCS: bool> {
    database: fjall::Database,
    rows: Keyspace,
}

impl<const SYNCS: bool> crate::Database for Fjall<SYNCS> {
    fn open(directory: &Path) -> Self {
        let database = fjall::Database::builder(directory).open().expect("it can be opened");
        let rows = database.keyspace("rows", KeyspaceCreateOptions::default).expect("it can be opened");
        Self { database, rows }
    }

    fn last(&self) -> u64 {
        let last = self.rows.get("last").expect("it can be read");
        last.map_or(0, |last| u64::from_be_bytes(last.as_ref().try_into().expect("eight bytes")))
    }

    fn row(&self, number: u64) -> Option<Vec<u8>> {
        self.rows.get(number.to_be_bytes()).expect("it can be read").map(|row| row.to_vec())
    }

    fn commit(&mut self, number: u64, row: &[u8]) {
        let mode = if SYNCS { PersistMode::SyncAll } else { PersistMode::Buffer };
        let mut batch = self.database.batch().durability(Some(mode));
        batch.insert(&self.rows, number.to_be_bytes(), row);
        batch.remove(&self.rows, number.saturating_sub(KEPT).to_be_bytes());
        batch.insert(&self.rows, "last", number.to_be_bytes());
        batch.commit().expect("it can be written");
        if !SYNCS {
            // Otherwise no time would pass.
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
    }
}

#[test]
fn fjall_keeps_what_it_committed() {
    keeps_what_it_committed::<Fjall<true>>();
}

#[test]
fn fjall_without_syncs_loses_transactions() {
    loses::<Fjall<false>>(Default::default());
}

#[test]
fn fjall_on_a_lying_disk_loses_transactions() {
    loses::<Fjall<true>>(LYING());
}
