//! Campaign runner: worker threads run the seeds, and one thread reports the outcomes in the order of the seeds.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, mpsc};
use std::time::Instant;

use anyhow::ensure;
use steelmill_core::Result;
use tracing::{Dispatch, dispatcher};

use super::campaign::AnyCampaign;
use super::queue::{InOrder, Queue, QueuedSeed, RedPlaces};
use crate::campaign::fresh_thread::{logging_to, on_a_fresh_thread};
use crate::campaign::guidance::{self, Guide, Run};
use crate::campaign::keep::{KeepFile, LearnedRun};
use crate::campaign::processes::{Past, Processes, Request};
use crate::campaign::record::{CampaignSettings, KeptSeed, RedSeed};
use crate::campaign::shard::Shard;
use crate::campaign::summary::{Kept, Summary};
use crate::campaign::verify::{self, SecondRun};
use crate::campaign::{coverage, replay};
use crate::machine::cluster::Isolation;
use crate::run::simulate;
use crate::schema::decision::Redraws;
use crate::schema::look::Look;
use crate::schema::outcome::Outcome;
use crate::schema::plan::Faults;
use crate::schema::settings::{Seed, Settings, check_order_applies};
use crate::schema::verify::Verify;

impl AnyCampaign<'_> {
    /// As [`run_with`](Campaign::run_with), but returns an error if the campaign cannot start.
    #[expect(
        clippy::disallowed_methods,
        reason = "a campaign's speed is measured in real time, outside of any run"
    )]
    pub(crate) fn try_run_with(&self, watch: &mut dyn FnMut(&Summary)) -> Result<Summary> {
        assert!(self.seeds > 0, "a campaign needs at least one seed");
        assert!(
            !self.until_covered || self.shard.is_none(),
            "a campaign that runs until no new coverage point is hit cannot be sharded: no shard knows what the others hit"
        );
        assert!(
            !(self.guided && self.until_covered),
            "a guided campaign has no number of seeds after which no new coverage point can be expected"
        );
        assert!(
            !(self.guided && self.verify == Some(Verify::Process)),
            "the runs of a guided campaign are not verified in another process, which knows seeds alone: verify them twice"
        );
        if let Faults::Plan(plan) = &self.settings.faults {
            check_order_applies(self.settings.schedule, plan)?;
        }
        let past = self.begin();
        let number = verify::next_campaign();
        let request = verify::SecondRunRequest::read();
        if let Some(request) = request.as_ref().filter(|request| request.is_for(number)) {
            request.answer(|trace| self.simulate_again(request.seed, request.kept.as_ref(), trace));
        }
        // A process started for the runs of a later campaign neither verifies nor writes in the campaigns before it.
        let is_first = request.is_none() && !Processes::is_server();
        let second_run = |verify: Option<Verify>| {
            verify.filter(|_| is_first).map(|verify| SecondRun::new(verify, number)).transpose()
        };
        let begun = Instant::now();
        let settings = self.campaign_settings(number);
        let keep = self.keep.as_deref().map(|file| self.open(file)).transpose()?;
        let kept = keep.as_ref().map_or(Ok(Vec::new()), |keep| self.kept(keep, &settings.name))?;
        let with_second_run = |kept: KeptSeed| Ok((second_run(kept.verify.or(self.verify))?, kept));
        let kept = kept.into_iter().map(with_second_run).collect::<Result<_>>()?;
        let mut queue = self.queue(kept, second_run(self.verify)?);
        let mut summary = Summary::new(settings, self.shard, queue.requested);
        summary.audit = self.settings.audit.then(Vec::new);
        summary.kept = keep.is_some().then(Kept::default);
        let keep_file = keep.clone();
        let keep = keep.filter(|_| is_first);
        let mut report = |summary: &mut Summary, kept: Option<KeptSeed>, outcome: Outcome| {
            if let Some(keep) = keep.as_ref().filter(|_| kept.is_none() && !outcome.passed()) {
                // At once: the process may be killed.
                let red = RedSeed::of(&outcome, None, String::new());
                let added = keep.add(&KeptSeed::of(&summary.campaign, &red));
                if let Some(kept) = &mut summary.kept {
                    kept.error = added.err().map(|error| format!("{error:#}")).or(kept.error.take());
                }
            }
            self.processes.note(kept.as_ref(), &outcome);
            summary.add(kept, outcome);
            summary.wall = begun.elapsed();
            watch(summary);
        };
        if let Some(Past { requested, outcomes }) = past {
            summary.requested = requested;
            outcomes.into_iter().for_each(|(kept, outcome)| report(&mut summary, kept, outcome));
        } else if self.guided && !self.is_single {
            let name = summary.campaign.name.clone();
            let learned = keep_file.as_ref().map_or(Ok(Vec::new()), |keep| keep.learned(&name))?;
            let learned = self.run_guided(&mut queue, learned, |kept, outcome| {
                report(&mut summary, kept, outcome);
            });
            if let Some(keep) = keep.as_ref() {
                let learned = learned.into_iter().map(|Run { seed, redraws }| LearnedRun {
                    scenario: name.clone(),
                    seed,
                    redraws,
                });
                let written = keep.learn(&name, &learned.collect::<Vec<_>>());
                if let Some(kept) = &mut summary.kept {
                    kept.error = written.err().map(|error| format!("{error:#}")).or(kept.error.take());
                }
            }
        } else {
            loop {
                self.run_all(&queue, |kept, outcome| report(&mut summary, kept, outcome));
                let requested = self.requested_after(&summary);
                if summary.seeds < summary.requested || requested <= summary.requested {
                    break;
                }
                queue.extend(requested);
                summary.requested = requested;
            }
        }
        let reported = summary.seeds + summary.kept.as_ref().map_or(0, |kept| kept.ran);
        self.processes.keep(summary.requested, reported);
        if self.until_covered {
            summary.campaign.seeds = summary.requested;
        }
        summary.end();
        if let Some(keep) = keep {
            // Also a retry, if writing failed before.
            let updated = keep.update(&summary.record(|_, _| String::new()));
            if let Some(kept) = &mut summary.kept {
                kept.error = updated.err().map(|error| format!("{error:#}"));
            }
        }
        summary.wall = begun.elapsed();
        Ok(summary)
    }

    /// Runs all seeds of the queue on worker threads, and calls `report` on this one with the outcome of each, in the order
    /// of the queue: an outcome waits for those before it.
    #[expect(clippy::disallowed_methods, reason = "the threads are joined before anything else happens")]
    fn run_all(&self, queue: &Queue<'_>, mut report: impl FnMut(Option<KeptSeed>, Outcome)) {
        let (sender, outcomes) = mpsc::channel();
        let logs = dispatcher::get_default(Dispatch::clone);
        let mut in_order = InOrder::from(queue.next.load(Ordering::Relaxed));
        std::thread::scope(|scope| {
            for _ in 0..self.jobs_or_all() {
                let (sender, logs) = (sender.clone(), &logs);
                scope.spawn(move || logging_to(logs, || self.work(queue, &sender)));
            }
            drop(sender);
            for (place, kept, outcome) in outcomes {
                in_order.add(place, (kept, outcome));
                while let Some((place, (kept, outcome))) = in_order.pop() {
                    if !queue.is_beyond(place) {
                        report(kept, outcome);
                    }
                }
            }
        });
    }

    /// Runs all seeds of the queue in batches: what a batch runs depends on what those before it came to.
    /// Begins with what an earlier campaign has learned, and returns what the next should begin with.
    fn run_guided(
        &self,
        queue: &mut Queue<'_>,
        learned: Vec<LearnedRun>,
        mut report: impl FnMut(Option<KeptSeed>, Outcome),
    ) -> Vec<Run> {
        let total = std::mem::take(&mut queue.requested);
        let mut guide = Guide::new(
            self.first,
            learned.into_iter().map(|LearnedRun { seed, redraws, .. }| Run { seed, redraws }),
        );
        queue.chosen = Some(Vec::new());
        let mut reported = 0;
        self.run_all(queue, &mut report);
        while queue.requested < total {
            let number = guidance::BATCH.min(total - queue.requested);
            let runs: Vec<Run> = (0..number).map(|_| guide.choose(|nth| queue.nth_seed(nth))).collect();
            queue.chosen.get_or_insert_default().extend(runs);
            queue.extend(queue.requested + number);
            self.run_all(queue, |kept, outcome| {
                reported += 1;
                guide.learn(&outcome);
                report(kept, outcome);
            });
            if reported < queue.requested {
                break;
            }
        }
        queue.requested = total;
        guide.learned()
    }

    fn work(&self, queue: &Queue<'_>, sender: &mpsc::Sender<(usize, Option<KeptSeed>, Outcome)>) {
        while let Some(QueuedSeed { place, seed, redraws, kept, second_run }) = queue.take() {
            let settings = self.settings_of(seed, redraws, kept);
            let redrawn = Redraws::of(&settings.reseeds);
            let mut outcome = self.simulate(Settings { trace: second_run.is_some(), ..settings.clone() });
            outcome.redraws = redrawn; // also where no run was made
            if let Some(second_run) = second_run {
                let again = |trace| self.simulate(Settings { trace, audit: false, ..settings.clone() });
                outcome = second_run.confirm(outcome, kept, again);
            }
            if !outcome.passed() {
                queue.failed(place);
            }
            if sender.send((place, kept.cloned(), outcome)).is_err() {
                return;
            }
        }
    }

    /// The settings of a run: of a kept one, of a varied one, or of a seed as the campaign's settings say.
    pub(crate) fn settings_of(
        &self,
        seed: Seed,
        redraws: Option<&Redraws>,
        kept: Option<&KeptSeed>,
    ) -> Settings {
        let own = || Settings { seed, ..self.settings.clone() };
        match (kept, redraws.filter(|redraws| !redraws.is_empty())) {
            (Some(kept), _) => kept.settings(&self.settings),
            (None, Some(redraws)) => Settings { reseeds: redraws.reseeds(), ..own() },
            (None, None) => own(),
        }
    }

    fn simulate_again(&self, seed: Seed, kept: Option<&KeptSeed>, trace: bool) -> Outcome {
        self.simulate(Settings { trace, audit: false, ..self.settings_of(seed, None, kept) })
    }

    fn simulate(&self, settings: Settings) -> Outcome {
        simulate::run_and_explain(settings, &|settings, look| self.run_once(settings, look, false))
    }

    /// Makes one run, after the campaign's trial run if the schedule needs one.
    pub(crate) fn run_once(&self, settings: Settings, look: Option<Look>, is_silent: bool) -> Outcome {
        let trial = |settings: Settings| {
            let settings = Settings { time_limit: self.settings.time_limit, ..settings };
            self.estimates.get_or_init(|| self.run_alone(settings, None, true).counted).clone()
        };
        self.run_alone(settings.after_trial(trial), look, is_silent)
    }

    /// Makes one run: on a fresh thread; and if it turns out that its scenario has programs, in a process of its own.
    fn run_alone(&self, settings: Settings, look: Option<Look>, is_silent: bool) -> Outcome {
        if !self.processes.are_needed() {
            let outcome = self.run_on_a_thread(settings.clone(), look.clone(), is_silent, Isolation::Shared);
            if !outcome.needs_process {
                return outcome;
            }
            self.processes.need();
        }
        self.processes.run(&Request { settings, look, is_silent })
    }

    /// The campaign begins on this thread: in a server of its runs it ends here, too. Gives its outcomes, in a server of a
    /// later one.
    fn begin(&self) -> Option<Past> {
        self.processes.begin(&|Request { settings, look, is_silent }| {
            self.run_on_a_thread(settings, look, is_silent, Isolation::Own)
        })
    }

    /// Sees to it that the campaign has begun.
    pub(crate) fn begin_once(&self) {
        if !self.processes.have_begun() {
            self.begin();
        }
    }

    fn run_on_a_thread(
        &self,
        settings: Settings,
        look: Option<Look>,
        is_silent: bool,
        isolation: Isolation,
    ) -> Outcome {
        let seed = settings.seed;
        // A process of its own ends with the run.
        let may_be_stopped = isolation != Isolation::Own;
        let run = || simulate::run_once(settings, &self.scenario, self.made_at, look, isolation);
        match is_silent {
            true => {
                dispatcher::with_default(&Dispatch::none(), || on_a_fresh_thread(seed, may_be_stopped, run))
            }
            false => on_a_fresh_thread(seed, may_be_stopped, run),
        }
    }
}

