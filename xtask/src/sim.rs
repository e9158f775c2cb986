//! `cargo xtask sim`: builds a scenario for the sim world and becomes it. The demo's cluster, unless another is named.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};

use crate::workspace::Workspace;

/// What cargo itself exits with when a build fails. Not 1: that means that a seed went red.
const BUILD_FAILED: u8 = 101;

/// As clap's.
const WRONG_USAGE: u8 = 2;

/// Picks the sim world of the demo, here and in `test` and `lint`.
pub(crate) const WORLD: [&str; 5] = ["-p", "demo-app", "--no-default-features", "--features", "demo-app/sim"];

/// What there is to simulate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scenario {
    /// The demo's cluster under faults.
    Demo,
    /// Random factories, and the rules of the lifecycle.
    Lifecycle,
    /// Small protocols with bugs in them.
    Bugs,
}

impl Scenario {
    const ALL: [(&str, Scenario); 3] =
        [("demo", Scenario::Demo), ("lifecycle", Scenario::Lifecycle), ("bugs", Scenario::Bugs)];

    /// Takes `--scenario NAME` out of what goes on to the simulation.
    fn take(args: &[OsString]) -> Result<(Scenario, Vec<OsString>)> {
        let mut left = args.to_vec();
        let is_flag =
            |arg: &OsString| arg == "--scenario" || arg.to_string_lossy().starts_with("--scenario=");
        let Some(place) = left.iter().take_while(|arg| *arg != "--").position(is_flag) else {
            return Ok((Scenario::Demo, left));
        };
        let flag = left.remove(place).to_string_lossy().into_owned();
        let name = match flag.split_once('=') {
            Some((_, name)) => name.to_owned(),
            None if place < left.len() => left.remove(place).to_string_lossy().into_owned(),
            None => String::new(),
        };
        match Scenario::ALL.iter().find(|(known, _)| *known == name) {
            Some((_, scenario)) => Ok((*scenario, left)),
            None => {
                let known: Vec<_> = Scenario::ALL.iter().map(|(name, _)| *name).collect();
                bail!("--scenario takes one of {}, not {name:?}", known.join(", "))
            }
        }
    }
}

/// Where it is built when a binary comes of it.
pub(crate) fn target(workspace: &Workspace) -> [OsString; 2] {
    ["--target-dir".into(), workspace.sim_target().into()]
}

/// Runs the simulation with `args`; its exit code is ours.
pub(crate) fn run(workspace: &Workspace, args: &[OsString]) -> Result<ExitCode> {
    let (scenario, args) = match Scenario::take(args) {
        Ok(taken) => taken,
        Err(error) => {
            eprintln!("error: {error}");
            return Ok(ExitCode::from(WRONG_USAGE));
        }
    };
    match build(workspace, scenario)? {
        Some(binary) => become_command(command(&binary, &args)),
        None => {
            eprintln!("error: the scenario does not build for the sim world (see above); no seed was run");
            Ok(ExitCode::from(BUILD_FAILED))
        }
    }
}

/// The simulation with `args`, built and ready to run; `None` when it does not build.
pub(crate) fn ready(workspace: &Workspace, args: &[OsString]) -> Result<Option<Command>> {
    let (scenario, args) = Scenario::take(args)?;
    Ok(build(workspace, scenario)?.map(|binary| command(&binary, &args)))
}

/// Builds a scenario for the sim world; `None` when that failed, with the compiler's words on the terminal.
fn build(workspace: &Workspace, scenario: Scenario) -> Result<Option<PathBuf>> {
    let mut build = workspace.cargo(["build", "--profile", "sim"]);
    build.args(target(workspace));
    match scenario {
        Scenario::Demo => {
            build.args(WORLD);
            workspace.build(build, "demo-app")
        }
        Scenario::Lifecycle => {
            build.args(["-p", "steelmill-sim", "--example", "lifecycle"]);
            workspace.build(build, "lifecycle")
        }
        Scenario::Bugs => {
            build.args(["-p", "steelmill-sim", "--example", "bugs"]);
            workspace.build(build, "bugs")
        }
    }
}

fn command(binary: &Path, args: &[OsString]) -> Command {
    let mut command = Command::new(binary);
    command.args(args);
    command
}

/// Replaces this process: exit code, Ctrl-C and job control are then the simulation's own, with nobody in between.
#[cfg(unix)]
fn become_command(mut command: Command) -> Result<ExitCode> {
    use std::os::unix::process::CommandExt;
    let error = command.exec();
    Err(error).with_context(|| format!("cannot run {}", command.get_program().display()))
}

#[cfg(not(unix))]
fn become_command(mut command: Command) -> Result<ExitCode> {
    let status =
        command.status().with_context(|| format!("cannot run {}", command.get_program().display()))?;
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    Ok(code.map_or(ExitCode::FAILURE, ExitCode::from))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(args: &[&str], expected: Result<(Scenario, &[&str]), &str>) {
        let args: Vec<_> = args.iter().map(OsString::from).collect();
        let taken = Scenario::take(&args).map_err(|error| error.to_string());
        let expected = expected.map(|(scenario, left)| (scenario, left.iter().map(OsString::from).collect()));
        assert_eq!(taken, expected.map_err(str::to_owned));
    }

    #[test]
    fn the_scenario_is_taken_out_and_the_rest_goes_on() {
        check(&["--seeds", "3"], Ok((Scenario::Demo, &["--seeds", "3"])));
        check(
            &["--seeds", "3", "--scenario", "lifecycle", "--json"],
            Ok((Scenario::Lifecycle, &["--seeds", "3", "--json"])),
        );
        check(&["--scenario=demo"], Ok((Scenario::Demo, &[])));
        check(&["--", "--scenario"], Ok((Scenario::Demo, &["--", "--scenario"])));
        check(&["--scenario", "x"], Err("--scenario takes one of demo, lifecycle, bugs, not \"x\""));
        check(&["--scenario"], Err("--scenario takes one of demo, lifecycle, bugs, not \"\""));
    }
}
