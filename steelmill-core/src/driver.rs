//! A world with its types erased, for the lifecycle.
//!
//! A factory is not generic over its world, so its timers and tasks go through this object. Daemons call their world's
//! types directly.

use std::future::Future;
use std::panic::Location;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use futures::future::BoxFuture;

use rand_core::Rng as _;

use crate::{Clock, Entropy, Health, Milestone, Origin, Owner, Spawn, State, Supervision, World};

/// What the lifecycle needs of a world.
pub(crate) trait Driver: Send + Sync {
    fn now(&self) -> Instant;

    fn sleep_until(&self, deadline: Instant) -> BoxFuture<'static, ()>;

    /// A uniformly random `u64`, used for jitter.
    fn draw(&self) -> u64;

    /// Polls the supervisor of a factory until it has ended.
    fn supervise(&self, factory: &Arc<str>, place: &'static Location<'static>, supervision: Supervision);

    /// Spawns a detached task. (`Guarded` is how such a task is aborted.)
    fn spawn(&self, origin: Origin<'_>, name: &'static str, future: BoxFuture<'static, ()>);

    /// Whether a task may be spawned by `tokio::spawn` instead.
    fn is_tokio(&self) -> bool;

    /// Notifies the world of a milestone.
    fn reached(&self, factory: &str, milestone: Milestone);

    /// Notifies the world of a new state of a daemon, or of the factory.
    fn changed(&self, factory: &str, daemon: Option<&str>, state: State);

    /// Notifies the world of another health of a daemon.
    fn health_changed(&self, factory: &str, daemon: &str, health: &Health);

    /// Notifies the world of a factory's readiness.
    fn readiness_changed(&self, factory: &str, is_ready: bool, is_live: bool, problems: &[String]);

    /// Notifies the world of tasks that are about to be aborted at a deadline.
    fn deadline_exceeded(&self, owner: &Arc<Owner>, task: &'static str, limit: Duration);
}

/// The driver of a world.
pub(crate) struct WorldDriver<W: World> {
    clock: Arc<W::Clock>,
    entropy: W::Entropy,
    spawner: W::Spawner,
}

impl<W: World> WorldDriver<W> {
    pub(crate) fn new(world: &W) -> Self {
        WorldDriver { clock: Arc::new(world.clock()), entropy: world.entropy(), spawner: world.spawner() }
    }
}

impl<W: World> Driver for WorldDriver<W> {
    fn now(&self) -> Instant {
        self.clock.now()
    }

    fn sleep_until(&self, deadline: Instant) -> BoxFuture<'static, ()> {
        Box::pin(self.clock.sleep_until(deadline))
    }

    fn draw(&self) -> u64 {
        self.entropy.rng().next_u64()
    }

    fn supervise(&self, factory: &Arc<str>, place: &'static Location<'static>, supervision: Supervision) {
        if let Err(supervision) = self.spawner.supervise(supervision) {
            let owner = Owner::new(factory.clone(), None);
            let origin = Origin { owner: &owner, place };
            let supervisor = Supervising { supervision, clock: self.clock.clone(), timer: None };
            drop(self.spawner.spawn_for(origin, "supervisor", supervisor));
        }
    }

    fn spawn(&self, origin: Origin<'_>, name: &'static str, future: BoxFuture<'static, ()>) {
        drop(self.spawner.spawn_for(origin, name, future));
    }

    fn is_tokio(&self) -> bool {
        self.spawner.is_tokio()
    }

    fn reached(&self, factory: &str, milestone: Milestone) {
        self.spawner.reached(factory, milestone);
    }

    fn changed(&self, factory: &str, daemon: Option<&str>, state: State) {
        self.spawner.changed(factory, daemon, state);
    }

    fn health_changed(&self, factory: &str, daemon: &str, health: &Health) {
        self.spawner.health_changed(factory, daemon, health);
    }

    fn readiness_changed(&self, factory: &str, is_ready: bool, is_live: bool, problems: &[String]) {
        self.spawner.readiness_changed(factory, is_ready, is_live, problems);
    }

    fn deadline_exceeded(&self, owner: &Arc<Owner>, task: &'static str, limit: Duration) {
        self.spawner.deadline_exceeded(owner, task, limit);
    }
}

/// Polls a supervisor in a task, for a world that has no other means.
struct Supervising<C> {
    supervision: Supervision,
    clock: Arc<C>,
    timer: Option<(Instant, BoxFuture<'static, ()>)>,
}

impl<C: Clock> Future for Supervising<C> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let Supervising { supervision, clock, timer } = self.get_mut();
        loop {
            let polled = supervision.poll(context);
            let mut has_run = false;
            while let Some(code) = supervision.user_code() {
                code.run();
                has_run = true;
            }
            if polled.is_ready() {
                return Poll::Ready(());
            }
            if has_run {
                continue;
            }
            let Some(wake_at) = supervision.wake_at() else {
                *timer = None;
                return Poll::Pending;
            };
            let (_, sleep) = match timer {
                Some(timer) if timer.0 == wake_at => timer,
                _ => timer.insert((wake_at, Box::pin(clock.sleep_until(wake_at)))),
            };
            std::task::ready!(sleep.as_mut().poll(context));
            *timer = None;
        }
    }
}
