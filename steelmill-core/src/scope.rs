//! What a running daemon is given: its stop signal, its tasks, its children.

mod accept;
mod guarded;

use std::future::Future;
use std::panic::Location;
use std::sync::{Arc, Weak};
use std::time::Duration;

use anyhow::anyhow;
use futures::FutureExt;
use tracing::Span;

use crate::cell::{Seat, Signal, Tasks};
use crate::daemon::Label;
use crate::factory::{Hub, Node, SlotId};
use crate::{Error, Factory, Origin, Owner, Result, Status, World};

pub(crate) use guarded::{Ending, Guarded, Outcome};

/// What a daemon is given to run with. Cheap to clone; its tasks take clones along.
///
/// A scope keeps no daemon alive: a daemon may hold its own.
///
/// A task that waits with [`until_stopping`](Scope::until_stopping) again and again should have a clone of its own. The
/// first task to wait on one keeps its place among those to be told; from then on its waits take no lock, allocate
/// nothing and write nothing that is shared. Other tasks that wait on the same clone take a place each time.
pub struct Scope {
    leash: Arc<Leash>,
    seat: Seat,
}

impl Clone for Scope {
    fn clone(&self) -> Self {
        Scope::new(self.leash.clone())
    }
}

impl Scope {
    pub(crate) fn new(leash: Arc<Leash>) -> Self {
        Scope { leash, seat: Seat::default() }
    }

    /// Resolves when the daemon is told to stop.
    ///
    /// # Cancellation
    /// Dropping the future changes nothing; a later call resolves all the same.
    pub fn stopping(&self) -> impl Future<Output = ()> + Send {
        self.until_stopping(std::future::pending::<()>()).map(drop)
    }

    /// Whether the daemon has been told to stop.
    pub fn is_stopping(&self) -> bool {
        self.leash.stopping.is_raised()
    }

    /// Waits for `future`; `None` when the daemon is told to stop first.
    ///
    /// When it has been told already, `future` is not polled at all, so that a loop ends however much there is to do.
    /// When both happen at once, `future` wins, so that nothing it has done is lost.
    ///
    /// # Cancellation
    /// `future` is dropped when the daemon is told to stop, and when this one is dropped.
    ///
    /// # Example
    /// ```
    /// # use std::time::Duration;
    /// # use steelmill_core::{Clock, Result, Scope};
    /// async fn heartbeats(clock: &impl Clock, scope: &Scope) -> Result {
    ///     let mut beat = clock.interval(Duration::from_secs(1));
    ///     while let Some(_due) = scope.until_stopping(beat.tick()).await {
    ///         // send one
    ///     }
    ///     Ok(())
    /// }
    /// ```
    pub fn until_stopping<F: Future + Send>(
        &self,
        future: F,
    ) -> impl Future<Output = Option<F::Output>> + Send {
        self.leash.stopping.or(&self.seat, future)
    }

    /// Starts a task that belongs to the daemon: awaited when the daemon stops, and aborted and named at the deadline.
    ///
    /// A task that fails or panics is logged and reported; the daemon goes on. Once the daemon has ended, or its tasks
    /// have been aborted, a new one is refused: it is dropped, and the log says so.
    ///
    /// There is no blocking variant: a thread cannot be aborted, and the sim has none. Code that blocks runs where the
    /// application puts it (in the runtime world, tokio's `spawn_blocking`), and a task here awaits it. At the deadline
    /// that task is aborted and named; the thread goes on unawaited, and when it holds a ref to a daemon the report
    /// says that the daemon is kept.
    ///
    /// # Cancellation
    /// An aborted task is dropped where it waits.
    #[track_caller]
    pub fn spawn<F>(&self, name: &'static str, future: F)
    where
        F: Future<Output: TaskOutput> + Send + 'static,
    {
        if !self.leash.tasks.admit(name) {
            let (factory, daemon) = (self.path(), self.daemon());
            tracing::warn!(factory, daemon, task = name, "refused a task: its daemon has ended");
            return;
        }
        let span = tracing::info_span!(parent: &self.leash.span, "task", name);
        // Not an async block: that would hold the future twice, before and after its first poll.
        let work = future.map(|output| Some(output.into_result()));
        let task = Guarded::new(work, span, Ending::task(self.leash.clone(), name));
        self.leash.hub.driver.spawn(self.leash.origin(Location::caller()), name, Box::pin(task));
    }

    /// A child factory: a lifetime inside this one. It shares this factory's daemons and stops before this daemon
    /// does, and before every daemon it shares.
    ///
    /// # Errors
    /// When this factory is stopping or has ended; when factories are nested more than
    /// [`DEPTH_MAX`](crate::DEPTH_MAX) deep.
    pub fn child(&self, name: &str) -> Result<Factory> {
        Factory::child(name, self.parent(name)?, Some(self.leash.slot))
    }

    /// A child factory in a place of its own: with its own clock, network, entropy and tasks.
    ///
    /// # Errors
    /// As [`child`](Scope::child).
    pub fn child_in<W: World>(&self, name: &str, world: W) -> Result<Factory> {
        Factory::child_in(name, self.parent(name)?, Some(self.leash.slot), world)
    }

    /// Asks the whole factory to stop. Returns at once; this daemon's turn comes when nothing depends on it any more.
    pub fn request_stop(&self) {
        self.leash.hub.request_stop();
    }

    /// How the factory, its daemons and its children stand; see [`RunningFactory::status`](crate::RunningFactory::status).
    pub fn status(&self) -> impl Future<Output = Option<Status>> + Send + 'static {
        self.leash.hub.status()
    }

