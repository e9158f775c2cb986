//! How aborted daemons end, or why they do not.
//!
//! A daemon with a hundred thousand tasks takes a while to end, and where the threads are busy, so does one with a single task.
//! So "it blocks its thread" is said only of a daemon whose tasks have stopped ending while a thread was free to drop them: a
//! task that was spawned meanwhile, the probe, has been polled.

use std::collections::BTreeMap;
use std::panic::Location;
use std::sync::Arc;

use super::supervisor::Supervisor;
use crate::cell::{Flag, Tasks};
use crate::control::SlotId;
use crate::panic::Fault;
use crate::report::Stuck;
use crate::{Origin, Owner, Phase};

/// How often is looked for a thread that is free.
const LOOKS_MAX: u32 = 5;

/// The aborted daemons.
#[derive(Default)]
pub(super) struct Looking(BTreeMap<SlotId, Aborted>);

struct Aborted {
    /// The number of its tasks at the last look.
    tasks: usize,
    /// Raised by the probe.
    probe: Option<Arc<Flag>>,
    looks: u32,
}

impl Looking {
    /// A daemon is about to be aborted.
    pub(super) fn begin(&mut self, slot: SlotId, tasks: &Tasks) {
        self.0.insert(slot, Aborted { tasks: tasks.count(), probe: None, looks: 0 });
    }

    /// The daemon restarts.
    pub(super) fn forget(&mut self, slot: SlotId) {
        self.0.remove(&slot);
    }
}

impl Supervisor {
    /// Looks at an aborted daemon that takes its time: waits for it again, or reports why it does not end.
    pub(super) fn look(&mut self, slot: SlotId) {
        let tasks = self.run_states[slot.index()].as_ref().map_or(0, |run_state| run_state.tasks.count());
        let aborted = self.looking.0.entry(slot).or_insert(Aborted { tasks, probe: None, looks: 0 });
        aborted.looks += 1;
        let before = std::mem::replace(&mut aborted.tasks, tasks);
        let (grace, is_patient) = (self.plan.grace(), self.plan.is_patient(slot));
        let stuck = match &aborted.probe {
            _ if tasks < before && is_patient => {
                return self.plan.wait_again(slot, grace);
            }
            _ if tasks < before => Stuck::TasksLeft(tasks),
            None => {
                let probe = Arc::new(Flag::default());
                aborted.probe = Some(probe.clone());
                self.spawn_probe(probe);
                return self.plan.wait_again(slot, grace / 2);
            }
            Some(probe) if probe.is_raised() => Stuck::Blocks,
            // Nor would anything else be done, but the report.
            Some(_) if is_patient && aborted.looks < LOOKS_MAX => {
                return self.plan.wait_again(slot, grace / 2);
            }
            Some(_) => Stuck::NoThread,
        };
        self.record(slot, Phase::Stop, Fault::of(stuck.into()));
        self.plan.give_up(slot);
    }

    /// Spawns a task behind those that are ready.
    fn spawn_probe(&self, probe: Arc<Flag>) {
        let owner = Owner::new(self.control.path.clone(), None);
        let origin = Origin { owner: &owner, place: Location::caller() };
        self.control.driver.spawn(origin, "probe", Box::pin(async move { probe.raise() }));
    }
}
