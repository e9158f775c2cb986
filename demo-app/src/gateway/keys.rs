//! Reads and writes of a key, through the cache if possible, else through the store.
//!
//! # Why no answer is ever stale
//!
//! An answer is linearizable if the store could have given it at some moment between the client's request and the
//! gateway's reply. Answers of the store are: it answers at one moment, with a version. Answers of the cache are, for
//! four reasons, each ensured in one place. (`DBSIZE` is the exception: it counts over all keys, not at one moment.)
//!
//! 1. *There is no other writer.* While the lease is held, no other is granted, also not by a lease daemon that was
//!    restarted (`lease`). Every cache entry comes from a reply of the store under this lease's token, which was claimed
//!    before: after that the store refuses all others (`store::data`). So only requests of this gateway under this token
//!    change a cached key.
//! 2. *Replies enter the cache first.* [`Gateway::call_store`] caches what the store replied about a key before any
//!    client sees it, for reads, writes and failed writes. Versions in the cache never decrease (`cache`). So it is at
//!    least as new as every reply to a client.
//! 3. *The lease is checked last*, after the cache lookup (`cache`).
//! 4. *The holder stops before the lease expires* (`lease::HeldLease`): its time counts from before the request, less
//!    a bound on clock drift.
//!
//! # Writes of unknown outcome
//!
//! The store may execute such a write at any time, even after its connection was replaced, and until then the cache
//! has the old value. That is not stale: no client was told that the write happened, so it can be ordered after all
//! such reads. The first reply that reflects it (a cache miss, another write to the key) enters the cache before any
//! client sees it, by rule 2, and from then on all reads do. With the lease the cache ends, and the next holder's
//! token fences the write: it was executed before and is visible, or it is refused. So such writes need no
//! bookkeeping.
//!
//! They are reported as unknown and never retried: a second `INCR` might add twice.
//!
//! # A store that was restarted
//!
//! Without `--data` it is empty: what was acknowledged is gone. Until a client can see that, the cache may show it, but
//! never beside what the new life of the store holds; and in any case versions begin anew. A token is claimed once, and a claim is known to the life of the store that
//! answered it and to no other. So the new life refuses all requests of this lease, which have no effect; the refusal
//! ends the lease, as does word of the restart from the link, and with the lease the cache. Only a lease that is granted
//! afterwards can be claimed from the new life, and its cache begins empty.
//!
//! # Values that expire
//!
//! They do so by the store's clock. The cache has a value for the rest of its time to live less the bound on clock
//! drift, counted from before the request; then the store is asked.

use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use steelmill_core::assert_reachable;

use super::Gateway;
use super::leadership::LeaseState;
use crate::cache::Lookup;
use crate::lease::minus_drift;
use crate::link::LinkError;
use crate::store::{Command, Condition, Expiry, Reply, Request, State, Value};

/// Why a command failed. Its text is the error reply, beginning with the code.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// Another gateway holds the lease, or none does.
    #[error("NOTLEADER this gateway does not hold the lease{}", hint(.leader.as_deref()))]
    NotLeader {
        /// The holder's address, if it is known.
        leader: Option<Box<str>>,
    },
    /// The store could not be reached; the command had no effect.
    #[error("UNAVAILABLE {0}; nothing was changed")]
    Unavailable(String),
    /// The outcome of a write is unknown.
    #[error("UNKNOWN the store did not answer in time: the write may have happened, or may still happen")]
    UnknownOutcome,
    /// A command failed after it had written some of its keys, or all of them.
    #[error("UNKNOWN after {done} of {total} keys: {reason}")]
    Partial {
        done: usize,
        total: usize,
        /// The error of the next key.
        reason: Box<CommandError>,
    },
    /// The store's memory limit is reached.
    #[error("OOM the store has no memory left for this; nothing was changed")]
    OutOfMemory,
    /// In Redis's words.
    #[error("ERR value is not an integer or out of range")]
    NotAnInteger,
    /// The reply exceeds a limit.
    #[error("ERR {0}")]
    ReplyTooLarge(String),
    /// A bug, here or in the store.
    #[error("ERR internal error: {0}")]
    Internal(String),
}

impl CommandError {
    /// The error of a command that failed after `done` of its `total` keys.
    pub(super) fn partial(done: usize, total: usize, reason: CommandError) -> Self {
        CommandError::Partial { done, total, reason: Box::new(reason) }
    }
}

fn hint(leader: Option<&str>) -> String {
    leader.map(|leader| format!("; try {leader}")).unwrap_or_default()
}

impl Gateway {
    /// Reads the value of `key`; `None` if it is missing.
    pub(super) async fn get(&self, key: &[u8]) -> Result<Option<Value>, CommandError> {
        let token = {
            let leadership = self.leadership()?;
            match leadership.cache().map_err(internal)?.read(key) {
                Lookup::Hit(value) => {
                    assert_reachable!("a read is answered from the cache");
                    self.counters.hits.add();
                    return Ok(value);
                }
                Lookup::Miss => leadership.lease.token(),
                Lookup::LeaseExpired => {
                    assert_reachable!("a cached read finds the lease expired");
                    return Err(self.not_leader());
                }
            }
        };
        self.counters.misses.add();
        Ok(self.look_up(token, key).await?.value)
    }

    /// Reads value and time to live of `key` from the store.
    pub(super) async fn get_with_ttl(&self, key: &[u8]) -> Result<State, CommandError> {
        let token = self.valid_token()?;
        self.look_up(token, key).await
    }

