//! The result of a campaign as JSON: `--json` prints it on one line, and `--merge` reads it.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::time::Duration;

use anyhow::ensure;
use serde::{Deserialize, Serialize};
use steelmill_core::Result;

use crate::campaign::coverage::{self, Coverage};
use crate::campaign::shard::Shard;
use crate::host::audit;
use crate::schema::decision::Redraws;
use crate::schema::outcome::Outcome;
use crate::schema::plan::{Faults, Plan, text};
use crate::schema::settings::{Schedule, Seed};
use crate::schema::system_use::SystemUse;
use crate::schema::verify::Verify;

/// The result of a campaign as data, for `--json` and CI tools. `Display` prints the summary.
///
/// In JSON a duration is `{"secs": 1, "nanos": 500000000}`, a digest is sixteen hexadecimal digits, and absent values are
/// left out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Record {
    /// The version of the format: [`VERSION`](Record::VERSION). A new field alone does not change it.
    pub version: u32,
    /// The settings of the campaign.
    pub campaign: CampaignSettings,
    /// The shard, if this is the record of one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shard: Option<Shard>,
    /// The number of shards it was merged from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub merged: Option<u64>,
    /// The number of seeds to run.
    pub requested: u64,
    /// The number of seeds that ran; fewer than `requested` if the campaign stopped early. Kept seeds do not count.
    pub seeds: u64,
    /// The number of runs that a guided campaign varied from others, of `seeds`.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub varied: u64,
    /// The seeds that failed, sorted.
    pub failed: Vec<RedSeed>,
    /// Wall time; in a merged record, that of the slowest shard.
    pub wall: Duration,
    /// Virtual time, the sum over all seeds.
    pub simulated: Duration,
    /// Task polls, the sum over all seeds.
    pub polls: u64,
    /// Timers that fired and messages that arrived, the sum over all seeds.
    pub events: u64,
    /// The scenario's counters (`Sim::count`), by name.
    pub counts: BTreeMap<String, Count>,
    /// Which coverage points of the program were reached.
    #[serde(default, skip_serializing_if = "Coverage::is_empty")]
    pub coverage: Coverage,
    /// The digests of all seeds, combined independently of the order they ran in.
    #[serde(with = "hexadecimal")]
    pub digest: u64,
    /// The number of seeds that may not repeat: woken from outside the run, or a thread started outside of its tasks.
    pub impure: u64,
    /// The results of the kept red seeds; `None` without a file of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kept: Option<KeptRecord>,
    /// The code that asked the system for time, entropy or threads; `None` without an audit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audit: Option<Vec<SystemUse>>,
    /// Whether the system's clock and entropy were simulated.
    pub purity: bool,
    /// Whether `tokio::select!` repeats, as it does when built with `--cfg tokio_unstable`.
    pub select_repeats: bool,
}

/// A number that the scenario counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Count {
    /// The sum over all seeds.
    pub total: u64,
    /// The minimum over the seeds that counted it.
    pub minimum: u64,
}

impl Count {
    pub(crate) fn and(self, other: Self) -> Self {
        Self { total: self.total + other.total, minimum: self.minimum.min(other.minimum) }
    }
}

/// The settings of a campaign, equal in all its shards.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct CampaignSettings {
    /// The name of the campaign.
    pub name: String,
    /// The command line, if the campaign is a program.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub program: Option<String>,
    /// The first seed; the others are consecutive.
    pub first_seed: Seed,
    /// The number of seeds, in all shards.
    pub seeds: u64,
    /// Whether it learned from its runs, and varied those that came far.
    #[serde(default, skip_serializing_if = "is_false")]
    pub guided: bool,
    /// Whether it ran until no new coverage point was hit for a while; then `seeds` is how many ran.
    #[serde(default, skip_serializing_if = "is_false")]
    pub until_covered: bool,
    /// The schedule: which ready task runs next.
    pub schedule: Schedule,
    /// The faults that were injected.
    pub faults: Faults,
    /// The limit on a seed's virtual time.
    pub time_limit: Duration,
    /// How seeds were verified to repeat.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verify: Option<Verify>,
}

/// The results of the kept red seeds. They run first, and count in no other field of the record.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct KeptRecord {
    /// The number that ran.
    pub ran: u64,
    /// The seeds that failed again.
    pub failed: Vec<RedSeed>,
    /// The seeds that passed, and are dropped from the file.
    pub passed: Vec<KeptSeed>,
}

/// A red seed in a file of kept seeds, with the settings it failed with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct KeptSeed {
    /// The name of its campaign.
    pub scenario: String,
    /// The seed.
    pub seed: Seed,
    /// How the run was varied from the seed's own, in a guided campaign.
    #[serde(default, skip_serializing_if = "Redraws::is_empty")]
    pub redraws: Redraws,
    /// The schedule: which ready task runs next.
    pub schedule: Schedule,
    /// The limit on its virtual time.
    #[serde(with = "text")]
    pub time_limit: Duration,
    /// How it was verified to repeat.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verify: Option<Verify>,
    /// The first line of the error when it was kept.
    pub failure: String,
    /// The faults it failed with, shrunk if it was explained; `None` if the scenario injected none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<Plan>,
}

/// A seed that failed, with its failure and the command that replays it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct RedSeed {
    /// The seed.
    pub seed: Seed,
    /// How the run was varied from the seed's own, in a guided campaign.
    #[serde(default, skip_serializing_if = "Redraws::is_empty")]
    pub redraws: Redraws,
    /// The first line of the error.
    pub cause: String,
    /// The whole failure: the error, when and where it happened, and the tasks involved.
    pub failure: String,
    /// The virtual time that the run took.
    pub simulated: Duration,
    /// The digest: a hash of every event of the run.
    #[serde(with = "hexadecimal")]
    pub digest: u64,
    /// The plan of faults; `None` if the scenario injected none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub faults: Option<Plan>,
    /// The shrunk plan of faults, if the seed was explained.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shrunk: Option<Plan>,
    /// Its entry in the file of kept seeds, if it is a kept seed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kept: Option<KeptSeed>,
    /// The command that replays it.
    pub replay: String,
}

