//! A world: who supplies clock, network, entropy and task spawning.
//!
//! Libraries are generic over it and then run in both worlds, side by side in one binary if need be; applications
//! name one world's types directly.

use crate::{Clock, Entropy, Network, Spawn};

/// Gathers the types of one world. A value of it stands for one place in that world: in the sim, a machine.
///
/// [`Factory::root`](crate::Factory::root) takes one and hands its four parts out as daemons.
pub trait World: Clone + Send + Sync + 'static {
    /// The world's time.
    type Clock: Clock;
    /// The world's network.
    type Network: Network;
    /// The world's randomness.
    type Entropy: Entropy;
    /// The world's tasks.
    type Spawner: Spawn;

    /// The clock of this place.
    fn clock(&self) -> Self::Clock;
    /// The network as seen from this place.
    fn network(&self) -> Self::Network;
    /// The randomness of this place.
    fn entropy(&self) -> Self::Entropy;
    /// Spawns tasks that live at this place.
    fn spawner(&self) -> Self::Spawner;
}
