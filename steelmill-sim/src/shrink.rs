//! What of a red seed's plan it takes: the fewest and shortest faults with which the seed still fails in the same way.
//!
//! Faults are taken out by delta debugging (Zeller and Hildebrandt, "Simplifying and isolating failure-inducing input",
//! IEEE TSE 2002), then those that are left are made shorter. Every attempt is a whole run of the seed, so what comes out
//! is no guess: it has failed.

use std::sync::atomic::Ordering;
use std::time::Duration;

use steelmill_core::Result;

use crate::campaign::{Campaign, on_a_fresh_thread};
use crate::fault::{Fault, Faults, Plan};
use crate::outcome::{Cause, Failure, Outcome};
use crate::settings::{Seed, Settings};
use crate::sim::Sim;
use crate::simulate::simulate;

/// The least that makes a seed fail.
#[derive(Debug)]
pub struct Shrunk {
    /// The faults that it takes.
    pub plan: Plan,
    /// How many there were.
    pub faults_before: usize,
    /// How many runs it took to find out.
    pub runs: u64,
    /// The run with that plan, traced.
    pub outcome: Outcome,
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

impl<S, F> Campaign<S>
where
    S: Fn(Sim) -> F + Send + Sync,
    F: Future<Output = Result> + 'static,
{
    /// Finds the least plan with which a seed fails in the same way, with as many runs at once as the campaign has jobs.
    /// `None` when the seed passes. When the campaign is told to [stop](Campaign::stop_when), the best so far is the
    /// answer.
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
    pub fn shrink(&self, seed: Seed, mut watch: impl FnMut(Progress)) -> Option<Shrunk> {
        let first = self.attempt(seed, self.settings.faults.clone(), false);
        let wanted = Likeness::of(first.failure.as_ref()?);
        let plan = first.faults.unwrap_or_default();
        let faults_before = plan.faults.len();
        let mut runs = 1;
        // Of several plans, the first that fails: so the answer does not depend on how many run at once.
        let jobs = self.jobs_or_all();
        let mut fails = |plans: &[Vec<Fault>]| {
            for (batch, plans) in plans.chunks(jobs).enumerate() {
                if runs >= RUNS_MAX || self.stop.load(Ordering::Relaxed) {
                    return None;
                }
                runs += plans.len() as u64;
                watch(Progress { runs, faults: plans[0].len() });
                let found = self.fail_alike(seed, plans, &wanted);
                if let Some(place) = found.into_iter().position(|is_alike| is_alike) {
                    return Some(batch * jobs + place);
                }
            }
            None
        };
        // Where nothing was to go wrong there is nothing to take out; a run without a plan is not one with an empty one.
        let plan = match plan.faults.is_empty() {
            true => plan,
            false => Plan { faults: shorten(fewest(plan.faults, &mut fails), &mut fails) },
        };
        let outcome = self.attempt(seed, Faults::Plan(plan.clone()), true);
        Some(Shrunk { plan, faults_before, runs: runs + 1, outcome })
    }

    fn attempt(&self, seed: Seed, faults: Faults, trace: bool) -> Outcome {
        let settings = Settings { seed, faults, trace, stacks: trace, audit: false, ..self.settings.clone() };
        // Hundreds of logs would help nobody.
        let silent = tracing::subscriber::NoSubscriber::new();
        let run = || simulate(settings, &self.scenario);
        on_a_fresh_thread(|| tracing::subscriber::with_default(silent, run))
    }

    /// Which of some plans make the seed fail as it did; all are tried at once.
    #[expect(clippy::disallowed_methods, reason = "the threads are joined before anything else happens")]
    fn fail_alike(&self, seed: Seed, plans: &[Vec<Fault>], wanted: &Likeness) -> Vec<bool> {
        let attempt = |faults: &Vec<Fault>| {
            let outcome = self.attempt(seed, Faults::Plan(Plan { faults: faults.clone() }), false);
            outcome.failure.is_some_and(|failure| Likeness::of(&failure) == *wanted)
        };
        std::thread::scope(|scope| {
            let threads: Vec<_> = plans.iter().map(|plan| scope.spawn(|| attempt(plan))).collect();
            threads.into_iter().map(|thread| thread.join().expect("a run's panics are its own")).collect()
        })
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

/// Tells which of several candidates is the first that fails.
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
