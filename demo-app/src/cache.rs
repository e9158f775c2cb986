//! The read cache of a gateway, valid while it holds the lease.
//!
//! It belongs to a child factory that exists only while the lease is held, so no entry can outlive the lease.
//! `gateway::keys` explains why its answers are never stale; that depends on three rules of this file:
//!
//! * **Versions never decrease.** Of two values of a key the one with the higher version stays, in whatever order they
//!   arrive. That holds for evicted keys, too: eviction raises `evicted_version` to the entry's version, and a missing
//!   key is not cached with a lower one.
//! * **A value that expires is forgotten in time**, before the store can say that it has expired.
//! * **The lease is checked last.** A read first looks up the key, and then checks the lease. In the other order, a
//!   thread that pauses in between could answer under a lease that has expired.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::time::Instant;

use dashmap::DashMap;
use dashmap::mapref::entry::Entry;
use steelmill_core::{Daemon, DaemonRef, Factory, Result, buggify};

use crate::hash::{Keyed, SHARDS};
use crate::lease::HeldLease;
use crate::settings::{Canary, Settings};
use crate::store::Value;
use crate::world::{Clock, Entropy};

/// The most bytes of keys and values; above that, all entries are evicted.
const MEMORY_MAX: usize = 64 << 20;

/// The memory of an entry beside key and value, in bytes.
const OVERHEAD: usize = 128;

/// Caches keys under one lease.
pub struct Cache {
    clock: DaemonRef<Clock>,
    lease: Arc<HeldLease>,
    /// See [`Canary::Cache`].
    canary: bool,
    entries: Entries,
}

impl Daemon for Cache {
    fn build(factory: &mut Factory) -> Result<Self> {
        let hasher = Keyed::draw(&*factory.get::<Entropy>()?);
        Ok(Self {
            clock: factory.get()?,
            lease: factory.value()?,
            canary: factory.value::<Settings>()?.canary == Some(Canary::Cache),
            entries: Entries::new(hasher, MEMORY_MAX),
        })
    }
}

/// The result of a lookup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lookup {
    /// The cached value; `None` if the key is known to be missing.
    Hit(Option<Value>),
    /// Not cached: request it from the store.
    Miss,
    /// The lease has expired, so nothing may be answered.
    LeaseExpired,
}

impl Cache {
    /// Looks up `key`, then checks the lease.
    pub fn read(&self, key: &[u8]) -> Lookup {
        let found = self.entries.get(key);
        let now = self.clock.now();
        let lookup = match found {
            Some(cached) if cached.valid_until.is_none_or(|valid_until| now < valid_until) => {
                Lookup::Hit(cached.value)
            }
            _ => Lookup::Miss,
        };
        if self.lease.is_valid(now) || self.canary { lookup } else { Lookup::LeaseExpired }
    }

    /// Caches what the store replied about `key`. A value that expires is valid until some time before that.
    pub fn insert(&self, key: &[u8], value: Option<Value>, valid_until: Option<Instant>, version: u64) {
        self.entries.insert(key, CachedValue { value, valid_until, version });
    }

    /// Evicts `key`, and caches nothing older than `version` about it.
    pub fn forget(&self, key: &[u8], version: u64) {
        self.entries.forget(key, version);
    }
}

/// The newest version of each cached key.
struct Entries {
    map: DashMap<Box<[u8]>, CachedValue, Keyed>,
    /// The highest version of an evicted entry.
    evicted_version: AtomicU64,
    used: AtomicUsize,
    limit: usize,
}

/// A key's value, or `None` for a missing key, at a version of the store.
#[derive(Debug, Clone, PartialEq, Eq)]
struct CachedValue {
    value: Option<Value>,
    /// When it has to be asked for again.
    valid_until: Option<Instant>,
    version: u64,
}

impl Entries {
    fn new(hasher: Keyed, limit: usize) -> Self {
        Self {
            map: DashMap::with_hasher_and_shard_amount(hasher, SHARDS),
            evicted_version: AtomicU64::new(0),
            used: AtomicUsize::new(0),
            limit,
        }
    }

    fn get(&self, key: &[u8]) -> Option<CachedValue> {
        self.map.get(key).map(|cached| cached.clone())
    }

