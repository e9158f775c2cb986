//! `cargo xtask bench`: the cost of each operation, beside a hand-written lower bound.
//!
//! Both sides of a pair are timed in alternating rounds, so that a busy machine slows both. Wall time still varies;
//! instructions and allocations per operation repeat, so these two have targets, and a missed target makes the run red.
//! Bulk transfers also have a target relative to the bound's time. The simulator's two programs stay in
//! `<target>/bench/` and keep their command line and output, so that they can be compared with other simulators.

mod compare; // with the figures of an earlier run
mod growth; // what machines and events cost, the more there are
mod measure; // running one program and reading its counts
mod plan; // the workloads, their sizes and targets
mod quick; // the part that CI runs, beside the baseline in the repository
mod table; // output as text and JSON

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::workspace::Workspace;
use compare::Baseline;
use measure::Program;
pub(crate) use measure::can_count_instructions;
use plan::{PLAN, Workload};
pub(crate) use quick::run as quick;
use table::Row;

#[derive(Args)]
pub(crate) struct Options {
    /// Workloads to measure, such as W1, or W2 for W2-10, W2-100 and W2-1000; all when none is named
    workloads: Vec<String>,
    /// Prints the figures as JSON
    #[arg(long)]
    json: bool,
    /// Fails if a workload takes over 5 % more instructions than in this file, which `--json` has printed
    #[arg(long, value_name = "FILE")]
    compare: Option<PathBuf>,
    /// Number of timed rounds per side; the fastest counts
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Counts instructions of the simulator's workloads alone, and fails if one takes over 5 % more than the baseline in the
    /// repository; CI does so
    #[arg(long, conflicts_with_all = ["workloads", "json", "compare", "rounds"])]
    quick: bool,
    /// Measures what machines and events cost, the more of them there are, and writes it as a picture (SVG) to this file
    #[arg(long, value_name = "FILE", conflicts_with_all = ["workloads", "json", "compare", "rounds", "quick"])]
    growth: Option<PathBuf>,
    /// Makes what was counted the baseline
    #[arg(long, requires = "quick")]
    accept: bool,
}

/// Measures and prints; false when a target was missed, or more instructions were taken than before.
pub(crate) fn run(workspace: &Workspace, options: &Options) -> Result<bool> {
    if options.quick {
        if !can_count_instructions() {
            bail!("instructions are counted by valgrind, which is not installed");
        }
        let outcome = quick(workspace, options.accept)?;
        println!("{}", outcome.note);
        return Ok(outcome.green);
    }
    if let Some(file) = &options.growth {
        let of_w1 = choose(&["W1".to_owned()])?;
        let programs = build(workspace, &of_w1)?;
        let ours = programs.iter().find(|program| program.name == of_w1[0].ours.program);
        growth::run(ours.context("the benchmark was not built")?, file)?;
        return Ok(true);
    }
    let chosen = choose(&options.workloads)?;
    let baseline = options.compare.as_deref().map(Baseline::read).transpose()?;
    let programs = build(workspace, &chosen)?;
    let counting = can_count_instructions();
    if !counting {
        if baseline.is_some() {
            bail!("there is nothing to compare: instructions are not counted, as valgrind is not installed");
        }
        eprintln!("instructions are not counted: valgrind is not installed");
    }
    let mut rows = Vec::new();
    for workload in chosen {
        eprintln!("{}: {}", workload.name, workload.title);
        rows.push(measure_row(&programs, workload, options.rounds, counting)?);
    }
    fill_references(&mut rows);
    if options.json {
        println!("{}", table::json(&rows));
    } else {
        println!("{}", table::text(&rows));
    }
    let is_kept = baseline.is_none_or(|baseline| {
        let (lines, is_kept) = baseline.compare(&rows);
        eprintln!("\nworkload         before          now   change");
        lines.iter().for_each(|line| eprintln!("{line}"));
        is_kept
    });
    Ok(is_kept && rows.iter().all(|row| row.missed().is_empty()))
}