impl Record {
    /// The version of the format that this library writes and reads.
    pub const VERSION: u32 = 2;

    /// Reads what `--json` printed.
    ///
    /// # Errors
    /// When it is not such a record, or has another version; says what is wrong, and where.
    pub fn from_json(json: &str) -> Result<Self> {
        #[derive(Deserialize)]
        struct Versioned {
            version: u32,
        }
        let Versioned { version } = serde_json::from_str(json)?;
        let known = Self::VERSION;
        ensure!(version == known, "its format is version {version}, and this program reads version {known}");
        Ok(serde_json::from_str(json)?)
    }

    /// Whether every seed that ran passed, kept seeds included.
    pub fn passed(&self) -> bool {
        self.red().next().is_none()
    }

    /// The seeds that failed, kept seeds first.
    pub fn red(&self) -> impl Iterator<Item = &RedSeed> {
        self.kept.iter().flat_map(|kept| &kept.failed).chain(&self.failed)
    }

    pub(crate) fn red_mut(&mut self) -> impl Iterator<Item = &mut RedSeed> {
        self.kept.iter_mut().flat_map(|kept| &mut kept.failed).chain(&mut self.failed)
    }

    /// The rate of seeds per minute of wall time.
    pub fn seeds_per_minute(&self) -> f64 {
        60.0 * self.seeds as f64 / self.wall.as_secs_f64().max(1e-9)
    }

    pub(crate) fn audit_text(&self) -> Option<String> {
        self.audit.as_ref().map(|uses| audit::text(uses, self.purity))
    }

    /// Why a campaign with `--until-covered` ended.
    fn covered(&self) -> String {
        let taken = self.coverage.seeds_to_last_hit(self.campaign.first_seed);
        let since = self.seeds.saturating_sub(taken);
        let covered = match self.seeds >= coverage::seeds_until_covered(taken) {
            true => "covered",
            false => "not yet covered",
        };
        match taken {
            0 => format!("{covered}: no coverage point was hit in {since} seed(s)"),
            _ => format!(
                "{covered}: the last new coverage point was hit after {taken} seed(s), none in the {since} since"
            ),
        }
    }

    pub(crate) fn title(&self) -> String {
        match self.shard {
            Some(shard) => format!("{}, shard {shard}", self.campaign.name),
            None => self.campaign.name.clone(),
        }
    }
}

impl KeptRecord {
    pub(crate) fn sort(&mut self) {
        // Stable: entries of one seed are of one shard, and in order.
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
            redraws: outcome.redraws.clone(),
            cause: cause.lines().next().unwrap_or_default().to_owned(),
            failure: failure.map(ToString::to_string).unwrap_or_default(),
            simulated: outcome.simulated,
            digest: outcome.digest,
            faults: outcome.faults.clone(),
            shrunk: None,
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
        if let Some(KeptRecord { ran, failed, passed }) = self.kept.as_ref().filter(|kept| kept.ran > 0) {
            let (failed, passed) = (failed.len(), passed.len());
            writeln!(f, "  kept: {ran} seed(s), {passed} passed, {failed} failed")?;
        }
        if seeds < self.requested {
            writeln!(
                f,
                "  stopped early: {} of {} seeds did not run",
                self.requested - seeds,
                self.requested
            )?;
        }
        if let Some(first) = self.red().next() {
            let (seed, at) = (first.seed, first.simulated.as_secs_f64());
            write!(f, "  first failed: seed {seed} at {at:.3} s: ")?;
            // What a program says may hold what a terminal would obey.
            for character in first.cause.chars() {
                match character.is_control() {
                    true => write!(f, "{}", character.escape_default())?,
                    false => f.write_char(character)?,
                }
            }
            writeln!(f)?;
        }
        let longest =
            self.merged.map(|shards| format!(" (the longest of {shards} shards)")).unwrap_or_default();
        let (wall, rate) = (self.wall.as_secs_f64(), self.seeds_per_minute());
        let each = self.simulated.as_secs_f64() / seeds.max(1) as f64;
        write!(f, "  {wall:.1} s{longest}, {rate:.0} seeds a minute, {each:.0} simulated seconds each")?;
        let mut separator = "\n  ";
        for (name, Count { total, minimum }) in &self.counts {
            write!(f, "{separator}{total} {name} (at least {minimum} each)")?;
            separator = ", ";
        }
        if self.campaign.guided {
            write!(f, "\n  guided: {} of them were varied from others that had come far", self.varied)?;
        }
        if self.campaign.until_covered {
            write!(f, "\n  {}", self.covered())?;
        }
        write!(f, "\n  digest {:016x}", self.digest)?;
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
        // A single seed is not expected to reach all coverage points.
        if seeds > 1 {
            f.write_str(&self.coverage.table(self.campaign.faults == Faults::Swarm))?;
        }
        if self.impure > 0 {
            let impure = self.impure;
            write!(f, "\n  {impure} seeds started threads or were woken from outside, and may not repeat")?;
        }
        if !self.select_repeats {
            write!(f, "\n  built without --cfg tokio_unstable: tokio::select! is not repeatable")?;
        }
        Ok(())
    }
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

fn is_false(truth: &bool) -> bool {
    !truth
}

/// 64-bit numbers as text: other languages read a JSON number as a double.
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
