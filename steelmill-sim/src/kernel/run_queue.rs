//! The run queue: the ready tasks, by speed.

/// The ready tasks of each speed. One is chosen by a number below [`chances`](RunQueue::chances), of which every task has as
/// many as its speed says: 1, 2, 4, ...; 0 always chooses the oldest task of all.
pub(crate) struct RunQueue {
    /// By the speed's logarithm.
    by_speed: Vec<Ring>,
    len: usize,
    chances: u64,
    arrivals: u64,
}

impl RunQueue {
    pub(crate) fn new(speeds: usize) -> Self {
        Self { by_speed: (0..speeds).map(|_| Ring::new()).collect(), len: 0, chances: 0, arrivals: 0 }
    }

    pub(crate) fn speeds(&self) -> usize {
        self.by_speed.len()
    }

    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    #[inline]
    pub(crate) fn chances(&self) -> u64 {
        self.chances
    }

    #[inline]
    pub(crate) fn push(&mut self, task: u32, speed: u8) {
        self.by_speed[usize::from(speed)].push(Ready { task, arrival: self.arrivals });
        self.arrivals += 1;
        self.len += 1;
        self.chances += 1 << speed;
    }

    #[inline]
    pub(crate) fn take(&mut self, chance: u64) -> u32 {
        debug_assert!(chance < self.chances, "there are {} chances, not {chance}", self.chances);
        if chance == 0 {
            return self.take_oldest();
        }
        let (mut speed, mut left) = (0, chance);
        while left >= self.by_speed[speed].chances(speed) {
            left -= self.by_speed[speed].chances(speed);
            speed += 1;
        }
        self.take_from(speed, (left >> speed) as usize)
    }

    #[inline]
    pub(crate) fn take_oldest(&mut self) -> u32 {
        let speed = if self.by_speed.len() == 1 { 0 } else { self.speed_of_oldest() };
        self.take_from(speed, 0)
    }

    fn speed_of_oldest(&self) -> usize {
        let arrival = |speed: &usize| self.by_speed[*speed].oldest().map(|ready| ready.arrival);
        let oldest = (0..self.by_speed.len()).filter(|speed| arrival(speed).is_some()).min_by_key(arrival);
        oldest.expect("a task is ready")
    }

    #[inline]
    fn take_from(&mut self, speed: usize, place: usize) -> u32 {
        self.len -= 1;
        self.chances -= 1 << speed;
        self.by_speed[speed].take(place).task
    }
}

#[derive(Debug, Clone, Copy, Default)]
struct Ready {
    task: u32,
    arrival: u64,
}

/// A ring buffer. Any element can be taken; the oldest moves into the position of one taken from the middle.
struct Ring {
    /// Its length is a power of two, and `mask` one less.
    ring: Vec<Ready>,
    mask: usize,
    first: usize,
    len: usize,
}

impl Ring {
    fn new() -> Self {
        Self { ring: vec![Ready::default(); 16], mask: 15, first: 0, len: 0 }
    }

    #[inline]
    fn chances(&self, speed: usize) -> u64 {
        (self.len as u64) << speed
    }

    #[inline]
    fn at(&self, place: usize) -> usize {
        (self.first + place) & self.mask
    }

    fn oldest(&self) -> Option<Ready> {
        (self.len > 0).then(|| self.ring[self.first])
    }

    #[inline]
    fn push(&mut self, ready: Ready) {
        if self.len > self.mask {
            self.grow();
        }
        let at = self.at(self.len);
        self.ring[at] = ready;
        self.len += 1;
    }

    #[cold]
    fn grow(&mut self) {
        self.ring.rotate_left(self.first);
        self.first = 0;
        self.ring.resize(2 * self.len, Ready::default());
        self.mask = self.ring.len() - 1;
    }

    /// Takes the element at a position; 0 is the oldest.
    #[inline]
    fn take(&mut self, place: usize) -> Ready {
        debug_assert!(place < self.len, "there are {} ready tasks, not {place}", self.len);
        let at = self.at(place);
        let oldest = self.ring[self.first];
        self.first = self.at(1);
        self.len -= 1;
        std::mem::replace(&mut self.ring[at], oldest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_comes_first_across_many_rounds_sizes_and_speeds() {
        let mut ready = RunQueue::new(3);
        let (mut next, mut expected) = (0, 0);
        for round in 0..100 {
            for _ in 0..round {
                ready.push(next, (next % 3) as u8);
                next += 1;
            }
            for _ in 0..round / 2 {
                assert_eq!(ready.take(0), expected);
                expected += 1;
            }
        }
        let left: Vec<u32> = (0..ready.len()).map(|_| ready.take_oldest()).collect();
        assert!(left.into_iter().eq(expected..next));
        assert_eq!((ready.len(), ready.chances()), (0, 0));
    }

    #[test]
    fn one_from_the_middle_is_taken_and_none_is_lost() {
        let mut ready = RunQueue::new(1);
        (0..5).for_each(|task| ready.push(task, 0));
        let taken: Vec<u32> = [2, 3, 0, 1, 0].map(|chance| ready.take(chance)).into();
        let mut all = taken.clone();
        all.sort_unstable();
        assert_eq!((taken[0], all), (2, vec![0, 1, 2, 3, 4]));
    }

    #[test]
    fn a_task_has_as_many_chances_as_its_speed_says() {
        let speeds = [0, 2, 1, 2];
        let ready = || {
            let mut ready = RunQueue::new(3);
            (0..).zip(speeds).for_each(|(task, speed)| ready.push(task, speed));
            ready
        };
        assert_eq!(ready().chances(), 1 + 4 + 2 + 4);
        let mut chances = [0; 4];
        (0..ready().chances()).for_each(|chance| chances[ready().take(chance) as usize] += 1);
        assert_eq!(chances, [1, 4, 2, 4]);
    }
}
