//! Failure rates of the planted bugs: how many of a number of seeds find each bug, and the geometric mean over all.

use std::process::ExitCode;

use steelmill_sim::Seed;

use super::{Bug, Version};

/// Prints a Markdown table with the failure rate of each bug whose name contains `filter`.
pub(crate) fn print(of: &[Bug], filter: &str, first: Seed, seeds: u64) -> ExitCode {
    let bugs: Vec<&Bug> = of.iter().filter(|bug| bug.name.contains(filter)).collect();
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

/// Prints a Markdown table of how many runs it takes to find each bug, by plain and by guided campaigns: the mean, and how many times
/// as many the plain ones take.
pub(crate) fn print_guided(of: &[Bug], filter: &str, campaigns: u64) -> ExitCode {
    const RUNS_MAX: u64 = 20_000;
    println!("| bug | runs, plain | runs, guided | times as many | geometric means | times as many |");
    println!("|---|---:|---:|---:|---:|---:|");
    let (mut by_mean, mut by_geometric) = (Vec::new(), Vec::new());
    for bug in of.iter().filter(|bug| bug.name.contains(filter)) {
        let [plain, guided] = [false, true].map(|is_guided| {
            let runs = |nth| {
                let campaign = bug.campaign(Version::Planted).seeds(RUNS_MAX);
                let campaign = campaign.first_seed(Seed(nth * 1_000_000));
                let campaign = if is_guided { campaign.guided() } else { campaign };
                campaign.run().seeds as f64
            };
            let runs: Vec<f64> = (1..=campaigns).map(runs).collect();
            (runs.iter().sum::<f64>() / campaigns as f64, geometric_mean(&runs))
        });
        let times = (plain.0 / guided.0, plain.1 / guided.1);
        println!(
            "| {} | {:.0} | {:.0} | {:.1} | {:.0}, {:.0} | {:.1} |",
            bug.name, plain.0, guided.0, times.0, plain.1, guided.1, times.1
        );
        by_mean.push(times.0);
        by_geometric.push(times.1);
    }
    println!(
        "| geometric mean | | | {:.1} | | {:.1} |",
        geometric_mean(&by_mean),
        geometric_mean(&by_geometric)
    );
    ExitCode::SUCCESS
}

/// The number of seeds that it takes to find a bug. One that none of them finds counts as if one had.
pub(super) fn seeds_per_failure(seeds: u64, red: u64) -> f64 {
    seeds as f64 / red.max(1) as f64
}

/// The mean of ratios: a bug that is found twice as fast counts the same for a frequent and for a rare one.
pub(super) fn geometric_mean(numbers: &[f64]) -> f64 {
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
