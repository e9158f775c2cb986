//! How a gateway comes to hold the lease, for how long it may rely on it, and what exists meanwhile.
//!
//! A gateway asks for the lease only while it can reach the store, and gives it back when it no longer can: a holder that
//! can serve nobody only keeps others from serving.
//!
//! The end of a tenure has an order. First the term ends, so that nothing is answered under it any more. Then the child
//! factory stops, and the cache with it. Only then is the lease given back, and somebody else may write.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::{Duration, Instant};

use rand::RngExt as _;
use steelmill_core::{Clock as _, DaemonRef, Result, RunningFactory, Scope};
use tokio::sync::Notify;

use super::Gateway;
use crate::cache::Cache;
use crate::lease::{Command, Reply, Request, safe_part};

/// The lease all gateways of a store compete for.
const LEASE: &str = "kv";

/// The pause before asking again after no answer.
const RETRY: Duration = Duration::from_millis(100);

/// The time for which the holder of a lease may rely on it, on its own clock.
#[derive(Debug)]
pub struct Term {
    token: u64,
    start: Instant,
    /// In nanoseconds after the start; 0 once it is over for good.
    length: AtomicU64,
    over: Notify,
}

impl Term {
    /// The term of a lease that was granted for `ttl` in answer to a request sent after `asked`.
    ///
    /// The lease runs from the moment it is granted, which only the lease daemon knows. `asked` is before that.
    pub fn new(token: u64, asked: Instant, ttl: Duration) -> Self {
        Self { token, start: asked, length: AtomicU64::new(nanos(safe_part(ttl))), over: Notify::new() }
    }

    /// The fencing token that goes with every request to the store.
    pub fn token(&self) -> u64 {
        self.token
    }

    /// Whether it still holds.
    pub fn holds(&self, now: Instant) -> bool {
        now < self.until()
    }

    /// When it ends unless it is extended.
    pub fn until(&self) -> Instant {
        self.start + Duration::from_nanos(self.length.load(SeqCst))
    }

    /// Lets it last for the safe part of `ttl` after `asked`, unless it is over for good.
    fn extend(&self, asked: Instant, ttl: Duration) {
        let length = nanos((asked - self.start) + safe_part(ttl));
        // Failing means that it is over: that is not taken back.
        let _ = self.length.fetch_update(SeqCst, SeqCst, |now| (now > 0).then(|| now.max(length)));
    }

