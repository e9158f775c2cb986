//! The report of a factory's end: every failure in order, with daemon and phase.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use crate::Error;
use crate::cell::Flag;
use crate::panic::{Fault, forget_panic};

/// How a factory ended: its failures, restarts and leftovers.
///
/// `Display` prints a summary, then a line for each entry.
#[derive(Debug)]
pub struct Report {
    path: Arc<str>,
    failures: Vec<Failure>,
    restarted: Vec<Restarted>,
    unlisted: usize,
    retained: Vec<Retained>,
    held: usize,
    /// Set by readers, on any thread.
    was_read: Flag,
}

impl Report {
    /// The path of the factory.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Whether there were no failures, exceeded deadlines included.
    pub fn is_clean(&self) -> bool {
        self.was_read.raise();
        !self.has_failures()
    }

    /// All failures, exceeded deadlines included, the first one first.
    pub fn failures(&self) -> &[Failure] {
        self.was_read.raise();
        &self.failures
    }

    /// The failures that are a [`DeadlineExceeded`].
    pub fn deadline_exceeded(&self) -> impl Iterator<Item = &Failure> {
        self.failures().iter().filter(|failure| failure.error.is::<DeadlineExceeded>())
    }

    /// Daemons that were restarted by their policy, after a failure or after their run had returned, in the order of their
    /// first restart. Not failures. Restarts by request are not listed.
    pub fn restarted(&self) -> &[Restarted] {
        &self.restarted
    }

    /// How many failures of tasks are not listed: a report keeps the first [`TASK_FAILURES_LISTED`]; all are logged.
    pub fn unlisted(&self) -> usize {
        self.unlisted
    }

    /// Leaked daemons: a [`DaemonRef`](crate::DaemonRef) to them outlives the factory. Not failures; the refs stay valid.
    ///
    /// Unknown, and so empty, when [`held`](Report::held) is not zero.
    pub fn retained(&self) -> &[Retained] {
        &self.retained
    }

    /// How many handles to the factory, or children under assembly, existed when it ended. They keep all its daemons in
    /// memory. Not a failure. 0 for a child that a daemon made and that ended because its parent is stopping: that
    /// daemon, which ends after it, may hold its handle until then; what the parent's report lists as [`retained`](Report::retained) was kept for longer.
    pub fn held(&self) -> usize {
        self.held
    }

    /// Whether anybody has asked for its failures, by [`is_clean`](Report::is_clean) or [`failures`](Report::failures).
    /// A simulation fails a run in which a machine's factory failed and nobody did.
    pub fn was_read(&self) -> bool {
        self.was_read.is_raised()
    }

    /// The opposite of [`is_clean`](Report::is_clean), for a world's own use: it does not count as reading.
    #[doc(hidden)]
    pub fn has_failures(&self) -> bool {
        !self.failures.is_empty()
    }
}

/// How many failures of tasks a [`Report`] lists: a daemon may spawn millions.
pub const TASK_FAILURES_LISTED: usize = 32;

impl Report {
    pub(crate) fn new(path: Arc<str>) -> Self {
        Report {
            path,
            failures: Vec::new(),
            restarted: Vec::new(),
            unlisted: 0,
            retained: Vec::new(),
            held: 0,
            was_read: Flag::default(),
        }
    }

    /// A report with one failure of the factory as a whole.
    pub(crate) fn of(path: Arc<str>, phase: Phase, error: Error) -> Self {
        let mut report = Report::new(path);
        report.add("", phase, Fault::of(error));
        report
    }

    /// For a factory whose supervisor was dropped by its executor.
    pub(crate) fn abandoned(path: Arc<str>) -> Self {
        Report::of(path, Phase::Run, Abandoned.into())
    }

    pub(crate) fn add(&mut self, daemon: &str, phase: Phase, fault: Fault) {
        self.failures.push(Failure {
            factory: self.path.to_string(),
            daemon: daemon.to_owned(),
            phase,
            task: None,
            error: fault.error,
            text: fault.text,
        });
    }

