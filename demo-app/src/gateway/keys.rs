//! What a gateway does with a key: through the cache where it may, through the store where it must.
//!
//! # Why no answer is ever stale
//!
//! An answer is right if it is what the store could have said at some moment between the client's request and the
//! gateway's answer. What goes to the store is right by itself: the store answers at one moment, and dates its answer.
//! What the cache answers is right for four reasons, each kept in one place:
//!
//! 1. *Nobody else writes.* While the lease is held, the lease daemon grants no other. Every entry of the cache comes from
//!    an answer of the store under this lease's token, after which the store refuses all older ones (`store::data`). So
//!    what changes a cached key is a request of this gateway under this token.
//! 2. *Answers pass through the cache.* [`Gateway::ask`] puts what the store said about the key into the cache before
//!    it lets anybody see it, whether the request was a read, a write or a write that failed. The cache never goes back
//!    to an older date (`cache`). So it is at least as new as anything any client was told.
//! 3. *The lease is checked last*, after the cache was read (`cache`).
//! 4. *The holder stops before the lease expires* (`lease::HeldLease`): a bound on clock drift is taken off, and the time
//!    counts from before the lease was asked for.
//!
//! # Writes whose outcome is unknown
//!
//! The store may carry such a write out at any time, even after the connection it was sent on has been replaced: until
//! then the cache says what was there before. That is no stale read. Nobody has been told that the write happened; so it
//! may be taken to happen later than every such read. The first answer that does show it (a read the cache could not
//! answer, another write to the key) enters the cache before anybody sees it, by rule 2, and from then on everybody
//! sees it. With the lease goes the cache, and the next holder's fence: either the write has come by then and is seen,
//! or it is refused. So no key has to be set aside, and nothing has to be remembered about such writes.
//!
//! They are reported as unknown and never sent again: a second `INCR` might add twice.

use steelmill_core::assert_reachable;

use super::Gateway;
use super::leadership::LeaseState;
use crate::cache::Lookup;
use crate::link::LinkError;
use crate::store::{Command, Reply, Request, Value};

/// Why a command was not carried out. Its text is the error a client reads, code first.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Another gateway may know better.
    #[error("NOTLEADER this gateway does not hold the lease{}", hint(.leader.as_deref()))]
    NotLeader {
        /// Who does, as far as is known.
        leader: Option<Box<str>>,
    },
    /// The store could not be reached, and nothing was changed.
    #[error("UNAVAILABLE {0}; nothing was changed")]
    Unavailable(String),
    /// A write may have happened, or may still happen.
    #[error("UNKNOWN the store did not answer in time: the write may have happened, or may still happen")]
    Unknown,
    /// A command on several keys ended half way.
    #[error("UNKNOWN after {done} of {of} keys: {why}")]
    Partly {
        /// Keys dealt with.
        done: usize,
        /// Keys in the command.
        of: usize,
        /// What happened to the next.
        why: Box<Refusal>,
    },
    /// The store has no room.
    #[error("OOM the store has no memory left for this; nothing was changed")]
    Full,
    /// As Redis says it.
    #[error("ERR value is not an integer or out of range")]
    NotAddable,
    /// The reply takes more memory than it may.
    #[error("ERR {0}")]
    TooLong(String),
    /// A bug, here or in the store.
    #[error("ERR internal error: {0}")]
    Internal(String),
}

fn hint(leader: Option<&str>) -> String {
    leader.map(|leader| format!("; try {leader}")).unwrap_or_default()
}

impl Gateway {
    /// The value of `key`, if it is there.
    pub(super) async fn get(&self, key: &[u8]) -> Result<Option<Value>, Refusal> {
        let token = {
            let leadership = self.leadership()?;
            match leadership.cache().map_err(internal)?.read(key) {
                Lookup::Known(value) => {
                    assert_reachable!("a read is answered from the cache");
                    self.counters.hits.add();
                    return Ok(value);
                }
                Lookup::Unknown => leadership.lease.token(),
                Lookup::Over => {
                    assert_reachable!("a lease is over before its gateway has heard of it");
                    return Err(self.not_leader());
                }
            }
        };
        self.counters.misses.add();
        match self.ask(token, key, Command::Get).await? {
            Reply::Value { value, .. } => Ok(value),
            other => Err(unexpected(&other)),
        }
    }

