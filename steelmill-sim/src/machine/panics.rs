//! A panic fails the run, wherever it was raised and whoever caught it, unless the scenario allowed it.

use std::any::Any;

use steelmill_core::{Panic, TaskError, panic_message};

use super::cluster::{self, Cluster, RunId};
use super::runtimes;
use super::sim::Sim;
use crate::kernel::tasks::Orphan;
use crate::machine::panic_log;
use crate::schema::outcome::{Cause, Panicked, TaskReport};

/// A failure that the scenario said beforehand may happen.
pub(crate) struct Allowed {
    machine: String,
    text: String,
}

impl Allowed {
    pub(crate) fn covers(&self, machine: &str, text: &str) -> bool {
        self.machine == machine && text.contains(&self.text)
    }
}

impl Sim {
    /// Allows panics and failures of daemons on `machine` whose text contains `text`: they do not fail the run.
    ///
    /// Otherwise a run fails at the first panic, whoever catches it: a daemon's, a task's, or a destructor's while a
    /// machine is ended. It fails at its end if a machine's factory failed and nobody read the report (see
    /// [`Machine::past_lives`](crate::Machine::past_lives)). The scenario's own machine is called `scenario`. What is allowed need
    /// not happen.
    ///
    /// ```
    /// # use steelmill_core::{Daemon, Factory, Result, Scope};
    /// # use std::sync::Arc;
    /// # use std::time::Duration;
    /// # struct Parser;
    /// impl Daemon for Parser {
    ///     # fn build(_: &mut Factory) -> Result<Self> { Ok(Parser) }
    ///     async fn run(self: &Arc<Self>, _: &Scope) -> Result {
    ///         panic!("cannot parse the request")
    ///     }
    /// }
    ///
    /// steelmill_sim::check(steelmill_sim::Seed(1), |sim| async move {
    ///     sim.allow_failure("server", "cannot parse");
    ///     let server = sim.machine("server", |factory| factory.with::<Parser>()).start().await?;
    ///     sim.clock().sleep(Duration::from_secs(1)).await;
    ///     assert!(!server.is_up()); // its factory failed, so its process has ended
    ///     Ok(())
    /// });
    /// ```
    pub fn allow_failure(&self, machine: &str, text: &str) {
        let allowed = Allowed { machine: machine.to_owned(), text: text.to_owned() };
        self.with(|run| run.tally.allowed.push(allowed));
    }
}

impl Cluster {
    /// Judges the panics that were raised since this was last done, in a task: fails the run by the first one that the
    /// scenario did not allow.
    pub(crate) fn judge_panics(&mut self, task: TaskReport) {
        for panicked in panic_log::take() {
            let is_allowed = self.is_allowed(&task.machine, &panicked.message);
            // The scenario may have returned already, while destructors still run.
            let has_failed = matches!(self.kernel.over, Some(Some(_)));
            if !is_allowed && !has_failed {
                let cause = Cause::Panic { message: panicked.message.clone(), task: task.clone() };
                self.kernel.over = Some(Some(cause));
            }
            if !has_failed {
                self.tally.last_panic = Some(panicked);
            }
        }
    }

    /// Whether the scenario allowed a failure of that text on a machine.
    pub(crate) fn is_allowed(&self, machine: &str, text: &str) -> bool {
        self.tally.allowed.iter().any(|allowed| allowed.covers(machine, text))
    }
}

/// The end of a task that panicked. A panic that did not come from `panic!`, but from `resume_unwind`, passes by the panic
/// hook and is recorded here.
#[cold]
pub(crate) fn panicked(payload: Box<dyn Any + Send>) -> TaskError {
    if !panic_log::has_any() {
        let message = panic_message(payload.as_ref()).to_owned();
        let text = format!("the last panic of the run, by resume_unwind: {message}");
        panic_log::record(Panicked { message, place: None, text });
    }
    let error = TaskError::Panicked(Panic::of(payload.as_ref()));
    panic_log::drop_payload(payload);
    error
}

/// Drops what is left of tasks that were aborted; a panic of a destructor fails the run in its task's name.
pub(crate) fn drop_orphans(id: RunId, orphans: impl IntoIterator<Item = Orphan>) {
    for Orphan { future, task } in orphans {
        runtimes::dropping(id, task.machine, || panic_log::drop_caught(future));
        if panic_log::has_any() {
            cluster::try_with(id, |run| run.judge_panics(run.kernel.orphan_report(task)));
        }
    }
}
