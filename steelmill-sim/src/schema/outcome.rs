//! The outcome of one run: failure, cause, location, task reports, and counts.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use steelmill_core::coverage::{Kind, Point, Reading};
use steelmill_core::{Owner, Panic};

use crate::schema::decision::{Decision, Redraws};
use crate::schema::estimates::Estimates;
use crate::schema::look::LockWord;
use crate::schema::plan::Plan;
use crate::schema::portable::{self, SourceLocation, StaticStr};
use crate::schema::settings::Seed;
use crate::schema::system_use::SystemUse;
use crate::schema::task::TaskKey;
use crate::schema::trace::Trace;
use crate::schema::verify::Difference;

/// How often a run reached a coverage point, and how often that was a hit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct Visits {
    pub(crate) executed: u64,
    pub(crate) hit: u64,
    /// Of a bound: the value that went furthest.
    #[serde(with = "portable::reading", default, skip_serializing_if = "Option::is_none")]
    pub(crate) furthest: Option<Reading>,
}

/// A place that a run came to: a coverage point that was hit, or a value of a bound that rose a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Reached {
    /// Its index in the program.
    pub(crate) point: usize,
    /// How far the value of a bound had come; 0 for other points.
    pub(crate) level: i32,
    /// The virtual time.
    pub(crate) at: Duration,
}

/// A panic, as the panic hook recorded it.
pub(crate) struct Panicked {
    pub(crate) message: String,
    /// Its file and line.
    pub(crate) place: Option<String>,
    /// The message with its place and, if captured, a backtrace.
    pub(crate) text: String,
}

/// The result of one run: whether it passed, its digest, and what was counted and recorded.
#[derive(Debug, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Outcome {
    /// The seed.
    pub seed: Seed,
    /// Why it failed, if it did.
    pub failure: Option<Failure>,
    /// A hash over every event; equal digests mean equal runs.
    pub digest: u64,
    /// The virtual time that passed.
    pub simulated: Duration,
    /// The number of polls of tasks.
    pub polls: u64,
    /// The number of timers fired and messages delivered.
    pub events: u64,
    /// The scenario's counters: see [`Sim::count`](crate::Sim::count).
    #[serde(deserialize_with = "portable::counts")]
    pub counts: BTreeMap<&'static str, u64>,
    /// With [`Schedule::Walk`](crate::Schedule::Walk), what was counted for other runs.
    pub(crate) counted: Estimates,
    /// Where it was varied from the seed's own run; empty if it was not.
    pub redraws: Redraws,
    /// The places it came to, for a campaign that learns from them.
    pub(crate) reached: Vec<Reached>,
    /// Visits of the program's coverage points, by index.
    pub(crate) coverage: Vec<Visits>,
    /// The fault plan, if the scenario injects faults. Saved to a file, it can be replayed.
    pub faults: Option<Plan>,
    /// The parts of the workload that can be limited, each with its range: see [`Sim::limit`](crate::Sim::limit).
    #[serde(deserialize_with = "portable::limits")]
    pub limits: BTreeMap<&'static str, RangeInclusive<u64>>,
    /// Every random draw, if [`Settings::record`](crate::Settings::record) is set.
    pub decisions: Vec<Decision>,
    /// Every event, if [`Settings::trace`](crate::Settings::trace) is set.
    pub trace: Option<Trace>,
    /// Calls of the system for time, entropy or threads, if [`Settings::audit`](crate::Settings::audit) is set.
    pub audit: Vec<SystemUse>,
    /// Whether a real thread reached the run, or one was started outside of its tasks: then it may not repeat.
    pub impure: bool,
    /// Whether the scenario made a program, where runs share a process: then the run ended there.
    pub(crate) needs_process: bool,
    /// Whether the run was not made, or did not come to its end: then nothing else is known of it but why.
    pub(crate) is_lost: bool,
}

impl Outcome {
    /// The outcome of a seed whose thread panicked outside of the scenario and its tasks.
    pub(crate) fn panicked(seed: Seed, panic: &Panic) -> Self {
        Self::without_run(
            seed,
            anyhow::anyhow!("the thread of the seed panicked outside of its tasks: {panic}"),
        )
    }

