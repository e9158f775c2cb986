//! A world supplies clock, network, entropy and tasks.
//!
//! Libraries are generic over it and run in both worlds, even in one binary; applications may name one world's types.

use crate::{Clock, Entropy, Network, Spawn};

/// The types of one world. A value is one host in it: in the sim, a machine.
///
/// [`Factory::root`](crate::Factory::root) provides its four capabilities as daemons.
pub trait World: Clone + Send + Sync + 'static {
    /// The world's time.
    type Clock: Clock;
    /// The world's network.
    type Network: Network;
    /// The world's randomness.
    type Entropy: Entropy;
    /// The world's tasks.
    type Spawner: Spawn;

    /// The clock of this host.
    fn clock(&self) -> Self::Clock;
    /// The network as seen from this host.
    fn network(&self) -> Self::Network;
    /// The randomness of this host.
    fn entropy(&self) -> Self::Entropy;
    /// Spawns tasks on this host.
    fn spawner(&self) -> Self::Spawner;
}
