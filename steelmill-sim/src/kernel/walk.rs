//! The uniform random walk: see [`Schedule::Walk`](crate::Schedule::Walk).
//!
//! Every number is drawn from the schedule's stream, so a run is replayed from its decisions. Past the list's end the draws
//! are 0, which is the oldest ready task.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::policy::Draw;
use crate::schema::estimates::Estimates;
use crate::schema::task::TaskKey;

/// The number of tasks of one name on one machine that are counted one by one; the later ones count as one.
const COUNTED: usize = 64;

pub(crate) struct Walk {
    /// What a trial run counted; empty in the trial itself.
    estimates: Estimates,
    groups: Vec<Group>,
    /// The index of a group, by machine and name.
    by_name: BTreeMap<(u32, &'static str), usize>,
    /// By slot.
    tasks: Vec<Walker>,
    /// The ready tasks, the oldest first.
    ready: Vec<u32>,
}

/// The tasks of one name on one machine.
struct Group {
    machine: u32,
    name: &'static str,
    spawned: usize,
    /// By the order of their spawns.
    bursts: Vec<Bursts>,
}

/// The steps of a task, in bursts: those of one virtual time are one.
#[derive(Clone, Copy, Default)]
struct Bursts {
    steps: u64,
    /// The sum of the squares of the bursts' lengths.
    squares: u64,
}

impl Bursts {
    /// Counts a step that has `before` others of its burst before it.
    fn add(&mut self, before: u64) {
        self.steps += 1;
        self.squares += 2 * before + 1;
    }

    /// The length of the burst that a step taken at random belongs to.
    fn length(self) -> u64 {
        self.squares.div_ceil(self.steps.max(1))
    }
}

#[derive(Clone, Copy)]
struct Walker {
    key: TaskKey,
    group: usize,
    /// Its place in the group's bursts.
    nth: usize,
    /// How many steps are expected while time stands still.
    expected: u64,
    /// Identifies the time of its last step.
    instant: u64,
    /// How many steps it has made then.
    made: u64,
}

impl Walker {
    /// How many steps it is expected to make yet; at least 1.
    fn remaining(&self, instant: u64) -> u64 {
        match self.instant == instant {
            true => self.expected.saturating_sub(self.made).max(1),
            false => self.expected,
        }
    }
}

impl Walk {
    pub(crate) fn new(estimates: Estimates) -> Self {
        Self { estimates, groups: Vec::new(), by_name: BTreeMap::new(), tasks: Vec::new(), ready: Vec::new() }
    }

    pub(crate) fn is_any_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    pub(crate) fn push(&mut self, key: TaskKey, machine: u32, name: &'static str, machines: &[Arc<str>]) {
        let index = key.index();
        if self.tasks.len() <= index {
            let none =
                Walker { key: TaskKey::NONE, group: 0, nth: 0, expected: 1, instant: u64::MAX, made: 0 };
            self.tasks.resize(index + 1, none);
        }
        if self.tasks[index].key != key {
            self.tasks[index] = self.begin(key, machine, name, machines);
        }
        self.ready.push(index as u32);
    }

    fn begin(&mut self, key: TaskKey, machine: u32, name: &'static str, machines: &[Arc<str>]) -> Walker {
        let group = *self.by_name.entry((machine, name)).or_insert(self.groups.len());
        if group == self.groups.len() {
            self.groups.push(Group { machine, name, spawned: 0, bursts: Vec::new() });
        }
        let of = &mut self.groups[group];
        let nth = of.spawned.min(COUNTED - 1);
        of.spawned += 1;
        if of.bursts.len() == nth {
            of.bursts.push(Bursts::default());
        }
        let expected = self.estimates.of(&machines[machine as usize], name, nth);
        Walker { key, group, nth, expected, instant: u64::MAX, made: 0 }
    }

