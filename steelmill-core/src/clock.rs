//! Time, as a daemon sees it: a monotonic clock for deadlines, a wall clock for people, and ways to wait.

use std::future::Future;
use std::pin::pin;
use std::time::{Duration, Instant, SystemTime};

use futures::future::{Either, select};

use crate::Daemon;

/// A source of time. In the sim it belongs to a machine: it may drift, jump and stand still with it.
pub trait Clock: Daemon {
    /// The monotonic clock. Compare it only with instants of the same machine.
    fn now(&self) -> Instant;

    /// The wall clock. It may jump in both directions; never measure durations with it.
    fn wall(&self) -> SystemTime;

    /// Waits until [`now`](Clock::now) has reached `deadline`; returns at once when it already has.
    ///
    /// # Cancellation
    /// Dropping the future gives the timer back.
    fn sleep_until(&self, deadline: Instant) -> impl Future<Output = ()> + Send + use<Self>;

    /// Waits for `duration` on the monotonic clock.
    ///
    /// # Cancellation
    /// Dropping the future gives the timer back.
    fn sleep(&self, duration: Duration) -> impl Future<Output = ()> + Send + use<Self>;

    /// Waits for `future`, but no longer than `limit`. A future that is ready at the first poll always wins.
    ///
    /// # Cancellation
    /// At the limit `future` is dropped.
    fn timeout<F: Future + Send>(
        &self,
        limit: Duration,
        future: F,
    ) -> impl Future<Output = Result<F::Output, Elapsed>> + Send {
        let sleep = self.sleep(limit);
        async move {
            match select(pin!(future), pin!(sleep)).await {
                Either::Left((output, _)) => Ok(output),
                Either::Right(((), _)) => Err(Elapsed { limit }),
            }
        }
    }

    /// Ticks every `period`; the first tick comes at once. Ticks that were missed follow without a pause, so
    /// their number stays right.
    ///
    /// # Panics
    /// When `period` is zero.
    fn interval(&self, period: Duration) -> Interval<'_, Self> {
        assert!(!period.is_zero(), "an interval needs a period above zero");
        Interval { clock: self, next: self.now(), period }
    }
}

/// The limit of a [`Clock::timeout`] was reached first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("nothing came within {limit:?}")]
pub struct Elapsed {
    /// The limit that was set.
    pub limit: Duration,
}

impl From<Elapsed> for std::io::Error {
    fn from(elapsed: Elapsed) -> Self {
        std::io::Error::new(std::io::ErrorKind::TimedOut, elapsed)
    }
}

/// A steady beat; made by [`Clock::interval`].
#[derive(Debug)]
pub struct Interval<'a, C> {
    clock: &'a C,
    next: Instant,
    period: Duration,
}

impl<C: Clock> Interval<'_, C> {
    /// Waits for the next beat and returns the instant it was due.
    ///
    /// # Cancellation
    /// A dropped tick is not lost: the next call waits for the same beat.
    pub async fn tick(&mut self) -> Instant {
        self.clock.sleep_until(self.next).await;
        let due = self.next;
        self.next += self.period;
        due
    }
}
