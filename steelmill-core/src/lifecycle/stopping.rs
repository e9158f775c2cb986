//! Stopping a factory, and waiting for its end.

use std::future::{Future, ready};
use std::sync::Arc;

use futures::future::Either;

use crate::report::AwaitsItself;
use crate::{LogContext, Phase, Report, RunningFactory};

impl RunningFactory {
    /// Graceful shutdown: stops the factory and waits for its end. All callers get the same report of the one stop.
    ///
    /// # Order
    /// Daemons stop in reverse dependency order, each after everything that depends on it has ended. A daemon must not
    /// await the end of its own factory, nor of one above it, which would wait for itself; it calls
    /// [`Scope::request_stop`](crate::Scope::request_stop). If the phase or task of a daemon calls this, the stop begins, and the
    /// future is ready at once, with a report that says so. (Where a subscriber of `tracing` sees the spans of daemons, which
    /// hides the caller, the future waits until it is aborted at the deadline.)
    ///
    /// # Cancellation
    /// The stop begins with the call. Dropping the future does not cancel it.
    pub fn stop(self) -> impl Future<Output = Arc<Report>> + Send + 'static {
        let control = self.control().clone();
        let ended = control.ended();
        if control.drain.is_zero() {
            // The handle is dropped before the stop begins, so that the report does not count it as held.
            control.announce_stop();
            drop(self);
            control.request_stop();
        } else {
            // The last handle is dropped while it drains, which has no effect.
            control.request_stop();
            drop(self);
        }
        let path = control.path.clone();
        let caller = LogContext::current(|context| {
            let context = context.filter(|context| is_within(context.factory(), &path))?;
            Some(format!("{} of {}", context.daemon(), context.factory()))
        });
        match caller {
            Some(caller) => {
                Either::Left(ready(Arc::new(Report::of(path, Phase::Stop, AwaitsItself { caller }.into()))))
            }
            None => Either::Right(ended),
        }
    }
}

/// Whether a factory is this one, or below it.
fn is_within(factory: &str, this: &str) -> bool {
    factory.strip_prefix(this).is_some_and(|below| below.is_empty() || below.starts_with('/'))
}
