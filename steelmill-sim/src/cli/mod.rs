//! A campaign as a program: the flags, the progress, the summary, the exit code.

pub(crate) mod flags; // what can be said to a campaign from outside
pub(crate) mod testing; // helpers for plain unit tests

use std::future::Future;
use std::io::{self, IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use steelmill_core::Result;

use crate::campaign::campaign::{Campaign, OfAny, failed_text};
use crate::campaign::coverage::Coverage;
use crate::campaign::keep::{Keep, Settled};
use crate::campaign::record::{KeptSeed, Record, RedSeed};
use crate::campaign::replay::quoted;
use crate::campaign::{junit, merge};
use crate::cli::flags::{TIME_LIMIT, kept_command_line};
use crate::explain::shrink::Progress;
use crate::machine::sim::Sim;
use crate::schema::outcome::Outcome;
use crate::schema::plan::{Faults, Plan};
use crate::schema::settings::Seed;
use crate::trace::logging;

pub use crate::cli::flags::Args;

/// Runs a campaign as a program does: progress and red seeds on standard error, each as soon as it is found, and the
/// summary on standard output.
///
/// `program` is what a person types to run it, with every flag of the program's own that matters: the last line of a
/// red seed is that and `--seed`.
///
/// `name` tells the scenario from others: what differs by a flag of the program's own wants another name.
///
/// Exits with 0 when every seed passed, with 1 when one failed, and with 2 when it cannot do what the flags say. Ctrl-C
/// ends the campaign when the seeds that run have ended, with a summary of those that ran and, if none of them failed, with
/// 130; a second one ends the process at once.
#[track_caller]
pub fn main<S, F>(args: &Args, name: &str, program: &str, scenario: S) -> ExitCode
where
    S: Fn(Sim) -> F + Send + Sync,
    F: Future<Output = Result> + 'static,
{
    if let Err(error) = args.check() {
        return wrong(&error);
    }
    if !args.merge.is_empty() {
        return match merge::files(&args.merge, name) {
            Ok(record) => merged(args, &record),
            Err(error) => wrong(&error),
        };
    }
    // One seed is run to be looked at; of many, only the summary is.
    let wants_log = args.seed.is_some() || std::env::var_os("RUST_LOG").is_some();
    if wants_log && let Err(error) = logging::init("info") {
        eprintln!("no log: {error}");
    }
    let interrupted = Arc::new(AtomicBool::new(false));
    if let Err(error) = heed_interrupts(&interrupted) {
        eprintln!("Ctrl-C will end this without a summary: {error}");
    }
    let campaign = Campaign::new(scenario)
        .name(name)
        .program(program)
        .seeds(SEEDS)
        .time_limit(Duration::from_secs(TIME_LIMIT))
        .failures_max(FAILURES_MAX)
        .stop_when(interrupted.clone());
    let campaign = args.apply(campaign);
    let campaign = campaign.of_any();
    if campaign.until_covered && Coverage::of_program().is_empty() {
        return wrong(&anyhow::anyhow!(
            "--until-covered needs places to hit: there is no assert_sometimes! or its kin in this program"
        ));
    }
    let replay =
        |seed: Seed, kept: Option<&KeptSeed>| match campaign.keep.as_deref().filter(|_| kept.is_some()) {
            Some(file) => kept_command_line(program, file, seed),
            None => args.command_line(program, seed),
        };
    let bar = progress_bar();
    let (mut told, mut kept_told) = (0, 0);
    let mut is_error_told = false;
    let summary = campaign.try_run_with(&mut |summary| {
        // A red seed is told at once, so that a campaign that is interrupted has not found it in vain.
        let tell = |what: &str, failed: &Outcome, replay| {
            bar.suspend(|| tell(&format!("{what}{}\n{replay}\n", failed_text(failed))));
        };
        if let Some(error) = summary.kept.as_ref().and_then(|kept| kept.error.as_ref())
            && !std::mem::replace(&mut is_error_told, true)
        {
            bar.suspend(|| self::tell(&format!("error: red seeds are not kept so far: {error}\n")));
        }
        let kept = summary.kept.as_ref().map_or(&[][..], |kept| &kept.failed);
        for (kept, failed) in &kept[kept_told..] {
            tell("kept ", failed, replay(failed.seed, Some(kept)));
        }
        for failed in &summary.failed[told..] {
            tell("", failed, replay(failed.seed, None));
        }
        (told, kept_told) = (summary.failed.len(), kept.len());
        bar.set_length(summary.asked);
        bar.set_position(summary.seeds);
        bar.set_message(format!(
            "{:.0} seeds/s, {:.0} simulated s, {} failed",
            summary.seeds_per_minute() / 60.0,
            summary.simulated.as_secs_f64(),
            told + kept_told,
        ));
    });
    bar.finish_and_clear();
    let summary = match summary {
        Ok(summary) => summary,
        Err(error) => return wrong(&error),
    };
    let saved = args.save(&summary);
    let mut record = summary.record(replay);
    if let Some(folder) = &args.explain {
        let folders = folders(folder, args.seed.is_some(), &record);
        let mut left_out = 0;
        for (red, folder) in record.red_mut().zip(folders) {
            // An explanation that was made before is better than one that found nothing out.
            if interrupted.load(Ordering::Relaxed) {
                left_out += 1;
                continue;
            }
            match explain(campaign, &folder, program, red) {
                Ok(least) => red.least = least,
                Err(error) => tell(&format!("error: {error:#}")),
            }
        }
        if left_out > 0 {
            tell(&format!(
                "{left_out} red seed(s) are not explained, as this was interrupted: run them again, as it says above, with \
                 --explain\n"
            ));
        }
    }
    // The campaign has kept them already, without the least that they take.
    let is_kept = campaign.keep.as_deref().is_none_or(|file| settle(file, &record));
    if let Err(error) = &saved {
        tell(&format!("error: {error:#}\n"));
    }
    finish(args, &record, is_kept && saved.is_ok())
}

/// Tells what shards came to, as the campaign would have that they are.
fn merged(args: &Args, record: &Record) -> ExitCode {
    record.red().for_each(|red| tell(&format!("{red}\n{}\n", red.replay)));
    let is_kept = args.keep.as_deref().is_none_or(|file| settle(file, record));
    finish(args, record, is_kept)
}

/// Says why a campaign cannot be begun.
fn wrong(error: &anyhow::Error) -> ExitCode {
    tell(&format!("error: {error:#}"));
    ExitCode::from(WRONG_USAGE)
}

/// Keeps what failed, drops what passed, and says so. Whether that could be written.
fn settle(file: &Path, record: &Record) -> bool {
    match Keep::new(file).settle(record) {
        Ok(Settled { left, gone }) => {
            for passed in record.kept.iter().flat_map(|kept| &kept.passed) {
                tell(&format!("kept seed {} passes now and is dropped: {}", passed.seed, passed.failure));
            }
            for seed in gone {
                let file = file.display();
                tell(&format!("kept seed {seed} fails, but is not kept: it is in {file} no more"));
            }
            if left > 0 {
                tell(&format!("{left} red seed(s) of this campaign are kept in {}\n", file.display()));
            }
        }
        Err(error) => {
            tell(&format!("error: red seeds are not kept: {error:#}\n"));
            return false;
        }
    }
    true
}

/// Says on standard error what a person is to know at once. Nobody may be listening any more.
fn tell(text: &str) {
    let _ = writeln!(io::stderr(), "{text}");
}

/// Says what a campaign came to, wherever that is wanted, and exits as it ended.
fn finish(args: &Args, record: &Record, is_written: bool) -> ExitCode {
    if let Some(audit) = record.audit_text() {
        tell(&format!("{audit}\n"));
    }
    if let Some(red) = record.red().next().filter(|_| args.explain.is_none()) {
        tell(&format!("to have a red seed explained, say where: {} --explain=red\n", red.replay));
    }
    let printed = match args.json {
        true => writeln!(io::stdout(), "{}", serde_json::to_string(record).expect("plain data")),
        false => writeln!(io::stdout(), "{record}"),
    };
    let printed = match printed {
        // A reader that has gone away has seen what it wanted.
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(error).context("cannot write the summary")
        }
        _ => Ok(()),
    };
    let reported = args.junit.as_ref().map_or(Ok(()), |path| {
        let written = std::fs::write(path, junit::report(record));
        written.with_context(|| format!("cannot write the report to {}", path.display()))
    });
    let mut is_told = is_written;
    for error in [printed, reported].into_iter().filter_map(Result::err) {
        tell(&format!("error: {error:#}"));
        is_told = false;
    }
    match is_told && record.passed() {
        false => ExitCode::FAILURE,
        true if record.seeds < record.asked => ExitCode::from(INTERRUPTED),
        true => ExitCode::SUCCESS,
    }
}

