//! What a run is asked to be: its seed, its limits, its schedule, what to record or replay.

use std::fmt;
use std::ops::Range;
use std::str::FromStr;
use std::time::Duration;

use anyhow::ensure;
use serde::{Deserialize, Serialize};
use steelmill_core::Result;
use tracing::level_filters::LevelFilter;

use crate::schema::decision::{Decision, Reseed};
use crate::schema::plan::{Faults, Plan};

/// Where all randomness of a run comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Seed(pub u64);

impl std::fmt::Display for Seed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// Which of the ready tasks runs next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Schedule {
    /// Any of them, with equal chance.
    #[default]
    Uniform,
    /// The one that has been ready for longest.
    Fifo,
    /// The one with the highest priority: probabilistic concurrency testing (Burckhardt et al., "A randomized
    /// scheduler with probabilistic guarantees of finding bugs", ASPLOS 2010).
    ///
    /// Every task draws a priority when it is spawned, and `depth - 1` times the task whose turn it is falls below all
    /// others, at moments drawn beforehand. A bug that needs `depth` orderings between tasks is found with a
    /// probability that does not vanish with the number of tasks, as it does with [`Uniform`](Schedule::Uniform).
    ///
    /// How long a run will be is not known beforehand. So it is cut into rounds, each of a length that is drawn: from
    /// 16 choices between tasks to 4096, each power of two being as likely. Moments are drawn within a round, and with
    /// the next one all is drawn anew. A task that was polled a hundred times while no time passed falls below all
    /// others, too: time stands still while a task is ready, so one that spins would hold up everybody for ever.
    Pct {
        /// How many orderings the bugs to be found need; at least 1.
        depth: u32,
    },
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Schedule::Uniform => f.write_str("uniform"),
            Schedule::Fifo => f.write_str("fifo"),
            Schedule::Pct { depth } => write!(f, "pct:{depth}"),
        }
    }
}

/// The schedules are called `uniform`, `fifo`, and `pct:3` where 3 is the depth.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no schedule; there are: uniform, fifo, pct:D with a depth D from 1 to {DEPTH_MAX}")]
pub struct UnknownSchedule(String);

/// Bugs of more than five orderings have hardly been seen; this leaves room.
const DEPTH_MAX: u32 = 100;

impl FromStr for Schedule {
    type Err = UnknownSchedule;

    fn from_str(name: &str) -> Result<Self, UnknownSchedule> {
        let depth = |depth: &str| depth.parse().ok().filter(|depth| (1..=DEPTH_MAX).contains(depth));
        match name {
            "uniform" => Ok(Schedule::Uniform),
            "fifo" => Ok(Schedule::Fifo),
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
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where all randomness comes from.
    pub seed: Seed,
    /// Which task runs next.
    pub schedule: Schedule,
    /// What goes wrong, where the scenario lets it: see [`Sim::inject_faults`](crate::Sim::inject_faults).
    pub faults: Faults,
    /// How much virtual time may pass before the run fails.
    pub time_limit: Duration,
    /// How many polls may happen without any time passing before the run fails as a livelock.
    pub poll_limit: u64,
    /// Whether to keep the list of decisions.
    pub record: bool,
    /// Whether to keep the list of events, and what is logged meanwhile: see [`Trace`](crate::trace::Trace).
    pub trace: bool,
    /// Which events a trace keeps, counted from 0: the first two million unless something else is said, which are some
    /// 200 MB. What became of machines, ways, daemons, faults and operations before that is kept all the same.
    pub trace_window: Range<u64>,
    /// Whether to keep who asks the system for time, entropy or threads.
    pub audit: bool,
    /// Whether to find out where tasks wait when the run comes to a halt: see
    /// [`TaskReport::waits_at`](crate::TaskReport::waits_at). The first time in a process that takes a while. Where tasks
    /// were aborted at a deadline, a run that fails is made again for that, up to three times, in silence: see
    /// [`Failure::overstayed`](crate::Failure::overstayed).
    pub stacks: bool,
    /// Up to which level the callsites of `tracing` are enabled, whether or not anybody logs or traces: all by default. A log
    /// line's fields are evaluated where its callsite is enabled, and what is logged must not depend on who listens. So
    /// lines above this level appear in no log; a lower level saves time where a program evaluates much to log it.
    pub log_level: LevelFilter,
    /// Decisions to take instead of drawing; past the list's end, the defaults.
    pub replay: Option<Vec<Decision>>,
    /// Moments from which on streams draw as another seed would.
    pub reseeds: Vec<Reseed>,
    /// How long one poll may last in real time: then the process ends, with the seed and the task named, as a thread
    /// cannot be stopped from outside.
    pub poll_time_limit: Option<Duration>,
}

/// Makes sure that a plan's order is not ignored.
///
/// # Errors
/// When the plan has one, and the schedule is not the one whose choices it is made of; says what to do.
pub(crate) fn heeds_order(schedule: Schedule, plan: &Plan) -> Result<()> {
    ensure!(
        schedule == Schedule::Uniform || plan.order.is_none(),
        "the plan says in which order tasks go, which another schedule than uniform would ignore, and it is {schedule}: \
         leave that out, or take \"order\" out of the plan"
    );
    Ok(())
}

impl Settings {
    /// The settings of a plain run: uniform schedule, a day of virtual time, ten million polls without time passing,
    /// no look at the real clock.
    pub fn new(seed: Seed) -> Self {
        Self {
            seed,
            schedule: Schedule::Uniform,
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
}
