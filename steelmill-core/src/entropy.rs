//! Randomness: from the operating system in the runtime world, from the seed in the sim.

use crate::Daemon;

/// A source of random numbers.
pub trait Entropy: Daemon {
    /// A generator; cryptographically strong in the runtime world. In the sim it is *not*: it repeats with the seed.
    type Rng: rand_core::Rng + Send + 'static;

    /// A handle to the generator. All handles draw from one sequence; making one is cheap.
    fn rng(&self) -> Self::Rng;
}