/// Where each red seed is explained: in the folder itself where one was asked for and is red in one way, else in one of its
/// own in there. One seed may be kept several times, as it fails in several ways.
fn folders(folder: &Path, is_single: bool, record: &Record) -> Vec<PathBuf> {
    let name = |red: &RedSeed| match red.kept {
        Some(_) => format!("kept-seed-{}", red.seed),
        None => format!("seed-{}", red.seed),
    };
    let names: Vec<String> = record.red().map(name).collect();
    if is_single && names.len() == 1 {
        return vec![folder.to_owned()];
    }
    let in_it = names.iter().enumerate().map(|(place, name)| {
        match names[..place].iter().filter(|earlier| *earlier == name).count() {
            0 => folder.join(name),
            before => folder.join(format!("{name}-{}", before + 1)),
        }
    });
    in_it.collect()
}

/// Explains a red seed in a folder, and says on standard error what is in it. The least that it takes; nothing, if the
/// search ended before it had found less than what failed.
fn explain(campaign: &OfAny<'_>, folder: &Path, program: &str, red: &RedSeed) -> Result<Option<Plan>> {
    let (seed, kept) = (red.seed, red.kept.as_ref());
    let settings = campaign.settings_of(seed, kept);
    let given = match &settings.faults {
        Faults::Plan(plan) => plan.clone(),
        Faults::Swarm | Faults::None => Plan::default(),
    };
    let begun = red.faults.clone().unwrap_or(given);
    let verify = kept.map_or(campaign.verify, |kept| kept.verify);
    let line = Args { faults: None, ..Args::of(&settings, verify) }.command_line(program, seed);
    let replay = |plan: &Path| format!("{line} --faults={}", quoted(&plan.display().to_string()));
    let bar = spinner();
    let explained =
        campaign.explain(settings, folder, &replay, &mut |Progress { step, runs, runs_max, faults }| {
            bar.set_message(format!(
            "seed {seed}: {faults} faults, trying {step}, {runs} of {runs_max} runs, Ctrl-C keeps the best"
        ));
        });
    bar.finish_and_clear();
    let (shrunk, text) = explained?;
    tell(&text);
    let is_least = shrunk.stopped.is_none() || shrunk.plan != begun;
    Ok(is_least.then_some(shrunk.plan))
}

fn spinner() -> ProgressBar {
    match io::stderr().is_terminal() {
        true => ProgressBar::new_spinner(),
        false => ProgressBar::hidden(),
    }
}

/// What clap exits with, too.
const WRONG_USAGE: u8 = 2;

const SEEDS: u64 = 200;
const FAILURES_MAX: usize = 10;

/// What a shell says of a program that Ctrl-C ended: 128 and the signal's number.
const INTERRUPTED: u8 = 130;

/// From here on the first Ctrl-C raises the flag, and one after it ends the process.
fn heed_interrupts(flag: &Arc<AtomicBool>) -> io::Result<()> {
    use signal_hook::{consts::SIGINT, flag};
    flag::register_conditional_shutdown(SIGINT, INTERRUPTED.into(), flag.clone())?;
    flag::register(SIGINT, flag.clone())?;
    Ok(())
}

/// How long it is, the campaign says when it has begun.
fn progress_bar() -> ProgressBar {
    if !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{bar:30} {pos}/{len} seeds, {msg}, {eta} left")
        .unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::stderr_with_hz(10)).with_style(style)
}
