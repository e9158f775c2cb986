//! A factory that is run to its end, and a handle to it that keeps no daemon in memory.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::sync::oneshot;

use super::Interest;
use crate::control::{Control, Event};
use crate::{Deadlines, HealthWatch, Report, RunningFactory, StartError, Status};

/// Who is told of the end of a start.
pub(super) enum Started {
    /// It gets a handle.
    Factory(oneshot::Sender<Result<RunningFactory, StartError>>),
    Serving(oneshot::Sender<Result<(), StartError>>),
}

impl Started {
    /// False if nobody listens.
    pub(super) fn fail(self, error: StartError) -> bool {
        match self {
            Started::Factory(started) => started.send(Err(error)).is_ok(),
            Started::Serving(started) => started.send(Err(error)).is_ok(),
        }
    }
}

/// A factory that is run to its end; made by [`Factory::serve`](crate::Factory::serve).
///
/// # Cancellation
/// Dropping it stops the factory.
#[must_use = "dropping it stops the factory"]
pub struct Serving {
    /// Its drop before the end rolls back.
    interest: Interest,
    /// `None` once it has started.
    started: Option<oneshot::Receiver<Result<(), StartError>>>,
    ended: BoxFuture<'static, Arc<Report>>,
    has_ended: bool,
    control: Arc<Control>,
}

impl Serving {
    pub(super) fn new(
        interest: Interest,
        started: oneshot::Receiver<Result<(), StartError>>,
        control: Arc<Control>,
    ) -> Self {
        let ended = control.ended().boxed();
        Serving { interest, started: Some(started), ended, has_ended: false, control }
    }

    /// A handle to the factory, from now until it has ended.
    pub fn remote(&self) -> Remote {
        Remote(self.control.clone())
    }
}

impl Future for Serving {
    type Output = Result<Arc<Report>, StartError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        if let Some(started) = &mut self.started {
            let outcome = ready!(Pin::new(started).poll(context));
            self.started = None;
            self.interest.0 = None;
            let abandoned = || StartError::new(Arc::new(Report::abandoned(self.control.path.clone())));
            if let Err(error) = outcome.unwrap_or_else(|_| Err(abandoned())) {
                self.has_ended = true;
                return Poll::Ready(Err(error));
            }
        }
        let report = ready!(self.ended.as_mut().poll(context));
        self.has_ended = true;
        Poll::Ready(Ok(report))
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        if !self.has_ended {
            // The first has an effect while it starts, the second while it runs, the third while it drains.
            self.interest.0 = None;
            self.control.send(Event::StartCancelled);
            self.control.send(Event::HandlesDropped);
            self.control.send(Event::StopAtOnce);
        }
    }
}

impl fmt::Debug for Serving {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Serving({})", self.control.path)
    }
}

/// A handle to a factory that starts, runs or stops, which keeps neither the factory nor its daemons alive: for whoever stops a
/// process, or looks at it from outside.
#[derive(Clone)]
pub struct Remote(Arc<Control>);

impl Remote {
    pub(super) fn control(&self) -> &Arc<Control> {
        &self.0
    }

    /// The names of its ancestors and its own: `demo/lease-7`.
    pub fn path(&self) -> &str {
        &self.0.path
    }

    /// Its deadlines.
    pub fn deadlines(&self) -> Deadlines {
        self.0.settings.deadlines
    }

    /// Asks the factory to stop, and returns at once.
    pub fn request_stop(&self) {
        self.0.request_stop();
    }

    /// As [`request_stop`](Remote::request_stop), but without draining; ends a drain that has begun.
    pub fn stop_at_once(&self) {
        self.0.stop_at_once();
    }

    /// For how long a requested stop goes on serving; see [`Factory::drain`](crate::Factory::drain).
    pub fn drain(&self) -> Duration {
        self.0.drain
    }

    /// Whether the factory drains: a stop was requested, and has not begun yet.
    pub fn is_draining(&self) -> bool {
        self.0.is_draining()
    }

    /// Subscribes to the health of the factory, as [`RunningFactory::health`] does.
    pub fn health(&self) -> HealthWatch {
        self.0.health()
    }

    /// Waits until the factory begins to stop, for whatever reason; after the drain, if there is one.
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
