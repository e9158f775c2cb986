//! A supervisor as a world polls it: without user code, which the world runs where it may block.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::task::{Context, Poll};
use std::time::Instant;

use super::supervisor::Supervisor;
use crate::panic::forget_panic;

/// The supervisor of a factory, for a world to poll. See [`Spawn::supervise`](crate::Spawn::supervise).
pub struct Supervision {
    /// `None` once it has ended.
    supervisor: Option<Box<Supervisor>>,
    /// What an ended supervisor has left.
    left: VecDeque<UserCode>,
}

impl Supervision {
    pub(super) fn new(supervisor: Supervisor) -> Self {
        Supervision { supervisor: Some(Box::new(supervisor)), left: VecDeque::new() }
    }

    /// Does what there is to do: handles events, and timeouts that are due. Never blocks and never panics, because it runs no
    /// code of daemons.
    ///
    /// # Order
    /// To be called at first, when its waker is called, at [`wake_at`](Supervision::wake_at), and after
    /// [user code](Supervision::user_code) was run. Ready after the end; what user code is left then has to be run, too.
    pub fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let Some(supervisor) = &mut self.supervisor else {
            return Poll::Ready(());
        };
        let mut polled = catch_unwind(AssertUnwindSafe(|| supervisor.poll(context)));
        if let Err(panic) = polled {
            supervisor.die(panic);
            polled = catch_unwind(AssertUnwindSafe(|| supervisor.poll(context)));
        }
        match polled {
            Ok(Poll::Pending) => return Poll::Pending,
            Ok(Poll::Ready(())) => {}
            Err(panic) => forget_panic(panic),
        }
        if let Some(mut supervisor) = self.supervisor.take() {
            self.left = std::mem::take(&mut supervisor.user_code);
            self.left.push_back(UserCode(Work::Drop(supervisor)));
        }
        Poll::Ready(())
    }

    /// When it wants to be polled, even if nothing wakes it before; on the factory's monotonic clock.
    pub fn wake_at(&self) -> Option<Instant> {
        self.supervisor.as_ref()?.wake_at
    }

    /// Whether there is user code to be run.
    pub fn has_user_code(&self) -> bool {
        match &self.supervisor {
            Some(supervisor) => !supervisor.user_code.is_empty(),
            None => !self.left.is_empty(),
        }
    }

    /// Takes the next piece of user code that is to be run: one after another, in this order, outside of
    /// [`poll`](Supervision::poll).
    pub fn user_code(&mut self) -> Option<UserCode> {
        match &mut self.supervisor {
            Some(supervisor) => supervisor.user_code.pop_front(),
            None => self.left.pop_front(),
        }
    }
}

impl std::fmt::Debug for Supervision {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.supervisor {
            Some(supervisor) => write!(f, "Supervision({})", supervisor.control.path),
            None => f.write_str("Supervision(ended)"),
        }
    }
}

/// Code of daemons, of errors or of a `tracing` subscriber that a supervisor leaves to its world: a destructor, a log line. It
/// may block for ever.
pub struct UserCode(Work);

enum Work {
    Call(Box<dyn FnOnce() + Send>),
    Drop(Box<Supervisor>),
}

impl UserCode {
    pub(super) fn new(code: impl FnOnce() + Send + 'static) -> Self {
        UserCode(Work::Call(Box::new(code)))
    }

    /// Runs it. Panics are caught.
    pub fn run(self) {
        let run = || match self.0 {
            Work::Call(code) => code(),
            Work::Drop(supervisor) => drop(supervisor),
        };
        if let Err(panic) = catch_unwind(AssertUnwindSafe(run)) {
            forget_panic(panic);
        }
    }
}

impl std::fmt::Debug for UserCode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("UserCode")
    }
}
