//! How long the factory waits. Every wait has a deadline, on the factory's own monotonic clock.

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
