//! What a gateway remembers of the store for as long as it holds the lease.
//!
//! It lives in a child factory that exists exactly as long as the lease, so that nothing in it can outlive the right to
//! rely on it. `gateway::keys` says why what it answers is never stale; this file keeps the two rules
//! that argument stands on:
//!
//! * **It never goes back.** Of two things learned about a key, the one with the later date stays, in whatever order
//!   they come. That holds for forgotten keys too: forgetting one raises the date of what was forgotten to its own,
//!   and older news of any key is not learned any more.
//! * **The lease is checked last.** A read looks a key up first and asks whether the lease still holds after that. The
//!   other way round, a thread that pauses between the two would answer with what was true under a lease long gone.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::SeqCst};

use dashmap::DashMap;
use dashmap::mapref::entry::Entry;
use steelmill_core::{Daemon, DaemonRef, Factory, Result, buggify};

use crate::hash::{Keyed, SHARDS};
use crate::lease::HeldLease;
use crate::settings::Settings;
use crate::store::Value;
use crate::world::{Clock, Entropy};

/// How many bytes of keys and values it holds; above, it forgets everything and starts anew.
const MEMORY: usize = 64 << 20;

/// What a key costs beside its bytes and its value's.
const OVERHEAD: usize = 112;

/// Remembers keys under one lease.
pub struct Cache {
    clock: DaemonRef<Clock>,
    lease: Arc<HeldLease>,
    /// See [`Settings::canary`].
    canary: bool,
    known: Known,
}

impl Daemon for Cache {
    fn build(factory: &mut Factory) -> Result<Self> {
        let hasher = Keyed::draw(&*factory.get::<Entropy>()?);
        Ok(Self {
            clock: factory.get()?,
            lease: factory.value()?,
            canary: factory.value::<Settings>()?.canary,
            known: Known::new(hasher, MEMORY),
        })
    }
}

/// What the cache says about a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lookup {
    /// The key has this value, or is not there.
    Known(Option<Value>),
    /// The store must be asked.
    Unknown,
    /// The lease is over, and nothing may be answered under it.
    Over,
}

impl Cache {
    /// What is known about `key`, as long as the lease holds.
    pub fn read(&self, key: &[u8]) -> Lookup {
        let lookup = self.known.get(key);
        if self.lease.is_valid(self.clock.now()) || self.canary { lookup } else { Lookup::Over }
    }

    /// Takes note of what the store said about `key`.
    pub fn learn(&self, key: &[u8], value: Option<Value>, as_of: u64) {
        self.known.learn(key, value, as_of);
    }
}

/// The newest news of each key.
struct Known {
    map: DashMap<Box<[u8]>, News, Keyed>,
    /// The latest date of anything forgotten.
    forgotten: AtomicU64,
    used: AtomicUsize,
    limit: usize,
}

/// A key's value, or that it is not there, at a date of the store.
struct News {
    value: Option<Value>,
    as_of: u64,
}

impl Known {
    fn new(hasher: Keyed, limit: usize) -> Self {
        Self {
            map: DashMap::with_hasher_and_shard_amount(hasher, SHARDS),
            forgotten: AtomicU64::new(0),
            used: AtomicUsize::new(0),
            limit,
        }
    }

    fn get(&self, key: &[u8]) -> Lookup {
        self.map.get(key).map_or(Lookup::Unknown, |news| Lookup::Known(news.value.clone()))
    }

    fn learn(&self, key: &[u8], value: Option<Value>, as_of: u64) {
        let cost = cost(key, value.as_ref());
        // It takes long to be full; what it forgets must be as safe to forget at any other time.
        if self.used.load(SeqCst) + cost > self.limit || buggify!(0.01) {
            self.forget_all();
        }
        let news = News { value, as_of };
        // The entry holds the lock of the key's shard: forgetting this key is either over or has not begun.
        match self.map.entry(key.into()) {
            Entry::Occupied(mut slot) if slot.get().as_of <= as_of => {
                self.used.fetch_add(cost, SeqCst);
                self.used.fetch_sub(self::cost(key, slot.get().value.as_ref()), SeqCst);
                slot.insert(news);
            }
            Entry::Vacant(slot) if self.forgotten.load(SeqCst) <= as_of => {
                self.used.fetch_add(cost, SeqCst);
                slot.insert(news);
            }
            Entry::Occupied(_) | Entry::Vacant(_) => {}
        }
    }

    fn forget_all(&self) {
        self.map.retain(|key, news| {
            self.forgotten.fetch_max(news.as_of, SeqCst);
            self.used.fetch_sub(cost(key, news.value.as_ref()), SeqCst);
            false
        });
    }
}

fn cost(key: &[u8], value: Option<&Value>) -> usize {
    key.len() + value.map_or(0, |value| value.len()) + OVERHEAD
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Option<Value> {
        Some(text.as_bytes().into())
    }

    #[test]
    fn later_news_stays_in_whatever_order_it_comes() {
        let known = Known::new(Keyed::fixed(), MEMORY);
        assert_eq!(known.get(b"key"), Lookup::Unknown);
        known.learn(b"key", text("new"), 6);
        known.learn(b"key", text("old"), 5);
        assert_eq!(known.get(b"key"), Lookup::Known(text("new")));
        known.learn(b"key", None, 7);
        assert_eq!(known.get(b"key"), Lookup::Known(None));
    }

    #[test]
    fn what_was_forgotten_does_not_come_back_with_older_news() {
        let known = Known::new(Keyed::fixed(), 1_000);
        known.learn(b"key", text("new"), 6);
        known.learn(b"other", text(&"x".repeat(800)), 3);
        assert_eq!(known.get(b"key"), Lookup::Unknown, "it made room");
        known.learn(b"key", text("old"), 5);
        assert_eq!(known.get(b"key"), Lookup::Unknown);
        known.learn(b"key", text("new"), 6);
        assert_eq!(known.get(b"key"), Lookup::Known(text("new")));
    }

    #[test]
    fn its_memory_is_bounded_and_counted() {
        let known = Known::new(Keyed::fixed(), 10_000);
        for number in 0..1_000_u64 {
            known.learn(&number.to_be_bytes()[4..], text("some value"), number);
            assert!(known.used.load(SeqCst) <= 10_000);
        }
        known.forget_all();
        assert_eq!(known.used.load(SeqCst), 0);
    }
}
