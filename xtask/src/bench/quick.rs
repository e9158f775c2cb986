//! `cargo xtask bench --quick`: the instructions of the simulator's workloads, beside those that the repository remembers.
//!
//! The program is built as `cargo xtask sim` builds its scenarios, so that after the tests only itself is left to compile, and
//! nothing is timed. So a change that makes each run dearer is told by CI. The compiler's version decides how many instructions
//! there are: with another one than the baseline's nothing is compared.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde_json::{Map, Value, json};

use super::compare::Baseline;
use super::measure::Program;
use super::plan::{PLAN, Workload};
use super::table::Row;
use crate::sim;
use crate::steps::Outcome;
use crate::workspace::Workspace;

const WORKLOADS: [&str; 5] = ["W1", "W3", "W5", "W6", "W7"];
const PROGRAM: &str = "steelmill";

/// Where the baseline is.
const FILE: &str = "xtask/src/bench/baseline.json";

/// Counts, and compares with the baseline; with `accept` what was counted becomes the baseline.
pub(crate) fn run(workspace: &Workspace, accept: bool) -> Result<Outcome> {
    let mut build = sim::build_of_all(workspace);
    // As CI builds: what is built incrementally is in other pieces, and takes a tenth more.
    build.args(["--bench", PROGRAM]).env("CARGO_INCREMENTAL", "0");
    let path = workspace.build(build, PROGRAM)?.context("the benchmark does not build (see above)")?;
    let program = Program { name: PROGRAM, path };
    let chosen = PLAN.iter().filter(|workload| WORKLOADS.contains(&workload.name));
    let rows = chosen.map(|workload| count(&program, workload)).collect::<Result<Vec<_>>>()?;
    let (file, compiler) = (workspace.root.join(FILE), compiler()?);
    if accept {
        std::fs::write(&file, text(&compiler, &rows)?).with_context(|| format!("cannot write {FILE}"))?;
        return Ok(Outcome { green: true, note: format!("{FILE} holds what was counted") });
    }
    compare(&file, &compiler, &rows)
}

fn count(program: &Program, workload: &'static Workload) -> Result<Row> {
    let mut row = Row::new(workload);
    let [few, many] = workload.counted;
    let ops = program.run(&[many])?.ops - program.run(&[few])?.ops;
    let more = program.instructions(&[many])? - program.instructions(&[few])?;
    row.sides[1].instructions = Some(more / ops);
    Ok(row)
}

fn compare(file: &Path, compiler: &str, rows: &[Row]) -> Result<Outcome> {
    let text = std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    let (of, baseline) = parse(&text).with_context(|| format!("{} is no baseline", file.display()))?;
    if of != compiler {
        let note = format!("not compared: the baseline is of {of}, and this is {compiler}");
        return Ok(Outcome { green: true, note });
    }
    let (lines, green) = baseline.compare(rows);
    println!("workload         before          now   change");
    lines.iter().for_each(|line| println!("{line}"));
    let note = if green { String::new() } else { format!("over 5 % more than in {FILE}") };
    Ok(Outcome { green, note })
}

fn text(compiler: &str, rows: &[Row]) -> Result<String> {
    let figure = |row: &Row| (row.workload.name.to_owned(), json!(row.sides[1].instructions.map(f64::round)));
    let figures: Map<String, Value> = rows.iter().map(figure).collect();
    let baseline = json!({ "compiler": compiler, "instructions_per_op": figures });
    Ok(serde_json::to_string_pretty(&baseline)? + "\n")
}

fn parse(text: &str) -> Result<(String, Baseline)> {
    let value: Value = serde_json::from_str(text)?;
    let compiler = value["compiler"].as_str().context("it names no compiler")?;
    let figures = value["instructions_per_op"].as_object().context("it has no figures")?;
    let figures = figures.iter().map(|(name, count)| {
        let count = count.as_f64().with_context(|| format!("{name} has no number"))?;
        Ok((name.clone(), count))
    });
    Ok((compiler.to_owned(), Baseline::of(figures.collect::<Result<_>>()?)))
}

/// `rustc 1.95.0 (59807616e 2026-04-14)`
fn compiler() -> Result<String> {
    let output = Command::new("rustc").arg("--version").output().context("cannot run rustc")?;
    if !output.status.success() {
        bail!("rustc --version failed");
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(of_w1: f64) -> Vec<Row> {
        let mut row = Row::new(PLAN.iter().find(|workload| workload.name == "W1").expect("a workload"));
        row.sides[1].instructions = Some(of_w1);
        vec![row]
    }

    #[test]
    fn a_baseline_is_compared_with_counts_of_the_same_compiler_alone() {
        let file = std::env::temp_dir().join(format!("steelmill-baseline-{}", std::process::id()));
        std::fs::write(&file, text("rustc 1", &rows(1_000.0)).expect("text")).expect("a file");
        let outcome =
            |compiler: &str, of_w1: f64| compare(&file, compiler, &rows(of_w1)).expect("a baseline");
        assert!(outcome("rustc 1", 1_049.0).green && !outcome("rustc 1", 1_051.0).green);
        let other = outcome("rustc 2", 2_000.0);
        assert!(other.green && other.note.starts_with("not compared: the baseline is of rustc 1"));
        std::fs::remove_file(&file).expect("it is there");
    }

    #[test]
    fn the_repository_has_a_baseline_of_each_workload() {
        let (_, baseline) = parse(include_str!("baseline.json")).expect("a baseline");
        let (lines, _) = baseline.compare(
            &PLAN
                .iter()
                .filter(|workload| WORKLOADS.contains(&workload.name))
                .map(|workload| {
                    let mut row = Row::new(workload);
                    row.sides[1].instructions = Some(1.0);
                    row
                })
                .collect::<Vec<_>>(),
        );
        assert_eq!(lines.len(), WORKLOADS.len());
    }
}
