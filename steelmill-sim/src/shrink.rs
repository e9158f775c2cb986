//! The least that makes a red seed fail, and when that became inevitable.
//!
//! Faults are taken out of the plan by delta debugging (Zeller and Hildebrandt, "Simplifying and isolating
//! failure-inducing input", IEEE TSE 2002), those that are left are made shorter, and then the schedule is made to take
//! the oldest ready task wherever it may. Every attempt is a whole run of the seed, so what comes out is no guess: it has
//! failed.

use std::sync::atomic::Ordering;
use std::time::Duration;

use steelmill_core::Result;

use crate::campaign::{Campaign, on_a_fresh_thread};
use crate::decisions::{Decision, Rekey, Stream};
use crate::fault::{Choice, Fault, Faults, Plan};
use crate::outcome::{Cause, Failure, Outcome};
use crate::settings::{Schedule, Seed, Settings};
use crate::sim::Sim;
use crate::simulate::simulate;

/// The least that makes a seed fail.
#[derive(Debug)]
pub struct Shrunk {
    /// The faults that it takes, and where it takes a task that is not the oldest.
    pub plan: Plan,
    /// How many faults there were.
    pub faults_before: usize,
    /// How many choices between ready tasks there were in which another than the oldest was taken; `None` where nobody
    /// looked: the schedule is not the uniform one, or the search was over.
    pub choices_before: Option<usize>,
    /// How many runs it took to find out.
    pub runs: u64,
    /// The run with that plan, traced.
    pub outcome: Outcome,
    /// How often the seed fails when the plan is kept, and all else goes as in that run up to a time and as chance has it
    /// from then on.
    pub prospects: Vec<Prospect>,
}

/// How likely a failure is at some time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Prospect {
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
    /// How many runs there were.
    pub runs: u64,
    /// How many faults the plan has that is tried.
    pub faults: usize,
}

/// Where a search ends in any case.
const RUNS_MAX: u64 = 3_000;

/// Nothing is gained by making a fault shorter than this.
const SHORT: Duration = Duration::from_millis(10);

/// At how many times the prospects are looked at, and how often.
const TIMES: u32 = 20;
const FUTURES: u32 = 10;

impl<S, F> Campaign<S>
where
    S: Fn(Sim) -> F + Send + Sync,
    F: Future<Output = Result> + 'static,
{
    /// Finds the least with which a seed fails in the same way, with as many runs at once as the campaign has jobs. `None`
    /// when the seed passes. When the campaign is told to [stop](Campaign::stop_when), the best so far is the answer.
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
    ///     sim.trouble(Budget::of(&[machine])).run().await?;
    ///     anyhow::ensure!(!watch.is_finished(), "it was paused");
    ///     Ok(())
    /// });
    /// let red = (1..).map(Seed).find_map(|seed| campaign.shrink(seed, |_| ())).expect("some seed pauses it");
    /// assert!(matches!(&red.plan.faults[..], [fault] if matches!(fault.what, Kind::Pause { .. })));
    /// ```
    pub fn shrink(&self, seed: Seed, watch: impl FnMut(Progress)) -> Option<Shrunk> {
        let settings = Settings { seed, audit: false, trace: false, stacks: false, ..self.settings.clone() };
        let first = self.attempt(settings.clone());
        let wanted = Likeness::of(first.failure.as_ref()?);
        let mut plan = first.faults.unwrap_or_default();
        let faults_before = plan.faults.len();
        let mut search = Search { campaign: self, settings, wanted, watch, runs: 1 };

        // Where nothing was to go wrong there is nothing to take out.
        if !plan.faults.is_empty() {
            let with = |faults: &[Fault]| Plan { faults: faults.to_vec(), ..plan.clone() };
            let faults = fewest(plan.faults.clone(), &mut |sets| search.first_to_fail(sets, with));
            plan.faults = shorten(faults, &mut |sets| search.first_to_fail(sets, with));
        }
        let choices_before = search.straighten(&mut plan);
        let prospects = search.prospects(&plan);
        let Search { runs, settings, .. } = search;
        let faults = Faults::Plan(plan.clone());
        let outcome = self.attempt(Settings { faults, trace: true, stacks: true, ..settings });
        Some(Shrunk { plan, faults_before, choices_before, runs: runs + 1, outcome, prospects })
    }

    fn attempt(&self, settings: Settings) -> Outcome {
        // Hundreds of logs would help nobody.
        let silent = tracing::subscriber::NoSubscriber::new();
        let run = || simulate(settings, &self.scenario);
        on_a_fresh_thread(|| tracing::subscriber::with_default(silent, run))
    }
}

