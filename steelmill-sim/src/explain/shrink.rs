//! Shrinking: minimizes plan, workload and schedule of a red seed, and samples when its failure became inevitable.
//!
//! Steps, in order: delta debugging removes faults; workload limits are lowered; the remaining faults are moved earlier
//! and shortened; scheduling choices are replaced by the oldest ready task. Every attempt is a whole run of the seed,
//! so the result is known to fail in the same way and in the same place.
//!
//! The order follows from what each step invalidates. A scheduling choice is identified by the number of choices before
//! it, which a different workload shifts: so the schedule comes last. A smaller workload may need fewer faults and vice
//! versa: so these two alternate until neither shrinks.

mod minimize; // bisection and delta debugging
mod nearest_green; // a run that passes, to be compared

use std::collections::BTreeMap;
use std::fmt;
use std::ops::RangeInclusive;
use std::sync::atomic::Ordering;
use std::time::Duration;

use steelmill_core::Result;

use crate::campaign::campaign::{AnyCampaign, Campaign};
use crate::campaign::signature::FailureSignature;
use crate::machine::sim::Sim;
use crate::run::simulate;
use crate::schema::decision::{Decision, Redraws, Stream};
use crate::schema::outcome::{Cause, Outcome};
use crate::schema::plan::{Choice, Fault, Faults, Kind, Plan, When};
use crate::schema::settings::{Seed, Settings};
use minimize::{TrialResult, fewest, least};

pub use nearest_green::{Differs, NearestGreen};

/// The result of shrinking a red seed: the minimal plan that still fails, and the run with it.
#[derive(Debug)]
#[non_exhaustive]
pub struct Shrunk {
    /// The minimal plan: the faults, the workload limits, and the choices where not the oldest ready task is polled.
    pub plan: Plan,
    /// The number of faults before shrinking.
    pub faults_before: usize,
    /// The workload limits that the scenario declares, with their ranges: see [`Sim::limit`].
    pub limits: BTreeMap<&'static str, RangeInclusive<u64>>,
    /// The number of such choices before shrinking. `None` if the schedule was not shrunk: it is neither
    /// [`Weighted`](crate::Schedule::Weighted) nor [`Uniform`](crate::Schedule::Uniform), or the search had stopped.
    pub choices_before: Option<usize>,
    /// The number of runs, counted as if made one after the other, so that it does not depend on the number of jobs.
    pub runs: u64,
    /// Why the search stopped early, if it did: then there may be a smaller plan.
    pub stopped: Option<Stopped>,
    /// The run with the minimal plan, traced.
    pub outcome: Outcome,
    /// How often the seed fails with this plan if all else is drawn anew after a time; densest where it changes most.
    pub failure_rates: Vec<FailureRate>,
    /// The nearest run that passes, to be compared; `None` if none was found, or the search had stopped. It takes a few runs
    /// more than [`runs`](Self::runs).
    pub nearest_green: Option<NearestGreen>,
}

impl Shrunk {
    /// The earliest sampled time from which on all runs fail; `None` if there is none, or nothing was sampled.
    pub fn inevitable_from(&self) -> Option<Duration> {
        let certain = |rate: &&FailureRate| rate.failed == rate.runs;
        self.failure_rates.iter().rev().take_while(certain).last().map(|rate| rate.until)
    }
}

/// Why a search stopped before the plan was minimal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Stopped {
    /// The campaign was [stopped](Campaign::stop_when).
    Interrupted,
    /// The [limit of runs](Campaign::explain_runs) was reached.
    OutOfRuns,
}

/// How often a run fails if everything after a certain time is drawn anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FailureRate {
    /// The virtual time up to which the run is repeated.
    pub until: Duration,
    /// The number of runs that were drawn anew from then on.
    pub runs: u32,
    /// The number of those that failed in the same way.
    pub failed: u32,
}

/// Progress of shrinking.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Progress {
    /// The current step.
    pub step: Step,
    /// The number of runs so far.
    pub runs: u64,
    /// The maximum number of runs.
    pub runs_max: u64,
    /// The number of faults in the smallest plan so far.
    pub faults: usize,
}

/// A step of shrinking.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Step {
    /// Removes faults.
    Faults,
    /// Lowers workload limits.
    Workload,
    /// Makes faults earlier, shorter and simpler.
    Simpler,
    /// Polls the oldest ready task where possible.
    Order,
    /// Samples the [`FailureRate`] at several times.
    FailureRates,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Step::Faults => "fewer faults",
            Step::Workload => "a smaller workload",
            Step::Simpler => "simpler faults",
            Step::Order => "oldest ready tasks first",
            Step::FailureRates => "failure rates over time",
        })
    }
}

