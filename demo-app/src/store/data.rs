//! The store's map: how each request is executed.
//!
//! A request is executed under the lock of its key's shard: the token check, the change, and the increment of the
//! version. With that order two guarantees of [`Store`](super::Store) hold for concurrent requests:
//!
//! * **Fencing.** A request first raises the newest token, then takes the lock, then checks. Once a request with token
//!   7 has been answered about a key, any older one that takes the lock of that key's shard later sees 7 and is
//!   refused.
//! * **Versions.** A write increments the version under the lock. A read loads the last version, also under the lock:
//!   it is at least that of the last write to this key, and below that of the next.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::SeqCst};

use dashmap::DashMap;
use dashmap::mapref::entry::Entry;
use steelmill_core::{assert_always, assert_sometimes};

use super::message::{Command, Reply, Request, Value};
use crate::hash::{Keyed, SHARDS};

/// The memory of an entry beside key and value, in bytes: about the map's slot and two allocations.
const OVERHEAD: usize = 96;

pub struct Data {
    map: DashMap<Box<[u8]>, Value, Keyed>,
    newest_token: AtomicU64,
    /// The version of the last write.
    last_version: AtomicU64,
    /// The approximate memory of all entries, in bytes.
    used: AtomicUsize,
    limit: usize,
}

impl Data {
    /// An empty map for up to `limit` bytes.
    pub fn new(hasher: Keyed, limit: usize) -> Self {
        Self {
            map: DashMap::with_hasher_and_shard_amount(hasher, SHARDS),
            newest_token: AtomicU64::new(0),
            last_version: AtomicU64::new(0),
            used: AtomicUsize::new(0),
            limit,
        }
    }

    pub fn len(&self) -> usize {
        self.map.len()
    }

    pub fn answer(&self, request: Request<'_>) -> Reply {
        self.newest_token.fetch_max(request.token, SeqCst);
        let outcome = match request.command {
            Command::Get => self.get(request),
            Command::Set(value) => self.set(request, value),
            Command::Delete => self.delete(request),
            Command::Increment => self.increment(request),
        };
        outcome.unwrap_or_else(|refusal| refusal)
    }

    fn get(&self, request: Request<'_>) -> Result<Reply, Reply> {
        if let Some(value) = self.map.get(request.key) {
            self.check(request.token)?;
            return Ok(Reply::Value { value: Some(value.clone()), version: self.last_version.load(SeqCst) });
        }
        // A missing key has no guard, and without its shard's lock the version would not be exact.
        let entry = self.map.entry(request.key.into());
        self.check(request.token)?;
        let value = match &entry {
            Entry::Occupied(slot) => Some(slot.get().clone()),
            Entry::Vacant(_) => None,
        };
        Ok(Reply::Value { value, version: self.last_version.load(SeqCst) })
    }

    fn set(&self, request: Request<'_>, value: &[u8]) -> Result<Reply, Reply> {
        let slot = self.map.entry(request.key.into());
        self.check(request.token)?;
        Ok(Reply::Written { version: self.put(slot, value.into())? })
    }

    fn delete(&self, request: Request<'_>) -> Result<Reply, Reply> {
        let slot = self.map.entry(request.key.into());
        self.check(request.token)?;
        match slot {
            Entry::Vacant(_) => {
                Ok(Reply::Deleted { existed: false, version: self.last_version.load(SeqCst) })
            }
            Entry::Occupied(slot) => {
                let version = self.next_version();
                self.used.fetch_sub(cost(slot.key(), slot.get()), SeqCst);
                slot.remove();
                Ok(Reply::Deleted { existed: true, version })
            }
        }
    }

    fn increment(&self, request: Request<'_>) -> Result<Reply, Reply> {
        let slot = self.map.entry(request.key.into());
        self.check(request.token)?;
        let value = match &slot {
            Entry::Vacant(_) => b"0"[..].into(),
            Entry::Occupied(slot) => slot.get().clone(),
        };
        match number(&value).and_then(|number| number.checked_add(1)) {
            None => Ok(Reply::NotAnInteger { value, version: self.last_version.load(SeqCst) }),
            Some(number) => {
                let version = self.put(slot, number.to_string().into_bytes().into())?;
                Ok(Reply::Incremented { number, version })
            }
        }
    }

    fn check(&self, token: u64) -> Result<(), Reply> {
        let newest = self.newest_token.load(SeqCst);
        assert_sometimes!(token < newest, "a stale token is refused");
        if token < newest { Err(Reply::Stale { newest }) } else { Ok(()) }
    }

