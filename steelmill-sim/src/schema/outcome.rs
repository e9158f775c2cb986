//! How one seed ended.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::RangeInclusive;
use std::panic::Location;
use std::sync::Arc;
use std::time::Duration;

use steelmill_core::coverage::{Kind, Point};
use steelmill_core::{Owner, Panic};

use crate::schema::decision::Decision;
use crate::schema::plan::Plan;
use crate::schema::settings::Seed;
use crate::schema::system_use::SystemUse;
use crate::schema::task::TaskKey;
use crate::schema::trace::Trace;
use crate::schema::verify::Difference;

/// How often a run came to a coverage point.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Visits {
    pub(crate) seen: u64,
    pub(crate) hit: u64,
}

/// A panic, as the hook recorded it.
pub(crate) struct Panicked {
    pub(crate) message: String,
    /// Its file and line.
    pub(crate) place: Option<String>,
    /// All that is known of it.
    pub(crate) text: String,
}

/// How a run ended, and what is known of it.
#[derive(Debug)]
pub struct Outcome {
    /// The seed.
    pub seed: Seed,
    /// Why it failed, if it did.
    pub failure: Option<Failure>,
    /// A hash over every event; equal digests mean equal runs.
    pub digest: u64,
    /// How much virtual time passed.
    pub simulated: Duration,
    /// How many times a task was polled.
    pub polls: u64,
    /// How many timers fired and messages arrived.
    pub events: u64,
    /// What the scenario counted.
    pub counts: BTreeMap<&'static str, u64>,
    /// Visits of the coverage points of the program, by number.
    pub(crate) coverage: Vec<Visits>,
    /// What was to go wrong, if the scenario let anything: written to a file, it can be given to the run again.
    pub faults: Option<Plan>,
    /// What of its workload the scenario lets be less, and from where to where: see [`Sim::limit`](crate::Sim::limit).
    pub limits: BTreeMap<&'static str, RangeInclusive<u64>>,
    /// Every draw, when recording was asked for.
    pub decisions: Vec<Decision>,
    /// Every event, when a trace was asked for.
    pub trace: Option<Trace>,
    /// Who asked the system for time, entropy or threads, when an audit was asked for.
    pub audit: Vec<SystemUse>,
    /// Whether something from outside reached the run, or it started a thread, so that it may not repeat.
    pub impure: bool,
}

impl Outcome {
    /// Of a seed whose thread panicked outside of everything that is judged as the scenario's.
    pub(crate) fn panicked(seed: Seed, panic: &Panic) -> Self {
        let error = anyhow::anyhow!("the thread of the seed panicked outside of its tasks: {panic}");
        Self {
            seed,
            failure: Some(Failure::new(Duration::ZERO, Cause::Error(error), None)),
            digest: 0,
            simulated: Duration::ZERO,
            polls: 0,
            events: 0,
            counts: BTreeMap::new(),
            coverage: Vec::new(),
            faults: None,
            limits: BTreeMap::new(),
            decisions: Vec::new(),
            trace: None,
            audit: Vec::new(),
            impure: false,
        }
    }

    /// Whether the seed passed.
    pub fn passed(&self) -> bool {
        self.failure.is_none()
    }
}

/// Why a run failed, and when.
#[derive(Debug)]
pub struct Failure {
    /// When, in virtual time.
    pub at: Duration,
    /// Why.
    pub cause: Cause,
    /// Where the last panic of the run was raised, if there was one; with `RUST_BACKTRACE=1`, how it got there.
    pub panicked: Option<String>,
    /// The file and line where a run that failed by a panic did.
    pub panicked_at: Option<String>,
    /// What had been aborted in the run before, because it was not done at a deadline of the lifecycle: the last 16 tasks
    /// at most.
    pub overstayed: Vec<Overstay>,
}

/// A task that was aborted because its time was up: a `prepare`, `run` or `stop` that did not end, or a task that would
/// have outlived its daemon.
#[derive(Debug, Clone)]
pub struct Overstay {
    /// When, in virtual time.
    pub at: Duration,
    /// How much time it had.
    pub limit: Duration,
    /// The task, as it was then. Of the last three moments at which tasks were aborted, it is known where they waited.
    pub task: TaskReport,
    /// How many polls there had been: tells the moment from others.
    pub(crate) polls: u64,
    /// Of the run so far.
    pub(crate) digest: u64,
}

impl fmt::Display for Overstay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { at, limit, task, .. } = self;
        write!(f, "aborted at {:.9} s, when its {limit:?} had passed: {task}", at.as_secs_f64())
    }
}

