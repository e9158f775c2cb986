//! `cargo xtask`: the one place that knows how to switch worlds.
//!
//! The demo is one program with two worlds, picked by cargo features that exclude each other, and both builds give a
//! binary of the same name. So the sim world is always built in a target directory of its own, and these commands are
//! how one gets there without thinking about it.
#![forbid(unsafe_code)]

mod acceptance; // what needs a browser
mod bench; // what it costs, beside a hand-written lower bound
mod bugs; // what becomes of bugs that are planted
mod canaries; // whether a broken rule is found
mod libtest; // running and counting tests
mod lint; // what must hold before a test runs
mod sim; // the demo's cluster under faults, and other scenarios
mod steps; // several checks, one summary
mod test; // every test, both worlds
mod tidy; // what a compiler cannot check
mod workspace; // where things are, and how cargo is called

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use workspace::Workspace;

/// Works on the steelmill workspace.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Runs the demo's cluster in the sim world, under faults, over many seeds.
    ///
    /// With `--scenario lifecycle`: random factories through random lives, and the rules of starting and stopping.
    /// With `--scenario bugs --bug NAME`: a small protocol with a bug in it.
    ///
    /// Everything behind `sim` goes to the simulation; `cargo xtask sim --help` lists what it takes. Exits with 0
    /// when every seed is green, 1 when one is red, 2 on wrong usage, 101 when the build fails.
    #[command(disable_help_flag = true)]
    Sim {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<OsString>,
    },
    /// Runs every test in both worlds; needs only Rust.
    Test {
        /// Runs only the tests with this in their name, and leaves the campaign out.
        filter: Option<String>,
    },
    /// Checks format, clippy and documentation in both worlds, and `tidy`.
    Lint,
    /// Checks what a compiler cannot: crate arrows, twin file names, where the worlds are named, ...
    Tidy,
    /// Runs `lint`, `canaries`, `test` and `acceptance`: all of CI.
    Ci,
    /// Breaks the lifecycle's rules one by one, and wants the lifecycle scenario to find each break.
    Canaries {
        /// Tries only the canaries with this in their name.
        filter: Option<String>,
    },
    /// Finds the bugs that are planted in small protocols, shrinks them, and prints a table of it.
    Bugs {
        /// Tries only the bugs with this in their name.
        filter: Option<String>,
    },
    /// Runs what needs a browser: pictures of red seeds, opened and used. Skipped, and counted, where there is none.
    Acceptance(acceptance::Options),
    /// Measures steelmill beside a hand-written lower bound.
    Bench(bench::Options),
}

fn main() -> ExitCode {
    match run(Cli::parse().command) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> anyhow::Result<ExitCode> {
    let workspace = Workspace::load()?;
    let green = match command {
        Command::Sim { args } => return sim::run(&workspace, &args),
        Command::Test { filter } => test::run(&workspace, filter.as_deref())?,
        Command::Lint => lint::run(&workspace)?,
        Command::Tidy => tidy::run(&workspace)?,
        Command::Ci => {
            lint::run(&workspace)?
                && canaries::run(&workspace, None)?
                && test::run(&workspace, None)?
                && acceptance::run(&workspace, &acceptance::Options::default())?
        }
        Command::Canaries { filter } => canaries::run(&workspace, filter.as_deref())?,
        Command::Bugs { filter } => bugs::run(&workspace, filter.as_deref())?,
        Command::Acceptance(options) => acceptance::run(&workspace, &options)?,
        Command::Bench(options) => bench::run(&workspace, &options)?,
    };
    Ok(if green { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn sim_passes_everything_through_its_own_help_included() {
        let cli = Cli::parse_from(["xtask", "sim", "--seeds", "200", "--help", "--", "-x"]);
        let Command::Sim { args } = cli.command else {
            panic!("not sim");
        };
        assert_eq!(args, ["--seeds", "200", "--help", "--", "-x"]);
    }
}
