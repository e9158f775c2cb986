//! SQLite, its C code as it is.

use std::path::Path;

use rusqlite::{Connection, OptionalExtension as _, params};

use crate::{KEPT, LYING, Refusal, keeps_what_it_committed, loses};

/// How a journal is kept, and what is synced: see <https://www.sqlite.org/pragma.html>.
pub(crate) trait Mode {
    const NAME: &str = "SQLite";
    const JOURNAL: &str;
    const SYNCHRONOUS: &str;
}

pub(crate) struct Sqlite<M>(Connection, std::marker::PhantomData<M>);

impl<M: Mode> crate::Database for Sqlite<M> {
    const NAME: &str = M::NAME;

    fn open(directory: &Path) -> Result<Self, Refusal> {
        let connection = Connection::open(directory.join("rows.sqlite"))?;
        connection.pragma_update(None, "journal_mode", M::JOURNAL)?;
        connection.pragma_update(None, "synchronous", M::SYNCHRONOUS)?;
        connection.execute_batch(
            "CREATE TABLE IF NOT EXISTS rows (number INTEGER PRIMARY KEY, row BLOB);
             CREATE TABLE IF NOT EXISTS last (only INTEGER PRIMARY KEY, number INTEGER);",
        )?;
        Ok(Self(connection, std::marker::PhantomData))
    }

    fn last(&self) -> Result<u64, Refusal> {
        let last = self.0.query_row("SELECT number FROM last", [], |row| row.get(0)).optional();
        Ok(last?.map_or(0, i64::cast_unsigned))
    }

    fn row(&self, number: u64) -> Result<Option<Vec<u8>>, Refusal> {
        let row = self
            .0
            .query_row("SELECT row FROM rows WHERE number = ?", [number.cast_signed()], |row| row.get(0));
        Ok(row.optional()?)
    }

    fn commit(&mut self, number: u64, row: &[u8]) -> Result<(), Refusal> {
        let (number, old) = (number.cast_signed(), number.saturating_sub(KEPT).cast_signed());
        let transaction = self.0.transaction()?;
        transaction.execute("INSERT INTO rows VALUES (?, ?)", params![number, row])?;
        transaction.execute("DELETE FROM rows WHERE number <= ?", params![old])?;
        transaction.execute("INSERT OR REPLACE INTO last VALUES (1, ?)", params![number])?;
        Ok(transaction.commit()?)
    }
}

pub(crate) struct Rollback;

impl Mode for Rollback {
    const NAME: &str = "SQLite, rollback journal";
    const JOURNAL: &str = "DELETE";
    const SYNCHRONOUS: &str = "EXTRA";
}

pub(crate) struct WriteAhead;

impl Mode for WriteAhead {
    const NAME: &str = "SQLite, write-ahead log";
    const JOURNAL: &str = "WAL";
    const SYNCHRONOUS: &str = "FULL";
}

/// The default: the directory is not synced after the journal's removal, which is the commit.
struct RollbackByDefault;

impl Mode for RollbackByDefault {
    const JOURNAL: &str = "DELETE";
    const SYNCHRONOUS: &str = "FULL";
}

struct RollbackOff;

impl Mode for RollbackOff {
    const JOURNAL: &str = "DELETE";
    const SYNCHRONOUS: &str = "OFF";
}

struct WriteAheadNormal;

impl Mode for WriteAheadNormal {
    const JOURNAL: &str = "WAL";
    const SYNCHRONOUS: &str = "NORMAL";
}

#[test]
fn sqlite_with_a_rollback_journal_keeps_what_it_committed() {
    keeps_what_it_committed::<Sqlite<Rollback>>();
}

#[test]
fn sqlite_with_a_write_ahead_log_keeps_what_it_committed() {
    keeps_what_it_committed::<Sqlite<WriteAhead>>();
}

/// "EXTRA provides additional durability if the commit is followed closely by a power loss."
#[test]
fn sqlite_that_does_not_sync_the_removal_of_its_journal_loses_transactions() {
    loses::<Sqlite<RollbackByDefault>>(Default::default());
}

#[test]
fn sqlite_without_syncs_loses_transactions() {
    loses::<Sqlite<RollbackOff>>(Default::default());
    loses::<Sqlite<WriteAheadNormal>>(Default::default());
}

#[test]
fn sqlite_on_a_lying_disk_loses_transactions() {
    loses::<Sqlite<Rollback>>(LYING());
    loses::<Sqlite<WriteAhead>>(LYING());
}
