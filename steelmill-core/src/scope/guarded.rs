//! User code that core runs: a panic is caught, it is dropped when its daemon is killed, and how it ended is told.
//!
//! What always holds: the user's future is dropped before its end is told, so that whoever hears of the end finds
//! nothing of it left; and an end is told even when the executor drops the task.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use pin_project_lite::pin_project;
use tracing::{Instrument, Span, instrument::Instrumented};

use super::Leash;
use crate::cell::Wait;
use crate::lifecycle::Event;
use crate::report::panicked;
use crate::{Error, Phase, Result};

/// How a piece of user code ended.
#[derive(Debug)]
pub(crate) enum Outcome {
    Done,
    Failed(Error),
    /// It was dropped before it had ended, because it was told to stop or killed.
    Cut,
    /// The executor dropped it.
    Lost,
}

pin_project! {
    /// A future that tells its daemon's supervisor how it ended. An output of `None` means that it was cut short.
    pub(crate) struct Guarded<F> {
        #[pin]
        work: Option<Instrumented<F>>,
        #[pin]
        killed: Wait,
        // Behind the work, so that it is dropped after it.
        ending: Ending,
    }
}

impl<F: Future<Output = Option<Result>>> Guarded<F> {
    pub(crate) fn new(work: F, span: Span, ending: Ending) -> Self {
        Guarded { work: Some(work.instrument(span)), killed: ending.leash.killed.wait(), ending }
    }
}

impl<F: Future<Output = Option<Result>>> Future for Guarded<F> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let mut this = self.project();
        let mut outcome = if this.killed.poll(&this.ending.leash.killed, context).is_ready() {
            Outcome::Cut
        } else {
            let Some(work) = this.work.as_mut().as_pin_mut() else {
                return Poll::Ready(());
            };
            match catch_unwind(AssertUnwindSafe(|| work.poll(context))) {
                Ok(output) => match ready!(output) {
                    Some(Ok(())) => Outcome::Done,
                    Some(Err(error)) => Outcome::Failed(error),
                    None => Outcome::Cut,
                },
                Err(panic) => Outcome::Failed(panicked(panic.as_ref())),
            }
        };
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| this.work.set(None))) {
            outcome = Outcome::Failed(panicked(panic.as_ref()));
        }
        this.ending.tell(outcome);
        Poll::Ready(())
    }
}

/// Tells how a piece of user code ended, once.
pub(crate) struct Ending {
    leash: Arc<Leash>,
    what: Option<Work>,
}

#[derive(Clone, Copy)]
enum Work {
    Job(Phase),
    Task(&'static str),
}

impl Ending {
    pub(crate) fn job(leash: Arc<Leash>, phase: Phase) -> Self {
        Ending { leash, what: Some(Work::Job(phase)) }
    }

    pub(crate) fn task(leash: Arc<Leash>, name: &'static str) -> Self {
        Ending { leash, what: Some(Work::Task(name)) }
    }

    fn tell(&mut self, outcome: Outcome) {
        let slot = self.leash.slot;
        match self.what.take() {
            Some(Work::Job(phase)) => self.leash.hub.tell(Event::JobEnded { slot, phase, outcome }),
            Some(Work::Task(name)) => {
                if let Outcome::Failed(error) = outcome {
                    self.leash.hub.tell(Event::TaskFailed { slot, name, error });
                }
                if self.leash.tasks.leave(name) {
                    self.leash.hub.tell(Event::TasksEnded { slot, life: self.leash.life });
                }
            }
            None => {}
        }
    }
}

impl Drop for Ending {
    fn drop(&mut self) {
        self.tell(Outcome::Lost);
    }
}
