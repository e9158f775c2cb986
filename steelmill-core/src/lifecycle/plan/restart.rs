//! After a failed `run`: the daemon's policy decides between a stop of the factory, a restart, and leaving it down.
//!
//! Before the latter two the daemon winds down: the children it made and then its tasks end. Then it gets a fresh scope.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::{Action, Idle, Plan, Stage, Step, Timeout, Verdict};
use crate::control::{ChildId, Maker, SlotId};
use crate::{Backoff, OnFailure, Policy};

/// A daemon's policy and its recent restarts.
pub(super) struct Restarts {
    pub(super) policy: Policy,
    /// The times of the restarts within the window.
    recent: VecDeque<Instant>,
}

impl Restarts {
    pub(super) fn new(policy: Policy) -> Self {
        Restarts { policy, recent: VecDeque::new() }
    }

    /// Counts a restart, if the policy allows one more in the window that ends now.
    fn try_count(&mut self, backoff: &Backoff, now: Instant) -> bool {
        while let Some(oldest) = self.recent.front()
            && now.duration_since(*oldest) >= backoff.window
        {
            self.recent.pop_front();
        }
        let is_allowed = self.recent.len() < backoff.restarts as usize;
        if is_allowed {
            self.recent.push_back(now);
        }
        is_allowed
    }
}

impl Plan {
    /// A `run` has failed while the factory runs.
    pub(super) fn run_failed(&mut self, id: SlotId) -> Verdict {
        let (now, on_failure) = (self.now, self.policy(id).on_failure);
        let slot = self.slot(id);
        slot.step = Step::Ready(Idle::Down);
        match on_failure {
            OnFailure::StopFactory => {
                self.begin_stop(self.deadlines.stop);
                Verdict::Stands
            }
            OnFailure::LeaveDown => {
                self.wind_down(id);
                Verdict::Stands
            }
            OnFailure::Restart(backoff) => {
                let is_allowed =
                    slot.restarts.as_mut().is_some_and(|restarts| restarts.try_count(&backoff, now));
                if is_allowed {
                    self.wind_down(id);
                    return Verdict::Restarts;
                }
                self.begin_stop(self.deadlines.stop);
                Verdict::TooOften(backoff)
            }
        }
    }

    /// Winds a daemon down: stops the children it made, and then its tasks.
    fn wind_down(&mut self, id: SlotId) {
        self.slot(id).step = Step::WindingDown;
        for child in self.children_made_by(id) {
            self.stop_child(child);
        }
        let limit = self.wind_down_limit(id);
        self.limit(id, Some(limit));
        self.try_wind_down(id);
    }

    /// Stops the tasks of a daemon that winds down once its children have ended.
    pub(super) fn try_wind_down(&mut self, id: SlotId) {
        let slot = self.slot(id);
        if slot.step == Step::WindingDown && slot.own_children == 0 {
            self.act(Action::CloseTasks(id));
        }
    }

    /// The tasks of a daemon that winds down have ended.
    pub(super) fn wound_down(&mut self, id: SlotId) {
        let slot = self.slot(id);
        if slot.own_children > 0 {
            return; // one of the tasks made a child; `try_wind_down` is called again when that has ended
        }
        slot.is_aborted = false;
        let (rest, draw) = match &slot.restarts {
            Some(restarts) => match restarts.policy.on_failure {
                OnFailure::Restart(backoff) => (Idle::Pause, Some((backoff, restarts.recent.len() as u32))),
                _ => (Idle::Down, None),
            },
            None => (Idle::Down, None),
        };
        slot.step = Step::Ready(rest);
        self.abort_done(id);
        self.changed.push(id);
        self.limit(id, None);
        self.act(Action::RenewScope(id));
        if self.stage != Stage::Running {
            self.try_stop(id);
        } else if let Some((backoff, nth)) = draw {
            self.act(Action::DrawBackoff(id, backoff, nth));
        }
    }

    /// Sets the backoff before a restart.
    pub(in crate::lifecycle) fn pause(&mut self, id: SlotId, pause: Duration) {
        if self.stage == Stage::Running && self.slot(id).step == Step::Ready(Idle::Pause) {
            self.limit(id, Some(pause));
        }
        self.settle();
    }

    /// The backoff has passed.
    pub(super) fn run_again(&mut self, id: SlotId) {
        if self.stage == Stage::Running {
            self.run(id);
        }
    }

    /// The timeout for winding down.
    pub(super) fn wind_down_limit(&self, id: SlotId) -> Duration {
        self.policy(id).stop.unwrap_or(self.deadlines.stop)
    }

    pub(super) fn children_made_by(&self, id: SlotId) -> Vec<ChildId> {
        if self.slots[id.index()].own_children == 0 {
            return Vec::new();
        }
        let made = self.children.iter().filter(|(_, child)| child.maker == Maker::Daemon(id));
        made.map(|(child, _)| *child).collect()
    }

    /// Sets, replaces or clears the timeout of a daemon.
    pub(super) fn limit(&mut self, id: SlotId, limit: Option<Duration>) {
        let timeout = Timeout::Slot(std::cmp::Reverse(id));
        match limit {
            Some(limit) => self.timeouts.set(timeout, self.now, limit),
            None => self.timeouts.clear(timeout),
        }
    }
}
