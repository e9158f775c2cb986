//! Faults as data: what goes wrong in a run, when, and with whom.

use std::collections::BTreeMap;
use std::fmt;
use std::num::NonZeroU64;
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use serde::{Deserialize, Serialize};
use steelmill_core::Result;

use super::moment::Moment;
use super::rare_branch::RareBranch;

/// What goes wrong in a run.
///
/// ```
/// use steelmill_sim::fault::Plan;
///
/// let plan = Plan::from_json(r#"{"faults": [
///     {"when": {"at": "12s 300ms"}, "lasts": "4s", "what": {"partition": {"between": ["store", "gateway-1"]}}},
///     {"when": {"on": {"machine": "gateway-1", "moment": "stopping", "nth": 2, "after": "3ms"}},
///      "lasts": "1s", "what": {"power_loss": {"machine": "gateway-1"}}}
/// ]}"#)?;
/// assert_eq!(Plan::from_json(&plan.to_json())?, plan);
/// # anyhow::Ok(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// The faults, in no order that matters.
    pub faults: Vec<Fault>,
    /// Where a task goes first that has not been ready for longest, under the uniform schedule: at these choices alone.
    /// `None` leaves them to the seed. [`Campaign::shrink`](crate::Campaign::shrink) finds those that matter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order: Option<Vec<Choice>>,
    /// How much there is of what the scenario lets be less: see [`Sim::limit`](crate::Sim::limit). Of what is not here
    /// there is as much as ever.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub limits: BTreeMap<String, u64>,
}

/// A choice among ready tasks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Choice {
    /// How many choices between several ready tasks came before it in the run.
    pub nth: u64,
    /// Which of them goes first: how many have been ready for longer.
    pub place: u64,
}

/// One thing that goes wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// When it begins.
    pub when: When,
    /// How long it lasts. It ends at the latest with the fault injection.
    #[serde(with = "text", default, skip_serializing_if = "Duration::is_zero")]
    pub lasts: Duration,
    /// What it is, and whom it strikes.
    pub what: Kind,
}

/// When a fault begins.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum When {
    /// At a time since the run began.
    At(#[serde(with = "text")] Duration),
    /// Some time after a machine has come to a moment of its life.
    On {
        /// The machine.
        machine: String,
        /// What it comes to.
        moment: Moment,
        /// Which occurrence since the fault injection began; 1 is the first.
        #[serde(default = "first", skip_serializing_if = "is_first")]
        nth: u32,
        /// How long after that.
        #[serde(with = "text", default, skip_serializing_if = "Duration::is_zero")]
        after: Duration,
    },
}

fn first() -> u32 {
    1
}

fn is_first(nth: &u32) -> bool {
    *nth == 1
}

