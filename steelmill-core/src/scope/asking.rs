//! A daemon is asked for its health, in a task of its own.
//!
//! What always holds: each question is answered once, also when the executor drops the task; by `None` if the daemon was
//! interrupted. Panics of the daemon's code are caught here, because a daemon that cannot answer has not failed.

use std::borrow::Cow;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::Arc;

use futures::FutureExt;
use futures::future::{Either, select};
use tokio::sync::oneshot;

use super::{RunState, Scope};
use crate::Health;
use crate::control::Event;
use crate::panic::{forget_panic, panic_message};

/// The name of the task.
const TASK: &str = "health";

/// A question that a daemon is asked, as its task holds it.
pub(crate) struct Question {
    run_state: Arc<RunState>,
    number: u64,
    /// Resolves when the answer is no longer waited for.
    given_up: oneshot::Receiver<()>,
    is_answered: bool,
}

/// The supervisor's side of a [`Question`]. Dropped when the answer is no longer waited for: then the task drops the daemon's
/// future.
pub(crate) struct Asking(#[expect(dead_code, reason = "kept for its drop")] oneshot::Sender<()>);

impl Question {
    /// `None` if the daemon admits no tasks any more, or the task of its last question has not ended. Admits this one.
    pub(crate) fn admit(run_state: &Arc<RunState>, number: u64) -> Option<(Question, Asking)> {
        run_state.tasks.admit_question(TASK).then(|| {
            let (asking, given_up) = oneshot::channel();
            let question = Question { run_state: run_state.clone(), number, given_up, is_answered: false };
            (question, Asking(asking))
        })
    }

    pub(crate) fn task(&self) -> &'static str {
        TASK
    }

    /// Waits for the answer and passes it on; until it is given up, or the daemon is told to stop.
    pub(crate) async fn ask(mut self, scope: &Scope, health: impl Future<Output = Health> + Send) {
        let health = AssertUnwindSafe(health).catch_unwind();
        let answer = {
            let given_up = &mut self.given_up;
            let answer = async move {
                match select(pin!(health), given_up).await {
                    Either::Left((answer, _)) => Some(answer),
                    Either::Right(_) => None,
                }
            };
            scope.until_stopping(answer).await.flatten()
        };
        let health = answer.map(|answer| {
            answer.unwrap_or_else(|panic| {
                let reason = format!("panicked: {}", panic_message(panic.as_ref()));
                forget_panic(panic);
                Health::Unresponsive(Cow::Owned(reason))
            })
        });
        self.answer(health);
    }

    fn answer(&mut self, health: Option<Health>) {
        if !std::mem::replace(&mut self.is_answered, true) {
            let (slot, question, health) = (self.run_state.slot, self.number, health.map(Box::new));
            self.run_state.control.send(Event::HealthAnswered { slot, question, health });
        }
    }
}

impl Drop for Question {
    fn drop(&mut self) {
        self.answer(None);
    }
}
