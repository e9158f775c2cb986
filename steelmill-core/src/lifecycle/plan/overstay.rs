//! What happens when a deadline passes: what overstays is killed, and what had to wait for it gets its turn.
//!
//! What was killed is waited for a moment, so that what it needs stops after it is gone.

use std::time::Duration;

use super::{Action, Alarm, Plan, Rest, Stage, Step};
use crate::Phase;
use crate::factory::SlotId;
use crate::lifecycle::ChildId;

/// How often a stop's deadline is granted: once to everybody, and once more to those who had to wait for an overstayer.
pub(super) const ROUNDS: u32 = 2;

/// How long what was aborted has to be dropped. Only what blocks its thread needs longer, and that is not waited for.
const PATIENCE: Duration = Duration::from_millis(100);

impl Plan {
    /// The start's deadline has passed.
    pub(super) fn overstay_start(&mut self) {
        let late = self.ids().filter(|id| self.slots[id.index()].step == Step::Preparing).collect();
        self.overstay_prepare(late, self.deadlines.prepare);
    }

    fn overstay_prepare(&mut self, late: Vec<SlotId>, limit: Duration) {
        let rollback = self.deadlines.rollback;
        // Before anybody is told to stop: who hears of it may want to see where they wait.
        for id in &late {
            self.act(Action::Overstayed(*id, Phase::Prepare, limit));
        }
        self.begin_stop(rollback);
        self.await_killed(rollback, ROUNDS);
        for id in late {
            self.kill_slot(id, Some(limit));
        }
    }

    /// A single daemon's time is up.
    pub(super) fn slot_alarm(&mut self, id: SlotId) {
        let policy = self.policy(id);
        let slot = self.slot(id);
        match slot.step {
            _ if slot.is_dying => self.give_up(id),
            Step::Preparing => self.overstay_prepare(vec![id], policy.prepare.unwrap_or_default()),
            Step::Told | Step::Draining => self.kill_told(id, policy.stop.unwrap_or_default()),
            Step::Winding => self.kill_told(id, self.winding_limit(id)),
            Step::Ready(Rest::Pause) => self.run_again(id),
            Step::Ready(_) | Step::Waiting | Step::Ended => {}
        }
    }

    /// A stop's deadline has passed, and there are `rounds` more.
    pub(super) fn kill_round(&mut self, limit: Duration, rounds: u32) {
        self.await_killed(limit, rounds);
        for id in self.children.keys().copied().collect::<Vec<_>>() {
            self.kill_child(id, limit, rounds == 0);
        }
        for id in self.ids().rev() {
            let slot = self.slot(id);
            match slot.step {
                Step::Told | Step::Draining => self.kill_told(id, limit),
                Step::Winding if rounds > 0 => self.kill_told(id, limit),
                Step::Ready(_) | Step::Winding if rounds == 0 && slot.has_lifecycle => {
                    slot.step = Step::Told;
                    self.changed.push(id);
                    self.act(Action::NotTold(id));
                    self.act(Action::Tell(id));
                    self.kill_slot(id, None);
                    self.try_drain(id);
                }
                _ => {}
            }
        }
    }

    fn await_killed(&mut self, limit: Duration, rounds: u32) {
        self.stage = Stage::Stopping { limit, rounds, is_killing: true };
        self.alarms.unshare();
    }

    /// Kills what has been told and has not ended, and the children it made.
    fn kill_told(&mut self, id: SlotId, limit: Duration) {
        if self.slot(id).is_killed {
            return;
        }
        for phase in self.slot(id).busy.phases() {
            self.act(Action::Overstayed(id, phase, limit));
        }
        for child in self.children_made_by(id) {
            self.kill_child(child, limit, false);
        }
        self.kill_slot(id, Some(limit));
    }

    fn kill_slot(&mut self, id: SlotId, limit: Option<Duration>) {
        if !std::mem::replace(&mut self.slot(id).is_killed, true) {
            self.act(Action::Kill(id, limit));
            self.dying(id);
            self.try_drain(id);
        }
    }

    /// What was aborted for a daemon is awaited, for a moment.
    pub(super) fn dying(&mut self, id: SlotId) {
        if !std::mem::replace(&mut self.slot(id).is_dying, true) {
            self.dying += 1;
            self.limit(id, Some(PATIENCE));
        }
    }

    /// It has ended; or its children are awaited, which have time of their own.
    pub(super) fn not_dying(&mut self, id: SlotId) {
        if std::mem::replace(&mut self.slot(id).is_dying, false) {
            self.dying -= 1;
            self.limit(id, None);
        }
    }

    fn kill_child(&mut self, id: ChildId, limit: Duration, untold_too: bool) {
        if let Some(child) = self.children.get_mut(&id)
            && (child.is_told || untold_too)
            && !std::mem::replace(&mut child.is_killed, true)
        {
            child.is_told = true;
            self.dying += 1;
            self.alarms.set(Alarm::Child(id), self.now, PATIENCE);
            self.act(Action::KillChild(id, limit));
        }
    }

    /// What was killed for a daemon does not end: goes on without it.
    fn give_up(&mut self, id: SlotId) {
        self.act(Action::Stuck(id));
        if self.slot(id).step != Step::Winding {
            return self.end(id);
        }
        // It cannot run again beside what is left of its last run.
        if self.stage == Stage::Running {
            self.begin_stop(self.deadlines.stop);
        }
        for child in self.children_made_by(id) {
            self.give_up_child(child);
        }
        self.wound_down(id);
    }

    /// A child that was killed does not end.
    pub(super) fn give_up_child(&mut self, id: ChildId) {
        self.act(Action::StuckChild(id));
        self.forget_child(id);
    }
}
