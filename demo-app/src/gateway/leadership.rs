//! How a gateway acquires the lease, holds it and loses it.
//!
//! A gateway asks for the lease only while it can reach the store, and gives it back when it no longer can: a holder that
//! can serve nobody only keeps others from serving.
//!
//! The end of a leadership has an order. First the held lease ends, so that nothing is answered under it any more. Then
//! the child factory stops, and the cache with it. Only then is the lease released, and another gateway may write.

use std::sync::Arc;
use std::time::Duration;

use rand::RngExt as _;
use steelmill_core::{Clock as _, DaemonRef, Result, RunningFactory, Scope};

use super::Gateway;
use crate::cache::Cache;
use crate::lease::{Command, HeldLease, Reply, Request};

/// The name of the lease that all gateways of a store ask for.
const LEASE: &str = "kv";

/// The pause before the next attempt after a request without an answer, or after a lost lease.
const RETRY: Duration = Duration::from_millis(100);

/// A held lease, and the child factory that lives as long as it is held.
pub(super) struct Leadership {
    pub(super) lease: Arc<HeldLease>,
    child: RunningFactory,
}

impl Leadership {
    /// The cache of this lease.
    pub(super) fn cache(&self) -> Result<&DaemonRef<Cache>> {
        self.child.get()
    }
}

/// Whether a gateway holds the lease.
pub(super) enum LeaseState {
    /// It does: it is the leader.
    Held(Arc<Leadership>),
    /// It does not; the address of the holder, if it is known.
    NotHeld(Option<Arc<str>>),
}

impl Gateway {
    /// Acquires the lease, holds it, loses it, and acquires it again, until the gateway stops.
    pub(super) async fn acquire_loop(&self, scope: &Scope) -> Result {
        while let Some(lease) = scope.until_stopping(self.acquire()).await {
            self.hold_lease(lease, scope).await?;
            // Lets another gateway go first; and where the child ended because this factory stops, the stop comes now.
            if scope.until_stopping(self.clock.sleep(RETRY)).await.is_none() {
                break;
            }
        }
        Ok(())
    }

    /// Asks for the lease until it is granted.
    async fn acquire(&self) -> HeldLease {
        loop {
            let mut pause = RETRY;
            if self.store.is_up() {
                let asked = self.clock.now();
                let command = Command::Acquire { holder: self.holder(), ttl: self.settings.lease_ttl };
                match self.lease.call(Request { name: LEASE, command }).await {
                    Ok(Reply::Granted { token, ttl }) => return HeldLease::new(token, asked, ttl),
                    Ok(Reply::Held { holder, remaining }) => {
                        self.set_lease_state(LeaseState::NotHeld(Some(holder.into())));
                        pause = remaining.min(self.settings.lease_ttl / 3);
                    }
                    Ok(other) => tracing::warn!("asked for the lease, the answer is {other:?}"),
                    Err(why) => {
                        tracing::debug!("asked for the lease: {why}");
                        self.set_lease_state(LeaseState::NotHeld(None));
                    }
                }
            }
            // Jitter: gateways that lost the same lease must not ask at the same moments for ever.
            let jitter = self.entropy.rng().random_range(0..=RETRY.as_micros() as u64 / 4);
            self.clock.sleep(pause + Duration::from_micros(jitter)).await;
        }
    }

    /// Runs the child factory with the cache until the lease is lost or the gateway stops; then releases the lease.
    async fn hold_lease(&self, lease: HeldLease, scope: &Scope) -> Result {
        let token = lease.token();
        let Ok(mut factory) = scope.child(&format!("lease-{token}")) else {
            self.release(token).await; // this factory is stopping
            return Ok(());
        };
        factory.provide_value(lease)?;
        factory.with::<Cache>()?;
        let lease = factory.value::<HeldLease>()?;
        let child = factory.start().await?;
        let leadership = Leadership { lease: lease.clone(), child: child.clone() };
        self.set_lease_state(LeaseState::Held(Arc::new(leadership)));
        tracing::info!("holds the lease, token {token}");

        let why = tokio::select! {
            biased;
            why = self.renew_loop(&lease, scope) => why,
            // When this factory stops, its children are stopped first.
            _ = child.ended() => "told to stop",
        };

        tracing::info!("no longer holds the lease, token {token}: {why}");
        if self.settings.canary {
            // The bug that the simulation must find: the cache stays in use until the next lease replaces it.
            return Ok(());
        }
        lease.end();
        self.set_lease_state(LeaseState::NotHeld(None));
        let report = child.stop().await;
        if !report.is_clean() {
            tracing::warn!("{report}");
        }
        self.release(token).await;
        Ok(())
    }

    /// Gives the lease back; where the request gets lost, the lease expires.
    async fn release(&self, token: u64) {
        let command = Command::Release { token };
        let _ = self.lease.call(Request { name: LEASE, command }).await;
    }

    /// Renews the lease until that fails; returns the reason.
    async fn renew_loop(&self, lease: &HeldLease, scope: &Scope) -> &'static str {
        let third = self.settings.lease_ttl / 3;
        let mut renew_at = self.clock.now() + third;
        loop {
            let wait = self.clock.sleep_until(renew_at.min(lease.expiry()));
            tokio::select! {
                biased;
                () = scope.stopping() => return "told to stop",
                () = lease.ended() => return "the store has seen a newer one",
                () = wait => {}
            }
            let asked = self.clock.now();
            if !lease.is_valid(asked) {
                return "it could not be renewed in time";
            }
            if !self.store.is_up() {
                return "the store cannot be reached";
            }
            let command = Command::Renew { token: lease.token(), ttl: self.settings.lease_ttl };
            let renewal = self.lease.call(Request { name: LEASE, command });
            match self.clock.timeout(lease.expiry() - asked, renewal).await {
                Ok(Ok(Reply::Granted { ttl, .. })) => {
                    lease.renew(asked, ttl);
                    renew_at = asked + third;
                }
                Ok(Ok(_)) => return "it has passed to somebody else",
                Ok(Err(_)) | Err(_) => renew_at = self.clock.now() + RETRY,
            }
        }
    }
}