/// While shrinking a livelock, the poll limit is divided by this.
const POLL_LIMIT_DIVISOR: u64 = 50;

/// The number of events kept of a livelock.
const LIVELOCK_EVENTS: usize = 20_000;

/// The minimum distance between two sampled times.
const INTERVAL_MIN: Duration = Duration::from_micros(10);

/// Faults are not made shorter than this: nothing would be gained.
const FAULT_MIN: Duration = Duration::from_millis(10);

/// Failure rates are sampled at up to this many times.
const SAMPLES_MAX: usize = 21;

/// How many of those times are evenly spaced; the others bisect the interval in which the rate changes most.
const EVEN_SAMPLES: u32 = 9;

/// The maximum number of runs for each sample.
const RUNS_PER_SAMPLE: u32 = 10;

impl<S, F> Campaign<S>
where
    S: Fn(Sim) -> F + Send + Sync,
    F: Future<Output = Result> + 'static,
{
    /// Shrinks a red seed: finds the minimal plan with which it fails in the same way. `None` if the seed passes, or its run does not
    /// come to an end.
    ///
    /// Runs are made in parallel, with the campaign's number of jobs, on which the result does not depend. If the
    /// campaign is [stopped](Campaign::stop_when), the result is the smallest plan so far. `watch` gets the progress.
    ///
    /// Two failures are the same if kind and text are equal, apart from numbers and quoted parts; for a panic, also its
    /// source line; for a deadlock, a livelock or an exceeded time limit, the names of the tasks.
    ///
    /// ```
    /// use steelmill_sim::fault::{Budget, Kind};
    /// use steelmill_sim::{Campaign, Seed};
    ///
    /// // A system that does not tolerate a pause: a single one makes it fail.
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
        self.as_any().shrink_run(Settings { seed, ..self.settings.clone() }, &mut watch).ok()
    }
}

/// Why a run cannot be shrunk: to be read after its seed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotShrunk {
    #[error("passes when it is run again: see --verify")]
    Passes,
    #[error("does not come to an end, so nothing is known of it that could be shrunk: {0}")]
    Lost(String),
}

impl AnyCampaign<'_> {
    /// [`shrink`](Campaign::shrink) for a run whose settings may differ from the campaign's.
    pub(crate) fn shrink_run(
        &self,
        settings: Settings,
        watch: &mut dyn FnMut(Progress),
    ) -> Result<Shrunk, NotShrunk> {
        self.begin_once();
        let settings = Settings { audit: false, trace: false, stacks: false, ..settings };
        let first = self.attempt(settings.clone());
        let Some(failure) = &first.failure else { return Err(NotShrunk::Passes) };
        if first.is_lost {
            return Err(NotShrunk::Lost(failure.to_string()));
        }
        let (wanted, is_livelock) =
            (FailureSignature::of(failure), matches!(failure.cause, Cause::Livelock { .. }));
        let plan = match (first.faults, &settings.faults) {
            (Some(plan), _) => plan,
            // A scenario without fault injection still has a workload and a schedule.
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
            unlike: Vec::new(),
        };
        // A livelock shows early; hundreds of runs up to the full poll limit would take minutes.
        if is_livelock && poll_limit > POLL_LIMIT_DIVISOR {
            search.settings.poll_limit = poll_limit / POLL_LIMIT_DIVISOR;
            if search.first_to_fail(1, |_| plan.clone()) == TrialResult::Fails(0) {
                let shrunk = search.shrink(&plan, &limits, poll_limit);
                let failure = shrunk.outcome.failure.as_ref();
                if failure.is_some_and(|failure| FailureSignature::of(failure) == search.wanted) {
                    return Ok(shrunk);
                }
            }
            // With the lower limit, loops that end were taken for the livelock.
            search.settings.poll_limit = poll_limit;
        }
        Ok(search.shrink(&plan, &limits, poll_limit))
    }

    fn attempt(&self, settings: Settings) -> Outcome {
        simulate::run_and_explain(settings, &|settings, look| self.run_once(settings, look, true))
    }

    /// A run whose trace contains its key event, however late that is; and the number of runs made.
    fn attempt_traced(&self, settings: Settings) -> (Outcome, u64) {
        let (mut outcome, runs) = self.attempt_with_window(settings);
        let cause = outcome.failure.as_ref().map(|failure| &failure.cause);
        if let (Some(Cause::Livelock { .. }), Some(trace)) = (cause, &mut outcome.trace) {
            trace.cut_after_key_event(LIVELOCK_EVENTS);
        }
        (outcome, runs)
    }

    fn attempt_with_window(&self, settings: Settings) -> (Outcome, u64) {
        let outcome = self.attempt(settings.clone());
        let window = settings.trace_window.clone();
        let wanted = outcome.trace.as_ref().map(|trace| {
            let most = window.end.saturating_sub(window.start);
            let start = trace.key_event.saturating_sub(most / 2).min(trace.all().saturating_sub(most));
            start..start + most
        });
        match wanted.filter(|wanted| *wanted != window) {
            Some(trace_window) => (self.attempt(Settings { trace_window, ..settings }), 2),
            None => (outcome, 1),
        }
    }
}

