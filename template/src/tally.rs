//! The total, and which requests are in it.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use steelmill_core::{Daemon, Factory, Result, assert_sometimes};

/// Adds up what clients ask it to, in memory.
#[derive(Default)]
pub struct Tally(Mutex<Counted>);

#[derive(Default)]
struct Counted {
    total: u64,
    /// The number of the last request of each client.
    last: BTreeMap<String, u64>,
}

impl Daemon for Tally {
    fn build(_: &mut Factory) -> Result<Self> {
        Ok(Self::default())
    }
}

impl Tally {
    /// Adds `amount`, and returns the total. A client numbers its requests, and repeats one whose answer it did not get: that
    /// one counts once.
    pub fn add(&self, client: &str, number: u64, amount: u64) -> u64 {
        let mut counted = self.counted();
        let last = counted.last.entry(client.to_owned()).or_default();
        let is_new = number > *last;
        // A campaign says at its end whether any seed came by here.
        assert_sometimes!(!is_new, "a request is repeated");
        if is_new {
            *last = number;
            counted.total = counted.total.saturating_add(amount);
        }
        counted.total
    }

    /// What was added so far.
    pub fn total(&self) -> u64 {
        self.counted().total
    }

    fn counted(&self) -> MutexGuard<'_, Counted> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
