//! A lease as its holder sees it: for how long it may rely on the lease, on its own clock.

use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::DRIFT_MAX_PPM;

/// A lease that was granted, with the instant until which its holder may rely on it.
#[derive(Debug)]
pub struct HeldLease {
    token: u64,
    start: Instant,
    /// In nanoseconds after the start; 0 once it is ended.
    length: AtomicU64,
    ended: Notify,
}

impl HeldLease {
    /// A lease that was granted for `ttl` in answer to a request sent after `asked`.
    ///
    /// The lease runs from the moment it is granted, which only the lease daemon knows. `asked` is before that.
    pub fn new(token: u64, asked: Instant, ttl: Duration) -> Self {
        let length = AtomicU64::new(nanos(less_drift(ttl)));
        Self { token, start: asked, length, ended: Notify::new() }
    }

    /// The fencing token that goes with every request to the store.
    pub fn token(&self) -> u64 {
        self.token
    }

    /// Whether its holder may rely on it at `now`.
    pub fn is_valid(&self, now: Instant) -> bool {
        now < self.expiry()
    }

    /// When it expires unless it is renewed.
    pub fn expiry(&self) -> Instant {
        self.start + Duration::from_nanos(self.length.load(SeqCst))
    }

    /// Moves the expiry to `ttl` after `asked`, less the drift, unless the lease was ended.
    pub fn renew(&self, asked: Instant, ttl: Duration) {
        let length = nanos((asked - self.start) + less_drift(ttl));
        // It fails when the lease was ended, which is not undone.
        let _ = self.length.fetch_update(SeqCst, SeqCst, |now| (now > 0).then(|| now.max(length)));
    }

    /// Ends it for good.
    pub fn end(&self) {
        self.length.store(0, SeqCst);
        self.ended.notify_one();
    }

    /// Waits until [`end`](Self::end) was called; not for the expiry. For one waiter.
    pub async fn ended(&self) {
        self.ended.notified().await;
    }
}

/// How much of a time to live its holder may count on, on its own clock.
///
/// The worst case is a holder whose clock is slow by the bound and a lease daemon whose clock is fast by it.
fn less_drift(ttl: Duration) -> Duration {
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
        let asked = Instant::now();
        let lease = HeldLease::new(7, asked, TTL);
        assert!(lease.is_valid(asked + Duration::from_millis(2_900)));
        assert!(!lease.is_valid(asked + Duration::from_millis(2_950)), "less two percent for drift");
        lease.renew(asked + Duration::from_secs(1), TTL);
        assert!(lease.is_valid(asked + Duration::from_millis(3_900)));
        assert!(!lease.is_valid(asked + Duration::from_millis(3_950)));
    }

    #[test]
    fn an_ended_lease_is_not_renewed() {
        let asked = Instant::now();
        let lease = HeldLease::new(7, asked, TTL);
        lease.end();
        lease.renew(asked + Duration::from_secs(1), TTL);
        assert!(!lease.is_valid(asked));
    }

    #[test]
    fn the_holder_is_done_before_the_lease_whatever_the_clocks_do() {
        let drift = f64::from(DRIFT_MAX_PPM) / 1e6;
        let holder_done_after = less_drift(TTL).as_secs_f64() / (1.0 - drift);
        let lease_over_after = TTL.as_secs_f64() / (1.0 + drift);
        assert!(holder_done_after <= lease_over_after, "{holder_done_after} {lease_over_after}");
        assert!(holder_done_after > lease_over_after * 0.9999, "no more is given away than must be");
    }
}
