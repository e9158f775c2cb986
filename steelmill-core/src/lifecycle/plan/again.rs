//! What happens when a daemon's `run` fails while the factory runs: its policy decides.
//!
//! One that runs again, or is left down, winds down first: the children it made and its tasks end. Then it has a fresh
//! scope, and rests.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::{Action, Alarm, Plan, Rest, Stage, Step, Verdict};
use crate::factory::SlotId;
use crate::lifecycle::{ChildId, Maker};
use crate::{Backoff, OnFailure, Policy};

/// The policy of a daemon that has one, and what it needs to remember for it.
pub(super) struct Again {
    pub(super) policy: Policy,
    /// When it failed and was to run again: those within the window.
    restarts: VecDeque<Instant>,
}

impl Again {
    pub(super) fn new(policy: Policy) -> Self {
        Again { policy, restarts: VecDeque::new() }
    }

    /// Counts a restart, if there may be one more in the window that ends now.
    fn may(&mut self, backoff: &Backoff, now: Instant) -> bool {
        while let Some(oldest) = self.restarts.front()
            && now.duration_since(*oldest) >= backoff.window
        {
            self.restarts.pop_front();
        }
        let may = self.restarts.len() < backoff.restarts as usize;
        if may {
            self.restarts.push_back(now);
        }
        may
    }
}

impl Plan {
    /// A daemon's `run` has failed while the factory runs.
    pub(super) fn run_failed(&mut self, id: SlotId) -> Verdict {
        let (now, on_failure) = (self.now, self.policy(id).on_failure);
        let slot = self.slot(id);
        slot.step = Step::Ready(Rest::Down);
        match on_failure {
            OnFailure::StopFactory => {
                self.begin_stop(self.deadlines.stop);
                Verdict::Stands
            }
            OnFailure::LeaveDown => {
                self.wind_down(id);
                Verdict::Stands
            }
            OnFailure::RunAgain(backoff) => {
                let may = slot.again.as_mut().is_some_and(|again| again.may(&backoff, now));
                if may {
                    self.wind_down(id);
                    return Verdict::RunsAgain;
                }
                self.begin_stop(self.deadlines.stop);
                Verdict::TooOften(backoff)
            }
        }
    }

    /// Ends the children that a daemon made, and then its tasks.
    fn wind_down(&mut self, id: SlotId) {
        self.slot(id).step = Step::Winding;
        for child in self.children_made_by(id) {
            self.tell_child(child);
        }
        let limit = self.winding_limit(id);
        self.limit(id, Some(limit));
        self.try_wind_down(id);
    }

    /// Tells the tasks of a daemon that winds down to end when its children have.
    pub(super) fn try_wind_down(&mut self, id: SlotId) {
        let slot = self.slot(id);
        if slot.step == Step::Winding && slot.own_children == 0 {
            self.act(Action::CloseTasks(id));
        }
    }

    /// The tasks of a daemon that winds down have ended.
    pub(super) fn wound_down(&mut self, id: SlotId) {
        let slot = self.slot(id);
        if slot.own_children > 0 {
            return; // one of the tasks made it; its end asks for the tasks once more
        }
        slot.is_killed = false;
        let (rest, draw) = match &slot.again {
            Some(again) => match again.policy.on_failure {
                OnFailure::RunAgain(backoff) => (Rest::Pause, Some((backoff, again.restarts.len() as u32))),
                _ => (Rest::Down, None),
            },
            None => (Rest::Down, None),
        };
        slot.step = Step::Ready(rest);
        self.not_dying(id);
        self.changed.push(id);
        self.limit(id, None);
        self.act(Action::Renew(id));
        if self.stage != Stage::Running {
            self.try_tell(id);
        } else if let Some((backoff, nth)) = draw {
            self.act(Action::Draw(id, backoff, nth));
        }
    }

    /// How long a daemon that has wound down rests before it runs again.
    pub(in crate::lifecycle) fn pause(&mut self, id: SlotId, pause: Duration) {
        if self.stage == Stage::Running && self.slot(id).step == Step::Ready(Rest::Pause) {
            self.limit(id, Some(pause));
        }
        self.settle();
    }

    /// A pause is over.
    pub(super) fn run_again(&mut self, id: SlotId) {
        if self.stage == Stage::Running {
            self.run(id);
        }
    }

    /// How long a daemon has to wind down.
    pub(super) fn winding_limit(&self, id: SlotId) -> Duration {
        self.policy(id).stop.unwrap_or(self.deadlines.stop)
    }

    pub(super) fn children_made_by(&self, id: SlotId) -> Vec<ChildId> {
        if self.slots[id.index()].own_children == 0 {
            return Vec::new();
        }
        let made = self.children.iter().filter(|(_, child)| child.maker == Maker::Daemon(id));
        made.map(|(child, _)| *child).collect()
    }

    /// Sets, replaces or takes away what a single daemon has to wait for at most.
    pub(super) fn limit(&mut self, id: SlotId, limit: Option<Duration>) {
        let alarm = Alarm::Slot(std::cmp::Reverse(id));
        match limit {
            Some(limit) => self.alarms.set(alarm, self.now, limit),
            None => self.alarms.clear(alarm),
        }
    }
}
