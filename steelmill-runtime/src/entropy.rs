//! Random numbers from `rand`'s thread-local generator, which the operating system seeds.

use std::convert::Infallible;

use rand::Rng as _;
use rand::rand_core::{TryCryptoRng, TryRng};
use steelmill_core::{Daemon, Factory, Result};

/// Cryptographically strong random numbers.
#[derive(Debug, Clone, Copy, Default)]
pub struct Entropy;

impl Entropy {
    /// A random number generator.
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

/// A random number generator that may move between threads: each draw uses the current thread's
/// [`rand::rngs::ThreadRng`], which reseeds itself but is not `Send`.
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