    /// Gives the error back if it is not listed.
    #[must_use = "dropping an error is user code"]
    pub(crate) fn add_task(&mut self, daemon: &str, task: &'static str, fault: Fault) -> Option<Error> {
        let listed = self.failures.iter().filter(|failure| failure.task.is_some()).count();
        if listed >= TASK_FAILURES_LISTED && !fault.error.is::<DeadlineExceeded>() {
            self.unlisted += 1;
            return Some(fault.error);
        }
        self.add(daemon, Phase::Task, fault);
        if let Some(failure) = self.failures.last_mut() {
            failure.task = Some(task);
        }
        None
    }

    /// Gives the error before this one back.
    #[must_use = "dropping an error is user code"]
    pub(crate) fn add_restart(&mut self, daemon: &str, last: Fault) -> Option<Error> {
        let Fault { error, text } = last;
        match self.restarted.iter_mut().find(|restarted| restarted.daemon == daemon) {
            Some(known) => {
                known.times += 1;
                known.text = text;
                Some(std::mem::replace(&mut known.last, error))
            }
            None => {
                self.restarted.push(Restarted { daemon: daemon.to_owned(), times: 1, last: error, text });
                None
            }
        }
    }

    pub(crate) fn add_retained(&mut self, daemon: &str, refs: usize) {
        self.retained.push(Retained { daemon: daemon.to_owned(), refs });
    }

    pub(crate) fn set_held(&mut self, held: usize) {
        self.held = held;
    }
}

impl Drop for Report {
    /// Drops the errors one after another: what their destructors do is no concern of whoever has the report.
    fn drop(&mut self) {
        if self.failures.is_empty() && self.restarted.is_empty() {
            return;
        }
        let errors = self.failures.drain(..).map(|failure| failure.error);
        for error in errors.chain(self.restarted.drain(..).map(|restarted| restarted.last)) {
            if let Err(panic) = catch_unwind(AssertUnwindSafe(|| drop(error))) {
                forget_panic(panic);
            }
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = &self.path;
        match self.failures.len() + self.unlisted {
            0 => write!(f, "{path}: ended cleanly")?,
            1 => write!(f, "{path}: 1 failure")?,
            n => write!(f, "{path}: {n} failures")?,
        }
        for failure in &self.failures {
            write!(f, "\n  {failure}")?;
        }
        if self.unlisted > 0 {
            write!(f, "\n  {path}: {} more tasks failed (see the log)", self.unlisted)?;
        }
        for Restarted { daemon, times, text, .. } in &self.restarted {
            write!(f, "\n  {path}: {daemon} ran again {times} time(s), the last time after: {text}")?;
        }
        for Retained { daemon, refs } in &self.retained {
            write!(f, "\n  {path}: {daemon} is kept alive by {refs} DaemonRef(s)")?;
        }
        if self.held > 0 {
            write!(
                f,
                "\n  {path}: its daemons are kept alive by {} handle(s) or children being assembled",
                self.held
            )?;
        }
        Ok(())
    }
}

/// One failure.
///
/// `Display` prints a line: `demo: Gateway failed to prepare: address in use`.
#[derive(Debug)]
#[non_exhaustive]
pub struct Failure {
    /// The path of the factory.
    pub factory: String,
    /// The daemon, or `child NAME`; empty for the factory as a whole.
    pub daemon: String,
    /// The phase of the daemon.
    pub phase: Phase,
    /// The name of the task, if one failed.
    pub task: Option<&'static str>,
    /// The error, with its sources.
    pub error: Error,
    /// The text of the error and its sources, from when it failed: `Display` prints this, and calls no code of the error.
    pub text: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Failure { factory, daemon, phase, task, text, .. } = self;
        match task {
            _ if daemon.is_empty() => write!(f, "{factory}: {text}"),
            Some(task) => write!(f, "{factory}: {daemon}: task {task:?} failed: {text}"),
            None => write!(f, "{factory}: {daemon} failed to {phase}: {text}"),
        }
    }
}

/// A phase of a daemon's life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Phase {
    /// [`Daemon::build`](crate::Daemon::build)
    Build,
    /// [`Daemon::prepare`](crate::Daemon::prepare)
    Prepare,
    /// [`Daemon::run`](crate::Daemon::run)
    Run,
    /// [`Daemon::stop`](crate::Daemon::stop)
    Stop,
    /// A task spawned on the daemon's [`Scope`](crate::Scope).
    Task,
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Phase::Build => "build",
            Phase::Prepare => "prepare",
            Phase::Run => "run",
            Phase::Stop => "stop",
            Phase::Task => "task",
        })
    }
}

