//! The course of a campaign: seeds are worked off on as many threads as there are jobs, and one thread hears what came of
//! each, in whatever order they end.

use std::path::Path;
use std::sync::atomic::AtomicUsize;
use std::sync::mpsc;
use std::time::Instant;

use anyhow::ensure;
use steelmill_core::{Panic, Result};

use super::campaign::OfAny;
use super::queue::{Queue, Turn};
use crate::campaign::keep::Keep;
use crate::campaign::record::{CampaignSettings, KeptSeed, RedSeed};
use crate::campaign::shard::Shard;
use crate::campaign::summary::{Kept, Summary};
use crate::campaign::verify::{self, Again};
use crate::campaign::{coverage, replay};
use crate::kernel::panic_log;
use crate::run::simulate;
use crate::schema::outcome::Outcome;
use crate::schema::plan::Faults;
use crate::schema::settings::{Seed, Settings, check_order_applies};
use crate::schema::verify::Verify;

impl OfAny<'_> {
    /// As [`run_with`](Campaign::run_with); what cannot be begun is an error.
    #[expect(
        clippy::disallowed_methods,
        reason = "a campaign's speed is measured in real time, outside of any run"
    )]
    pub(crate) fn try_run_with(&self, watch: &mut dyn FnMut(&Summary)) -> Result<Summary> {
        assert!(self.seeds > 0, "a campaign of no seeds would show nothing");
        assert!(
            !self.until_covered || self.shard.is_none(),
            "a campaign that runs until all is covered cannot be cut into shards: none knows what the others have hit"
        );
        if let Faults::Plan(plan) = &self.settings.faults {
            check_order_applies(self.settings.schedule, plan)?;
        }
        let number = verify::next_campaign();
        let asked = verify::Asked::read();
        if let Some(asked) = asked.as_ref().filter(|asked| asked.is_for(number)) {
            asked.answer(&self.simulate_again(asked.seed, asked.kept.as_ref()));
        }
        // A process that was started for a second run of something else verifies nothing on its way there, and writes nothing.
        let is_first = asked.is_none();
        let again = |verify: Option<Verify>| {
            verify.filter(|_| is_first).map(|verify| Again::new(verify, number)).transpose()
        };
        let begun = Instant::now();
        let terms = self.terms(number);
        let keep = self.keep.as_deref().map(|file| self.open(file)).transpose()?;
        let kept = keep.as_ref().map_or(Ok(Vec::new()), |keep| self.kept(keep, &terms.name))?;
        let with_again = |kept: KeptSeed| Ok((again(kept.verify.or(self.verify))?, kept));
        let kept = kept.into_iter().map(with_again).collect::<Result<_>>()?;
        let mut queue = self.queue(kept, again(self.verify)?);
        let mut summary = Summary::new(terms, self.shard, queue.asked);
        summary.audit = self.settings.audit.then(Vec::new);
        summary.kept = keep.is_some().then(Kept::default);
        let keep = keep.filter(|_| is_first);
        loop {
            self.run_all(&queue, |kept, outcome| {
                if let Some(keep) = keep.as_ref().filter(|_| kept.is_none() && !outcome.passed()) {
                    // At once, as nobody knows how this ends.
                    let red = RedSeed::of(&outcome, None, String::new());
                    let added = keep.add(&KeptSeed::of(&summary.campaign, &red));
                    if let Some(kept) = &mut summary.kept {
                        kept.error = added.err().map(|error| format!("{error:#}")).or(kept.error.take());
                    }
                }
                summary.add(kept, outcome);
                summary.wall = begun.elapsed();
                watch(&summary);
            });
            let asked = self.asked_after(&summary);
            if summary.seeds < summary.asked || asked <= summary.asked {
                break;
            }
            queue.go_on(asked);
            summary.asked = asked;
        }
        if self.until_covered {
            summary.campaign.seeds = summary.asked;
        }
        summary.end();
        if let Some(keep) = keep {
            // What could not be written before may be written now.
            let settled = keep.settle(&summary.record(|_, _| String::new()));
            if let Some(kept) = &mut summary.kept {
                kept.error = settled.err().map(|error| format!("{error:#}"));
            }
        }
        summary.wall = begun.elapsed();
        Ok(summary)
    }

    /// Works all seeds off, on as many threads as there are jobs, and says what came of each.
    #[expect(clippy::disallowed_methods, reason = "the threads are joined before anything else happens")]
    fn run_all(&self, queue: &Queue<'_>, mut tell: impl FnMut(Option<KeptSeed>, Outcome)) {
        let (report, outcomes) = mpsc::channel();
        std::thread::scope(|scope| {
            for _ in 0..self.jobs_or_all() {
                let report = report.clone();
                scope.spawn(move || self.work(queue, &report));
            }
            drop(report);
            outcomes.into_iter().for_each(|(kept, outcome)| tell(kept, outcome));
        });
    }

    /// Works seeds off until there is none left.
    fn work(&self, queue: &Queue<'_>, report: &mpsc::Sender<(Option<KeptSeed>, Outcome)>) {
        while let Some(Turn { seed, kept, again }) = queue.take() {
            let settings = Settings { trace: again.is_some(), ..self.settings_of(seed, kept) };
            let mut outcome = self.simulate(settings);
            if let Some(again) = again {
                outcome = again.confirm(outcome, kept, || self.simulate_again(seed, kept));
            }
            // One that fails when enough have failed was run by another thread meanwhile, and is not told. Those that were
            // kept always are.
            let is_told = outcome.passed() || queue.admits_failure() || kept.is_some();
            if !is_told || report.send((kept.cloned(), outcome)).is_err() {
                return;
            }
        }
    }

    /// How a seed is run: as any other, or as it was kept.
    pub(crate) fn settings_of(&self, seed: Seed, kept: Option<&KeptSeed>) -> Settings {
        match kept {
            Some(kept) => kept.settings(&self.settings),
            None => Settings { seed, ..self.settings.clone() },
        }
    }

    /// For comparison with what came of the seed before.
    fn simulate_again(&self, seed: Seed, kept: Option<&KeptSeed>) -> Outcome {
        self.simulate(Settings { trace: true, audit: false, ..self.settings_of(seed, kept) })
    }

    fn simulate(&self, settings: Settings) -> Outcome {
        simulate::run_and_explain(settings, &|settings, look| {
            let seed = settings.seed;
            on_a_fresh_thread(seed, || simulate::run_once(settings, &self.scenario, self.made_at, look))
        })
    }
}

