//! What a running daemon is given: its stop signal, its tasks, its children.

mod accept; // accepting connections until the stop
mod context; // the daemon and task that a log line is attributed to
mod asking; // a daemon asked for its health
mod guarded; // user code: panics caught, abortable, its end reported

use std::future::Future;
use std::panic::Location;
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use futures::FutureExt;
use tracing::Span;

use crate::cell::{ByName, CachedWaiter, Gate, Signal, Tasks};
use crate::control::{Control, Refusal, Refused, SlotId};
use crate::factory::Node;
use crate::label::Label;
use crate::{Changes, Error, Factory, HealthWatch, Origin, Owner, Result, Status, World};

pub(crate) use asking::{Asking, Question};
pub use context::LogContext;
pub(crate) use guarded::{Completion, Guarded};

/// The lifetime of one run of a daemon: its stop signal, its tasks, and the child factories it makes.
///
/// Cheap to clone. Clone it once per task that calls [`until_stopping`](Scope::until_stopping) in a loop: a task's first
/// wait on a clone registers the task, and its later waits take no lock, allocate nothing and write nothing shared. A clone
/// may move to another task. It remembers four tasks; more that wait on the same clone register each time.
///
/// A scope keeps no daemon alive, so a daemon may hold its own.
pub struct Scope {
    run_state: Arc<RunState>,
    cached: CachedWaiter,
}

impl Clone for Scope {
    fn clone(&self) -> Self {
        Scope::new(self.run_state.clone())
    }
}

impl Scope {
    pub(crate) fn new(run_state: Arc<RunState>) -> Self {
        Scope { run_state, cached: CachedWaiter::default() }
    }

    /// Waits until the daemon is told to stop.
    ///
    /// # Cancellation
    /// Dropping the future has no effect; a later call resolves as well.
    pub fn stopping(&self) -> impl Future<Output = ()> + Send {
        self.until_stopping(std::future::pending::<()>()).map(drop)
    }

    /// Whether the daemon has been told to stop.
    pub fn is_stopping(&self) -> bool {
        self.run_state.stopping.is_raised()
    }

    /// Waits until the factory [drains](Factory::drain): it will stop soon and should get no new work, but is to answer what
    /// comes. Resolves at the latest when the daemon is told to stop, also if the factory does not drain.
    ///
    /// # Cancellation
    /// Dropping the future has no effect; a later call resolves as well.
    pub async fn draining(&self) {
        let cached = CachedWaiter::default();
        let draining = self.run_state.control.draining().race(&cached, std::future::pending::<()>());
        self.until_stopping(draining).await;
    }

    /// Whether the factory drains, or the daemon has been told to stop.
    pub fn is_draining(&self) -> bool {
        self.run_state.control.is_draining() || self.is_stopping()
    }

