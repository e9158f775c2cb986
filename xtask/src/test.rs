//! `cargo xtask test`: every test in both worlds, with cargo alone.
//!
//! The runtime world is the whole workspace with default features. The demo is tested once more for the sim world, in
//! the target directory and profile of `cargo xtask sim`, so that what one built the other need not. The last steps
//! are the README's first command, word for word, the lifecycle's own scenario, and the planted bugs.

use std::ffi::OsString;
use std::io::{self, BufRead, BufReader, IsTerminal, Write};
use std::process::{Command, Stdio};

use anyhow::{Context, Result};

use crate::steps::{Outcome, Steps};
use crate::workspace::Workspace;
use crate::{acceptance, bugs, sim};

/// What the README tells everybody to run; tidy holds the README to it.
pub(crate) const README_CAMPAIGN: &str = "cargo xtask sim --seeds 200";

/// Random factories through random lives; takes a quarter of a minute.
const LIFECYCLE_CAMPAIGN: &str = "cargo xtask sim --scenario lifecycle --seeds 20000";

/// The planted bugs found once more, in other seeds.
const OTHER_BUGS: &str = "cargo xtask sim --scenario bugs table --planted-only --first-seed 1000";

/// Runs the tests, those with `filter` in their name if there is one; true when all are green.
pub(crate) fn run(workspace: &Workspace, filter: Option<&str>) -> Result<bool> {
    let mut steps = Steps::new("test");
    let mut total = Count::default();
    steps.run("runtime world: unit, integration and doc tests", || {
        let mut tests =
            workspace.cargo(["test", "--workspace", "--exclude", acceptance::CRATE, "--no-fail-fast"]);
        tests.args(filter);
        cargo_test(tests, &mut total)
    });
    steps.run("sim world: the demo's tests", || {
        let mut tests = workspace.cargo(["test", "--profile", "sim", "--no-fail-fast"]);
        tests.args(sim::WORLD).args(sim::target(workspace)).args(filter);
        cargo_test(tests, &mut total)
    });
    if filter.is_none() {
        for command in [README_CAMPAIGN, LIFECYCLE_CAMPAIGN] {
            steps.run(command, || campaign(workspace, command));
        }
        steps.run("cargo xtask bugs", || Ok(bugs::run(workspace, None)?.into()));
        steps.run(OTHER_BUGS, || campaign(workspace, OTHER_BUGS));
    }
    let green = steps.finish();
    println!("\n{total}");
    Ok(green)
}

/// Runs `cargo test`, shows its output as it comes and counts on the way.
pub(crate) fn cargo_test(mut command: Command, total: &mut Count) -> Result<Outcome> {
    if io::stdout().is_terminal() {
        command.args(["--", "--color=always"]); // it would see our pipe and drop its colours
    }
    let mut child = command.stdout(Stdio::piped()).spawn().context("cannot run cargo")?;
    let output = child.stdout.take().context("cargo's output was not piped")?;
    let mut count = Count::default();
    for line in BufReader::new(output).split(b'\n') {
        let mut line = line?;
        count.read(&String::from_utf8_lossy(&line));
        line.push(b'\n');
        io::stdout().write_all(&line)?;
    }
    let green = child.wait()?.success();
    total.add(&count);
    Ok(Outcome { green, note: count.to_string() })
}

/// Runs a `cargo xtask sim ...`.
fn campaign(workspace: &Workspace, command: &str) -> Result<Outcome> {
    let (_, args) = command.split_once("sim ").context("not a sim command")?;
    let args: Vec<_> = args.split(' ').map(OsString::from).collect();
    match sim::ready(workspace, &args)? {
        Some(mut simulation) => Ok(simulation.status()?.success().into()),
        None => Ok(Outcome { green: false, note: "it does not build for the sim world".into() }),
    }
}

/// Tests counted from libtest's closing lines.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Count {
    passed: u64,
    failed: u64,
}

impl Count {
    /// Reads `test result: ok. 12 passed; 0 failed; ...`, in colour or not.
    fn read(&mut self, line: &str) {
        if line.starts_with("test result: ") {
            self.passed += number_before(line, " passed;");
            self.failed += number_before(line, " failed;");
        }
    }

    fn add(&mut self, other: &Self) {
        self.passed += other.passed;
        self.failed += other.failed;
    }
}

impl std::fmt::Display for Count {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} passed, {} failed", self.passed, self.failed)
    }
}

fn number_before(line: &str, word: &str) -> u64 {
    line.split(word)
        .next()
        .and_then(|before| before.rsplit(' ').next())
        .and_then(|number| number.parse().ok())
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn closing_lines_are_added_up_in_colour_or_not() {
        let mut count = Count::default();
        count.read("running 3 tests");
        count.read("test a_result: passes ... ok");
        count.read("test result: ok. 12 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out");
        count.read("test result: \x1b[31mFAILED\x1b[m. 1 passed; 2 failed; 0 ignored; 0 measured");
        assert_eq!(count, Count { passed: 13, failed: 2 });
    }
}
