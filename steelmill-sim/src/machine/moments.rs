//! Who waits for a machine to reach a moment of its life: faults can be tied to one.

use std::future::poll_fn;
use std::task::Poll;

use steelmill_core::Milestone;

use super::cluster::{self, Cluster, RunId};
use crate::kernel::waiter::{Waiter, Waiters};
use crate::schema::moment::Moment;

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

impl Cluster {
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
                    self.kernel.wake_all(waiters);
                }
            }
        }
    }

    /// Nobody waits for moments any more.
    pub(crate) fn forget_moments(&mut self) {
        for awaited in std::mem::take(&mut self.moments.awaited) {
            self.kernel.discard_all(awaited.waiters);
        }
    }
}

/// Waits until a machine has come to a moment for the `nth` time from this call on.
pub(crate) fn come(id: RunId, machine: u32, moment: Moment, nth: u32) -> impl Future<Output = ()> {
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
            run.kernel.discard(unneeded);
            if has_come { Poll::Ready(()) } else { Poll::Pending }
        })
    })
}
