//! Tasks that are aborted because they overstayed a deadline of the lifecycle.
//!
//! Where such a task waited is known only by polling it, which would change the run. So a passing run pays for a note only;
//! a failed one is made again up to the poll at which the task was aborted, and there the task is looked at.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use anyhow::anyhow;
use steelmill_core::Owner;

use super::cluster::{self, Cluster, RunId};
use super::world::Process;
use crate::schema::outcome::{Cause, DeadlineExceeded, TaskReport};

/// How many tasks that were aborted at a deadline are told of a run.
const OVERSTAYS: usize = 16;

/// Notes in a task's report where the task waits.
pub(crate) type LookAt = fn(RunId, &mut TaskReport);

/// What was aborted in a run because its time was up.
#[derive(Default)]
pub(crate) struct Overstays {
    list: VecDeque<DeadlineExceeded>,
    /// The moment at which the tasks are to be looked at, as a number of polls, and how; the run ends there.
    look: Option<(u64, LookAt)>,
}

impl Overstays {
    pub(crate) fn to_look_at(look: Option<(u64, LookAt)>) -> Self {
        Self { list: VecDeque::new(), look }
    }

    pub(crate) fn take(&mut self) -> Vec<DeadlineExceeded> {
        std::mem::take(&mut self.list).into()
    }

    /// A task that has the name of its daemon's own work is found twice: as that, and as one of the daemon's tasks.
    fn add(&mut self, overstay: DeadlineExceeded) {
        let is_it =
            |other: &DeadlineExceeded| other.polls == overstay.polls && other.task.key == overstay.task.key;
        if self.list.iter().any(is_it) {
            return;
        }
        if self.list.len() == OVERSTAYS {
            self.list.pop_front();
        }
        self.list.push_back(overstay);
    }
}

/// Tasks of a place are about to be aborted, because their time is up.
pub(crate) fn overstayed(place: Process, owner: &Arc<Owner>, name: &'static str, limit: Duration) {
    let Process { run: id, machine, incarnation } = place;
    let found = cluster::try_with(id, |run| match run.is_alive(machine, incarnation) {
        true => run.overstays_of(machine, owner, name, limit),
        false => Vec::new(),
    });
    for mut overstay in found.into_iter().flatten() {
        if let Some((moment, look_at)) = cluster::with(id, |run| run.tally.overstays.look)
            && moment == overstay.polls
        {
            // By its digest, what overstays at the same moment is known for the same.
            let digest = cluster::with(id, |run| run.kernel.digest);
            look_at(id, &mut overstay.task);
            cluster::with(id, |run| {
                run.kernel.digest = digest;
                run.kernel.fail(Cause::Error(anyhow!("this run was made to look at its tasks")));
            });
        }
        cluster::with(id, |run| run.tally.overstays.add(overstay));
    }
}

impl Cluster {
    fn overstays_of(
        &self,
        machine: u32,
        owner: &Arc<Owner>,
        name: &str,
        limit: Duration,
    ) -> Vec<DeadlineExceeded> {
        let (at, polls, digest) =
            (Duration::from_nanos(self.kernel.now), self.kernel.tasks.polls, self.kernel.digest.value());
        let overstay = |task| DeadlineExceeded { at, limit, task, polls, digest };
        let keys = self
            .kernel
            .tasks
            .of(machine)
            .into_iter()
            .filter(|key| self.kernel.tasks.is_owned(*key, owner, name));
        keys.take(OVERSTAYS).map(|key| overstay(self.kernel.task_report(key.index()))).collect()
    }
}
