//! The plan that a seed draws, as plain data: factories, the scripts of their daemons, and how each factory ends.

use std::collections::BTreeMap;
use std::time::Duration;

use steelmill_core::{Backoff, Deadlines, OnFailure, OnFinish, Phase, Policy};
use steelmill_sim::Sim;

pub(crate) struct Plan {
    pub(crate) root: FactoryPlan,
    /// Created through the root's handle.
    pub(crate) children: Vec<ChildPlan>,
    /// Requests to restart or stop single daemons of the root, by part number, after the start.
    pub(crate) commands: Vec<(Duration, usize, Command)>,
    /// Requests to restart or stop supervised children of the root, by name, after the start.
    pub(crate) child_commands: Vec<(Duration, String, Command)>,
    pub(crate) end: FactoryEnd,
    /// Somebody watches the root's health.
    pub(crate) watches_health: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Command {
    Restart,
    Stop,
}

#[derive(Clone)]
pub(crate) struct FactoryPlan {
    /// Unique within the plan.
    pub(crate) name: String,
    pub(crate) deadlines: Deadlines,
    pub(crate) escalates: bool,
    /// How long a requested stop serves on.
    pub(crate) drain: Duration,
    /// It goes on when all of its daemons have finished.
    pub(crate) remains: bool,
    /// By part number.
    pub(crate) parts: BTreeMap<usize, Script>,
    /// Children that are built anew when they end.
    pub(crate) supervised: Vec<SupervisedPlan>,
}

/// One supervised child is Erlang's `one_for_one` beside others, and `one_for_all` for its parts; within another one it is
/// `rest_for_one`.
#[derive(Clone)]
pub(crate) struct SupervisedPlan {
    pub(crate) factory: FactoryPlan,
    pub(crate) policy: Policy,
    /// The call of its recipe, counted from 1, that fails.
    pub(crate) recipe_fails: Option<u32>,
}

#[derive(Clone)]
pub(crate) struct ChildPlan {
    pub(crate) factory: FactoryPlan,
    /// The phase of its creator in which it is created, `after` the phase's beginning.
    pub(crate) when: Phase,
    pub(crate) after: Duration,
    /// Created by a task of its creator, not by the phase itself.
    pub(crate) in_a_task: bool,
    /// From its assembly to its start, which a task may begin when its creator stops already.
    pub(crate) starts_after: Duration,
    /// A child of the same name is started while it runs.
    pub(crate) has_twin: bool,
    pub(crate) end: FactoryEnd,
}

/// How a factory ends; the duration is the time since its start.
#[derive(Debug, Clone, Copy)]
pub(crate) enum FactoryEnd {
    Stopped(Duration),
    StoppedTwice(Duration),
    /// The drain of its stop is cut short, after the second time. Only the root.
    DrainCut(Duration, Duration),
    /// The future of the stop is dropped: the root's before its first poll, a child's after it.
    StopDropped(Duration),
    Dropped(Duration),
    JoinDropped(Duration),
    StartDropped(Duration),
    /// Its machine exits.
    Exit(Duration),
    PowerLoss(Duration),
    /// Not ended from outside: its daemons decide.
    Left,
}

#[derive(Clone)]
pub(crate) struct Script {
    /// Parts with lower numbers, of its own factory or an ancestor.
    pub(crate) dependencies: Vec<usize>,
    pub(crate) build: Outcome,
    pub(crate) prepare: Act,
    pub(crate) run: Act,
    pub(crate) stop: Act,
    pub(crate) tasks: Vec<(Phase, Act)>,
    pub(crate) children: Vec<ChildPlan>,
    pub(crate) policy: Policy,
    /// Leaks refs to its dependencies to the outside.
    pub(crate) leaks: bool,
    /// Each of its runs has a task that waits until the factory drains.
    pub(crate) watches_drain: bool,
    pub(crate) health: Answer,
}

/// The behaviour of a future: it waits, then sleeps for `linger`, then ends.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Act {
    pub(crate) until: Until,
    pub(crate) linger: Duration,
    pub(crate) end: Outcome,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Until {
    Now,
    /// The scope is stopping.
    Stopping,
    /// Requests a stop, then waits until the scope is stopping.
    OwnStopRequest,
    Never,
}

/// What a part answers when it is asked for its health.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    Healthy,
    Degraded,
    Failing,
    /// It never answers.
    Hangs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    Succeeds,
    Fails,
    Panics,
}

/// Part numbers by depth: root, children, grandchildren.
pub(crate) const RANGES: [std::ops::Range<usize>; 3] = [0..5, 5..8, 8..10];

