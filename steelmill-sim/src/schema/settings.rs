//! The settings of a run: seed, schedule, faults, limits, and what to record or replay.

use std::fmt;
use std::ops::Range;
use std::str::FromStr;
use std::time::Duration;

use anyhow::ensure;
use serde::{Deserialize, Serialize};
use steelmill_core::Result;
use tracing::level_filters::LevelFilter;

use crate::schema::decision::{Decision, Reseed};
use crate::schema::estimates::Estimates;
use crate::schema::plan::{Faults, Plan};
use crate::schema::portable;

/// The seed of a run: all its randomness is derived from it, so that equal seeds give equal runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Seed(pub u64);

impl std::fmt::Display for Seed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// The scheduling policy: which of the ready tasks runs next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
#[non_exhaustive]
pub enum Schedule {
    /// A random one, and fast tasks more often. Each task has a speed, drawn when it is spawned: it is chosen 1, 2, 4, ...
    /// times as often as the slowest. How many speeds there are is drawn for each seed, 1, 3, 5 or 7; with one it is
    /// [`Uniform`](Schedule::Uniform).
    ///
    /// So some tasks lag far behind others, which an even chance at every step makes unlikely: a race in which one task takes
    /// many steps while another takes none is found in a few seeds.
    #[default]
    Weighted,
    /// A random one, each with the same chance.
    Uniform,
    /// The one that has been ready for longest.
    Fifo,
    /// The one with the highest priority: probabilistic concurrency testing, PCT (Burckhardt et al., "A randomized
    /// scheduler with probabilistic guarantees of finding bugs", ASPLOS 2010).
    ///
    /// Every task draws a priority when it is spawned. At `depth - 1` change points, drawn beforehand, the task to run
    /// next gets a priority below all others. A bug that needs `depth` orderings between tasks is found with a
    /// probability that does not vanish with the number of tasks, as it does with [`Uniform`](Schedule::Uniform).
    ///
    /// The length of a run is unknown. So it is split into rounds of random length: a power of two from 16 to 4096
    /// choices between tasks. Each round draws its change points and all priorities anew. Time stands still while a task is
    /// ready, so one that spins would starve all others: a hundred polls without time passing lower its priority, too.
    Pct {
        /// How many orderings a bug may need; at least 1.
        depth: u32,
    },
    /// A random one, each as likely as it has steps left: a uniform random walk through all orders of steps, for which it
    /// must be known how many each task makes (Zhao et al., "Selectively Uniform Concurrency Testing", ASPLOS 2025).
    ///
    /// With [`Uniform`](Schedule::Uniform), a task of few steps beside one of many nearly always ends first. Here each order of all
    /// their steps has the same chance: good where one task must be between two certain steps of another. Where one has to
    /// be far ahead of the other, [`Weighted`](Schedule::Weighted) finds more.
    ///
    /// A trial run counts the steps: that of seed 0, with faults of its own and the campaign's time limit. It makes every
    /// choice with even chances. A step is a poll, and those of one virtual time belong together, as time itself
    /// orders the others. Tasks are told apart by machine, name, and the order of their spawns; those that the trial did not
    /// have count as one step.
    Walk,
}

impl Schedule {
    /// Whether it chooses by single draws, which a plan's order may replace.
    pub(crate) fn follows_order(self) -> bool {
        matches!(self, Schedule::Weighted | Schedule::Uniform)
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Schedule::Weighted => f.write_str("weighted"),
            Schedule::Uniform => f.write_str("uniform"),
            Schedule::Fifo => f.write_str("fifo"),
            Schedule::Walk => f.write_str("walk"),
            Schedule::Pct { depth } => write!(f, "pct:{depth}"),
        }
    }
}

/// The error for a [`Schedule`] that is none of `weighted`, `uniform`, `fifo`, `walk`, and `pct:3` where 3 is the depth.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is not a schedule; there are: weighted, uniform, fifo, walk, pct:D with a depth D from 1 to {DEPTH_MAX}"
)]
pub struct UnknownSchedule(String);

/// Known bugs hardly ever need more than five orderings; this leaves room.
const DEPTH_MAX: u32 = 100;

impl FromStr for Schedule {
    type Err = UnknownSchedule;

    fn from_str(name: &str) -> Result<Self, UnknownSchedule> {
        let depth = |depth: &str| depth.parse().ok().filter(|depth| (1..=DEPTH_MAX).contains(depth));
        match name {
            "weighted" => Ok(Schedule::Weighted),
            "uniform" => Ok(Schedule::Uniform),
            "fifo" => Ok(Schedule::Fifo),
            "walk" => Ok(Schedule::Walk),
            _ => match name.strip_prefix("pct:").and_then(depth) {
                Some(depth) => Ok(Schedule::Pct { depth }),
                None => Err(UnknownSchedule(name.to_owned())),
            },
        }
    }
}

