//! The least that makes a red seed fail, and when that became inevitable.
//!
//! Faults are taken out of the plan by delta debugging, the workload is made smaller where the scenario lets it, the faults
//! that are left begin sooner and are made shorter, and then the schedule is made to take the oldest ready task wherever it
//! may. Every attempt is a whole run of the seed, so what comes out is no guess: it has failed, in the same way and in the
//! same place.
//!
//! The order is that of how much each step changes of the others. A choice of the schedule is known by how many came
//! before it, which any other workload shifts: so it comes last. A smaller workload may need fewer faults and the other
//! way round: so these two take turns until neither gives way.

mod minimize; // how the least is found by asking

use std::collections::BTreeMap;
use std::fmt;
use std::ops::RangeInclusive;
use std::sync::atomic::Ordering;
use std::time::Duration;

use steelmill_core::Result;

use crate::campaign::campaign::{Campaign, OfAny, on_a_fresh_thread};
use crate::campaign::likeness::Likeness;
use crate::machine::sim::Sim;
use crate::run::simulate;
use crate::schema::decision::{Decision, Reseed, Stream};
use crate::schema::outcome::{Cause, Outcome};
use crate::schema::plan::{Choice, Fault, Faults, Kind, Plan, When};
use crate::schema::settings::{Schedule, Seed, Settings};
use minimize::{Tried, fewest, least};

/// The least that makes a seed fail.
#[derive(Debug)]
pub struct Shrunk {
    /// The faults that it takes, how much of the workload, and where it takes a task that is not the oldest.
    pub plan: Plan,
    /// How many faults there were.
    pub faults_before: usize,
    /// What of the workload may be less, and from where to where: see [`Sim::limit`].
    pub limits: BTreeMap<&'static str, RangeInclusive<u64>>,
    /// How many choices between ready tasks there were in which another than the oldest was taken; `None` where nobody
    /// looked: the schedule is not the uniform one, or the search was over.
    pub choices_before: Option<usize>,
    /// How many runs it took to find out, where runs that are made at once count as if one had waited for the other.
    pub runs: u64,
    /// Why there may be a smaller plan than this.
    pub stopped: Option<Stopped>,
    /// The run with that plan, traced.
    pub outcome: Outcome,
    /// How often the seed fails when the plan is kept, and all else goes as in that run up to a time and as chance has it
    /// from then on; in order of time, and closest where that changes most.
    pub failure_rates: Vec<FailureRate>,
}

impl Shrunk {
    /// The first of the times looked at from which on every other future failed, too; `None` where none was looked at.
    pub fn inevitable_from(&self) -> Option<Duration> {
        let certain = |rate: &&FailureRate| rate.failed == rate.runs;
        self.failure_rates.iter().rev().take_while(certain).last().map(|rate| rate.until)
    }
}

/// Why a search ended before there was nothing left to try.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stopped {
    /// The campaign was told to [stop](Campaign::stop_when).
    Interrupted,
    /// It had made as many runs as it [may](Campaign::explain_runs).
    OutOfRuns,
}

/// How likely a failure is at some time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FailureRate {
    /// Up to when the run is the same.
    pub until: Duration,
    /// How many runs there were that differ from then on.
    pub runs: u32,
    /// How many of them failed in the same way.
    pub failed: u32,
}

/// How far a search for the least plan is.
#[derive(Debug, Clone, Copy)]
pub struct Progress {
    /// What is being tried.
    pub step: Step,
    /// How many runs there were.
    pub runs: u64,
    /// How many there may be.
    pub runs_max: u64,
    /// How many faults the best plan so far has.
    pub faults: usize,
}

/// What a search tries; its `Display` says it in words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Fewer faults.
    Faults,
    /// A smaller workload.
    Workload,
    /// Sooner, shorter and simpler faults.
    Simpler,
    /// Older tasks first.
    Order,
    /// What else might have happened from some time on.
    Prospects,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Step::Faults => "fewer faults",
            Step::Workload => "a smaller workload",
            Step::Simpler => "simpler faults",
            Step::Order => "older tasks first",
            Step::Prospects => "other futures",
        })
    }
}

