//! Running user code: panics are caught, an abort drops the future, and the supervisor is notified of the end.
//!
//! What always holds: the future is polled and dropped in the daemon's [`LogContext`]. It is dropped before the supervisor is
//! notified, which happens even when the executor drops the task.

use std::future::Future;
use std::panic::resume_unwind;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use pin_project_lite::pin_project;
use tracing::Span;

use super::RunState;
use super::context::{self, LogContext};
use crate::cell::Waiter;
use crate::control::{Event, Outcome};
use crate::panic::panicked;
use crate::{Phase, Result};

pin_project! {
    /// A future that notifies its daemon's supervisor of its end. An output of `None` means that it was cancelled.
    pub(crate) struct Guarded<F> {
        #[pin]
        work: Option<F>,
        span: Span,
        #[pin]
        aborted: Waiter,
        completion: Completion,
    }

    impl<F> PinnedDrop for Guarded<F> {
        fn drop(this: Pin<&mut Self>) {
            // The executor dropped the task. `completion` notifies the supervisor afterwards.
            let mut this = this.project();
            if this.work.is_some()
                && let Err(panic) = this.completion.run(this.span, || this.work.set(None))
            {
                resume_unwind(panic);
            }
        }
    }
}

impl<F: Future<Output = Option<Result>>> Guarded<F> {
    pub(crate) fn new(work: F, run_state: &RunState, span: Span, completion: Completion) -> Self {
        Guarded { work: Some(work), span, aborted: run_state.aborted.waiter(), completion }
    }
}

impl<F: Future<Output = Option<Result>>> Future for Guarded<F> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let mut this = self.project();
        let is_aborted = match this.completion.run_state() {
            Some(run_state) => this.aborted.poll(&run_state.aborted, context).is_ready(),
            None => false,
        };
        let mut outcome = if is_aborted {
            Outcome::Cancelled
        } else {
            let Some(work) = this.work.as_mut().as_pin_mut() else {
                return Poll::Ready(());
            };
            match this.completion.run(this.span, || work.poll(context)) {
                Ok(output) => match ready!(output) {
                    Some(Ok(())) => Outcome::Done,
                    Some(Err(error)) => Outcome::Failed(error),
                    None => Outcome::Cancelled,
                },
                Err(panic) => Outcome::Failed(panicked(panic.as_ref())),
            }
        };
        if let Err(panic) = this.completion.run(this.span, || this.work.set(None)) {
            outcome = Outcome::Failed(panicked(panic.as_ref()));
        }
        this.completion.report(outcome);
        Poll::Ready(())
    }
}

/// Notifies the supervisor of an end, once; at the latest when it is dropped.
pub(crate) struct Completion {
    /// `None` while the daemon's code runs: the context is in the thread-local then.
    context: Option<LogContext>,
    /// `None` for a task.
    phase: Option<Phase>,
    is_reported: bool,
}

impl Completion {
    pub(crate) fn job(run_state: Arc<RunState>, phase: Phase) -> Self {
        Completion { context: Some(LogContext::new(run_state, None)), phase: Some(phase), is_reported: false }
    }

    pub(crate) fn task(run_state: Arc<RunState>, name: &'static str) -> Self {
        Completion { context: Some(LogContext::new(run_state, Some(name))), phase: None, is_reported: false }
    }

    fn run_state(&self) -> Option<&RunState> {
        self.context.as_ref().map(|context| &*context.run_state)
    }

    /// Runs the daemon's code in its context.
    fn run<R>(&mut self, span: &Span, code: impl FnOnce() -> R) -> std::thread::Result<R> {
        context::run_in(span, &mut self.context, code)
    }

    fn report(&mut self, outcome: Outcome) {
        let Some(LogContext { run_state, task }) = &self.context else {
            return;
        };
        if std::mem::replace(&mut self.is_reported, true) {
            return;
        }
        let slot = run_state.slot;
        match (self.phase, *task) {
            (Some(phase), _) => run_state.control.send(Event::PhaseEnded { slot, phase, outcome }),
            (None, Some(name)) => {
                if let Outcome::Failed(error) = outcome {
                    run_state.control.send(Event::TaskFailed { slot, name, error });
                }
                if run_state.tasks.leave(name) {
                    let incarnation = run_state.incarnation;
                    run_state.control.send(Event::TasksEnded { slot, incarnation });
                }
            }
            (None, None) => {}
        }
    }
}

impl Drop for Completion {
    fn drop(&mut self) {
        self.report(Outcome::Dropped);
    }
}