struct Search<'a> {
    campaign: &'a AnyCampaign<'a>,
    settings: Settings,
    wanted: FailureSignature,
    /// The smallest failing plan so far.
    plan: Plan,
    step: Step,
    watch: &'a mut dyn FnMut(Progress),
    runs: u64,
    runs_max: u64,
    /// Redraws with which the run did not fail alike: from when on, and drawn from which seed.
    unlike: Vec<(Duration, u64)>,
}

impl Search<'_> {
    /// Shrinks the plan `from`, then runs the result once more, traced, with `poll_limit`.
    fn shrink(
        &mut self,
        from: &Plan,
        limits: &BTreeMap<&'static str, RangeInclusive<u64>>,
        poll_limit: u64,
    ) -> Shrunk {
        self.plan.clone_from(from);
        // The failure rates get a share of the runs, reserved for them.
        let runs_per_sample = u64::from(RUNS_PER_SAMPLE).min(self.runs_max / 4 / SAMPLES_MAX as u64) as u32;
        let reserved = u64::from(runs_per_sample) * SAMPLES_MAX as u64;
        self.runs_max -= reserved;
        self.reduce(limits);
        if self.begin_earlier() {
            self.reduce(limits);
        }
        self.simplify();
        let choices_before = self.reduce_choices();
        self.reduce(limits);
        let stopped = self.stop_reason();
        self.runs_max += reserved;
        let failure_rates = self.failure_rates(runs_per_sample);
        let faults = Faults::Plan(self.plan.clone());
        let settings = Settings { faults, poll_limit, trace: true, stacks: true, ..self.settings.clone() };
        let (outcome, traced) = self.campaign.attempt_traced(settings);
        self.runs += traced;
        let nearest_green = if failure_rates.is_empty() { None } else { self.nearest_green() };
        Shrunk {
            plan: self.plan.clone(),
            faults_before: from.faults.len(),
            limits: limits.clone(),
            choices_before,
            runs: self.runs,
            stopped,
            outcome,
            failure_rates,
            nearest_green,
        }
    }

    fn reduce(&mut self, limits: &BTreeMap<&'static str, RangeInclusive<u64>>) {
        loop {
            let before = self.plan.clone();
            self.remove_faults();
            self.lower(limits);
            if self.plan == before || limits.is_empty() {
                return;
            }
        }
    }

    fn remove_faults(&mut self) {
        self.step = Step::Faults;
        if !self.plan.faults.is_empty() {
            let base = self.plan.clone();
            let with = |faults: Vec<Fault>| Plan { faults, ..base.clone() };
            fewest(base.faults.clone(), &mut |sets, nth| self.first_to_fail(sets, |set| with(nth(set))));
        }
    }

    /// Lowers each workload limit as far as the run still fails.
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

    /// Moves all faults earlier by the same duration, as far as the run still fails. Whether they were moved.
    fn begin_earlier(&mut self) -> bool {
        self.step = Step::Simpler;
        let base = self.plan.clone();
        let begins =
            |fault: &Fault| if let When::At(at) = fault.when { Some(at.as_millis() as u64) } else { None };
        let Some(first) = base.faults.iter().filter_map(begins).min() else { return false };
        let from = |earliest: u64| {
            let mut plan = base.clone();
            for fault in &mut plan.faults {
                if let When::At(at) = &mut fault.when {
                    *at = at.saturating_sub(Duration::from_millis(first - earliest));
                }
            }
            plan
        };
        least(0, first, &mut |times| self.first_to_fail(times.len(), |nth| from(times[nth]))) < first
    }

    /// Shortens each fault, and replaces its kind by a simpler one, as far as the run still fails.
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
            while is_shorter && self.plan.faults[place].lasts > FAULT_MIN {
                let mut shorter = self.plan.clone();
                let lasts = &mut shorter.faults[place].lasts;
                // In whole microseconds, to keep plans readable.
                *lasts = Duration::from_micros(lasts.as_micros() as u64 / 2);
                is_shorter = self.first_to_fail(1, |_| shorter.clone()) == TrialResult::Fails(0);
            }
        }
    }

    /// Runs several plans; the first in order that fails becomes the smallest so far: first in order, not in time, so
    /// that the result does not depend on the number of jobs. Plans are made lazily: there may be many, and long ones.
    fn first_to_fail(&mut self, tries: usize, nth: impl Fn(usize) -> Plan) -> TrialResult {
        let jobs = self.campaign.jobs_or_all();
        for first in (0..tries).step_by(jobs) {
            self.report_progress();
            let attempt = |plan| Settings { faults: Faults::Plan(plan), ..self.settings.clone() };
            let attempts = (first..tries.min(first + jobs)).map(|place| attempt(nth(place))).collect();
            let Some(failed) = self.fail_alike(attempts) else { return TrialResult::Stopped };
            if let Some(place) = failed.iter().position(|has_failed| *has_failed) {
                // Runs after it are not counted: they were made only because there were idle jobs.
                self.runs -= (failed.len() - place - 1) as u64;
                self.plan = nth(first + place);
                return TrialResult::Fails(first + place);
            }
        }
        TrialResult::Passes
    }

    fn report_progress(&mut self) {
        let Self { step, runs, runs_max, .. } = *self;
        (self.watch)(Progress { step, runs, runs_max, faults: self.plan.faults.len() });
    }

    /// Makes runs in parallel, up to the limit: whether each fails as the seed did. `None` if the search has stopped.
    #[expect(clippy::disallowed_methods, reason = "the threads are joined before anything else happens")]
    fn fail_alike(&mut self, mut attempts: Vec<Settings>) -> Option<Vec<bool>> {
        if self.stop_reason().is_some() {
            return None;
        }
        attempts.truncate((self.runs_max - self.runs) as usize);
        self.runs += attempts.len() as u64;
        let (campaign, wanted) = (self.campaign, &self.wanted);
        let is_alike = &|settings| {
            let failure = campaign.attempt(settings).failure;
            failure.is_some_and(|failure| FailureSignature::of(&failure) == *wanted)
        };
        Some(std::thread::scope(|scope| {
            let start = |settings| scope.spawn(move || is_alike(settings));
            let threads: Vec<_> = attempts.into_iter().map(start).collect();
            threads.into_iter().map(|thread| thread.join().expect("a run's panics are its own")).collect()
        }))
    }

    fn stop_reason(&self) -> Option<Stopped> {
        match self.campaign.stop.load(Ordering::Relaxed) {
            true => Some(Stopped::Interrupted),
            false => (self.runs >= self.runs_max).then_some(Stopped::OutOfRuns),
        }
    }

    /// Replaces scheduling choices by the oldest ready task where the seed still fails. Returns their number before.
    fn reduce_choices(&mut self) -> Option<usize> {
        self.step = Step::Order;
        // A redraw begins another order.
        let has_order = self.settings.schedule.follows_order() && self.settings.reseeds.is_empty();
        if !has_order || self.stop_reason().is_some() {
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
        // A choice means the same only if all before it are unchanged: so first drop those after the cause.
        let prefix = least(0, before as u64, &mut |lengths| {
            self.first_to_fail(lengths.len(), |nth| with(choices[..lengths[nth] as usize].to_vec()))
        });
        let choices = choices[..prefix as usize].to_vec();
        fewest(choices, &mut |sets, nth| self.first_to_fail(sets, |set| with(nth(set))));
        Some(before)
    }

    /// Samples how often the run still fails if everything after a certain time is drawn anew.
    fn failure_rates(&mut self, runs_per_sample: u32) -> Vec<FailureRate> {
        self.step = Step::FailureRates;
        if runs_per_sample == 0 || self.stop_reason().is_some() {
            return Vec::new();
        }
        let settings = Settings { faults: Faults::Plan(self.plan.clone()), ..self.settings.clone() };
        let failure = self.campaign.attempt(settings.clone()).failure;
        let Some(end) = failure.map(|failure| failure.at) else { return Vec::new() };
        let mut failure_rates: Vec<FailureRate> = Vec::new();
        let intervals = EVEN_SAMPLES - 1;
        let mut even = (0..=if end.is_zero() { 0 } else { intervals }).map(|nth| end * nth / intervals);
        while failure_rates.len() < SAMPLES_MAX {
            let Some(until) = even.next().or_else(|| next_sample(&failure_rates)) else { break };
            let seeds: Vec<u64> =
                (1..=runs_per_sample).map(|nth| settings.seed.0 ^ u64::from(nth) << 32).collect();
            let mut failed = 0;
            for batch in seeds.chunks(self.campaign.jobs_or_all()) {
                self.report_progress();
                let redrawn = batch.iter().map(|seed| redrawn(&settings, until, *seed)).collect();
                let Some(alike) = self.fail_alike(redrawn) else { return failure_rates };
                for (seed, is_alike) in batch.iter().zip(alike) {
                    failed += u32::from(is_alike);
                    self.unlike.extend((!is_alike).then_some((until, *seed)));
                }
            }
            let place = failure_rates.partition_point(|rate| rate.until < until);
            failure_rates.insert(place, FailureRate { until, runs: runs_per_sample, failed });
        }
        failure_rates
    }
}

