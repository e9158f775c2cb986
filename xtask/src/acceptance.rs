//! `cargo xtask acceptance`: what needs more than Rust, which is a browser.
//!
//! The tests are a crate of their own (`steelmill-sim/acceptance`), which no other command builds. Where a program is
//! missing they are skipped, and that is said, counted, and green: whoever has no browser can still work on the rest.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::sim;
use crate::steps::{Outcome, Steps};
use crate::test::{Count, cargo_test};
use crate::workspace::Workspace;

/// The crate; `lint` and `test` leave it out.
pub(crate) const CRATE: &str = "steelmill-acceptance";

/// A program that the tests need, and how one gets it.
struct Program {
    name: &'static str,
    get: &'static str,
}

const PROGRAMS: [Program; 2] = [
    Program { name: "chromium", get: "Debian: apt-get install chromium" },
    Program { name: "chromedriver", get: "Debian: apt-get install chromium-driver" },
];

/// A seed of the demo's canary that fails; the README shows it.
const RED_SEED: &str = "2";

/// What there is to say on the command line.
#[derive(clap::Args, Default)]
pub(crate) struct Options {
    /// Runs only the tests with this in their name.
    filter: Option<String>,
    /// Takes the README's picture of a red seed, writes it to this file, and does nothing else.
    #[arg(long, value_name = "FILE", conflicts_with = "filter")]
    screenshot: Option<PathBuf>,
}

/// Runs the tests that need a browser; true when none fails.
pub(crate) fn run(workspace: &Workspace, options: &Options) -> Result<bool> {
    let missing: Vec<&Program> = PROGRAMS.iter().filter(|program| !is_there(program.name)).collect();
    if !missing.is_empty() {
        for Program { name, get } in &missing {
            println!("skipped: {name} is not on the PATH, and what needs a browser needs it ({get})");
        }
        println!("\n0 passed, 0 failed, {} skipped", missing.len());
        return Ok(options.screenshot.is_none());
    }
    let mut steps = Steps::new("acceptance");
    let mut total = Count::default();
    if options.screenshot.is_none() {
        steps.run("clippy", || {
            let mut clippy =
                workspace.cargo(["clippy", "-p", CRATE, "--all-targets", "--", "-D", "warnings"]);
            Ok(clippy.status().context("cannot run cargo")?.success().into())
        });
    }
    let folder = workspace.target.join("acceptance");
    steps.run("a red seed of the demo's canary, explained", || explain(workspace, &folder));
    steps.run("browser tests", || {
        let mut tests = workspace.cargo(["test", "-p", CRATE, "--no-fail-fast"]);
        tests.env("STEELMILL_ACCEPTANCE_DEMO", folder.join("red/picture.html"));
        // Each has a browser of its own; what they measure is worth seeing.
        tests.env("RUST_TEST_THREADS", "2").env("RUST_TEST_NOCAPTURE", "1");
        match &options.screenshot {
            Some(file) => {
                let file = env::current_dir()?.join(file);
                tests.env("STEELMILL_ACCEPTANCE_SCREENSHOT", file).arg("a_red_seed_of_the_demo");
            }
            None => {
                tests.args(&options.filter);
            }
        }
        cargo_test(tests, &mut total)
    });
    let green = steps.finish();
    println!("\n{total}, 0 skipped");
    Ok(green)
}

/// Lets the demo explain a red seed into a folder.
fn explain(workspace: &Workspace, folder: &Path) -> Result<Outcome> {
    if folder.exists() {
        fs::remove_dir_all(folder).with_context(|| format!("cannot remove {}", folder.display()))?;
    }
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    // What it says to type is then the same on every machine.
    let args = ["--canary", "--seed", RED_SEED, "--explain", "red"].map(Into::into);
    let Some(mut simulation) = sim::ready(workspace, &args)? else {
        return Ok(Outcome { green: false, note: "it does not build for the sim world".into() });
    };
    // It is red, as it should be: what counts is that it was explained.
    simulation.current_dir(folder).status().context("cannot run the simulation")?;
    let green = folder.join("red/picture.html").exists();
    let note =
        if green { String::new() } else { format!("seed {RED_SEED} of the canary made no picture.html") };
    Ok(Outcome { green, note })
}

fn is_there(program: &str) -> bool {
    let paths = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&paths).any(|folder| folder.join(program).is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_looked_for_on_the_path() {
        assert!(is_there("cargo") || env::var_os("CARGO").is_some());
        assert!(!is_there("no-such-program-anywhere"));
    }
}
