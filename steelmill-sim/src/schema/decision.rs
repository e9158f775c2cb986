//! Recorded random draws: the stream of a draw, its value, and reseeding from a time on.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::plan::Family;

/// The purpose of a random draw. Each stream is independent: one more draw in one leaves all others as they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Stream {
    /// Which ready task runs next: 0 is the oldest, and each of the others has as many numbers as its speed says; under
    /// [`Pct`](crate::Schedule::Pct) a priority.
    Schedule,
    /// How many speeds tasks may have, then the logarithm of each task's: see [`Weighted`](crate::Schedule::Weighted).
    Speed,
    /// A message's latency: nanoseconds above the link's minimum.
    Latency,
    /// The scenario's own choices, made by [`Sim::draw`](crate::Sim::draw).
    Fault,
    /// Entropy that a machine's code reads; the number is the machine's.
    Entropy(u32),
    /// Whether an impaired link loses a message: 0 to 999,999, lost below the rate in ppm.
    Loss,
    /// Whether an impaired link duplicates a datagram: 0 to 999,999, duplicated below the rate in ppm.
    Duplication,
    /// Whether an impaired link reorders a datagram: 0 to 999,999, as for `Loss`; then its delay in nanoseconds.
    Reordering,
    /// Whether a message gets a tail latency: 0 to 999,999, as for `Loss`; then the extra latency in nanoseconds.
    Tail,
    /// Whether a stream's transfer is short: 0 to 999,999, as for `Loss`; then how many bytes are taken or arrive at first, and how many
    /// nanoseconds later the rest does.
    Short,
    /// Whether a datagram, or what a stream delivers, is changed on its way: 0 to 999,999, as for `Loss`; then which byte, and by what.
    Corruption,
    /// How long a machine with trouble takes to look a name up, in nanoseconds, and whether that fails: 0 to 999,999, as for `Loss`.
    Lookup,
    /// The faults of one family in the plan.
    Plan(Family),
    /// How long a disk takes for a sync, in nanoseconds above its least; and what goes wrong there.
    Disk,
    /// What a power loss leaves of what was not synced.
    Survival,
    /// The delay before a slow machine polls a ready task, in nanoseconds.
    Slowness,
    /// Whether a rare branch ([`buggify!`](steelmill_core::buggify)) is taken: 0 to 999,999, taken from one million minus
    /// its rate in ppm on. The number is a hash of the branch's name.
    Buggify(u32),
}

/// One random draw: its stream, its index in that stream, and its value. The unit of recording and replay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decision {
    /// The stream it was drawn from.
    pub stream: Stream,
    /// How many draws of that stream came before it.
    pub index: u64,
    /// The value.
    pub value: u64,
}

/// Replaces the seed from a virtual time on; everything before stays the same. With all streams, the faults that a swarm
/// injects later are drawn anew, too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reseed {
    /// The virtual time of the change.
    pub at: Duration,
    /// The stream; `None` for all.
    pub stream: Option<Stream>,
    /// The new seed.
    pub seed: u64,
}

/// A run varied from a seed's own: from each of some virtual times on everything is drawn from another seed. A
/// [guided](crate::Campaign::guided) campaign makes such runs, and `--redraws` repeats one.
///
/// As text it is `12.5s=99,13s=7`: from 12.5 seconds on drawn from 99, from 13 seconds on from 7.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Redraws(Vec<(Duration, u64)>);

impl Redraws {
    /// Whether it is the seed's own run.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The same run up to `at`, and from there on drawn from `seed`.
    pub(crate) fn then(&self, at: Duration, seed: u64) -> Self {
        let before = self.0.iter().filter(|(earlier, _)| *earlier < at).copied();
        Self(before.chain([(at, seed)]).collect())
    }

    pub(crate) fn of(reseeds: &[Reseed]) -> Self {
        let whole = reseeds.iter().filter(|reseed| reseed.stream.is_none());
        Self(whole.map(|reseed| (reseed.at, reseed.seed)).collect())
    }

    pub(crate) fn reseeds(&self) -> Vec<Reseed> {
        self.0.iter().map(|(at, seed)| Reseed { at: *at, stream: None, seed: *seed }).collect()
    }
}

impl fmt::Display for Redraws {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (at, seed)) in self.0.iter().enumerate() {
            let separator = if index > 0 { "," } else { "" };
            let nanos = format!(".{:09}", at.subsec_nanos());
            let fraction = nanos.trim_end_matches('0').trim_end_matches('.');
            write!(f, "{separator}{}{fraction}s={seed}", at.as_secs())?;
        }
        Ok(())
    }
}

/// The error for text that is no [`Redraws`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no list of times and the seeds drawn from then on, such as 12.5s=99,13s=7, in the order of time"
)]
pub struct InvalidRedraws(String);

impl FromStr for Redraws {
    type Err = InvalidRedraws;

    fn from_str(text: &str) -> Result<Self, InvalidRedraws> {
        let redraw = |text: &str| {
            let (at, seed) = text.split_once("s=")?;
            let (secs, fraction) = at.split_once('.').unwrap_or((at, "0"));
            let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
            if !is_number(secs) || !is_number(fraction) || fraction.len() > 9 {
                return None;
            }
            let nanos = format!("{fraction:0<9}").parse().ok()?;
            Some((Duration::new(secs.parse().ok()?, nanos), seed.parse().ok()?))
        };
        let redraws: Option<Vec<_>> = text.split(',').map(redraw).collect();
        let redraws = redraws.filter(|redraws| redraws.is_sorted_by(|one, other| one.0 < other.0));
        redraws.map(Self).ok_or_else(|| InvalidRedraws(text.to_owned()))
    }
}

impl TryFrom<String> for Redraws {
    type Error = InvalidRedraws;

    fn try_from(text: String) -> Result<Self, InvalidRedraws> {
        if text.is_empty() { Ok(Self::default()) } else { text.parse() }
    }
}

impl From<Redraws> for String {
    fn from(redraws: Redraws) -> Self {
        redraws.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redraws_are_read_as_they_are_written() {
        let none: Redraws =
            serde_json::from_str(&serde_json::to_string(&Redraws::default()).unwrap()).unwrap();
        assert!(none.is_empty(), "every outcome of a seed's own run has these");

        let at = Duration::new(12, 3_004_500);
        let redraws = Redraws::default().then(at, 99).then(Duration::from_secs(13), u64::MAX);
        assert_eq!(redraws.to_string(), "12.0030045s=99,13s=18446744073709551615");
        assert_eq!(redraws.to_string().parse(), Ok(redraws.clone()));
        assert_eq!(Redraws::of(&redraws.reseeds()), redraws);
        assert_eq!(redraws.then(at, 1).to_string(), "12.0030045s=1", "what came later is dropped");
        for text in
            ["", "12", "12=3", "s=3", "1.s=3", "1s=", "1s=-3", "2s=1,1s=2", "1s=1,1s=2", "1.0000000001s=3"]
        {
            assert_eq!(text.parse::<Redraws>(), Err(InvalidRedraws(text.to_owned())));
        }
    }
}
