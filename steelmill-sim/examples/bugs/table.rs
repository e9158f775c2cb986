//! The table: for each bug, how many seeds it took to see it, and what is left of that seed's faults.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{anyhow, bail, ensure};
use steelmill_core::Result;
use steelmill_sim::fault::Family;
use steelmill_sim::{Seed, Shrunk};

use super::{BUGS, Bug, Version};

/// How many seeds the right version has to bear, and with how many the other has to go red.
const SEEDS: u64 = 300;

/// A planted bug that was found.
pub(crate) struct Row {
    /// How many seeds it took.
    seeds: u64,
    seed: Seed,
    shrunk: Shrunk,
    took: Duration,
}

/// Makes a row for each bug with `filter` in its name, and prints them as a table of Markdown; fails when one is not
/// found, when more, fewer or other faults are left than a person would name, and when a right version goes red, which are
/// tried unless `planted_only`.
pub(crate) fn make(filter: &str, first: Seed, planted_only: bool) -> ExitCode {
    let bugs: Vec<Bug> = BUGS.into_iter().filter(|bug| bug.name.contains(filter)).collect();
    println!(
        "| bug | seeds until red | faults | workload | choices | runs | seconds | the faults that are left |"
    );
    println!("|---|---:|---:|---|---:|---:|---:|---|");
    let mut problems = Vec::new();
    for bug in &bugs {
        let row = if planted_only { find(bug, first) } else { try_one(bug, first) };
        match row {
            Ok(row) => {
                println!("{}", line(bug, &row));
                problems.extend(check(bug, &row).err().map(|error| error.context(bug.name)));
            }
            Err(error) => problems.push(error.context(bug.name)),
        }
    }
    for problem in &problems {
        eprintln!("\nerror: {problem:#}");
    }
    if bugs.is_empty() {
        eprintln!("error: no bug has {filter:?} in its name; `list` shows them");
    }
    if problems.is_empty() && !bugs.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn try_one(bug: &Bug, first: Seed) -> Result<Row> {
    let right = bug.campaign(Version::Right).first_seed(first).seeds(SEEDS).run();
    if let Some(red) = right.failed.first() {
        let why = red.failure.as_ref().map(|failure| failure.to_string()).unwrap_or_default();
        bail!("the right version fails with seed {}: {why}", red.seed);
    }
    find(bug, first)
}

/// Finds a bug and shrinks it.
///
/// # Errors
/// When it is not found.
#[expect(clippy::disallowed_methods, reason = "how long it takes in real time is what is wanted")]
pub(crate) fn find(bug: &Bug, first: Seed) -> Result<Row> {
    let begun = Instant::now();
    let planted = || bug.campaign(Version::Planted);
    let seed = first_red(first, |first, seeds| {
        let summary = planted().first_seed(first).seeds(seeds).failures_max(seeds as usize).run();
        summary.failed.first().map(|red| red.seed)
    });
    let seed = seed.ok_or_else(|| anyhow!("{SEEDS} seeds do not show that {}", bug.left_out))?;
    let shrunk = planted().shrink(seed, |_| ()).ok_or_else(|| anyhow!("seed {seed} does not repeat"))?;
    Ok(Row { seeds: seed.0 - first.0 + 1, seed, shrunk, took: begun.elapsed() })
}

/// The least seed that is red, whichever ends first of those that run at once.
fn first_red(first: Seed, red_of: impl Fn(Seed, u64) -> Option<Seed>) -> Option<Seed> {
    const BATCH: u64 = 10;
    (0..SEEDS / BATCH).find_map(|batch| red_of(Seed(first.0 + batch * BATCH), BATCH))
}

/// Whether what is left is what a person would name.
///
/// # Errors
/// When it is not; says what it is.
pub(crate) fn check(bug: &Bug, row: &Row) -> Result {
    let left = row.shrunk.plan.faults.iter().map(|fault| fault.what.family()).collect();
    let is_it = are(left, bug.faults);
    ensure!(is_it, "what is left of seed {} is not {}: {}", row.seed, bug.takes, told(row));
    Ok(())
}

/// Whether there is one fault for each that is wanted, and no other.
fn are(mut left: Vec<Family>, wanted: &[&[Family]]) -> bool {
    let is_there = |wanted: &&[Family]| {
        let place = left.iter().position(|family| wanted.contains(family));
        place.map(|place| left.remove(place)).is_some()
    };
    wanted.iter().all(is_there) && left.is_empty()
}

/// The faults that are left, in words.
fn told(row: &Row) -> String {
    let faults: Vec<String> = row.shrunk.plan.faults.iter().map(ToString::to_string).collect();
    if faults.is_empty() { "none".to_owned() } else { faults.join("; ") }
}

fn line(bug: &Bug, row: &Row) -> String {
    let Row { seeds, shrunk, took, .. } = row;
    let choices = match (&shrunk.plan.order, shrunk.choices_before) {
        (Some(order), Some(before)) => format!("{} of {before}", order.len()),
        (None, Some(before)) => format!("{before} of {before}"),
        (_, None) => "not tried".to_owned(),
    };
    let limits = &shrunk.plan.limits;
    let workload = shrunk.limits.iter().map(|(of, range)| {
        let full = range.end();
        format!("{} of {full} {of}", limits.get(*of).unwrap_or(full))
    });
    let workload = workload.collect::<Vec<_>>().join(", ");
    format!(
        "| {} | {seeds} | {} of {} | {workload} | {choices} | {} | {:.1} | {} |",
        bug.name,
        shrunk.plan.faults.len(),
        shrunk.faults_before,
        shrunk.runs,
        took.as_secs_f64(),
        told(row)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_is_left_for_each_that_it_takes_and_no_other() {
        let wanted: &[&[Family]] = &[&[Family::Drift], &[Family::Pause, Family::Loss]];
        assert!(are(vec![Family::Loss, Family::Drift], wanted));
        assert!(!are(vec![Family::Loss, Family::Pause], wanted), "no drift");
        assert!(!are(vec![Family::Drift], wanted), "one too few");
        assert!(!are(vec![Family::Drift, Family::Pause, Family::Loss], wanted), "one too many");
        assert!(are(vec![], &[]));
    }
}