/// Attempts to make a seed fail as it did.
struct Search<'a, S, W> {
    campaign: &'a Campaign<S>,
    settings: Settings,
    wanted: Likeness,
    watch: W,
    runs: u64,
}

impl<S, F, W> Search<'_, S, W>
where
    S: Fn(Sim) -> F + Send + Sync,
    F: Future<Output = Result> + 'static,
    W: FnMut(Progress),
{
    /// The first of several plans that fails, whatever others do: so the answer does not depend on how many run at once.
    fn first_to_fail<T>(&mut self, sets: &[Vec<T>], with: impl Fn(&[T]) -> Plan) -> Option<usize> {
        let jobs = self.campaign.jobs_or_all();
        for (batch, sets) in sets.chunks(jobs).enumerate() {
            let plans: Vec<Plan> = sets.iter().map(|set| with(set)).collect();
            (self.watch)(Progress { runs: self.runs, faults: plans[0].faults.len() });
            let attempt = |plan| Settings { faults: Faults::Plan(plan), ..self.settings.clone() };
            let failed = self.fail_alike(plans.into_iter().map(attempt).collect())?;
            if let Some(place) = failed.into_iter().position(|has_failed| has_failed) {
                return Some(batch * jobs + place);
            }
        }
        None
    }

    /// Which of some runs, all made at once, fail as the seed did; `None` when there have been enough.
    #[expect(clippy::disallowed_methods, reason = "the threads are joined before anything else happens")]
    fn fail_alike(&mut self, attempts: Vec<Settings>) -> Option<Vec<bool>> {
        if self.is_over() {
            return None;
        }
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

    /// Whether there have been enough runs.
    fn is_over(&self) -> bool {
        self.runs >= RUNS_MAX || self.campaign.stop.load(Ordering::Relaxed)
    }

    /// Lets the oldest ready task go first wherever the seed fails all the same. How many choices were otherwise.
    fn straighten(&mut self, plan: &mut Plan) -> Option<usize> {
        if self.settings.schedule != Schedule::Uniform || self.is_over() {
            return None;
        }
        let faults = Faults::Plan(plan.clone());
        let recorded = self.campaign.attempt(Settings { faults, record: true, ..self.settings.clone() });
        self.runs += 1;
        let choice = |Decision { stream, index, value }| {
            (stream == Stream::Schedule && value > 0).then_some(Choice { nth: index, place: value })
        };
        let choices: Vec<Choice> = recorded.decisions.into_iter().filter_map(choice).collect();
        let before = choices.len();
        let base = plan.clone();
        let with = |order: &[Choice]| Plan { order: Some(order.to_vec()), ..base.clone() };
        let fewest = fewest(choices, &mut |sets| self.first_to_fail(sets, with));
        if fewest.len() < before {
            *plan = with(&fewest);
        }
        Some(before)
    }

    /// How often it fails when all goes otherwise from some time on.
    fn prospects(&mut self, plan: &Plan) -> Vec<Prospect> {
        if self.is_over() {
            return Vec::new();
        }
        let settings = Settings { faults: Faults::Plan(plan.clone()), ..self.settings.clone() };
        let failure = self.campaign.attempt(settings.clone()).failure;
        self.runs += 1;
        let Some(end) = failure.map(|failure| failure.at) else { return Vec::new() };
        let mut prospects = Vec::new();
        for time in 0..=TIMES {
            let until = end * time / TIMES;
            let differing = |future| {
                let seed = self.settings.seed.0 ^ u64::from(future) << 32;
                Settings { rekeys: vec![Rekey { at: until, stream: None, seed }], ..settings.clone() }
            };
            let futures: Vec<Settings> = (1..=FUTURES).map(differing).collect();
            let mut failed = 0;
            for futures in futures.chunks(self.campaign.jobs_or_all()) {
                let Some(alike) = self.fail_alike(futures.to_vec()) else { return prospects };
                failed += alike.into_iter().filter(|is_alike| *is_alike).count() as u32;
            }
            prospects.push(Prospect { until, runs: FUTURES, failed });
        }
        prospects
    }
}

/// What two failures share that are the same but for times, names and numbers.
#[derive(Debug, PartialEq, Eq)]
struct Likeness {
    cause: std::mem::Discriminant<Cause>,
    text: String,
}

impl Likeness {
    fn of(failure: &Failure) -> Self {
        let text = match &failure.cause {
            Cause::Error(error) => format!("{error:#}"),
            Cause::Panic { message, task } => format!("{} {message}", task.name),
            _ => String::new(),
        };
        let first_line = text.lines().next().unwrap_or_default();
        Self { cause: std::mem::discriminant(&failure.cause), text: without_particulars(first_line) }
    }
}

/// A text without what stands in quotes, and without its digits.
fn without_particulars(text: &str) -> String {
    let mut is_quoted = false;
    let is_kept = |letter: &char| {
        is_quoted ^= *letter == '"';
        !is_quoted && !letter.is_ascii_digit()
    };
    text.chars().filter(is_kept).collect()
}

/// Tells which of several sets is the first that fails.
type Fails<'a, T> = &'a mut dyn FnMut(&[Vec<T>]) -> Option<usize>;

/// Some of the items with which it fails, none of which can be left out.
fn fewest<T: Clone>(mut items: Vec<T>, fails: Fails<'_, T>) -> Vec<T> {
    if fails(&[Vec::new()]).is_some() {
        return Vec::new();
    }
    let mut parts = 2;
    while items.len() >= 2 {
        let size = items.len().div_ceil(parts);
        let subsets: Vec<Vec<T>> = items.chunks(size).map(<[T]>::to_vec).collect();
        if let Some(place) = fails(&subsets) {
            (items, parts) = (subsets[place].clone(), 2);
            continue;
        }
        let without = |left_out: usize| {
            let others = subsets.iter().enumerate().filter(|(place, _)| *place != left_out);
            others.flat_map(|(_, subset)| subset.iter().cloned()).collect()
        };
        let complements: Vec<Vec<T>> = (0..subsets.len()).map(without).collect();
        if subsets.len() > 2
            && let Some(place) = fails(&complements)
        {
            (items, parts) = (complements[place].clone(), (subsets.len() - 1).max(2));
            continue;
        }
        if size == 1 {
            break;
        }
        parts = (2 * parts).min(items.len());
    }
    items
}

/// The same faults, each as short as it may be.
fn shorten(mut faults: Vec<Fault>, fails: Fails<'_, Fault>) -> Vec<Fault> {
    for place in 0..faults.len() {
        while faults[place].lasts > SHORT {
            let mut shorter = faults.clone();
            // To the microsecond, so that it stays pleasant to read.
            shorter[place].lasts = Duration::from_micros(shorter[place].lasts.as_micros() as u64 / 2);
            if fails(std::slice::from_ref(&shorter)).is_none() {
                break;
            }
            faults = shorter;
        }
    }
    faults
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Fails when all of some numbers are there; counts how often it is asked.
    fn needs(needed: &[u32], of: u32) -> (Vec<u32>, usize) {
        let mut asked = 0;
        let found = fewest((0..of).collect(), &mut |candidates: &[Vec<u32>]| {
            asked += candidates.len();
            candidates.iter().position(|items| needed.iter().all(|number| items.contains(number)))
        });
        (found, asked)
    }

    #[test]
    fn what_it_takes_is_found_wherever_it_stands() {
        for needed in [&[][..], &[0], &[63], &[0, 63], &[5, 6, 7], &[0, 20, 21, 40, 63]] {
            let (found, asked) = needs(needed, 64);
            assert_eq!(found, needed);
            assert!(asked < 300, "{asked} runs for {needed:?}");
        }
        let all: Vec<u32> = (0..9).collect();
        assert_eq!(needs(&all, 9).0, all);
    }

    #[test]
    fn failures_are_alike_whatever_the_key_and_the_time() {
        let alike = |a: &str, b: &str| without_particulars(a) == without_particulars(b);
        assert!(alike("not linearizable: key \"a\"", "not linearizable: key \"n\""));
        assert!(alike(
            "client-3 completed 7 operations in 30.1s",
            "client-1 completed 12 operations in 30.2s"
        ));
        assert!(!alike("not linearizable: key \"a\"", "the lease does not change hands"));
    }
}
