//! How a daemon says it is, and how often it is asked.
//!
//! Nothing is asked, and nothing costs anything, until somebody requests the health of a factory; see
//! [`HealthWatch`](crate::HealthWatch).

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

/// How a daemon is: the answer of [`Daemon::health`](crate::Daemon::health). From best to worst.
///
/// # Example
/// ```
/// use steelmill_core::Health;
///
/// let health = Health::degraded("one of three replicas is gone");
/// assert!(health.is_ready());
/// assert_eq!(health.to_string(), "degraded: one of three replicas is gone");
/// assert!(!Health::failing("no replica is left").is_ready());
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Health {
    /// It has no check, as by default. Counts as healthy, and is not asked again.
    Unchecked,
    /// All is well.
    Healthy,
    /// It works, but not as it should: shown, without effect on readiness.
    Degraded(Cow<'static, str>),
    /// It cannot serve, and a restart would not help: the factory is not ready, but live.
    Failing(Cow<'static, str>),
    /// It did not answer in time, or panicked; or it knows that only a restart of the process helps: the factory is neither
    /// ready nor live.
    Unresponsive(Cow<'static, str>),
}

impl Health {
    /// It works, but not as it should, for this reason.
    pub fn degraded(reason: impl Into<Cow<'static, str>>) -> Self {
        Health::Degraded(reason.into())
    }

    /// It cannot serve, for this reason.
    pub fn failing(reason: impl Into<Cow<'static, str>>) -> Self {
        Health::Failing(reason.into())
    }

    /// Whether it can serve: not failing, and not unresponsive.
    pub fn is_ready(&self) -> bool {
        !matches!(self, Health::Failing(_) | Health::Unresponsive(_))
    }

    /// Whether it answers.
    pub fn is_live(&self) -> bool {
        !matches!(self, Health::Unresponsive(_))
    }

    /// Why it is not well.
    pub fn reason(&self) -> Option<&str> {
        match self {
            Health::Unchecked | Health::Healthy => None,
            Health::Degraded(reason) | Health::Failing(reason) | Health::Unresponsive(reason) => Some(reason),
        }
    }

    /// One word, without the reason: `degraded`.
    pub fn word(&self) -> &'static str {
        match self {
            Health::Unchecked => "unchecked",
            Health::Healthy => "healthy",
            Health::Degraded(_) => "degraded",
            Health::Failing(_) => "failing",
            Health::Unresponsive(_) => "unresponsive",
        }
    }
}

impl fmt::Display for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())?;
        self.reason().map_or(Ok(()), |reason| write!(f, ": {reason}"))
    }
}

/// How often the daemons of a factory are asked for their health, and how long they have to answer. Children inherit it.
///
/// Set with [`Factory::health_checks`](crate::Factory::health_checks). A daemon that is still being asked is not asked again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HealthChecks {
    /// The time from one round of questions to the next, at least 10 milliseconds. 5 seconds.
    pub every: Duration,
    /// How long a daemon may take to answer, until it is unresponsive. 1 second.
    pub timeout: Duration,
}

impl Default for HealthChecks {
    fn default() -> Self {
        HealthChecks { every: Duration::from_secs(5), timeout: Duration::from_secs(1) }
    }
}
