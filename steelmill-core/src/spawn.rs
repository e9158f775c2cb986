//! Tasks: futures that run on their own.
//!
//! A daemon spawns on its [`Scope`](crate::Scope), so that its tasks end with it. The scope is built on this trait, and
//! code outside a daemon uses it directly.

use std::borrow::Cow;
use std::fmt;
use std::future::Future;
use std::panic::Location;
use std::sync::Arc;
use std::time::Duration;

use crate::{Daemon, Health, Panic, State, Supervision};

/// Spawns tasks. The other methods notify a world of lifecycle events, and may be ignored.
pub trait Spawn: Daemon {
    /// A handle to a task.
    type Task<T: Send + 'static>: Task<T>;

    /// Spawns a task. `name` appears in reports and logs. Each waker that `future` is polled with wakes the task for as long
    /// as it lives, not only the last one: a daemon's task registers once for its abort.
    fn spawn<F>(&self, name: &'static str, future: F) -> Self::Task<F::Output>
    where
        F: Future<Output: Send + 'static> + Send + 'static;

    /// Spawns a task of a daemon or factory. For worlds that report the owner of a task; the default ignores it.
    fn spawn_for<F>(&self, origin: Origin<'_>, name: &'static str, future: F) -> Self::Task<F::Output>
    where
        F: Future<Output: Send + 'static> + Send + 'static,
    {
        let _ = origin;
        self.spawn(name, future)
    }

    /// Whether [`spawn`](Spawn::spawn) does what `tokio::spawn` does, and nothing else. Then a [`Scope`](crate::Scope) calls that
    /// itself, without a box around the task: tokio polls it as cheaply as one of its own.
    fn is_tokio(&self) -> bool {
        false
    }

    /// Polls the supervisor of a factory by means of the world's own, for as long as it has not ended.
    ///
    /// For worlds in which a task that blocks its thread holds others up: a supervisor, and its timeouts, must not be. A world
    /// that has no such means gives it back, as the default does; then a task polls it, with timers of the world's clock, and
    /// runs its user code in place.
    ///
    /// # Errors
    /// The supervisor, when a task is to poll it.
    fn supervise(&self, supervision: Supervision) -> Result<(), Supervision> {
        Err(supervision)
    }

    /// Called when a factory of this world value reaches a milestone, in order. For worlds that inject faults at such
    /// moments.
    fn reached(&self, factory: &str, milestone: Milestone) {
        let _ = (factory, milestone);
    }

    /// Called on each change of state of a daemon, or of a factory as a whole (`None`): those of
    /// [`changes`](crate::RunningFactory::changes), with or without subscribers. For worlds that record them.
    fn changed(&self, factory: &str, daemon: Option<&str>, state: State) {
        let _ = (factory, daemon, state);
    }

    /// Called on each change of a daemon's health, from when somebody requests it. For worlds that record it.
    fn health_changed(&self, factory: &str, daemon: &str, health: &Health) {
        let _ = (factory, daemon, health);
    }

    /// Called when a factory has become ready or not, or live or not, and when that is known first, from when somebody requests
    /// its health; with what is not well, as by [`FactoryHealth::problems`](crate::FactoryHealth::problems). For worlds that
    /// record it.
    fn readiness_changed(&self, factory: &str, is_ready: bool, is_live: bool, problems: &[String]) {
        let _ = (factory, is_ready, is_live, problems);
    }

    /// Called before the tasks of `owner` named `task` are aborted, because they exceeded a deadline of `limit`. They still
    /// exist during the call. For worlds that can show where tasks wait.
    fn deadline_exceeded(&self, owner: &Arc<Owner>, task: &'static str, limit: Duration) {
        let _ = (owner, task, limit);
    }
}

/// The milestones of a factory, in order. A failed start skips `Running`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Milestone {
    /// Its daemons are about to prepare.
    Preparing,
    /// All daemons are prepared and run.
    Running,
    /// It was told to stop, or something in it failed.
    Stopping,
    /// Everything in it has ended.
    Ended,
}

/// The origin of a task.
#[derive(Debug, Clone, Copy)]
pub struct Origin<'a> {
    /// The daemon or factory it belongs to.
    pub owner: &'a Arc<Owner>,
    /// The source location of the spawn.
    pub place: &'static Location<'static>,
}

/// The owner of a task: a daemon, or a factory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    factory: Arc<str>,
    daemon: Option<Cow<'static, str>>,
}

impl Owner {
    /// An owner by name: for what shows tasks of another process.
    pub fn new(factory: Arc<str>, daemon: Option<Cow<'static, str>>) -> Arc<Self> {
        Arc::new(Self { factory, daemon })
    }

    /// The path of the factory: `demo/lease-7`.
    pub fn factory(&self) -> &str {
        &self.factory
    }

    /// The daemon's name: `Gateway`; `None` for a task of the factory itself.
    pub fn daemon(&self) -> Option<&str> {
        self.daemon.as_deref()
    }
}

impl fmt::Display for Owner {
    /// `demo/lease-7: Gateway`, or only the factory.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.factory)?;
        self.daemon.iter().try_for_each(|daemon| write!(f, ": {daemon}"))
    }
}

/// A join handle: awaiting it gives the task's output. Dropping it detaches the task.
pub trait Task<T>: Future<Output = Result<T, TaskError>> + Send + Sync + Unpin + 'static {
    /// Aborts the task: its future is dropped at its current await. Has no effect on a task that has ended.
    fn abort(&self);

    /// Whether the task has returned, panicked or been aborted.
    fn is_finished(&self) -> bool;
}

/// Why a task has no output.
#[derive(Debug, thiserror::Error)]
pub enum TaskError {
    /// It was aborted, or its machine or runtime ended.
    #[error("the task was aborted")]
    Aborted,
    /// It panicked.
    #[error("the task panicked: {0}")]
    Panicked(Panic),
}
