//! The runtime world, gathered.

use steelmill_core::World;

use crate::{Clock, Entropy, Network, Spawner};

/// The real world, as one process on one host sees it. All its parts are zero-sized: a call through them is a call of
/// the standard library or of tokio.
///
/// Use it inside a tokio runtime with I/O and time enabled; [`run`](crate::run) brings one.
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
