//! `cargo xtask test`: every test in both worlds, with cargo alone.
//!
//! The runtime world is the whole workspace with default features. The demo is tested once more for the sim world, in
//! the target directory and profile of `cargo xtask sim`, so that what one built the other need not. The last steps
//! are the README's first command, word for word, the lifecycle's own scenario, and the planted bugs.

use std::ffi::OsString;

use anyhow::{Context, Result};

use crate::libtest::{Count, cargo_test};
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

/// Runs a `cargo xtask sim ...`.
fn campaign(workspace: &Workspace, command: &str) -> Result<Outcome> {
    let (_, args) = command.split_once("sim ").context("not a sim command")?;
    let args: Vec<_> = args.split(' ').map(OsString::from).collect();
    match sim::ready(workspace, &args)? {
        Some(mut simulation) => Ok(simulation.status()?.success().into()),
        None => Ok(Outcome { green: false, note: "it does not build for the sim world".into() }),
    }
}
