//! Verification of determinism: a seed is run twice, and the first event that differs is reported.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::line::Line;

/// How a campaign verifies that its seeds are deterministic: it runs each twice, first with a trace and then without, and
/// compares digests and outcomes. Two million events of a traced run are recorded, some 200 MB; a later difference is
/// reported without its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Verify {
    /// Runs each seed twice in this process: finds state that outlives a run, such as a counter in a `static`.
    Twice,
    /// Runs each seed here and in another process: finds also what differs between processes, such as an address used as
    /// a key. Costs the start of a process per seed.
    ///
    /// The other process reaches the campaign through the same code, repeating campaigns before it. So it must run on the
    /// program's main thread or, in a test, on the test's own, which the harness names after it.
    Process,
}

impl fmt::Display for Verify {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Verify::Twice => "twice",
            Verify::Process => "process",
        })
    }
}

/// The error for a [`Verify`] that is neither `twice` nor `process`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a verification mode; there are: twice, process")]
pub struct UnknownVerify(String);

impl FromStr for Verify {
    type Err = UnknownVerify;

    fn from_str(name: &str) -> Result<Self, UnknownVerify> {
        match name {
            "twice" => Ok(Verify::Twice),
            "process" => Ok(Verify::Process),
            _ => Err(UnknownVerify(name.to_owned())),
        }
    }
}

/// The first difference between two runs of one seed.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Difference {
    /// The number of events that both runs share.
    pub shared: u64,
    /// The last of those.
    pub before: Vec<Line>,
    /// The first run.
    pub first: Side,
    /// The second run.
    pub second: Side,
    /// How the second run was made.
    pub verify: Verify,
    /// Whether the second run was the same as the first when it was made again with a trace, as the first was.
    pub only_untraced: bool,
}

/// One of two runs that differ.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Side {
    /// Its first event that differs; `None` if it has no more events, or none was recorded that far.
    pub event: Option<Line>,
    /// Its outcome, in words.
    pub end: String,
    /// Its digest.
    pub digest: u64,
}

/// How many shared events before the difference are shown.
pub(crate) const SHOWN: usize = 12;

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { shared, before, first, second, verify, only_untraced } = self;
        let second_name = match verify {
            Verify::Twice => "the second run",
            Verify::Process => "the second run, in another process",
        };
        f.write_str("not repeatable: two runs of this seed differ")?;
        if first.event.is_some() || second.event.is_some() {
            write!(f, "\n  after {shared} events that both have, the last being")?;
            before.iter().try_for_each(|line| write!(f, "\n    {line}"))?;
            for (name, side) in [("the first run", first), (second_name, second)] {
                match &side.event {
                    Some(line) => write!(f, "\n  {name}:\n    {line}")?,
                    None => write!(f, "\n  {name} has no more events")?,
                }
            }
            if first.event.as_ref().map(Line::to_string) == second.event.as_ref().map(Line::to_string) {
                f.write_str("\n  (the lines are equal, but bytes that are not shown differ)")?;
            }
        } else if *only_untraced {
            f.write_str(
                "\n  the first was traced, the second was not; the second made again with a trace was the same as the first.\n  \
                 What formats a log field (its Display or Debug) may have an effect, such as a draw; something may decide by addresses in \
                 memory, which a trace takes a share of (parking_lot does, by those of its locks); or the difference comes and goes",
            )?;
        } else if first.digest == second.digest {
            f.write_str("\n  their events are equal, only their outcomes differ")?;
        } else {
            write!(f, "\n  but not in the first {shared} events, and no more are recorded")?;
        }
        let (end, other) = (&first.end, &second.end);
        if end == other {
            write!(f, "\n  both {end}")
        } else {
            write!(f, "\n  the first run {end}\n  {second_name}: {other}")
        }
    }
}
