//! `cargo xtask`: build, test and simulation commands of this workspace.
//!
//! The demo is one program for two worlds, which mutually exclusive cargo features select. Both builds give a binary of
//! the same name, so these commands always build the sim world in its own target directory.
#![forbid(unsafe_code)]

mod acceptance; // browser tests, and those of other people's crates
mod beside; // a command beside others
mod bench; // benchmarks beside a hand-written lower bound
mod bugs; // finding and shrinking the planted bugs
mod canaries; // mutation tests of the lifecycle rules
mod ecosystem; // other people's crates in the simulation
mod libtest; // `cargo test`, with its tests counted
mod lint; // format, clippy, documentation, tidy
mod new; // a project of somebody else
mod package; // what such a project gets
mod sim; // simulating the demo's cluster and other scenarios
mod steps; // several checks, one summary
mod test; // every test, both worlds
mod tidy; // what a compiler cannot check
mod workspace; // paths, crates and cargo commands

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use workspace::Workspace;

/// Builds, tests and simulates the steelmill workspace.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Simulates the demo's cluster under faults, over many seeds.
    ///
    /// With `--scenario lifecycle`: random factories, and the rules of starting and stopping.
    /// With `--scenario bugs --bug NAME`: a small protocol with a planted bug.
    ///
    /// `cargo xtask sim --help` lists the flags. Exits with 0 when every seed is green, 1 when one is red, 2 on wrong
    /// usage, 101 when the build fails.
    #[command(disable_help_flag = true)]
    Sim {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<OsString>,
    },
    /// Runs every test in both worlds, and the campaigns of CI; needs only Rust.
    Test(test::Options),
    /// Checks format, clippy and documentation in both worlds, and `tidy`.
    Lint,
    /// Checks what a compiler cannot: dependencies of crates and rooms, twin file names, where worlds are named, ...
    Tidy,
    /// Runs `lint`, `canaries`, `test` and `acceptance`: all of CI.
    Ci,
    /// Mutation test: breaks each lifecycle rule in turn, and fails if the lifecycle scenario stays green.
    Canaries {
        /// Tries only the canaries whose name contains this.
        filter: Option<String>,
    },
    /// Finds and shrinks the bugs planted in small protocols, and prints a table of the results.
    Bugs {
        /// Tries only the bugs whose name contains this.
        filter: Option<String>,
    },
    /// Tests the HTML pictures of red seeds in a browser; without a browser, counts the tests as skipped.
    Acceptance(acceptance::Options),
    /// Makes a project of two daemons, with a test, a campaign and a CI file, in a folder outside of this workspace.
    New(new::Options),
    /// Packages the crates, and runs the commands of a project that depends on the packages alone.
    Package,
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
        Command::Test(options) => test::run(&workspace, &options)?,
        Command::Lint => lint::run(&workspace)?,
        Command::Tidy => tidy::run(&workspace)?,
        Command::Ci => {
            lint::run(&workspace)?
                && canaries::run(&workspace, None)?
                && test::run(&workspace, &test::Options::default())?
                && acceptance::run(&workspace, &acceptance::Options::default())?
        }
        Command::Canaries { filter } => canaries::run(&workspace, filter.as_deref())?,
        Command::Bugs { filter } => bugs::run(&workspace, filter.as_deref())?,
        Command::Acceptance(options) => acceptance::run(&workspace, &options)?,
        Command::New(options) => new::run(&workspace, &options)?,
        Command::Package => package::run(&workspace)?,
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
