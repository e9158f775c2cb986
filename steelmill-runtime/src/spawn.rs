//! Spawning of tokio tasks.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use steelmill_core::{Daemon, Factory, Panic, Result, Spawn, Supervision, TaskError};
use tokio::task::JoinHandle;

use crate::supervise;

/// Spawns tasks on the current tokio runtime.
#[derive(Debug, Clone, Copy, Default)]
pub struct Spawner;

impl Spawner {
    /// Spawns a task. The name is ignored, because tokio's tasks have none; a [`Scope`](steelmill_core::Scope) keeps
    /// the names of its tasks for reports.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn spawn<F>(&self, _name: &'static str, future: F) -> Task<F::Output>
    where
        F: Future<Output: Send + 'static> + Send + 'static,
    {
        Task(tokio::spawn(future))
    }
}

impl Daemon for Spawner {
    fn build(_: &mut Factory) -> Result<Self> {
        Ok(Spawner)
    }
}

impl Spawn for Spawner {
    type Task<T: Send + 'static> = Task<T>;

    fn spawn<F>(&self, name: &'static str, future: F) -> Task<F::Output>
    where
        F: Future<Output: Send + 'static> + Send + 'static,
    {
        self.spawn(name, future)
    }

    fn is_tokio(&self) -> bool {
        true
    }

    fn supervise(&self, supervision: Supervision) -> Result<(), Supervision> {
        supervise::supervise(supervision)
    }
}

/// A handle to a tokio task.
#[derive(Debug)]
pub struct Task<T>(JoinHandle<T>);

impl<T> Task<T> {
    /// Aborts the task: its future is dropped at its next suspension point.
    pub fn abort(&self) {
        self.0.abort();
    }

    /// Whether the task has returned, panicked or been aborted.
    pub fn is_finished(&self) -> bool {
        self.0.is_finished()
    }
}

impl<T: Send + 'static> steelmill_core::Task<T> for Task<T> {
    fn abort(&self) {
        self.abort();
    }

    fn is_finished(&self) -> bool {
        self.is_finished()
    }
}

impl<T> Future for Task<T> {
    type Output = Result<T, TaskError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(context).map_err(|error| match error.try_into_panic() {
            Ok(payload) => TaskError::Panicked(Panic::of(payload.as_ref())),
            Err(_) => TaskError::Aborted,
        })
    }
}
