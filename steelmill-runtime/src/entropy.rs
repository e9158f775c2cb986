//! The operating system's randomness, by way of `rand`'s thread-local generator.

use std::convert::Infallible;

use rand::Rng as _;
use rand::rand_core::{TryCryptoRng, TryRng};
use steelmill_core::{Daemon, Factory, Result};

/// Cryptographically strong random numbers.
#[derive(Debug, Clone, Copy, Default)]
pub struct Entropy;

impl Entropy {
    /// A handle to the generator.
    pub fn rng(&self) -> Rng {
        Rng(())
    }
}

impl Daemon for Entropy {
    fn build(_: &mut Factory) -> Result<Self> {
        Ok(Entropy)
    }
}

impl steelmill_core::Entropy for Entropy {
    type Rng = Rng;

    fn rng(&self) -> Rng {
        self.rng()
    }
}

/// Draws from the generator of whatever thread it is on: [`rand::rngs::ThreadRng`] is seeded by the operating system
/// and reseeds itself, but is bound to its thread, and a task is not.
#[derive(Debug)]
pub struct Rng(());

impl TryRng for Rng {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        Ok(rand::rng().next_u32())
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        Ok(rand::rng().next_u64())
    }

    fn try_fill_bytes(&mut self, buffer: &mut [u8]) -> Result<(), Infallible> {
        rand::rng().fill_bytes(buffer);
        Ok(())
    }
}

impl TryCryptoRng for Rng {}
