//! The loop of redb's own benchmark, in its proportions: a bulk load, single and batched writes that are each synced, reads, short
//! scans and removals; pairs of 24 and 150 bytes at random places.

use std::path::Path;

use redb::{Database, Durability, ReadableDatabase as _, TableDefinition};

use crate::harness::mix;

const PAIRS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("x");

/// How many pairs a batch writes, and a scan reads.
const BATCH: u64 = 1000;
const SCAN: usize = 10;

fn key(number: u64) -> [u8; 24] {
    let mut key = [0; 24];
    for (place, word) in key.chunks_exact_mut(8).zip(0..) {
        place.copy_from_slice(&mix(number.wrapping_mul(3).wrapping_add(word)).to_be_bytes());
    }
    key
}

fn value(number: u64) -> [u8; 150] {
    [mix(number) as u8; 150]
}

/// Writes some pairs in one transaction.
fn write(database: &Database, pairs: std::ops::Range<u64>) -> Result<(), redb::Error> {
    let mut transaction = database.begin_write()?;
    transaction.set_durability(Durability::Immediate)?;
    {
        let mut table = transaction.open_table(PAIRS)?;
        for number in pairs {
            table.insert(&key(number)[..], &value(number)[..])?;
        }
    }
    Ok(transaction.commit()?)
}

/// The loop for so many pairs.
pub(crate) fn use_database(root: &Path, n: u64) -> Result<(), redb::Error> {
    let database = Database::create(root.join("pairs.redb"))?;
    write(&database, 0..n)?;
    let mut next = n;
    for size in std::iter::repeat_n(1, n.div_ceil(1000) as usize)
        .chain(std::iter::repeat_n(BATCH, n.div_ceil(10_000) as usize))
    {
        write(&database, next..next + size)?;
        next += size;
    }
    {
        let transaction = database.begin_read()?;
        let table = transaction.open_table(PAIRS)?;
        for read in 0..n {
            let number = mix(read) % n;
            let found = table.get(&key(number)[..])?;
            assert!(found.is_some_and(|found| found.value() == value(number)), "pair {number}");
        }
        let mut scanned = 0;
        for scan in 0..n / 2 {
            for pair in table.range(&key(mix(scan) % n)[..]..)?.take(SCAN) {
                scanned += pair?.1.value().len();
            }
        }
        assert!(scanned > 0 || n < 2, "no pair was scanned");
    }
    let transaction = database.begin_write()?;
    {
        let mut table = transaction.open_table(PAIRS)?;
        for number in 0..n / 2 {
            table.remove(&key(number)[..])?;
        }
    }
    Ok(transaction.commit()?)
}
