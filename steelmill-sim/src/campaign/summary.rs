//! The result of a campaign: failed seeds, counts, coverage and digest.

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
use crate::schema::system_use::SystemUse;

/// The result of a campaign. Its `Display` is what a program prints; [`Record`] is the same as JSON.
#[derive(Debug)]
#[non_exhaustive]
pub struct Summary {
    /// The settings of the campaign.
    pub campaign: CampaignSettings,
    /// The shard, if only a part of the campaign ran.
    pub shard: Option<Shard>,
    /// The number of seeds to run.
    pub requested: u64,
    /// The number of seeds that ran; fewer than `requested` if the campaign stopped early. Kept seeds do not count.
    pub seeds: u64,
    /// The number of runs that a guided campaign varied from others, of `seeds`.
    pub varied: u64,
    /// The seeds that failed, sorted.
    pub failed: Vec<Outcome>,
    /// Virtual time, the sum over all seeds.
    pub simulated: Duration,
    /// Task polls, the sum over all seeds.
    pub polls: u64,
    /// Timers that fired and messages that arrived, the sum over all seeds.
    pub events: u64,
    /// The scenario's counters (`Sim::count`), by name.
    pub counts: BTreeMap<&'static str, Count>,
    /// Which coverage points of the program were reached.
    pub coverage: Coverage,
    /// The digests of all seeds, combined independently of the order they ran in.
    pub digest: u64,
    /// The number of seeds that may not repeat: woken from outside the run, or a thread started outside of its tasks.
    pub impure: u64,
    /// The results of the kept red seeds; `None` without a file of them.
    pub kept: Option<Kept>,
    /// The code that asked the system for time, entropy or threads; `None` without an audit.
    pub audit: Option<Vec<SystemUse>>,
    /// The plan of faults of a campaign of one seed; `None` for several, or if the scenario injected none.
    pub faults: Option<Plan>,
    /// Wall time.
    pub wall: Duration,
}

/// The results of the kept red seeds. They run first, and count in no other field of the summary.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Kept {
    /// The number that ran.
    pub ran: u64,
    /// The seeds that failed again.
    pub failed: Vec<(KeptSeed, Outcome)>,
    /// The seeds that passed, and are dropped from the file.
    pub passed: Vec<KeptSeed>,
    /// The error of the last attempt to write the file, if it failed.
    pub error: Option<String>,
}

impl Kept {
    pub(crate) fn add(&mut self, kept: KeptSeed, outcome: Outcome) {
        self.ran += 1;
        match outcome.passed() {
            true => self.passed.push(kept),
            false => self.failed.push((kept, outcome)),
        }
    }
}

impl Summary {
    pub(crate) fn new(campaign: CampaignSettings, shard: Option<Shard>, requested: u64) -> Self {
        Self {
            campaign,
            shard,
            requested,
            seeds: 0,
            varied: 0,
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
        // A kept seed may run in place of the one requested.
        if self.requested == u64::from(kept.is_none()) {
            self.faults.clone_from(&outcome.faults);
        }
        if let Some(seed) = kept {
            return self.kept.get_or_insert_default().add(seed, outcome);
        }
        self.seeds += 1;
        self.varied += u64::from(!outcome.redraws.is_empty());
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
            let one = Count { total: *n, minimum: *n };
            self.counts.entry(what).and_modify(|count| *count = count.and(one)).or_insert(one);
        }
        self.coverage.add(outcome.seed, &outcome.redraws, &outcome.coverage);
        if !outcome.passed() {
            self.failed.push(outcome);
        }
    }

    /// Sorts the results, which arrived in the order in which seeds ended.
    pub(crate) fn end(&mut self) {
        self.failed.sort_by(|a, b| (a.seed, &a.redraws).cmp(&(b.seed, &b.redraws)));
        if let Some(kept) = &mut self.kept {
            kept.failed.sort_by(|(a, _), (b, _)| a.order().cmp(&b.order()));
            kept.passed.sort_by(|a, b| a.order().cmp(&b.order()));
        }
        self.audit.iter_mut().for_each(|audit| audit::sort(audit));
    }

    /// `replay` gives the command that replays a seed, kept or not.
    pub(crate) fn record(&self, replay: impl Fn(&Outcome, Option<&KeptSeed>) -> String) -> Record {
        let failed = self.failed.iter().map(|failed| RedSeed::of(failed, None, replay(failed, None)));
        let kept = self.kept.as_ref().map(|kept| KeptRecord {
            ran: kept.ran,
            failed: kept
                .failed
                .iter()
                .map(|(kept, failed)| RedSeed::of(failed, Some(kept.clone()), replay(failed, Some(kept))))
                .collect(),
            passed: kept.passed.clone(),
        });
        let counts = self.counts.iter().map(|(what, count)| ((*what).to_owned(), *count));
        Record {
            version: Record::VERSION,
            campaign: self.campaign.clone(),
            shard: self.shard,
            merged: None,
            requested: self.requested,
            seeds: self.seeds,
            varied: self.varied,
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

    /// Whether every seed that ran passed, kept seeds included.
    pub fn passed(&self) -> bool {
        self.red().next().is_none()
    }

    /// The seeds that failed, kept seeds first.
    pub fn red(&self) -> impl Iterator<Item = &Outcome> {
        self.kept.iter().flat_map(|kept| &kept.failed).map(|(_, failed)| failed).chain(&self.failed)
    }

    /// The report of [`Campaign::audit`](crate::Campaign::audit), as text; `None` without an audit.
    pub fn audit_text(&self) -> Option<String> {
        self.audit.as_ref().map(|uses| audit::text(uses, is_pure()))
    }

    /// The rate of seeds per minute of wall time.
    pub fn seeds_per_minute(&self) -> f64 {
        60.0 * self.seeds as f64 / self.wall.as_secs_f64().max(1e-9)
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.record(|_, _| String::new()).fmt(f)
    }
}
