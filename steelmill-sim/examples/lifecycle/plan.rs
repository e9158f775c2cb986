//! What a seed draws: which factories there are, what their daemons do, and what is done to them. Plain data.

use std::collections::BTreeMap;
use std::time::Duration;

use steelmill_core::{Backoff, Deadlines, OnFailure, Phase, Policy};
use steelmill_sim::Sim;

/// Everything.
pub(crate) struct Plan {
    pub(crate) root: FactoryPlan,
    /// Made through the root's handle.
    pub(crate) children: Vec<ChildPlan>,
    /// What is done to the root.
    pub(crate) fate: Fate,
}

#[derive(Clone)]
pub(crate) struct FactoryPlan {
    /// No other one has it.
    pub(crate) name: String,
    pub(crate) deadlines: Deadlines,
    pub(crate) escalates: bool,
    /// By the number of the part.
    pub(crate) parts: BTreeMap<usize, Script>,
}

#[derive(Clone)]
pub(crate) struct ChildPlan {
    pub(crate) factory: FactoryPlan,
    /// In which of its maker's phases it is made, and how long after its beginning.
    pub(crate) when: Phase,
    pub(crate) after: Duration,
    /// By a task of its maker's, not by the phase itself.
    pub(crate) in_a_task: bool,
    pub(crate) fate: Fate,
}

/// What becomes of a factory, so long after its start.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Fate {
    Stopped(Duration),
    StoppedTwice(Duration),
    /// The future of the stop is dropped: the root's before it is polled, a child's after one poll.
    StopDropped(Duration),
    Dropped(Duration),
    JoinDropped(Duration),
    StartDropped(Duration),
    /// Of its machine.
    Exit(Duration),
    PowerLoss(Duration),
    /// Whatever its daemons do.
    Left,
}

/// What a part does.
#[derive(Clone)]
pub(crate) struct Script {
    /// Lower numbers; of its own factory, or of an ancestor.
    pub(crate) needs: Vec<usize>,
    pub(crate) build: End,
    pub(crate) prepare: Act,
    pub(crate) run: Act,
    pub(crate) stop: Act,
    pub(crate) tasks: Vec<(Phase, Act)>,
    pub(crate) children: Vec<ChildPlan>,
    pub(crate) policy: Policy,
    /// Leaves a ref to what it needs with somebody outside.
    pub(crate) leaks: bool,
}

/// What a future does: waits, dawdles, ends.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Act {
    pub(crate) until: Until,
    pub(crate) linger: Duration,
    pub(crate) end: End,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Until {
    Now,
    /// It is told to stop.
    Told,
    /// It has asked the factory to stop, and is told.
    Asked,
    Never,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    Well,
    Fails,
    Panics,
}

/// Parts of the root are 0..5, those of its children 5..8, and of theirs 8..10.
pub(crate) const RANGES: [std::ops::Range<usize>; 3] = [0..5, 5..8, 8..10];

impl Plan {
    pub(crate) fn draw(sim: &Sim) -> Self {
        let mut dice = Dice { sim: *sim, names: 0, factories: 0 };
        let root = dice.factory("root".to_owned(), 0, &[]);
        let visible: Vec<_> = root.parts.keys().copied().collect();
        let mut children: Vec<_> = (0..dice.below(3)).filter_map(|_| dice.child(1, &visible)).collect();
        let fate = match dice.below(16) {
            0..4 => Fate::Stopped(dice.moment()),
            4 => Fate::StoppedTwice(dice.moment()),
            5 => Fate::StopDropped(dice.moment()),
            6 => Fate::Dropped(dice.moment()),
            7 => Fate::JoinDropped(dice.moment()),
            8 | 9 => Fate::StartDropped(dice.moment()),
            10 => Fate::Exit(dice.moment()),
            11 => Fate::PowerLoss(dice.moment()),
            _ => Fate::Left,
        };
        if let Fate::Dropped(_) | Fate::JoinDropped(_) = fate {
            children.clear(); // whoever is about to make one has a handle, too
        }
        Plan { root, children, fate }
    }

    /// Every factory there may be.
    pub(crate) fn factories(&self) -> Vec<&FactoryPlan> {
        let mut left = vec![&self.root];
        left.extend(self.children.iter().map(|child| &child.factory));
        let mut all = Vec::new();
        while let Some(factory) = left.pop() {
            all.push(factory);
            let children = factory.parts.values().flat_map(|script| &script.children);
            left.extend(children.map(|child| &child.factory));
        }
        all
    }
}

