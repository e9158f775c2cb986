//! The table of granted leases, with holders and expiries. It has no clock: the time is an argument.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use steelmill_core::Result;

use super::message::{Command, Reply, Request};
use crate::service::Answer;
use crate::storage::{Loaded, Record, Storage};
use crate::token::is_absurd;

/// Limits of what clients can make the daemon store.
const NAME_MAX: usize = 256;
const LEASES_MAX: usize = 1024;
const TTL_MAX: Duration = Duration::from_secs(60);

pub struct Table {
    held: BTreeMap<String, Grant>,
    last_token: u64,
    /// The longest time to live that is granted.
    ttl_max: Duration,
    /// When it began to wait for the expiry of leases that were granted before a restart, if it has to.
    waits_from: Option<Instant>,
    /// The longest time to live of such a lease.
    earlier_ttl: Duration,
    /// What outlives the process: each grant under its lease's name, and the last token.
    storage: Arc<Storage>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    pub holder: String,
    pub token: u64,
    /// The longest time to live that its holder was granted.
    pub ttl: Duration,
    pub expires_at: Instant,
}

/// The keys on disk: that of the last token, and the first byte of that of a lease, before its name.
const LAST_TOKEN: &[u8] = b"t";
const LEASE: u8 = b'l';

fn key(name: &str) -> Vec<u8> {
    [&[LEASE], name.as_bytes()].concat()
}

impl Grant {
    /// As on disk: token, microseconds to live, holder.
    fn record(&self) -> Record {
        let micros = u64::try_from(self.ttl.as_micros()).unwrap_or(u64::MAX);
        let value = [&self.token.to_be_bytes()[..], &micros.to_be_bytes(), self.holder.as_bytes()].concat();
        Record { value: value.into(), expires_at: None }
    }

    /// A grant that was read from the disk, as if it had been renewed at `now`.
    fn restored(value: &[u8], now: Instant) -> Result<Self> {
        let (token, rest) = number(value)?;
        let (micros, holder) = number(rest)?;
        let ttl = Duration::from_micros(micros).min(TTL_MAX);
        let holder = String::from_utf8(holder.to_vec()).context("a holder's name is not UTF-8")?;
        Ok(Self { holder, token, ttl, expires_at: now + ttl })
    }
}

fn number(bytes: &[u8]) -> Result<(u64, &[u8])> {
    let (number, rest) = bytes.split_first_chunk().context("an entry of the lease's data is too short")?;
    Ok((u64::from_be_bytes(*number), rest))
}

impl Table {
    /// An empty table that grants leases for at most `ttl_max`; the next token is `last_token` + 1.
    pub fn new(last_token: u64, ttl_max: Duration, storage: Arc<Storage>) -> Self {
        Self {
            held: BTreeMap::new(),
            last_token,
            ttl_max: ttl_max.min(TTL_MAX),
            waits_from: None,
            earlier_ttl: Duration::ZERO,
            storage,
        }
    }

    /// Takes over what an earlier process kept: its last token and its grants, each as if it had been renewed at `now`.
    /// With `forgets` all leases are free.
    ///
    /// # Errors
    /// An entry is none of this daemon's.
    pub fn restore(&mut self, loaded: Loaded, now: Instant, forgets: bool) -> Result {
        for entry in loaded.entries {
            match entry.key.split_first() {
                Some((&LEASE, name)) => {
                    let name = String::from_utf8(name.to_vec()).context("a lease's name is not UTF-8")?;
                    if !forgets {
                        self.held.insert(name, Grant::restored(&entry.value, now)?);
                    }
                }
                Some(_) if *entry.key == *LAST_TOKEN => {
                    self.last_token = self.last_token.max(number(&entry.value)?.0);
                }
                _ => bail!("the lease's data has an unknown key {:?}", entry.key.escape_ascii().to_string()),
            }
        }
        Ok(())
    }

    /// Grants nothing until leases that were granted before `now` have expired.
    pub fn wait_from(&mut self, now: Instant) {
        self.waits_from = Some(now);
        self.earlier_ttl = self.ttl_max;
    }

    /// The lease `name`, if it is held at `now`.
    pub fn held(&self, name: &str, now: Instant) -> Option<&Grant> {
        self.held.get(name).filter(|grant| now < grant.expires_at)
    }

    pub fn answer(&mut self, now: Instant, request: Request<'_>) -> Answer<Reply> {
        if let Command::Acquire { ttl, .. } | Command::Renew { ttl, .. } = request.command {
            // The same was probably requested before the restart, and granted if this daemon was told another limit.
            self.earlier_ttl = self.earlier_ttl.max(ttl.min(TTL_MAX));
        }
        match request.command {
            Command::Acquire { holder, ttl, newest } => {
                if newest > self.last_token && !is_absurd(newest, self.last_token) {
                    self.last_token = newest;
                }
                self.acquire(now, request.name, holder, ttl.min(self.ttl_max))
            }
            Command::Renew { token, ttl } => self.renew(now, request.name, token, ttl.min(self.ttl_max)),
            Command::Release { token } => match self.held(request.name, now) {
                Some(grant) if grant.token == token => {
                    self.held.remove(request.name);
                    self.storage.change(&key(request.name), None);
                    unkept(Reply::Released)
                }
                _ => unkept(Reply::Lost),
            },
        }
    }