/// What can go wrong. Rates are in parts per million of messages.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Kind {
    /// Two machines are cut off from each other.
    Partition {
        /// Which two.
        between: [String; 2],
    },
    /// What one machine sends another is lost.
    PartitionOneWay {
        /// The one that sends.
        from: String,
        /// The one that hears nothing.
        to: String,
    },
    /// A machine is cut off from all others.
    Isolation {
        /// Which.
        machine: String,
    },
    /// Messages between two machines take longer.
    Slow {
        /// Which two.
        between: [String; 2],
        /// By at least this,
        #[serde(with = "text")]
        delay_min: Duration,
        /// and at most this.
        #[serde(with = "text")]
        delay_max: Duration,
    },
    /// A few messages between two machines take much longer.
    Tail {
        /// Which two.
        between: [String; 2],
        /// How many messages.
        ppm: u32,
        /// By how much at most.
        #[serde(with = "text")]
        delay_max: Duration,
    },
    /// Messages between two machines are lost.
    Loss {
        /// Which two.
        between: [String; 2],
        /// How many.
        ppm: u32,
    },
    /// Datagrams between two machines arrive twice.
    Duplication {
        /// Which two.
        between: [String; 2],
        /// How many.
        ppm: u32,
    },
    /// Datagrams between two machines overtake each other.
    Reordering {
        /// Which two.
        between: [String; 2],
        /// How many are overtaken.
        ppm: u32,
    },
    /// Two machines can send each other only so much.
    Bandwidth {
        /// Which two.
        between: [String; 2],
        /// How much, each way.
        bytes_per_second: NonZeroU64,
    },
    /// The connections between two machines are reset.
    Reset {
        /// Which two.
        between: [String; 2],
    },
    /// A process dies, and is started again when the fault ends.
    Exit {
        /// On which machine.
        machine: String,
    },
    /// A machine loses its power, and is started again when the fault ends.
    PowerLoss {
        /// Which.
        machine: String,
    },
    /// A process does nothing until the fault ends.
    Pause {
        /// On which machine.
        machine: String,
    },
    /// A process dies and is started again, over and over.
    RestartStorm {
        /// On which machine.
        machine: String,
        /// How many times, spread over the time the fault lasts.
        times: u32,
    },
    /// A wall clock is wrong until the fault ends.
    ClockOffset {
        /// Whose.
        machine: String,
        /// By how much.
        #[serde(with = "text")]
        by: Duration,
        /// Whether it is behind rather than ahead.
        #[serde(default)]
        behind: bool,
    },
    /// A wall clock jumps, and stays wrong until the fault injection ends.
    ClockJump {
        /// Whose.
        machine: String,
        /// By how much.
        #[serde(with = "text")]
        by: Duration,
        /// Whether it jumps back rather than forward.
        #[serde(default)]
        back: bool,
    },
    /// A clock, the monotonic one included, goes too fast or too slow until the fault ends.
    Drift {
        /// Whose.
        machine: String,
        /// By how many parts per million; too slow below zero.
        ppm: i64,
    },
    /// A machine turns to its tasks late.
    SlowMachine {
        /// Which.
        machine: String,
        /// By how much at most, each time.
        #[serde(with = "text")]
        delay_max: Duration,
    },
    /// A rare branch, a [`buggify!`](steelmill_core::buggify), may be taken, at its rate.
    Buggify {
        /// Which: the module it is written in, and the how manieth there it is, as in `demo_app::link#1`.
        place: String,
    },
    /// What only the scenario knows how to do; see [`Nemesis::own`](crate::fault::Nemesis::own). It ends by itself.
    Own {
        /// What the scenario calls it.
        name: String,
        /// Where it takes its choices from.
        number: u64,
    },
}

/// Kinds of faults that are drawn, and can be ruled out, together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "each is the kind of that name")]
pub enum Family {
    Partition,
    PartitionOneWay,
    Isolation,
    Slow,
    Tail,
    Loss,
    Duplication,
    Reordering,
    Bandwidth,
    Reset,
    Exit,
    PowerLoss,
    Pause,
    RestartStorm,
    ClockOffset,
    ClockJump,
    Drift,
    SlowMachine,
    Buggify,
    Own,
}

impl Family {
    /// All of them.
    pub const ALL: [Self; 20] = [
        Self::Partition,
        Self::PartitionOneWay,
        Self::Isolation,
        Self::Slow,
        Self::Tail,
        Self::Loss,
        Self::Duplication,
        Self::Reordering,
        Self::Bandwidth,
        Self::Reset,
        Self::Exit,
        Self::PowerLoss,
        Self::Pause,
        Self::RestartStorm,
        Self::ClockOffset,
        Self::ClockJump,
        Self::Drift,
        Self::SlowMachine,
        Self::Buggify,
        Self::Own,
    ];
}

/// Which faults a run has.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Faults {
    /// Those that are drawn from its seed, within the scenario's budget.
    #[default]
    Swarm,
    /// None.
    None,
    /// These.
    Plan(Plan),
}

impl Plan {
    /// Reads a plan.
    ///
    /// # Errors
    /// When it is not one; says in which line, and what is wrong there.
    pub fn from_json(json: &str) -> Result<Self> {
        Ok(serde_json::from_str(json)?)
    }

    /// Reads a plan from a file.
    ///
    /// # Errors
    /// When the file cannot be read, or is no plan; says which, where, and what is wrong.
    pub fn read(path: &Path) -> Result<Self> {
        let json = std::fs::read_to_string(path).with_context(|| {
            format!("{} is neither swarm, none, nor a file that can be read", path.display())
        })?;
        Self::from_json(&json).with_context(|| format!("{} is no plan of faults", path.display()))
    }