    fn insert(&self, key: &[u8], cached: CachedValue) {
        let version = cached.version;
        let cost = cost(key, cached.value.as_ref());
        // The limit is seldom reached, so `buggify!` evicts at other times, too.
        if self.used.load(SeqCst) + cost > self.limit || buggify!(0.01) {
            self.evict_all();
        }
        // The entry holds the lock of the key's shard, so an eviction of this key is over or has not begun.
        match self.map.entry(key.into()) {
            Entry::Occupied(mut slot) if slot.get().version <= version => {
                self.used.fetch_add(cost, SeqCst);
                self.used.fetch_sub(self::cost(key, slot.get().value.as_ref()), SeqCst);
                slot.insert(cached);
            }
            Entry::Vacant(slot) if self.evicted_version.load(SeqCst) <= version => {
                self.used.fetch_add(cost, SeqCst);
                slot.insert(cached);
            }
            Entry::Occupied(_) | Entry::Vacant(_) => {}
        }
    }

    fn forget(&self, key: &[u8], version: u64) {
        // First, so that no older reply gets in after the entry is gone.
        self.evicted_version.fetch_max(version, SeqCst);
        if let Some((key, cached)) = self.map.remove_if(key, |_, cached| cached.version <= version) {
            self.used.fetch_sub(cost(&key, cached.value.as_ref()), SeqCst);
        }
    }

    fn evict_all(&self) {
        self.map.retain(|key, cached| {
            self.evicted_version.fetch_max(cached.version, SeqCst);
            self.used.fetch_sub(cost(key, cached.value.as_ref()), SeqCst);
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

    impl Entries {
        fn put(&self, key: &[u8], value: Option<Value>, version: u64) {
            self.insert(key, CachedValue { value, valid_until: None, version });
        }

        /// The cached value, if the key is cached.
        fn value(&self, key: &[u8]) -> Option<Option<Value>> {
            self.get(key).map(|cached| cached.value)
        }
    }

    #[test]
    fn the_newer_version_stays_in_whatever_order_they_arrive() {
        let entries = Entries::new(Keyed::fixed(), MEMORY_MAX);
        assert_eq!(entries.value(b"key"), None);
        entries.put(b"key", text("new"), 6);
        entries.put(b"key", text("old"), 5);
        assert_eq!(entries.value(b"key"), Some(text("new")));
        entries.put(b"key", None, 7);
        assert_eq!(entries.value(b"key"), Some(None));
    }

    #[test]
    fn an_evicted_key_is_not_cached_with_an_older_version() {
        let entries = Entries::new(Keyed::fixed(), 1_000);
        entries.put(b"key", text("new"), 6);
        entries.put(b"other", text(&"x".repeat(800)), 3);
        assert_eq!(entries.value(b"key"), None, "it made room");
        entries.put(b"key", text("old"), 5);
        assert_eq!(entries.value(b"key"), None);
        entries.put(b"key", text("new"), 6);
        assert_eq!(entries.value(b"key"), Some(text("new")));
    }

    #[test]
    fn a_forgotten_key_is_not_cached_with_an_older_version() {
        let entries = Entries::new(Keyed::fixed(), MEMORY_MAX);
        entries.put(b"key", text("old"), 5);
        entries.forget(b"key", 6);
        assert_eq!((entries.value(b"key"), entries.used.load(SeqCst)), (None, 0));
        entries.put(b"key", text("old"), 5);
        assert_eq!(entries.value(b"key"), None);
        entries.put(b"key", text("newer"), 8);
        entries.forget(b"key", 7);
        assert_eq!(entries.value(b"key"), Some(text("newer")), "it is newer than what is forgotten");
    }

    #[test]
    fn its_memory_is_bounded_and_counted() {
        let entries = Entries::new(Keyed::fixed(), 10_000);
        for number in 0..1_000_u64 {
            entries.put(&number.to_be_bytes()[4..], text("some value"), number);
            assert!(entries.used.load(SeqCst) <= 10_000);
        }
        entries.evict_all();
        assert_eq!(entries.used.load(SeqCst), 0);
    }
}
