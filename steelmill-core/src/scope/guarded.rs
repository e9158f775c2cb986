//! Running user code: panics are caught, an abort drops the future, and the supervisor is notified of the end.
//!
//! What always holds: the future is polled and dropped in the daemon's [`LogContext`]. It is dropped before the supervisor is
//! notified, which happens even when the executor drops the task. What the supervisor is told it need not format: an error has
//! its text already.

use std::any::Any;
use std::future::Future;
use std::panic::resume_unwind;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use pin_project_lite::pin_project;
use tracing::Span;

use super::context::{self, LogContext};
use super::{RunState, TaskOutput};
use crate::cell::Waiter;
use crate::control::{Event, FailedTask, Outcome};
use crate::panic::{Fault, forget_panic, panicked};
use crate::{Phase, Result};

pin_project! {
    /// A future that notifies its daemon's supervisor of its end.
    ///
    /// Every poll of a daemon's code comes through here, so an uneventful one costs fourteen instructions: while the gate
    /// is open to the task there is nothing to do but to poll. All else is behind the gate: the task may pass after the first poll,
    /// which registers for the abort; where there is a span to enter it never may.
    pub(crate) struct Guarded<F> {
        #[pin]
        work: Option<F>,
        // It is registered for the abort, and has no span to enter.
        may_pass_gate: bool,
        // `None` while the work runs: it is in the thread-local then.
        context: Option<Arc<LogContext>>,
        // `None` for a phase, whose span is the daemon's.
        span: Option<Span>,
        #[pin]
        aborted: Waiter,
        completion: Completion,
    }

    impl<F> PinnedDrop for Guarded<F> {
        fn drop(this: Pin<&mut Self>) {
            // The executor dropped the task. `completion` notifies the supervisor afterwards.
            let mut this = this.project();
            if this.work.is_some()
                && let Err(panic) = context::run_in(
                    span_of(this.span, this.completion),
                    this.context,
                    || this.work.set(None),
                )
            {
                resume_unwind(panic);
            }
        }
    }
}

/// What the output of a daemon's code says of its end.
pub(crate) trait WorkOutput {
    fn into_outcome(self) -> Outcome;
}

/// Of a task.
impl<T: TaskOutput> WorkOutput for T {
    fn into_outcome(self) -> Outcome {
        match self.into_result() {
            Ok(()) => Outcome::Done,
            Err(error) => Outcome::Failed(Box::new(Fault::of(error))),
        }
    }
}

/// Of a phase; `None` if it was cancelled.
impl WorkOutput for Option<Result> {
    fn into_outcome(self) -> Outcome {
        self.map_or(Outcome::Cancelled, WorkOutput::into_outcome)
    }
}

impl<F> Guarded<F> {
    pub(crate) fn new(work: F, context: Arc<LogContext>, span: Option<Span>, completion: Completion) -> Self {
        let aborted = completion.run_state.aborted.waiter();
        Guarded { work: Some(work), may_pass_gate: false, context: Some(context), span, aborted, completion }
    }
}

impl<F: Future<Output: WorkOutput>> Future for Guarded<F> {
    type Output = ();

    #[inline(always)] // a call would cost as much as the rest
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let this = self.as_mut().project();
        if this.completion.run_state.gate.is_open_to(*this.may_pass_gate)
            && let Some(work) = this.work.as_pin_mut()
        {
            return match context::run_without_span(this.context, || work.poll(context)) {
                Ok(Poll::Pending) => Poll::Pending,
                Ok(Poll::Ready(output)) => self.end(output.into_outcome()),
                Err(panic) => self.end_by_panic(panic),
            };
        }
        self.poll_behind_gate(context.waker())
    }
}

impl<F: Future<Output: WorkOutput>> Guarded<F> {
    /// The first poll, those with a span, and the last one when the task was aborted. It is given no context, so that the other
    /// polls need not have one in memory.
    #[cold]
    #[inline(never)]
    fn poll_behind_gate(mut self: Pin<&mut Self>, waker: &Waker) -> Poll<()> {
        let context = &mut Context::from_waker(waker);
        let mut this = self.as_mut().project();
        let Some(work) = this.work.as_mut().as_pin_mut() else {
            return Poll::Ready(());
        };
        let aborted = &this.completion.run_state.aborted;
        if aborted.is_raised() {
            return self.end(Outcome::Cancelled);
        }
        let span = span_of(this.span, this.completion);
        match context::run_in(span, this.context, || work.poll(context)) {
            Ok(Poll::Pending) => {
                // Not before: most `prepare`s and `stop`s end with their first poll, and need no waker.
                if this.aborted.poll(aborted, context).is_ready() {
                    return self.end(Outcome::Cancelled);
                }
                *this.may_pass_gate = span.is_disabled();
                Poll::Pending
            }
            Ok(Poll::Ready(output)) => self.end(output.into_outcome()),
            Err(panic) => self.end_by_panic(panic),
        }
    }

    /// Out of line, as whatever is not in `poll` need not be saved there.
    #[cold]
    #[inline(never)]
    fn end_by_panic(self: Pin<&mut Self>, panic: Box<dyn Any + Send>) -> Poll<()> {
        let fault = Fault::of(panicked(panic.as_ref()));
        forget_panic(panic);
        self.end(Outcome::Failed(Box::new(fault)))
    }

    /// Drops the work, and notifies the supervisor.
    #[cold]
    #[inline(never)]
    fn end(self: Pin<&mut Self>, mut outcome: Outcome) -> Poll<()> {
        let mut this = self.project();
        let span = span_of(this.span, this.completion);
        if let Err(panic) = context::run_in(span, this.context, || this.work.set(None)) {
            outcome = Outcome::Failed(Box::new(Fault::of(panicked(panic.as_ref()))));
            forget_panic(panic);
        }
        this.completion.report(outcome);
        Poll::Ready(())
    }
}

/// The span of a task, or of its daemon.
fn span_of<'a>(task: &'a Option<Span>, completion: &'a Completion) -> &'a Span {
    task.as_ref().unwrap_or_else(|| completion.run_state.span())
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
    /// Asks the daemon for its health.
    Question(&'static str),
}

impl Completion {
    pub(crate) fn job(run_state: Arc<RunState>, phase: Phase) -> Self {
        Completion { run_state, what: Some(Work::Job(phase)) }
    }

    pub(crate) fn task(run_state: Arc<RunState>, name: &'static str) -> Self {
        Completion { run_state, what: Some(Work::Task(name)) }
    }

    pub(crate) fn question(run_state: Arc<RunState>, name: &'static str) -> Self {
        Completion { run_state, what: Some(Work::Question(name)) }
    }

    fn report(&mut self, outcome: Outcome) {
        let RunState { slot, incarnation, ref tasks, ref control, .. } = *self.run_state;
        let is_last = match self.what.take() {
            Some(Work::Job(phase)) => {
                return control.send(Event::PhaseEnded { slot, phase, outcome });
            }
            Some(work @ (Work::Task(name) | Work::Question(name))) => {
                if let Outcome::Failed(fault) = outcome {
                    control.send(Event::TaskFailed(Box::new(FailedTask { slot, name, fault: *fault })));
                }
                match work {
                    Work::Question(_) => tasks.leave_question(name),
                    _ => tasks.leave(name),
                }
            }
            None => false,
        };
        if is_last {
            control.send(Event::TasksEnded { slot, incarnation });
        }
    }
}

impl Drop for Completion {
    fn drop(&mut self) {
        self.report(Outcome::Dropped);
    }
}
