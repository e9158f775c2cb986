//! The run queue: the ready tasks, oldest first.

/// A ring buffer of task slots. Any can be taken; the oldest moves into the position of one taken from the middle.
pub(crate) struct RunQueue {
    /// Its length is a power of two, and `mask` one less.
    ring: Vec<u32>,
    mask: usize,
    first: usize,
    len: usize,
}

impl RunQueue {
    pub(crate) fn new() -> Self {
        Self { ring: vec![0; 16], mask: 15, first: 0, len: 0 }
    }

    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    #[inline]
    fn at(&self, place: usize) -> usize {
        (self.first + place) & self.mask
    }

    #[inline]
    pub(crate) fn push(&mut self, task: u32) {
        if self.len > self.mask {
            self.grow();
        }
        let at = self.at(self.len);
        self.ring[at] = task;
        self.len += 1;
    }

    #[cold]
    fn grow(&mut self) {
        self.ring.rotate_left(self.first);
        self.first = 0;
        self.ring.resize(2 * self.len, 0);
        self.mask = self.ring.len() - 1;
    }

    /// Takes the task at a position; 0 is the oldest.
    #[inline]
    pub(crate) fn take(&mut self, place: usize) -> u32 {
        debug_assert!(place < self.len, "there are {} ready tasks, not {place}", self.len);
        let at = self.at(place);
        let oldest = self.take_oldest();
        std::mem::replace(&mut self.ring[at], oldest)
    }

    #[inline]
    pub(crate) fn take_oldest(&mut self) -> u32 {
        let oldest = self.ring[self.first];
        self.first = self.at(1);
        self.len -= 1;
        oldest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_comes_first_across_many_rounds_and_sizes() {
        let mut ready = RunQueue::new();
        let (mut next, mut expected) = (0, 0);
        for round in 0..100 {
            for _ in 0..round {
                ready.push(next);
                next += 1;
            }
            for _ in 0..round / 2 {
                assert_eq!(ready.take(0), expected);
                expected += 1;
            }
        }
        assert_eq!(ready.len() as u32, next - expected);
        let left = (0..ready.len).map(|place| ready.ring[ready.at(place)]);
        assert!(left.eq(expected..next));
    }

    #[test]
    fn one_from_the_middle_is_taken_and_none_is_lost() {
        let mut ready = RunQueue::new();
        (0..5).for_each(|task| ready.push(task));
        let taken: Vec<u32> = [2, 3, 0, 1, 0].map(|place| ready.take(place)).into();
        let mut all = taken.clone();
        all.sort_unstable();
        assert_eq!((taken[0], all), (2, vec![0, 1, 2, 3, 4]));
    }
}
