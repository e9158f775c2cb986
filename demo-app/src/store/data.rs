//! The store's map: how each request is executed. It has no clock: the time is an argument.
//!
//! A request is executed under the lock of its key's shard: the token check, the change, and the increment of the
//! version. With that order three guarantees of [`Store`](super::Store) hold for concurrent requests:
//!
//! * **Fencing.** A claim replaces the token; a request takes the lock, then compares its token. Once a claim of 7 has
//!   been answered, any request with another token that takes the lock of its key's shard later is refused; one that
//!   holds the lock already is executed before the claimant's first request about that key.
//! * **Versions.** A write increments the version under the lock. A read loads the last version, also under the lock:
//!   it is at least that of the last write to this key, and below that of the next. A version is the number of a change
//!   of [`Storage`].
//! * **Durability.** Each reply comes with the version that has to be durable before anybody may see it
//!   ([`Answer::after`]): that of what it shows. A missing key has none of its own, so all changes so far count.
//! * **Expiry.** A value that has expired is never seen: whichever request meets it first removes it, which is a write
//!   with a version. [`Data::answer`] also removes what has expired at any key, so that it takes no memory and does not
//!   count.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use dashmap::DashMap;
use dashmap::mapref::entry::{Entry, OccupiedEntry};
use steelmill_core::{assert_always_at_most, assert_sometimes};

use super::message::{Command, Condition, Expiry, Reply, Request, State, Value};
use crate::hash::{Keyed, SHARDS};
use crate::service::Answer;
use crate::storage::{Loaded, Record, Storage};
use crate::token::is_absurd;

/// The memory of an entry beside key and value, in bytes: about the map's slot and two allocations.
const OVERHEAD: usize = 120;

/// The same for the entry of a key that expires: key and node in the index.
const EXPIRY_OVERHEAD: usize = 64;

pub struct Data {
    map: DashMap<Box<[u8]>, Stored, Keyed>,
    /// The token that was claimed last; 0 if none was.
    claimed: AtomicU64,
    /// Whether a claimed token is asked for at all; see [`Canary::StoreRestart`](crate::settings::Canary).
    canary: bool,
    /// What outlives the process. The number of a change is its version.
    storage: Storage,
    /// The approximate memory of all entries, in bytes.
    used: AtomicUsize,
    limit: usize,
    /// The keys that expire, the next first. Locked after the lock of a shard, never before one.
    expiring: Mutex<BTreeSet<(Instant, Box<[u8]>)>>,
    /// The number of keys that expire. While it is 0, requests do not share a lock.
    expiring_count: AtomicUsize,
}

struct Stored {
    record: Record,
    /// The version of the write.
    version: u64,
}

impl Stored {
    fn is_expired(&self, now: Instant) -> bool {
        self.record.expires_at.is_some_and(|expires_at| expires_at <= now)
    }
}

fn ttl(record: &Record, now: Instant) -> Option<Duration> {
    record.expires_at.map(|expires_at| expires_at.saturating_duration_since(now))
}

/// The entry of a key under its shard's lock.
type Slot<'a> = Entry<'a, Box<[u8]>, Stored>;

impl Data {
    /// An empty map for up to `limit` bytes. `canary` breaks the rule that a token has to be claimed.
    pub fn new(hasher: Keyed, limit: usize, canary: bool, storage: Storage) -> Self {
        Self {
            map: DashMap::with_hasher_and_shard_amount(hasher, SHARDS),
            claimed: AtomicU64::new(0),
            canary,
            storage,
            used: AtomicUsize::new(0),
            limit,
            expiring: Mutex::default(),
            expiring_count: AtomicUsize::new(0),
        }
    }

    /// What outlives the process.
    pub fn storage(&self) -> &Storage {
        &self.storage
    }

