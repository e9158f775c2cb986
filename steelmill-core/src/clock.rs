//! Time: a monotonic clock for deadlines, a wall clock for people, timers, timeouts and intervals.

use std::future::Future;
use std::pin::pin;
use std::time::{Duration, Instant, SystemTime};

use futures::future::{Either, select};

use crate::Daemon;

/// A source of time. In the sim each machine has its own, which may drift, jump and pause.
pub trait Clock: Daemon {
    /// The monotonic clock. Only comparable on the same machine.
    fn now(&self) -> Instant;

    /// The wall clock. It may jump in both directions: do not measure durations with it.
    fn wall(&self) -> SystemTime;

    /// Waits until [`now`](Clock::now) has reached `deadline`; returns at once when it already has.
    ///
    /// # Cancellation
    /// Dropping the future cancels the timer.
    fn sleep_until(&self, deadline: Instant) -> impl Future<Output = ()> + Send + use<Self>;

    /// Waits for `duration` on the monotonic clock.
    ///
    /// # Cancellation
    /// Dropping the future cancels the timer.
    fn sleep(&self, duration: Duration) -> impl Future<Output = ()> + Send + use<Self>;

    /// Waits for `future`, at most for `limit`. A future that is ready at the first poll always wins.
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

    /// Ticks every `period`, the first time at once. Missed ticks follow without a pause, so that their number is right.
    ///
    /// # Panics
    /// When `period` is zero.
    fn interval(&self, period: Duration) -> Interval<'_, Self> {
        assert!(!period.is_zero(), "an interval needs a period above zero");
        Interval { clock: self, next: self.now(), period }
    }
}

/// A [`Clock::timeout`] expired.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("nothing came within {limit:?}")]
pub struct Elapsed {
    /// The limit of the timeout.
    pub limit: Duration,
}

impl From<Elapsed> for std::io::Error {
    fn from(elapsed: Elapsed) -> Self {
        std::io::Error::new(std::io::ErrorKind::TimedOut, elapsed)
    }
}

/// A periodic timer; made by [`Clock::interval`].
#[derive(Debug)]
pub struct Interval<'a, C> {
    clock: &'a C,
    next: Instant,
    period: Duration,
}

impl<C: Clock> Interval<'_, C> {
    /// Waits for the next tick and returns the instant at which it was due.
    ///
    /// # Cancellation
    /// No tick is lost: the next call waits for the same one.
    pub async fn tick(&mut self) -> Instant {
        self.clock.sleep_until(self.next).await;
        let due = self.next;
        self.next += self.period;
        due
    }
}
