//! Shard: the part of a campaign that one of several machines runs.
//!
//! Seeds are distributed round-robin: of three shards the first has the 1st, 4th and 7th seed, the second the 2nd, 5th and
//! 8th. So shards differ by at most one seed, and a trend along the seeds affects all shards alike.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// One of several disjoint parts of a campaign, written `2/8` for the 2nd of 8 (`--shard`).
///
/// ```
/// use steelmill_sim::Shard;
///
/// let shard: Shard = "2/8".parse()?;
/// assert_eq!((shard.number(), shard.of()), (2, 8));
/// assert!("9/8".parse::<Shard>().is_err());
/// # Ok::<(), steelmill_sim::UnknownShard>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Shard {
    number: u64,
    of: u64,
}

impl Shard {
    /// The whole campaign.
    pub(crate) const WHOLE: Self = Self { number: 1, of: 1 };

    /// The number of this shard, from 1.
    pub fn number(self) -> u64 {
        self.number
    }

    /// The number of shards.
    pub fn of(self) -> u64 {
        self.of
    }

    /// The number of seeds in this shard, of `seeds` in all.
    pub(crate) fn share(self, seeds: u64) -> u64 {
        seeds / self.of + u64::from(seeds % self.of >= self.number)
    }

    /// The index of this shard's nth seed among all seeds; both from 0.
    pub(crate) fn index(self, nth: u64) -> u64 {
        nth * self.of + self.number - 1
    }
}

impl fmt::Display for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.number, self.of)
    }
}

/// The text is no shard of the form `i/n`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no shard; expected i/n, from 1/n to n/n, for the i-th of n shards")]
pub struct UnknownShard(String);

impl FromStr for Shard {
    type Err = UnknownShard;

    fn from_str(text: &str) -> Result<Self, UnknownShard> {
        let parts = text.split_once('/');
        let shard =
            parts.and_then(|(number, of)| Some(Self { number: number.parse().ok()?, of: of.parse().ok()? }));
        shard
            .filter(|shard| (1..=shard.of).contains(&shard.number))
            .ok_or_else(|| UnknownShard(text.to_owned()))
    }
}

impl TryFrom<String> for Shard {
    type Error = UnknownShard;

    fn try_from(text: String) -> Result<Self, UnknownShard> {
        text.parse()
    }
}

impl From<Shard> for String {
    fn from(shard: Shard) -> Self {
        shard.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_share_everything_out_once_and_evenly() {
        for of in 1..=13 {
            for all in 0..40 {
                let mut dealt = Vec::new();
                for number in 1..=of {
                    let shard = Shard { number, of };
                    let share = shard.share(all);
                    assert!(share == all / of || share == all / of + 1, "{shard} of {all}: {share}");
                    dealt.extend((0..share).map(|nth| shard.index(nth)));
                }
                dealt.sort_unstable();
                assert_eq!(dealt, (0..all).collect::<Vec<_>>(), "{all} in {of} shards");
            }
        }
    }

    #[test]
    fn text_that_is_no_shard_is_an_error() {
        for text in ["", "1", "0/4", "5/4", "1/0", "0/0", "a/b", "1/2/3", "-1/2", "1/", "/2"] {
            let error = text.parse::<Shard>().expect_err(text).to_string();
            assert!(error.contains(&format!("{text:?}")) && error.contains("i/n"), "{error}");
        }
        let shard: Shard = "3/4".parse().expect("a shard");
        assert_eq!(shard.to_string(), "3/4");
    }
}