impl Failure {
    pub(crate) fn new(at: Duration, cause: Cause, panicked: Option<Panicked>) -> Self {
        // Another panic than the one that ended the run may have been the last.
        let is_cause = |panicked: &&Panicked| matches!(&cause, Cause::Panic { message, .. } if *message == panicked.message);
        let panicked_at = panicked.as_ref().filter(is_cause).and_then(|panicked| panicked.place.clone());
        let panicked = panicked.map(|panicked| panicked.text);
        Self { at, cause, panicked, panicked_at, overstayed: Vec::new() }
    }
}

/// Where a run failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailureLocation<'a> {
    /// The machine; `scenario` for the scenario's own.
    pub machine: &'a str,
    /// The factory and the daemon whose task it was; `None` for one that no daemon spawned on its scope.
    pub owner: Option<&'a Owner>,
    /// What the task's spawner called it.
    pub task: &'a str,
    /// Where the task was spawned; `None` for the scenario itself.
    pub spawned_at: Option<&'static Location<'static>>,
    /// The file and the line of the panic or the assertion, if it was one.
    pub place: Option<String>,
}

impl<'a> FailureLocation<'a> {
    fn of(task: &'a TaskReport, place: Option<String>) -> Self {
        let TaskReport { machine, owner, name, spawned_at, .. } = task;
        Self { machine, owner: owner.as_deref(), task: name, spawned_at: Some(spawned_at), place }
    }
}

impl Failure {
    /// Where it failed, if that was in one task: the one that panicked or broke an assertion, or the scenario that returned
    /// an error. What does not go on has no such place; its cause tells of each task.
    pub fn location(&self) -> Option<FailureLocation<'_>> {
        match &self.cause {
            Cause::Panic { task, .. } => Some(FailureLocation::of(task, self.panicked_at.clone())),
            Cause::Assertion { task, place, .. } => {
                task.as_ref().map(|task| FailureLocation::of(task, Some(place.to_string())))
            }
            Cause::Error(_) => {
                let (machine, task) = ("scenario", "scenario");
                Some(FailureLocation { machine, owner: None, task, spawned_at: None, place: None })
            }
            Cause::FactoryFailed { .. }
            | Cause::Deadlock { .. }
            | Cause::Livelock { .. }
            | Cause::TimeLimit { .. }
            | Cause::NotRepeatable(_) => None,
        }
    }
}

impl fmt::Display for FailureLocation<'_> {
    /// A line for each thing that is known: `machine`, `daemon`, `factory`, `task`, `place`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "machine  {}", self.machine)?;
        if let Some(owner) = self.owner {
            owner.daemon().iter().try_for_each(|daemon| write!(f, "\ndaemon   {daemon}"))?;
            write!(f, "\nfactory  {}", owner.factory())?;
        }
        write!(f, "\ntask     {:?}", self.task)?;
        self.spawned_at.iter().try_for_each(|place| write!(f, ", spawned at {place}"))?;
        self.place.iter().try_for_each(|place| write!(f, "\nplace    {place}"))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "at {:.9} s: {}", self.at.as_secs_f64(), self.cause)?;
        if let Some(panicked) = &self.panicked {
            write!(f, "\n  {}", panicked.trim_end())?;
        }
        self.overstayed.iter().try_for_each(|overstay| write!(f, "\n  {overstay}"))?;
        Ok(())
    }
}

/// Why a run failed.
#[derive(Debug)]
pub enum Cause {
    /// The scenario returned an error.
    Error(anyhow::Error),
    /// Something panicked that the scenario did not allow, whoever caught it: see [`Sim::allow_failure`](crate::Sim::allow_failure).
    Panic {
        /// What it said.
        message: String,
        /// The task that was polled, or whose future was dropped.
        task: TaskReport,
    },
    /// Something came about that must not: an [`assert_always!`](steelmill_core::assert_always) or
    /// [`assert_unreachable!`](steelmill_core::assert_unreachable) was broken.
    Assertion {
        /// Where it is written.
        place: &'static Point,
        /// Its message, with what was to be said in it.
        message: String,
        /// The task that came to it; `None` for a destructor that ran outside of any.
        task: Option<TaskReport>,
        /// With `RUST_BACKTRACE=1`, how it got there.
        backtrace: Option<String>,
    },
    /// The factory of a machine failed; nobody read its report, and the scenario did not
    /// [allow](crate::Sim::allow_failure) it.
    FactoryFailed {
        /// The machine.
        machine: String,
        /// When, in virtual time.
        at: Duration,
        /// The report.
        report: String,
    },
    /// Nothing is ready, nothing is going to happen, and the scenario has not returned.
    Deadlock {
        /// All tasks.
        tasks: Vec<TaskReport>,
    },
    /// So many polls happened without any time passing.
    Livelock {
        /// The limit.
        polls: u64,
        /// The tasks that were polled last, the busiest first.
        tasks: Vec<TaskReport>,
    },
    /// The seed was run twice, and the runs differ.
    NotRepeatable(Box<Difference>),
    /// The virtual time limit was exceeded.
    TimeLimit {
        /// The limit.
        limit: Duration,
        /// All tasks.
        tasks: Vec<TaskReport>,
    },
}

