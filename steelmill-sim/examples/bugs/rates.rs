//! Failure rates of the planted bugs: how many of a number of seeds find each bug, and the geometric mean over all.

use std::process::ExitCode;

use steelmill_sim::Seed;

use super::{BUGS, Bug, Version};

/// Prints a Markdown table with the failure rate of each bug whose name contains `filter`.
pub(crate) fn print(filter: &str, first: Seed, seeds: u64) -> ExitCode {
    let bugs: Vec<Bug> = BUGS.into_iter().filter(|bug| bug.name.contains(filter)).collect();
    if bugs.is_empty() {
        eprintln!("error: no bug has {filter:?} in its name; `list` prints them all");
        return ExitCode::FAILURE;
    }
    println!("| bug | red seeds of {seeds} | seeds per failure |");
    println!("|---|---:|---:|");
    let mut all = Vec::new();
    for bug in &bugs {
        let campaign = bug.campaign(Version::Planted).first_seed(first).seeds(seeds);
        let red = campaign.failures_max(usize::MAX).run().failed.len() as u64;
        let per_failure = seeds_per_failure(seeds, red);
        println!("| {} | {red} | {per_failure:.2} |", bug.name);
        all.push(per_failure);
    }
    println!("| geometric mean | | {:.2} |", geometric_mean(&all));
    ExitCode::SUCCESS
}

/// The number of seeds that it takes to find a bug. One that none of them finds counts as if one had.
fn seeds_per_failure(seeds: u64, red: u64) -> f64 {
    seeds as f64 / red.max(1) as f64
}

/// The mean of ratios: a bug that is found twice as fast counts the same for a frequent and for a rare one.
fn geometric_mean(numbers: &[f64]) -> f64 {
    let logarithms: f64 = numbers.iter().map(|number| number.ln()).sum();
    (logarithms / numbers.len() as f64).exp()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bug_without_a_red_seed_counts_as_all_seeds() {
        assert_eq!(seeds_per_failure(1000, 0), 1000.0);
        assert_eq!(seeds_per_failure(1000, 1), 1000.0);
        assert_eq!(seeds_per_failure(1000, 250), 4.0);
    }

    #[test]
    fn the_geometric_mean_is_a_mean_of_ratios() {
        assert!((geometric_mean(&[1.0, 100.0]) - 10.0).abs() < 1e-9);
        assert!((geometric_mean(&[2.0, 4.0, 8.0]) - 4.0).abs() < 1e-9);
    }
}
