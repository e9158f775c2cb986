//! How seeds are verified to repeat, and where two runs of one differ.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::line::Line;

/// How a campaign makes sure that its seeds repeat: by their digests, and by how they end. The first run of a seed is
/// traced, and the second is not. Of a traced run the first two million events are kept, some 200 MB; where runs differ
/// only after those, it is said that they do, and not where.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verify {
    /// Each seed is run twice in this process: finds what outlives a run, such as a counter in a `static`.
    Twice,
    /// Each seed is run here and in another process: finds also what differs from process to process, such as an
    /// address used as a key. Costs the start of a process for each seed.
    ///
    /// The campaign must run on its program's main thread or, in a test, on the test's own, which the harness names
    /// after it: that is how the other process comes to the same campaign, through the same code. Campaigns that the
    /// thread ran before are run again on the way.
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

/// The ways of verifying are called `twice` and `process`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no way to verify a seed; there are: twice, process")]
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

/// Where two runs of one seed part.
#[derive(Debug, Clone)]
pub struct Difference {
    /// How many events they have in common.
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

/// What one of two runs did where they part.
#[derive(Debug, Clone)]
pub struct Side {
    /// The first event that the other run has not; `None` when its events ended there, or were not kept so far.
    pub event: Option<Line>,
    /// How it ended.
    pub end: String,
    /// Its digest.
    pub digest: u64,
}

/// How many events before the first that differs are shown.
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
                f.write_str("\n  (they read alike, but bytes that are not shown differ)")?;
            }
        } else if *only_untraced {
            f.write_str(
                "\n  the first was traced, the second was not; the second made again with a trace was the same as the first.\n  \
                 What formats a log field (its Display or Debug) may have an effect, such as a draw, or the difference comes and goes",
            )?;
        } else if first.digest == second.digest {
            f.write_str("\n  not in what happened, only in how they end")?;
        } else {
            write!(f, "\n  but not in the first {shared} events, and no more are kept")?;
        }
        let (end, other) = (&first.end, &second.end);
        if end == other {
            write!(f, "\n  both {end}")
        } else {
            write!(f, "\n  the first run {end}\n  {second_name}: {other}")
        }
    }
}
