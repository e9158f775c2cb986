//! The system clock and tokio's timers.

use std::future::Future;
use std::time::{Duration, Instant, SystemTime};

use steelmill_core::{Daemon, Factory, Result};
use tokio::time::Sleep;

/// The system clock: monotonic and wall time, and tokio's timers, which have a resolution of 1 ms and never fire early.
#[derive(Debug, Clone, Copy, Default)]
pub struct Clock;

impl Clock {
    /// The monotonic clock.
    pub fn now(&self) -> Instant {
        Instant::now()
    }

    /// The wall clock.
    pub fn wall(&self) -> SystemTime {
        SystemTime::now()
    }

    /// A timer that fires after `duration`. [`Sleep`] is tokio's type: it can be stored, pinned and reset.
    ///
    /// # Panics
    /// Outside a tokio runtime with time enabled.
    pub fn sleep(&self, duration: Duration) -> Sleep {
        tokio::time::sleep(duration)
    }

    /// A timer that fires at `deadline`; see [`sleep`](Clock::sleep).
    ///
    /// # Panics
    /// Outside a tokio runtime with time enabled.
    pub fn sleep_until(&self, deadline: Instant) -> Sleep {
        tokio::time::sleep_until(deadline.into())
    }
}

impl Daemon for Clock {
    fn build(_: &mut Factory) -> Result<Self> {
        Ok(Clock)
    }
}

impl steelmill_core::Clock for Clock {
    fn now(&self) -> Instant {
        self.now()
    }

    fn wall(&self) -> SystemTime {
        self.wall()
    }

    fn sleep_until(&self, deadline: Instant) -> impl Future<Output = ()> + Send + use<> {
        self.sleep_until(deadline)
    }

    fn sleep(&self, duration: Duration) -> impl Future<Output = ()> + Send + use<> {
        self.sleep(duration)
    }
}