    /// The outcome of a seed whose run was not made, or got lost.
    pub(crate) fn without_run(seed: Seed, error: anyhow::Error) -> Self {
        Self {
            seed,
            failure: Some(Failure::new(Duration::ZERO, Cause::Error(error), None)),
            digest: 0,
            simulated: Duration::ZERO,
            polls: 0,
            events: 0,
            counts: BTreeMap::new(),
            counted: Estimates::default(),
            coverage: Vec::new(),
            redraws: Redraws::default(),
            reached: Vec::new(),
            faults: None,
            limits: BTreeMap::new(),
            decisions: Vec::new(),
            trace: None,
            audit: Vec::new(),
            impure: false,
            needs_process: false,
            is_lost: true,
        }
    }

    /// Whether the seed passed.
    pub fn passed(&self) -> bool {
        self.failure.is_none()
    }
}

/// The failure of a run: its cause, its virtual time, the last panic, and the tasks aborted at a deadline before.
#[derive(Debug, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Failure {
    /// The virtual time.
    pub at: Duration,
    /// The cause.
    pub cause: Cause,
    /// The message and place of the run's last panic, if any; with `RUST_BACKTRACE=1`, its backtrace.
    pub panicked: Option<String>,
    /// The file and line of the panic that failed the run.
    pub panicked_at: Option<String>,
    /// The tasks aborted before at a deadline of the lifecycle; at most the last 16.
    pub deadline_exceeded: Vec<DeadlineExceeded>,
}

/// A task that was aborted because it exceeded a deadline of the lifecycle: a `prepare`, `run` or `stop` that did not end,
/// or a task that would have outlived its daemon.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[non_exhaustive]
pub struct DeadlineExceeded {
    /// The virtual time of the abort.
    pub at: Duration,
    /// The time limit that it exceeded.
    pub limit: Duration,
    /// The task at that time. [`TaskReport::waits_at`] is filled in for the last three times at which tasks were aborted.
    pub task: TaskReport,
    /// The run's number of polls before the abort: identifies that moment in a repeated run.
    pub(crate) polls: u64,
    /// The run's digest before the abort: tells whether a repeated run is the same so far.
    pub(crate) digest: u64,
}

impl fmt::Display for DeadlineExceeded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { at, limit, task, .. } = self;
        write!(f, "aborted at {:.9} s, at its deadline after {limit:?}: {task}", at.as_secs_f64())
    }
}

impl Failure {
    pub(crate) fn new(at: Duration, cause: Cause, panicked: Option<Panicked>) -> Self {
        // The last panic need not be the one that failed the run.
        let is_cause = |panicked: &&Panicked| matches!(&cause, Cause::Panic { message, .. } if *message == panicked.message);
        let panicked_at = panicked.as_ref().filter(is_cause).and_then(|panicked| panicked.place.clone());
        let panicked = panicked.map(|panicked| panicked.text);
        Self { at, cause, panicked, panicked_at, deadline_exceeded: Vec::new() }
    }
}

/// The location of a failure: machine, factory, daemon, task and source line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailureLocation<'a> {
    /// The machine; `scenario` for the scenario's own.
    pub machine: &'a str,
    /// The factory and the daemon that own the task; `None` for a task that was not spawned on a daemon's scope.
    pub owner: Option<&'a Owner>,
    /// The task's name.
    pub task: &'a str,
    /// Where the task was spawned; `None` for the scenario itself.
    pub spawned_at: Option<SourceLocation>,
    /// The file and line of the panic or the broken assertion, if the cause is one.
    pub place: Option<String>,
}

impl<'a> FailureLocation<'a> {
    fn of(task: &'a TaskReport, place: Option<String>) -> Self {
        let TaskReport { machine, owner, name, spawned_at, .. } = task;
        Self { machine, owner: owner.as_deref(), task: name, spawned_at: Some(*spawned_at), place }
    }
}

impl Failure {
    /// The location, if the run failed in one task: the one that panicked or broke an assertion, or the scenario that
    /// returned an error. `None` for deadlocks, livelocks and time limits, whose cause lists all tasks.
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
            Cause::ProcessFailed { .. }
            | Cause::Deadlock { .. }
            | Cause::Livelock { .. }
            | Cause::TimeLimit { .. }
            | Cause::NotRepeatable(_) => None,
        }
    }
}

