//! Planted bugs: small protocols with one bug each, to measure fault injection and shrinking.
//!
//! ```text
//! cargo xtask bugs                                                    # the table of all of them
//! cargo xtask sim --scenario bugs --bug split-brain --seeds 200       # one of them
//! cargo xtask sim --scenario bugs --bug split-brain --right           # the same protocol without the bug
//! ```
//!
//! One file per protocol holds its daemons, its clients and its check. The bug is the one place that asks for the
//! [`Version`]. Every protocol runs under the same nemesis: a swarm of faults, within a budget of what the protocol
//! must tolerate. The right version passes; the planted one fails, and must shrink to the faults that a person would name.

mod disk; // state that survives a process
mod talk; // requests and replies over TCP

mod crash_in_recovery;
mod double_vote;
mod drifting_lease;
mod dropped_item;
mod dropped_queue;
mod early_ack;
mod forgotten_task;
mod half_close;
mod ignored_refusal;
mod last_tick;
mod lock_order;
mod lost_update;
mod lost_wakeup;
mod old_answer;
mod reordered_commit;
mod retry;
mod split_brain;
mod stale_cache;
mod tombstone;
mod twice_billed;
mod two_phase_commit;
mod unclean_leader;

mod hard; // rare bugs

mod races; // small races, by schedule
mod rates; // how many seeds find each bug
mod table; // finding and shrinking all bugs
#[cfg(test)]
mod tests;

use std::pin::Pin;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use steelmill_core::Result;
use steelmill_sim::fault::Family;
use steelmill_sim::{Campaign, Seed, Sim, cli};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Version {
    Right,
    /// With the bug.
    Planted,
}

type RunningProtocol = Pin<Box<dyn Future<Output = Result>>>;

pub(crate) struct Bug {
    pub(crate) name: &'static str,
    /// The cause, for people.
    pub(crate) missing_code: &'static str,
    /// What is needed to reproduce the bug, in a person's words.
    pub(crate) needed: &'static str,
    /// For each fault that is needed, the families it may belong to. The most specific sets come first.
    pub(crate) faults: &'static [&'static [Family]],
    /// Families of which up to three faults more may be left, because they bring about luck that it also takes.
    pub(crate) may_help: &'static [Family],
    pub(crate) scenario: fn(Sim, Version) -> RunningProtocol,
}

impl Bug {
    pub(crate) fn campaign(&self, version: Version) -> Campaign<impl Fn(Sim) -> RunningProtocol + use<>> {
        let scenario = self.scenario;
        Campaign::new(move |sim| scenario(sim, version)).name(self.name)
    }
}

pub(crate) const BUGS: [Bug; 22] = [
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
    early_ack::BUG,
    unclean_leader::BUG,
    double_vote::BUG,
    two_phase_commit::BUG,
    tombstone::BUG,
    old_answer::BUG,
    dropped_queue::BUG,
    crash_in_recovery::BUG,
    last_tick::BUG,
    dropped_item::BUG,
];

/// The faults that delay or lose a request or reply over TCP.
const DELAYS_TCP: &[Family] = &[
    Family::Partition,
    Family::PartitionOneWay,
    Family::Isolation,
    Family::Slow,
    Family::Latency,
    Family::Tail,
    Family::Loss,
    Family::LostSegment,
    Family::Lookups,
    Family::Bandwidth,
    Family::Reset,
    Family::Pause,
    Family::SlowMachine,
];

/// The faults that end a machine's process.
const ENDS: &[Family] = &[Family::Exit, Family::PowerLoss, Family::RestartStorm];

/// The faults that keep a machine from answering for a while, whether it is up or not.
const DELAYS_TCP_OR_ENDS: &[Family] = &[
    Family::Partition,
    Family::PartitionOneWay,
    Family::Isolation,
    Family::Slow,
    Family::Tail,
    Family::Loss,
    Family::LostSegment,
    Family::Lookups,
    Family::Bandwidth,
    Family::Reset,
    Family::Pause,
    Family::SlowMachine,
    Family::Exit,
    Family::PowerLoss,
    Family::RestartStorm,
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
    /// Print how many runs it takes until each rare bug is found, by plain and by guided campaigns
    Guided {
        /// Only bugs whose name contains this
        filter: Option<String>,

        /// Number of campaigns of each kind; each has a million seeds of its own
        #[arg(long, value_name = "N", default_value_t = 20)]
        campaigns: u64,
    },
    /// Print how many seeds find each of six small races by each schedule, as a table
    Races {
        /// First seed
        #[arg(long, value_name = "S", default_value_t = 1)]
        first_seed: u64,

        /// Number of seeds
        #[arg(long, value_name = "N", default_value_t = 2000)]
        seeds: u64,
    },
    /// Print how many seeds find each bug, and the geometric mean over all bugs, as a table
    Rates {
        /// Only bugs whose name contains this
        filter: Option<String>,

        /// First seed
        #[arg(long, value_name = "S", default_value_t = 1)]
        first_seed: u64,

        /// Number of seeds
        #[arg(long, value_name = "N", default_value_t = 1000)]
        seeds: u64,

        /// The rare bugs instead
        #[arg(long)]
        hard: bool,
    },
}

fn main() -> ExitCode {
    let args = CommandLine::parse();
    match args.all {
        Some(All::List) => {
            BUGS.iter().chain(&hard::HARD).for_each(|bug| println!("{}: {}", bug.name, bug.missing_code));
            return ExitCode::SUCCESS;
        }
        Some(All::Table { filter, first_seed, planted_only }) => {
            return table::make(&filter.unwrap_or_default(), Seed(first_seed), planted_only);
        }
        Some(All::Rates { filter, first_seed, seeds, hard }) => {
            let of: &[Bug] = if hard { &hard::HARD } else { &BUGS };
            return rates::print(of, &filter.unwrap_or_default(), Seed(first_seed), seeds);
        }
        Some(All::Races { first_seed, seeds }) => return races::print(Seed(first_seed), seeds),
        Some(All::Guided { filter, campaigns }) => {
            return rates::print_guided(&hard::HARD, &filter.unwrap_or_default(), campaigns);
        }
        None => {}
    }
    let name = args.bug.as_deref().unwrap_or_default();
    let Some(bug) = BUGS.into_iter().chain(hard::HARD).find(|bug| bug.name == name) else {
        let known: Vec<&str> = BUGS.iter().chain(&hard::HARD).map(|bug| bug.name).collect();
        eprintln!("error: --bug takes one of {}, not {name:?}", known.join(", "));
        return ExitCode::from(USAGE_ERROR);
    };
    let program = format!("cargo xtask sim --scenario bugs --bug {name}");
    // A name of its own per version: a kept red seed of one passes in the other, and would be dropped.
    let (version, name, program) = match args.right {
        true => (Version::Right, format!("{name}, right"), format!("{program} --right")),
        false => (Version::Planted, name.to_owned(), program),
    };
    cli::main(&args.campaign, &name, &program, |sim| (bug.scenario)(sim, version))
}

/// The exit code that clap uses.
const USAGE_ERROR: u8 = 2;
