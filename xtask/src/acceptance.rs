//! `cargo xtask acceptance`: the browser tests, the demo with real Redis clients and through fifty kills, the tests of other
//! people's crates (`ecosystem`), campaigns on batch systems ([`batch`]), what operations cost beside a baseline
//! (`bench --quick`), the simulated sockets beside Linux's ([`linux`]), and the packages in somebody else's project (`package`).
//!
//! The browser tests are a crate of their own (`steelmill-sim/acceptance`), which no other command builds. Without a
//! browser or its driver they are reported and counted as skipped, and the result is green: everything else works
//! without a browser. So it is with the clients, see [`clients`].

mod batch; // the recipes for batch systems
mod clients; // smoke tests with redis-py, node-redis, ioredis and redis-cli
mod linux; // the simulated sockets beside Linux's

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::beside::Beside;
use crate::libtest::{Count, cargo_test};
use crate::steps::{Outcome, Steps};
use crate::workspace::{ACCEPTANCE, Workspace};
use crate::{bench, ecosystem, package, sim};

/// A program that the tests need, and how to install it.
struct Program {
    name: &'static str,
    install: &'static str,
}

const PROGRAMS: [Program; 2] = [
    Program { name: "chromium", install: "Debian: apt-get install chromium" },
    Program { name: "chromedriver", install: "Debian: apt-get install chromium-driver" },
];

/// A red seed of `cargo xtask sim --canary`; the README shows it.
const RED_SEED: &str = "2";

/// A test of the demo, the variable that says how many kills it has, and how many it has here.
const KILLED: &str = "what_was_acknowledged_survives_kills_in_the_middle_of_writing";
const KILLS: (&str, &str) = ("DEMO_KILLS", "50");

#[derive(clap::Args, Default)]
pub(crate) struct Options {
    /// Runs only the tests and clients whose name contains this.
    filter: Option<String>,
    /// Writes the README's screenshot of a red seed to this file, and runs no other test.
    #[arg(long, value_name = "FILE", conflicts_with = "filter")]
    screenshot: Option<PathBuf>,
    /// Builds what takes longest, the tests of other people's crates, and runs none.
    #[arg(long, conflicts_with_all = ["filter", "screenshot"])]
    no_run: bool,
}

/// Runs the clients and the browser tests; true when none fails.
pub(crate) fn run(workspace: &Workspace, options: &Options) -> Result<bool> {
    let mut steps = Steps::new("acceptance");
    let mut skipped = 0;
    let mut total = Count::default();
    if options.no_run {
        steps.run("ecosystem: build", || {
            Ok(ecosystem::tests(workspace).arg("--no-run").status()?.success().into())
        });
        return Ok(steps.finish());
    }
    if options.screenshot.is_none() {
        // It builds all once more, in a folder of its own, while other steps wait for their timers.
        let packages = options.filter.is_none().then(|| Beside::start(workspace, "package")).transpose()?;
        ecosystem::run(workspace, &mut steps, &mut total, options.filter.as_deref());
        skipped = clients::run(workspace, options.filter.as_deref(), &mut steps);
        kills(workspace, options.filter.as_deref(), &mut steps, &mut total);
        skipped += batch::run(workspace, options.filter.as_deref(), &mut steps);
        skipped += instructions(workspace, options.filter.as_deref(), &mut steps);
        skipped += linux::run(workspace, options.filter.as_deref(), &mut steps, &mut total);
        match packages {
            Some(packages) => skipped += packaged(packages, &mut steps, &mut total),
            None if options.filter.as_deref().is_some_and(|filter| "package".contains(filter)) => {
                skipped += package::run_steps(workspace, &mut steps, &mut total);
            }
            None => {}
        }
    }
    browser_tests(workspace, options, &mut steps, total, skipped)
}

/// What became of the packages in somebody else's project; the number of steps that were skipped.
fn packaged(packages: Beside, steps: &mut Steps, total: &mut Count) -> usize {
    let mut skipped = 0;
    steps.run("packages, tried beside the steps above", || {
        let (outcome, of_packages) = packages.finish(total)?;
        skipped = of_packages;
        Ok(outcome)
    });
    skipped
}

