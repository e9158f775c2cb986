//! Spawning tasks on a machine, and their handles: join, abort.

use std::future::Future;
use std::marker::PhantomData;
use std::panic::Location;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use pin_project_lite::pin_project;
use steelmill_core::{Daemon, Factory, Health, Milestone, Origin, Owner, Result, State, TaskError};

use crate::kernel::tasks::{Output, TaskFuture, WaitsFor};
use crate::kernel::waiter::Waiter;
use crate::machine::cluster::{self, RunId};
use crate::machine::panic_log;
use crate::machine::world::Process;
use crate::machine::{deadline_exceeded, panics};
use crate::schema::task::TaskKey;
use crate::schema::trace::{HealthChange, StateChange};

/// Spawns tasks on one incarnation of a machine. They are dropped when its process ends.
#[derive(Debug, Clone, Copy)]
pub struct Spawner(pub(crate) Process);

/// A handle to a task. A panic of the task fails the run, unless it is [allowed](crate::Sim::allow_failure).
#[derive(Debug)]
pub struct Task<T> {
    run: RunId,
    /// `None` if the task was refused.
    key: Option<TaskKey>,
    output: PhantomData<fn() -> T>,
}

impl Spawner {
    /// Spawns a task. If the process has ended, the task never runs and its handle returns [`TaskError::Aborted`].
    #[track_caller]
    pub fn spawn<F>(&self, name: &'static str, future: F) -> Task<F::Output>
    where
        F: Future<Output: Send + 'static> + Send + 'static,
    {
        spawn_at(self.0, None, name, Location::caller(), future)
    }
}

pin_project! {
    /// A future that boxes its output. An output of type `()` does not allocate.
    struct Boxed<F> {
        #[pin]
        future: F,
    }
}

impl<F: Future<Output: Send + 'static>> Future for Boxed<F> {
    type Output = Output;

    #[inline]
    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Output> {
        self.project().future.poll(context).map(|output| Box::new(output) as Output)
    }
}

/// Spawns a task in a process. The future need not be `Send`, as a run stays on its thread.
pub(crate) fn spawn_at<F>(
    process: Process,
    owner: Option<&Arc<Owner>>,
    name: &'static str,
    spawned_at: &'static Location<'static>,
    future: F,
) -> Task<F::Output>
where
    F: Future<Output: Send + 'static> + 'static,
{
    let future: TaskFuture = Box::pin(Boxed { future });
    // A refused future is dropped outside of the borrow of the run's state.
    let mut future = Some(future);
    let key = cluster::try_with(process.run, |run| {
        if !run.is_alive(process.machine, process.incarnation) {
            return None;
        }
        future.take().map(|future| run.kernel.spawn(process.machine, owner, name, spawned_at, future))
    });
    Task { run: process.run, key: key.flatten(), output: PhantomData }
}

impl<T> Task<T> {
    /// Ends the task at its next suspension point.
    pub fn abort(&self) {
        if let Some(key) = self.key {
            // The future is dropped here, where the run's state is not borrowed.
            let orphan = cluster::try_with(self.run, |run| run.kernel.abort(key));
            panics::drop_orphans(self.run, orphan.flatten());
        }
    }

    /// Whether the task has returned, panicked or been aborted.
    pub fn is_finished(&self) -> bool {
        self.key.is_none_or(|key| cluster::with(self.run, |run| run.kernel.tasks.is_finished(key)))
    }
}

impl<T: 'static> Future for Task<T> {
    type Output = Result<T, TaskError>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let Some(key) = self.key else {
            return Poll::Ready(Err(TaskError::Aborted));
        };
        let waiter = Waiter::of(context.waker());
        let end = cluster::with(self.run, |run| {
            run.kernel.tasks.join(key, waiter).map_err(|former| {
                run.kernel.discard(former);
                run.kernel.waits_for(WaitsFor::Task);
            })
        });
        match end {
            Err(()) => Poll::Pending,
            Ok(Err(error)) => Poll::Ready(Err(error)),
            Ok(Ok(output)) => Poll::Ready(Ok(*output.downcast().expect("the handle has its task's type"))),
        }
    }
}

