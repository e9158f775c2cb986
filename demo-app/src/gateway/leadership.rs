//! How a gateway acquires, holds and loses the lease.
//!
//! A gateway requests the lease only while it is connected to the store, and releases it otherwise: a holder without a
//! store would only keep others from serving.
//!
//! A leadership is bound to one life of the store. It begins with a claim of its token, which that life answers, and
//! ends when another life is connected: what the cache knows may be gone.
//!
//! A leadership ends in a fixed order. First the held lease ends, so that no more answers are given under it. Then the
//! child factory stops, with the cache. Only then is the lease released, and another gateway may write.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use rand::RngExt as _;
use steelmill_core::{Clock as _, DaemonRef, Result, RunningFactory, Scope};

use super::Gateway;
use crate::cache::Cache;
use crate::lease::{Command, HeldLease, Reply, Request};
use crate::store;

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
        while let Some((lease, ttl, store_life)) = scope.until_stopping(self.acquire()).await {
            let token = lease.token();
            match self.claim(token).await {
                Ok(()) => self.hold_lease(lease, ttl, store_life, scope).await?,
                Err(reason) => {
                    tracing::warn!("cannot use the lease, token {token}: {reason}");
                    self.release(token).await;
                }
            }
            // Gives other gateways a chance; and if the child ended because this factory stops, the stop arrives now.
            if scope.until_stopping(self.clock.sleep(RETRY)).await.is_none() {
                break;
            }
        }
        Ok(())
    }

    /// Requests the lease until it is granted; returns its time to live and the life of the store, too.
    async fn acquire(&self) -> (HeldLease, Duration, u64) {
        loop {
            let mut pause = RETRY;
            if let Some(store_life) = self.store.life() {
                let requested_at = self.clock.now();
                let command = Command::Acquire {
                    holder: self.holder(),
                    ttl: self.settings.lease_ttl,
                    newest: self.newest_token.load(Relaxed),
                };
                match self.lease.call(Request { name: LEASE, command }).await {
                    Ok(Reply::Granted { token, ttl }) => {
                        return (HeldLease::new(token, requested_at, ttl), ttl, store_life);
                    }
                    Ok(Reply::Held { holder, remaining }) => {
                        self.set_lease_state(LeaseState::NotHeld(Some(holder.into())));
                        pause = remaining.min(self.settings.lease_ttl / 3);
                    }
                    Ok(Reply::Restarted { remaining }) => {
                        self.set_lease_state(LeaseState::NotHeld(None));
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

    /// Claims the token from the store, which from then on serves no other.
    ///
    /// # Errors
    /// The reason, if the store did not say that it has. A claim is never repeated: the lease has to be released.
    async fn claim(&self, token: u64) -> Result<(), String> {
        let claim = store::Request { token, key: b"", command: store::Command::Claim };
        match self.store.call(claim).await {
            Ok(store::Reply::Claimed) => Ok(()),
            Ok(store::Reply::Stale { newest }) => {
                self.newest_token.fetch_max(newest, Relaxed);
                Err(format!("the store knows a newer token, {newest}"))
            }
            Ok(store::Reply::AbsurdToken) => {
                Err("the store takes it for garbage; check the wall clocks of store and lease daemon"
                    .to_owned())
            }
            Ok(other) => Err(format!("the store answered {other:?}")),
            Err(reason) => Err(reason.to_string()),
        }
    }

    /// Runs the child factory with the cache until the lease is lost or the gateway stops; then releases the lease.
    async fn hold_lease(&self, lease: HeldLease, ttl: Duration, store_life: u64, scope: &Scope) -> Result {
        let token = lease.token();
        let Ok(mut factory) = scope.child(&format!("lease-{token}")) else {
            self.release(token).await; // this factory is stopping
            return Ok(());
        };
        factory.provide_value(lease)?;
        factory.with::<Cache>()?;
        let lease = factory.value::<HeldLease>()?;
        let child = match factory.start().await {
            Ok(child) => child,
            Err(error) => {
                // A stop of this factory tells its children first.
                tracing::info!("does not use the lease, token {token}: {error:#}");
                self.release(token).await;
                return Ok(());
            }
        };
        let leadership = Leadership { lease: lease.clone(), child: child.clone() };
        self.set_lease_state(LeaseState::Held(Arc::new(leadership)));
        tracing::info!("holds the lease, token {token}");

        let reason = tokio::select! {
            biased;
            reason = self.renew_loop(&lease, ttl, scope) => reason,
            () = self.store.restarted(store_life) => "the store was restarted",
            // A stop of this factory stops its children first.
            _ = child.ended() => "the gateway stops",
        };

        tracing::info!("no longer holds the lease, token {token}: {reason}");
        if self.keeps_cache() {
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
    async fn renew_loop(&self, lease: &HeldLease, ttl: Duration, scope: &Scope) -> &'static str {
        let third = ttl / 3;
        let mut renew_at = self.clock.now() + third;
        loop {
            let wait = self.clock.sleep_until(renew_at.min(lease.expiry()));
            tokio::select! {
                biased;
                () = scope.stopping() => return "the gateway stops",
                () = lease.ended() => return "the store serves another token, or was restarted",
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