/// A livelock is looked for with so many times fewer polls than it takes to be one.
const IMPATIENCE: u64 = 50;

/// How many events of a livelock are kept.
const ROUNDS: usize = 20_000;

/// Times this close are one.
const CLOSE: Duration = Duration::from_micros(10);

/// Nothing is gained by making a fault shorter than this.
const SHORT: Duration = Duration::from_millis(10);

/// At how many times the failure_rates are looked at, at most, and of how many of them without looking at any; and how often
/// at each, at most.
const TIMES: usize = 21;
const EVEN_TIMES: u32 = 9;
const FUTURES: u32 = 10;

impl<S, F> Campaign<S>
where
    S: Fn(Sim) -> F + Send + Sync,
    F: Future<Output = Result> + 'static,
{
    /// Finds the least with which a seed fails in the same way, with as many runs at once as the campaign has jobs. `None`
    /// when the seed passes. When the campaign is told to [stop](Campaign::stop_when), the best so far is the answer.
    ///
    /// In the same way means: of the same kind, with the same text but for numbers and what stands in quotes; for a
    /// panic from the same line; and for a run that does not go on with tasks of the same names. The answer does not
    /// depend on how many jobs there are.
    ///
    /// ```
    /// use steelmill_sim::fault::{Budget, Kind};
    /// use steelmill_sim::{Campaign, Seed};
    ///
    /// // A system that does not bear a pause: one is enough to see that.
    /// let campaign = Campaign::new(|sim| async move {
    ///     let machine = sim.machine("node", |_| Ok(())).start().await?;
    ///     let watched = machine.clone();
    ///     let watch = sim.spawn("watch", async move {
    ///         while !watched.is_paused() {
    ///             watched.clock().sleep(std::time::Duration::from_millis(1)).await;
    ///         }
    ///     });
    ///     sim.inject_faults(Budget::of(&[machine])).run().await?;
    ///     anyhow::ensure!(!watch.is_finished(), "it was paused");
    ///     Ok(())
    /// });
    /// let red = (1..).map(Seed).find_map(|seed| campaign.shrink(seed, |_| ())).expect("some seed pauses it");
    /// assert!(matches!(&red.plan.faults[..], [fault] if matches!(fault.what, Kind::Pause { .. })));
    /// ```
    pub fn shrink(&self, seed: Seed, mut watch: impl FnMut(Progress)) -> Option<Shrunk> {
        self.of_any().shrink_run(Settings { seed, ..self.settings.clone() }, &mut watch)
    }
}