/// The same run, but drawn anew from a seed after a time.
fn redrawn(settings: &Settings, until: Duration, seed: u64) -> Settings {
    let reseeds = Redraws::of(&settings.reseeds).then(until, seed).reseeds();
    Settings { reseeds, ..settings.clone() }
}

/// The middle of the interval in which the failure rate changes most; `None` if it does not change.
fn next_sample(failure_rates: &[FailureRate]) -> Option<Duration> {
    let intervals = failure_rates.windows(2).map(|pair| {
        let [from, to] = [pair[0], pair[1]];
        (from.failed.abs_diff(to.failed), to.until - from.until, from.until)
    });
    let (differ, length, from) = intervals.filter(|(_, length, _)| *length > INTERVAL_MIN).max()?;
    (differ > 0).then(|| from + Duration::from_micros(length.as_micros() as u64 / 2))
}

/// Simpler kinds of faults than this one, the simplest first.
fn simpler(kind: &Kind) -> Vec<Kind> {
    match kind {
        Kind::RestartStorm { machine, .. } | Kind::PowerLoss { machine } => {
            vec![Kind::Exit { machine: machine.clone() }]
        }
        Kind::Partition { between: [a, b] } => [(a, b), (b, a)]
            .map(|(from, to)| Kind::PartitionOneWay { from: from.clone(), to: to.clone() })
            .into(),
        Kind::Suspension { machine } => vec![Kind::Pause { machine: machine.clone() }],
        Kind::Lookups { machine, delay_max, failing_ppm } if !delay_max.is_zero() && *failing_ppm > 0 => {
            [(*delay_max, 0), (Duration::ZERO, *failing_ppm)]
                .map(|(delay_max, failing_ppm)| Kind::Lookups {
                    machine: machine.clone(),
                    delay_max,
                    failing_ppm,
                })
                .into()
        }
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_busy_loop_that_ends_is_no_livelock() {
        use crate::fault::Budget;
        let mut campaign = Campaign::new(|sim: Sim| async move {
            let machine = sim.machine("a", |_| Ok(())).start().await?;
            let watched = machine.clone();
            sim.spawn("spins", async move {
                loop {
                    sim.clock().sleep(Duration::from_secs(1)).await;
                    let mut rounds = 0;
                    while rounds < 400 || watched.is_paused() {
                        rounds += 1;
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
        assert_eq!(
            next_sample(&[at(0, 0), at(8, 1), at(16, 9), at(24, 10)]),
            Some(Duration::from_millis(12))
        );
        assert_eq!(
            next_sample(&[at(0, 10), at(2, 0), at(8, 10)]),
            Some(Duration::from_millis(5)),
            "the longer interval"
        );
        assert_eq!(next_sample(&[at(0, 4), at(8, 4)]), None);
        let close = FailureRate { until: INTERVAL_MIN, ..at(0, 10) };
        assert_eq!(next_sample(&[at(0, 0), close]), None);
        assert_eq!(next_sample(&[at(0, 0)]), None);
    }
}
