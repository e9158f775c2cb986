//! Moments of a machine that trigger faults: of its lifecycle, its messages, and its disk.

use std::fmt;

use serde::{Deserialize, Serialize};
use steelmill_core::Milestone;

/// A moment in the lifecycle of a machine's factory, a message or a sync of the machine, at which a fault can strike: see [`When::On`](crate::fault::When::On).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Moment {
    /// Its daemons are about to prepare.
    Preparing,
    /// The machine is about to be restarted after its process ended.
    Restarting,
    /// Its stop was requested.
    Stopping,
    /// A child factory, at any depth, is running.
    ChildStarted,
    /// A child factory, at any depth, has ended.
    ChildStopped,
    /// It sends a datagram, a segment of a handshake or of an end, or a flight of a stream, which is then in flight.
    Sending,
    /// It begins to sync a file or a directory (fsync(2)), which takes some time.
    Syncing,
}

impl Moment {
    /// Those of a lifecycle.
    pub(crate) const OF_LIFECYCLE: [Self; 5] =
        [Self::Preparing, Self::Restarting, Self::Stopping, Self::ChildStarted, Self::ChildStopped];

    /// The moment at which a factory reaches a milestone, if faults can be tied to it.
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
            Moment::Sending => "sending",
            Moment::Syncing => "syncing",
        })
    }
}
