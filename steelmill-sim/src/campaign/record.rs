//! What a campaign came to, as data: what `--json` prints on one line, and what several shards are merged from.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use anyhow::ensure;
use serde::{Deserialize, Serialize};
use steelmill_core::Result;

use crate::campaign::coverage::{self, Coverage};
use crate::campaign::shard::Shard;
use crate::host::audit;
use crate::schema::outcome::Outcome;
use crate::schema::plan::{Faults, Plan, text};
use crate::schema::settings::{Schedule, Seed};
use crate::schema::system_use::SystemUse;
use crate::schema::verify::Verify;

/// What a campaign came to, as data. Its text is the summary.
///
/// As JSON a duration is `{"secs": 1, "nanos": 500000000}`, a digest is sixteen hexadecimal digits, and what does not
/// apply is left out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Record {
    /// Which form the data has: [`VERSION`](Record::VERSION). A new field alone makes no new one.
    pub version: u32,
    /// What was asked for.
    pub campaign: CampaignSettings,
    /// The part of the campaign this is, if it is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shard: Option<Shard>,
    /// From how many shards it was merged, if it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub merged: Option<u64>,
    /// How many seeds that is.
    pub asked: u64,
    /// How many of them ran.
    pub seeds: u64,
    /// Those that failed, by seed.
    pub failed: Vec<RedSeed>,
    /// How long it took; of what was merged, the longest of the shards, which run beside each other.
    pub wall: Duration,
    /// Virtual time, over all seeds.
    pub simulated: Duration,
    /// Polls, over all seeds.
    pub polls: u64,
    /// Timers that fired and messages that arrived, over all seeds.
    pub events: u64,
    /// What the scenario counted, over all seeds.
    pub counts: BTreeMap<String, Count>,
    /// Which coverage points of the program were reached: uses of [`assert_sometimes!`](steelmill_core::assert_sometimes) and its kin.
    #[serde(default, alias = "places", skip_serializing_if = "Coverage::is_empty")]
    pub coverage: Coverage,
    /// The digests of all seeds taken together, whatever the order they ran in.
    #[serde(with = "hexadecimal")]
    pub digest: u64,
    /// Seeds that something from outside reached, or that started a thread.
    pub impure: u64,
    /// What came of the red seeds that had been kept, if they were tried.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kept: Option<KeptRecord>,
    /// Which code asked the system for time, entropy or threads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audit: Option<Vec<SystemUse>>,
    /// Whether the system's clock and entropy were simulated.
    pub purity: bool,
    /// Whether `tokio::select!` repeats, as it does when built with `--cfg tokio_unstable`.
    pub select_repeats: bool,
}

/// A number that the scenario counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Count {
    /// Over all seeds.
    pub total: u64,
    /// The least of any seed that counted it.
    pub least: u64,
}

impl Count {
    /// Of this and of other seeds.
    pub(crate) fn and(self, other: Self) -> Self {
        Self { total: self.total + other.total, least: self.least.min(other.least) }
    }
}

/// What was asked of a campaign: the same in all its shards.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct CampaignSettings {
    /// What the campaign is called.
    pub name: String,
    /// What to type to run it, if it is a program.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub program: Option<String>,
    /// The first seed; the others follow it.
    pub first_seed: Seed,
    /// How many seeds there are, in all shards.
    pub seeds: u64,
    /// Whether there were to be so many that no new place is hit for a while; then `seeds` is how many that took.
    #[serde(default, skip_serializing_if = "is_false")]
    pub until_covered: bool,
    /// Which of the ready tasks runs next.
    pub schedule: Schedule,
    /// What goes wrong.
    pub faults: Faults,
    /// How much virtual time a seed may take.
    pub time_limit: Duration,
    /// How it is made sure that the seeds repeat, if it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verify: Option<Verify>,
}

