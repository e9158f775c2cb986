//! Randomness: from the operating system in the runtime world, from the seed in the sim.

use crate::Daemon;

/// A source of random numbers.
pub trait Entropy: Daemon {
    /// A generator. Cryptographically secure in the runtime world; in the sim it is *not*, and repeats with the seed.
    type Rng: rand_core::Rng + Send + 'static;

    /// A handle to the generator. All handles share one sequence. Cheap.
    fn rng(&self) -> Self::Rng;
}
