//! `cargo xtask test`: every test in both worlds, with cargo alone.
//!
//! The runtime world is the whole workspace with default features. The demo is tested again for the sim world, in the same
//! profile, so that nothing else is built for it. The last steps, in the profile of `cargo xtask sim`, are the README's first
//! command, word for word, the lifecycle scenario, and the planted bugs.

mod repeat; // the runtime world's tests again and again

use std::ffi::OsString;

use anyhow::{Context, Result};

use crate::libtest::{Count, cargo_test};
use crate::steps::{Outcome, Steps};
use crate::workspace::Workspace;
use crate::{bugs, sim};

/// The README's first command; tidy checks that the README has it.
pub(crate) const README_CAMPAIGN: &str = "cargo xtask sim --seeds 200";

/// Random factories, and the rules of starting and stopping; takes 15 seconds.
const LIFECYCLE_CAMPAIGN: &str = "cargo xtask sim --scenario lifecycle --seeds 20000";

/// The planted bugs again, from other seeds on.
const OTHER_BUGS: &str = "cargo xtask sim --scenario bugs table --planted-only --first-seed 1000";

/// The arguments of the command.
#[derive(clap::Args, Default)]
pub(crate) struct Options {
    /// Runs only the tests whose name contains this, and no campaign.
    filter: Option<String>,
    /// Builds once, and runs the runtime world's tests N times: finds those whose result depends on luck.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    repeat: Option<u32>,
    /// Runs them beside busy loops, two for each CPU.
    #[arg(long, requires = "repeat")]
    busy: bool,
    /// So many rounds at a time: each is load for the others.
    #[arg(long, value_name = "N", requires = "repeat", value_parser = clap::value_parser!(u32).range(1..))]
    at_once: Option<u32>,
    /// Builds the tests of both worlds, and runs none.
    #[arg(long, conflicts_with_all = ["filter", "repeat"])]
    no_run: bool,
}

/// Runs the chosen tests; true when all are green.
pub(crate) fn run(workspace: &Workspace, options: &Options) -> Result<bool> {
    let filter = options.filter.as_deref();
    if let Some(count) = options.repeat {
        let rounds = repeat::Rounds { count, at_once: options.at_once.unwrap_or(1), busy: options.busy };
        return repeat::run(workspace, filter, &rounds);
    }
    let mut steps = Steps::new("test");
    let of_runtime_world = workspace.whole(["test", "--no-fail-fast"]);
    let mut of_sim_world = workspace.whole(["test", "--no-fail-fast", "--bin", "demo-app"]);
    of_sim_world.args(["--no-default-features", "--features", sim::FEATURE]);
    if options.no_run {
        for mut tests in [of_runtime_world, of_sim_world] {
            steps.run("build", || Ok(tests.arg("--no-run").status()?.success().into()));
        }
        return Ok(steps.finish());
    }
    let mut total = Count::default();
    for (name, mut tests) in [
        ("runtime world: unit, integration and doc tests", of_runtime_world),
        ("sim world: the demo's tests", of_sim_world),
    ] {
        tests.args(filter);
        steps.run(name, || cargo_test(tests, &mut total));
    }
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

fn campaign(workspace: &Workspace, command: &str) -> Result<Outcome> {
    let (_, args) = command.split_once("sim ").context("not a sim command")?;
    let args: Vec<_> = args.split(' ').map(OsString::from).collect();
    match sim::built(workspace, &args)? {
        Some(mut simulation) => Ok(simulation.status()?.success().into()),
        None => Ok(Outcome { green: false, note: "it does not build for the sim world".into() }),
    }
}
