//! Compact bit set; the checker compares and hashes millions of them.

/// A set of numbers that is mostly contiguous from 0.
#[derive(Clone, PartialEq, Eq, Hash, Default)]
pub(super) struct Bits {
    /// The number of leading words with all bits set.
    full: usize,
    /// The words after those, up to the last non-zero one.
    rest: Vec<u64>,
}

impl Bits {
    pub(super) fn insert(&mut self, bit: usize) {
        let word = bit / 64 - self.full;
        if self.rest.len() <= word {
            self.rest.resize(word + 1, 0);
        }
        self.rest[word] |= 1 << (bit % 64);
        while self.rest.first() == Some(&u64::MAX) {
            self.rest.remove(0);
            self.full += 1;
        }
    }

    pub(super) fn contains(&self, bit: usize) -> bool {
        self.word(bit / 64) >> (bit % 64) & 1 == 1
    }

    /// The smallest number that is not in the set.
    pub(super) fn first_absent(&self) -> usize {
        64 * self.full + self.word(self.full).trailing_ones() as usize
    }

    pub(super) fn difference<'a>(&'a self, other: &'a Self) -> impl Iterator<Item = usize> {
        (0..self.full + self.rest.len()).flat_map(|word| {
            let mut bits = self.word(word) & !other.word(word);
            std::iter::from_fn(move || {
                let bit = (bits != 0).then(|| bits.trailing_zeros() as usize)?;
                bits &= bits - 1;
                Some(64 * word + bit)
            })
        })
    }

    fn word(&self, word: usize) -> u64 {
        if word < self.full { u64::MAX } else { self.rest.get(word - self.full).copied().unwrap_or(0) }
    }
}
