//! How the time of a stop is divided, so that it ends within twice its deadline.
//!
//! What comes after the deadline is set from the end backwards, before the [last resort](Deadlines::last_resort) of a world that can end
//! its process. The waits are in units of a thirty-second of the deadline, at least 20 ms and at most 100 ms:
//!
//! | units before the last resort | |
//! |---|---|
//! | 7 | the last abort, of all that is left; daemons that had to wait for aborted ones had until now |
//! | 3 | what was aborted is not waited for any more |
//! | 1 | nor are destructors: the factory has ended, and named what did not |

use std::time::{Duration, Instant};

use crate::Deadlines;

/// The longest grace, and unit. Few aborted daemons take longer: one that blocks its thread, or has a great many tasks, which are
/// waited for as long as they go on ending.
const GRACE_MAX: Duration = Duration::from_millis(100);

/// The shortest unit.
const UNIT_MIN: Duration = Duration::from_millis(20);

/// How long destructors are waited for that begin after the deadline.
const DESTRUCTORS_MAX: Duration = Duration::from_millis(250);

/// Until when things are waited for in a stop. It is reckoned when somebody asks: most stops end long before their deadline.
#[derive(Debug, Clone, Copy)]
pub(super) struct Budget {
    /// When the stop began, and its deadline; `None` before a stop.
    stop: Option<(Instant, Duration)>,
    /// When an ancestor aborted everything, and with which grace.
    hurried: Option<(Instant, Duration)>,
}

impl Budget {
    /// Before a stop.
    pub(super) fn unlimited() -> Self {
        Budget { stop: None, hurried: None }
    }

    /// Of a stop with this deadline that begins now.
    pub(super) fn new(now: Instant, deadline: Duration) -> Self {
        Budget { stop: Some((now, deadline)), hurried: None }
    }

    /// An ancestor aborts everything, and waits for [`of_child`](Budget::of_child) of this grace.
    pub(super) fn hurry(&mut self, now: Instant, grace: Duration) {
        self.hurried = Some((now, grace.min(self.grace(now, true))));
    }

    /// When all that is left is aborted. Like the times below `None` where the deadline is too long to be told, and before a stop.
    pub(super) fn abort_by(&self) -> Option<Instant> {
        self.before_last_resort(7)
    }

    /// When what was aborted is not waited for any more.
    pub(super) fn await_by(&self) -> Option<Instant> {
        self.before_last_resort(3)
    }

    /// When a round of the stop ends that begins now; with time for a first poll, as long as there is any.
    pub(super) fn round_by(&self, now: Instant, limit: Duration) -> Option<Instant> {
        let least = self.await_by().map(|await_by| await_by.min(now + self.unit() * 2));
        [now.checked_add(limit), self.abort_by().max(least)].into_iter().flatten().min()
    }

    fn before_last_resort(&self, units: u32) -> Option<Instant> {
        if let Some((at, _)) = self.hurried {
            return Some(at);
        }
        let (begins, deadline) = self.stop?;
        begins.checked_add(Deadlines::last_resort(deadline)? - self.unit() * units)
    }

    fn unit(&self) -> Duration {
        let within = self.stop.and_then(|(_, deadline)| Deadlines::ends_within(deadline));
        within.map_or(GRACE_MAX, |within| (within / 64).clamp(UNIT_MIN, GRACE_MAX))
    }

    /// How long to wait for something aborted until somebody looks at how it ends: a quarter of the time there is, as a child takes
    /// two and a half, and its maker another one and a half.
    pub(super) fn grace(&self, now: Instant, is_last: bool) -> Duration {
        if let Some((_, grace)) = self.hurried {
            return grace;
        }
        let by = if is_last { self.await_by() } else { self.abort_by() };
        let share = by.map_or(GRACE_MAX, |by| by.saturating_duration_since(now) / 4);
        share.clamp(self.unit() / 4, GRACE_MAX)
    }

    /// How long to wait for an aborted child. Longer than the child waits for its daemons and their destructors, so that it ends by
    /// itself unless its machine stands still: which of two timers fires first decides nothing.
    pub(super) fn of_child(grace: Duration) -> Duration {
        grace * 5 / 2
    }

    /// Until when destructors that begin now are waited for; they have what is left until `stop_by`, and a moment at least.
    pub(super) fn drop_by(&self, now: Instant, stop_by: Instant) -> Instant {
        if stop_by.saturating_duration_since(now) >= DESTRUCTORS_MAX {
            return stop_by;
        }
        let least = match self.hurried {
            Some((_, grace)) => grace / 2,
            None => {
                let left = self.before_last_resort(1).map(|by| by.saturating_duration_since(now));
                left.unwrap_or(DESTRUCTORS_MAX).clamp(self.unit() / 2, DESTRUCTORS_MAX)
            }
        };
        stop_by.max(now + least)
    }
}
