//! `cargo xtask acceptance`: what needs more than Rust, which is a browser.
//!
//! The tests are a crate of their own (`steelmill-sim/acceptance`), which no other command builds. Where a program is
//! missing they are skipped, and that is said, counted, and green: whoever has no browser can still work on the rest.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::libtest::{Count, cargo_test};
use crate::sim;
use crate::steps::{Outcome, Steps};
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
        let skipped =
            tests_in(&folder_of_the_crate(workspace)?, options.filter.as_deref().unwrap_or_default())?;
        for Program { name, get } in &missing {
            match &options.screenshot {
                None => println!("skipped, as {name} is not on the PATH ({get}): {skipped}"),
                Some(_) => println!("no picture, as {name} is not on the PATH ({get})"),
            }
        }
        if options.screenshot.is_none() {
            println!("\n0 passed, 0 failed, {skipped} skipped");
        }
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

fn folder_of_the_crate(workspace: &Workspace) -> Result<PathBuf> {
    let found = workspace.crates.iter().find(|one| one.name == CRATE);
    let found = found.with_context(|| format!("the workspace has no {CRATE}"))?;
    Ok(workspace.root.join(&found.folder))
}

/// How many tests with `filter` in their name there are in a folder's Rust files, as far as one can tell without building
/// them.
fn tests_in(folder: &Path, filter: &str) -> Result<usize> {
    let mut tests = 0;
    for entry in fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))? {
        let path = entry?.path();
        if path.is_dir() {
            tests += tests_in(&path, filter)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text =
                fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
            tests += names_of_tests(&text).filter(|name| name.contains(filter)).count();
        }
    }
    Ok(tests)
}

fn names_of_tests(text: &str) -> impl Iterator<Item = &str> {
    text.split("#[test]\n").skip(1).filter_map(|behind| {
        let (_, name) = behind.split_once("fn ")?;
        name.split_once('(').map(|(name, _)| name)
    })
}

fn is_there(program: &str) -> bool {
    let paths = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&paths).any(|folder| folder.join(program).is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tests_are_counted_by_their_names_where_nothing_is_built() {
        let text = "#[test]\nfn it_opens() {}\n\n    #[test]\n    #[should_panic]\n    fn it_shuts() -> Result {}\nfn other() {}\n";
        assert_eq!(names_of_tests(text).collect::<Vec<_>>(), ["it_opens", "it_shuts"]);
    }

    #[test]
    #[cfg(unix)]
    fn a_program_is_looked_for_on_the_path() {
        assert!(is_there("sh"));
        assert!(!is_there("no-such-program-anywhere"));
    }
}
