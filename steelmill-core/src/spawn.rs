//! Tasks: futures that make progress on their own.
//!
//! A daemon spawns on its [`Scope`](crate::Scope), so that its tasks end with it. This trait is what the scope stands
//! on, and what code outside a daemon uses.

use std::any::Any;
use std::future::Future;

use crate::Daemon;

/// Starts tasks.
pub trait Spawn: Daemon {
    /// A handle to a task.
    type Task<T: Send + 'static>: Task<T>;

    /// Starts a task. `name` is what reports and logs call it.
    fn spawn<F>(&self, name: &'static str, future: F) -> Self::Task<F::Output>
    where
        F: Future<Output: Send + 'static> + Send + 'static;
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