    /// A plan as [`from_json`](Plan::from_json) reads it, a line for each fault.
    pub fn to_json(&self) -> String {
        let fault = |fault: &Fault| serde_json::to_string(fault).expect("a fault is plain data");
        let faults: Vec<String> = self.faults.iter().map(|it| format!("\n  {}", fault(it))).collect();
        let order = self.order.as_ref().map(|order| {
            let order = serde_json::to_string(order).expect("choices are plain data");
            format!(",\n\"order\": {order}")
        });
        let limits = (!self.limits.is_empty()).then(|| {
            let limits = serde_json::to_string(&self.limits).expect("numbers are plain data");
            format!(",\n\"limits\": {limits}")
        });
        let (order, limits) = (order.unwrap_or_default(), limits.unwrap_or_default());
        format!("{{\"faults\": [{}\n]{limits}{order}}}\n", faults.join(","))
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, {}", self.when, self.what)?;
        match self.lasts.is_zero() {
            true => Ok(()),
            false => write!(f, ", for {:?}", self.lasts),
        }
    }
}

impl fmt::Display for When {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            When::At(at) => write!(f, "at {at:?}"),
            When::On { machine, moment, nth, after } => {
                write!(f, "{after:?} after {machine} is {moment}")?;
                if *nth > 1 { write!(f, " for the {nth}. time") } else { Ok(()) }
            }
        }
    }
}

impl Kind {
    /// What it is drawn, and can be ruled out, together with.
    pub fn family(&self) -> Family {
        match self {
            Self::Partition { .. } => Family::Partition,
            Self::PartitionOneWay { .. } => Family::PartitionOneWay,
            Self::Isolation { .. } => Family::Isolation,
            Self::Slow { .. } => Family::Slow,
            Self::Tail { .. } => Family::Tail,
            Self::Loss { .. } => Family::Loss,
            Self::Duplication { .. } => Family::Duplication,
            Self::Reordering { .. } => Family::Reordering,
            Self::Bandwidth { .. } => Family::Bandwidth,
            Self::Reset { .. } => Family::Reset,
            Self::Exit { .. } => Family::Exit,
            Self::PowerLoss { .. } => Family::PowerLoss,
            Self::Pause { .. } => Family::Pause,
            Self::RestartStorm { .. } => Family::RestartStorm,
            Self::ClockOffset { .. } => Family::ClockOffset,
            Self::ClockJump { .. } => Family::ClockJump,
            Self::Drift { .. } => Family::Drift,
            Self::SlowMachine { .. } => Family::SlowMachine,
            Self::Buggify { .. } => Family::Buggify,
            Self::Own { .. } => Family::Own,
        }
    }

