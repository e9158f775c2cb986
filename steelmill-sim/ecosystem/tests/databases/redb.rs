//! redb: a B-tree that is copied on write.

use std::fs::File;
use std::path::Path;

use redb::{Durability, ReadableDatabase as _, TableDefinition, TableError};

use crate::{KEPT, LYING, Refusal, keeps_what_it_committed, loses};

const ROWS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("rows");
const LAST: TableDefinition<'_, (), u64> = TableDefinition::new("last");

pub(crate) struct Redb<const SYNCS: bool>(redb::Database);

impl<const SYNCS: bool> crate::Database for Redb<SYNCS> {
    const NAME: &str = "redb";

    /// It may leave a file that has a length and no header, which redb refuses.
    const IS_CREATED_AT_ONCE: bool = false;

    fn open(directory: &Path) -> Result<Self, Refusal> {
        let database = redb::Database::create(directory.join("rows.redb"))?;
        // redb leaves it to its user to make the name of a new file durable.
        File::open(directory)?.sync_all()?;
        Ok(Self(database))
    }

    fn last(&self) -> Result<u64, Refusal> {
        let transaction = self.0.begin_read()?;
        match transaction.open_table(LAST) {
            Err(TableError::TableDoesNotExist(_)) => Ok(0),
            table => Ok(table?.get(())?.map_or(0, |last| last.value())),
        }
    }

    fn row(&self, number: u64) -> Result<Option<Vec<u8>>, Refusal> {
        let transaction = self.0.begin_read()?;
        Ok(transaction.open_table(ROWS)?.get(number)?.map(|row| row.value().to_vec()))
    }

    fn commit(&mut self, number: u64, row: &[u8]) -> Result<(), Refusal> {
        let mut transaction = self.0.begin_write()?;
        if !SYNCS {
            transaction.set_durability(Durability::None)?;
        }
        {
            let mut rows = transaction.open_table(ROWS)?;
            rows.insert(number, row)?;
            rows.remove(number.saturating_sub(KEPT))?;
            transaction.open_table(LAST)?.insert((), number)?;
        }
        Ok(transaction.commit()?)
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
