//! A service is a [`Daemon`]; others hold a [`DaemonRef`] to call it.

mod erased; // a daemon with its type erased

use std::fmt;
use std::future::Future;
use std::ops::Deref;
use std::sync::Arc;

use crate::label::label;
use crate::{Factory, Health, Result, Scope};

pub(crate) use erased::ErasedDaemon;

/// A long-running service: how it is built, prepared, run and stopped.
///
/// # Order
/// `build` and `prepare` run after those of its dependencies; `run` starts when every daemon of the factory is prepared;
/// `stop` is called after everything that depends on it has ended. Each is called once, except that a
/// [`Policy`](crate::Policy) may restart a `run` that has ended.
///
/// The daemon is dropped after everything that depends on it, within the factory's stop deadline.
///
/// # Panics
/// A panic in any of the four is caught, reported and treated as an error; one in the destructor is caught and reported.
/// Not so in a program that is built with `panic = "abort"`: there every panic ends the process, and no policy restarts anything.
///
/// # Example
/// ```
/// use std::sync::Arc;
/// use steelmill_core::{Daemon, DaemonRef, Factory, Result, Scope};
///
/// struct Greeter;
///
/// impl Daemon for Greeter {
///     fn build(_: &mut Factory) -> Result<Self> {
///         Ok(Self)
///     }
/// }
///
/// struct Reception {
///     greeter: DaemonRef<Greeter>,
/// }
///
/// impl Daemon for Reception {
///     fn build(factory: &mut Factory) -> Result<Self> {
///         Ok(Self { greeter: factory.get()? })
///     }
///
///     async fn run(self: &Arc<Self>, scope: &Scope) -> Result {
///         scope.stopping().await;
///         Ok(())
///     }
/// }
/// ```
pub trait Daemon: Sized + Send + Sync + 'static {
    /// Builds this daemon, requesting its dependencies from the factory.
    ///
    /// # Order
    /// Dependencies are built first. No I/O here: that belongs in [`prepare`](Daemon::prepare).
    ///
    /// # Errors
    /// Returned to the requester, with the chain of requesters in front. The factory stays usable.
    fn build(factory: &mut Factory) -> Result<Self>;

    /// Initializes: binds listeners, opens files, recovers state. Keep the results in a [`SetOnce`](crate::SetOnce).
    ///
    /// # Order
    /// All dependencies are prepared. Independent daemons prepare concurrently. Afterwards it must answer calls; calls that
    /// need its `run` loop may wait.
    ///
    /// The scope is that of the first `run`: a task that is spawned here ends with that run, when a policy or a request
    /// restarts the daemon, and nobody spawns it again. What each run needs belongs into `run`. A child that depends on this
    /// daemon starts after `prepare` has returned: awaiting its start here is an error, letting a task await it is not.
    ///
    /// # Cancellation
    /// Dropped at the prepare deadline, and when the factory is told to stop or another daemon fails first. `stop` is
    /// then not called.
    ///
    /// # Errors
    /// The start fails, and the prepared daemons are stopped in reverse order.
    fn prepare(&self, scope: &Scope) -> impl Future<Output = Result> + Send {
        let _ = scope;
        async { Ok(()) }
    }

    /// The main loop: works until told to stop.
    ///
    /// # Order
    /// Every daemon of the factory is prepared. Returning `Ok` early is fine: by default the daemon has finished, and can
    /// still be called; [`OnFinish`](crate::OnFinish) says what else may happen. When all daemons of a factory have
    /// finished, and no task and no child of theirs is left, the factory stops.
    ///
    /// # Cancellation
    /// Dropped and reported at the stop deadline.
    ///
    /// # Errors
    /// The factory stops, unless the daemon's [`Policy`](crate::Policy) restarts it or leaves it down.
    fn run(self: &Arc<Self>, scope: &Scope) -> impl Future<Output = Result> + Send {
        async {
            scope.stopping().await;
            Ok(())
        }
    }

    /// Says how the daemon is: whether it can serve, and if not, why.
    ///
    /// # Order
    /// Asked from time to time while the daemon runs or has finished, as [`HealthChecks`](crate::HealthChecks) says, beside its
    /// `run` and its tasks; but only from when somebody has requested the health of the factory, by a
    /// [`HealthWatch`](crate::HealthWatch), until the factory stops. Never asked twice at a time.
    ///
    /// # Cancellation
    /// Dropped at its timeout, and when the daemon is told to stop. It delays nothing: a daemon that does not answer in time, or
    /// panics, is [unresponsive](Health::Unresponsive).
    fn health(&self) -> impl Future<Output = Health> + Send {
        std::future::ready(Health::Unchecked)
    }

    /// Stops taking new work and releases what `prepare` acquired.
    ///
    /// # Order
    /// Called once, after every daemon and child that depends on this one has ended, concurrently with a `run` that is told
    /// to stop. The daemon's tasks are awaited after both.
    ///
    /// # Cancellation
    /// Dropped and reported at the stop deadline; must leave nothing locked.
    ///
    /// # Errors
    /// Reported; the remaining daemons still stop.
    fn stop(&self, scope: &Scope) -> impl Future<Output = Result> + Send {
        let _ = scope;
        async { Ok(()) }
    }
}

/// A shared pointer to a daemon: call its methods directly.
///
/// `T` may be a trait object that the factory [binds](Factory::bind). Not `Clone`, so that copies are explicit: use
/// [`share`](DaemonRef::share). A ref that outlives its factory stays valid, and the report names it.
pub struct DaemonRef<T: ?Sized>(Arc<T>);

impl<T: ?Sized> DaemonRef<T> {
    /// Another handle to the same daemon.
    pub fn share(&self) -> DaemonRef<T> {
        DaemonRef(self.0.clone())
    }

    pub(crate) fn new(daemon: Arc<T>) -> Self {
        DaemonRef(daemon)
    }

    pub(crate) fn arc(&self) -> &Arc<T> {
        &self.0
    }
}

impl<T: ?Sized> Deref for DaemonRef<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T: ?Sized> fmt::Debug for DaemonRef<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DaemonRef<{}>", label::<T>())
    }
}