impl AnyCampaign<'_> {
    fn campaign_settings(&self, number: u64) -> CampaignSettings {
        CampaignSettings {
            name: self.name_of(number),
            program: self.program.clone(),
            first_seed: self.first,
            seeds: self.seeds,
            guided: self.guided,
            until_covered: self.until_covered,
            schedule: self.settings.schedule,
            faults: self.settings.faults.clone(),
            time_limit: self.settings.time_limit,
            verify: self.verify,
        }
    }

    /// The campaign's name, or that of its test; `number` counts the campaigns of the thread.
    fn name_of(&self, number: u64) -> String {
        match (&self.name, replay::current_test()) {
            (Some(name), _) => name.clone(),
            (None, Some(test)) if number == 0 => test,
            (None, Some(test)) => format!("{test} #{}", number + 1),
            (None, None) => "scenario".to_owned(),
        }
    }

    /// Opens the file of kept seeds. The campaign needs a name, by which its entries are found.
    fn open(&self, file: &Path) -> Result<KeepFile> {
        ensure!(
            self.name.is_some() || replay::current_test().is_some(),
            "a campaign that keeps its red seeds in {} needs a name to find them again",
            file.display()
        );
        Ok(KeepFile::new(file))
    }

    fn kept(&self, keep: &KeepFile, name: &str) -> Result<Vec<KeptSeed>> {
        let mut kept = keep.read()?;
        kept.retain(|kept| {
            let is_ours = kept.scenario == name && kept.is_in(self.shard.unwrap_or(Shard::WHOLE));
            is_ours && (!self.is_single || kept.seed == self.first)
        });
        Ok(kept)
    }

    fn queue(&self, kept: Vec<(Option<SecondRun>, KeptSeed)>, second_run: Option<SecondRun>) -> Queue<'_> {
        let shard = self.shard.unwrap_or(Shard::WHOLE);
        let requested = match self.until_covered {
            // --seed names a kept seed: only that runs.
            _ if self.is_single && !kept.is_empty() => 0,
            true => self.seeds.min(coverage::seeds_until_covered(0)),
            false => shard.share(self.seeds),
        };
        Queue {
            requested,
            kept,
            second_run,
            first: self.first,
            chosen: None,
            shard,
            next: AtomicUsize::new(0),
            red: Mutex::new(RedPlaces { places: BTreeSet::new(), failures_max: self.failures_max }),
            stop: &self.stop,
        }
    }

    /// The number of seeds to run, known after a batch. It depends on the seeds' outcomes, not on the number of threads.
    fn requested_after(&self, summary: &Summary) -> u64 {
        match self.until_covered {
            true => {
                self.seeds.min(coverage::seeds_until_covered(summary.coverage.seeds_to_last_hit(self.first)))
            }
            false => summary.requested,
        }
    }

    pub(crate) fn jobs_or_all(&self) -> usize {
        self.jobs.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, |cores| cores.get()))
    }
}
