//! Entropy of a machine: a random number generator per machine, keyed by the run's seed.

use std::convert::Infallible;

use rand_core::TryRng;
use steelmill_core::{Daemon, Factory, Result};

use crate::machine::cluster::{self, RunId};

/// A machine's source of random numbers. They are deterministic in the run's seed, and not cryptographically secure.
#[derive(Debug, Clone, Copy)]
pub struct Entropy {
    pub(crate) run: RunId,
    pub(crate) machine: u32,
}

impl Entropy {
    /// A handle to the machine's generator; all handles draw from one sequence.
    pub fn rng(&self) -> Rng {
        Rng(*self)
    }
}

/// A machine's random number generator.
#[derive(Debug, Clone, Copy)]
pub struct Rng(Entropy);

impl TryRng for Rng {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        self.try_next_u64().map(|word| (word >> 32) as u32)
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        Ok(cluster::with(self.0.run, |run| run.entropy(self.0.machine)))
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        cluster::with(self.0.run, |run| run.fill(self.0.machine, bytes));
        Ok(())
    }
}

impl Daemon for Entropy {
    fn build(factory: &mut Factory) -> Result<Self> {
        Err(crate::machine::world::needs_machine::<Self>(factory))
    }
}

impl steelmill_core::Entropy for Entropy {
    type Rng = Rng;

    fn rng(&self) -> Rng {
        self.rng()
    }
}
