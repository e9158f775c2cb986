//! Crates that services are built from, run unmodified in the simulation: a part of `cargo xtask acceptance`.
//!
//! They are a crate of their own (`steelmill-sim/ecosystem`), because they take longer to build than all the rest.

use std::process::Command;

use crate::libtest::{Count, cargo_test};
use crate::steps::Steps;
use crate::workspace::Workspace;

/// The tests but those of documentation.
pub(crate) fn tests(workspace: &Workspace) -> Command {
    let targets = ["crates", "databases", "jemalloc", "mimalloc"];
    workspace.test_on_demand(targets.into_iter().flat_map(|target| ["--test", target]))
}

/// Runs the tests. Clippy, which would have to check two hundred crates once more, is left to `cargo clippy --workspace`.
pub(crate) fn run(workspace: &Workspace, steps: &mut Steps, total: &mut Count, filter: Option<&str>) {
    steps.run("ecosystem: tests", || {
        let mut tests = tests(workspace);
        tests.args(filter);
        cargo_test(tests, total)
    });
    steps.run("ecosystem: the listings of README and book", || {
        let mut tests = workspace.test_on_demand(["--doc"]);
        tests.args(filter);
        cargo_test(tests, total)
    });
}
