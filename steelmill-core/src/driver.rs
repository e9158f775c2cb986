//! A world with its types erased, for the lifecycle.
//!
//! A factory is not generic over its world, so its timers and tasks go through this object. Daemons call their world's
//! types directly.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::BoxFuture;

use rand_core::Rng as _;

use crate::{Clock, Entropy, Milestone, Origin, Owner, Spawn, State, World};

/// What the lifecycle needs of a world.
pub(crate) trait Driver: Send + Sync {
    fn now(&self) -> Instant;

    fn sleep_until(&self, deadline: Instant) -> BoxFuture<'static, ()>;

    /// A uniformly random `u64`, used for jitter.
    fn draw(&self) -> u64;

    /// Spawns a detached task. (`Guarded` is how such a task is aborted.)
    fn spawn(&self, origin: Origin<'_>, name: &'static str, future: BoxFuture<'static, ()>);

    /// Notifies the world of a milestone.
    fn reached(&self, factory: &str, milestone: Milestone);

    /// Notifies the world of a new state of a daemon, or of the factory.
    fn changed(&self, factory: &str, daemon: Option<&str>, state: State);

    /// Notifies the world of tasks that are about to be aborted at a deadline.
    fn deadline_exceeded(&self, owner: &Arc<Owner>, task: &'static str, limit: Duration);
}

/// The driver of a world.
pub(crate) struct WorldDriver<W: World> {
    clock: W::Clock,
    entropy: W::Entropy,
    spawner: W::Spawner,
}

impl<W: World> WorldDriver<W> {
    pub(crate) fn new(world: &W) -> Self {
        WorldDriver { clock: world.clock(), entropy: world.entropy(), spawner: world.spawner() }
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

    fn spawn(&self, origin: Origin<'_>, name: &'static str, future: BoxFuture<'static, ()>) {
        drop(self.spawner.spawn_for(origin, name, future));
    }

    fn reached(&self, factory: &str, milestone: Milestone) {
        self.spawner.reached(factory, milestone);
    }

    fn changed(&self, factory: &str, daemon: Option<&str>, state: State) {
        self.spawner.changed(factory, daemon, state);
    }

    fn deadline_exceeded(&self, owner: &Arc<Owner>, task: &'static str, limit: Duration) {
        self.spawner.deadline_exceeded(owner, task, limit);
    }
}
