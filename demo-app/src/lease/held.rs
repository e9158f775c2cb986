//! A held lease: how long its holder may rely on it, by its own clock.

use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::DRIFT_MAX_PPM;

/// A granted lease, with the instant until which its holder may rely on it.
#[derive(Debug)]
pub struct HeldLease {
    token: u64,
    start: Instant,
    /// In nanoseconds after `start`; 0 once it has ended.
    validity: AtomicU64,
    ended: Notify,
}

impl HeldLease {
    /// A lease granted for `ttl` in reply to a request sent after `requested_at`.
    ///
    /// The lease runs from the grant. Only the lease daemon knows that moment, and `requested_at` is before it.
    pub fn new(token: u64, requested_at: Instant, ttl: Duration) -> Self {
        let validity = AtomicU64::new(nanos(minus_drift(ttl)));
        Self { token, start: requested_at, validity, ended: Notify::new() }
    }

    /// The fencing token, for every request to the store.
    pub fn token(&self) -> u64 {
        self.token
    }

    /// Whether its holder may rely on it at `now`.
    pub fn is_valid(&self, now: Instant) -> bool {
        now < self.expiry()
    }

    /// When it expires unless it is renewed.
    pub fn expiry(&self) -> Instant {
        self.start + Duration::from_nanos(self.validity.load(SeqCst))
    }

    /// Moves the expiry to `ttl` after `requested_at`, less the drift, unless the lease has ended.
    pub fn renew(&self, requested_at: Instant, ttl: Duration) {
        let validity = nanos((requested_at - self.start) + minus_drift(ttl));
        // Fails if the lease has ended, which is final.
        let _ = self.validity.fetch_update(SeqCst, SeqCst, |now| (now > 0).then(|| now.max(validity)));
    }

    /// Ends the lease, for good.
    pub fn end(&self) {
        self.validity.store(0, SeqCst);
        self.ended.notify_one();
    }

    /// Waits for [`end`](Self::end), not for the expiry. Supports one waiter.
    pub async fn ended(&self) {
        self.ended.notified().await;
    }
}

/// The part of a time to live that may be relied on by another clock than the one that counts it: by a lease's holder,
/// or by a cache of a value that expires.
///
/// Worst case: the own clock is slow by the bound, and the other one fast by it.
pub fn minus_drift(ttl: Duration) -> Duration {
    let slow = u64::from(1_000_000 - DRIFT_MAX_PPM);
    let fast = u64::from(1_000_000 + DRIFT_MAX_PPM);
    let nanos = u128::from(slow) * ttl.as_nanos() / u128::from(fast);
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "any instant will do to count from")]
mod tests {
    use super::*;

    const TTL: Duration = Duration::from_secs(3);

    #[test]
    fn a_lease_counts_from_before_the_request_and_expires_early() {
        let requested_at = Instant::now();
        let lease = HeldLease::new(7, requested_at, TTL);
        assert!(lease.is_valid(requested_at + Duration::from_millis(2_900)));
        assert!(!lease.is_valid(requested_at + Duration::from_millis(2_950)), "less two percent for drift");
        lease.renew(requested_at + Duration::from_secs(1), TTL);
        assert!(lease.is_valid(requested_at + Duration::from_millis(3_900)));
        assert!(!lease.is_valid(requested_at + Duration::from_millis(3_950)));
    }

    #[test]
    fn an_ended_lease_is_not_renewed() {
        let requested_at = Instant::now();
        let lease = HeldLease::new(7, requested_at, TTL);
        lease.end();
        lease.renew(requested_at + Duration::from_secs(1), TTL);
        assert!(!lease.is_valid(requested_at));
    }

    #[test]
    fn the_holder_is_done_before_the_lease_whatever_the_clocks_do() {
        let drift = f64::from(DRIFT_MAX_PPM) / 1e6;
        let holder_done_after = minus_drift(TTL).as_secs_f64() / (1.0 - drift);
        let lease_over_after = TTL.as_secs_f64() / (1.0 + drift);
        assert!(holder_done_after <= lease_over_after, "{holder_done_after} {lease_over_after}");
        assert!(holder_done_after > lease_over_after * 0.9999, "no more is given away than must be");
    }
}
