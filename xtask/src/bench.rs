//! `cargo xtask bench`: what steelmill costs, beside a hand-written lower bound.
//!
//! Every figure comes as a pair measured in the same run, round by round in turn, so that a busy machine slows both
//! sides. Wall time still varies; instructions and allocations per operation repeat, so those two have aims, and a
//! missed aim makes the run red. Only what moves bytes in bulk is held against its bound's time as well. The two columns of
//! the simulator are left in `<target>/bench/` and keep a fixed command line and output, so that they can stand beside
//! other simulators.

mod measure; // one program, run and counted
mod plan; // what is measured, and what it should cost
mod table; // how it is shown

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::workspace::Workspace;
use measure::Program;
use plan::{PLAN, Workload};
use table::Row;

/// What to measure.
#[derive(Args)]
pub(crate) struct Options {
    /// Workloads to measure, such as W1, or W2 for W2-10, W2-100 and W2-1000; all when none is named
    workloads: Vec<String>,
    /// Prints the figures as JSON
    #[arg(long)]
    json: bool,
    /// How often each side is timed; the best round counts
    #[arg(long, default_value_t = 5)]
    rounds: usize,
}

/// Measures and prints; false when an aim was missed.
pub(crate) fn run(workspace: &Workspace, options: &Options) -> Result<bool> {
    let chosen = choose(&options.workloads)?;
    let programs = build(workspace, &chosen)?;
    let counting = measure::can_count_instructions();
    if !counting {
        eprintln!("valgrind is not here: instructions are not counted");
    }
    let mut rows = Vec::new();
    for workload in chosen {
        eprintln!("{}: {}", workload.name, workload.title);
        rows.push(measure_row(&programs, workload, options.rounds, counting)?);
    }
    hold_beside(&mut rows);
    if options.json {
        println!("{}", table::json(&rows));
    } else {
        println!("{}", table::text(&rows));
    }
    Ok(rows.iter().all(|row| row.missed().is_empty()))
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
        PLAN.iter().filter(|workload| is_named(workload)).filter_map(Workload::beside).collect();
    Ok(PLAN.iter().filter(|workload| is_named(workload) || others.contains(&workload.name)).collect())
}

/// Tells each row what ours took in the workload that it is held against.
fn hold_beside(rows: &mut [Row]) {
    for index in 0..rows.len() {
        let other = rows[index].workload.beside();
        let other = rows.iter().find(|row| Some(row.workload.name) == other);
        rows[index].beside = other.and_then(|other| other.sides[1].instructions);
    }
}

/// The programs that the chosen workloads run, built and put where they can be found again.
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
        assert_eq!(family, ["W1", "W2-10", "W2-100", "W2-1000"], "and what they are held against");
        let error = choose(&names(&["W9"])).err().expect("unknown");
        assert!(error.to_string().starts_with("there is no workload W9; there are W1, "));
    }
}
