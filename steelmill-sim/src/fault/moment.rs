//! Moments in a machine's life that faults can be tied to.

use std::fmt;
use std::future::poll_fn;
use std::task::Poll;

use serde::{Deserialize, Serialize};
use steelmill_core::Milestone;

use crate::kernel::waker::{Waiter, Waiters};
use crate::machine::cluster::{self, Run, RunId};

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
    pub(super) const ALL: [Self; 5] =
        [Self::Preparing, Self::Restarting, Self::Stopping, Self::ChildStarted, Self::ChildStopped];

    /// What it means to faults that a factory has come to something.
    fn of(milestone: Milestone, is_child: bool) -> Option<Self> {
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

/// Who waits for which moments.
#[derive(Default)]
pub(crate) struct Moments {
    awaited: Vec<Awaited>,
}

struct Awaited {
    machine: u32,
    moment: Moment,
    /// How many more times it is to come.
    left: u32,
    waiters: Waiters,
}

impl Run {
    /// A factory of a machine has come to something.
    pub(crate) fn reached(&mut self, machine: u32, factory: &str, milestone: Milestone) {
        // The machine's own is a child of the cluster's, where there is one.
        let within = self.root.as_ref().and_then(|root| factory.strip_prefix(root.path())?.strip_prefix('/'));
        let is_child = within.unwrap_or(factory) != &*self.hosts[machine].name;
        if let Some(moment) = Moment::of(milestone, is_child) {
            self.moment(machine, moment);
        }
    }

    /// A machine has come to a moment.
    pub(crate) fn moment(&mut self, machine: u32, moment: Moment) {
        for index in 0..self.moments.awaited.len() {
            let awaited = &mut self.moments.awaited[index];
            if (awaited.machine, awaited.moment) == (machine, moment) && awaited.left > 0 {
                awaited.left -= 1;
                if awaited.left == 0 {
                    let waiters = awaited.waiters.take();
                    self.wake_all(waiters);
                }
            }
        }
    }

    /// Nobody waits for moments any more.
    pub(super) fn forget_moments(&mut self) {
        for awaited in std::mem::take(&mut self.moments.awaited) {
            self.discard_all(awaited.waiters);
        }
    }
}

/// Waits until a machine has come to a moment for the `nth` time from this call on.
pub(super) fn come(id: RunId, machine: u32, moment: Moment, nth: u32) -> impl Future<Output = ()> {
    let index = cluster::with(id, |run| {
        run.moments.awaited.push(Awaited { machine, moment, left: nth, waiters: Waiters::default() });
        run.moments.awaited.len() - 1
    });
    poll_fn(move |context| {
        let waiter = Waiter::of(context.waker());
        cluster::with(id, |run| {
            let awaited = &mut run.moments.awaited[index];
            let has_come = awaited.left == 0;
            let unneeded = if has_come { Some(waiter) } else { awaited.waiters.add(waiter) };
            run.discard(unneeded);
            if has_come { Poll::Ready(()) } else { Poll::Pending }
        })
    })
}
