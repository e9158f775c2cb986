//! Waiting until a machine reaches a moment: the trigger of a fault.

use std::future::poll_fn;
use std::task::Poll;

use steelmill_core::Milestone;

use super::cluster::{self, Cluster, RunId};
use crate::kernel::waiter::{Waiter, Waiters};
use crate::schema::moment::Moment;

#[derive(Default)]
pub(crate) struct Moments {
    awaited: Vec<Awaited>,
}

struct Awaited {
    machine: u32,
    moment: Moment,
    /// Occurrences left until the waiters are woken.
    remaining: u32,
    waiters: Waiters,
}

impl Cluster {
    pub(crate) fn milestone_reached(&mut self, machine: u32, factory: &str, milestone: Milestone) {
        // With a cluster factory, the machine's own factory is a child of it.
        let within = self.root.as_ref().and_then(|root| factory.strip_prefix(root.path())?.strip_prefix('/'));
        let is_child = within.unwrap_or(factory) != &*self.hosts[machine].name;
        if let Some(moment) = Moment::of(milestone, is_child) {
            self.moment_reached(machine, moment);
        }
    }

    /// Called for every message.
    #[inline]
    pub(crate) fn sends(&mut self, machine: u32) {
        if !self.moments.awaited.is_empty() {
            self.moment_reached(machine, Moment::Sending);
        }
    }

    /// Counts an occurrence of a moment, and wakes the waiters for which it is the last.
    pub(crate) fn moment_reached(&mut self, machine: u32, moment: Moment) {
        for index in 0..self.moments.awaited.len() {
            let awaited = &mut self.moments.awaited[index];
            if (awaited.machine, awaited.moment) == (machine, moment) && awaited.remaining > 0 {
                awaited.remaining -= 1;
                if awaited.remaining == 0 {
                    let waiters = awaited.waiters.take();
                    self.kernel.wake_all(waiters);
                }
            }
        }
    }

    pub(crate) fn discard_moment_waiters(&mut self) {
        for awaited in std::mem::take(&mut self.moments.awaited) {
            self.kernel.discard_all(awaited.waiters);
        }
    }
}

/// Waits for the `nth` occurrence of a moment on a machine, counted from this call.
pub(crate) fn wait_for(id: RunId, machine: u32, moment: Moment, nth: u32) -> impl Future<Output = ()> {
    let index = cluster::with(id, |run| {
        run.moments.awaited.push(Awaited { machine, moment, remaining: nth, waiters: Waiters::default() });
        run.moments.awaited.len() - 1
    });
    poll_fn(move |context| {
        let waiter = Waiter::of(context.waker());
        cluster::with(id, |run| {
            let awaited = &mut run.moments.awaited[index];
            let is_reached = awaited.remaining == 0;
            let redundant = if is_reached { Some(waiter) } else { awaited.waiters.add(waiter) };
            run.kernel.discard(redundant);
            if is_reached { Poll::Ready(()) } else { Poll::Pending }
        })
    })
}
