//! fjall: a log-structured merge tree.

use std::path::Path;

use fjall::{Keyspace, KeyspaceCreateOptions, PersistMode};

use steelmill_sim::{DiskSettings, Durability};

use crate::{KEPT, Refusal, keeps_what_it_committed_on, loses};

pub(crate) struct Fjall<const SYNCS: bool> {
    database: fjall::Database,
    rows: Keyspace,
}

impl<const SYNCS: bool> crate::Database for Fjall<SYNCS> {
    const NAME: &str = "fjall";

    /// It may leave a file for the version that is empty, which fjall refuses.
    const IS_CREATED_AT_ONCE: bool = false;

    fn open(directory: &Path) -> Result<Self, Refusal> {
        let database = fjall::Database::builder(directory).open()?;
        let rows = database.keyspace("rows", KeyspaceCreateOptions::default)?;
        Ok(Self { database, rows })
    }

    /// A batch of which the first and the last sector were written, and one between them was not, is no torn end for fjall: it
    /// refuses its journal.
    fn is_known(refusal: &Refusal) -> bool {
        use fjall::{Error, JournalRecoveryError};
        let error = refusal.downcast_ref::<Error>();
        matches!(error, Some(Error::JournalRecovery(JournalRecoveryError::ChecksumMismatch)))
    }

    fn last(&self) -> Result<u64, Refusal> {
        let last = self.rows.get("last")?;
        Ok(last.map_or(0, |last| u64::from_be_bytes(last.as_ref().try_into().expect("eight bytes"))))
    }

    fn row(&self, number: u64) -> Result<Option<Vec<u8>>, Refusal> {
        Ok(self.rows.get(number.to_be_bytes())?.map(|row| row.to_vec()))
    }

    fn commit(&mut self, number: u64, row: &[u8]) -> Result<(), Refusal> {
        let mode = if SYNCS { PersistMode::SyncAll } else { PersistMode::Buffer };
        let mut batch = self.database.batch().durability(Some(mode));
        batch.insert(&self.rows, number.to_be_bytes(), row);
        batch.remove(&self.rows, number.saturating_sub(KEPT).to_be_bytes());
        batch.insert(&self.rows, "last", number.to_be_bytes());
        Ok(batch.commit()?)
    }
}

/// It does not sync every directory that it makes, so that it needs what ext4 adds to POSIX.
#[test]
fn fjall_keeps_what_it_committed_on_ext4() {
    keeps_what_it_committed_on::<Fjall<true>>(ext4());
}

#[test]
fn fjall_on_a_disk_that_only_keeps_what_posix_promises_loses_transactions() {
    loses::<Fjall<true>>(DiskSettings::default());
}

fn ext4() -> DiskSettings {
    DiskSettings { durability: Durability::Ext4, ..DiskSettings::default() }
}

#[test]
fn fjall_without_syncs_loses_transactions() {
    loses::<Fjall<false>>(ext4());
}

#[test]
fn fjall_on_a_lying_disk_loses_transactions() {
    loses::<Fjall<true>>(DiskSettings { ignores_syncs: true, ..ext4() });
}