    /// Takes over what an earlier process kept. `wall` is the wall clock's time at `now`, in microseconds since 1970.
    pub fn restore(&self, loaded: Loaded, now: Instant, wall: u64) {
        for entry in loaded.entries {
            let left = Duration::from_micros(entry.expires_at.saturating_sub(wall));
            // What has expired meanwhile is removed as all that expires, which is a change.
            let expires_at = (entry.expires_at > 0).then(|| now.checked_add(left)).flatten();
            let stored = Stored { record: Record { value: entry.value, expires_at }, version: 0 };
            self.used.fetch_add(cost(&entry.key, &stored.record), SeqCst);
            self.expiring().extend(expires_at.map(|at| (at, entry.key.clone())));
            self.map.insert(entry.key, stored);
        }
        self.expiring_count.store(self.expiring().len(), SeqCst);
    }

    /// The approximate memory of all entries, in bytes.
    pub fn used(&self) -> usize {
        self.used.load(SeqCst)
    }

    pub fn len(&self) -> usize {
        self.map.len()
    }

    /// Executes a request at `now`. `wall` reads the wall clock's microseconds since 1970, for the check of a claim.
    pub fn answer(&self, now: Instant, wall: impl FnOnce() -> u64, request: Request<'_>) -> Answer<Reply> {
        self.remove_expired(now);
        let outcome = match request.command {
            Command::Claim => Err(self.claim(request.token, wall())),
            Command::Count => self.count(request.token),
            Command::Get => self.get(request, now),
            Command::Set { value, condition, expiry, wants_previous } => {
                self.set(request, now, value.into(), condition, expiry, wants_previous)
            }
            Command::Delete => self.delete(request, now),
            Command::Add(number) => self.add(request, now, number),
            // What does not end on this clock does not expire.
            Command::Expire(ttl) => self.expire(request, now, now.checked_add(ttl)),
            Command::Persist => self.expire(request, now, None),
        };
        // Nothing is shown by what is refused, and a claim is known to this life alone.
        outcome.unwrap_or_else(|refusal| Answer { reply: refusal, after: 0 })
    }

    fn claim(&self, token: u64, wall: u64) -> Reply {
        let claim = self.claimed.fetch_update(SeqCst, SeqCst, |newest| {
            (token > newest && !is_absurd(token, newest.max(wall))).then_some(token)
        });
        match claim {
            Ok(_) => Reply::Claimed,
            Err(newest) if is_absurd(token, newest.max(wall)) => Reply::AbsurdToken,
            Err(newest) => Reply::Stale { newest },
        }
    }

    fn count(&self, token: u64) -> Result<Answer<Reply>, Reply> {
        self.check(token)?;
        let count = self.len() as u64;
        Ok(Answer { reply: Reply::Counted(count), after: self.storage.last() })
    }

    fn get(&self, request: Request<'_>, now: Instant) -> Result<Answer<Reply>, Reply> {
        if let Some(stored) = self.map.get(request.key)
            && !stored.is_expired(now)
        {
            self.check(request.token)?;
            return Ok(self.found(Some(&stored), now));
        }
        // A missing key has no guard, and without its shard's lock the version would not be exact.
        let slot = self.slot(request, now)?;
        Ok(self.found(stored(&slot), now))
    }

    fn set(
        &self,
        request: Request<'_>,
        now: Instant,
        value: Value,
        condition: Condition,
        expiry: Expiry,
        wants_previous: bool,
    ) -> Result<Answer<Reply>, Reply> {
        let slot = self.slot(request, now)?;
        let before = stored(&slot);
        let holds = match condition {
            Condition::Always => true,
            Condition::IfMissing => before.is_none(),
            Condition::IfPresent => before.is_some(),
        };
        if !holds {
            return Ok(self.found(before, now));
        }
        let expires_at = match expiry {
            Expiry::Never => None,
            Expiry::After(ttl) => now.checked_add(ttl),
            Expiry::Keep => before.and_then(|before| before.record.expires_at),
        };
        let previous = before.filter(|_| wants_previous).map(|before| before.record.value.clone());
        let record = Record { value, expires_at };
        let ttl = ttl(&record, now);
        let version = self.put(slot, record)?;
        Ok(Answer { reply: Reply::Written { ttl, previous, version }, after: version })
    }

