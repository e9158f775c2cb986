//! The table of planted bugs: seeds until a bug was found, and the faults left after shrinking.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{anyhow, bail, ensure};
use steelmill_core::Result;
use steelmill_sim::fault::{Family, Fault, Moment, When};
use steelmill_sim::{Seed, Shrunk};

use super::{BUGS, Bug, ENDS, Version};

/// The number of seeds that the right version must pass, and within which the planted one must fail.
const SEEDS: u64 = 300;

pub(crate) struct Row {
    /// Seeds until the first red one, itself included.
    seeds: u64,
    seed: Seed,
    shrunk: Shrunk,
    took: Duration,
}

/// Prints a Markdown table of the bugs whose name contains `filter`. Fails when a bug is not found, when it shrinks to
/// more, fewer or other faults than expected, and, unless `planted_only`, when a right version fails.
pub(crate) fn make(filter: &str, first: Seed, planted_only: bool) -> ExitCode {
    let bugs: Vec<Bug> = BUGS.into_iter().filter(|bug| bug.name.contains(filter)).collect();
    println!(
        "| bug | seeds until red | faults | workload | choices | runs | seconds | the faults that are left |"
    );
    println!("|---|---:|---:|---|---:|---:|---:|---|");
    let mut problems = Vec::new();
    for bug in &bugs {
        let row = if planted_only { find(bug, first) } else { check_and_find(bug, first) };
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
        eprintln!("error: no bug has {filter:?} in its name; `list` prints them all");
    }
    if problems.is_empty() && !bugs.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn check_and_find(bug: &Bug, first: Seed) -> Result<Row> {
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
/// When no seed fails, or the failure does not repeat.
#[expect(clippy::disallowed_methods, reason = "the table shows real time")]
pub(crate) fn find(bug: &Bug, first: Seed) -> Result<Row> {
    let begun = Instant::now();
    let planted = || bug.campaign(Version::Planted);
    let seed = first_red(first, |first, seeds| {
        let summary = planted().first_seed(first).seeds(seeds).failures_max(seeds as usize).run();
        summary.failed.first().map(|red| red.seed)
    });
    let seed = seed.ok_or_else(|| anyhow!("none of {SEEDS} seeds fails although {}", bug.missing_code))?;
    let shrunk = planted().shrink(seed, |_| ()).ok_or_else(|| anyhow!("seed {seed} does not repeat"))?;
    Ok(Row { seeds: seed.0 - first.0 + 1, seed, shrunk, took: begun.elapsed() })
}

/// The lowest red seed, independent of which parallel run ends first.
fn first_red(first: Seed, red_of: impl Fn(Seed, u64) -> Option<Seed>) -> Option<Seed> {
    const BATCH: u64 = 10;
    (0..SEEDS / BATCH).find_map(|batch| red_of(Seed(first.0 + batch * BATCH), BATCH))
}

/// Checks that the bug shrank to the expected faults.
///
/// # Errors
/// When it did not, with the faults that are left.
pub(crate) fn check(bug: &Bug, row: &Row) -> Result {
    let faults = &row.shrunk.plan.faults;
    let left = faults.iter().map(|fault| fault.what.family()).collect();
    let needed = bug.needed;
    let found = faults_text(row);
    let expected = matches(left, bug, faults.iter().map(restarts).sum());
    ensure!(expected, "seed {} must shrink to {needed}, but shrank to: {found}", row.seed);
    Ok(())
}

/// How many times a machine must be restarted before the fault strikes.
fn restarts(fault: &Fault) -> usize {
    match fault.when {
        When::At(_) | When::On { moment: Moment::Sending, .. } => 0,
        When::On { nth, .. } => nth as usize,
        _ => 0,
    }
}

/// Whether there is exactly one fault for each expected set of families, and beside them no more than three that may help, and
/// at most `restarts` that restart a machine.
fn matches(mut left: Vec<Family>, bug: &Bug, restarts: usize) -> bool {
    let take_one = |expected: &&[Family]| {
        let index = left.iter().position(|family| expected.contains(family));
        index.map(|index| left.remove(index)).is_some()
    };
    let has_expected = bug.faults.iter().all(take_one);
    let (help, others): (Vec<_>, Vec<_>) = left.iter().partition(|family| bug.may_help.contains(family));
    let restart = others.len() <= restarts && others.iter().all(|family| ENDS.contains(family));
    has_expected && help.len() <= 3 && restart
}

fn faults_text(row: &Row) -> String {
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
        faults_text(row)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn needs(faults: &'static [&'static [Family]], may_help: &'static [Family]) -> Bug {
        Bug { faults, may_help, ..BUGS[0] }
    }

    #[test]
    fn exactly_one_fault_is_left_for_each_expected_set_of_families() {
        let bug = needs(&[&[Family::Drift], &[Family::Pause, Family::Loss]], &[]);
        assert!(matches(vec![Family::Loss, Family::Drift], &bug, 0));
        assert!(!matches(vec![Family::Loss, Family::Pause], &bug, 0), "no drift");
        assert!(!matches(vec![Family::Drift], &bug, 0), "one fault too few");
        assert!(!matches(vec![Family::Drift, Family::Pause, Family::Loss], &bug, 0), "one too many");
        assert!(matches(vec![], &needs(&[], &[]), 0));
    }

    #[test]
    fn a_few_faults_are_left_besides_that_help() {
        let bug = needs(&[&[Family::Exit]], &[Family::Pause]);
        assert!(matches(vec![Family::Pause, Family::Exit, Family::Pause], &bug, 0));
        assert!(!matches(vec![Family::Exit, Family::Loss], &bug, 0), "a loss does not help");
        assert!(
            !matches([vec![Family::Exit], vec![Family::Pause; 4]].concat(), &bug, 0),
            "four are too many"
        );
    }

    #[test]
    fn faults_that_bring_about_the_moment_of_another_are_left_besides() {
        let bug = needs(&[&[Family::Exit]], &[]);
        assert!(matches(vec![Family::Exit, Family::PowerLoss], &bug, 1));
        assert!(!matches(vec![Family::Exit, Family::PowerLoss, Family::Exit], &bug, 1));
        assert!(!matches(vec![Family::Exit, Family::Pause], &bug, 1), "a pause restarts nothing");
    }
}
