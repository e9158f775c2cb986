//! Tasks aborted because they exceeded a deadline of the lifecycle.
//!
//! To find where such a task waits it must be polled, which changes the run. So a run only records the tasks; a failed
//! run is replayed up to the poll at which a task was aborted, and inspects it there.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use anyhow::anyhow;
use steelmill_core::Owner;

use super::cluster::{self, Cluster, RunId};
use super::world::Process;
use crate::schema::outcome::{Cause, DeadlineExceeded, TaskReport};

/// The number of aborted tasks kept; older ones are dropped.
const RECORDED_MAX: usize = 16;

/// Adds to a task's report where the task waits.
pub(crate) type InspectTask = fn(RunId, &mut TaskReport);

/// The tasks of a run that were aborted at a deadline.
#[derive(Default)]
pub(crate) struct ExceededDeadlines {
    list: VecDeque<DeadlineExceeded>,
    /// The number of polls after which to inspect the aborted tasks. The run ends there.
    inspect_at: Option<(u64, InspectTask)>,
}

impl ExceededDeadlines {
    /// Inspects those aborted after a number of polls, and ends the run there.
    pub(crate) fn inspecting(polls: u64, inspect: InspectTask) -> Self {
        Self { list: VecDeque::new(), inspect_at: Some((polls, inspect)) }
    }

    pub(crate) fn take(&mut self) -> Vec<DeadlineExceeded> {
        std::mem::take(&mut self.list).into()
    }

    /// Skips duplicates: a task with the name of its daemon's own work is found as that and as a task of the daemon.
    fn add(&mut self, overstay: DeadlineExceeded) {
        let is_duplicate =
            |other: &DeadlineExceeded| other.polls == overstay.polls && other.task.key == overstay.task.key;
        if self.list.iter().any(is_duplicate) {
            return;
        }
        if self.list.len() == RECORDED_MAX {
            self.list.pop_front();
        }
        self.list.push_back(overstay);
    }
}

/// Records the tasks of an owner that are about to be aborted at a deadline.
pub(crate) fn record(process: Process, owner: &Arc<Owner>, name: &'static str, limit: Duration) {
    let Process { run: id, machine, incarnation } = process;
    let found = cluster::try_with(id, |run| match run.is_alive(machine, incarnation) {
        true => run.overdue_tasks(machine, owner, name, limit),
        false => Vec::new(),
    });
    for mut overstay in found.into_iter().flatten() {
        if let Some((moment, inspect_task)) = cluster::with(id, |run| run.tally.exceeded_deadlines.inspect_at)
            && moment == overstay.polls
        {
            // Restored: tasks aborted at the same poll are matched between the two runs by the digest.
            let digest = cluster::with(id, |run| run.kernel.digest);
            inspect_task(id, &mut overstay.task);
            cluster::with(id, |run| {
                run.kernel.digest = digest;
                run.kernel.fail(Cause::Error(anyhow!("this run was replayed to inspect its tasks")));
            });
        }
        cluster::with(id, |run| run.tally.exceeded_deadlines.add(overstay));
    }
}

impl Cluster {
    fn overdue_tasks(
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
        keys.take(RECORDED_MAX).map(|key| overstay(self.kernel.task_report(key.index()))).collect()
    }
}