impl TryFrom<String> for Schedule {
    type Error = UnknownSchedule;

    fn try_from(name: String) -> Result<Self, UnknownSchedule> {
        name.parse()
    }
}

impl From<Schedule> for String {
    fn from(schedule: Schedule) -> Self {
        schedule.to_string()
    }
}

/// The settings of a run.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Settings {
    /// The seed.
    pub seed: Seed,
    /// The scheduling policy.
    pub schedule: Schedule,
    /// What [`Schedule::Walk`] draws by; `None` until a trial run has counted it, which is made first.
    pub estimates: Option<Estimates>,
    /// The faults to inject, if the scenario calls [`Sim::inject_faults`](crate::Sim::inject_faults).
    pub faults: Faults,
    /// The limit of virtual time; a longer run fails.
    pub time_limit: Duration,
    /// The limit of polls while virtual time stands still; above it the run fails as a livelock.
    pub poll_limit: u64,
    /// Whether to record all random draws, for a replay.
    pub record: bool,
    /// Whether to record a [`Trace`](crate::trace::Trace): all events and log lines.
    pub trace: bool,
    /// The range of events that a trace records, counted from 0; by default the first two million, some 200 MB. Changes of
    /// state (machines, links, daemons, faults, operations) before the range are recorded as well.
    pub trace_window: Range<u64>,
    /// Whether to record which code calls the system for time, entropy or threads.
    pub audit: bool,
    /// Whether a failed run reports the async stack on which each task waits: see
    /// [`TaskReport::waits_at`](crate::TaskReport::waits_at). Reading debug info takes a while, once per process. If tasks
    /// were aborted at a deadline, the failed run is repeated up to three times, without logging, to find their stacks:
    /// see [`Failure::deadline_exceeded`](crate::Failure::deadline_exceeded).
    pub stacks: bool,
    /// The level up to which `tracing` callsites are enabled, whether or not anybody logs or traces; by default all. An
    /// enabled callsite evaluates its fields, which must not depend on who listens. So no log has lines above this level; a
    /// lower one saves time if the program computes much for its log.
    #[serde(with = "portable::by_name")]
    pub log_level: LevelFilter,
    /// Recorded draws to replay. Past the end of the list draws are 0, and entropy comes from the seed.
    pub replay: Option<Vec<Decision>>,
    /// Virtual times from which on streams are drawn from another seed.
    pub reseeds: Vec<Reseed>,
    /// The real-time limit of one poll. Above it the seed fails, or the process exits and names the task: see
    /// [`Campaign::poll_time_limit`](crate::Campaign::poll_time_limit). Outside of a campaign it always exits.
    pub poll_time_limit: Option<Duration>,
}

/// Checks that the schedule follows the plan's order.
///
/// # Errors
/// When the plan has an order and the schedule does not follow one.
pub(crate) fn check_order_applies(schedule: Schedule, plan: &Plan) -> Result<()> {
    ensure!(
        schedule.follows_order() || plan.order.is_none(),
        "the plan has an \"order\" of tasks, which the schedule {schedule} does not follow: \
         leave that out, or take \"order\" out of the plan"
    );
    Ok(())
}

impl Settings {
    /// The default settings: weighted schedule, a day of virtual time, ten million polls per instant, no real-time limit.
    pub fn new(seed: Seed) -> Self {
        Self {
            seed,
            schedule: Schedule::Weighted,
            estimates: None,
            faults: Faults::Swarm,
            time_limit: Duration::from_secs(24 * 3600),
            poll_limit: 10_000_000,
            record: false,
            trace: false,
            trace_window: 0..2_000_000,
            audit: false,
            stacks: true,
            log_level: LevelFilter::TRACE,
            replay: None,
            reseeds: Vec::new(),
            poll_time_limit: None,
        }
    }

    /// The settings, and what [`Schedule::Walk`] draws by, if `trial` has to count it first: it makes the run of the settings
    /// it is given.
    pub(crate) fn after_trial(self, trial: impl FnOnce(Settings) -> Estimates) -> Self {
        if self.schedule != Schedule::Walk || self.estimates.is_some() {
            return self;
        }
        let counted = trial(Settings {
            schedule: Schedule::Walk,
            estimates: Some(Estimates::default()),
            log_level: self.log_level,
            time_limit: self.time_limit,
            poll_time_limit: self.poll_time_limit,
            stacks: false,
            ..Settings::new(Seed(0))
        });
        Self { estimates: Some(counted), ..self }
    }
}
