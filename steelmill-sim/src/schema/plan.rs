//! The fault plan as data: which faults strike which machines and links, when, and for how long.

use std::collections::BTreeMap;
use std::fmt;
use std::num::NonZeroU64;
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use serde::{Deserialize, Serialize};
use steelmill_core::Result;

use super::disk_trouble::DiskTrouble;
use super::moment::Moment;
use super::rare_branch::RareBranch;
use super::segment::Segment;

/// The faults to inject into a run, as read from and written to JSON.
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
    /// The faults, in any order.
    pub faults: Vec<Fault>,
    /// The scheduling choices at which a random schedule does not take the oldest ready task; at all others it does.
    /// `None` leaves all choices to the seed. [`Campaign::shrink`](crate::Campaign::shrink) finds those that matter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order: Option<Vec<Choice>>,
    /// Limits of the workload, by name: see [`Sim::limit`](crate::Sim::limit). What is not listed keeps its full size.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub limits: BTreeMap<String, u64>,
}

/// A scheduling choice: which of several ready tasks is polled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Choice {
    /// Its index among the run's choices between several ready tasks.
    pub nth: u64,
    /// The number that was drawn: 0 is the oldest task, and each of the others has as many numbers as its speed says.
    pub place: u64,
}

/// One fault: its trigger, duration and kind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// Its trigger.
    pub when: When,
    /// Its duration. It ends at the latest with the fault injection.
    #[serde(with = "text", default, skip_serializing_if = "Duration::is_zero")]
    pub lasts: Duration,
    /// Its kind, with the machines that it strikes.
    pub what: Kind,
}

