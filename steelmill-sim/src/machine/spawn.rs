//! Tasks of a machine.

use std::future::Future;
use std::marker::PhantomData;
use std::panic::Location;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use pin_project_lite::pin_project;
use steelmill_core::{Daemon, Factory, Milestone, Origin, Owner, Result, State, TaskError};

use crate::kernel::tasks::{Output, TaskFuture, WaitsFor};
use crate::kernel::waiter::Waiter;
use crate::machine::cluster::{self, RunId};
use crate::machine::overstays;
use crate::machine::world::Process;
use crate::schema::task::TaskKey;
use crate::schema::trace::StateChange;

/// Spawns tasks that live on a machine and end with it.
#[derive(Debug, Clone, Copy)]
pub struct Spawner(pub(crate) Process);

/// A handle to a task. A panic that no handle tells of fails the run.
#[derive(Debug)]
pub struct Task<T> {
    run: RunId,
    /// `None` where the task was never started.
    key: Option<TaskKey>,
    output: PhantomData<fn() -> T>,
}

impl Spawner {
    /// Starts a task. On a machine that has gone it never runs, and its handle says that it was aborted.
    #[track_caller]
    pub fn spawn<F>(&self, name: &'static str, future: F) -> Task<F::Output>
    where
        F: Future<Output: Send + 'static> + Send + 'static,
    {
        spawn_at(self.0, None, name, Location::caller(), future)
    }
}

pin_project! {
    /// A future whose output is boxed, whatever its type; that of a task without one takes no memory.
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

/// Starts a task at a place; the future need not be `Send`, as a run never leaves its thread.
pub(crate) fn spawn_at<F>(
    place: Process,
    owner: Option<&Arc<Owner>>,
    name: &'static str,
    spawned_at: &'static Location<'static>,
    future: F,
) -> Task<F::Output>
where
    F: Future<Output: Send + 'static> + 'static,
{
    let future: TaskFuture = Box::pin(Boxed { future });
    // A future that is refused comes back, to be dropped where the run's state is not borrowed.
    let mut future = Some(future);
    let key = cluster::try_with(place.run, |run| {
        if !run.is_alive(place.machine, place.incarnation) {
            return None;
        }
        future.take().map(|future| run.kernel.spawn(place.machine, owner, name, spawned_at, future))
    });
    Task { run: place.run, key: key.flatten(), output: PhantomData }
}

impl<T> Task<T> {
    /// Ends the task at its next suspension point.
    pub fn abort(&self) {
        if let Some(key) = self.key {
            // The future is dropped here, where the run's state is not borrowed.
            drop(cluster::try_with(self.run, |run| run.kernel.abort(key)));
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
            drop(cluster::try_with(self.run, |run| run.kernel.detach(key)));
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
                run.reached(machine, factory, milestone);
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

    fn deadline_exceeded(&self, owner: &Arc<Owner>, task: &'static str, limit: Duration) {
        overstays::overstayed(self.0, owner, task, limit);
    }
}