fn choose(names: &[String]) -> Result<Vec<&'static Workload>> {
    let is_meant = |workload: &Workload, name: &str| {
        let (family, _) = workload.name.split_once('-').unwrap_or((workload.name, ""));
        name.eq_ignore_ascii_case(workload.name) || name.eq_ignore_ascii_case(family)
    };
    for name in names {
        if !PLAN.iter().any(|workload| is_meant(workload, name)) {
            let known: Vec<&str> = PLAN.iter().map(|workload| workload.name).collect();
            bail!("there is no workload {name}; there are {}", known.join(", "));
        }
    }
    let is_named =
        |workload: &Workload| names.is_empty() || names.iter().any(|name| is_meant(workload, name));
    let others: Vec<&str> =
        PLAN.iter().filter(|workload| is_named(workload)).filter_map(Workload::reference).collect();
    Ok(PLAN.iter().filter(|workload| is_named(workload) || others.contains(&workload.name)).collect())
}

/// Gives each row our instructions in its reference workload.
fn fill_references(rows: &mut [Row]) {
    for index in 0..rows.len() {
        let other = rows[index].workload.reference();
        let other = rows.iter().find(|row| Some(row.workload.name) == other);
        rows[index].reference = other.and_then(|other| other.sides[1].instructions);
    }
}

/// Builds the programs of the chosen workloads and copies them to `<target>/bench/`.
fn build(workspace: &Workspace, chosen: &[&Workload]) -> Result<Vec<Program>> {
    let folder = workspace.target.join("bench");
    std::fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let mut programs: Vec<Program> = Vec::new();
    for side in chosen.iter().flat_map(|workload| [&workload.bound, &workload.ours]) {
        if programs.iter().any(|program| program.name == side.program) {
            continue;
        }
        // With -p, because features are unified over what is built together.
        let build = workspace.cargo(["build", "--release", "-p", side.package, "--bench", side.program]);
        let Some(built) = workspace.build(build, side.program)? else {
            bail!("{} does not build (see above)", side.program);
        };
        let path: PathBuf = folder.join(side.program);
        std::fs::copy(&built, &path).with_context(|| format!("cannot copy to {}", path.display()))?;
        programs.push(Program { name: side.program, path });
    }
    Ok(programs)
}

fn measure_row(
    programs: &[Program],
    workload: &'static Workload,
    rounds: usize,
    counting: bool,
) -> Result<Row> {
    let sides = [&workload.bound, &workload.ours];
    let program = |name: &str| {
        programs.iter().find(|program| program.name == name).with_context(|| format!("{name} was not built"))
    };
    let mut row = Row::new(workload);
    for _ in 0..rounds {
        for (figures, side) in row.sides.iter_mut().zip(sides) {
            let run = program(side.program)?.run(&[side.args, workload.timed])?;
            figures.take_time(run.nanoseconds / run.ops);
        }
    }
    let [small, large] = workload.counted;
    for (figures, side) in row.sides.iter_mut().zip(sides) {
        let program = program(side.program)?;
        let [few, many] = [small, large].map(|size| program.run(&[side.args, size, "--allocs"]));
        let (few, many) = (few?, many?);
        let ops = many.ops - few.ops;
        figures.allocations = many.allocations.zip(few.allocations).map(|(many, few)| (many - few) / ops);
        if counting {
            let [few, many] = [small, large].map(|size| program.instructions(&[side.args, size]));
            figures.instructions = Some((many? - few?) / ops);
        }
    }
    Ok(row)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workloads_are_chosen_by_name_and_an_unknown_name_lists_the_known() {
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        assert_eq!(choose(&[]).expect("all").len(), PLAN.len());
        let chosen = choose(&names(&["w3", "W1"])).expect("known");
        assert_eq!(chosen.iter().map(|workload| workload.name).collect::<Vec<_>>(), ["W1", "W3"]);
        let family = choose(&names(&["w2"])).expect("known");
        let family: Vec<&str> = family.iter().map(|workload| workload.name).collect();
        assert_eq!(family, ["W1", "W2-10", "W2-100", "W2-1000"], "and their reference workload");
        let error = choose(&names(&["W9"])).err().expect("unknown");
        assert!(error.to_string().starts_with("there is no workload W9; there are W1, "));
    }
}