impl Plan {
    pub(crate) fn draw(sim: &Sim) -> Self {
        let is_calm = sim.draw(3) == 0;
        let mut generator = Generator { sim: *sim, is_calm, names: 0, factories: 0 };
        let root = generator.factory("root".to_owned(), 0, &[]);
        let visible: Vec<_> = root.parts.keys().copied().collect();
        let mut children: Vec<_> =
            (0..generator.below(3)).filter_map(|_| generator.child(1, &visible)).collect();
        let end = match generator.below(18) {
            0..12 if is_calm => FactoryEnd::Left,
            0..4 => FactoryEnd::Stopped(generator.delay()),
            4 => FactoryEnd::StoppedTwice(generator.delay()),
            5 => FactoryEnd::StopDropped(generator.delay()),
            6 => FactoryEnd::Dropped(generator.delay()),
            7 => FactoryEnd::JoinDropped(generator.delay()),
            8 | 9 => FactoryEnd::StartDropped(generator.delay()),
            10 => FactoryEnd::Exit(generator.delay()),
            11 => FactoryEnd::PowerLoss(generator.delay()),
            12 | 13 => FactoryEnd::DrainCut(generator.delay(), generator.delay()),
            _ => FactoryEnd::Left,
        };
        if let FactoryEnd::Dropped(_) | FactoryEnd::JoinDropped(_) = end {
            children.clear(); // a task that creates a child also holds a handle to the root
        }
        let parts: Vec<_> = root.parts.keys().copied().collect();
        let mut commands = Vec::new();
        // An operator also holds a handle to the root.
        let has_operator = !matches!(end, FactoryEnd::Dropped(_) | FactoryEnd::JoinDropped(_));
        while has_operator && !parts.is_empty() && commands.len() < 3 && generator.one_in(4) {
            let part = parts[generator.below(parts.len() as u64) as usize];
            let command = if generator.one_in(3) { Command::Stop } else { Command::Restart };
            commands.push((generator.delay(), part, command));
        }
        let mut child_commands = Vec::new();
        for child in root.supervised.iter().filter(|_| has_operator) {
            while generator.one_in(2) && child_commands.len() < 3 {
                let command = if generator.one_in(2) { Command::Stop } else { Command::Restart };
                child_commands.push((generator.delay(), child.factory.name.clone(), command));
            }
        }
        let watches_health = generator.one_in(2);
        Plan { root, children, commands, child_commands, end, watches_health }
    }

    pub(crate) fn factories(&self) -> Vec<&FactoryPlan> {
        let mut left = vec![&self.root];
        left.extend(self.children.iter().map(|child| &child.factory));
        let mut all = Vec::new();
        while let Some(factory) = left.pop() {
            all.push(factory);
            let children = factory.parts.values().flat_map(|script| &script.children);
            left.extend(children.map(|child| &child.factory));
            left.extend(factory.supervised.iter().map(|child| &child.factory));
        }
        all
    }
}

impl Script {
    /// The same with nothing of its own that ends its factory soon.
    fn calm(self) -> Self {
        let prepare = Act { until: Until::Now, end: Outcome::Succeeds, ..self.prepare };
        let run = Act { until: Until::Stopping, ..self.run };
        Script { build: Outcome::Succeeds, prepare, run, ..self }
    }
}

/// Draws the plan. All draws are from the fault stream, so that a recorded run can be shrunk.
struct Generator {
    sim: Sim,
    /// The parts of the root mostly succeed, so that more happens below it.
    is_calm: bool,
    names: u32,
    factories: u32,
}

impl Generator {
    fn below(&mut self, limit: u64) -> u64 {
        self.sim.draw(limit)
    }

    fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == n - 1
    }

    /// A delay; often one of three values, so that events coincide.
    fn delay(&mut self) -> Duration {
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
        let is_calm = self.is_calm && depth == 0;
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
            let script = if is_calm { script.calm() } else { script };
            known.push(number);
            parts.insert(number, script);
        }
        let mut supervised = Vec::new();
        while self.one_in(3) && supervised.len() < 2 {
            supervised.extend(self.supervised(depth + 1, &known));
        }
        let escalates = depth > 0 && self.one_in(4);
        let drain = if self.one_in(3) { self.delay() } else { Duration::ZERO };
        let deadlines = if is_calm { Deadlines::default() } else { deadlines };
        FactoryPlan { name, deadlines, escalates, drain, remains: self.one_in(3), parts, supervised }
    }

    fn supervised(&mut self, depth: usize, visible: &[usize]) -> Option<SupervisedPlan> {
        if depth >= RANGES.len() || self.factories > 8 {
            return None;
        }
        self.names += 1;
        let name = format!("s{}", self.names);
        let factory = self.factory(name, depth, visible);
        Some(SupervisedPlan {
            // Its failures are its supervisor's, and not its parent's as well.
            factory: FactoryPlan { escalates: false, ..factory },
            policy: self.supervising_policy(),
            recipe_fails: self.one_in(8).then(|| 1 + self.below(3) as u32),
        })
    }

    fn script(&mut self, depth: usize, known: &[usize]) -> Script {
        let dependencies = known.iter().copied().filter(|_| self.below(3) == 0).collect();
        let mut tasks = Vec::new();
        while self.one_in(3) && tasks.len() < 4 {
            let phase = [Phase::Prepare, Phase::Run, Phase::Run, Phase::Stop][self.below(4) as usize];
            tasks.push((phase, self.act(Until::Stopping)));
        }
        let mut children = Vec::new();
        while self.one_in(5) && children.len() < 3 {
            children.extend(self.child(depth + 1, known));
        }
        Script {
            dependencies,
            build: self.end(40),
            prepare: self.act(Until::Now),
            run: if self.one_in(4) { self.act_failing(Until::Now, 2) } else { self.act(Until::Stopping) },
            stop: self.act(Until::Now),
            tasks,
            children,
            policy: self.policy(),
            leaks: self.one_in(20),
            watches_drain: self.one_in(3),
            health: match self.below(12) {
                0 => Answer::Failing,
                1 => Answer::Hangs,
                2 => Answer::Degraded,
                _ => Answer::Healthy,
            },
        }
    }

    fn child(&mut self, depth: usize, visible: &[usize]) -> Option<ChildPlan> {
        if depth >= RANGES.len() || self.factories > 8 {
            return None;
        }
        self.names += 1;
        let name = format!("c{}", self.names);
        let end = match self.below(8) {
            0 => FactoryEnd::Stopped(self.delay()),
            1 => FactoryEnd::StopDropped(self.delay()),
            2 => FactoryEnd::Dropped(self.delay()),
            3 => FactoryEnd::JoinDropped(self.delay()),
            4 => FactoryEnd::StartDropped(self.delay()),
            _ => FactoryEnd::Left,
        };
        let in_a_task = self.one_in(2);
        Some(ChildPlan {
            factory: self.factory(name, depth, visible),
            when: if self.one_in(4) { Phase::Prepare } else { Phase::Run },
            after: self.delay(),
            in_a_task,
            starts_after: if in_a_task && self.one_in(2) { self.delay() } else { Duration::ZERO },
            has_twin: self.one_in(4),
            end,
        })
    }

    fn act(&mut self, usual: Until) -> Act {
        self.act_failing(usual, 12)
    }

    /// An act that fails or panics with probability `1 / rarity`.
    fn act_failing(&mut self, usual: Until, rarity: u64) -> Act {
        let until = match self.below(30) {
            0 => Until::Never,
            1 => Until::OwnStopRequest,
            2..5 => Until::Now,
            _ => usual,
        };
        let linger = if self.one_in(3) { self.delay() } else { Duration::ZERO };
        Act { until, linger, end: self.end(rarity) }
    }

    fn end(&mut self, rarity: u64) -> Outcome {
        match self.below(rarity) {
            0 if self.one_in(2) => Outcome::Panics,
            0 => Outcome::Fails,
            _ => Outcome::Succeeds,
        }
    }

    /// More often than for a part it restarts.
    fn supervising_policy(&mut self) -> Policy {
        let policy = self.policy();
        let backoff = Backoff {
            first: Duration::from_millis(50),
            longest: Duration::from_millis(500),
            restarts: 1 + self.below(4) as u32,
            window: Duration::from_secs(5),
        };
        match self.below(4) {
            0 => Policy {
                on_failure: OnFailure::Restart(backoff),
                on_finish: OnFinish::Restart(backoff),
                ..policy
            },
            1 => Policy { on_failure: OnFailure::Restart(backoff), on_finish: OnFinish::Stay, ..policy },
            _ => policy,
        }
    }

    fn policy(&mut self) -> Policy {
        // Both have one limit.
        let backoff = Backoff {
            first: Duration::from_millis(20),
            longest: Duration::from_millis(500),
            restarts: self.below(4) as u32,
            window: Duration::from_secs(2),
        };
        let on_failure = match self.below(5) {
            0 | 1 => OnFailure::Restart(backoff),
            2 => OnFailure::LeaveDown,
            _ => OnFailure::StopFactory,
        };
        let on_finish = match self.below(6) {
            0 => OnFinish::Restart(backoff),
            1 => OnFinish::StopFactory,
            _ => OnFinish::Stay,
        };
        let mut limit = || self.one_in(8).then(|| self.delay());
        let (prepare, stop) = (limit(), limit());
        Policy { on_failure, on_finish, prepare, stop }
    }
}