    fn delete(&self, request: Request<'_>, now: Instant) -> Result<Answer<Reply>, Reply> {
        let (existed, version) = match self.slot(request, now)? {
            // The guard of a missing key, which is kept until the version is read.
            Entry::Vacant(_slot) => (false, self.storage.last()),
            Entry::Occupied(slot) => (true, self.remove(slot)),
        };
        Ok(Answer { reply: Reply::Deleted { existed, version }, after: version })
    }

    fn add(&self, request: Request<'_>, now: Instant, number: i64) -> Result<Answer<Reply>, Reply> {
        let slot = self.slot(request, now)?;
        let before = stored(&slot);
        let sum = before
            .map_or(Some(0), |before| integer(&before.record.value))
            .and_then(|sum| sum.checked_add(number));
        let Some(sum) = sum else {
            return Ok(self.found(before, now));
        };
        let expires_at = before.and_then(|before| before.record.expires_at);
        let record = Record { value: sum.to_string().into_bytes().into(), expires_at };
        let ttl = ttl(&record, now);
        let version = self.put(slot, record)?;
        Ok(Answer { reply: Reply::Added { number: sum, ttl, version }, after: version })
    }

    fn expire(
        &self,
        request: Request<'_>,
        now: Instant,
        expires_at: Option<Instant>,
    ) -> Result<Answer<Reply>, Reply> {
        let slot = self.slot(request, now)?;
        match stored(&slot) {
            Some(stored) if stored.record.expires_at.is_some() || expires_at.is_some() => {
                let record = Record { value: stored.record.value.clone(), expires_at };
                let version = self.put(slot, record)?;
                Ok(Answer { reply: Reply::Changed { changed: true, version }, after: version })
            }
            before => {
                let version = self.storage.last();
                let after = before.map_or(version, |stored| stored.version);
                Ok(Answer { reply: Reply::Changed { changed: false, version }, after })
            }
        }
    }

