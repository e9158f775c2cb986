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

    /// Ticks every `period`, the first time at once. Missed ticks follow without a pause, so that their number is right;
    /// [`set_missed_tick_behavior`](Interval::set_missed_tick_behavior) changes that.
    ///
    /// # Panics
    /// When `period` is zero.
    fn interval(&self, period: Duration) -> Interval<'_, Self> {
        assert!(!period.is_zero(), "an interval needs a period above zero");
        let missed = MissedTickBehavior::default();
        Interval { clock: self, next: Some(self.now()), period, missed }
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

/// When an [`Interval`] ticks again after a tick that was late by more than 5 milliseconds, because its task was busy or its
/// machine paused. The same three as tokio's.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum MissedTickBehavior {
    /// At once, until it has caught up: the number of ticks is right. The default.
    #[default]
    Burst,
    /// A whole period after the late tick: ticks are never closer than a period.
    Delay,
    /// At the next multiple of the period: missed ticks are left out, and the phase is kept.
    Skip,
}

/// A tick that is late by less is on time: a real timer is a millisecond or two late, which must not add up.
const TOLERANCE: Duration = Duration::from_millis(5);

impl MissedTickBehavior {
    /// When the tick after the one that was due at `due`, and came at `now`, is due; `None` if never.
    fn next(self, due: Instant, now: Instant, period: Duration) -> Option<Instant> {
        let late = now.saturating_duration_since(due);
        match self {
            MissedTickBehavior::Delay if late > TOLERANCE => now.checked_add(period),
            MissedTickBehavior::Skip if late > TOLERANCE => {
                let into_period = Duration::from_nanos_u128(late.as_nanos() % period.as_nanos());
                now.checked_add(period - into_period)
            }
            _ => due.checked_add(period),
        }
    }
}

/// A periodic timer; made by [`Clock::interval`].
#[derive(Debug)]
pub struct Interval<'a, C> {
    clock: &'a C,
    /// `None`: beyond what an `Instant` can hold.
    next: Option<Instant>,
    period: Duration,
    missed: MissedTickBehavior,
}

impl<C: Clock> Interval<'_, C> {
    /// Waits for the next tick and returns the instant at which it was due.
    ///
    /// # Cancellation
    /// No tick is lost: the next call waits for the same one.
    pub async fn tick(&mut self) -> Instant {
        let due = loop {
            match self.next {
                Some(due) => break due,
                None => self.clock.sleep(Duration::MAX).await,
            }
        };
        self.clock.sleep_until(due).await;
        self.next = self.missed.next(due, self.clock.now(), self.period);
        due
    }

    /// Sets when it ticks again after a late tick.
    ///
    /// # Example
    /// A heartbeat that does not flood its peers after a pause of the machine.
    /// ```
    /// # use std::time::Duration;
    /// # use steelmill_core::{Clock, MissedTickBehavior};
    /// # steelmill_sim::check(steelmill_sim::Seed(1), |sim| async move {
    /// # let clock = sim.clock();
    /// let mut beat = clock.interval(Duration::from_secs(1));
    /// beat.set_missed_tick_behavior(MissedTickBehavior::Skip);
    /// let first = beat.tick().await;
    /// clock.sleep(Duration::from_millis(3_500)).await;
    /// assert_eq!(beat.tick().await, first + Duration::from_secs(1)); // late, and at once
    /// assert_eq!(beat.tick().await, first + Duration::from_secs(4)); // two are left out
    /// # Ok(())
    /// # });
    /// ```
    pub fn set_missed_tick_behavior(&mut self, behavior: MissedTickBehavior) {
        self.missed = behavior;
    }

    /// When it ticks again after a late tick.
    pub fn missed_tick_behavior(&self) -> MissedTickBehavior {
        self.missed
    }

    /// The time between ticks.
    pub fn period(&self) -> Duration {
        self.period
    }
}

#[cfg(test)]
mod tests {
    use super::MissedTickBehavior::{Burst, Delay, Skip};
    use super::*;

    /// When the tick after one that is late is due, in milliseconds since the late one was due; the period is 100.
    fn next(behavior: MissedTickBehavior, late: u64) -> u64 {
        #[expect(clippy::disallowed_methods, reason = "any instant serves")]
        let due = Instant::now();
        let next = behavior.next(due, due + Duration::from_millis(late), Duration::from_millis(100)).unwrap();
        (next - due).as_millis() as u64
    }

    #[test]
    fn the_tick_after_a_late_one_follows_is_delayed_or_keeps_its_phase() {
        for (late, burst, delay, skip) in [
            (0, 100, 100, 100),
            (5, 100, 100, 100), // as good as on time
            (6, 100, 106, 100),
            (99, 100, 199, 100),
            (100, 100, 200, 200),
            (101, 100, 201, 200),
            (350, 100, 450, 400),
        ] {
            let next = [next(Burst, late), next(Delay, late), next(Skip, late)];
            assert_eq!(next, [burst, delay, skip], "{late} ms late");
        }
    }

    #[test]
    fn the_longest_period_has_no_second_tick() {
        #[expect(clippy::disallowed_methods, reason = "any instant serves")]
        let due = Instant::now();
        for behavior in [Burst, Delay, Skip] {
            for late in [Duration::ZERO, Duration::from_secs(1)] {
                assert_eq!(behavior.next(due, due + late, Duration::MAX), None, "{behavior:?}");
            }
        }
    }
}