    /// A held lease is not granted again, not even to its holder: a delayed duplicate of its request would replace the
    /// token that it relies on.
    fn acquire(&mut self, now: Instant, name: &str, holder: &str, ttl: Duration) -> Answer<Reply> {
        if let Some(grant) = self.held(name, now) {
            return unkept(Reply::Held { holder: grant.holder.clone(), remaining: grant.expires_at - now });
        }
        let remaining = self.waits_from.map(|from| (from + self.earlier_ttl).saturating_duration_since(now));
        if let Some(remaining) = remaining.filter(|remaining| !remaining.is_zero()) {
            return unkept(Reply::Restarted { remaining });
        }
        if name.len() > NAME_MAX || holder.len() > NAME_MAX {
            return unkept(Reply::Refused(format!("names must have at most {NAME_MAX} bytes")));
        }
        if self.held.len() >= LEASES_MAX {
            self.held.retain(|name, grant| {
                let is_held = now < grant.expires_at;
                if !is_held {
                    self.storage.change(&key(name), None);
                }
                is_held
            });
        }
        if self.held.len() >= LEASES_MAX {
            return unkept(Reply::Refused(format!("{LEASES_MAX} leases are held, which is the limit")));
        }
        let Some(token) = self.last_token.checked_add(1) else {
            return unkept(Reply::Refused("there is no higher token than the last one".into()));
        };
        self.last_token = token;
        let grant = Grant { holder: holder.to_owned(), token, ttl, expires_at: now + ttl };
        let last = Record { value: token.to_be_bytes()[..].into(), expires_at: None };
        self.storage.change(LAST_TOKEN, Some(&last));
        let after = self.storage.change(&key(name), Some(&grant.record()));
        self.held.insert(name.to_owned(), grant);
        Answer { reply: Reply::Granted { token, ttl }, after }
    }

    fn renew(&mut self, now: Instant, name: &str, token: u64, ttl: Duration) -> Answer<Reply> {
        match self.held.get_mut(name) {
            Some(grant) if grant.token == token && now < grant.expires_at => {
                // A renewal never shortens the lease, because a reply that promised more may be in flight.
                grant.expires_at = grant.expires_at.max(now + ttl);
                // After a restart it is held for this long, so a renewal for no longer changes nothing that is kept.
                let is_longer = ttl > grant.ttl;
                grant.ttl = grant.ttl.max(ttl);
                let after =
                    if is_longer { self.storage.change(&key(name), Some(&grant.record())) } else { 0 };
                Answer { reply: Reply::Granted { token, ttl }, after }
            }
            _ => unkept(Reply::Lost),
        }
    }
}

/// A reply that is true whether what it tells of is durable or not: at worst a lease counts as held for longer.
fn unkept(reply: Reply) -> Answer<Reply> {
    Answer { reply, after: 0 }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "any instant will do to count from")]
mod tests {
    use super::*;
    use crate::storage::{Entry, Value};

    const TTL: Duration = Duration::from_secs(3);

    fn memory() -> Arc<Storage> {
        Arc::new(Storage::in_memory())
    }

    /// An empty table, and an instant to count from.
    fn empty() -> (Table, Instant) {
        (Table::new(100, TTL_MAX, memory()), Instant::now())
    }

    fn acquire(table: &mut Table, now: Instant, holder: &str) -> Reply {
        table
            .answer(now, Request { name: "kv", command: Command::Acquire { holder, ttl: TTL, newest: 0 } })
            .reply
    }

    fn renew(table: &mut Table, now: Instant, token: u64) -> Reply {
        table.answer(now, Request { name: "kv", command: Command::Renew { token, ttl: TTL } }).reply
    }

    fn release(table: &mut Table, now: Instant, token: u64) -> Reply {
        table.answer(now, Request { name: "kv", command: Command::Release { token } }).reply
    }

    #[test]
    fn one_holds_it_at_a_time_and_tokens_grow() {
        let (mut table, start) = empty();
        assert_eq!(acquire(&mut table, start, "a"), Reply::Granted { token: 101, ttl: TTL });
        let second = start + Duration::from_secs(1);
        let held = Reply::Held { holder: "a".into(), remaining: Duration::from_secs(2) };
        assert_eq!(acquire(&mut table, second, "b"), held);
        assert_eq!(acquire(&mut table, second, "a"), held);
        assert_eq!(acquire(&mut table, start + TTL, "b"), Reply::Granted { token: 102, ttl: TTL });
    }

    #[test]
    fn only_its_holder_renews_it_and_only_in_time() {
        let (mut table, start) = empty();
        acquire(&mut table, start, "a");
        let second = start + Duration::from_secs(1);
        assert_eq!(renew(&mut table, second, 101), Reply::Granted { token: 101, ttl: TTL });
        assert_eq!(renew(&mut table, second, 100), Reply::Lost);
        assert!(matches!(acquire(&mut table, start + TTL, "b"), Reply::Held { .. }));
        assert_eq!(renew(&mut table, second + TTL, 101), Reply::Lost);
        assert_eq!(table.held("kv", second + TTL), None);
    }