/// A daemon that was restarted.
#[derive(Debug)]
#[non_exhaustive]
pub struct Restarted {
    /// The daemon.
    pub daemon: String,
    /// The number of restarts.
    pub times: u64,
    /// The error before the last restart.
    pub last: Error,
    /// The text of that error and its sources.
    pub text: String,
}

/// A daemon that outlives its factory, because a ref to it was kept.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Retained {
    /// The daemon.
    pub daemon: String,
    /// How many refs were kept.
    pub refs: usize,
}

/// The factory did not start, and its prepared daemons were stopped again.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{} did not start{}", .report.path(), first_failure(.report))]
pub struct StartError {
    report: Arc<Report>,
}

impl StartError {
    pub(crate) fn new(report: Arc<Report>) -> Self {
        StartError { report }
    }

    /// All failures, including those of the rollback.
    pub fn report(&self) -> &Arc<Report> {
        &self.report
    }
}

fn first_failure(report: &Report) -> String {
    match &report.failures[..] {
        [] => String::new(),
        [first] => format!(": {first}"),
        [first, rest @ ..] => format!(": {first} (and {} more)", rest.len()),
    }
}

/// A deadline of starting or stopping passed, and what was awaited was aborted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("took longer than {limit:?} and was aborted")]
pub struct DeadlineExceeded {
    /// The deadline.
    pub limit: Duration,
}

/// The factory ended without a stop, because its runtime or machine went away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("abandoned: its runtime or machine went away before it was stopped")]
pub struct Abandoned;

/// The start was cancelled by a request to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it was told to stop before it had started")]
pub struct StopRequested;

/// A child that escalates has failed.
#[derive(Debug, thiserror::Error)]
#[error("{}", first_failure(.0).trim_start_matches(": "))]
pub(crate) struct ChildFailed(pub(crate) Arc<Report>);

/// No time was left for the daemon's `stop`; it was aborted while it ran.
#[derive(Debug, thiserror::Error)]
#[error("was aborted without being told to stop: what depends on it had used up the time")]
pub(crate) struct StopSkipped;

/// Aborted, but not ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Stuck {
    /// Threads were free to drop it, so it is being polled or dropped, and never reaches an await.
    #[error("did not end when it was aborted: it blocks its thread")]
    Blocks,
    /// Nobody can tell which of the tasks on those threads it is.
    #[error("did not end when it was aborted: all threads of the runtime are blocked")]
    NoThread,
    /// They ended one after another, but not all of them in time.
    #[error("did not end when it was aborted: {0} of its tasks were left, and ending")]
    TasksLeft(usize),
    /// A child.
    #[error("did not end when it was aborted")]
    Child,
}

/// A daemon's destructor did not return in time.
#[derive(Debug, thiserror::Error)]
#[error("was not dropped within {limit:?}: its `Drop` blocks, and {left} daemon(s) stay in memory")]
pub(crate) struct DropExceeded {
    pub(crate) limit: Duration,
    /// Itself and those that would have been dropped after it.
    pub(crate) left: usize,
}

/// The destructors of all daemons were never called.
#[derive(Debug, thiserror::Error)]
#[error(
    "its daemons were not dropped within {limit:?}: a log line or the `Drop` of an error or value blocks"
)]
pub(crate) struct NotDropped {
    pub(crate) limit: Duration,
}

/// A supervisor failed, and all that it supervised was aborted.
#[derive(Debug, thiserror::Error)]
#[error("was aborted, because the factory's supervisor failed")]
pub(crate) struct Killed;

/// A daemon awaits the end of its own factory.
#[derive(Debug, thiserror::Error)]
#[error(
    "it stops, but {caller} must not await that, because it would wait for itself: call `Scope::request_stop`"
)]
pub(crate) struct AwaitsItself {
    pub(crate) caller: String,
}

/// A `run` returned `Ok`, and its daemon's policy restarts it then, too.
#[derive(Debug, thiserror::Error)]
#[error("its run returned")]
pub(crate) struct RunReturned;

/// The executor dropped the task of a phase.
#[derive(Debug, thiserror::Error)]
#[error("its task was dropped by the runtime")]
pub(crate) struct TaskDropped;