/// Kills the demo again and again while clients write, on a real disk, and checks each write that was acknowledged.
fn kills(workspace: &Workspace, filter: Option<&str>, steps: &mut Steps, total: &mut Count) {
    let name = "the demo's data through fifty kills";
    if filter.is_some_and(|filter| !name.contains(filter)) {
        return;
    }
    steps.run(name, || {
        // As `cargo xtask test` has built it.
        let mut test = workspace.whole(["test", "--test", "service"]);
        test.arg(KILLED);
        // It prints how many writes there were.
        test.env(KILLS.0, KILLS.1).env("RUST_TEST_NOCAPTURE", "1");
        cargo_test(test, total)
    });
}

/// The quick part of the benchmark; 1 if it is skipped.
fn instructions(workspace: &Workspace, filter: Option<&str>, steps: &mut Steps) -> usize {
    let name = "instructions beside the baseline";
    if filter.is_some_and(|filter| !name.contains(filter)) {
        return 0;
    }
    if !bench::can_count_instructions() {
        println!("skipped, because valgrind is not on the PATH (Debian: apt-get install valgrind): 1");
        return 1;
    }
    steps.run(name, || bench::quick(workspace, false));
    0
}

/// Runs the browser tests, and prints the summary of all steps.
fn browser_tests(
    workspace: &Workspace,
    options: &Options,
    steps: &mut Steps,
    mut total: Count,
    clients_skipped: usize,
) -> Result<bool> {
    let missing: Vec<&Program> = PROGRAMS.iter().filter(|program| !is_on_path(program.name)).collect();
    if !missing.is_empty() {
        let skipped = tests_in(&crate_folder(workspace)?, options.filter.as_deref().unwrap_or_default())?;
        for Program { name, install } in &missing {
            match &options.screenshot {
                None => println!("skipped, because {name} is not on the PATH ({install}): {skipped}"),
                Some(_) => println!("no screenshot, because {name} is not on the PATH ({install})"),
            }
        }
        if options.screenshot.is_some() {
            return Ok(false);
        }
        let green = steps.finish();
        println!("\n{total}, {} skipped", skipped + clients_skipped);
        return Ok(green);
    }
    let folder = workspace.target.join("acceptance");
    steps.run("a red seed of the demo's canary, explained", || explain(workspace, &folder));
    steps.run("browser tests", || {
        let mut tests = workspace.test_on_demand(["--lib", "--test", "picture"]);
        tests.env("STEELMILL_ACCEPTANCE_DEMO", folder.join("red/picture.html"));
        // Each test starts a browser, and prints what it measures.
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
    println!("\n{total}, {clients_skipped} skipped");
    Ok(green)
}

/// Runs a red seed of the demo with `--explain`, which writes the HTML picture that a test opens.
fn explain(workspace: &Workspace, folder: &Path) -> Result<Outcome> {
    if folder.exists() {
        fs::remove_dir_all(folder).with_context(|| format!("cannot remove {}", folder.display()))?;
    }
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    // A relative path, so that the commands in the picture are the same on every machine.
    let args = ["--canary", "--seed", RED_SEED, "--explain", "red"].map(Into::into);
    let Some(mut simulation) = sim::built(workspace, &args)? else {
        return Ok(Outcome { green: false, note: "it does not build for the sim world".into() });
    };
    // Its exit code says only that the seed is red, as it must be.
    simulation.current_dir(folder).status().context("cannot run the simulation")?;
    let green = folder.join("red/picture.html").exists();
    let note =
        if green { String::new() } else { format!("seed {RED_SEED} of the canary wrote no picture.html") };
    Ok(Outcome { green, note })
}

fn crate_folder(workspace: &Workspace) -> Result<PathBuf> {
    let found = workspace.crates.iter().find(|one| one.name == ACCEPTANCE);
    let found = found.with_context(|| format!("the workspace has no crate {ACCEPTANCE}"))?;
    Ok(workspace.root.join(&found.folder))
}

/// The number of tests in a folder whose name contains `filter`, counted from the source without a build.
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

fn is_on_path(program: &str) -> bool {
    let paths = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&paths).any(|folder| folder.join(program).is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tests_are_counted_in_source_without_a_build() {
        let text = "#[test]\nfn it_opens() {}\n\n    #[test]\n    #[should_panic]\n    fn it_shuts() -> Result {}\nfn other() {}\n";
        assert_eq!(names_of_tests(text).collect::<Vec<_>>(), ["it_opens", "it_shuts"]);
    }

    #[test]
    #[cfg(unix)]
    fn programs_are_found_on_the_path() {
        assert!(is_on_path("sh"));
        assert!(!is_on_path("no-such-program-anywhere"));
    }
}