impl OfAny<'_> {
    /// What is asked of it.
    fn terms(&self, number: u64) -> CampaignSettings {
        CampaignSettings {
            name: self.name_of(number),
            program: self.program.clone(),
            first_seed: self.first,
            seeds: self.seeds,
            until_covered: self.until_covered,
            schedule: self.settings.schedule,
            faults: self.settings.faults.clone(),
            time_limit: self.settings.time_limit,
            verify: self.verify,
        }
    }

    /// What it is called, as the campaign of that number on its thread.
    fn name_of(&self, number: u64) -> String {
        match (&self.name, replay::this_test()) {
            (Some(name), _) => name.clone(),
            (None, Some(test)) if number == 0 => test,
            (None, Some(test)) => format!("{test} #{}", number + 1),
            (None, None) => "scenario".to_owned(),
        }
    }

    /// The file of kept seeds, for a campaign that can be told from others.
    fn open(&self, file: &Path) -> Result<Keep> {
        ensure!(
            self.name.is_some() || replay::this_test().is_some(),
            "a campaign that keeps its red seeds in {} needs a name to find them again",
            file.display()
        );
        Ok(Keep::new(file))
    }

    /// Those of the kept seeds that are its to try.
    fn kept(&self, keep: &Keep, name: &str) -> Result<Vec<KeptSeed>> {
        let mut kept = keep.read()?;
        kept.retain(|kept| {
            let is_ours = kept.scenario == name && kept.is_of(self.shard.unwrap_or(Shard::WHOLE));
            is_ours && (!self.is_single || kept.seed == self.first)
        });
        Ok(kept)
    }

    fn queue(&self, kept: Vec<(Option<Again>, KeptSeed)>, again: Option<Again>) -> Queue<'_> {
        let shard = self.shard.unwrap_or(Shard::WHOLE);
        let asked = match self.until_covered {
            // The one seed that is wanted is the one that was kept.
            _ if self.is_single && !kept.is_empty() => 0,
            true => self.seeds.min(coverage::seeds_until_covered(0)),
            false => shard.share(self.seeds),
        };
        Queue {
            asked,
            kept,
            again,
            first: self.first,
            shard,
            next: AtomicUsize::new(0),
            failures_left: AtomicUsize::new(self.failures_max),
            stop: &self.stop,
        }
    }

    /// How many seeds it is to have, as it has had those of a batch: which depends on what these came to, and not on how
    /// many ran at once.
    fn asked_after(&self, summary: &Summary) -> u64 {
        match self.until_covered {
            true => self.seeds.min(coverage::seeds_until_covered(summary.coverage.seeds_taken(self.first))),
            false => summary.asked,
        }
    }

    /// How many threads to run on.
    pub(crate) fn jobs_or_all(&self) -> usize {
        self.jobs.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, |cores| cores.get()))
    }
}

/// Runs a seed where std has drawn no keys for hash maps, and `rand::rng()` no state, before. Starting a thread takes some
/// 50 µs. Its name is what std prints if it overflows its stack.
#[expect(clippy::disallowed_methods, reason = "the thread is joined before anything else happens")]
pub(crate) fn on_a_fresh_thread(seed: Seed, run: impl FnOnce() -> Outcome + Send) -> Outcome {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name(format!("seed {seed}")).stack_size(STACK);
        let handle = thread.spawn_scoped(scope, run).expect("a thread can be started");
        handle.join().unwrap_or_else(|payload| {
            let panic = Panic::of(payload.as_ref());
            panic_log::drop_payload(payload);
            Outcome::panicked(seed, &panic)
        })
    })
}

/// Room for a scenario's deepest poll; only what is used is ever backed by memory.
const STACK: usize = 16 << 20;