impl OfAny<'_> {
    /// Of a run that may not be as the campaign's other seeds are.
    pub(crate) fn shrink_run(&self, settings: Settings, watch: &mut dyn FnMut(Progress)) -> Option<Shrunk> {
        let settings = Settings { audit: false, trace: false, stacks: false, ..settings };
        let first = self.attempt(settings.clone());
        let failure = first.failure.as_ref()?;
        let (wanted, is_livelock) = (Likeness::of(failure), matches!(failure.cause, Cause::Livelock { .. }));
        let plan = match (first.faults, &settings.faults) {
            (Some(plan), _) => plan,
            // A scenario that lets nothing go wrong still has a workload and an order.
            (None, Faults::Plan(plan)) => plan.clone(),
            (None, _) => Plan::default(),
        };
        let (limits, poll_limit) = (first.limits, settings.poll_limit);
        let mut search = Search {
            campaign: self,
            settings,
            wanted,
            plan: plan.clone(),
            step: Step::Faults,
            watch,
            runs: 1,
            runs_max: self.explain_runs,
        };
        // What goes round in circles shows that soon; hundreds of runs that wait to be sure would take minutes.
        if is_livelock && poll_limit > IMPATIENCE {
            search.settings.poll_limit = poll_limit / IMPATIENCE;
            if search.first_to_fail(1, |_| plan.clone()) == Tried::Fails(0) {
                let shrunk = search.shrink(&plan, &limits, poll_limit);
                let failure = shrunk.outcome.failure.as_ref();
                if failure.is_some_and(|failure| Likeness::of(failure) == search.wanted) {
                    return Some(shrunk);
                }
            }
            // It gets out of some circles.
            search.settings.poll_limit = poll_limit;
        }
        Some(search.shrink(&plan, &limits, poll_limit))
    }

    fn attempt(&self, settings: Settings) -> Outcome {
        let once = |settings: Settings, look| {
            let seed = settings.seed;
            // Hundreds of logs would help nobody.
            let silent = tracing::subscriber::NoSubscriber::new();
            let run = || simulate::run_once(settings, &self.scenario, self.made_at, look);
            on_a_fresh_thread(seed, || tracing::subscriber::with_default(silent, run))
        };
        simulate::run_and_explain(settings, &once)
    }

    /// A run whose trace holds what matters most, however late that is; and how many runs that took.
    fn attempt_traced(&self, settings: Settings) -> (Outcome, u64) {
        let (mut outcome, runs) = self.attempt_with_window(settings);
        // Round and round.
        let cause = outcome.failure.as_ref().map(|failure| &failure.cause);
        if let (Some(Cause::Livelock { .. }), Some(trace)) = (cause, &mut outcome.trace) {
            trace.cut_after_key_event(ROUNDS);
        }
        (outcome, runs)
    }

    fn attempt_with_window(&self, settings: Settings) -> (Outcome, u64) {
        let outcome = self.attempt(settings.clone());
        let kept = settings.trace_window.clone();
        let wanted = outcome.trace.as_ref().map(|trace| {
            let most = kept.end.saturating_sub(kept.start);
            let start = trace.key_event.saturating_sub(most / 2).min(trace.all().saturating_sub(most));
            start..start + most
        });
        match wanted.filter(|wanted| *wanted != kept) {
            Some(trace_window) => (self.attempt(Settings { trace_window, ..settings }), 2),
            None => (outcome, 1),
        }
    }
}

/// Attempts to make a seed fail as it did.
struct Search<'a> {
    campaign: &'a OfAny<'a>,
    settings: Settings,
    wanted: Likeness,
    /// The best so far.
    plan: Plan,
    step: Step,
    watch: &'a mut dyn FnMut(Progress),
    runs: u64,
    runs_max: u64,
}

