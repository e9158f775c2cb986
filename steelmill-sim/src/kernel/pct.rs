//! Tasks in the order of their priorities: see [`Schedule::Pct`](crate::Schedule::Pct).
//!
//! Every number is drawn from the schedule's stream, so a run is replayed from its decisions; past the list's end the
//! draws are 0, which makes all priorities equal, of which the oldest ready task goes first, and no change of them.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::schema::task::TaskKey;

/// How often a task may be polled while no time passes before it has to let all others go first.
const PATIENCE: u32 = 100;

/// The shortest round, and how many lengths there are, each twice the one before.
const ROUND_MIN: u64 = 16;
const ROUNDS: u64 = 9;

/// Priorities are drawn below this: so many that two tasks seldom share one.
const PRIORITIES: u64 = 1 << 32;

/// Higher goes first. Drawn ones lie above [`FALLEN`]; then, the later the lower, those of tasks that spin.
type Priority = u64;

/// Where a change point puts a task: above this, as far as its number says.
const FALLEN: Priority = 1 << 40;
const DRAWN: Priority = 1 << 41;

pub(crate) struct Pct {
    depth: u32,
    /// After how many choices all is drawn anew; 0 before the first round.
    round: u64,
    /// How many choices there have been in this round. Only where two tasks are ready is there one.
    choices: u64,
    /// At which choices of the round the task whose turn it is falls.
    points: Vec<u64>,
    tasks: Vec<Ranked>,
    ready: BinaryHeap<(Priority, Reverse<u64>, u32)>,
    /// How many have become ready: the older goes first where priorities are equal.
    arrivals: u64,
    /// The priority of the last task that was found spinning.
    lowest: Priority,
}

/// What is known of the task in a place of the run's table.
#[derive(Clone, Copy)]
struct Ranked {
    key: TaskKey,
    priority: Priority,
    /// The moment of its last poll, and how many it has had in that moment.
    instant: u64,
    polls: u32,
}

/// A number below the one it is given.
pub(crate) type Draw<'a> = &'a mut dyn FnMut(u64) -> u64;

impl Pct {
    pub(crate) fn new(depth: u32) -> Self {
        Self {
            depth,
            round: 0,
            choices: 0,
            points: Vec::new(),
            tasks: Vec::new(),
            ready: BinaryHeap::new(),
            arrivals: 0,
            lowest: FALLEN,
        }
    }