/// A task, as a report shows it.
#[derive(Debug, Clone)]
pub struct TaskReport {
    /// The machine it lives on.
    pub machine: String,
    /// Whom it works for; `None` for one that no daemon spawned on its scope.
    pub owner: Option<Arc<Owner>>,
    /// What its spawner called it.
    pub name: &'static str,
    /// Where it was spawned.
    pub spawned_at: &'static Location<'static>,
    /// What it waits for, as far as the sim's own primitives know; empty for one that ran when it was looked at, or has ended.
    pub waits_for: &'static str,
    /// Where it waits in a run that has come to a halt, or where it waited when its time was up: for each thing it waits
    /// for, up to four, the async functions that wait for each other, innermost first, with file and line. Of a task that
    /// spins, where it has itself woken.
    ///
    /// Of what it waits for by a combinator with wakers of its own, such as `FuturesUnordered`, those are known that are the
    /// sim's; else it is told where that combinator is awaited.
    pub waits_at: Vec<Vec<String>>,
    /// How often it was polled.
    pub polls: u64,
    /// How many of the last so many polls were its own, where the run was stopped as a livelock.
    pub recent_polls: Option<(u64, u64)>,
    /// It waits for its clock, or for somebody from outside: as a server does that has nothing to do.
    pub(crate) is_at_rest: bool,
    /// It was about to be polled.
    pub(crate) is_ready: bool,
    pub(crate) key: TaskKey,
}

impl fmt::Display for TaskReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { machine, owner, name, spawned_at, waits_for, waits_at, polls, recent_polls, .. } = self;
        write!(f, "{machine}: {name:?}")?;
        if let Some(owner) = owner {
            write!(f, " of {owner}")?;
        }
        // What the lifecycle spawns is known by its name.
        if !spawned_at.file().contains("steelmill-core/src/lifecycle") {
            write!(f, ", spawned at {spawned_at}")?;
        }
        write!(f, ", polled {polls} times")?;
        match recent_polls {
            Some((own, of)) => write!(f, ", {own} of them among the last {of}")?,
            None if waits_for.is_empty() => {}
            None => write!(f, ", waits for {waits_for}")?,
        }
        for (number, stack) in waits_at.iter().enumerate() {
            if number > 0 {
                f.write_str("\n    and")?;
            }
            stack.iter().try_for_each(|function| write!(f, "\n    in {function}"))?;
        }
        Ok(())
    }
}

/// How many tasks a report lists.
pub(crate) const LISTED: usize = 50;

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tasks = match self {
            Cause::Error(error) => return write!(f, "{error:#}"),
            Cause::Panic { message, task } => return write!(f, "panic: {message}\n  in {task}"),
            Cause::Assertion { place, message, task, backtrace } => {
                let what = match place.kind() {
                    Kind::Unreachable => "was reached",
                    _ => "does not hold",
                };
                write!(f, "{} at {place} {what}: {message}", place.kind())?;
                if let Some(task) = task {
                    write!(f, "\n  in {task}")?;
                }
                return match backtrace {
                    Some(backtrace) => write!(f, "\n{}", backtrace.trim_end()),
                    None => Ok(()),
                };
            }
            Cause::NotRepeatable(difference) => return difference.fmt(f),
            Cause::FactoryFailed { machine, at, report } => {
                return write!(
                    f,
                    "the factory of {machine:?} failed at {:.9} s, and the scenario neither read its report \
                     (`Machine::past_lives`) nor allowed it (`Sim::allow_failure`): {report}",
                    at.as_secs_f64()
                );
            }
            Cause::Deadlock { tasks } => {
                f.write_str("deadlock: no task is ready and nothing is going to happen")?;
                tasks
            }
            Cause::Livelock { polls, tasks } => {
                write!(f, "livelock: {polls} polls without any time passing; the last were those of")?;
                tasks
            }
            Cause::TimeLimit { limit, tasks } => {
                write!(f, "time limit: the scenario did not end within {limit:?} of virtual time")?;
                tasks
            }
        };
        for task in tasks.iter().take(LISTED) {
            write!(f, "\n  {task}")?;
        }
        if tasks.len() > LISTED {
            write!(f, "\n  and {} more", tasks.len() - LISTED)?;
        }
        let lately = || tasks.iter().filter_map(|task| task.recent_polls);
        let theirs: u64 = lately().map(|(own, _)| own).sum();
        let of = lately().map(|(_, of)| of).max().unwrap_or(0);
        if theirs < of {
            write!(f, "\n  and tasks that have ended, polled {} times among the last {of}", of - theirs)?;
        }
        Ok(())
    }
}
