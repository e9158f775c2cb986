//! redb: a B-tree that is copied on write.

use std::fs::File;
use std::path::Path;

use redb::{Durability, ReadableDatabase as _, TableDefinition};

use crate::{KEPT, LYING, keeps_what_it_committed, loses};

const ROWS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("rows");
const LAST: TableDefinition<'_, (), u64> = TableDefinition::new("last");

struct Redb<const SYNCS: bool>(redb::Database);

impl<const SYNCS: bool> crate::Database for Redb<SYNCS> {
    /// It may leave a file that has a length and no header, which redb refuses.
    const IS_CREATED_AT_ONCE: bool = false;

    fn open(directory: &Path) -> Option<Self> {
        let database = redb::Database::create(directory.join("rows.redb")).expect("it can be opened");
        // redb leaves it to its user to make the name of a new file durable.
        File::open(directory).and_then(|directory| directory.sync_all()).expect("a directory");
        Some(Self(database))
    }

    fn last(&self) -> u64 {
        let transaction = self.0.begin_read().expect("it is open");
        let Ok(last) = transaction.open_table(LAST) else { return 0 };
        last.get(()).expect("it can be read").map_or(0, |last| last.value())
    }

    fn row(&self, number: u64) -> Option<Vec<u8>> {
        let transaction = self.0.begin_read().expect("it is open");
        let rows = transaction.open_table(ROWS).expect("it is there");
        rows.get(number).expect("it can be read").map(|row| row.value().to_vec())
    }

    fn commit(&mut self, number: u64, row: &[u8]) {
        let mut transaction = self.0.begin_write().expect("it is open");
        if !SYNCS {
            transaction.set_durability(Durability::None).expect("it has no savepoint");
        }
        {
            let mut rows = transaction.open_table(ROWS).expect("it is there");
            rows.insert(number, row).expect("room");
            rows.remove(number.saturating_sub(KEPT)).expect("it can be read");
            transaction.open_table(LAST).expect("it is there").insert((), number).expect("room");
        }
        transaction.commit().expect("it can be written");
    }
}

#[test]
fn redb_keeps_what_it_committed() {
    keeps_what_it_committed::<Redb<true>>();
}

#[test]
fn redb_without_syncs_loses_transactions() {
    loses::<Redb<false>>(Default::default());
}

#[test]
fn redb_on_a_lying_disk_loses_transactions() {
    loses::<Redb<true>>(LYING());
}