    /// Waits for `future`, or returns `None` when the daemon is told to stop first. The usual accept or receive loop.
    ///
    /// If the daemon is stopping already, `future` is not polled, so that a loop ends even with work waiting. If both
    /// happen at once, `future` wins, so that no completed result is lost.
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
        self.run_state.stopping.race(&self.cached, future)
    }

    /// Spawns a task that belongs to this run of the daemon, which for `prepare` is the first. A restart ends it, a stop awaits it, and aborts and reports it at the deadline.
    ///
    /// An error or panic of the task is logged and reported; the daemon continues. After the daemon has ended or was
    /// aborted, a new task is dropped, with a warning in the log.
    ///
    /// There is no blocking variant: a thread cannot be aborted. Run blocking code where the application allows it (by
    /// tokio's `spawn_blocking`) and await it in a task. At the deadline that
    /// task is aborted; the thread continues, and a daemon to which it holds a ref is reported as retained.
    ///
    /// # Cancellation
    /// An aborted task is dropped at its current await.
    #[track_caller]
    pub fn spawn<F>(&self, name: &'static str, future: F)
    where
        F: Future<Output: TaskOutput> + Send + 'static,
    {
        if !self.run_state.tasks.admit(name) {
            let (factory, daemon) = (self.path(), self.daemon());
            tracing::warn!(factory, daemon, task = name, "refused a task: its daemon has ended");
            return;
        }
        // Before the span, which is made by a subscriber's code: if that panics, this ends the task that was admitted.
        let completion = Completion::task(self.run_state.clone(), name);
        let span = context::task_span(self.run_state.span(), name);
        let context = self.run_state.contexts.get_or_add(name, || self.run_state.task_context(name));
        // Not an async block: that would hold the future twice, before and after its first poll.
        let task = Guarded::new(future, context.clone(), Some(span), completion);
        let driver = &self.run_state.control.driver;
        if driver.is_tokio() {
            // With its type known: a poll through a box costs as much again as all that a scope adds.
            #[expect(clippy::disallowed_methods, reason = "the task belongs to this scope")]
            drop(tokio::spawn(task));
        } else {
            driver.spawn(self.run_state.origin(Location::caller()), name, Box::pin(task));
        }
    }

    /// A child factory: it shares this factory's daemons, and stops before this daemon and every daemon it shares. It starts
    /// after those that it shares are prepared. This daemon may start it in its own `prepare`, unless the child depends on it:
    /// then `run` starts it, or a task.
    ///
    /// # Errors
    /// When this factory is stopping or has ended; when factories are nested more than
    /// [`DEPTH_MAX`](crate::DEPTH_MAX) deep.
    pub fn child(&self, name: &str) -> Result<Factory> {
        Factory::child(name, self.parent(name)?, Some(self.run_state.slot))
    }

    /// A child factory in a world of its own: with its own clock, network, entropy and tasks.
    ///
    /// # Errors
    /// As [`child`](Scope::child).
    pub fn child_in<W: World>(&self, name: &str, world: W) -> Result<Factory> {
        Factory::child_in(name, self.parent(name)?, Some(self.run_state.slot), world)
    }

    /// Asks the whole factory to stop, and returns at once. This daemon stops after everything that depends on it.
    pub fn request_stop(&self) {
        self.run_state.control.request_stop();
    }

    /// The current state of the factory, its daemons and children; see
    /// [`RunningFactory::status`](crate::RunningFactory::status).
    pub fn status(&self) -> impl Future<Output = Option<Status>> + Send + 'static {
        self.run_state.control.status()
    }

    /// Subscribes to the health of the factory; see [`RunningFactory::health`](crate::RunningFactory::health).
    pub fn health(&self) -> HealthWatch {
        self.run_state.control.health()
    }

    /// Subscribes to the changes of the factory; see [`RunningFactory::changes`](crate::RunningFactory::changes).
    pub fn changes(&self) -> Changes {
        self.run_state.control.changes()
    }

    /// The path of the factory: `demo/lease-7`.
    pub fn path(&self) -> &str {
        &self.run_state.control.path
    }

    /// The daemon's name: `Gateway`, `Store[primary]`.
    pub fn daemon(&self) -> &str {
        &self.run_state.label
    }

    pub(crate) fn control(&self) -> &Arc<Control> {
        &self.run_state.control
    }

    /// What the log lines of the daemon's phases are attributed to.
    pub(crate) fn log_context(&self) -> Arc<LogContext> {
        self.run_state.context()
    }

    /// What the log lines of a task are attributed to.
    pub(crate) fn task_context(&self, task: &'static str) -> Arc<LogContext> {
        self.run_state.task_context(task)
    }

    fn parent(&self, name: &str) -> Result<Arc<Node>> {
        let parent = self.run_state.node.upgrade();
        let by = || self.run_state.control.path.clone();
        parent.ok_or_else(|| Refused { by: by(), why: Refusal::Ended(name.into()) }.into())
    }
}

impl std::fmt::Debug for Scope {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Scope({}: {})", self.path(), self.daemon())
    }
}

/// The output of a task: `()`, or a [`Result`] whose error is logged and reported.
#[diagnostic::on_unimplemented(
    message = "a task returns nothing or a `steelmill_core::Result`, not `{Self}`",
    label = "the task's output is dropped",
    note = "end it with `;`, or with `Ok(())` when it can fail; to hand something back, send it over a channel"
)]
pub trait TaskOutput: Send + 'static {
    /// The error to report, if any.
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