impl Failure {
    /// The machine on which it failed, unless it concerns all of them, or none but the scenario.
    pub(crate) fn machine(&self) -> Option<&str> {
        match &self.cause {
            Cause::ProcessFailed { machine, .. } => Some(machine),
            _ => self.location().map(|location| location.machine).filter(|machine| *machine != "scenario"),
        }
    }
}

impl fmt::Display for FailureLocation<'_> {
    /// One line for each known part: `machine`, `daemon`, `factory`, `task`, `place`.
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
        self.deadline_exceeded.iter().try_for_each(|exceeded| write!(f, "\n  {exceeded}"))?;
        Ok(())
    }
}

/// The cause of a failed run.
#[derive(Debug, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Cause {
    /// The scenario returned an error.
    Error(#[serde(with = "portable::error")] anyhow::Error),
    /// A panic that the scenario did not [allow](crate::Sim::allow_failure), even if it was caught.
    Panic {
        /// The panic message.
        message: String,
        /// The task that was polled, or whose future was dropped.
        task: TaskReport,
    },
    /// A broken [`assert_always!`](steelmill_core::assert_always) or
    /// [`assert_unreachable!`](steelmill_core::assert_unreachable).
    Assertion {
        /// The assertion.
        #[serde(with = "portable::point")]
        place: &'static Point,
        /// Its message, formatted.
        message: String,
        /// The task that reached it; `None` for a destructor that ran outside of tasks.
        task: Option<TaskReport>,
        /// The backtrace, with `RUST_BACKTRACE=1`.
        backtrace: Option<String>,
    },
    /// A process failed, a factory's or a program's; nobody looked at that, and it is not
    /// [allowed](crate::Sim::allow_failure).
    ProcessFailed {
        /// The machine.
        machine: String,
        /// The virtual time.
        at: Duration,
        /// The report of a factory, the exit code of a program, or why it did not start.
        failure: String,
    },
    /// No task is ready, no timer or message is pending, and the scenario has not returned.
    Deadlock {
        /// All tasks.
        tasks: Vec<TaskReport>,
    },
    /// Tasks were polled [`poll_limit`](crate::Settings::poll_limit) times while virtual time stood still.
    Livelock {
        /// The limit.
        polls: u64,
        /// The tasks that were polled last, the busiest first.
        tasks: Vec<TaskReport>,
    },
    /// Two runs of the seed differ.
    NotRepeatable(Box<Difference>),
    /// The virtual time limit was exceeded.
    TimeLimit {
        /// The limit.
        limit: Duration,
        /// All tasks.
        tasks: Vec<TaskReport>,
    },
}

/// The state of a task in a failure report.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[non_exhaustive]
pub struct TaskReport {
    /// Its machine.
    pub machine: String,
    /// The factory and the daemon that own it; `None` for a task that was not spawned on a daemon's scope.
    #[serde(with = "portable::owner")]
    pub owner: Option<Arc<Owner>>,
    /// Its name, given to `spawn`.
    #[serde(deserialize_with = "portable::text")]
    pub name: StaticStr,
    /// Where it was spawned.
    pub spawned_at: SourceLocation,
    /// What it waits for, if that is one of the sim's primitives or a well-known one; empty if it was running or has ended.
    #[serde(deserialize_with = "portable::text")]
    pub waits_for: StaticStr,
    /// The async stacks on which it waits when a run deadlocks, livelocks or exceeds a limit, or on which it waited when it
    /// was aborted at a deadline: one for each thing it waits for, up to four, innermost function first, with file and
    /// line. For a task that spins, where it wakes itself.
    ///
    /// A combinator with wakers of its own, such as `FuturesUnordered`, hides what it polls: only waits for the sim's
    /// primitives are found in it, or else the place where the combinator is awaited.
    pub waits_at: Vec<Vec<String>>,
    /// What each of the stacks waits for, where that is known and there are several.
    #[serde(default)]
    pub waits_for_each: Vec<Option<String>>,
    /// Who holds the lock or permits that it waits for, if that was found. Tasks are found with up to 50 tasks; threads of programs
    /// in runs with a process of their own, as [`check`](crate::check) and [`Campaign`](crate::Campaign) make them, at std's
    /// locks and glibc's mutexes.
    #[serde(default)]
    pub held_by: Option<Holder>,
    /// How often it was polled; 0 for a task that a tokio runtime polls, of which nothing is known but where it was spawned.
    pub polls: u64,
    /// In a livelock: its own polls among the last polls, and the number of those.
    pub recent_polls: Option<(u64, u64)>,
    /// It waits for a timer or for input, as an idle server does.
    pub(crate) is_at_rest: bool,
    /// It is in the run queue.
    pub(crate) is_ready: bool,
    /// The lock that this thread of a program waits for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) lock: Option<LockWord>,
    pub(crate) key: TaskKey,
}

