//! The system's clocks and tokio's timers.

use std::time::{Duration, Instant, SystemTime};

use steelmill_core::{Daemon, Factory, Result};
use tokio::time::Sleep;

/// The system's time. Timers have tokio's precision of one millisecond, and never fire early.
#[derive(Debug, Clone, Copy, Default)]
pub struct Clock;

impl Daemon for Clock {
    fn build(_: &mut Factory) -> Result<Self> {
        Ok(Clock)
    }
}

impl steelmill_core::Clock for Clock {
    fn now(&self) -> Instant {
        Instant::now()
    }

    fn wall(&self) -> SystemTime {
        SystemTime::now()
    }

    // Tokio's own type is returned on purpose: it can be pinned in a struct and reset.
    #[allow(refining_impl_trait)]
    fn sleep_until(&self, deadline: Instant) -> Sleep {
        tokio::time::sleep_until(deadline.into())
    }

    #[allow(refining_impl_trait)]
    fn sleep(&self, duration: Duration) -> Sleep {
        tokio::time::sleep(duration)
    }
}
