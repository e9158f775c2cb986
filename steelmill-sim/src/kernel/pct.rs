//! The PCT scheduler, probabilistic concurrency testing: see [`Schedule::Pct`](crate::Schedule::Pct).
//!
//! Every number is drawn from the schedule's stream, so a run is replayed from its decisions. Past the list's end the draws
//! are 0: priorities stay equal, and the oldest ready task goes first.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::policy::Draw;
use crate::schema::task::TaskKey;

/// How often a task may be polled while no time passes, before its priority falls below all others.
const SPIN_LIMIT: u32 = 100;

/// The shortest round in choices, and the number of lengths, each twice the one before.
const ROUND_MIN: u64 = 16;
const ROUNDS: u64 = 9;

/// The number of initial priorities: so many that two tasks seldom share one.
const PRIORITIES: u64 = 1 << 32;

/// The highest goes first. Three ranges: initial priorities from [`INITIAL`] on, those set at change points from
/// [`LOWERED`] on, and below it those of tasks that spin, the latest lowest.
type Priority = u64;

/// The priority set at change point 0; the next point's is one higher.
const LOWERED: Priority = 1 << 40;
const INITIAL: Priority = 1 << 41;

pub(crate) struct Pct {
    depth: u32,
    /// The length of this round in choices; 0 before the first round.
    round: u64,
    /// The choices made in this round. A pick counts only if several tasks are ready.
    choices: u64,
    /// The choices at which the next task's priority is lowered.
    change_points: Vec<u64>,
    /// By slot.
    tasks: Vec<TaskPriority>,
    ready: BinaryHeap<(Priority, Reverse<u64>, u32)>,
    /// The number of pushes: of equal priorities the older goes first.
    arrivals: u64,
    /// The priority of the last task that was found spinning.
    lowest: Priority,
}

#[derive(Clone, Copy)]
struct TaskPriority {
    key: TaskKey,
    priority: Priority,
    /// The instant of its last poll, and the number of its polls in that instant.
    instant: u64,
    polls: u32,
}

impl Pct {
    pub(crate) fn new(depth: u32) -> Self {
        Self {
            depth,
            round: 0,
            choices: 0,
            change_points: Vec::new(),
            tasks: Vec::new(),
            ready: BinaryHeap::new(),
            arrivals: 0,
            lowest: LOWERED,
        }
    }

    pub(crate) fn is_any_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    pub(crate) fn push(&mut self, key: TaskKey, draw: Draw<'_>) {
        let index = key.index();
        if self.tasks.len() <= index {
            let none = TaskPriority { key: TaskKey::NONE, priority: 0, instant: 0, polls: 0 };
            self.tasks.resize(index + 1, none);
        }
        if self.tasks[index].key != key {
            self.tasks[index] =
                TaskPriority { key, priority: INITIAL + draw(PRIORITIES), instant: 0, polls: 0 };
        }
        let arrival = self.arrivals;
        self.arrivals += 1;
        self.ready.push((self.tasks[index].priority, Reverse(arrival), index as u32));
    }

    /// Takes the task that runs next. `instant` identifies the current virtual time.
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
            if task.polls < SPIN_LIMIT || self.ready.is_empty() {
                task.polls += 1;
                return Some(index);
            }
            task.polls = 0;
            self.lowest -= 1;
            let lowest = self.lowest;
            self.requeue(index, lowest);
        }
    }

    /// Counts a choice between several ready tasks: begins a new round, or lowers the first task's priority, if due.
    fn choose(&mut self, draw: Draw<'_>) {
        if self.choices == self.round {
            self.begin_round(draw);
        }
        self.choices += 1;
        for number in 0..self.change_points.len() {
            if self.change_points[number] == self.choices
                && let Some((_, _, index)) = self.ready.pop()
            {
                self.requeue(index, LOWERED + number as u64);
            }
        }
    }

    fn begin_round(&mut self, draw: Draw<'_>) {
        let is_first = self.round == 0;
        self.round = ROUND_MIN << draw(ROUNDS);
        self.choices = 0;
        // Choice 0 never comes, so a replay past its list's end has no change points.
        self.change_points = (1..self.depth).map(|_| draw(self.round + 1)).collect();
        if is_first {
            return;
        }
        self.lowest = LOWERED;
        // Ready tasks draw their priorities now, oldest first; others when they become ready.
        let mut ready: Vec<_> = std::mem::take(&mut self.ready).into_vec();
        ready.sort_unstable_by_key(|(_, Reverse(arrival), _)| *arrival);
        let keys: Vec<TaskKey> = ready.iter().map(|(.., index)| self.tasks[*index as usize].key).collect();
        self.tasks.clear();
        keys.into_iter().for_each(|key| self.push(key, draw));
    }

    fn requeue(&mut self, index: u32, priority: Priority) {
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

    fn in_long_rounds(mut draw: impl FnMut(u64) -> u64) -> impl FnMut(u64) -> u64 {
        move |below| if below == ROUNDS { ROUNDS - 1 } else { draw(below) }
    }

    #[test]
    fn a_task_keeps_its_turn_until_the_spin_limit() {
        let mut pct = Pct::new(1);
        let draw: Draw<'_> = &mut in_long_rounds(numbers(7));
        (0..5).for_each(|index| pct.push(key(index), draw));
        let mut turns = Vec::new();
        for _ in 0..5 * SPIN_LIMIT {
            let index = pct.pick(0, draw).expect("five are ready");
            turns.push(index);
            pct.push(key(index), draw);
        }
        let kept: Vec<usize> = turns.chunk_by(|one, next| one == next).map(<[u32]>::len).collect();
        assert_eq!(kept, [SPIN_LIMIT as usize; 5], "each in its turn");
        turns.dedup();
        turns.sort_unstable();
        assert_eq!(turns, [0, 1, 2, 3, 4]);
    }

    #[test]
    fn each_change_point_lowers_one_task() {
        let mut pct = Pct::new(3);
        let draw: Draw<'_> = &mut in_long_rounds(numbers(3));
        (0..5).for_each(|index| pct.push(key(index), draw));
        let mut turns = Vec::new();
        while pct.choices < pct.round || pct.round == 0 {
            // Time passes between any two polls, so no task spins.
            let index = pct.pick(turns.len() as u64, draw).expect("five are ready");
            turns.push(index);
            pct.push(key(index), draw);
        }
        turns.dedup();
        assert_eq!(turns.len(), 3, "the first, and one more for each of two change points: {turns:?}");
    }
}
