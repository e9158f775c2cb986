//! A supervisor as a world polls it: without user code, which the world runs where it may block.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::task::{Context, Poll};
use std::time::Instant;

use crate::panic::forget_panic;

/// What a world polls, as the lifecycle implements it.
pub(crate) trait Supervise: Send {
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<()>;

    /// `poll` has panicked.
    fn die(&mut self, panic: Box<dyn Any + Send>);

    fn wake_at(&self) -> Option<Instant>;

    fn has_user_code(&self) -> bool;

    fn user_code(&mut self) -> Option<UserCode>;

    /// The path of the factory.
    fn path(&self) -> &str;
}

/// The supervisor of a factory, for a world to poll. See [`Spawn::supervise`](crate::Spawn::supervise).
pub struct Supervision {
    /// `None` once all user code is taken after the end.
    supervisor: Option<Box<dyn Supervise>>,
    has_ended: bool,
}

impl Supervision {
    pub(crate) fn new(supervisor: impl Supervise + 'static) -> Self {
        Supervision { supervisor: Some(Box::new(supervisor)), has_ended: false }
    }

    /// Does what there is to do: handles events, and timeouts that are due. Never blocks and never panics, because it runs no
    /// code of daemons.
    ///
    /// # Order
    /// To be called at first, when its waker is called, at [`wake_at`](Supervision::wake_at), and after
    /// [user code](Supervision::user_code) was run. Ready after the end; what user code is left then has to be run, too.
    pub fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let Some(supervisor) = self.supervisor.as_mut().filter(|_| !self.has_ended) else {
            return Poll::Ready(());
        };
        let mut polled = catch_unwind(AssertUnwindSafe(|| supervisor.poll(context)));
        if let Err(panic) = polled {
            polled = catch_unwind(AssertUnwindSafe(|| {
                supervisor.die(panic);
                supervisor.poll(context)
            }));
        }
        if let Ok(Poll::Pending) = polled {
            return Poll::Pending;
        }
        if let Err(panic) = polled {
            forget_panic(panic);
        }
        self.has_ended = true;
        Poll::Ready(())
    }

    /// When it wants to be polled, even if nothing wakes it before; on the factory's monotonic clock.
    pub fn wake_at(&self) -> Option<Instant> {
        self.supervisor.as_ref().filter(|_| !self.has_ended)?.wake_at()
    }

    /// Whether there is user code to be run.
    pub fn has_user_code(&self) -> bool {
        self.supervisor.as_ref().is_some_and(|supervisor| self.has_ended || supervisor.has_user_code())
    }

    /// Takes the next piece of user code that is to be run: one after another, in this order, outside of
    /// [`poll`](Supervision::poll).
    pub fn user_code(&mut self) -> Option<UserCode> {
        let code = self.supervisor.as_mut()?.user_code();
        if code.is_none() && self.has_ended {
            return self.supervisor.take().map(UserCode::rest);
        }
        code
    }
}

impl std::fmt::Debug for Supervision {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.supervisor {
            Some(supervisor) => write!(f, "Supervision({})", supervisor.path()),
            None => f.write_str("Supervision(ended)"),
        }
    }
}

/// Code of daemons, of errors or of a `tracing` subscriber that a supervisor leaves to its world: a destructor, a log line. It
/// may block for ever.
pub struct UserCode(Work);

enum Work {
    Call(Box<dyn FnOnce() + Send>),
    /// What an ended supervisor has left.
    Rest(Box<dyn Supervise>),
}

impl UserCode {
    pub(crate) fn new(code: impl FnOnce() + Send + 'static) -> Self {
        UserCode(Work::Call(Box::new(code)))
    }

    fn rest(supervisor: Box<dyn Supervise>) -> Self {
        UserCode(Work::Rest(supervisor))
    }

    /// Runs it. Panics are caught.
    pub fn run(self) {
        let run = || match self.0 {
            Work::Call(code) => code(),
            Work::Rest(supervisor) => drop(supervisor),
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
