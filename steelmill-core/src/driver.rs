//! What the lifecycle needs of a world, with the world's types erased.
//!
//! A factory is not generic over its world, so its own waits and tasks go through this one object. Daemons never do:
//! they call their world's types directly.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::BoxFuture;

use rand_core::Rng as _;

use crate::{Clock, Entropy, Milestone, Origin, Owner, Spawn, State, World};

/// A world as the lifecycle sees it.
pub(crate) trait Driver: Send + Sync {
    fn now(&self) -> Instant;

    fn sleep_until(&self, deadline: Instant) -> BoxFuture<'static, ()>;

    /// Any number.
    fn draw(&self) -> u64;

    /// Starts a task nobody holds a handle to; see `Guarded` for how such a task is aborted.
    fn spawn(&self, origin: Origin<'_>, name: &'static str, future: BoxFuture<'static, ()>);

    /// Tells the world what a factory has come to.
    fn reached(&self, factory: &str, milestone: Milestone);

    /// Tells the world what a daemon, or the factory, does from now on.
    fn changed(&self, factory: &str, daemon: Option<&str>, state: State);

    /// Tells the world which tasks are about to be aborted, because their time is up.
    fn overstayed(&self, owner: &Arc<Owner>, task: &'static str, limit: Duration);
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

    fn overstayed(&self, owner: &Arc<Owner>, task: &'static str, limit: Duration) {
        self.spawner.overstayed(owner, task, limit);
    }
}
