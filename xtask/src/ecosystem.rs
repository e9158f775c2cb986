//! Crates that services are built from, run unmodified in the simulation: a part of `cargo xtask acceptance`.
//!
//! They are a crate of their own (`steelmill-sim/ecosystem`), because they take longer to build than all the rest.

use anyhow::{Context as _, Result};

use crate::libtest::{Count, cargo_test};
use crate::steps::{Outcome, Steps};
use crate::workspace::{ECOSYSTEM, Workspace};

/// Runs clippy and the tests.
pub(crate) fn run(workspace: &Workspace, steps: &mut Steps, total: &mut Count, filter: Option<&str>) {
    steps.run("ecosystem: clippy", || clippy(workspace));
    steps.run("ecosystem: tests", || {
        let mut tests = workspace.cargo(["test", "-p", ECOSYSTEM, "--no-fail-fast"]);
        tests.args(filter);
        cargo_test(tests, total)
    });
}

fn clippy(workspace: &Workspace) -> Result<Outcome> {
    let mut clippy = workspace.cargo(["clippy", "-p", ECOSYSTEM, "--all-targets", "--", "-D", "warnings"]);
    Ok(clippy.status().context("cannot run cargo")?.success().into())
}
