//! A campaign as a program: the flags, the progress, the summary, the exit code.

use std::future::Future;
use std::io::{self, IsTerminal as _, Write as _};
use std::process::ExitCode;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use steelmill_core::Result;

use crate::campaign::{Campaign, Summary, failed_text};
use crate::logging;
use crate::purity::is_pure;
use crate::settings::{Schedule, Seed};
use crate::sim::Sim;

/// The flags of a campaign, for a program to flatten into its own.
#[derive(Debug, Clone, clap::Args)]
#[group(skip)] // a program's own flags may well be called Args, too
pub struct Args {
    /// How many seeds to run
    #[arg(long, value_name = "N", default_value_t = 200, value_parser = clap::value_parser!(u64).range(1..))]
    pub seeds: u64,

    /// Run this one seed, and show its log
    #[arg(long, value_name = "S", conflicts_with = "seeds")]
    pub seed: Option<u64>,

    /// The first of the seeds
    #[arg(long, value_name = "S", default_value_t = 1, conflicts_with = "seed")]
    pub first_seed: u64,

    /// On how many threads; as many as there are cores unless given
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub jobs: Option<u16>,

    /// How many virtual seconds a seed may take
    #[arg(long, value_name = "SECONDS", default_value_t = TIME_LIMIT, value_parser = clap::value_parser!(u64).range(1..))]
    pub time_limit: u64,

    /// Which of the ready tasks runs next
    #[arg(long, value_name = "HOW", value_enum, default_value_t = ScheduleArg::Uniform)]
    pub schedule: ScheduleArg,

    /// After how many red seeds to stop
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u16).range(1..))]
    pub max_failures: u16,

    /// Print the summary as one line of JSON on standard output
    #[arg(long)]
    pub json: bool,
}

/// The schedules by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum ScheduleArg {
    /// Any of them, with equal chance
    Uniform,
    /// The one that has been ready for longest
    Fifo,
}

const TIME_LIMIT: u64 = 3600;

impl Args {
    /// What to type to run one seed again. `program` is what the person typed, with those of its own flags that matter.
    fn replay(&self, program: &str, seed: Seed) -> String {
        let schedule = if self.schedule == ScheduleArg::Fifo { " --schedule fifo" } else { "" };
        let limit = match self.time_limit {
            TIME_LIMIT => String::new(),
            limit => format!(" --time-limit {limit}"),
        };
        format!("{program}{schedule}{limit} --seed {seed}")
    }
}

/// Runs a campaign as a program does: progress and red seeds on standard error, each as soon as it is found, and the
/// summary on standard output.
///
/// `program` is what a person types to run it, with every flag of the program's own that matters: the last line of a
/// red seed is that and `--seed`.
///
/// Exits with 0 when every seed passed and with 1 when one failed.
pub fn main<S, F>(args: &Args, name: &str, program: &str, scenario: S) -> ExitCode
where
    S: Fn(Sim) -> F + Send + Sync,
    F: Future<Output = Result> + 'static,
{
    // One seed is run to be looked at; of many, only the summary is.
    let wants_log = args.seed.is_some() || std::env::var_os("RUST_LOG").is_some();
    if wants_log && let Err(error) = logging::init("info") {
        eprintln!("no log: {error}");
    }
    let (first, seeds) = args.seed.map_or((args.first_seed, args.seeds), |seed| (seed, 1));
    let mut campaign = Campaign::new(scenario)
        .name(name)
        .first_seed(Seed(first))
        .seeds(seeds)
        .time_limit(Duration::from_secs(args.time_limit))
        .failures_max(usize::from(args.max_failures))
        .schedule(match args.schedule {
            ScheduleArg::Uniform => Schedule::Uniform,
            ScheduleArg::Fifo => Schedule::Fifo,
        });
    if let Some(jobs) = args.jobs {
        campaign = campaign.jobs(usize::from(jobs));
    }
    let bar = progress_bar(seeds);
    let mut told = 0;
    let summary = campaign.run_with(|summary| {
        // A red seed is told at once, so that a campaign that is interrupted has not found it in vain.
        for failed in &summary.failed[told..] {
            let replay = args.replay(program, failed.seed);
            bar.suspend(|| {
                // Nobody may be listening any more.
                let _ = writeln!(io::stderr(), "{}\n{replay}\n", failed_text(failed));
            });
        }
        told = summary.failed.len();
        bar.set_position(summary.seeds);
        bar.set_message(format!(
            "{:.0} seeds/s, {:.0} simulated s, {told} failed",
            summary.seeds_per_minute() / 60.0,
            summary.simulated.as_secs_f64(),
        ));
    });
    bar.finish_and_clear();
    let written = match args.json {
        true => writeln!(io::stdout(), "{}", json(args, program, &summary)),
        false => writeln!(io::stdout(), "{summary}"),
    };
    match written {
        // A reader that has gone away has seen what it wanted.
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            eprintln!("cannot write the summary: {error}");
            ExitCode::FAILURE
        }
        _ if summary.passed() => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    }
}

fn progress_bar(seeds: u64) -> ProgressBar {
    if !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{bar:30} {pos}/{len} seeds, {msg}, {eta} left")
        .unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::with_draw_target(Some(seeds), ProgressDrawTarget::stderr_with_hz(10)).with_style(style)
}

fn json(args: &Args, program: &str, summary: &Summary) -> serde_json::Value {
    let failed = summary.failed.iter().map(|failed| {
        serde_json::json!({
            "seed": failed.seed.0,
            "simulated_seconds": failed.simulated.as_secs_f64(),
            "cause": failed.failure.as_ref().map(|failure| failure.cause.to_string()),
            "digest": format!("{:016x}", failed.digest),
            "replay": args.replay(program, failed.seed),
        })
    });
    let counts = summary.counts.iter().map(|(what, count)| {
        ((*what).to_owned(), serde_json::json!({ "total": count.total, "least": count.least }))
    });
    serde_json::json!({
        "name": summary.name,
        "asked": summary.asked,
        "seeds": summary.seeds,
        "failed": failed.collect::<Vec<_>>(),
        "wall_seconds": summary.wall.as_secs_f64(),
        "seeds_per_minute": summary.seeds_per_minute(),
        "simulated_seconds": summary.simulated.as_secs_f64(),
        "polls": summary.polls,
        "events": summary.events,
        "counts": counts.collect::<serde_json::Map<_, _>>(),
        "digest": format!("{:016x}", summary.digest),
        "purity": if is_pure() { "on" } else { "off" },
    })
}