/// The state of one run of a daemon, shared by the supervisor, the daemon's scopes and its tasks.
pub(crate) struct RunState {
    pub(crate) control: Arc<Control>,
    node: Weak<Node>,
    pub(crate) slot: SlotId,
    /// How many runs of the daemon came before. Late events of an earlier one are ignored.
    pub(crate) incarnation: u32,
    pub(crate) label: Label,
    owner: Arc<Owner>,
    /// Shared by all runs, because cloning and dropping a span calls the subscriber; `None` where it is disabled.
    span: Option<Arc<Span>>,
    /// That of the phases.
    context: OnceLock<Arc<LogContext>>,
    /// Those of tasks, by their names.
    contexts: ByName<Arc<LogContext>>,
    /// The daemon is told to stop.
    pub(crate) stopping: Signal,
    /// The phases and tasks of the daemon are to be dropped.
    aborted: Signal,
    gate: Gate,
    pub(crate) tasks: Tasks,
}

impl RunState {
    /// Of the first run.
    pub(crate) fn new(node: &Arc<Node>, slot: SlotId, label: Label) -> Self {
        RunState {
            control: node.control.clone(),
            node: Arc::downgrade(node),
            slot,
            incarnation: 0,
            owner: Owner::new(node.control.path.clone(), Some(label.clone())),
            span: context::daemon_span(&node.control.path, &label).map(Arc::new),
            label,
            context: OnceLock::new(),
            contexts: ByName::default(),
            stopping: Signal::default(),
            aborted: Signal::default(),
            gate: Gate::default(),
            tasks: Tasks::default(),
        }
    }

    /// Of the next run.
    pub(crate) fn renewed(&self) -> Self {
        RunState {
            control: self.control.clone(),
            node: self.node.clone(),
            slot: self.slot,
            incarnation: self.incarnation + 1,
            owner: self.owner.clone(),
            span: self.span.clone(),
            label: self.label.clone(),
            context: OnceLock::new(),
            contexts: ByName::default(),
            stopping: Signal::default(),
            aborted: Signal::default(),
            gate: Gate::default(),
            tasks: Tasks::default(),
        }
    }

    fn span(&self) -> &Span {
        static DISABLED: Span = Span::none();
        self.span.as_deref().unwrap_or(&DISABLED)
    }

    /// Of its phases.
    fn context(&self) -> Arc<LogContext> {
        self.context.get_or_init(|| LogContext::new(self.owner.clone(), None)).clone()
    }

    fn task_context(&self, task: &'static str) -> Arc<LogContext> {
        LogContext::new(self.owner.clone(), Some(task))
    }

    /// Logs, attributed to the daemon.
    pub(crate) fn log(&self, log: impl FnOnce()) {
        let mut context = Some(self.context());
        if let Err(panic) = context::run_in(self.span(), &mut context, log) {
            std::panic::resume_unwind(panic);
        }
    }

    /// The daemon has ended. True if it has no tasks, and none will be admitted; otherwise the last one to end notifies
    /// the supervisor.
    pub(crate) fn close(&self) -> bool {
        // In this order: whoever hears of the end by the stop signal finds new tasks refused.
        let is_over = self.tasks.close();
        if !self.stopping.is_raised() {
            self.stopping.raise();
        }
        is_over
    }

    /// Has the phases and tasks of the daemon dropped.
    pub(crate) fn abort(&self) {
        // In this order: a task that is woken finds the gate closed.
        self.gate.close();
        self.aborted.raise();
    }

    /// Notifies the world of tasks that are about to be aborted.
    pub(crate) fn deadline_exceeded(&self, task: &'static str, limit: Duration) {
        self.control.driver.deadline_exceeded(&self.owner, task, limit);
    }

    /// The origin of a task of this daemon.
    pub(crate) fn origin(&self, place: &'static Location<'static>) -> Origin<'_> {
        Origin { owner: &self.owner, place }
    }
}