    /// The machines that it strikes, by name: those at both ends of a link, the sender first; none where only the scenario
    /// knows.
    pub fn machines(&self) -> Vec<&str> {
        match self {
            Kind::Partition { between }
            | Kind::Slow { between, .. }
            | Kind::Tail { between, .. }
            | Kind::Loss { between, .. }
            | Kind::Duplication { between, .. }
            | Kind::Reordering { between, .. }
            | Kind::Bandwidth { between, .. }
            | Kind::Reset { between } => between.iter().map(String::as_str).collect(),
            Kind::PartitionOneWay { from, to } => vec![from, to],
            Kind::Isolation { machine }
            | Kind::Exit { machine }
            | Kind::PowerLoss { machine }
            | Kind::Pause { machine }
            | Kind::RestartStorm { machine, .. }
            | Kind::ClockOffset { machine, .. }
            | Kind::ClockJump { machine, .. }
            | Kind::Drift { machine, .. }
            | Kind::SlowMachine { machine, .. } => vec![machine],
            Kind::Buggify { .. } | Kind::Own { .. } => Vec::new(),
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let share = |ppm: &u32| f64::from(*ppm) / 10_000.0;
        match self {
            Kind::Partition { between: [a, b] } => write!(f, "{a} and {b} are cut off from each other"),
            Kind::PartitionOneWay { from, to } => write!(f, "nothing gets from {from} to {to}"),
            Kind::Isolation { machine } => write!(f, "{machine} is cut off from all others"),
            Kind::Slow { between: [a, b], delay_min, delay_max } => {
                write!(f, "messages between {a} and {b} are {delay_min:?} to {delay_max:?} late")
            }
            Kind::Tail { between: [a, b], ppm, delay_max } => {
                write!(f, "{} % of messages between {a} and {b} are up to {delay_max:?} late", share(ppm))
            }
            Kind::Loss { between: [a, b], ppm } => {
                write!(f, "{} % of messages between {a} and {b} are lost", share(ppm))
            }
            Kind::Duplication { between: [a, b], ppm } => {
                write!(f, "{} % of datagrams between {a} and {b} arrive twice", share(ppm))
            }
            Kind::Reordering { between: [a, b], ppm } => {
                write!(f, "{} % of datagrams between {a} and {b} are overtaken", share(ppm))
            }
            Kind::Bandwidth { between: [a, b], bytes_per_second } => {
                write!(f, "{a} and {b} can send each other {bytes_per_second} bytes a second")
            }
            Kind::Reset { between: [a, b] } => write!(f, "connections between {a} and {b} are reset"),
            Kind::Exit { machine } => write!(f, "the process of {machine} dies"),
            Kind::PowerLoss { machine } => write!(f, "{machine} loses its power"),
            Kind::Pause { machine } => write!(f, "{machine} is paused"),
            Kind::RestartStorm { machine, times } => {
                write!(f, "the process of {machine} dies and starts again {times} times")
            }
            Kind::ClockOffset { machine, by, behind } => {
                write!(
                    f,
                    "the wall clock of {machine} is {by:?} {}",
                    if *behind { "behind" } else { "ahead" }
                )
            }
            Kind::ClockJump { machine, by, back } => {
                write!(
                    f,
                    "the wall clock of {machine} jumps {by:?} {}",
                    if *back { "back" } else { "forward" }
                )
            }
            Kind::Drift { machine, ppm } => write!(f, "the clock of {machine} drifts by {ppm} ppm"),
            Kind::SlowMachine { machine, delay_max } => write!(f, "{machine} is up to {delay_max:?} late"),
            Kind::Buggify { place } => match RareBranch::place(place) {
                Some(at) => write!(f, "the rare branch {place} may be taken, at {at}"),
                None => write!(f, "the rare branch {place} may be taken"),
            },
            Kind::Own { name, number } => write!(f, "{name} ({number})"),
        }
    }
}

/// Durations as people write them: `1s 500ms`.
pub(crate) mod text {
    use std::time::Duration;

    use serde::de::Error as _;
    use serde::{Deserialize as _, Deserializer, Serializer};

    pub(crate) fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&humantime::format_duration(*duration))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        let text = String::deserialize(deserializer)?;
        humantime::parse_duration(&text).map_err(|error| {
            D::Error::custom(format!("{text:?} is no duration such as \"1s 500ms\": {error}"))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_with_a_plan_is_said_with_its_place() {
        for (json, expected) in [
            (
                r#"{"faults": [{"when": {"at": "soon"}, "what": {"exit": {"machine": "a"}}}]}"#,
                "\"soon\" is no duration",
            ),
            (
                r#"{"faults": [{"when": {"at": "1s"}, "last": "1s", "what": {"exit": {"machine": "a"}}}]}"#,
                "unknown field `last`",
            ),
            (r#"{"faults": [{"when": {"at": "1s"}, "what": {"quake": {}}}]}"#, "unknown variant `quake`"),
            (
                r#"{"faults": [{"when": {"at": "1s"}, "what": {"loss": {"between": ["a", "b"]}}}]}"#,
                "missing field `ppm`",
            ),
            ("{", "EOF"),
        ] {
            let error = Plan::from_json(json).expect_err(json).to_string();
            assert!(error.contains(expected) && error.contains("line 1"), "{error}");
        }
    }

    #[test]
    fn every_nanosecond_survives_being_written() {
        let lasts = Duration::new(86_399, 123_456_789);
        let when = When::At(Duration::from_nanos(1));
        let faults = vec![Fault { when, lasts, what: Kind::Exit { machine: "a".into() } }];
        let order = Some(vec![Choice { nth: 7, place: 2 }]);
        let limits = [("clients".to_owned(), 2), ("\"odd\"".to_owned(), u64::MAX)].into();
        let plan = Plan { faults, order, limits };
        assert_eq!(Plan::from_json(&plan.to_json()).expect("it was written so"), plan);
    }
}
