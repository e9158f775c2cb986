//! The future of a start, and a handle to the factory that keeps no daemon in memory.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::sync::oneshot;

use super::Interest;
use crate::control::Control;
use crate::{Deadlines, Report, RunningFactory, StartError, Status};

/// A factory that is starting; made by [`Factory::launch`](crate::Factory::launch).
///
/// # Cancellation
/// Dropping it rolls the start back.
#[must_use = "dropping it rolls the start back"]
pub struct Starting {
    /// Its drop before the end rolls back.
    interest: Interest,
    started: oneshot::Receiver<Result<RunningFactory, StartError>>,
    control: Arc<Control>,
}

impl Starting {
    pub(super) fn new(
        interest: Interest,
        started: oneshot::Receiver<Result<RunningFactory, StartError>>,
        control: Arc<Control>,
    ) -> Self {
        Starting { interest, started, control }
    }

    /// A handle to the factory, from now until it has ended.
    pub fn remote(&self) -> Remote {
        Remote(self.control.clone())
    }
}

impl Future for Starting {
    type Output = Result<RunningFactory, StartError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let started = std::task::ready!(Pin::new(&mut self.started).poll(context));
        self.interest.0 = None;
        let abandoned = || StartError::new(Arc::new(Report::abandoned(self.control.path.clone())));
        Poll::Ready(started.unwrap_or_else(|_| Err(abandoned())))
    }
}

impl fmt::Debug for Starting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Starting({})", self.control.path)
    }
}

/// A handle to a factory that starts, runs or stops, which keeps neither the factory nor its daemons alive: for whoever stops a
/// process, or looks at it from outside.
#[derive(Clone)]
pub struct Remote(Arc<Control>);

impl Remote {
    /// The names of its ancestors and its own: `demo/lease-7`.
    pub fn path(&self) -> &str {
        &self.0.path
    }

    /// Its deadlines.
    pub fn deadlines(&self) -> Deadlines {
        self.0.deadlines
    }

    /// Asks the factory to stop, and returns at once.
    pub fn request_stop(&self) {
        self.0.request_stop();
    }

    /// Waits until the factory begins to stop, for whatever reason.
    ///
    /// # Cancellation
    /// Dropping the future has no effect.
    pub fn stopping(&self) -> impl Future<Output = ()> + Send + 'static {
        self.0.stopping()
    }

    /// The current state of the factory, as [`RunningFactory::status`] tells it.
    ///
    /// # Cancellation
    /// Dropping the future has no effect.
    pub fn status(&self) -> impl Future<Output = Option<Status>> + Send + 'static {
        self.0.status()
    }
}

impl fmt::Debug for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Remote({})", self.0.path)
    }
}