/// Draws from the stream of faults, so that a recorded run can be shrunk.
struct Dice {
    sim: Sim,
    names: u32,
    factories: u32,
}

impl Dice {
    fn below(&mut self, limit: u64) -> u64 {
        self.sim.draw(limit)
    }

    fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == n - 1
    }

    /// Often the same, so that things meet.
    fn moment(&mut self) -> Duration {
        let millis = match self.below(6) {
            0 => 0,
            1 => 100,
            2 => 1_000,
            3 => self.below(50),
            _ => self.below(4_000),
        };
        Duration::from_millis(millis)
    }

    fn limit(&mut self, choices: [u64; 4]) -> Duration {
        Duration::from_millis(choices[self.below(4) as usize])
    }

    fn factory(&mut self, name: String, depth: usize, visible: &[usize]) -> FactoryPlan {
        self.factories += 1;
        let deadlines = Deadlines {
            prepare: self.limit([5_000, 5_000, 2_000, 100]),
            stop: self.limit([4_000, 4_000, 1_000, 0]),
            rollback: self.limit([4_000, 2_000, 1_000, 0]),
        };
        let mut known = visible.to_vec();
        let mut parts = BTreeMap::new();
        for number in RANGES[depth].clone() {
            if self.below(4) == 0 {
                continue;
            }
            let script = self.script(depth, &known);
            known.push(number);
            parts.insert(number, script);
        }
        FactoryPlan { name, deadlines, escalates: depth > 0 && self.one_in(4), parts }
    }

    fn script(&mut self, depth: usize, known: &[usize]) -> Script {
        let needs = known.iter().copied().filter(|_| self.below(3) == 0).collect();
        let mut tasks = Vec::new();
        while self.one_in(3) && tasks.len() < 4 {
            let phase = [Phase::Prepare, Phase::Run, Phase::Run, Phase::Stop][self.below(4) as usize];
            tasks.push((phase, self.act(Until::Told)));
        }
        let mut children = Vec::new();
        while self.one_in(5) && children.len() < 3 {
            children.extend(self.child(depth + 1, known));
        }
        Script {
            needs,
            build: self.end(40),
            prepare: self.act(Until::Now),
            run: if self.one_in(4) { self.ending(Until::Now, 2) } else { self.act(Until::Told) },
            stop: self.act(Until::Now),
            tasks,
            children,
            policy: self.policy(),
            leaks: self.one_in(20),
        }
    }

    fn child(&mut self, depth: usize, visible: &[usize]) -> Option<ChildPlan> {
        if depth >= RANGES.len() || self.factories > 8 {
            return None;
        }
        self.names += 1;
        let name = format!("c{}", self.names);
        let fate = match self.below(8) {
            0 => Fate::Stopped(self.moment()),
            1 => Fate::StopDropped(self.moment()),
            2 => Fate::Dropped(self.moment()),
            3 => Fate::JoinDropped(self.moment()),
            4 => Fate::StartDropped(self.moment()),
            _ => Fate::Left,
        };
        Some(ChildPlan {
            factory: self.factory(name, depth, visible),
            when: if self.one_in(4) { Phase::Prepare } else { Phase::Run },
            after: self.moment(),
            in_a_task: self.one_in(2),
            fate,
        })
    }

    fn act(&mut self, usual: Until) -> Act {
        self.ending(usual, 12)
    }

    /// One that does not end well once in so many times.
    fn ending(&mut self, usual: Until, rarity: u64) -> Act {
        let until = match self.below(30) {
            0 => Until::Never,
            1 => Until::Asked,
            2..5 => Until::Now,
            _ => usual,
        };
        let linger = if self.one_in(3) { self.moment() } else { Duration::ZERO };
        Act { until, linger, end: self.end(rarity) }
    }

    fn end(&mut self, rarity: u64) -> End {
        match self.below(rarity) {
            0 if self.one_in(2) => End::Panics,
            0 => End::Fails,
            _ => End::Well,
        }
    }

    fn policy(&mut self) -> Policy {
        let on_failure = match self.below(5) {
            0 | 1 => OnFailure::Restart(Backoff {
                first: Duration::from_millis(20),
                longest: Duration::from_millis(500),
                restarts: self.below(4) as u32,
                window: Duration::from_secs(2),
            }),
            2 => OnFailure::LeaveDown,
            _ => OnFailure::StopFactory,
        };
        let mut limit = || self.one_in(8).then(|| self.moment());
        Policy { on_failure, prepare: limit(), stop: limit() }
    }
}