    /// Ends it for good.
    pub fn end(&self) {
        self.length.store(0, SeqCst);
        self.over.notify_one();
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// A lease held, and the factory that exists as long as it is.
pub struct Tenure {
    pub(super) term: Arc<Term>,
    child: RunningFactory,
}

impl Tenure {
    /// The cache of this lease.
    pub(super) fn cache(&self) -> Result<&DaemonRef<Cache>> {
        self.child.get()
    }
}

/// Where a gateway stands.
pub(super) enum Standing {
    /// It holds the lease.
    Holds(Arc<Tenure>),
    /// It does not; who does, as far as it knows.
    Waits(Option<Arc<str>>),
}

impl Gateway {
    /// Comes to hold the lease, loses it, and comes to hold it again.
    pub(super) async fn compete(&self, scope: &Scope) -> Result {
        while let Some(term) = scope.until_stopping(self.acquire()).await {
            self.reign(term, scope).await?;
            // Others first. And if it ended because this factory stops, this daemon is about to be told.
            if scope.until_stopping(self.clock.sleep(RETRY)).await.is_none() {
                break;
            }
        }
        Ok(())
    }

    /// Asks for the lease until it is granted.
    async fn acquire(&self) -> Term {
        loop {
            let mut pause = RETRY;
            if self.store.is_up() {
                let asked = self.clock.now();
                let command = Command::Acquire { holder: self.holder(), ttl: self.settings.lease_ttl };
                match self.lease.call(Request { name: LEASE, command }).await {
                    Ok(Reply::Granted { token, ttl }) => return Term::new(token, asked, ttl),
                    Ok(Reply::Held { holder, remaining }) => {
                        self.stand(Standing::Waits(Some(holder.into())));
                        pause = remaining.min(self.settings.lease_ttl / 3);
                    }
                    Ok(other) => tracing::warn!("asked for the lease, the answer is {other:?}"),
                    Err(why) => {
                        tracing::debug!("asked for the lease: {why}");
                        self.stand(Standing::Waits(None));
                    }
                }
            }
            // A little chance keeps gateways that lost the same lease from asking all at once for ever.
            let chance = self.entropy.rng().random_range(0..=RETRY.as_micros() as u64 / 4);
            self.clock.sleep(pause + Duration::from_micros(chance)).await;
        }
    }

    /// Holds the lease until it is lost or the gateway stops.
    async fn reign(&self, term: Term, scope: &Scope) -> Result {
        let token = term.token;
        let Ok(mut factory) = scope.child(&format!("lease-{token}")) else {
            self.release(token).await; // this factory is stopping
            return Ok(());
        };
        factory.provide_value(term)?;
        factory.with::<Cache>()?;
        let term = factory.value::<Term>()?;
        let child = factory.start().await?;
        self.stand(Standing::Holds(Arc::new(Tenure { term: term.clone(), child: child.clone() })));
        tracing::info!("holds the lease, token {token}");

        let why = tokio::select! {
            biased;
            why = self.keep(&term, scope) => why,
            // When this factory stops, its children are stopped first.
            _ = child.ended() => "told to stop",
        };

        tracing::info!("no longer holds the lease, token {token}: {why}");
        if self.settings.canary {
            // What the simulation must catch: whatever is cached stays in use until the next lease replaces it.
            return Ok(());
        }
        term.end();
        self.stand(Standing::Waits(None));
        let report = child.stop().await;
        if !report.is_clean() {
            tracing::warn!("{report}");
        }
        self.release(token).await;
        Ok(())
    }

    /// Gives the lease back.
    async fn release(&self, token: u64) {
        let command = Command::Release { token };
        // Unanswered, it runs out by itself.
        let _ = self.lease.call(Request { name: LEASE, command }).await;
    }

    /// Renews the lease for as long as that works; says why it ended.
    async fn keep(&self, term: &Term, scope: &Scope) -> &'static str {
        let third = self.settings.lease_ttl / 3;
        let mut renew_at = self.clock.now() + third;
        loop {
            let wait = self.clock.sleep_until(renew_at.min(term.until()));
            tokio::select! {
                biased;
                () = scope.stopping() => return "told to stop",
                () = term.over.notified() => return "the store has seen a newer one",
                () = wait => {}
            }
            let asked = self.clock.now();
            if !term.holds(asked) {
                return "it could not be renewed in time";
            }
            if !self.store.is_up() {
                return "the store cannot be reached";
            }
            let command = Command::Renew { token: term.token, ttl: self.settings.lease_ttl };
            let renewal = self.lease.call(Request { name: LEASE, command });
            match self.clock.timeout(term.until() - asked, renewal).await {
                Ok(Ok(Reply::Granted { ttl, .. })) => {
                    term.extend(asked, ttl);
                    renew_at = asked + third;
                }
                Ok(Ok(_)) => return "it has passed to somebody else",
                Ok(Err(_)) | Err(_) => renew_at = self.clock.now() + RETRY,
            }
        }
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "any instant will do to count from")]
mod tests {
    use super::*;

    const TTL: Duration = Duration::from_secs(3);

    #[test]
    fn a_term_counts_from_before_the_request_and_ends_early() {
        let asked = Instant::now();
        let term = Term::new(7, asked, TTL);
        assert!(term.holds(asked + Duration::from_millis(2_900)));
        assert!(!term.holds(asked + Duration::from_millis(2_950)), "less two percent for drift");
        term.extend(asked + Duration::from_secs(1), TTL);
        assert!(term.holds(asked + Duration::from_millis(3_900)));
        assert!(!term.holds(asked + Duration::from_millis(3_950)));
    }

    #[test]
    fn what_is_over_is_not_extended() {
        let asked = Instant::now();
        let term = Term::new(7, asked, TTL);
        term.end();
        term.extend(asked + Duration::from_secs(1), TTL);
        assert!(!term.holds(asked));
    }
}
