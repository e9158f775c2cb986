//! The hasher of every map here whose keys clients choose.
//!
//! Keyed, or a client could pick keys that all collide; keyed from the world's entropy, so that in the sim a map's order
//! repeats with the seed, which std's own random keys would not.

use std::hash::{BuildHasher, DefaultHasher, Hasher};

use rand::Rng as _;

use crate::world::Entropy;

/// How many shards a concurrent map has: fixed, because the default follows the number of CPUs and the order of
/// iteration follows the shards.
pub const SHARDS: usize = 32;

/// SipHash behind a secret prefix.
#[derive(Debug, Clone)]
pub struct Keyed([u64; 2]);

impl Keyed {
    /// A hasher with keys of its own.
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
    /// A hasher for tests of plain data.
    pub fn fixed() -> Self {
        Self([1, 2])
    }
}
