//! Small protocols, each with a bug that can be put in and taken out: what it takes to find one, and what is left of it.
//!
//! ```text
//! cargo xtask bugs                                                    # the table of all of them
//! cargo xtask sim --scenario bugs --bug split-brain --seeds 200       # one of them
//! cargo xtask sim --scenario bugs --bug split-brain --right           # the same, without the bug
//! ```
//!
//! Each protocol is a file, with its daemons, what its clients do, and how it is checked. The bug is one place in it that
//! asks for the [`Version`]. All of them get into the same trouble: a swarm of faults within a budget that says what the
//! protocol has to bear. The right version bears it. The other goes red, and is to shrink to the faults that a person
//! would name.

mod talk; // what they talk in

mod drifting_lease;
mod forgotten_task;
mod half_close;
mod ignored_refusal;
mod lock_order;
mod lost_update;
mod lost_wakeup;
mod reordered_commit;
mod retry;
mod split_brain;
mod stale_cache;
mod twice_billed;

pub(crate) mod table; // what becomes of all of them

use std::pin::Pin;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use steelmill_core::Result;
use steelmill_sim::fault::Family;
use steelmill_sim::{Campaign, Seed, Sim, cli};

/// Which of the two a protocol is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Version {
    /// As it should be.
    Right,
    /// With the bug in it.
    Planted,
}

/// A protocol while it runs.
type Running = Pin<Box<dyn Future<Output = Result>>>;

/// A protocol with a bug.
pub(crate) struct Bug {
    pub(crate) name: &'static str,
    pub(crate) left_out: &'static str,
    /// What a person would say that it takes to see the bug,
    pub(crate) takes: &'static str,
    /// and for each of the faults of which families it may be, the most particular ones first.
    pub(crate) faults: &'static [&'static [Family]],
    pub(crate) scenario: fn(Sim, Version) -> Running,
}

impl Bug {
    /// Its protocol, over as many seeds as one likes.
    pub(crate) fn campaign(&self, version: Version) -> Campaign<impl Fn(Sim) -> Running + use<>> {
        let scenario = self.scenario;
        Campaign::new(move |sim| scenario(sim, version)).name(self.name)
    }
}

pub(crate) const BUGS: [Bug; 12] = [
    lost_update::BUG,
    split_brain::BUG,
    stale_cache::BUG,
    reordered_commit::BUG,
    lock_order::BUG,
    half_close::BUG,
    retry::BUG,
    forgotten_task::BUG,
    drifting_lease::BUG,
    lost_wakeup::BUG,
    twice_billed::BUG,
    ignored_refusal::BUG,
];

/// Whatever makes a request or an answer over TCP late, or loses it.
const HOLDS_UP_TCP: &[Family] = &[
    Family::Partition,
    Family::PartitionOneWay,
    Family::Isolation,
    Family::Slow,
    Family::Tail,
    Family::Loss,
    Family::Bandwidth,
    Family::Reset,
    Family::Pause,
    Family::SlowMachine,
];

/// Simulates a small protocol with a planted bug, under faults over many seeds.
#[derive(Debug, Parser)]
#[command(
    name = "cargo xtask sim --scenario bugs",
    bin_name = "cargo xtask sim --scenario bugs",
    version,
    args_conflicts_with_subcommands = true
)]
struct CommandLine {
    #[command(subcommand)]
    all: Option<All>,

    #[command(flatten)]
    campaign: cli::Args,

    /// Name of the bug; `list` prints all
    #[arg(long, value_name = "NAME", required = true)]
    bug: Option<String>,

    /// Run the correct protocol, without the bug
    #[arg(long)]
    right: bool,
}

/// Commands for all bugs.
#[derive(Debug, Subcommand)]
enum All {
    /// List the bugs
    List,
    /// Find and shrink every bug, and print a table; fails unless each shrinks to the expected faults
    Table {
        /// Only bugs whose name contains this
        filter: Option<String>,

        /// First seed
        #[arg(long, value_name = "S", default_value_t = 1)]
        first_seed: u64,

        /// Skip the runs of the correct protocols
        #[arg(long)]
        planted_only: bool,
    },
}

#[cfg_attr(test, allow(dead_code, reason = "the test runs the scenarios on its own"))]
fn main() -> ExitCode {
    let args = CommandLine::parse();
    match args.all {
        Some(All::List) => {
            BUGS.iter().for_each(|bug| println!("{}: {}", bug.name, bug.left_out));
            return ExitCode::SUCCESS;
        }
        Some(All::Table { filter, first_seed, planted_only }) => {
            return table::make(&filter.unwrap_or_default(), Seed(first_seed), planted_only);
        }
        None => {}
    }
    let name = args.bug.as_deref().unwrap_or_default();
    let Some(bug) = BUGS.into_iter().find(|bug| bug.name == name) else {
        let known: Vec<&str> = BUGS.iter().map(|bug| bug.name).collect();
        eprintln!("error: --bug takes one of {}, not {name:?}", known.join(", "));
        return ExitCode::from(WRONG_USAGE);
    };
    let program = format!("cargo xtask sim --scenario bugs --bug {name}");
    // Red seeds that are kept of the one pass in the other, and would be dropped.
    let (version, name, program) = match args.right {
        true => (Version::Right, format!("{name}, right"), format!("{program} --right")),
        false => (Version::Planted, name.to_owned(), program),
    };
    cli::main(&args.campaign, &name, &program, |sim| (bug.scenario)(sim, version))
}

/// As clap's.
const WRONG_USAGE: u8 = 2;