impl Search<'_> {
    /// Searches from a plan on, and runs what it has found once more, with so many polls.
    fn shrink(
        &mut self,
        from: &Plan,
        limits: &BTreeMap<&'static str, RangeInclusive<u64>>,
        poll_limit: u64,
    ) -> Shrunk {
        self.plan.clone_from(from);
        // What the failure_rates may take is kept for them.
        let futures = u64::from(FUTURES).min(self.runs_max / 4 / TIMES as u64) as u32;
        let kept = u64::from(futures) * TIMES as u64;
        self.runs_max -= kept;
        self.reduce(limits);
        if self.begin_sooner() {
            self.reduce(limits);
        }
        self.simplify();
        let choices_before = self.straighten();
        self.reduce(limits);
        let stopped = self.over();
        self.runs_max += kept;
        let failure_rates = self.failure_rates(futures);
        let faults = Faults::Plan(self.plan.clone());
        let settings = Settings { faults, poll_limit, trace: true, stacks: true, ..self.settings.clone() };
        let (outcome, traced) = self.campaign.attempt_traced(settings);
        self.runs += traced;
        Shrunk {
            plan: self.plan.clone(),
            faults_before: from.faults.len(),
            limits: limits.clone(),
            choices_before,
            runs: self.runs,
            stopped,
            outcome,
            failure_rates,
        }
    }

    /// Takes out faults, and lowers limits, until neither gives way.
    fn reduce(&mut self, limits: &BTreeMap<&'static str, RangeInclusive<u64>>) {
        loop {
            let before = self.plan.clone();
            self.take_faults_out();
            self.lower(limits);
            if self.plan == before || limits.is_empty() {
                return;
            }
        }
    }

    fn take_faults_out(&mut self) {
        self.step = Step::Faults;
        // Where nothing was to go wrong there is nothing to take out.
        if !self.plan.faults.is_empty() {
            let base = self.plan.clone();
            let with = |faults: Vec<Fault>| Plan { faults, ..base.clone() };
            fewest(base.faults.clone(), &mut |sets, nth| self.first_to_fail(sets, |set| with(nth(set))));
        }
    }

    /// Lowers each limit as far as it goes.
    fn lower(&mut self, limits: &BTreeMap<&'static str, RangeInclusive<u64>>) {
        self.step = Step::Workload;
        for (name, range) in limits {
            let base = self.plan.clone();
            let full = base.limits.get(*name).map_or(*range.end(), |limit| (*limit).min(*range.end()));
            let with = |limit: u64| {
                let mut plan = base.clone();
                plan.limits.insert((*name).to_owned(), limit);
                plan
            };
            least(*range.start(), full, &mut |limits| {
                self.first_to_fail(limits.len(), |nth| with(limits[nth]))
            });
        }
    }

    /// Lets the faults begin as soon as may be, all by the same time: what only led there goes. Whether it could.
    fn begin_sooner(&mut self) -> bool {
        self.step = Step::Simpler;
        let base = self.plan.clone();
        let begins =
            |fault: &Fault| if let When::At(at) = fault.when { Some(at.as_millis() as u64) } else { None };
        let Some(first) = base.faults.iter().filter_map(begins).min() else { return false };
        let from = |sooner: u64| {
            let mut plan = base.clone();
            for fault in &mut plan.faults {
                if let When::At(at) = &mut fault.when {
                    *at = at.saturating_sub(Duration::from_millis(first - sooner));
                }
            }
            plan
        };
        least(0, first, &mut |times| self.first_to_fail(times.len(), |nth| from(times[nth]))) < first
    }

    /// Makes each fault as short as it may be, and of a kind that does less.
    fn simplify(&mut self) {
        self.step = Step::Simpler;
        for place in 0..self.plan.faults.len() {
            let base = self.plan.clone();
            let of_kind = |kind: &Kind| {
                let mut plan = base.clone();
                plan.faults[place].what = kind.clone();
                plan
            };
            let kinds = simpler(&base.faults[place].what);
            self.first_to_fail(kinds.len(), |nth| of_kind(&kinds[nth]));
            let mut is_shorter = true;
            while is_shorter && self.plan.faults[place].lasts > SHORT {
                let mut shorter = self.plan.clone();
                let lasts = &mut shorter.faults[place].lasts;
                // To the microsecond, so that it stays pleasant to read.
                *lasts = Duration::from_micros(lasts.as_micros() as u64 / 2);
                is_shorter = self.first_to_fail(1, |_| shorter.clone()) == Tried::Fails(0);
            }
        }
    }

    /// The first of several plans that fails, whatever others do: so the answer does not depend on how many run at once.
    /// It is the best so far. Plans are made when their turn comes: there may be as many as there are choices, and as long.
    fn first_to_fail(&mut self, tries: usize, nth: impl Fn(usize) -> Plan) -> Tried {
        let jobs = self.campaign.jobs_or_all();
        for first in (0..tries).step_by(jobs) {
            self.tell();
            let attempt = |plan| Settings { faults: Faults::Plan(plan), ..self.settings.clone() };
            let attempts = (first..tries.min(first + jobs)).map(|place| attempt(nth(place))).collect();
            let Some(failed) = self.fail_alike(attempts) else { return Tried::Over };
            if let Some(place) = failed.iter().position(|has_failed| *has_failed) {
                // Those behind it were made only because there was somebody to make them.
                self.runs -= (failed.len() - place - 1) as u64;
                self.plan = nth(first + place);
                return Tried::Fails(first + place);
            }
        }
        Tried::Passes
    }

    fn tell(&mut self) {
        let Self { step, runs, runs_max, .. } = *self;
        (self.watch)(Progress { step, runs, runs_max, faults: self.plan.faults.len() });
    }

    /// Which of some runs, all made at once, fail as the seed did; of those only that there may be. `None` when there
    /// have been enough.
    #[expect(clippy::disallowed_methods, reason = "the threads are joined before anything else happens")]
    fn fail_alike(&mut self, mut attempts: Vec<Settings>) -> Option<Vec<bool>> {
        if self.over().is_some() {
            return None;
        }
        attempts.truncate((self.runs_max - self.runs) as usize);
        self.runs += attempts.len() as u64;
        let (campaign, wanted) = (self.campaign, &self.wanted);
        let is_alike = &|settings| {
            let failure = campaign.attempt(settings).failure;
            failure.is_some_and(|failure| Likeness::of(&failure) == *wanted)
        };
        Some(std::thread::scope(|scope| {
            let start = |settings| scope.spawn(move || is_alike(settings));
            let threads: Vec<_> = attempts.into_iter().map(start).collect();
            threads.into_iter().map(|thread| thread.join().expect("a run's panics are its own")).collect()
        }))
    }

    /// Whether there may be no more runs, and why.
    fn over(&self) -> Option<Stopped> {
        match self.campaign.stop.load(Ordering::Relaxed) {
            true => Some(Stopped::Interrupted),
            false => (self.runs >= self.runs_max).then_some(Stopped::OutOfRuns),
        }
    }

    /// Lets the oldest ready task go first wherever the seed fails all the same. How many choices were otherwise.
    fn straighten(&mut self) -> Option<usize> {
        self.step = Step::Order;
        if self.settings.schedule != Schedule::Uniform || self.over().is_some() {
            return None;
        }
        let faults = Faults::Plan(self.plan.clone());
        let recorded = self.campaign.attempt(Settings { faults, record: true, ..self.settings.clone() });
        self.runs += 1;
        let choice = |Decision { stream, index, value }| {
            (stream == Stream::Schedule && value > 0).then_some(Choice { nth: index, place: value })
        };
        let choices: Vec<Choice> = recorded.decisions.into_iter().filter_map(choice).collect();
        let before = choices.len();
        if before == 0 {
            return Some(0);
        }
        let base = self.plan.clone();
        let with = |order: Vec<Choice>| Plan { order: Some(order), ..base.clone() };
        // A choice means the same only where all before it are as they were: so first those behind the cause go.
        let beginning = least(0, before as u64, &mut |lengths| {
            self.first_to_fail(lengths.len(), |nth| with(choices[..lengths[nth] as usize].to_vec()))
        });
        let choices = choices[..beginning as usize].to_vec();
        fewest(choices, &mut |sets, nth| self.first_to_fail(sets, |set| with(nth(set))));
        Some(before)
    }

    /// How often it fails when all goes otherwise from some time on, in so many futures.
    fn failure_rates(&mut self, futures: u32) -> Vec<FailureRate> {
        self.step = Step::Prospects;
        if futures == 0 || self.over().is_some() {
            return Vec::new();
        }
        let settings = Settings { faults: Faults::Plan(self.plan.clone()), ..self.settings.clone() };
        let failure = self.campaign.attempt(settings.clone()).failure;
        let Some(end) = failure.map(|failure| failure.at) else { return Vec::new() };
        let mut failure_rates: Vec<FailureRate> = Vec::new();
        let gaps = EVEN_TIMES - 1;
        let mut even = (0..=if end.is_zero() { 0 } else { gaps }).map(|time| end * time / gaps);
        while failure_rates.len() < TIMES {
            let Some(until) = even.next().or_else(|| turn(&failure_rates)) else { break };
            let differing = |future| {
                let seed = self.settings.seed.0 ^ u64::from(future) << 32;
                Settings { reseeds: vec![Reseed { at: until, stream: None, seed }], ..settings.clone() }
            };
            let differing: Vec<Settings> = (1..=futures).map(differing).collect();
            let mut failed = 0;
            for differing in differing.chunks(self.campaign.jobs_or_all()) {
                self.tell();
                let Some(alike) = self.fail_alike(differing.to_vec()) else { return failure_rates };
                failed += alike.into_iter().filter(|is_alike| *is_alike).count() as u32;
            }
            let place = failure_rates.partition_point(|rate| rate.until < until);
            failure_rates.insert(place, FailureRate { until, runs: futures, failed });
        }
        failure_rates
    }
}

