//! After the end of a `run`: the daemon's policy decides between a stop of the factory, a restart, and leaving it as it is. A
//! single daemon can be restarted and stopped by request, too.
//!
//! Before it restarts or is left down the daemon winds down: its run, the children it made and then its tasks end. Then it gets
//! a fresh scope.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::{Action, Idle, PhaseEnd, Plan, Stage, Step, Timeout, Verdict};
use crate::control::{ChildId, Maker, SlotId};
use crate::{Backoff, OnFailure, OnFinish, Policy};

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

/// What a daemon does when it has wound down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::lifecycle) enum Next {
    /// Nothing, because its run has failed.
    Down,
    /// Nothing, because it was requested so.
    Stopped,
    /// It runs again, after the backoff of its policy for a failure.
    PauseAfterFailure,
    /// It runs again, after the backoff of its policy for a return.
    PauseAfterReturn,
    /// It runs again at once.
    Run,
}

impl Plan {
    /// A `run` has ended while the factory runs.
    pub(super) fn run_ended(&mut self, id: SlotId, end: PhaseEnd) -> Verdict {
        let policy = self.policy(id);
        let has_failed = end != PhaseEnd::Done;
        self.slot(id).step = Step::Ready(if has_failed { Idle::Down } else { Idle::Finished });
        match (policy.on_failure, policy.on_finish) {
            (OnFailure::Restart(backoff), _) if has_failed => {
                self.restart(id, backoff, Next::PauseAfterFailure)
            }
            (_, OnFinish::Restart(backoff)) if !has_failed => {
                self.restart(id, backoff, Next::PauseAfterReturn)
            }
            (OnFailure::StopFactory, _) if has_failed => {
                self.begin_stop(self.deadlines.stop);
                Verdict::Stands
            }
            (OnFailure::LeaveDown, _) if has_failed => {
                self.wind_down(id, Next::Down);
                Verdict::Stands
            }
            (_, OnFinish::StopFactory) => {
                self.begin_stop(self.deadlines.stop);
                Verdict::Stands
            }
            _ => {
                self.try_finish();
                Verdict::Stands
            }
        }
    }

    /// Restarts a daemon, if that is within the limit.
    fn restart(&mut self, id: SlotId, backoff: Backoff, next: Next) -> Verdict {
        let now = self.now;
        let restarts = self.slot(id).restarts.as_mut();
        if restarts.is_some_and(|restarts| restarts.try_count(&backoff, now)) {
            self.wind_down(id, next);
            Verdict::Restarts
        } else {
            self.begin_stop(self.deadlines.stop);
            Verdict::TooOften(backoff)
        }
    }

    /// Ends the factory if it has nothing left to do: every daemon has finished, but for those that have failed and stay down,
    /// and there is no child. What tasks there are the supervisor knows.
    pub(in crate::lifecycle) fn try_finish(&mut self) {
        if self.stage != Stage::Running || self.remains || !self.children.is_empty() {
            return;
        }
        let mut steps = self.slots.iter().filter(|slot| slot.has_lifecycle).map(|slot| slot.step);
        let mut has_any_finished = false;
        let is_over = steps.all(|step| {
            has_any_finished |= step == Step::Ready(Idle::Finished);
            matches!(step, Step::Ready(Idle::Finished | Idle::Down))
        });
        if is_over && has_any_finished {
            self.act(Action::AwaitTasks);
        }
    }

    /// Nothing is left to do.
    pub(in crate::lifecycle) fn finish(&mut self) {
        self.stop();
    }

    /// The factory goes on when all of its daemons have finished.
    pub(in crate::lifecycle) fn remain(&mut self) {
        self.remains = true;
    }

    /// Restarts a daemon by a request, or stops it. False if the factory is not running, or the daemon is about to restart
    /// already.
    pub(in crate::lifecycle) fn command(&mut self, id: SlotId, next: Next) -> bool {
        let slot = self.slot(id);
        let is_ready = slot.has_lifecycle && matches!(slot.step, Step::Ready(_));
        if self.stage != Stage::Running || !is_ready {
            return false;
        }
        if self.slot(id).in_flight.run {
            self.act(Action::SignalStop(id));
        }
        self.changed.push_back(id);
        self.wind_down(id, next);
        self.settle();
        true
    }

    /// Winds a daemon down: stops the children it made, and then its tasks.
    fn wind_down(&mut self, id: SlotId, next: Next) {
        let slot = self.slot(id);
        (slot.step, slot.next) = (Step::WindingDown, next);
        for child in self.children_made_by(id) {
            self.stop_child(child);
        }
        let limit = self.wind_down_limit(id);
        self.limit(id, Some(limit));
        self.try_wind_down(id);
    }

    /// Stops the tasks of a daemon that winds down once its run and its children have ended.
    pub(super) fn try_wind_down(&mut self, id: SlotId) {
        let slot = self.slot(id);
        if slot.step == Step::WindingDown && slot.own_children == 0 && !slot.in_flight.run {
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
        let next = slot.next;
        slot.step = Step::Ready(match next {
            Next::Down => Idle::Down,
            Next::Stopped => Idle::Stopped,
            Next::PauseAfterFailure | Next::PauseAfterReturn | Next::Run => Idle::Pause,
        });
        self.abort_done(id);
        self.changed.push_back(id);
        self.limit(id, None);
        self.act(Action::RenewScope(id));
        let policy = self.policy(id);
        match next {
            _ if self.stage != Stage::Running => self.try_stop(id),
            Next::PauseAfterFailure => {
                if let OnFailure::Restart(backoff) = policy.on_failure {
                    self.draw_backoff(id, backoff);
                }
            }
            Next::PauseAfterReturn => {
                if let OnFinish::Restart(backoff) = policy.on_finish {
                    self.draw_backoff(id, backoff);
                }
            }
            Next::Run => self.run(id),
            Next::Down => self.try_finish(),
            Next::Stopped => {}
        }
    }

    fn draw_backoff(&mut self, id: SlotId, backoff: Backoff) {
        let nth = self.slot(id).restarts.as_ref().map_or(1, |restarts| restarts.recent.len() as u32);
        self.act(Action::DrawBackoff(id, backoff, nth));
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
