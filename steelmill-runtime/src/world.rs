//! `RuntimeWorld`: the clock, network, entropy and tasks of the runtime world.

use steelmill_core::World;

use crate::{Clock, Entropy, Network, Spawner};

/// The real world: the system's clock, network and entropy, and tokio's tasks. Its parts are zero-sized; each call is a
/// call of the standard library or of tokio.
///
/// Use it inside a tokio runtime with I/O and time enabled; [`run`](crate::run) creates one.
#[derive(Debug, Clone, Copy, Default)]
pub struct RuntimeWorld;

impl World for RuntimeWorld {
    type Clock = Clock;
    type Network = Network;
    type Entropy = Entropy;
    type Spawner = Spawner;

    fn clock(&self) -> Clock {
        Clock
    }

    fn network(&self) -> Network {
        Network
    }

    fn entropy(&self) -> Entropy {
        Entropy
    }

    fn spawner(&self) -> Spawner {
        Spawner
    }
}
