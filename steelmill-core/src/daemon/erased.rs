//! A daemon with its type erased: what a factory stores, and what the lifecycle drives.

use std::any::Any;
use std::panic::catch_unwind;
use std::sync::Arc;

use futures::future::BoxFuture;

use crate::panic::forget_panic;
use crate::scope::{Completion, Guarded, Question};
use crate::{Daemon, DaemonRef, Phase, Scope};

/// A daemon with its type erased.
pub(crate) trait ErasedDaemon: Send + Sync {
    /// The `DaemonRef<T>`.
    fn reference(&self) -> &(dyn Any + Send + Sync);

    /// How many other refs to the daemon exist.
    fn other_refs(&self) -> usize;

    /// Counts the refs to the daemon later on, without being one.
    fn refs_later(&self) -> Box<dyn Fn() -> usize>;

    /// The future that prepares, runs or stops the daemon and notifies the supervisor of the end.
    fn job(&self, phase: Phase, scope: Scope, completion: Completion) -> BoxFuture<'static, ()>;

    /// The future that asks the daemon for its health, and passes on the answer.
    fn ask_health(&self, scope: Scope, completion: Completion, question: Question) -> BoxFuture<'static, ()>;
}

impl<T: Daemon> ErasedDaemon for DaemonRef<T> {
    fn reference(&self) -> &(dyn Any + Send + Sync) {
        self
    }

    fn other_refs(&self) -> usize {
        Arc::strong_count(self.arc()) - 1
    }

    fn refs_later(&self) -> Box<dyn Fn() -> usize> {
        let daemon = Arc::downgrade(self.arc());
        Box::new(move || daemon.strong_count())
    }

    fn job(&self, phase: Phase, scope: Scope, completion: Completion) -> BoxFuture<'static, ()> {
        let daemon = self.share();
        let context = scope.log_context();
        match phase {
            Phase::Prepare => {
                let work = async move {
                    log(phase);
                    scope.until_stopping(daemon.prepare(&scope)).await
                };
                Box::pin(Guarded::new(work, context, None, completion))
            }
            Phase::Stop => {
                let work = async move {
                    log(phase);
                    daemon.stop(&scope).await
                };
                Box::pin(Guarded::new(work, context, None, completion))
            }
            _ => {
                let work = async move {
                    log(phase);
                    daemon.arc().run(&scope).await
                };
                Box::pin(Guarded::new(work, context, None, completion))
            }
        }
    }

    fn ask_health(&self, scope: Scope, completion: Completion, question: Question) -> BoxFuture<'static, ()> {
        let daemon = self.share();
        let context = scope.task_context(question.task());
        // The daemon's handle is dropped by the work's end, before the supervisor is notified of it.
        let work = async move { question.ask(&scope, async { daemon.health().await }).await };
        Box::pin(Guarded::new(work, context, None, completion))
    }
}

/// Logs the beginning of a phase, in its task: a subscriber is user code.
fn log(phase: Phase) {
    if let Err(panic) = catch_unwind(|| tracing::debug!("{phase}")) {
        forget_panic(panic);
    }
}
