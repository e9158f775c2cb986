//! `cargo xtask sim`: builds a scenario for the sim world and executes it: the demo's cluster, or `--scenario NAME`.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};

use crate::workspace::Workspace;

/// Cargo's own exit code for a failed build. Not 1: that means that a seed was red.
const BUILD_FAILED: u8 = 101;

/// Clap's exit code, too.
const WRONG_USAGE: u8 = 2;

/// The demo's sim world; its default is the other.
pub(crate) const FEATURE: &str = "demo-app/sim";

/// The cargo arguments that select the demo's sim world.
pub(crate) const WORLD: [&str; 5] = ["-p", "demo-app", "--no-default-features", "--features", FEATURE];

/// The demo's `--help`, committed so that it can be read without a build. A test of the demo compares and rewrites it.
const DEMO_HELP: &str = include_str!("sim-help.txt");

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scenario {
    Demo,
    Lifecycle,
    Bugs,
}

impl Scenario {
    /// Each with its name and its line in `--help`.
    const ALL: [(&str, Scenario, &str); 3] = [
        ("demo", Scenario::Demo, "the demo's cluster; the default"),
        ("lifecycle", Scenario::Lifecycle, "random factories; checks the rules of starting and stopping"),
        ("bugs", Scenario::Bugs, "a small protocol with a planted bug"),
    ];

    /// What cargo calls it.
    fn executable(self) -> &'static str {
        match self {
            Scenario::Demo => "demo-app",
            Scenario::Lifecycle => "lifecycle",
            Scenario::Bugs => "bugs",
        }
    }

    /// Removes `--scenario NAME` from the simulation's arguments.
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
        match Scenario::ALL.iter().find(|(known, ..)| *known == name) {
            Some((_, scenario, _)) => Ok((*scenario, left)),
            None => {
                let known: Vec<_> = Scenario::ALL.iter().map(|(name, ..)| *name).collect();
                bail!("--scenario takes one of {}, not {name:?}", known.join(", "))
            }
        }
    }
}

/// The cargo arguments for the target directory of the sim world.
fn target(workspace: &Workspace) -> [OsString; 2] {
    ["--target-dir".into(), workspace.sim_target().into()]
}

/// Runs the simulation with `args` and exits with its exit code; prints `--help` of the demo without building it.
pub(crate) fn run(workspace: &Workspace, args: &[OsString]) -> Result<ExitCode> {
    let (scenario, args) = match Scenario::take(args) {
        Ok(taken) => taken,
        Err(error) => {
            eprintln!("error: {error}");
            return Ok(ExitCode::from(WRONG_USAGE));
        }
    };
    if scenario == Scenario::Demo && asks_for_help(&args) {
        let _ = io::stdout().write_all(help().as_bytes()); // a pager may have closed the pipe
        return Ok(ExitCode::SUCCESS);
    }
    match build(workspace, scenario)? {
        Some(binary) => exec(command(&binary, &args)),
        None => {
            eprintln!("error: the scenario does not build for the sim world (see above); no seed ran");
            Ok(ExitCode::from(BUILD_FAILED))
        }
    }
}

fn asks_for_help(args: &[OsString]) -> bool {
    args.iter().take_while(|arg| *arg != "--").any(|arg| arg == "--help" || arg == "-h")
}

/// The demo's help and the list of scenarios.
fn help() -> String {
    let mut text = format!("{DEMO_HELP}\nScenarios:\n");
    for (name, _, about) in Scenario::ALL {
        let _ = writeln!(text, "      --scenario {name:<12} {about}");
    }
    text += "\nAll scenarios take the flags above, except --canary. `--scenario NAME --help` builds one and lists its own.\n";
    text
}

/// A cargo command on the sim world of all scenarios at once: cargo builds what they share once for each set of features, and
/// here it is one for all.
pub(crate) fn build_of_all(workspace: &Workspace) -> Command {
    let mut command = workspace.cargo(["build", "--profile", "sim"]);
    command.args(WORLD).args(["-p", "steelmill-sim"]).args(target(workspace));
    command
}

/// Builds every scenario and returns the command that runs one with `args`; `None` when the build failed.
pub(crate) fn built(workspace: &Workspace, args: &[OsString]) -> Result<Option<Command>> {
    let (scenario, args) = Scenario::take(args)?;
    let mut build = build_of_all(workspace);
    build.args(["--bin", "demo-app", "--example", "lifecycle", "--example", "bugs"]);
    let binary = workspace.build(build, scenario.executable())?;
    Ok(binary.map(|binary| command(&binary, &args)))
}

/// Builds one scenario for the sim world; `None` when that failed, with the compiler's errors on the terminal.
fn build(workspace: &Workspace, scenario: Scenario) -> Result<Option<PathBuf>> {
    let mut build = workspace.cargo(["build", "--profile", "sim"]);
    build.args(target(workspace));
    match scenario {
        Scenario::Demo => build.args(WORLD),
        Scenario::Lifecycle | Scenario::Bugs => {
            build.args(["-p", "steelmill-sim", "--example", scenario.executable()])
        }
    };
    workspace.build(build, scenario.executable())
}

fn command(binary: &Path, args: &[OsString]) -> Command {
    let mut command = Command::new(binary);
    command.args(args);
    command
}

/// Replaces this process, so that exit code, Ctrl-C and job control are the simulation's own.
#[cfg(unix)]
fn exec(mut command: Command) -> Result<ExitCode> {
    use std::os::unix::process::CommandExt;
    let error = command.exec();
    Err(error).with_context(|| format!("cannot run {}", command.get_program().display()))
}

#[cfg(not(unix))]
fn exec(mut command: Command) -> Result<ExitCode> {
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
    fn help_is_asked_for_by_a_flag_that_goes_to_the_demo() {
        let asks = |args: &[&str]| asks_for_help(&args.iter().map(OsString::from).collect::<Vec<_>>());
        assert!(asks(&["--help"]) && asks(&["--seeds", "3", "-h"]));
        assert!(!asks(&[]) && !asks(&["--seeds", "3", "--", "--help"]));
    }

    #[test]
    fn help_lists_the_flags_and_the_scenarios() {
        let help = help();
        for part in
            ["Usage: cargo xtask sim [OPTIONS]", "--seeds <N>", "--scenario lifecycle", "--scenario bugs"]
        {
            assert!(help.contains(part), "no {part} in:\n{help}");
        }
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
