//! Small sets, compared and hashed by the million.

/// A set of numbers that is mostly filled from the start.
#[derive(Clone, PartialEq, Eq, Hash, Default)]
pub(super) struct Bits {
    /// So many words are full.
    full: usize,
    /// The words after them, up to the last that is not empty.
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

    /// A number such that all smaller ones are in the set.
    pub(super) fn first_absent(&self) -> usize {
        64 * self.full + self.word(self.full).trailing_ones() as usize
    }

    /// What is in this set and not in the other.
    pub(super) fn minus<'a>(&'a self, other: &'a Self) -> impl Iterator<Item = usize> {
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
