//! Deadlines for starting and stopping, and policies for failures.
//!
//! Every wait has a deadline, on the factory's monotonic clock.

use std::time::Duration;

/// How long starting and stopping a factory may take. Children inherit them.
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
    /// When it has passed, the daemons still stopping are aborted and reported; daemons that had to wait for these get what is
    /// left of twice this time, but for its end, in which all that is left is aborted and named. So a stop ends within
    /// [twice its deadline](Deadlines::ends_within), whatever daemons do. What is left of the deadline when all daemons have ended
    /// is for their destructors: a daemon whose `Drop` takes longer is reported, and left behind with those that it depends on.
    pub stop: Duration,
    /// For stopping the prepared daemons after a failed start; applied like `stop`. 10 seconds.
    pub rollback: Duration,
}

impl Deadlines {
    /// A shorter deadline ends no stop earlier: to abort what has not ended takes a moment, too.
    const STOP_MIN: Duration = Duration::from_millis(400);

    /// Within which time a stop with this deadline ends, from its beginning: twice the deadline, or 800 ms if that is more; `None`
    /// if it is too long to be told. A drain comes before and is not counted. What comes after the factory, such as the end of
    /// a process, is within this time: the factory has ended before the [last resort](Deadlines::last_resort).
    pub fn ends_within(stop_deadline: Duration) -> Option<Duration> {
        stop_deadline.max(Self::STOP_MIN).checked_mul(2)
    }

    /// After which time from its beginning a stop with this deadline needs to be ended by force, because it has not ended; for
    /// worlds that can do that. That is three eighths of the deadline before [its end](Deadlines::ends_within), or 400 ms if
    /// that is less.
    pub fn last_resort(stop_deadline: Duration) -> Option<Duration> {
        let within = Self::ends_within(stop_deadline)?;
        Some(within - (within / 16 * 3).min(Duration::from_millis(400)))
    }
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

/// What the end of a daemon's `run` leads to, and the timeouts of this daemon.
///
/// Set with [`Factory::policy`](crate::Factory::policy), or for one named daemon with
/// [`Factory::policy_named`](crate::Factory::policy_named). Erlang's restart types
/// ([supervisor(3erl)](https://www.erlang.org/doc/apps/stdlib/supervisor.html)) are
/// [`permanent`](Policy::permanent), [`restart`](Policy::restart) (transient) and [`leave_down`](Policy::leave_down)
/// (temporary).
///
/// # Example
/// ```
/// # use std::time::Duration;
/// use steelmill_core::{Backoff, OnFailure, Policy};
///
/// let policy = Policy {
///     on_failure: OnFailure::Restart(Backoff { restarts: 3, ..Backoff::default() }),
///     stop: Some(Duration::from_secs(2)),
///     ..Policy::default()
/// };
/// assert_eq!(policy.prepare, None);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Policy {
    /// What happens when `run` returns an error or panics. Default: the factory stops.
    pub on_failure: OnFailure,
    /// What happens when `run` returns `Ok` before it was told to stop. Default: the daemon has finished.
    pub on_finish: OnFinish,
    /// The timeout of its `prepare`, within [`Deadlines::prepare`].
    pub prepare: Option<Duration>,
    /// The timeout of its stop, from the stop signal until its last task has ended, within the factory's deadline. Also of
    /// its tasks and children before a restart.
    pub stop: Option<Duration>,
}

impl Policy {
    /// Restarts the daemon whenever its `run` ends, whether it failed or returned `Ok`: Erlang's *permanent*.
    pub fn permanent(backoff: Backoff) -> Self {
        Policy {
            on_failure: OnFailure::Restart(backoff),
            on_finish: OnFinish::Restart(backoff),
            ..Policy::default()
        }
    }

    /// Restarts the daemon after a failure: Erlang's *transient*.
    pub fn restart(backoff: Backoff) -> Self {
        Policy { on_failure: OnFailure::Restart(backoff), ..Policy::default() }
    }

    /// Leaves the daemon down after a failure: Erlang's *temporary*.
    pub fn leave_down() -> Self {
        Policy { on_failure: OnFailure::LeaveDown, ..Policy::default() }
    }
}

/// What happens after a `run` failed or panicked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum OnFailure {
    /// The factory stops.
    #[default]
    StopFactory,
    /// The daemon restarts: its children and then its tasks end, a backoff passes, and `run` is called again on the same
    /// daemon.
    ///
    /// `build`, `prepare` and `stop` are still called once, and dependents keep their refs. State that must be fresh lives
    /// in `run`, or in a child factory. Each run has its own [`Scope`](crate::Scope): one kept from `prepare` or an earlier
    /// run stays stopping.
    Restart(Backoff),
    /// The daemon's tasks and children end, and it is not restarted. It can still be called, its `stop` is called as usual,
    /// and the failure is in the report.
    LeaveDown,
}

/// What happens after a `run` returned `Ok` while its factory was running.
///
/// # Example
/// A process that ends with its main task, and one whose poller runs again every ten seconds or so:
/// ```
/// # use std::time::Duration;
/// use steelmill_core::{Backoff, OnFinish, Policy};
///
/// let main = Policy { on_finish: OnFinish::StopFactory, ..Policy::default() };
///
/// let pause = Duration::from_secs(10);
/// let backoff = Backoff { first: pause, longest: pause, restarts: u32::MAX, ..Backoff::default() };
/// let poller = Policy { on_finish: OnFinish::Restart(backoff), ..Policy::default() };
/// # assert_ne!(main, poller);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum OnFinish {
    /// The daemon has finished. It can still be called, its tasks and children go on, and its `stop` is called as usual.
    ///
    /// A factory whose daemons have all finished stops, unless
    /// [`remain_when_finished`](crate::Factory::remain_when_finished) was called.
    #[default]
    Stay,
    /// The factory stops, without a failure.
    StopFactory,
    /// The daemon restarts, as by [`OnFailure::Restart`]. Both count towards the same limit of restarts.
    Restart(Backoff),
}

/// Exponential backoff with jitter, and the limit of restarts.
///
/// The pause doubles with each restart in the window; half of it is random, so that daemons that failed together do not
/// restart together (see [Exponential Backoff And
/// Jitter](https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/)). A window without a restart resets it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// The pause before the first restart. 100 milliseconds.
    pub first: Duration,
    /// The longest pause. 10 seconds.
    pub longest: Duration,
    /// How many restarts are allowed within a `window`; after one more failure the factory stops. 5.
    pub restarts: u32,
    /// The sliding window in which restarts are counted. 1 minute.
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
    /// The pause before the `nth` restart of a window, from 1. `draw` is uniformly random, used for jitter.
    pub(crate) fn pause(&self, nth: u32, draw: u64) -> Duration {
        let doubled = 1_u32.checked_shl(nth.saturating_sub(1)).unwrap_or(u32::MAX);
        let pause = self.first.saturating_mul(doubled).min(self.longest);
        let half = pause / 2;
        half.saturating_add((pause - half).mul_f64((draw >> 32) as f64 / f64::from(u32::MAX)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_doubles_up_to_the_longest_and_half_of_it_is_jitter() {
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
