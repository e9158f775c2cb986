//! LMDB, its C code as it is, which maps its file.

use std::fs::File;
use std::path::Path;

use heed::types::{Bytes, Str, U64};
use heed::{Env, EnvFlags, EnvOpenOptions, byteorder::BE};

use crate::{KEPT, LYING, Refusal, keeps_what_it_committed, loses};

pub(crate) struct Lmdb<const SYNCS: bool, const MAPS_WRITABLE: bool> {
    env: Env,
    rows: heed::Database<U64<BE>, Bytes>,
    last: heed::Database<Str, U64<BE>>,
}

impl<const SYNCS: bool, const MAPS_WRITABLE: bool> crate::Database for Lmdb<SYNCS, MAPS_WRITABLE> {
    const NAME: &str = "LMDB (heed)";

    /// It may leave a file of which no page says where the others are, which LMDB refuses.
    const IS_CREATED_AT_ONCE: bool = false;

    fn open(directory: &Path) -> Result<Self, Refusal> {
        let mut options = EnvOpenOptions::new();
        options.map_size(4 << 20).max_dbs(2);
        // SAFETY: nobody else changes the file; the flags are meant.
        let env = unsafe {
            if !SYNCS {
                options.flags(EnvFlags::NO_SYNC);
            }
            if MAPS_WRITABLE {
                options.flags(EnvFlags::WRITE_MAP);
            }
            options.open(directory)?
        };
        // LMDB leaves it to its user to make the names of new files durable.
        File::open(directory)?.sync_all()?;
        let mut transaction = env.write_txn()?;
        let rows = env.create_database(&mut transaction, Some("rows"))?;
        let last = env.create_database(&mut transaction, Some("last"))?;
        transaction.commit()?;
        Ok(Self { env, rows, last })
    }

    fn last(&self) -> Result<u64, Refusal> {
        let transaction = self.env.read_txn()?;
        Ok(self.last.get(&transaction, "last")?.unwrap_or(0))
    }

    fn row(&self, number: u64) -> Result<Option<Vec<u8>>, Refusal> {
        let transaction = self.env.read_txn()?;
        Ok(self.rows.get(&transaction, &number)?.map(<[u8]>::to_vec))
    }

    fn commit(&mut self, number: u64, row: &[u8]) -> Result<(), Refusal> {
        let mut transaction = self.env.write_txn()?;
        self.rows.put(&mut transaction, &number, row)?;
        self.rows.delete(&mut transaction, &number.saturating_sub(KEPT))?;
        self.last.put(&mut transaction, "last", &number)?;
        Ok(transaction.commit()?)
    }
}

#[test]
fn lmdb_keeps_what_it_committed() {
    keeps_what_it_committed::<Lmdb<true, false>>();
}

#[test]
fn lmdb_that_writes_by_its_mapping_keeps_what_it_committed() {
    keeps_what_it_committed::<Lmdb<true, true>>();
}

#[test]
fn lmdb_without_syncs_loses_transactions() {
    loses::<Lmdb<false, false>>(Default::default());
}

#[test]
fn lmdb_on_a_lying_disk_loses_transactions() {
    loses::<Lmdb<true, false>>(LYING());
    loses::<Lmdb<true, true>>(LYING());
}
