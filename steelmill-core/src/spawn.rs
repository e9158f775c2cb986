//! Tasks: futures that make progress on their own.
//!
//! A daemon spawns on its [`Scope`](crate::Scope), so that its tasks end with it. This trait is what the scope stands
//! on, and what code outside a daemon uses.

use std::any::Any;
use std::borrow::Cow;
use std::fmt;
use std::future::Future;
use std::panic::Location;
use std::sync::Arc;
use std::time::Duration;

use crate::{Daemon, State};

/// Starts tasks.
pub trait Spawn: Daemon {
    /// A handle to a task.
    type Task<T: Send + 'static>: Task<T>;

    /// Starts a task. `name` is what reports and logs call it.
    fn spawn<F>(&self, name: &'static str, future: F) -> Self::Task<F::Output>
    where
        F: Future<Output: Send + 'static> + Send + 'static;

    /// Starts a task for a daemon, or for a factory. A world that reports on its tasks says whose they are; others
    /// need nothing but [`spawn`](Spawn::spawn).
    fn spawn_for<F>(&self, origin: Origin<'_>, name: &'static str, future: F) -> Self::Task<F::Output>
    where
        F: Future<Output: Send + 'static> + Send + 'static,
    {
        let _ = origin;
        self.spawn(name, future)
    }

    /// Hears what a factory of this place has come to, in order. A world that lets things go wrong at such moments makes
    /// use of it; others have nothing to do.
    fn reached(&self, factory: &str, milestone: Milestone) {
        let _ = (factory, milestone);
    }

    /// Hears what a daemon of this place does from now on, or a factory as a whole where no daemon is named: each change
    /// that [`changes`](crate::RunningFactory::changes) tells, whether or not anybody watches. A world that shows what its
    /// factories do makes use of it; others have nothing to do.
    fn changed(&self, factory: &str, daemon: Option<&str>, state: State) {
        let _ = (factory, daemon, state);
    }

    /// Hears that tasks of this place are about to be aborted, because they were not done when the `limit` had passed
    /// which they had: those of `owner` that are called `task`. They are still there meanwhile. A world that can tell
    /// where tasks wait makes use of it; others have nothing to do.
    fn overstayed(&self, owner: &Arc<Owner>, task: &'static str, limit: Duration) {
        let _ = (owner, task, limit);
    }
}

/// What a factory comes to, in this order; one that does not start leaves out the second.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Milestone {
    /// Its daemons are about to prepare.
    Preparing,
    /// All are prepared, and run.
    Running,
    /// It has been told to stop, or something in it failed.
    Stopping,
    /// All of it has ended.
    Ended,
}

/// Where a task comes from.
#[derive(Debug, Clone, Copy)]
pub struct Origin<'a> {
    /// Whose it is.
    pub owner: &'a Arc<Owner>,
    /// Where it was spawned.
    pub place: &'static Location<'static>,
}

/// Whom a task works for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    factory: Arc<str>,
    daemon: Option<Cow<'static, str>>,
}

impl Owner {
    pub(crate) fn new(factory: Arc<str>, daemon: Option<Cow<'static, str>>) -> Arc<Self> {
        Arc::new(Self { factory, daemon })
    }

    /// The path of the factory: `demo/lease-7`.
    pub fn factory(&self) -> &str {
        &self.factory
    }

    /// What the daemon is called: `Gateway`; `None` where the factory itself is at work.
    pub fn daemon(&self) -> Option<&str> {
        self.daemon.as_deref()
    }
}

impl fmt::Display for Owner {
    /// `demo/lease-7: Gateway`, or the factory alone.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.factory)?;
        self.daemon.iter().try_for_each(|daemon| write!(f, ": {daemon}"))
    }
}

/// A handle to a spawned task; awaiting it gives the task's output. Dropping the handle lets the task run on.
pub trait Task<T>: Future<Output = Result<T, TaskError>> + Send + Sync + Unpin + 'static {
    /// Ends the task at its next suspension point: its future is dropped there. A task that has ended stays as it is.
    fn abort(&self);

    /// Whether the task has returned, panicked or been aborted.
    fn is_finished(&self) -> bool;
}

/// Why a task gave no output.
#[derive(Debug, thiserror::Error)]
pub enum TaskError {
    /// It was aborted, or its machine or runtime ended.
    #[error("the task was aborted")]
    Aborted,
    /// It panicked.
    #[error("the task panicked: {0}")]
    Panicked(Panic),
}

/// What a task panicked with. The payload itself is `Send` but not `Sync`, and an error has to be both, so its text is
/// what is kept.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Panic(String);

impl Panic {
    /// Of a payload that [`catch_unwind`](std::panic::catch_unwind) gave.
    pub fn of(payload: &(dyn Any + Send)) -> Self {
        Self(panic_message(payload).to_owned())
    }
}

/// The text a panic was raised with.
pub fn panic_message(payload: &(dyn Any + Send)) -> &str {
    if let Some(text) = payload.downcast_ref::<&'static str>() {
        text
    } else if let Some(text) = payload.downcast_ref::<String>() {
        text
    } else {
        "a payload that is not text"
    }
}