/// What came of red seeds that had been kept: they are tried first, and count for nothing else in the record.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct KeptRecord {
    /// How many ran.
    pub tried: u64,
    /// Those that failed again.
    pub failed: Vec<RedSeed>,
    /// Those that passed.
    pub passed: Vec<KeptSeed>,
}

/// A red seed that is kept, with all it takes to fail.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct KeptSeed {
    /// The name of the campaign that it belongs to.
    pub scenario: String,
    /// The seed.
    pub seed: Seed,
    /// Which of the ready tasks runs next.
    pub schedule: Schedule,
    /// How much virtual time it may take.
    #[serde(with = "text")]
    pub time_limit: Duration,
    /// How it was made sure that it repeats, if it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verify: Option<Verify>,
    /// Why it failed when it was kept, in a line.
    pub failure: String,
    /// What goes wrong: the least that makes it fail, where somebody looked for that; nothing, if the scenario let nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<Plan>,
}

/// A seed that failed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct RedSeed {
    /// The seed.
    pub seed: Seed,
    /// Why, in a line.
    pub cause: String,
    /// Why and when, and all that is known of it.
    pub failure: String,
    /// How much virtual time had passed.
    pub simulated: Duration,
    /// The hash over all that happened.
    #[serde(with = "hexadecimal")]
    pub digest: u64,
    /// What was to go wrong, if the scenario let anything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub faults: Option<Plan>,
    /// The least that has to go wrong, if somebody looked for that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub least: Option<Plan>,
    /// As it was kept, if it is one that was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kept: Option<KeptSeed>,
    /// The command that runs it again.
    pub replay: String,
}

impl Record {
    /// The form of the data that this library writes and reads.
    pub const VERSION: u32 = 1;

    /// Reads what `--json` printed.
    ///
    /// # Errors
    /// When it is something else, or of a version that this library does not know; says what is wrong, and where.
    pub fn from_json(json: &str) -> Result<Self> {
        #[derive(Deserialize)]
        struct Versioned {
            version: u32,
        }
        let Versioned { version } = serde_json::from_str(json)?;
        let known = Self::VERSION;
        ensure!(version == known, "it is data of version {version}, and this program reads version {known}");
        Ok(serde_json::from_str(json)?)
    }

    /// Whether every seed that ran has passed.
    pub fn passed(&self) -> bool {
        self.red().next().is_none()
    }

    /// The seeds that failed, those that had been kept first.
    pub fn red(&self) -> impl Iterator<Item = &RedSeed> {
        self.kept.iter().flat_map(|kept| &kept.failed).chain(&self.failed)
    }

    pub(crate) fn red_mut(&mut self) -> impl Iterator<Item = &mut RedSeed> {
        self.kept.iter_mut().flat_map(|kept| &mut kept.failed).chain(&mut self.failed)
    }

    /// How many seeds a minute ran.
    pub fn seeds_per_minute(&self) -> f64 {
        60.0 * self.seeds as f64 / self.wall.as_secs_f64().max(1e-9)
    }

    /// What an audit found, if one was asked for.
    pub(crate) fn audit_text(&self) -> Option<String> {
        self.audit.as_ref().map(|uses| audit::text(uses, self.purity))
    }

    /// Why a campaign that was to run until all is covered has ended.
    fn covered(&self) -> String {
        let taken = self.coverage.seeds_taken(self.campaign.first_seed);
        let since = self.seeds.saturating_sub(taken);
        let last = match taken {
            0 => "no place was hit".to_owned(),
            taken => format!("the last new place was hit by the {taken}. seed"),
        };
        match self.seeds >= coverage::seeds_until_covered(taken) {
            true => format!("covered: {last}, none by the {since} after it"),
            false => format!("not yet covered: {last}, {since} seed(s) before the end"),
        }
    }

    /// What it is called, and which part of it this is.
    pub(crate) fn title(&self) -> String {
        match self.shard {
            Some(shard) => format!("{}, shard {shard}", self.campaign.name),
            None => self.campaign.name.clone(),
        }
    }
}

