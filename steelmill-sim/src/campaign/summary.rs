//! What a campaign came to.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use crate::campaign::coverage::Coverage;
use crate::campaign::record::{CampaignSettings, Count, KeptRecord, KeptSeed, Record, RedSeed};
use crate::campaign::shard::Shard;
use crate::host::audit;
use crate::host::purity::is_pure;
use crate::schema::outcome::Outcome;
use crate::schema::plan::Plan;
use crate::schema::settings::Seed;
use crate::schema::system_use::SystemUse;

/// What a campaign came to.
#[derive(Debug)]
pub struct Summary {
    /// What was asked for.
    pub campaign: CampaignSettings,
    /// The part of the campaign this is, if it is one.
    pub shard: Option<Shard>,
    /// How many seeds that is.
    pub asked: u64,
    /// How many ran.
    pub seeds: u64,
    /// Those that failed, by seed.
    pub failed: Vec<Outcome>,
    /// Virtual time, over all seeds.
    pub simulated: Duration,
    /// Polls, over all seeds.
    pub polls: u64,
    /// Timers that fired and messages that arrived, over all seeds.
    pub events: u64,
    /// What the scenario counted, over all seeds.
    pub counts: BTreeMap<&'static str, Count>,
    /// Which coverage points of the program were reached: uses of [`assert_sometimes!`](steelmill_core::assert_sometimes) and its kin.
    pub coverage: Coverage,
    /// The digests of all seeds taken together, whatever the order they ran in.
    pub digest: u64,
    /// Seeds that something from outside reached, or that started a thread.
    pub impure: u64,
    /// What came of the red seeds that had been kept; `None` without a file of them.
    pub kept: Option<Kept>,
    /// Which code asked the system for time, entropy or threads, over all seeds; `None` without an audit.
    pub audit: Option<Vec<SystemUse>>,
    /// What was to go wrong, where one seed was asked for and its scenario let anything.
    pub faults: Option<Plan>,
    /// How long it took.
    pub wall: Duration,
}

/// What came of red seeds that had been kept: they are tried first, and count for nothing else in the summary.
#[derive(Debug, Default)]
pub struct Kept {
    /// How many ran.
    pub tried: u64,
    /// Those that failed again.
    pub failed: Vec<(KeptSeed, Outcome)>,
    /// Those that passed.
    pub passed: Vec<KeptSeed>,
    /// Why the file could not be written the last time, if it could not.
    pub error: Option<String>,
}

impl Kept {
    pub(crate) fn add(&mut self, kept: KeptSeed, outcome: Outcome) {
        self.tried += 1;
        match outcome.passed() {
            true => self.passed.push(kept),
            false => self.failed.push((kept, outcome)),
        }
    }
}

impl Summary {
    pub(crate) fn new(campaign: CampaignSettings, shard: Option<Shard>, asked: u64) -> Self {
        Self {
            campaign,
            shard,
            asked,
            seeds: 0,
            failed: Vec::new(),
            simulated: Duration::ZERO,
            polls: 0,
            events: 0,
            counts: BTreeMap::new(),
            coverage: Coverage::of_program(),
            digest: 0,
            impure: 0,
            kept: None,
            audit: None,
            faults: None,
            wall: Duration::ZERO,
        }
    }

    pub(crate) fn add(&mut self, kept: Option<KeptSeed>, outcome: Outcome) {
        // One that was kept may run in place of the one that was asked for.
        if self.asked == u64::from(kept.is_none()) {
            self.faults.clone_from(&outcome.faults);
        }
        if let Some(seed) = kept {
            return self.kept.get_or_insert_default().add(seed, outcome);
        }
        self.seeds += 1;
        self.simulated += outcome.simulated;
        self.polls += outcome.polls;
        self.events += outcome.events;
        self.impure += u64::from(outcome.impure);
        if let Some(audit) = &mut self.audit {
            outcome.audit.iter().for_each(|used| audit::add(audit, used.clone()));
        }
        self.digest =
            self.digest.wrapping_add((outcome.digest ^ outcome.seed.0).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        for (what, n) in &outcome.counts {
            let one = Count { total: *n, least: *n };
            self.counts.entry(what).and_modify(|count| *count = count.and(one)).or_insert(one);
        }
        self.coverage.add(outcome.seed, &outcome.coverage);
        if !outcome.passed() {
            self.failed.push(outcome);
        }
    }

    /// Puts what came in the order in which seeds ended into one that repeats.
    pub(crate) fn end(&mut self) {
        self.failed.sort_by_key(|outcome| outcome.seed);
        if let Some(kept) = &mut self.kept {
            kept.failed.sort_by(|(a, _), (b, _)| a.order().cmp(&b.order()));
            kept.passed.sort_by(|a, b| a.order().cmp(&b.order()));
        }
        self.audit.iter_mut().for_each(|audit| audit::sort(audit));
    }

    /// The summary as data; `replay` is the command that runs a seed again, as it was kept or as any other.
    pub(crate) fn record(&self, replay: impl Fn(Seed, Option<&KeptSeed>) -> String) -> Record {
        let failed = self.failed.iter().map(|failed| RedSeed::of(failed, None, replay(failed.seed, None)));
        let kept = self.kept.as_ref().map(|kept| KeptRecord {
            tried: kept.tried,
            failed: kept
                .failed
                .iter()
                .map(|(kept, failed)| {
                    RedSeed::of(failed, Some(kept.clone()), replay(failed.seed, Some(kept)))
                })
                .collect(),
            passed: kept.passed.clone(),
        });
        let counts = self.counts.iter().map(|(what, count)| ((*what).to_owned(), *count));
        Record {
            version: Record::VERSION,
            campaign: self.campaign.clone(),
            shard: self.shard,
            merged: None,
            asked: self.asked,
            seeds: self.seeds,
            failed: failed.collect(),
            wall: self.wall,
            simulated: self.simulated,
            polls: self.polls,
            events: self.events,
            counts: counts.collect(),
            coverage: self.coverage.clone(),
            digest: self.digest,
            impure: self.impure,
            kept,
            audit: self.audit.clone(),
            purity: is_pure(),
            select_repeats: cfg!(tokio_unstable),
        }
    }

    /// Whether every seed that ran has passed.
    pub fn passed(&self) -> bool {
        self.red().next().is_none()
    }

    /// The seeds that failed, those that had been kept first.
    pub fn red(&self) -> impl Iterator<Item = &Outcome> {
        self.kept.iter().flat_map(|kept| &kept.failed).map(|(_, failed)| failed).chain(&self.failed)
    }

    /// What an audit found, if one was asked for.
    pub fn audit_text(&self) -> Option<String> {
        self.audit.as_ref().map(|uses| audit::text(uses, is_pure()))
    }

    /// How many seeds a minute ran.
    pub fn seeds_per_minute(&self) -> f64 {
        60.0 * self.seeds as f64 / self.wall.as_secs_f64().max(1e-9)
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.record(|_, _| String::new()).fmt(f)
    }
}
