//! What happens when a deadline passes: what overstays is killed, and what had to wait for it gets its turn.
//!
//! What was killed is waited for a moment, so that what it needs stops after it is gone.

use std::time::Duration;

use super::{Action, Plan, Stage, Step};
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
        let late: Vec<_> = self.ids().filter(|id| self.slots[id.index()].step == Step::Preparing).collect();
        let (limit, rollback) = (self.deadlines.prepare, self.deadlines.rollback);
        self.begin_stop(rollback);
        self.await_killed(rollback, ROUNDS);
        for id in late {
            self.act(Action::Overstayed(id, Phase::Prepare, limit));
            self.kill_slot(id, Some(limit));
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
                Step::Told | Step::Draining => {
                    for phase in slot.busy.phases() {
                        self.act(Action::Overstayed(id, phase, limit));
                    }
                    self.kill_slot(id, Some(limit));
                }
                Step::Ready if rounds == 0 && slot.has_lifecycle => {
                    slot.step = Step::Told;
                    self.act(Action::NotTold(id));
                    self.act(Action::Tell(id));
                    self.kill_slot(id, None);
                }
                _ => {}
            }
        }
    }

    fn await_killed(&mut self, limit: Duration, rounds: u32) {
        self.stage = Stage::Stopping { limit, rounds, is_killing: true };
        self.act(Action::Timer(Some(PATIENCE)));
    }

    fn kill_slot(&mut self, id: SlotId, limit: Option<Duration>) {
        if !std::mem::replace(&mut self.slot(id).is_killed, true) {
            self.dying += 1;
            self.act(Action::Kill(id, limit));
            self.try_drain(id);
        }
    }

    fn kill_child(&mut self, id: ChildId, limit: Duration, untold_too: bool) {
        if let Some(child) = self.children.get_mut(&id)
            && (child.is_told || untold_too)
            && !std::mem::replace(&mut child.is_killed, true)
        {
            child.is_told = true;
            self.dying += 1;
            self.act(Action::KillChild(id, limit));
        }
    }

    /// What was killed does not end: goes on without it.
    pub(super) fn give_up(&mut self) {
        let dying = self.children.iter().filter(|(_, child)| child.is_killed);
        for id in dying.map(|(id, _)| *id).collect::<Vec<_>>() {
            self.act(Action::StuckChild(id));
            self.forget_child(id);
        }
        for id in self.ids().rev() {
            let slot = self.slot(id);
            if slot.is_killed && slot.step != Step::Ended {
                self.act(Action::Stuck(id));
                self.end(id);
            }
        }
    }
}