impl<T> Drop for Task<T> {
    fn drop(&mut self) {
        if let Some(key) = self.key {
            panic_log::drop_caught(cluster::try_with(self.run, |run| run.kernel.detach(key)));
        }
    }
}

impl<T: Send + 'static> steelmill_core::Task<T> for Task<T> {
    fn abort(&self) {
        self.abort();
    }

    fn is_finished(&self) -> bool {
        self.is_finished()
    }
}

impl Daemon for Spawner {
    fn build(factory: &mut Factory) -> Result<Self> {
        Err(crate::machine::world::needs_machine::<Self>(factory))
    }
}

impl steelmill_core::Spawn for Spawner {
    type Task<T: Send + 'static> = Task<T>;

    #[track_caller]
    fn spawn<F>(&self, name: &'static str, future: F) -> Task<F::Output>
    where
        F: Future<Output: Send + 'static> + Send + 'static,
    {
        spawn_at(self.0, None, name, Location::caller(), future)
    }

    fn spawn_for<F>(&self, origin: Origin<'_>, name: &'static str, future: F) -> Task<F::Output>
    where
        F: Future<Output: Send + 'static> + Send + 'static,
    {
        spawn_at(self.0, Some(origin.owner), name, origin.place, future)
    }

    fn reached(&self, factory: &str, milestone: Milestone) {
        let Process { run, machine, incarnation } = self.0;
        cluster::try_with(run, |run| {
            if run.is_alive(machine, incarnation) {
                run.milestone_reached(machine, factory, milestone);
            }
        });
    }

    fn changed(&self, factory: &str, daemon: Option<&str>, state: State) {
        let Process { run, machine, incarnation } = self.0;
        cluster::try_with(run, |run| {
            if run.is_alive(machine, incarnation) {
                run.kernel.state_changed(|| StateChange {
                    machine,
                    factory: factory.to_owned(),
                    daemon: daemon.map(str::to_owned),
                    state,
                });
            }
        });
    }

    fn health_changed(&self, factory: &str, daemon: &str, health: &Health) {
        self.record_health(|machine| HealthChange {
            machine,
            factory: factory.to_owned(),
            daemon: Some(daemon.to_owned()),
            is_ready: health.is_ready(),
            is_live: health.is_live(),
            text: health.to_string(),
        });
    }

    fn readiness_changed(&self, factory: &str, is_ready: bool, is_live: bool, problems: &[String]) {
        self.record_health(|machine| HealthChange {
            machine,
            factory: factory.to_owned(),
            daemon: None,
            is_ready,
            is_live,
            text: readiness(factory, is_ready, is_live, problems),
        });
    }

    fn deadline_exceeded(&self, owner: &Arc<Owner>, task: &'static str, limit: Duration) {
        deadline_exceeded::record(self.0, owner, task, limit);
    }
}

impl Spawner {
    fn record_health(&self, change: impl FnOnce(u32) -> HealthChange) {
        let Process { run, machine, incarnation } = self.0;
        cluster::try_with(run, |run| {
            if run.is_alive(machine, incarnation) {
                run.kernel.health_changed(|| change(machine));
            }
        });
    }
}

/// The readiness of a factory in words, with what withholds it.
fn readiness(factory: &str, is_ready: bool, is_live: bool, problems: &[String]) -> String {
    let word = match (is_ready, is_live) {
        (true, _) => return "ready".to_owned(),
        (false, true) => "not ready",
        (false, false) => "not ready, not live",
    };
    let own = format!("{factory}: ");
    let problems: Vec<_> =
        problems.iter().map(|problem| problem.strip_prefix(&own).unwrap_or(problem)).collect();
    format!("{word}: {}", problems.join("; "))
}