    /// The path of the factory: `demo/lease-7`.
    pub fn path(&self) -> &str {
        &self.leash.hub.path
    }

    /// What the daemon is called: `Gateway`.
    pub fn daemon(&self) -> &str {
        &self.leash.label
    }

    pub(crate) fn span(&self) -> &Span {
        &self.leash.span
    }

    fn parent(&self, name: &str) -> Result<Arc<Node>> {
        let parent = self.leash.node.upgrade();
        parent.ok_or_else(|| anyhow!("{} has ended: {name} cannot be made in it", self.path()))
    }
}

impl std::fmt::Debug for Scope {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Scope({}: {})", self.path(), self.daemon())
    }
}

/// What a task may return: nothing, or a [`Result`] whose error is logged and reported.
#[diagnostic::on_unimplemented(
    message = "a task returns nothing or a `steelmill_core::Result`, not `{Self}`",
    label = "nobody takes what this task returns",
    note = "end it with `;`, or with `Ok(())` when it can fail; to hand something back, send it over a channel"
)]
pub trait TaskOutput: Send + 'static {
    /// The error to report, if there is one.
    fn into_result(self) -> Result;
}

impl TaskOutput for () {
    fn into_result(self) -> Result {
        Ok(())
    }
}

impl TaskOutput for Result<(), Error> {
    fn into_result(self) -> Result {
        self
    }
}

/// What the supervisor and everything that runs for one daemon share.
pub(crate) struct Leash {
    pub(crate) hub: Arc<Hub>,
    node: Weak<Node>,
    pub(crate) slot: SlotId,
    /// How many scopes the daemon had before this one.
    pub(crate) life: u32,
    pub(crate) label: Label,
    owner: Arc<Owner>,
    pub(crate) span: Span,
    /// The daemon is told to stop.
    pub(crate) stopping: Signal,
    /// Whatever still runs for the daemon is dropped.
    pub(crate) killed: Signal,
    pub(crate) tasks: Tasks,
}

impl Leash {
    pub(crate) fn new(node: &Arc<Node>, slot: SlotId, label: Label, life: u32) -> Self {
        Leash {
            hub: node.hub.clone(),
            node: Arc::downgrade(node),
            slot,
            life,
            owner: Owner::new(node.hub.path.clone(), Some(label.clone())),
            span: tracing::info_span!(parent: None, "daemon", factory = &*node.hub.path, daemon = &*label),
            label,
            stopping: Signal::default(),
            killed: Signal::default(),
            tasks: Tasks::default(),
        }
    }

    /// Tells the world which tasks of this daemon are about to be aborted.
    pub(crate) fn overstayed(&self, task: &'static str, limit: Duration) {
        self.hub.driver.overstayed(&self.owner, task, limit);
    }

    /// That of a task of this daemon.
    pub(crate) fn origin(&self, place: &'static Location<'static>) -> Origin<'_> {
        Origin { owner: &self.owner, place }
    }
}