    /// Writes the value and returns its version; `slot` holds the lock until both are done.
    fn put(&self, slot: Entry<'_, Box<[u8]>, Value>, value: Value) -> Result<u64, Reply> {
        let before = match &slot {
            Entry::Vacant(_) => 0,
            Entry::Occupied(slot) => cost(slot.key(), slot.get()),
        };
        let after = cost(slot.key(), &value);
        if after > before && self.used.load(SeqCst) + after - before > self.limit {
            return Err(Reply::OutOfMemory);
        }
        self.used.fetch_add(after, SeqCst);
        self.used.fetch_sub(before, SeqCst);
        assert_always!(self.used.load(SeqCst) <= self.limit, "the store stays within its memory");
        let version = self.next_version();
        slot.insert(value);
        Ok(version)
    }

    /// The version of a new write. Call it under the lock of the key's shard.
    fn next_version(&self) -> u64 {
        self.last_version.fetch_add(1, SeqCst) + 1
    }
}

fn cost(key: &[u8], value: &[u8]) -> usize {
    key.len() + value.len() + OVERHEAD
}

/// The integer in canonical decimal form; `+1`, ` 1` and `01` are not.
fn number(value: &[u8]) -> Option<i64> {
    let text = std::str::from_utf8(value).ok()?;
    let number: i64 = text.parse().ok()?;
    (number.to_string() == text).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn data() -> Data {
        Data::new(Keyed::fixed(), 10_000)
    }

    fn ask(data: &Data, token: u64, command: Command<'_>) -> Reply {
        data.answer(Request { token, key: b"key", command })
    }

    fn read(data: &Data, token: u64) -> (Option<String>, u64) {
        match ask(data, token, Command::Get) {
            Reply::Value { value, version } => {
                (value.map(|value| String::from_utf8_lossy(&value).into()), version)
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_key_holds_what_was_last_written() {
        let data = data();
        assert_eq!(read(&data, 1), (None, 0));
        assert_eq!(ask(&data, 1, Command::Set(b"one")), Reply::Written { version: 1 });
        assert_eq!(ask(&data, 1, Command::Set(b"two")), Reply::Written { version: 2 });
        assert_eq!(read(&data, 1), (Some("two".into()), 2));
        assert_eq!(ask(&data, 1, Command::Delete), Reply::Deleted { existed: true, version: 3 });
        assert_eq!(ask(&data, 1, Command::Delete), Reply::Deleted { existed: false, version: 3 });
        assert_eq!(read(&data, 1), (None, 3));
    }

    #[test]
    fn only_numbers_can_be_added_to() {
        let data = data();
        assert_eq!(ask(&data, 1, Command::Increment), Reply::Incremented { number: 1, version: 1 });
        assert_eq!(ask(&data, 1, Command::Increment), Reply::Incremented { number: 2, version: 2 });
        for text in [&b"one"[..], b"+1", b" 1", b"01", b"", b"9223372036854775807", b"\xff"] {
            ask(&data, 1, Command::Set(text));
            assert!(
                matches!(ask(&data, 1, Command::Increment), Reply::NotAnInteger { value, .. } if *value == *text)
            );
        }
        ask(&data, 1, Command::Set(b"-1"));
        assert!(matches!(ask(&data, 1, Command::Increment), Reply::Incremented { number: 0, .. }));
    }

    #[test]
    fn an_older_token_is_refused_even_to_read() {
        let data = data();
        ask(&data, 5, Command::Set(b"five"));
        read(&data, 6);
        for command in [Command::Get, Command::Set(b"late"), Command::Delete, Command::Increment] {
            assert_eq!(ask(&data, 5, command), Reply::Stale { newest: 6 });
        }
        assert_eq!(read(&data, 6).0.as_deref(), Some("five"));
    }

    #[test]
    fn memory_has_a_limit_and_deleting_makes_room() {
        let data = data();
        assert_eq!(ask(&data, 1, Command::Set(&[b'x'; 20_000])), Reply::OutOfMemory);
        assert_eq!(read(&data, 1), (None, 0));
        ask(&data, 1, Command::Set(&[b'x'; 9_000]));
        let other = |command| data.answer(Request { token: 1, key: b"other", command });
        assert_eq!(other(Command::Set(&[b'x'; 9_000])), Reply::OutOfMemory);
        assert_eq!(ask(&data, 1, Command::Set(&[b'x'; 1_000])), Reply::Written { version: 2 });
        assert_eq!(other(Command::Set(&[b'x'; 8_000])), Reply::Written { version: 3 });
        ask(&data, 1, Command::Delete);
        other(Command::Delete);
        assert_eq!(data.used.load(SeqCst), 0);
    }
}