    /// The entry of the request's key under the lock of its shard, after the check of the token. A value that has
    /// expired is removed.
    fn slot(&self, request: Request<'_>, now: Instant) -> Result<Slot<'_>, Reply> {
        loop {
            let slot = self.map.entry(request.key.into());
            self.check(request.token)?;
            match slot {
                // That gives the lock back, so the token has to be checked again.
                Entry::Occupied(slot) if slot.get().is_expired(now) => {
                    self.remove(slot);
                }
                slot => return Ok(slot),
            }
        }
    }

    fn check(&self, token: u64) -> Result<(), Reply> {
        if self.canary {
            let newest = self.claimed.fetch_max(token, SeqCst);
            return if token < newest { Err(Reply::Stale { newest }) } else { Ok(()) };
        }
        let newest = self.claimed.load(SeqCst);
        assert_sometimes!(token != newest && newest > 0, "a stale token is refused");
        assert_sometimes!(newest == 0, "a restarted store refuses a token that it does not know");
        if token != newest || token == 0 { Err(Reply::Stale { newest }) } else { Ok(()) }
    }

    fn found(&self, stored: Option<&Stored>, now: Instant) -> Answer<Reply> {
        let version = self.storage.last();
        let reply = Reply::Found(State {
            value: stored.map(|stored| stored.record.value.clone()),
            ttl: stored.and_then(|stored| ttl(&stored.record, now)),
            version,
        });
        Answer { reply, after: stored.map_or(version, |stored| stored.version) }
    }

    /// Writes the value and returns its version; `slot` holds the lock until both are done.
    fn put(&self, slot: Slot<'_>, after: Record) -> Result<u64, Reply> {
        let before = stored(&slot).map(|before| (cost(slot.key(), &before.record), before.record.expires_at));
        let (cost_before, expires_before) = before.unwrap_or_default();
        let cost = cost(slot.key(), &after);
        if cost > cost_before && self.used.load(SeqCst) + cost - cost_before > self.limit {
            return Err(Reply::OutOfMemory);
        }
        self.used.fetch_add(cost, SeqCst);
        self.used.fetch_sub(cost_before, SeqCst);
        assert_always_at_most!(self.used.load(SeqCst), self.limit, "the store stays within its memory");
        if expires_before != after.expires_at {
            let mut expiring = self.expiring();
            expires_before.map(|at| expiring.remove(&(at, slot.key().clone())));
            after.expires_at.map(|at| expiring.insert((at, slot.key().clone())));
            self.expiring_count.store(expiring.len(), SeqCst);
        }
        let version = self.storage.change(slot.key(), Some(&after));
        slot.insert(Stored { record: after, version });
        Ok(version)
    }

    /// Removes an entry and returns the version of that write.
    fn remove(&self, slot: OccupiedEntry<'_, Box<[u8]>, Stored>) -> u64 {
        let version = self.storage.change(slot.key(), None);
        let record = &slot.get().record;
        self.used.fetch_sub(cost(slot.key(), record), SeqCst);
        if let Some(expires_at) = record.expires_at {
            let mut expiring = self.expiring();
            expiring.remove(&(expires_at, slot.key().clone()));
            self.expiring_count.store(expiring.len(), SeqCst);
        }
        slot.remove();
        version
    }

    /// Removes the entries that have expired.
    fn remove_expired(&self, now: Instant) {
        while self.expiring_count.load(SeqCst) > 0 {
            let next = self.expiring().first().filter(|(at, _)| *at <= now).map(|(_, key)| key.clone());
            let Some(key) = next else { return };
            // Nothing is left to remove if another request was faster.
            if let Entry::Occupied(slot) = self.map.entry(key)
                && slot.get().is_expired(now)
            {
                self.remove(slot);
            }
        }
    }

    fn expiring(&self) -> MutexGuard<'_, BTreeSet<(Instant, Box<[u8]>)>> {
        // The set is consistent at every step.
        self.expiring.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn stored<'a>(slot: &'a Slot<'_>) -> Option<&'a Stored> {
    match slot {
        Entry::Occupied(slot) => Some(slot.get()),
        Entry::Vacant(_) => None,
    }
}

fn cost(key: &[u8], record: &Record) -> usize {
    let expiry = if record.expires_at.is_some() { key.len() + EXPIRY_OVERHEAD } else { 0 };
    key.len() + record.value.len() + OVERHEAD + expiry
}

/// The integer in canonical decimal form; `+1`, ` 1` and `01` are not.
fn integer(value: &[u8]) -> Option<i64> {
    let text = std::str::from_utf8(value).ok()?;
    let number: i64 = text.parse().ok()?;
    (number.to_string() == text).then_some(number)
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "any instant will do to count from")]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// A store whose time the test sets, with a key.
    struct Fixture {
        data: Data,
        now: Instant,
        token: u64,
    }

    impl Fixture {
        /// An empty store from which token 1 is claimed.
        fn new() -> Self {
            let data = Data::new(Keyed::fixed(), 10_000, false, Storage::in_memory());
            let fixture = Self { data, now: Instant::now(), token: 1 };
            assert_eq!(fixture.ask(Command::Claim), Reply::Claimed);
            fixture
        }

        fn ask(&self, command: Command<'_>) -> Reply {
            self.ask_about(b"key", command)
        }

        fn ask_about(&self, key: &[u8], command: Command<'_>) -> Reply {
            self.data.answer(self.now, || 0, Request { token: self.token, key, command }).reply
        }

        /// Value and version of the key.
        fn read(&self) -> (Option<String>, u64) {
            let (value, _, version) = self.read_with_ttl();
            (value, version)
        }

        fn read_with_ttl(&self) -> (Option<String>, Option<Duration>, u64) {
            match self.ask(Command::Get) {
                Reply::Found(State { value, ttl, version }) => {
                    (value.map(|value| String::from_utf8_lossy(&value).into()), ttl, version)
                }
                other => panic!("{other:?}"),
            }
        }
    }

    fn written(version: u64) -> Reply {
        Reply::Written { ttl: None, previous: None, version }
    }

