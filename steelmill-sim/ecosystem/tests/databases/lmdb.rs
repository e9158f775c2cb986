//! LMDB, its C code as it is, which maps its file.

use std::fs::File;
use std::path::Path;

use heed::types::{Bytes, Str, U64};
use heed::{Env, EnvFlags, EnvOpenOptions, byteorder::BE};

use crate::{KEPT, LYING, keeps_what_it_committed, loses};

struct Lmdb<const SYNCS: bool, const MAPS_WRITABLE: bool> {
    env: Env,
    rows: heed::Database<U64<BE>, Bytes>,
    last: heed::Database<Str, U64<BE>>,
}

impl<const SYNCS: bool, const MAPS_WRITABLE: bool> crate::Database for Lmdb<SYNCS, MAPS_WRITABLE> {
    /// It may leave a file of which no page says where the others are, which LMDB refuses.
    const IS_CREATED_AT_ONCE: bool = false;

    fn open(directory: &Path) -> Option<Self> {
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
            options.open(directory).expect("it can be opened")
        };
        // LMDB leaves it to its user to make the names of new files durable.
        File::open(directory).and_then(|directory| directory.sync_all()).expect("a directory");
        let mut transaction = env.write_txn().expect("it is open");
        let rows = env.create_database(&mut transaction, Some("rows")).expect("it can be written");
        let last = env.create_database(&mut transaction, Some("last")).expect("it can be written");
        transaction.commit().expect("it can be written");
        Some(Self { env, rows, last })
    }

    fn last(&self) -> u64 {
        let transaction = self.env.read_txn().expect("it is open");
        self.last.get(&transaction, "last").expect("it can be read").unwrap_or(0)
    }

    fn row(&self, number: u64) -> Option<Vec<u8>> {
        let transaction = self.env.read_txn().expect("it is open");
        self.rows.get(&transaction, &number).expect("it can be read").map(<[u8]>::to_vec)
    }

    fn commit(&mut self, number: u64, row: &[u8]) {
        let mut transaction = self.env.write_txn().expect("it is open");
        self.rows.put(&mut transaction, &number, row).expect("room");
        self.rows.delete(&mut transaction, &number.saturating_sub(KEPT)).expect("it can be read");
        self.last.put(&mut transaction, "last", &number).expect("room");
        transaction.commit().expect("it can be written");
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