    /// Gives `key` a value.
    pub(super) async fn set(&self, key: &[u8], value: &[u8]) -> Result<(), Refusal> {
        match self.write(key, Command::Set(value)).await? {
            Reply::Written { .. } => Ok(()),
            other => Err(unexpected(&other)),
        }
    }

    /// Removes `key`; whether it was there.
    pub(super) async fn delete(&self, key: &[u8]) -> Result<bool, Refusal> {
        match self.write(key, Command::Delete).await? {
            Reply::Deleted { existed, .. } => Ok(existed),
            other => Err(unexpected(&other)),
        }
    }

    /// Adds one to the number that `key` holds; what it is then.
    pub(super) async fn increment(&self, key: &[u8]) -> Result<i64, Refusal> {
        match self.write(key, Command::Increment).await? {
            Reply::Incremented { number, .. } => Ok(number),
            Reply::NotAddable { .. } => Err(Refusal::NotAddable),
            other => Err(unexpected(&other)),
        }
    }

    async fn write(&self, key: &[u8], command: Command<'_>) -> Result<Reply, Refusal> {
        let token = {
            let lease = &self.leadership()?.lease;
            if !lease.is_valid(self.clock.now()) {
                return Err(self.not_leader());
            }
            lease.token()
        };
        self.ask(token, key, command).await
    }

    /// Asks the store, and lets the cache learn the answer before anybody else.
    async fn ask(&self, token: u64, key: &[u8], command: Command<'_>) -> Result<Reply, Refusal> {
        let reply = match self.store.call(Request { token, key, command }).await {
            Ok(reply) => reply,
            Err(LinkError::NotSent(why)) => return Err(Refusal::Unavailable(why)),
            Err(unknown @ LinkError::Unknown(_)) => {
                return Err(match command {
                    Command::Get => Refusal::Unavailable(unknown.to_string()),
                    Command::Set(_) | Command::Delete | Command::Increment => {
                        assert_reachable!("nobody can tell whether a write happened");
                        Refusal::Unknown
                    }
                });
            }
        };
        // Looked up again: the lease may have been lost while the store answered, and its cache with it.
        if let Ok(leadership) = self.leadership()
            && leadership.lease.token() == token
        {
            let learn = |value, as_of| {
                leadership.cache().map(|cache| cache.learn(key, value, as_of)).map_err(internal)
            };
            match (&reply, command) {
                (Reply::Value { value, as_of }, _) => learn(value.clone(), *as_of)?,
                (Reply::Written { as_of }, Command::Set(value)) => learn(Some(value.into()), *as_of)?,
                (Reply::Deleted { as_of, .. }, _) => learn(None, *as_of)?,
                (Reply::Incremented { number, as_of }, _) => {
                    learn(Some(number.to_string().into_bytes().into()), *as_of)?;
                }
                (Reply::NotAddable { value, as_of }, _) => learn(Some(value.clone()), *as_of)?,
                (Reply::Stale { .. }, _) => leadership.lease.end(),
                (Reply::Written { .. } | Reply::Full, _) => {}
            }
        } else {
            assert_reachable!("the lease is lost while a request is on its way");
        }
        match reply {
            Reply::Stale { .. } => Err(self.not_leader()),
            Reply::Full => Err(Refusal::Full),
            reply => Ok(reply),
        }
    }

    fn not_leader(&self) -> Refusal {
        let leader = match &*self.lease_state.borrow() {
            LeaseState::NotHeld(Some(holder)) => Some((**holder).into()),
            LeaseState::NotHeld(None) | LeaseState::Held(_) => None,
        };
        Refusal::NotLeader { leader }
    }
}

fn unexpected(reply: &Reply) -> Refusal {
    Refusal::Internal(format!("the store answered {reply:?}"))
}

fn internal(error: steelmill_core::Error) -> Refusal {
    Refusal::Internal(error.to_string())
}