    fn set_if(condition: Condition, value: &[u8]) -> Command<'_> {
        Command::Set { value, condition, expiry: Expiry::Never, wants_previous: false }
    }

    fn set_for(ttl: Duration, value: &[u8]) -> Command<'_> {
        let expiry = Expiry::After(ttl);
        Command::Set { value, condition: Condition::Always, expiry, wants_previous: false }
    }

    #[test]
    fn a_key_holds_what_was_last_written() {
        let store = Fixture::new();
        assert_eq!(store.read(), (None, 0));
        assert_eq!(store.ask(Command::set(b"one")), written(1));
        assert_eq!(store.ask(Command::set(b"two")), written(2));
        assert_eq!(store.read(), (Some("two".into()), 2));
        assert_eq!(store.ask(Command::Delete), Reply::Deleted { existed: true, version: 3 });
        assert_eq!(store.ask(Command::Delete), Reply::Deleted { existed: false, version: 3 });
        assert_eq!(store.read(), (None, 3));
    }

    #[test]
    fn a_conditional_write_that_does_not_happen_says_what_is_there() {
        let store = Fixture::new();
        let missing = Reply::Found(State { value: None, ttl: None, version: 0 });
        assert_eq!(store.ask(set_if(Condition::IfPresent, b"one")), missing);
        assert_eq!(store.ask(set_if(Condition::IfMissing, b"one")), written(1));
        let one = Reply::Found(State { value: Some(b"one"[..].into()), ttl: None, version: 1 });
        assert_eq!(store.ask(set_if(Condition::IfMissing, b"two")), one);
        assert_eq!(store.ask(set_if(Condition::IfPresent, b"three")), written(2));
        let four = Command::Set {
            value: b"four",
            condition: Condition::Always,
            expiry: Expiry::Never,
            wants_previous: true,
        };
        let previous = Some(b"three"[..].into());
        assert_eq!(store.ask(four), Reply::Written { ttl: None, previous, version: 3 });
    }

    #[test]
    fn only_numbers_can_be_added_to() {
        let store = Fixture::new();
        assert_eq!(store.ask(Command::Add(1)), Reply::Added { number: 1, ttl: None, version: 1 });
        assert_eq!(store.ask(Command::Add(-3)), Reply::Added { number: -2, ttl: None, version: 2 });
        for text in [&b"one"[..], b"+1", b" 1", b"01", b"", b"9223372036854775807", b"\xff"] {
            store.ask(Command::set(text));
            let reply = store.ask(Command::Add(1));
            assert!(matches!(reply, Reply::Found(State { value: Some(value), .. }) if *value == *text));
        }
        store.ask(Command::set(b"-1"));
        assert!(matches!(store.ask(Command::Add(1)), Reply::Added { number: 0, .. }));
    }

    #[test]
    fn a_value_is_gone_once_its_time_is_over_and_that_is_a_write() {
        let mut store = Fixture::new();
        let expected = Reply::Written { ttl: Some(2 * SECOND), previous: None, version: 1 };
        assert_eq!(store.ask(set_for(2 * SECOND, b"short")), expected);
        store.now += SECOND;
        assert_eq!(store.read_with_ttl(), (Some("short".into()), Some(SECOND), 1));
        store.now += SECOND;
        assert_eq!(store.read_with_ttl(), (None, None, 2));
        assert_eq!(store.data.used.load(SeqCst), 0);
        assert!(store.data.expiring().is_empty());
    }

    #[test]
    fn a_new_value_lives_on_and_an_added_one_keeps_its_time() {
        let mut store = Fixture::new();
        store.ask(set_for(2 * SECOND, b"1"));
        assert_eq!(store.ask(Command::Add(1)), Reply::Added { number: 2, ttl: Some(2 * SECOND), version: 2 });
        let keep = Command::Set {
            value: b"3",
            condition: Condition::Always,
            expiry: Expiry::Keep,
            wants_previous: false,
        };
        assert_eq!(store.ask(keep), Reply::Written { ttl: Some(2 * SECOND), previous: None, version: 3 });
        store.ask(Command::set(b"4"));
        store.now += 3 * SECOND;
        assert_eq!(store.read(), (Some("4".into()), 4));
    }

    #[test]
    fn a_key_can_be_made_to_expire_and_to_stay() {
        let mut store = Fixture::new();
        let unchanged = |version| Reply::Changed { changed: false, version };
        let changed = |version| Reply::Changed { changed: true, version };
        assert_eq!(store.ask(Command::Expire(SECOND)), unchanged(0));
        store.ask(Command::set(b"one"));
        assert_eq!(store.ask(Command::Persist), unchanged(1));
        assert_eq!(store.ask(Command::Expire(SECOND)), changed(2));
        assert_eq!(store.ask(Command::Persist), changed(3));
        assert_eq!(store.ask(Command::Expire(2 * SECOND)), changed(4));
        store.now += SECOND;
        assert_eq!(store.read_with_ttl(), (Some("one".into()), Some(SECOND), 4));
        store.now += SECOND;
        assert_eq!(store.ask_about(b"", Command::Count), Reply::Counted(0));
        assert_eq!(store.ask(Command::Expire(Duration::MAX)), unchanged(5));
    }

    #[test]
    fn only_the_token_that_was_claimed_last_is_served_even_to_read() {
        let mut store = Fixture::new();
        store.ask(Command::set(b"one"));
        let all = [
            Command::Get,
            Command::set(b"late"),
            Command::Delete,
            Command::Add(1),
            Command::Expire(SECOND),
            Command::Persist,
            Command::Count,
        ];
        store.token = 7;
        for command in all {
            assert_eq!(store.ask(command), Reply::Stale { newest: 1 }, "it is not claimed yet");
        }
        assert_eq!(store.ask(Command::Claim), Reply::Claimed);
        assert_eq!(store.ask(Command::Claim), Reply::Stale { newest: 7 }, "a token is claimed once");
        for token in [0, 1, 6] {
            store.token = token;
            for command in all {
                assert_eq!(store.ask(command), Reply::Stale { newest: 7 });
            }
        }
        store.token = 7;
        assert_eq!(store.read(), (Some("one".into()), 1));
    }

    #[test]
    fn a_restarted_store_serves_nobody_who_began_before() {
        let mut store = Fixture::new();
        store.ask(Command::set(b"one"));
        store.data = Data::new(Keyed::fixed(), 10_000, false, Storage::in_memory());
        for token in [0, 1, 2] {
            store.token = token;
            assert_eq!(store.ask(Command::set(b"late")), Reply::Stale { newest: 0 });
        }
        assert_eq!(store.ask(Command::Claim), Reply::Claimed);
        assert_eq!(store.read(), (None, 0));
    }

    #[test]
    fn an_absurd_token_is_refused_and_locks_nobody_out() {
        let mut store = Fixture::new();
        for absurd in [0, u64::MAX, u64::MAX / 2] {
            store.token = absurd;
            assert_eq!(store.ask(Command::Claim), Reply::AbsurdToken);
        }
        store.token = 2;
        assert_eq!(store.ask(Command::Claim), Reply::Claimed);
    }

    #[test]
    fn memory_has_a_limit_and_deleting_makes_room() {
        let store = Fixture::new();
        assert_eq!(store.ask(Command::set(&[b'x'; 20_000])), Reply::OutOfMemory);
        assert_eq!(store.read(), (None, 0));
        store.ask(Command::set(&[b'x'; 9_000]));
        let other = |command| store.ask_about(b"other", command);
        assert_eq!(other(Command::set(&[b'x'; 9_000])), Reply::OutOfMemory);
        assert_eq!(store.ask(Command::set(&[b'x'; 1_000])), written(2));
        assert_eq!(
            other(set_for(SECOND, &[b'x'; 8_000])),
            Reply::Written { ttl: Some(SECOND), previous: None, version: 3 }
        );
        store.ask(Command::Delete);
        other(Command::Delete);
        assert_eq!(store.data.used.load(SeqCst), 0);
        assert!(store.data.expiring().is_empty());
    }
}