    /// The ready tasks, in no order.
    pub(crate) fn ready(&self) -> impl Iterator<Item = u32> + '_ {
        self.ready.iter().map(|(.., index)| *index)
    }

    /// A task has become ready.
    pub(crate) fn push(&mut self, key: TaskKey, draw: Draw<'_>) {
        let index = key.index();
        if self.tasks.len() <= index {
            let none = Ranked { key: TaskKey::NONE, priority: 0, instant: 0, polls: 0 };
            self.tasks.resize(index + 1, none);
        }
        if self.tasks[index].key != key {
            self.tasks[index] = Ranked { key, priority: DRAWN + draw(PRIORITIES), instant: 0, polls: 0 };
        }
        let arrival = self.arrivals;
        self.arrivals += 1;
        self.ready.push((self.tasks[index].priority, Reverse(arrival), index as u32));
    }

    /// Takes the task that runs next, at the moment called `instant`.
    pub(crate) fn pick(&mut self, instant: u64, draw: Draw<'_>) -> Option<u32> {
        if self.ready.len() > 1 {
            self.choose(draw);
        }
        loop {
            let (_, _, index) = self.ready.pop()?;
            let task = &mut self.tasks[index as usize];
            if task.instant != instant {
                (task.instant, task.polls) = (instant, 0);
            }
            if task.polls < PATIENCE || self.ready.is_empty() {
                task.polls += 1;
                return Some(index);
            }
            task.polls = 0;
            self.lowest -= 1;
            let lowest = self.lowest;
            self.put_back(index, lowest);
        }
    }

    /// Several tasks are ready: a new round begins, or the first of them falls, where that is due.
    fn choose(&mut self, draw: Draw<'_>) {
        if self.choices == self.round {
            self.begin_round(draw);
        }
        self.choices += 1;
        for number in 0..self.points.len() {
            if self.points[number] == self.choices
                && let Some((_, _, index)) = self.ready.pop()
            {
                self.put_back(index, FALLEN + number as u64);
            }
        }
    }

    fn begin_round(&mut self, draw: Draw<'_>) {
        let is_first = self.round == 0;
        self.round = ROUND_MIN << draw(ROUNDS);
        self.choices = 0;
        // 0 is never reached: what a replay gives past its list changes nothing.
        self.points = (1..self.depth).map(|_| draw(self.round + 1)).collect();
        if is_first {
            return;
        }
        self.lowest = FALLEN;
        // The ready ones draw now, oldest first; the others when they become ready.
        let mut ready: Vec<_> = std::mem::take(&mut self.ready).into_vec();
        ready.sort_unstable_by_key(|(_, Reverse(arrival), _)| *arrival);
        let keys: Vec<TaskKey> = ready.iter().map(|(.., index)| self.tasks[*index as usize].key).collect();
        self.tasks.clear();
        keys.into_iter().for_each(|key| self.push(key, draw));
    }

    fn put_back(&mut self, index: u32, priority: Priority) {
        self.tasks[index as usize].priority = priority;
        let arrival = self.arrivals;
        self.arrivals += 1;
        self.ready.push((priority, Reverse(arrival), index));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(index: u32) -> TaskKey {
        TaskKey::new(1, 0, index)
    }

    /// Numbers that look random, from 0 to below what is asked.
    fn numbers(mut state: u64) -> impl FnMut(u64) -> u64 {
        move |below| {
            state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
            (state >> 33) % below
        }
    }

    #[test]
    fn without_draws_it_is_fifo() {
        let mut pct = Pct::new(3);
        let draw: Draw<'_> = &mut |_| 0;
        (0..5).for_each(|index| pct.push(key(index), draw));
        for round in 0..50 {
            let index = pct.pick(round, draw).expect("five are ready");
            assert_eq!(u64::from(index), round % 5);
            pct.push(key(index), draw);
        }
    }

    /// Like it, but all rounds are long.
    fn in_long_rounds(mut draw: impl FnMut(u64) -> u64) -> impl FnMut(u64) -> u64 {
        move |below| if below == ROUNDS { ROUNDS - 1 } else { draw(below) }
    }

    #[test]
    fn a_task_keeps_its_turn_until_its_patience_ends() {
        let mut pct = Pct::new(1);
        let draw: Draw<'_> = &mut in_long_rounds(numbers(7));
        (0..5).for_each(|index| pct.push(key(index), draw));
        let mut turns = Vec::new();
        for _ in 0..5 * PATIENCE {
            let index = pct.pick(0, draw).expect("five are ready");
            turns.push(index);
            pct.push(key(index), draw);
        }
        let kept: Vec<usize> = turns.chunk_by(|one, next| one == next).map(<[u32]>::len).collect();
        assert_eq!(kept, [PATIENCE as usize; 5], "each in its turn");
        turns.dedup();
        turns.sort_unstable();
        assert_eq!(turns, [0, 1, 2, 3, 4]);
    }

    #[test]
    fn a_task_falls_once_for_each_change_point() {
        let mut pct = Pct::new(3);
        let draw: Draw<'_> = &mut in_long_rounds(numbers(3));
        (0..5).for_each(|index| pct.push(key(index), draw));
        let mut turns = Vec::new();
        while pct.choices < pct.round || pct.round == 0 {
            // Time passes between any two polls: nobody spins.
            let index = pct.pick(turns.len() as u64, draw).expect("five are ready");
            turns.push(index);
            pct.push(key(index), draw);
        }
        turns.dedup();
        assert_eq!(turns.len(), 3, "the first, and one more for each of two falls: {turns:?}");
    }
}
