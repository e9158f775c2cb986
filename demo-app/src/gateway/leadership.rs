//! How a gateway acquires, holds and loses the lease.
//!
//! A gateway requests the lease only while it is connected to the store, and releases it otherwise: a holder without a
//! store would only keep others from serving.
//!
//! A leadership ends in a fixed order. First the held lease ends, so that no more answers are given under it. Then the
//! child factory stops, with the cache. Only then is the lease released, and another gateway may write.

use std::sync::Arc;
use std::time::Duration;

use rand::RngExt as _;
use steelmill_core::{Clock as _, DaemonRef, Result, RunningFactory, Scope};

use super::Gateway;
use crate::cache::Cache;
use crate::lease::{Command, HeldLease, Reply, Request};

/// The name of the lease, the same for all gateways of a store.
const LEASE: &str = "kv";

/// The delay before the next request after a failed one, and after a lost lease.
const RETRY: Duration = Duration::from_millis(100);

/// A held lease, and the child factory that runs while it is held.
pub(super) struct Leadership {
    pub(super) lease: Arc<HeldLease>,
    child: RunningFactory,
}

impl Leadership {
    pub(super) fn cache(&self) -> Result<&DaemonRef<Cache>> {
        self.child.get()
    }
}

/// Whether a gateway holds the lease.
pub(super) enum LeaseState {
    /// It is the leader.
    Held(Arc<Leadership>),
    /// It is not; the holder's address, if it is known.
    NotHeld(Option<Arc<str>>),
}

impl Gateway {
    /// Acquires, holds and loses the lease in a loop, until the stop.
    pub(super) async fn acquire_loop(&self, scope: &Scope) -> Result {
        while let Some(lease) = scope.until_stopping(self.acquire()).await {
            self.hold_lease(lease, scope).await?;
            // Gives other gateways a chance; and if the child ended because this factory stops, the stop arrives now.
            if scope.until_stopping(self.clock.sleep(RETRY)).await.is_none() {
                break;
            }
        }
        Ok(())
    }

    /// Requests the lease until it is granted.
    async fn acquire(&self) -> HeldLease {
        loop {
            let mut pause = RETRY;
            if self.store.is_up() {
                let requested_at = self.clock.now();
                let command = Command::Acquire { holder: self.holder(), ttl: self.settings.lease_ttl };
                match self.lease.call(Request { name: LEASE, command }).await {
                    Ok(Reply::Granted { token, ttl }) => return HeldLease::new(token, requested_at, ttl),
                    Ok(Reply::Held { holder, remaining }) => {
                        self.set_lease_state(LeaseState::NotHeld(Some(holder.into())));
                        pause = remaining.min(self.settings.lease_ttl / 3);
                    }
                    Ok(other) => tracing::warn!("requested the lease, the reply is {other:?}"),
                    Err(reason) => {
                        tracing::debug!("cannot request the lease: {reason}");
                        self.set_lease_state(LeaseState::NotHeld(None));
                    }
                }
            }
            // Jitter, so that gateways that lost the same lease do not stay in step.
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

        let reason = tokio::select! {
            biased;
            reason = self.renew_loop(&lease, scope) => reason,
            // A stop of this factory stops its children first.
            _ = child.ended() => "the gateway stops",
        };

        tracing::info!("no longer holds the lease, token {token}: {reason}");
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

    /// Releases the lease. If the request is lost, the lease expires.
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
                () = scope.stopping() => return "the gateway stops",
                () = lease.ended() => return "the store has seen a newer token",
                () = wait => {}
            }
            let requested_at = self.clock.now();
            if !lease.is_valid(requested_at) {
                return "it was not renewed in time";
            }
            if !self.store.is_up() {
                return "the store is not connected";
            }
            let command = Command::Renew { token: lease.token(), ttl: self.settings.lease_ttl };
            let renewal = self.lease.call(Request { name: LEASE, command });
            match self.clock.timeout(lease.expiry() - requested_at, renewal).await {
                Ok(Ok(Reply::Granted { ttl, .. })) => {
                    lease.renew(requested_at, ttl);
                    renew_at = requested_at + third;
                }
                Ok(Ok(_)) => return "another gateway may hold it",
                Ok(Err(_)) | Err(_) => renew_at = self.clock.now() + RETRY,
            }
        }
    }
}