/// Who holds a lock, or a semaphore's permits, that a stuck task waits for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Holder {
    /// This task holds it, or it was granted to a future of this task that is not polled.
    Task(String),
    /// No other task: so a future of the same task that it does not poll any more (a *futurelock*), or what lives outside of tasks.
    NoOtherTask,
    /// These threads of a program: one, or several that read what an `RwLock` holds. A thread may have ended since, or be the one that
    /// waits.
    Threads(Vec<String>),
}

impl TaskReport {
    /// Whether it is a thread of a program.
    pub(crate) fn is_thread(&self) -> bool {
        self.spawned_at.file().ends_with("steelmill-sim/src/machine/threads.rs")
    }

    /// Its machine, name and owner.
    pub(crate) fn who(&self) -> String {
        let owner = self.owner.as_ref().map(|owner| format!(" of {owner}")).unwrap_or_default();
        format!("{}: {:?}{owner}", self.machine, self.name)
    }
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Task(task) => write!(f, "held by {task}"),
            Self::Threads(threads) => write!(f, "held by {}", threads.join(" and ")),
            Self::NoOtherTask => f.write_str(
                "held by no other task: by a future of its own that it does not poll (a futurelock), or by what is kept outside of tasks",
            ),
        }
    }
}

impl fmt::Display for TaskReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { spawned_at, waits_for, waits_for_each, held_by, waits_at, polls, recent_polls, .. } = self;
        f.write_str(&self.who())?;
        // The name of a task that the lifecycle spawns says enough, and what spawned a thread is not known.
        if !spawned_at.file().contains("steelmill-core/src/lifecycle") && !self.is_thread() {
            write!(f, ", spawned at {spawned_at}")?;
        }
        if self.key == TaskKey::NONE {
            return Ok(());
        }
        write!(f, ", polled {polls} times")?;
        match recent_polls {
            Some((own, of)) => write!(f, ", {own} of them among the last {of}")?,
            None if waits_for.is_empty() => {}
            None => write!(f, ", waits for {waits_for}")?,
        }
        if let Some(holder) = held_by {
            write!(f, ", {holder}")?;
        }
        for (number, stack) in waits_at.iter().enumerate() {
            match (number, waits_for_each.get(number).and_then(Option::as_ref)) {
                (0, None) => {}
                (0, Some(what)) => write!(f, "\n    for {what}")?,
                (_, None) => f.write_str("\n    and")?,
                (_, Some(what)) => write!(f, "\n    and for {what}")?,
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
            Cause::Panic { message, task } => {
                write!(f, "panic: {message}\n  in {task}")?;
                return match task.machine == "scenario" {
                    true => Ok(()),
                    false => write!(
                        f,
                        "\n  a panic fails the run even where it is caught, unless it is allowed: `sim.allow_failure({:?}, \
                         \"part of its text\")`",
                        task.machine
                    ),
                };
            }
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
            Cause::ProcessFailed { machine, at, failure } => {
                return write!(
                    f,
                    "the process of {machine:?} failed at {:.9} s, and the scenario neither looked at that \
                     (`Machine::past_lives`, `Machine::ended`) nor allowed it (`Sim::allow_failure`): {failure}",
                    at.as_secs_f64()
                );
            }
            Cause::Deadlock { tasks } => {
                f.write_str("deadlock: no task is ready, and no timer or message is pending")?;
                tasks
            }
            Cause::Livelock { polls, tasks } => {
                write!(f, "livelock: {polls} polls without any time passing; the last were of")?;
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
        let recent = || tasks.iter().filter_map(|task| task.recent_polls);
        let listed: u64 = recent().map(|(own, _)| own).sum();
        let all = recent().map(|(_, all)| all).max().unwrap_or(0);
        if listed < all {
            write!(f, "\n  and tasks that have ended, polled {} times among the last {all}", all - listed)?;
        }
        Ok(())
    }
}
