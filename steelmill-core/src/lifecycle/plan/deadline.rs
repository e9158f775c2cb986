//! After a deadline: what exceeds it is aborted, and what had to wait for that is stopped in another round.
//!
//! Aborted daemons are awaited for a moment, so that their dependencies stop after them.

use std::time::Duration;

use super::{Action, Budget, Idle, Plan, Stage, Step, Timeout};
use crate::Phase;
use crate::control::{ChildId, SlotId};

/// How often a stop's deadline is granted: once to all, and once more to daemons that had to wait for an aborted one, as far as
/// the last abort leaves it.
pub(super) const ROUNDS: u32 = 2;

impl Plan {
    /// The deadline of the start has passed.
    pub(super) fn start_deadline_exceeded(&mut self) {
        let late = self.ids().filter(|id| self.slots[id.index()].step == Step::Preparing).collect();
        self.prepare_deadline_exceeded(late, self.deadlines.prepare);
    }

    fn prepare_deadline_exceeded(&mut self, late: Vec<SlotId>, limit: Duration) {
        let rollback = self.deadlines.rollback;
        // Before the stop signal, so that a world can still see where they wait.
        for id in &late {
            self.act(Action::DeadlineExceeded(*id, Phase::Prepare, limit));
        }
        self.begin_stop(rollback);
        self.await_aborted(rollback, ROUNDS);
        for id in late {
            self.abort_slot(id, Some(limit));
        }
    }

    /// The timeout of a single daemon has fired.
    pub(super) fn slot_timeout(&mut self, id: SlotId) {
        let policy = self.policy(id);
        let slot = self.slot(id);
        match slot.step {
            _ if slot.is_abort_pending => self.act(Action::Look(id)),
            Step::Preparing => self.prepare_deadline_exceeded(vec![id], policy.prepare.unwrap_or_default()),
            Step::Stopping | Step::Draining => self.abort_stopping(id, policy.stop.unwrap_or_default()),
            Step::WindingDown => self.abort_stopping(id, self.wind_down_limit(id)),
            Step::Ready(Idle::Pause) => self.run_again(id),
            Step::Ready(_) | Step::Waiting | Step::Ended => {}
        }
    }

    /// The deadline of a stop has passed, and `rounds` more remain.
    pub(super) fn abort_round(&mut self, limit: Duration, rounds: u32) {
        self.await_aborted(limit, rounds);
        for id in self.children.keys().copied().collect::<Vec<_>>() {
            self.abort_child(id, limit, rounds == 0);
        }
        for id in self.ids().rev() {
            let slot = self.slot(id);
            match slot.step {
                Step::Stopping | Step::Draining => self.abort_stopping(id, limit),
                Step::WindingDown if rounds > 0 => self.abort_stopping(id, limit),
                Step::Ready(_) | Step::WindingDown if rounds == 0 && slot.has_lifecycle => {
                    slot.step = Step::Stopping;
                    self.changed.push_back(id);
                    self.act(Action::StopSkipped(id));
                    self.act(Action::SignalStop(id));
                    self.abort_slot(id, None);
                    self.try_drain(id);
                }
                _ => {}
            }
        }
    }

    fn await_aborted(&mut self, limit: Duration, rounds: u32) {
        self.stage = Stage::Stopping { limit, rounds, is_aborting: true };
        self.timeouts.clear_shared();
    }

    /// Aborts a stopping daemon and the children it made.
    fn abort_stopping(&mut self, id: SlotId, limit: Duration) {
        if self.slot(id).is_aborted {
            return;
        }
        for phase in self.slot(id).in_flight.phases() {
            self.act(Action::DeadlineExceeded(id, phase, limit));
        }
        for child in self.children_made_by(id) {
            self.abort_child(child, limit, false);
        }
        self.abort_slot(id, Some(limit));
    }

    fn abort_slot(&mut self, id: SlotId, limit: Option<Duration>) {
        if !std::mem::replace(&mut self.slot(id).is_aborted, true) {
            self.act(Action::Abort(id, limit));
            self.await_abort(id);
            self.try_drain(id);
        }
    }

    /// Awaits an aborted daemon, for a moment.
    pub(super) fn await_abort(&mut self, id: SlotId) {
        if !std::mem::replace(&mut self.slot(id).is_abort_pending, true) {
            self.aborts_pending += 1;
            self.limit(id, Some(self.grace()));
            self.slot(id).patience = match self.stage {
                Stage::Stopping { .. } => None,
                _ => self.now.checked_add(self.wind_down_limit(id)),
            };
        }
    }

    /// How long to wait for something aborted, until somebody looks at how it ends.
    pub(in crate::lifecycle) fn grace(&self) -> Duration {
        self.budget.grace(self.now, matches!(self.stage, Stage::Stopping { rounds: 0, .. }))
    }

    /// Whether an aborted daemon may be waited for again, if its tasks end one after another, or no thread is free to drop them.
    pub(in crate::lifecycle) fn is_patient(&self, id: SlotId) -> bool {
        let of_stop = match self.stage {
            Stage::Stopping { rounds: 0, .. } => self.budget.await_by(),
            _ => self.budget.abort_by(),
        };
        let mut ends = [self.slots[id.index()].patience, of_stop].into_iter().flatten();
        ends.all(|end| self.now + self.grace() <= end)
    }

    /// Awaits an aborted daemon for another moment.
    pub(in crate::lifecycle) fn wait_again(&mut self, id: SlotId, moment: Duration) {
        if self.slot(id).is_abort_pending {
            self.limit(id, Some(moment));
        }
        self.settle();
    }

    /// It has ended; or its children are awaited, which have timeouts of their own.
    pub(super) fn abort_done(&mut self, id: SlotId) {
        if std::mem::replace(&mut self.slot(id).is_abort_pending, false) {
            self.aborts_pending -= 1;
            self.limit(id, None);
        }
    }

    fn abort_child(&mut self, id: ChildId, limit: Duration, unnotified_too: bool) {
        if let Some(child) = self.children.get_mut(&id)
            && (child.is_notified || unnotified_too)
            && !std::mem::replace(&mut child.is_aborted, true)
        {
            child.is_notified = true;
            self.aborts_pending += 1;
            let grace = self.grace();
            self.timeouts.set(Timeout::Child(id), self.now, Budget::of_child(grace));
            self.act(Action::AbortChild(id, limit, grace));
        }
    }

    /// An aborted daemon did not end: continues without it.
    pub(in crate::lifecycle) fn give_up(&mut self, id: SlotId) {
        if self.slot(id).is_abort_pending {
            self.forgo(id);
        }
        self.settle();
    }

    fn forgo(&mut self, id: SlotId) {
        if self.slot(id).step != Step::WindingDown {
            return self.end(id);
        }
        self.slot(id).in_flight.run = false;
        // It cannot restart next to the rest of its last run.
        if self.stage == Stage::Running {
            self.begin_stop(self.deadlines.stop);
        }
        for child in self.children_made_by(id) {
            self.give_up_child(child);
        }
        self.wound_down(id);
    }

    /// An aborted child did not end.
    pub(super) fn give_up_child(&mut self, id: ChildId) {
        self.act(Action::StuckChild(id));
        self.forget_child(id);
    }
}
