//! The data itself: what each request does to it.
//!
//! Everything a request does happens under the lock of its key's shard: the check of its token, the change, the drawing
//! of its date. That order is what makes the two promises of [`Store`](super::Store) hold with many threads:
//!
//! * **Fencing.** A request first raises the newest token, then takes the lock, then checks. Once a request with token
//!   7 has been answered about a key, any older one that takes the lock of that key's shard later sees 7 and is refused.
//! * **Dates.** A write draws the next number under the lock. A read looks at the last number drawn, also under the
//!   lock: it is at least that of the last write to this key, and below that of the next.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::SeqCst};

use dashmap::DashMap;
use dashmap::mapref::entry::Entry;
use steelmill_core::{assert_always, assert_sometimes};

use super::message::{Command, Reply, Request, Value};
use crate::hash::{Keyed, SHARDS};

/// What a key costs beside its bytes and its value's: roughly, the map's slot and two allocations.
const OVERHEAD: usize = 96;

/// Keys and their values.
pub struct Data {
    map: DashMap<Box<[u8]>, Value, Keyed>,
    /// The newest token seen.
    newest: AtomicU64,
    /// The date of the last write.
    last: AtomicU64,
    /// About how many bytes all keys cost.
    used: AtomicUsize,
    limit: usize,
}

impl Data {
    /// No keys, and room for `limit` bytes.
    pub fn new(hasher: Keyed, limit: usize) -> Self {
        Self {
            map: DashMap::with_hasher_and_shard_amount(hasher, SHARDS),
            newest: AtomicU64::new(0),
            last: AtomicU64::new(0),
            used: AtomicUsize::new(0),
            limit,
        }
    }

    /// How many keys there are.
    pub fn len(&self) -> usize {
        self.map.len()
    }

    /// Carries `request` out.
    pub fn answer(&self, request: Request<'_>) -> Reply {
        self.newest.fetch_max(request.token, SeqCst);
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
            return Ok(Reply::Value { value: Some(value.clone()), as_of: self.last.load(SeqCst) });
        }
        // A key that is not there has no guard to hold, and without its shard's lock the date would not be exact.
        let entry = self.map.entry(request.key.into());
        self.check(request.token)?;
        let value = match &entry {
            Entry::Occupied(slot) => Some(slot.get().clone()),
            Entry::Vacant(_) => None,
        };
        Ok(Reply::Value { value, as_of: self.last.load(SeqCst) })
    }

    fn set(&self, request: Request<'_>, value: &[u8]) -> Result<Reply, Reply> {
        let slot = self.map.entry(request.key.into());
        self.check(request.token)?;
        Ok(Reply::Written { as_of: self.put(slot, value.into())? })
    }

    fn delete(&self, request: Request<'_>) -> Result<Reply, Reply> {
        let slot = self.map.entry(request.key.into());
        self.check(request.token)?;
        match slot {
            Entry::Vacant(_) => Ok(Reply::Deleted { existed: false, as_of: self.last.load(SeqCst) }),
            Entry::Occupied(slot) => {
                let as_of = self.draw_date();
                self.used.fetch_sub(cost(slot.key(), slot.get()), SeqCst);
                slot.remove();
                Ok(Reply::Deleted { existed: true, as_of })
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
            None => Ok(Reply::NotAddable { value, as_of: self.last.load(SeqCst) }),
            Some(number) => {
                let as_of = self.put(slot, number.to_string().into_bytes().into())?;
                Ok(Reply::Incremented { number, as_of })
            }
        }
    }

    fn check(&self, token: u64) -> Result<(), Reply> {
        let newest = self.newest.load(SeqCst);
        assert_sometimes!(token < newest, "a stale token is refused");
        if token < newest { Err(Reply::Stale { newest }) } else { Ok(()) }
    }

    /// Writes, and says when; `slot` holds the lock until both are done.
    fn put(&self, slot: Entry<'_, Box<[u8]>, Value>, value: Value) -> Result<u64, Reply> {
        let before = match &slot {
            Entry::Vacant(_) => 0,
            Entry::Occupied(slot) => cost(slot.key(), slot.get()),
        };
        let after = cost(slot.key(), &value);
        if after > before && self.used.load(SeqCst) + after - before > self.limit {
            return Err(Reply::Full);
        }
        self.used.fetch_add(after, SeqCst);
        self.used.fetch_sub(before, SeqCst);
        assert_always!(self.used.load(SeqCst) <= self.limit, "the store stays within its memory");
        let as_of = self.draw_date();
        slot.insert(value);
        Ok(as_of)
    }

    /// The date of a write; call it under the lock of the key's shard.
    fn draw_date(&self) -> u64 {
        self.last.fetch_add(1, SeqCst) + 1
    }
}

fn cost(key: &[u8], value: &[u8]) -> usize {
    key.len() + value.len() + OVERHEAD
}

/// The number `value` is the usual way to write; `+1`, ` 1` and `01` are texts.
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
            Reply::Value { value, as_of } => {
                (value.map(|value| String::from_utf8_lossy(&value).into()), as_of)
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_key_holds_what_was_last_written() {
        let data = data();
        assert_eq!(read(&data, 1), (None, 0));
        assert_eq!(ask(&data, 1, Command::Set(b"one")), Reply::Written { as_of: 1 });
        assert_eq!(ask(&data, 1, Command::Set(b"two")), Reply::Written { as_of: 2 });
        assert_eq!(read(&data, 1), (Some("two".into()), 2));
        assert_eq!(ask(&data, 1, Command::Delete), Reply::Deleted { existed: true, as_of: 3 });
        assert_eq!(ask(&data, 1, Command::Delete), Reply::Deleted { existed: false, as_of: 3 });
        assert_eq!(read(&data, 1), (None, 3));
    }

    #[test]
    fn only_numbers_can_be_added_to() {
        let data = data();
        assert_eq!(ask(&data, 1, Command::Increment), Reply::Incremented { number: 1, as_of: 1 });
        assert_eq!(ask(&data, 1, Command::Increment), Reply::Incremented { number: 2, as_of: 2 });
        for text in [&b"one"[..], b"+1", b" 1", b"01", b"", b"9223372036854775807", b"\xff"] {
            ask(&data, 1, Command::Set(text));
            assert!(
                matches!(ask(&data, 1, Command::Increment), Reply::NotAddable { value, .. } if *value == *text)
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
        assert_eq!(ask(&data, 1, Command::Set(&[b'x'; 20_000])), Reply::Full);
        assert_eq!(read(&data, 1), (None, 0));
        ask(&data, 1, Command::Set(&[b'x'; 9_000]));
        let other = |command| data.answer(Request { token: 1, key: b"other", command });
        assert_eq!(other(Command::Set(&[b'x'; 9_000])), Reply::Full);
        assert_eq!(ask(&data, 1, Command::Set(&[b'x'; 1_000])), Reply::Written { as_of: 2 });
        assert_eq!(other(Command::Set(&[b'x'; 8_000])), Reply::Written { as_of: 3 });
        ask(&data, 1, Command::Delete);
        other(Command::Delete);
        assert_eq!(data.used.load(SeqCst), 0);
    }
}