/// The middle between the two times at which what is known of the failure_rates differs most; `None` where they do not differ.
fn turn(failure_rates: &[FailureRate]) -> Option<Duration> {
    let gaps = failure_rates.windows(2).map(|gap| {
        let [from, to] = [gap[0], gap[1]];
        (from.failed.abs_diff(to.failed), to.until - from.until, from.until)
    });
    let (differ, length, from) = gaps.filter(|(_, length, _)| *length > CLOSE).max()?;
    (differ > 0).then(|| from + Duration::from_micros(length.as_micros() as u64 / 2))
}

/// Kinds of faults that do less than this one, the least first.
fn simpler(kind: &Kind) -> Vec<Kind> {
    match kind {
        Kind::RestartStorm { machine, .. } | Kind::PowerLoss { machine } => {
            vec![Kind::Exit { machine: machine.clone() }]
        }
        Kind::Partition { between: [a, b] } => [(a, b), (b, a)]
            .map(|(from, to)| Kind::PartitionOneWay { from: from.clone(), to: to.clone() })
            .into(),
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn circles_that_are_left_again_are_no_livelock() {
        use crate::fault::Budget;
        let mut campaign = Campaign::new(|sim: Sim| async move {
            let machine = sim.machine("a", |_| Ok(())).start().await?;
            let watched = machine.clone();
            sim.spawn("spins", async move {
                loop {
                    sim.clock().sleep(Duration::from_secs(1)).await;
                    let mut turns = 0;
                    while turns < 400 || watched.is_paused() {
                        turns += 1;
                        tokio::task::yield_now().await;
                    }
                }
            });
            sim.inject_faults(Budget::of(&[machine])).run().await?;
            Ok(())
        });
        campaign.settings.poll_limit = 10_000;
        let shrunk =
            (1..).map(Seed).find_map(|seed| campaign.shrink(seed, |_| ())).expect("some seed pauses it");
        assert!(matches!(&shrunk.plan.faults[..], [fault] if matches!(fault.what, Kind::Pause { .. })));
        let cause = shrunk.outcome.failure.expect("it fails").cause;
        assert!(matches!(cause, Cause::Livelock { polls: 10_000, .. }), "{cause}");
    }

    #[test]
    fn where_failure_rates_change_they_are_sampled_more_closely() {
        let at =
            |until: u64, failed: u32| FailureRate { until: Duration::from_millis(until), runs: 10, failed };
        assert_eq!(turn(&[at(0, 0), at(8, 1), at(16, 9), at(24, 10)]), Some(Duration::from_millis(12)));
        assert_eq!(turn(&[at(0, 10), at(2, 0), at(8, 10)]), Some(Duration::from_millis(5)), "the longer one");
        assert_eq!(turn(&[at(0, 4), at(8, 4)]), None);
        let close = FailureRate { until: CLOSE, ..at(0, 10) };
        assert_eq!(turn(&[at(0, 0), close]), None);
        assert_eq!(turn(&[at(0, 0)]), None);
    }
}
