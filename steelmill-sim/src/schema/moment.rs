//! Moments in a machine's life that faults can be tied to.

use std::fmt;

use serde::{Deserialize, Serialize};
use steelmill_core::Milestone;

/// A moment in the life of a machine with a factory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Moment {
    /// Its daemons are about to prepare.
    Preparing,
    /// It is about to be started again after its process had ended.
    Restarting,
    /// Its factory has been told to stop.
    Stopping,
    /// A child of its factory, or of one further down, runs.
    ChildStarted,
    /// Such a child has ended.
    ChildStopped,
}

impl Moment {
    pub(crate) const ALL: [Self; 5] =
        [Self::Preparing, Self::Restarting, Self::Stopping, Self::ChildStarted, Self::ChildStopped];

    /// What it means to faults that a factory has come to something.
    pub(crate) fn of(milestone: Milestone, is_child: bool) -> Option<Self> {
        match (milestone, is_child) {
            (Milestone::Preparing, false) => Some(Self::Preparing),
            (Milestone::Stopping, false) => Some(Self::Stopping),
            (Milestone::Running, true) => Some(Self::ChildStarted),
            (Milestone::Ended, true) => Some(Self::ChildStopped),
            _ => None,
        }
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Moment::Preparing => "preparing",
            Moment::Restarting => "restarting",
            Moment::Stopping => "stopping",
            Moment::ChildStarted => "starting a child",
            Moment::ChildStopped => "stopping a child",
        })
    }
}