/// The trigger of a fault: a virtual time, or a lifecycle moment of a machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
#[non_exhaustive]
pub enum When {
    /// A virtual time since the run began.
    At(#[serde(with = "text")] Duration),
    /// A lifecycle moment of a machine, plus a delay.
    On {
        /// The machine.
        machine: String,
        /// The moment.
        moment: Moment,
        /// Its occurrence since the fault injection began; 1 is the first.
        #[serde(default = "first", skip_serializing_if = "is_first")]
        nth: u32,
        /// The delay.
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

fn is_zero(ppm: &u32) -> bool {
    *ppm == 0
}

/// The kind of a fault, with its parameters. Rates (`ppm`) are parts per million of messages.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
#[non_exhaustive]
pub enum Kind {
    /// A partition between two machines, in both directions.
    Partition {
        /// The two machines.
        between: [String; 2],
    },
    /// A partition in one direction.
    PartitionOneWay {
        /// The sender.
        from: String,
        /// The receiver, which gets nothing.
        to: String,
    },
    /// A partition of one machine from all others.
    Isolation {
        /// The machine.
        machine: String,
    },
    /// Higher latency between two machines.
    Slow {
        /// The two machines.
        between: [String; 2],
        /// The least extra latency.
        #[serde(with = "text")]
        delay_min: Duration,
        /// The greatest extra latency.
        #[serde(with = "text")]
        delay_max: Duration,
    },
    /// Higher latency of one way, by the same for every message.
    Latency {
        /// The sender.
        from: String,
        /// The receiver.
        to: String,
        /// The extra latency.
        #[serde(with = "text")]
        by: Duration,
    },
    /// Tail latency: a few messages between two machines are very late.
    Tail {
        /// The two machines.
        between: [String; 2],
        /// The rate of late messages.
        ppm: u32,
        /// The greatest extra latency.
        #[serde(with = "text")]
        delay_max: Duration,
    },
    /// Message loss between two machines.
    Loss {
        /// The two machines.
        between: [String; 2],
        /// The rate of lost messages.
        ppm: u32,
    },
    /// Duplication of datagrams between two machines.
    Duplication {
        /// The two machines.
        between: [String; 2],
        /// The rate of duplicated datagrams.
        ppm: u32,
    },
    /// Reordering of datagrams between two machines.
    Reordering {
        /// The two machines.
        between: [String; 2],
        /// The rate of overtaken datagrams.
        ppm: u32,
    },
    /// Limited bandwidth between two machines.
    Bandwidth {
        /// The two machines.
        between: [String; 2],
        /// The bandwidth of each direction.
        bytes_per_second: NonZeroU64,
    },
    /// Short transfers of streams between two machines: writes that take only some of the bytes, and messages that arrive in two
    /// parts.
    Torn {
        /// The two machines.
        between: [String; 2],
        /// The rate of either.
        ppm: u32,
    },
    /// Datagrams between two machines of which a byte is changed on the way, though the checksum of UDP fits.
    CorruptDatagrams {
        /// The two machines.
        between: [String; 2],
        /// The rate of such datagrams.
        ppm: u32,
    },
    /// Streams between two machines of which bytes are changed on the way, where no checksum sees it.
    CorruptStreams {
        /// The two machines.
        between: [String; 2],
        /// The rate of messages of which a byte is changed.
        ppm: u32,
    },
    /// The loss of exactly one TCP segment.
    LostSegment {
        /// The sender.
        from: String,
        /// The receiver.
        to: String,
        /// Its kind.
        segment: Segment,
        /// Which of those that are sent while the fault lasts; 1 is the first.
        #[serde(default = "first", skip_serializing_if = "is_first")]
        nth: u32,
    },
    /// Trouble with the name lookups of a machine: they take time, and some fail.
    Lookups {
        /// The machine that looks names up.
        machine: String,
        /// The greatest time that a lookup takes.
        #[serde(with = "text", default, skip_serializing_if = "Duration::is_zero")]
        delay_max: Duration,
        /// The rate of failing lookups.
        #[serde(default, skip_serializing_if = "is_zero")]
        failing_ppm: u32,
    },
    /// A reset of all connections between two machines.
    Reset {
        /// The two machines.
        between: [String; 2],
    },
    /// The crash of a process, which is restarted when the fault ends.
    Exit {
        /// Its machine.
        machine: String,
    },
    /// The power loss of a machine, which is restarted when the fault ends.
    PowerLoss {
        /// The machine.
        machine: String,
    },
    /// A pause of a process until the fault ends.
    Pause {
        /// Its machine.
        machine: String,
    },
    /// A machine has other addresses until the fault ends, as by DHCP.
    AddressChange {
        /// The machine.
        machine: String,
    },
    /// A machine sleeps until the fault ends: its monotonic clock stands still, its wall clock goes on.
    Suspension {
        /// The machine.
        machine: String,
    },
    /// Repeated crashes and restarts of a process.
    RestartStorm {
        /// Its machine.
        machine: String,
        /// How many times, spread over the fault's duration.
        times: u32,
    },
    /// A wrong wall clock until the fault ends.
    ClockOffset {
        /// The machine.
        machine: String,
        /// The offset.
        #[serde(with = "text")]
        by: Duration,
        /// Whether it is behind rather than ahead.
        #[serde(default)]
        behind: bool,
    },
    /// A jump of a wall clock, which stays wrong until the fault injection ends.
    ClockJump {
        /// The machine.
        machine: String,
        /// The distance.
        #[serde(with = "text")]
        by: Duration,
        /// Whether it jumps back rather than forward.
        #[serde(default)]
        back: bool,
    },
    /// Drift of a machine's clocks, the monotonic one included, until the fault ends.
    Drift {
        /// The machine.
        machine: String,
        /// The rate: too fast by this many parts per million; too slow if negative.
        ppm: i64,
    },
    /// A slow machine: its ready tasks are polled late.
    SlowMachine {
        /// The machine.
        machine: String,
        /// The greatest delay of a poll.
        #[serde(with = "text")]
        delay_max: Duration,
    },
    /// A rare branch ([`buggify!`](steelmill_core::buggify)) may be taken, at its rate.
    Buggify {
        /// The branch: its module and its ordinal there, as in `demo_app::link#1`.
        place: String,
    },
    /// Trouble with a machine's disk.
    Disk {
        /// The machine.
        machine: String,
        /// What goes wrong.
        trouble: DiskTrouble,
    },
    /// A fault that the scenario implements ([`Nemesis::own`](crate::fault::Nemesis::own)). It ends by itself.
    Own {
        /// Its name.
        name: String,
        /// The seed of its choices.
        number: u64,
    },
}

/// A family of faults: the kind without its parameters. Swarm testing draws, and a budget rules out, faults by family.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "each is the kind of that name")]
#[non_exhaustive]
pub enum Family {
    Partition,
    PartitionOneWay,
    Isolation,
    Slow,
    Latency,
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
    DiskErrors,
    DiskFull,
    SlowDisk,
    ShortTransfers,
    Corruption,
    Torn,
    Lookups,
    CorruptDatagrams,
    CorruptStreams,
    LostSegment,
    Suspension,
    AddressChange,
}

impl Family {
    /// All families.
    pub const ALL: [Self; 33] = [
        Self::Partition,
        Self::PartitionOneWay,
        Self::Isolation,
        Self::Slow,
        Self::Latency,
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
        Self::DiskErrors,
        Self::DiskFull,
        Self::SlowDisk,
        Self::ShortTransfers,
        Self::Corruption,
        Self::Torn,
        Self::Lookups,
        Self::CorruptDatagrams,
        Self::CorruptStreams,
        Self::LostSegment,
        Self::Suspension,
        Self::AddressChange,
    ];
}

/// The source of a run's faults.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Faults {
    /// A plan drawn from the seed, within the scenario's budget.
    #[default]
    Swarm,
    /// No faults.
    None,
    /// A given plan.
    Plan(Plan),
}

impl Plan {
    /// Parses a plan.
    ///
    /// # Errors
    /// When the JSON is not a plan; names the line and the problem.
    pub fn from_json(json: &str) -> Result<Self> {
        Ok(serde_json::from_str(json)?)
    }

    /// Reads a plan from a file.
    ///
    /// # Errors
    /// When the file cannot be read, or is not a plan; names the file, the line and the problem.
    pub fn read(path: &Path) -> Result<Self> {
        let json = std::fs::read_to_string(path).with_context(|| {
            format!("{} is neither swarm, none, nor a file that can be read", path.display())
        })?;
        Self::from_json(&json).with_context(|| format!("{} is not a fault plan", path.display()))
    }

    /// The plan as JSON that [`from_json`](Plan::from_json) reads, one fault per line.
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

/// `1st`, `2nd`, `3rd`, `4th`, ...
fn ordinal(number: u32) -> String {
    let ending = match (number % 10, number % 100) {
        (_, 11..=13) => "th",
        (1, _) => "st",
        (2, _) => "nd",
        (3, _) => "rd",
        _ => "th",
    };
    format!("{number}{ending}")
}

impl fmt::Display for When {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            When::At(at) => write!(f, "at {at:?}"),
            When::On { machine, moment, nth, after } => {
                match after.is_zero() {
                    true => write!(f, "when {machine} is {moment}")?,
                    false => write!(f, "{after:?} after {machine} is {moment}")?,
                }
                if *nth > 1 { write!(f, " for the {} time", ordinal(*nth)) } else { Ok(()) }
            }
        }
    }
}

impl Kind {
    /// Its family.
    pub fn family(&self) -> Family {
        match self {
            Self::Partition { .. } => Family::Partition,
            Self::PartitionOneWay { .. } => Family::PartitionOneWay,
            Self::Isolation { .. } => Family::Isolation,
            Self::Slow { .. } => Family::Slow,
            Self::Latency { .. } => Family::Latency,
            Self::Tail { .. } => Family::Tail,
            Self::Loss { .. } => Family::Loss,
            Self::Duplication { .. } => Family::Duplication,
            Self::Reordering { .. } => Family::Reordering,
            Self::Bandwidth { .. } => Family::Bandwidth,
            Self::Torn { .. } => Family::Torn,
            Self::CorruptDatagrams { .. } => Family::CorruptDatagrams,
            Self::CorruptStreams { .. } => Family::CorruptStreams,
            Self::Lookups { .. } => Family::Lookups,
            Self::LostSegment { .. } => Family::LostSegment,
            Self::Reset { .. } => Family::Reset,
            Self::Exit { .. } => Family::Exit,
            Self::PowerLoss { .. } => Family::PowerLoss,
            Self::Pause { .. } => Family::Pause,
            Self::AddressChange { .. } => Family::AddressChange,
            Self::Suspension { .. } => Family::Suspension,
            Self::RestartStorm { .. } => Family::RestartStorm,
            Self::ClockOffset { .. } => Family::ClockOffset,
            Self::ClockJump { .. } => Family::ClockJump,
            Self::Drift { .. } => Family::Drift,
            Self::SlowMachine { .. } => Family::SlowMachine,
            Self::Buggify { .. } => Family::Buggify,
            Self::Own { .. } => Family::Own,
            Self::Disk { trouble, .. } => trouble.family(),
        }
    }