    /// Takes the task that runs next, and the number drawn for it. `instant` identifies the current virtual time.
    pub(crate) fn pick(&mut self, instant: u64, draw: Draw<'_>) -> Option<(u32, u64)> {
        let (place, drawn) = match self.ready.len() {
            0 => return None,
            1 => (0, 0),
            _ => self.choose(instant, draw)?,
        };
        let index = self.ready.remove(place);
        let task = &mut self.tasks[index as usize];
        if task.instant != instant {
            (task.instant, task.made) = (instant, 0);
        }
        self.groups[task.group].bursts[task.nth].add(task.made);
        task.made += 1;
        Some((index, drawn))
    }

    /// Draws a number below the steps that are left to all ready tasks: whose it is, and which.
    fn choose(&self, instant: u64, draw: Draw<'_>) -> Option<(usize, u64)> {
        let remaining = |index: &u32| self.tasks[*index as usize].remaining(instant);
        let drawn = draw(self.ready.iter().map(remaining).sum());
        let mut left = drawn;
        let place = self.ready.iter().position(|index| {
            let steps = remaining(index);
            let is_it = left < steps;
            left = left.saturating_sub(steps);
            is_it
        });
        Some((place?, drawn))
    }

    /// What was counted, for other runs.
    pub(crate) fn counted(&self, machines: &[Arc<str>]) -> Estimates {
        let mut counted = Estimates::default();
        for Group { machine, name, bursts, .. } in &self.groups {
            let lengths = bursts.iter().map(|bursts| bursts.length()).collect();
            counted.insert(&machines[*machine as usize], name, lengths);
        }
        counted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(index: u32) -> TaskKey {
        TaskKey::new(1, 0, index)
    }

    fn machines() -> Vec<Arc<str>> {
        vec!["host".into()]
    }

    /// A task of one step beside one of three, as often as there are orders of their steps.
    #[test]
    fn each_order_of_steps_is_as_likely() {
        let mut estimates = Estimates::default();
        estimates.insert("host", "short", vec![1]);
        estimates.insert("host", "long", vec![3]);
        let (mut state, mut places) = (1_u64, [0; 4]);
        for _ in 0..4000 {
            let mut walk = Walk::new(estimates.clone());
            walk.push(key(0), 0, "short", &machines());
            walk.push(key(1), 0, "long", &machines());
            let mut draw = |below| {
                state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
                (state >> 33) % below
            };
            let mut of_long = 0;
            while let Some((index, _)) = walk.pick(0, &mut draw) {
                if index == 0 {
                    places[of_long] += 1;
                    continue;
                }
                of_long += 1;
                if of_long < 3 {
                    walk.push(key(1), 0, "long", &machines());
                }
            }
        }
        assert!(places.iter().all(|often| (900..1100).contains(often)), "{places:?}");
    }

    #[test]
    fn steps_are_counted_by_name_and_in_bursts() {
        let mut walk = Walk::new(Estimates::default());
        let step = |walk: &mut Walk, instant, times| {
            for _ in 0..times {
                walk.push(key(0), 0, "busy", &machines());
                walk.push(key(1), 0, "other", &machines());
                assert_eq!(walk.pick(instant, &mut |_| 0), Some((0, 0)));
                assert_eq!(walk.pick(instant, &mut |_| panic!("there is no choice")), Some((1, 0)));
            }
        };
        step(&mut walk, 0, 6);
        step(&mut walk, 6, 2);
        // Six of eight steps are of a burst of six, and two of one of two.
        let counted = walk.counted(&machines());
        assert_eq!(counted.of("host", "busy", 0), 5);
        assert_eq!(counted.of("host", "busy", 7), 5, "as the last one known");
        assert_eq!((counted.of("host", "none", 0), counted.of("elsewhere", "busy", 0)), (1, 1));
    }

    #[test]
    fn without_draws_it_is_fifo() {
        let mut walk = Walk::new(Estimates::default());
        (0..5).for_each(|index| walk.push(key(index), 0, "task", &machines()));
        for round in 0..50 {
            let (index, _) = walk.pick(round, &mut |_| 0).expect("five are ready");
            assert_eq!(u64::from(index), round % 5);
            walk.push(key(index), 0, "task", &machines());
        }
    }
}