    #[test]
    fn a_released_lease_is_free_at_once_and_a_late_release_frees_nothing() {
        let (mut table, start) = empty();
        acquire(&mut table, start, "a");
        assert_eq!(release(&mut table, start, 101), Reply::Released);
        assert_eq!(acquire(&mut table, start, "b"), Reply::Granted { token: 102, ttl: TTL });
        assert_eq!(release(&mut table, start, 101), Reply::Lost);
        assert!(table.held("kv", start).is_some_and(|grant| grant.holder == "b"));
    }

    #[test]
    fn a_restarted_table_grants_nothing_until_every_earlier_lease_has_expired() {
        let (_, start) = empty();
        let second = Duration::from_secs(1);
        let mut table = Table::new(100, 2 * second, memory());
        table.wait_from(start);
        let acquire = |table: &mut Table, at: u32, ttl: Duration| {
            let command = Command::Acquire { holder: "a", ttl, newest: 0 };
            table.answer(start + second * at, Request { name: "kv", command }).reply
        };
        let waits = |seconds: u32| Reply::Restarted { remaining: second * seconds };
        assert_eq!(acquire(&mut table, 0, second), waits(2));
        assert_eq!(renew(&mut table, start + second, 100), Reply::Lost, "it may hold it, but nobody knows");
        assert_eq!(acquire(&mut table, 2, 9 * second), waits(7), "an earlier one may have had as much");
        assert_eq!(acquire(&mut table, 8, second), waits(1));
        let granted = Reply::Granted { token: 101, ttl: 2 * second };
        assert_eq!(acquire(&mut table, 9, 9 * second), granted, "for no longer than it may");
    }

    #[test]
    fn a_grant_that_was_kept_counts_as_renewed_and_a_free_lease_is_granted_at_once() {
        let (_, start) = empty();
        let grant = Grant { holder: "a".into(), token: 900, ttl: TTL, expires_at: start };
        let entry = |key: &[u8], value: Value| Entry { key: key.into(), value, expires_at: 0 };
        let kept = || {
            let last = entry(LAST_TOKEN, 901_u64.to_be_bytes()[..].into());
            Loaded { entries: vec![entry(&key("kv"), grant.record().value), last], is_new: false }
        };
        let (mut table, _) = empty();
        table.restore(kept(), start, false).expect("its own");
        assert!(matches!(acquire(&mut table, start + TTL / 2, "b"), Reply::Held { .. }));
        assert_eq!(renew(&mut table, start + TTL / 2, 900), Reply::Granted { token: 900, ttl: TTL });
        assert_eq!(acquire(&mut table, start + 2 * TTL, "b"), Reply::Granted { token: 902, ttl: TTL });

        let (mut table, _) = empty();
        table.restore(kept(), start, true).expect("its own");
        assert_eq!(acquire(&mut table, start, "b"), Reply::Granted { token: 902, ttl: TTL });

        let foreign = Loaded { entries: vec![entry(b"x", b""[..].into())], is_new: false };
        let error = table.restore(foreign, start, false).expect_err("unknown").to_string();
        assert!(error.contains("unknown key"), "{error}");
    }

    #[test]
    fn a_token_is_above_the_newest_that_the_gateway_knows_unless_that_is_absurd() {
        let (mut table, start) = empty();
        let mut ask = |newest| {
            table.held.clear();
            let command = Command::Acquire { holder: "a", ttl: TTL, newest };
            table.answer(start, Request { name: "kv", command }).reply
        };
        assert_eq!(ask(7_000), Reply::Granted { token: 7_001, ttl: TTL });
        assert_eq!(ask(3), Reply::Granted { token: 7_002, ttl: TTL });
        assert_eq!(ask(u64::MAX), Reply::Granted { token: 7_003, ttl: TTL });
        assert_eq!(ask(u64::MAX - 1), Reply::Granted { token: 7_004, ttl: TTL });
    }

    #[test]
    fn the_memory_that_clients_can_use_is_bounded() {
        let (mut table, start) = empty();
        let mut names = (0..).map(|number: u32| number.to_string());
        let mut ask = |now| {
            let name = names.next().expect("endless");
            let ttl = Duration::MAX;
            table
                .answer(
                    now,
                    Request { name: &name, command: Command::Acquire { holder: "a", ttl, newest: 0 } },
                )
                .reply
        };
        for _ in 0..LEASES_MAX {
            assert!(matches!(ask(start), Reply::Granted { ttl: TTL_MAX, .. }));
        }
        assert!(matches!(ask(start), Reply::Refused(_)));
        assert!(matches!(ask(start + TTL_MAX), Reply::Granted { .. }));
        let long = "x".repeat(NAME_MAX + 1);
        assert!(matches!(acquire(&mut table, start, &long), Reply::Refused(_)));
    }
}