    /// The machines that it strikes: both ends of a link, the sender first; none for rare branches and a scenario's own.
    pub fn machines(&self) -> Vec<&str> {
        match self {
            Kind::Partition { between }
            | Kind::Slow { between, .. }
            | Kind::Tail { between, .. }
            | Kind::Loss { between, .. }
            | Kind::Duplication { between, .. }
            | Kind::Reordering { between, .. }
            | Kind::Bandwidth { between, .. }
            | Kind::Torn { between, .. }
            | Kind::CorruptDatagrams { between, .. }
            | Kind::CorruptStreams { between, .. }
            | Kind::Reset { between } => between.iter().map(String::as_str).collect(),
            Kind::PartitionOneWay { from, to }
            | Kind::Latency { from, to, .. }
            | Kind::LostSegment { from, to, .. } => vec![from, to],
            Kind::Isolation { machine }
            | Kind::Exit { machine }
            | Kind::PowerLoss { machine }
            | Kind::Lookups { machine, .. }
            | Kind::Pause { machine }
            | Kind::Suspension { machine }
            | Kind::AddressChange { machine }
            | Kind::RestartStorm { machine, .. }
            | Kind::ClockOffset { machine, .. }
            | Kind::ClockJump { machine, .. }
            | Kind::Drift { machine, .. }
            | Kind::Disk { machine, .. }
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
            Kind::Latency { from, to, by } => write!(f, "messages from {from} to {to} are {by:?} late"),
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
            Kind::Torn { between: [a, b], ppm } => {
                write!(
                    f,
                    "{} % of writes to streams between {a} and {b} are short or arrive in two parts",
                    share(ppm)
                )
            }
            Kind::CorruptDatagrams { between: [a, b], ppm } => {
                write!(f, "{} % of datagrams between {a} and {b} are changed on the way", share(ppm))
            }
            Kind::CorruptStreams { between: [a, b], ppm } => {
                write!(
                    f,
                    "{} % of messages of streams between {a} and {b} are changed on the way",
                    share(ppm)
                )
            }
            Kind::LostSegment { from, to, segment, nth: 1 } => {
                write!(f, "the first {segment} from {from} to {to} is lost")
            }
            Kind::LostSegment { from, to, segment, nth } => {
                write!(f, "the {} {segment} from {from} to {to} is lost", ordinal(*nth))
            }
            Kind::Lookups { machine, delay_max, failing_ppm: 0 } => {
                write!(f, "names that {machine} looks up are found up to {delay_max:?} later")
            }
            Kind::Lookups { machine, delay_max, failing_ppm } => {
                write!(f, "{} % of name lookups of {machine} fail", share(failing_ppm))?;
                match delay_max.is_zero() {
                    true => Ok(()),
                    false => write!(f, ", and all take up to {delay_max:?}"),
                }
            }
            Kind::Reset { between: [a, b] } => write!(f, "connections between {a} and {b} are reset"),
            Kind::Exit { machine } => write!(f, "the process of {machine} dies"),
            Kind::PowerLoss { machine } => write!(f, "{machine} loses its power"),
            Kind::Pause { machine } => write!(f, "{machine} is paused"),
            Kind::AddressChange { machine } => write!(f, "{machine} has another address"),
            Kind::Suspension { machine } => write!(f, "{machine} is suspended"),
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
            Kind::Disk { machine, trouble } => write!(f, "the disk of {machine}: {trouble}"),
            // Its number says nothing to a reader; it is in the plan's JSON.
            Kind::Own { name, .. } => f.write_str(name),
        }
    }
}

/// Serialisation of durations as `1s 500ms`.
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
            D::Error::custom(format!("{text:?} is not a duration such as \"1s 500ms\": {error}"))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_error_of_a_broken_plan_names_the_problem_and_its_line() {
        for (json, expected) in [
            (
                r#"{"faults": [{"when": {"at": "soon"}, "what": {"exit": {"machine": "a"}}}]}"#,
                "\"soon\" is not a duration",
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
