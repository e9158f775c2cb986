//! The keyed hasher of all maps with keys that clients choose.
//!
//! Keyed, because clients could otherwise choose keys that collide. The key is drawn from the world's entropy, so that
//! in the sim the iteration order of a map repeats with the seed; std's random keys would not.

use std::hash::{BuildHasher, DefaultHasher, Hasher};

use rand::Rng as _;

use crate::world::Entropy;

/// The number of shards of a concurrent map. Fixed, because the default depends on the number of CPUs, and iteration
/// order on the shards.
pub const SHARDS: usize = 32;

/// SipHash with a random key.
#[derive(Debug, Clone)]
pub struct Keyed([u64; 2]);

impl Keyed {
    pub fn draw(entropy: &Entropy) -> Self {
        let mut rng = entropy.rng();
        Self([rng.next_u64(), rng.next_u64()])
    }
}

impl BuildHasher for Keyed {
    type Hasher = DefaultHasher;

    fn build_hasher(&self) -> DefaultHasher {
        let mut hasher = DefaultHasher::new();
        hasher.write_u64(self.0[0]);
        hasher.write_u64(self.0[1]);
        hasher
    }
}

#[cfg(test)]
impl Keyed {
    /// A hasher with a fixed key, for tests.
    pub fn fixed() -> Self {
        Self([1, 2])
    }
}
