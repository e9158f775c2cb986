//! How long the factory waits, and what a failure leads to.
//!
//! Every wait has a deadline, on the factory's own monotonic clock.

use std::time::Duration;

/// How long starting and stopping may take. A child begins with its parent's.
///
/// # Example
/// ```
/// # use std::time::Duration;
/// use steelmill_core::Deadlines;
///
/// let deadlines = Deadlines { stop: Duration::from_secs(3), ..Deadlines::default() };
/// assert_eq!(deadlines.prepare, Duration::from_secs(30));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deadlines {
    /// For preparing all daemons of the factory. 30 seconds.
    pub prepare: Duration,
    /// For stopping all daemons of a started factory. 10 seconds.
    ///
    /// When it has passed, what overstays is aborted and named; daemons that had to wait for it, and so were not told
    /// yet, get this time once more. A stop therefore never takes longer than about twice this.
    pub stop: Duration,
    /// For stopping again what had been prepared when the start failed; used as `stop` is. 10 seconds.
    pub rollback: Duration,
}

impl Default for Deadlines {
    fn default() -> Self {
        Deadlines {
            prepare: Duration::from_secs(30),
            stop: Duration::from_secs(10),
            rollback: Duration::from_secs(10),
        }
    }
}

/// What holds for one daemon: what a failure of its `run` leads to, and how long it may take.
///
/// Set with [`Factory::policy`](crate::Factory::policy).
///
/// # Example
/// ```
/// # use std::time::Duration;
/// use steelmill_core::{Backoff, OnFailure, Policy};
///
/// let policy = Policy {
///     on_failure: OnFailure::RunAgain(Backoff { restarts: 3, ..Backoff::default() }),
///     stop: Some(Duration::from_secs(2)),
///     ..Policy::default()
/// };
/// assert_eq!(policy.prepare, None);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Policy {
    /// What happens when `run` returns an error or panics. Unless it is said, the factory stops.
    pub on_failure: OnFailure,
    /// How long its `prepare` may take; no longer than the factory's [`Deadlines::prepare`] in any case.
    pub prepare: Option<Duration>,
    /// How long it may take to stop, from when it is told until its last task has ended; no longer than the factory's
    /// deadline in any case. Also how long its tasks and children have to end before it runs again.
    pub stop: Option<Duration>,
}

impl Policy {
    /// Runs again after a failure.
    pub fn run_again(backoff: Backoff) -> Self {
        Policy { on_failure: OnFailure::RunAgain(backoff), ..Policy::default() }
    }

    /// Stays down after a failure.
    pub fn leave_down() -> Self {
        Policy { on_failure: OnFailure::LeaveDown, ..Policy::default() }
    }
}

/// What a `run` that failed or panicked leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnFailure {
    /// The factory stops.
    #[default]
    StopFactory,
    /// `run` is called again, on the same daemon, after the children it made and then its tasks have ended, and a pause
    /// has passed.
    ///
    /// `build`, `prepare` and `stop` still happen once, and those who depend on the daemon keep their refs. What must
    /// be fresh each time lives in `run`, or in a child. Each run has a [`Scope`](crate::Scope) of its own: one that was
    /// kept from `prepare` or an earlier run stays told to stop.
    RunAgain(Backoff),
    /// The daemon's tasks and the children it made end, and it stays as it is: it can still be called, and is stopped
    /// when its turn comes. The failure is in the report.
    LeaveDown,
}

/// How soon, and how often, a daemon runs again.
///
/// The pause doubles with each restart in the window, and is drawn between half of that and all of it, so that many
/// that failed together do not come back together (see [Exponential Backoff And
/// Jitter](https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/)). A daemon that has run well for a
/// whole window begins anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// The pause before the first restart. 100 milliseconds.
    pub first: Duration,
    /// The longest pause. 10 seconds.
    pub longest: Duration,
    /// How many restarts there may be within any `window`; one more failure, and the factory stops. 5.
    pub restarts: u32,
    /// The time in which they are counted: it slides. 1 minute.
    pub window: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Backoff {
            first: Duration::from_millis(100),
            longest: Duration::from_secs(10),
            restarts: 5,
            window: Duration::from_secs(60),
        }
    }
}

impl Backoff {
    /// The pause before the `nth` restart of a window, counted from 1. `draw` is any number, evenly distributed.
    pub(crate) fn pause(&self, nth: u32, draw: u64) -> Duration {
        let doubled = 1_u32.checked_shl(nth.saturating_sub(1)).unwrap_or(u32::MAX);
        let pause = self.first.saturating_mul(doubled).min(self.longest);
        let half = pause / 2;
        // 32 bits of the draw, as a share of the other half.
        half.saturating_add((pause - half).mul_f64((draw >> 32) as f64 / f64::from(u32::MAX)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_doubles_up_to_the_longest_and_is_drawn_from_its_upper_half() {
        let backoff = Backoff {
            first: Duration::from_millis(100),
            longest: Duration::from_secs(1),
            ..Backoff::default()
        };
        let longest = |nth| backoff.pause(nth, u64::MAX).as_millis();
        let shortest = |nth| backoff.pause(nth, 0).as_millis();
        assert_eq!([1, 2, 3, 4, 5, 40].map(longest), [100, 200, 400, 800, 1000, 1000]);
        assert_eq!([1, 2, 3, 4, 5, 40].map(shortest), [50, 100, 200, 400, 500, 500]);
        let middle = backoff.pause(1, u64::MAX / 2);
        assert!(middle > Duration::from_millis(74) && middle < Duration::from_millis(76), "{middle:?}");
    }

    #[test]
    fn a_pause_never_overflows() {
        let backoff = Backoff { first: Duration::MAX, longest: Duration::MAX, ..Backoff::default() };
        assert!(backoff.pause(u32::MAX, 0) >= Duration::MAX / 3);
    }
}