impl KeptRecord {
    pub(crate) fn sort(&mut self) {
        // Those of one seed are of one shard, and in order.
        self.failed.sort_by_key(|red| red.seed);
        self.passed.sort_by_key(|passed| passed.seed);
    }
}

impl RedSeed {
    pub(crate) fn of(outcome: &Outcome, kept: Option<KeptSeed>, replay: String) -> Self {
        let failure = outcome.failure.as_ref();
        let cause = failure.map(|failure| failure.cause.to_string()).unwrap_or_default();
        Self {
            seed: outcome.seed,
            cause: cause.lines().next().unwrap_or_default().to_owned(),
            failure: failure.map(ToString::to_string).unwrap_or_default(),
            simulated: outcome.simulated,
            digest: outcome.digest,
            faults: outcome.faults.clone(),
            least: None,
            kept,
            replay,
        }
    }
}

impl fmt::Display for RedSeed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kept = if self.kept.is_some() { "kept " } else { "" };
        write!(f, "{kept}seed {} failed {}", self.seed, self.failure)
    }
}

impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let failed = self.failed.len() as u64;
        let (seeds, passed) = (self.seeds, self.seeds - failed);
        writeln!(f, "{}: {seeds} seed(s), {passed} passed, {failed} failed", self.title())?;
        if let Some(KeptRecord { tried, failed, passed }) = &self.kept {
            let (failed, passed) = (failed.len(), passed.len());
            writeln!(f, "  kept before: {tried} seed(s), {passed} passed, {failed} failed")?;
        }
        if seeds < self.asked {
            writeln!(f, "  stopped early: {} of {} seeds did not run", self.asked - seeds, self.asked)?;
        }
        let longest =
            self.merged.map(|shards| format!(" (the longest of {shards} shards)")).unwrap_or_default();
        let (wall, rate) = (self.wall.as_secs_f64(), self.seeds_per_minute());
        writeln!(f, "  {wall:.1} s{longest}, {rate:.0} seeds a minute")?;
        let simulated = self.simulated.as_secs_f64();
        let each = simulated / seeds.max(1) as f64;
        let (polls, events) = (self.polls, self.events);
        writeln!(f, "  {simulated:.0} simulated seconds ({each:.0} each), {polls} polls, {events} events")?;
        for (what, Count { total, least }) in &self.counts {
            writeln!(f, "  {total} {what} (at least {least} in a seed)")?;
        }
        if self.campaign.until_covered {
            writeln!(f, "  {}", self.covered())?;
        }
        write!(f, "  digest {:016x}", self.digest)?;
        match self.campaign.verify {
            Some(Verify::Twice) => f.write_str(", each seed verified by a second run")?,
            Some(Verify::Process) => {
                f.write_str(", each seed verified by a second run in another process")?
            }
            None => {}
        }
        if !self.purity {
            write!(f, ", purity: off (the system's clock and entropy are not simulated on this platform)")?;
        }
        if self.impure > 0 {
            let impure = self.impure;
            write!(f, "\n  {impure} seeds started threads or were reached from outside, and may not repeat")?;
        }
        if !self.select_repeats {
            write!(f, "\n  built without --cfg tokio_unstable: tokio::select! is not repeatable")?;
        }
        // What one seed does not come to is no news, and still less what none does.
        match seeds {
            0 | 1 => Ok(()),
            _ => f.write_str(&self.coverage.table(self.campaign.faults == Faults::Swarm)),
        }
    }
}

fn is_false(truth: &bool) -> bool {
    !truth
}

/// Numbers that are too long for what other languages make of JSON's.
mod hexadecimal {
    use serde::de::Error as _;
    use serde::{Deserialize as _, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(number: &u64, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{number:016x}"))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
        let text = String::deserialize(deserializer)?;
        u64::from_str_radix(&text, 16)
            .map_err(|error| D::Error::custom(format!("{text:?} is no hexadecimal number: {error}")))
    }
}
