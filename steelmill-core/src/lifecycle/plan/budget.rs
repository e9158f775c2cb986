//! How the time of a stop is divided, so that it ends within twice its deadline.
//!
//! What comes after the deadline is set from the end backwards, in units of a sixteenth of the deadline, at most 100 ms each:
//!
//! | units before twice the deadline | |
//! |---|---|
//! | 11 | the last abort, of all that is left; daemons that had to wait for aborted ones had until now |
//! | 7 | what was aborted is not waited for any more |
//! | 5 | nor are destructors: the factory has ended, and named what did not |
//! | 4 | the last resort of a world that can end its process |

use std::time::{Duration, Instant};

use crate::Deadlines;

/// The longest grace, and unit. Few aborted daemons take longer: one that blocks its thread, or has a great many tasks, which are
/// waited for as long as they go on ending.
const GRACE_MAX: Duration = Duration::from_millis(100);

/// How long destructors are waited for that begin after the deadline.
const DESTRUCTORS_MAX: Duration = Duration::from_millis(250);

/// Until when things are waited for in a stop; for ever, where the deadline is too long to be told, and before a stop.
#[derive(Debug, Clone, Copy)]
pub(super) struct Budget {
    unit: Duration,
    /// When all that is left is aborted.
    pub(super) abort_by: Option<Instant>,
    /// When what was aborted is not waited for any more.
    pub(super) await_by: Option<Instant>,
    /// When destructors are not waited for any more.
    drop_by: Option<Instant>,
    /// An ancestor has aborted everything, with this grace.
    hurried: Option<Duration>,
}

impl Budget {
    /// Before a stop.
    pub(super) fn unlimited() -> Self {
        Budget { unit: GRACE_MAX, abort_by: None, await_by: None, drop_by: None, hurried: None }
    }

    /// Of a stop with this deadline that begins now.
    pub(super) fn new(now: Instant, deadline: Duration) -> Self {
        let Some(within) = Deadlines::ends_within(deadline) else { return Self::unlimited() };
        let unit = (within / 32).min(GRACE_MAX);
        let before_end = |units| now.checked_add(within - unit * units);
        let (abort_by, await_by, drop_by) = (before_end(11), before_end(7), before_end(5));
        Budget { unit, abort_by, await_by, drop_by, hurried: None }
    }

    /// An ancestor aborts everything, and waits for [`of_child`](Budget::of_child) of this grace.
    pub(super) fn hurry(&mut self, now: Instant, grace: Duration) {
        self.hurried = Some(grace.min(self.grace(now, true)));
        (self.abort_by, self.await_by) = (Some(now), Some(now));
    }

    /// How long to wait for something aborted until somebody looks at how it ends: a quarter of the time there is, as a child takes
    /// two and a half, and its maker another one and a half.
    pub(super) fn grace(&self, now: Instant, is_last: bool) -> Duration {
        let by = if is_last { self.await_by } else { self.abort_by };
        let share = by.map_or(GRACE_MAX, |by| by.saturating_duration_since(now) / 4);
        self.hurried.unwrap_or(share.clamp(self.unit / 4, GRACE_MAX))
    }

    /// How long to wait for an aborted child. Longer than the child waits for its daemons and their destructors, so that it ends by
    /// itself unless its machine stands still: which of two timers fires first decides nothing.
    pub(super) fn of_child(grace: Duration) -> Duration {
        grace * 5 / 2
    }

    /// How long destructors are waited for that begin now, after the deadline.
    pub(super) fn destructors(&self, now: Instant) -> Duration {
        if let Some(grace) = self.hurried {
            return grace / 2;
        }
        let left = self.drop_by.map_or(DESTRUCTORS_MAX, |by| by.saturating_duration_since(now));
        left.clamp(self.unit / 2, DESTRUCTORS_MAX)
    }
}
