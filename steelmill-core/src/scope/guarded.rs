//! Running user code: panics are caught, an abort drops the future, and the supervisor is notified of the end.
//!
//! What always holds: the future is dropped before the supervisor is notified; and it is notified even when the executor
//! drops the task.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use pin_project_lite::pin_project;
use tracing::{Instrument, Span, instrument::Instrumented};

use super::RunState;
use crate::cell::Waiter;
use crate::control::{Event, Outcome};
use crate::panic::panicked;
use crate::{Phase, Result};

pin_project! {
    /// A future that notifies its daemon's supervisor of its end. An output of `None` means that it was cancelled.
    pub(crate) struct Guarded<F> {
        #[pin]
        work: Option<Instrumented<F>>,
        #[pin]
        aborted: Waiter,
        // After `work`, so that it is dropped after it.
        completion: Completion,
    }
}

impl<F: Future<Output = Option<Result>>> Guarded<F> {
    pub(crate) fn new(work: F, span: Span, completion: Completion) -> Self {
        Guarded {
            work: Some(work.instrument(span)),
            aborted: completion.run_state.aborted.waiter(),
            completion,
        }
    }
}

impl<F: Future<Output = Option<Result>>> Future for Guarded<F> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let mut this = self.project();
        let mut outcome = if this.aborted.poll(&this.completion.run_state.aborted, context).is_ready() {
            Outcome::Cancelled
        } else {
            let Some(work) = this.work.as_mut().as_pin_mut() else {
                return Poll::Ready(());
            };
            match catch_unwind(AssertUnwindSafe(|| work.poll(context))) {
                Ok(output) => match ready!(output) {
                    Some(Ok(())) => Outcome::Done,
                    Some(Err(error)) => Outcome::Failed(error),
                    None => Outcome::Cancelled,
                },
                Err(panic) => Outcome::Failed(panicked(panic.as_ref())),
            }
        };
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| this.work.set(None))) {
            outcome = Outcome::Failed(panicked(panic.as_ref()));
        }
        this.completion.report(outcome);
        Poll::Ready(())
    }
}

/// Notifies the supervisor of an end, once; at the latest when it is dropped.
pub(crate) struct Completion {
    run_state: Arc<RunState>,
    what: Option<Work>,
}

#[derive(Clone, Copy)]
enum Work {
    Job(Phase),
    Task(&'static str),
}

impl Completion {
    pub(crate) fn job(run_state: Arc<RunState>, phase: Phase) -> Self {
        Completion { run_state, what: Some(Work::Job(phase)) }
    }

    pub(crate) fn task(run_state: Arc<RunState>, name: &'static str) -> Self {
        Completion { run_state, what: Some(Work::Task(name)) }
    }

    fn report(&mut self, outcome: Outcome) {
        let slot = self.run_state.slot;
        match self.what.take() {
            Some(Work::Job(phase)) => self.run_state.control.send(Event::PhaseEnded { slot, phase, outcome }),
            Some(Work::Task(name)) => {
                if let Outcome::Failed(error) = outcome {
                    self.run_state.control.send(Event::TaskFailed { slot, name, error });
                }
                if self.run_state.tasks.leave(name) {
                    self.run_state
                        .control
                        .send(Event::TasksEnded { slot, incarnation: self.run_state.incarnation });
                }
            }
            None => {}
        }
    }
}

impl Drop for Completion {
    fn drop(&mut self) {
        self.report(Outcome::Dropped);
    }
}
