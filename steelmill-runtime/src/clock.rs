//! The system's clocks and tokio's timers.

use std::future::Future;
use std::time::{Duration, Instant, SystemTime};

use steelmill_core::{Daemon, Factory, Result};
use tokio::time::Sleep;

/// The system's time. Timers have tokio's precision of one millisecond, and never fire early.
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

    /// Waits for `duration`. What comes back is tokio's own type: it can be kept in a struct, pinned and reset.
    pub fn sleep(&self, duration: Duration) -> Sleep {
        tokio::time::sleep(duration)
    }

    /// Waits until `deadline`.
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
