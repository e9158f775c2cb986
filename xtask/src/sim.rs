//! `cargo xtask sim`: builds the demo for the sim world and becomes it.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result};

use crate::workspace::Workspace;

/// What cargo itself exits with when a build fails. Not 1: that means that a seed went red.
const BUILD_FAILED: u8 = 101;

/// Picks the sim world of the demo, here and in `test` and `lint`.
pub(crate) const WORLD: [&str; 5] = ["-p", "demo-app", "--no-default-features", "--features", "demo-app/sim"];

/// Where it is built when a binary comes of it.
pub(crate) fn target(workspace: &Workspace) -> [OsString; 2] {
    ["--target-dir".into(), workspace.sim_target().into()]
}

/// Runs the simulation with `args`; its exit code is ours.
pub(crate) fn run(workspace: &Workspace, args: &[OsString]) -> Result<ExitCode> {
    let Some(binary) = build(workspace)? else {
        eprintln!("error: the demo does not build for the sim world (see above); no seed was run");
        return Ok(ExitCode::from(BUILD_FAILED));
    };
    become_command(command(binary.as_os_str(), args))
}

/// Builds the demo for the sim world; `None` when that failed, with the compiler's words on the terminal.
pub(crate) fn build(workspace: &Workspace) -> Result<Option<PathBuf>> {
    let mut build = workspace.cargo(["build", "--profile", "sim"]);
    build.args(WORLD).args(target(workspace));
    workspace.build(build, "demo-app")
}

/// The simulation, ready to run.
pub(crate) fn command(binary: &OsStr, args: &[impl AsRef<OsStr>]) -> Command {
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