    async fn look_up(&self, token: u64, key: &[u8]) -> Result<State, CommandError> {
        match self.call_store(token, key, Command::Get).await? {
            Reply::Found(state) => Ok(state),
            other => Err(unexpected(&other)),
        }
    }

    /// Writes a value; returns whether the condition held, and the value before if it is asked for or the condition did
    /// not hold.
    pub(super) async fn set(
        &self,
        key: &[u8],
        value: &[u8],
        condition: Condition,
        expiry: Expiry,
        wants_previous: bool,
    ) -> Result<(bool, Option<Value>), CommandError> {
        let command = Command::Set { value, condition, expiry, wants_previous };
        match self.write(key, command).await? {
            Reply::Written { previous, .. } => Ok((true, previous)),
            Reply::Found(state) => Ok((false, state.value)),
            other => Err(unexpected(&other)),
        }
    }

    /// Deletes `key`; returns whether it existed.
    pub(super) async fn delete(&self, key: &[u8]) -> Result<bool, CommandError> {
        match self.write(key, Command::Delete).await? {
            Reply::Deleted { existed, .. } => Ok(existed),
            other => Err(unexpected(&other)),
        }
    }

    /// Adds to the integer at `key`; returns the sum.
    pub(super) async fn add(&self, key: &[u8], number: i64) -> Result<i64, CommandError> {
        match self.write(key, Command::Add(number)).await? {
            Reply::Added { number, .. } => Ok(number),
            Reply::Found(_) => Err(CommandError::NotAnInteger),
            other => Err(unexpected(&other)),
        }
    }

    /// Lets `key` expire after `ttl`, or not at all; returns whether that changed something.
    pub(super) async fn expire(&self, key: &[u8], ttl: Option<Duration>) -> Result<bool, CommandError> {
        match self.write(key, ttl.map_or(Command::Persist, Command::Expire)).await? {
            Reply::Changed { changed, .. } => Ok(changed),
            other => Err(unexpected(&other)),
        }
    }

    /// The number of keys in the store. It is not linearizable: the keys are counted one shard after another, while
    /// others write.
    pub(super) async fn count_keys(&self) -> Result<u64, CommandError> {
        match self.call_store(self.valid_token()?, b"", Command::Count).await? {
            Reply::Counted(count) => Ok(count),
            other => Err(unexpected(&other)),
        }
    }

    async fn write(&self, key: &[u8], command: Command<'_>) -> Result<Reply, CommandError> {
        self.call_store(self.valid_token()?, key, command).await
    }

    /// The token of the lease, if it is held and valid.
    fn valid_token(&self) -> Result<u64, CommandError> {
        let lease = &self.leadership()?.lease;
        match lease.is_valid(self.clock.now()) {
            true => Ok(lease.token()),
            false => Err(self.not_leader()),
        }
    }

    /// Sends a request to the store, and caches the reply before it returns it.
    async fn call_store(&self, token: u64, key: &[u8], command: Command<'_>) -> Result<Reply, CommandError> {
        let requested_at = self.clock.now();
        let reply = match self.store.call(Request { token, key, command }).await {
            Ok(reply) => reply,
            Err(LinkError::NotSent(reason)) => return Err(CommandError::Unavailable(reason)),
            Err(unknown @ LinkError::Unknown(_)) => {
                if command.is_read() {
                    return Err(CommandError::Unavailable(unknown.to_string()));
                }
                assert_reachable!("the outcome of a write is unknown");
                return Err(CommandError::UnknownOutcome);
            }
        };
        // Looked up again: lease and cache may have been lost while the request was in flight.
        if let Ok(leadership) = self.leadership()
            && leadership.lease.token() == token
        {
            let cache = || leadership.cache().map_err(internal);
            let insert = |value: Option<Value>, ttl: Option<Duration>, version| {
                let valid_until = ttl.and_then(|ttl| requested_at.checked_add(minus_drift(ttl)));
                cache().map(|cache| cache.insert(key, value, valid_until, version))
            };
            match (&reply, command) {
                (Reply::Found(State { value, ttl, version }), _) => insert(value.clone(), *ttl, *version)?,
                (Reply::Written { ttl, version, .. }, Command::Set { value, .. }) => {
                    insert(Some(value.into()), *ttl, *version)?;
                }
                (Reply::Deleted { version, .. }, _) => insert(None, None, *version)?,
                (Reply::Added { number, ttl, version }, _) => {
                    insert(Some(number.to_string().into_bytes().into()), *ttl, *version)?;
                }
                (Reply::Changed { version, .. }, _) => cache()?.forget(key, *version),
                (Reply::Stale { newest }, _) => {
                    self.newest_token.fetch_max(*newest, Relaxed);
                    leadership.lease.end();
                }
                (Reply::Written { .. } | Reply::Claimed | Reply::Counted(_), _)
                | (Reply::AbsurdToken | Reply::OutOfMemory, _) => {}
            }
        } else {
            assert_reachable!("the lease is lost while a request is in flight");
        }
        match reply {
            Reply::Stale { .. } => Err(self.not_leader()),
            Reply::OutOfMemory => Err(CommandError::OutOfMemory),
            reply => Ok(reply),
        }
    }

    fn not_leader(&self) -> CommandError {
        let leader = match &*self.lease_state.borrow() {
            LeaseState::NotHeld(Some(holder)) => Some((**holder).into()),
            LeaseState::NotHeld(None) | LeaseState::Held(_) => None,
        };
        CommandError::NotLeader { leader }
    }
}

fn unexpected(reply: &Reply) -> CommandError {
    CommandError::Internal(format!("the store answered {reply:?}"))
}

fn internal(error: steelmill_core::Error) -> CommandError {
    CommandError::Internal(error.to_string())
}
