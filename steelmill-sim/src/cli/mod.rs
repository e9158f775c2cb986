//! Command line of a campaign: flags, progress bar, summary, exit codes.

pub(crate) mod flags; // flags and environment variables
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

use crate::campaign::campaign::{AnyCampaign, Campaign, failed_text};
use crate::campaign::coverage::Coverage;
use crate::campaign::keep::{KeepFile, Updated};
use crate::campaign::record::{KeptSeed, Record, RedSeed};
use crate::campaign::replay::quoted;
use crate::campaign::{junit, merge};
use crate::cli::flags::{TIME_LIMIT, kept_command_line};
use crate::explain::shrink::Progress;
use crate::machine::sim::Sim;
use crate::schema::outcome::Outcome;
use crate::schema::plan::{Faults, Plan};
use crate::trace::logging;

pub use crate::cli::flags::Args;

/// The `main` of a campaign program: runs `scenario`, prints progress and each red seed on standard error, and the summary
/// on standard output.
///
/// `name` identifies the scenario in reports and in files of kept seeds; a flag that changes the scenario must change it.
/// `program` is the command line that runs it, with the program's own flags; a red seed's replay command is `program` and
/// `--seed`.
///
/// # Exit codes
/// 0 if every seed passed, 1 if one failed, 2 if the flags cannot be obeyed. Ctrl-C stops the campaign after the running
/// seeds and prints the summary: 130 if none failed. A second Ctrl-C exits at once.
#[track_caller]
pub fn main<S, F>(args: &Args, name: &str, program: &str, scenario: S) -> ExitCode
where
    S: Fn(Sim) -> F + Send + Sync,
    F: Future<Output = Result> + 'static,
{
    if let Err(error) = args.check() {
        return usage_error(&error);
    }
    if !args.merge.is_empty() {
        return match merge::files(&args.merge, name) {
            Ok(record) => finish_merged(args, &record),
            Err(error) => usage_error(&error),
        };
    }
    // The log is for inspecting one seed; of several, only the summary is read.
    let wants_log = args.seed.is_some() || std::env::var_os("RUST_LOG").is_some();
    if wants_log && let Err(error) = logging::init("info") {
        eprintln!("no log: {error}");
    }
    let interrupted = Arc::new(AtomicBool::new(false));
    if let Err(error) = handle_ctrl_c(&interrupted) {
        eprintln!("Ctrl-C will exit without a summary: {error}");
    }
    let campaign = Campaign::new(scenario)
        .name(name)
        .program(program)
        .seeds(SEEDS)
        .time_limit(Duration::from_secs(TIME_LIMIT))
        .failures_max(FAILURES_MAX)
        .stop_when(interrupted.clone());
    let campaign = args.apply(campaign);
    let campaign = campaign.as_any();
    if campaign.until_covered && Coverage::of_program().is_empty() {
        return usage_error(&anyhow::anyhow!(
            "--until-covered needs coverage points: this program has no assert_sometimes! or similar macro"
        ));
    }
    let replay =
        |red: &Outcome, kept: Option<&KeptSeed>| match campaign.keep.as_deref().filter(|_| kept.is_some()) {
            Some(file) => kept_command_line(program, file, red.seed),
            None => args.redrawn(&red.redraws).command_line(program, red.seed),
        };
    let bar = progress_bar();
    let (mut printed, mut kept_printed) = (0, 0);
    let mut is_error_printed = false;
    let summary = campaign.try_run_with(&mut |summary| {
        // A red seed is printed at once, so that it is not lost if the process is killed.
        let print_red = |kept: &str, failed: &Outcome, replay| {
            bar.suspend(|| print(&format!("{kept}{}\n{replay}\n", failed_text(failed))));
        };
        if let Some(error) = summary.kept.as_ref().and_then(|kept| kept.error.as_ref())
            && !std::mem::replace(&mut is_error_printed, true)
        {
            bar.suspend(|| print(&format!("error: red seeds are not kept so far: {error}\n")));
        }
        let kept = summary.kept.as_ref().map_or(&[][..], |kept| &kept.failed);
        for (kept, failed) in &kept[kept_printed..] {
            print_red("kept ", failed, replay(failed, Some(kept)));
        }
        for failed in &summary.failed[printed..] {
            print_red("", failed, replay(failed, None));
        }
        (printed, kept_printed) = (summary.failed.len(), kept.len());
        bar.set_length(summary.requested);
        bar.set_position(summary.seeds);
        bar.set_message(format!(
            "{:.0} seeds/s, {:.0} simulated s, {} failed",
            summary.seeds_per_minute() / 60.0,
            summary.simulated.as_secs_f64(),
            printed + kept_printed,
        ));
    });
    bar.finish_and_clear();
    let summary = match summary {
        Ok(summary) => summary,
        Err(error) => return usage_error(&error),
    };
    let saved = args.save(&summary);
    let mut record = summary.record(replay);
    if let Some(folder) = &args.explain {
        let folders = folders(folder, args.seed.is_some(), &record);
        let mut skipped = 0;
        for (red, folder) in record.red_mut().zip(folders) {
            // The folder may hold an earlier explanation, which a search that finds nothing must not replace.
            if interrupted.load(Ordering::Relaxed) {
                skipped += 1;
                continue;
            }
            match explain(campaign, &folder, program, red) {
                Ok(shrunk) => red.shrunk = shrunk,
                Err(error) => print(&format!("error: {error:#}")),
            }
        }
        if skipped > 0 {
            print(&format!(
                "{skipped} red seed(s) are not explained, because of Ctrl-C: run them again, by the commands above and \
                 --explain\n"
            ));
        }
    }
    // The campaign has kept red seeds already, but not their shrunk plans.
    let is_kept = campaign.keep.as_deref().is_none_or(|file| update_keep_file(file, &record));
    if let Err(error) = &saved {
        print(&format!("error: {error:#}\n"));
    }
    finish(args, &record, is_kept && saved.is_ok())
}

/// Prints the merged record as the whole campaign would have.
fn finish_merged(args: &Args, record: &Record) -> ExitCode {
    record.red().for_each(|red| print(&format!("{red}\n{}\n", red.replay)));
    let is_kept = args.keep.as_deref().is_none_or(|file| update_keep_file(file, record));
    finish(args, record, is_kept)
}

fn usage_error(error: &anyhow::Error) -> ExitCode {
    print(&format!("error: {error:#}"));
    ExitCode::from(WRONG_USAGE)
}

/// Adds red seeds to the file of kept seeds, drops those that passed, and prints both; false if the file cannot be written.
fn update_keep_file(file: &Path, record: &Record) -> bool {
    match KeepFile::new(file).update(record) {
        Ok(Updated { kept, removed }) => {
            for passed in record.kept.iter().flat_map(|kept| &kept.passed) {
                print(&format!("kept seed {} passes now and is dropped: {}", passed.seed, passed.failure));
            }
            for seed in removed {
                let file = file.display();
                print(&format!("kept seed {seed} fails, but is not kept: it was removed from {file}"));
            }
            if kept > 0 {
                print(&format!("{kept} red seed(s) of this campaign are kept in {}\n", file.display()));
            }
        }
        Err(error) => {
            print(&format!("error: red seeds are not kept: {error:#}\n"));
            return false;
        }
    }
    true
}

/// Prints on standard error, which may be closed.
fn print(text: &str) {
    let _ = writeln!(io::stderr(), "{text}");
}

/// Prints the summary, writes the reports, and gives the exit code.
fn finish(args: &Args, record: &Record, is_written: bool) -> ExitCode {
    if let Some(audit) = record.audit_text() {
        print(&format!("{audit}\n"));
    }
    let printed = match args.json {
        true => writeln!(io::stdout(), "{}", serde_json::to_string(record).expect("plain data")),
        false => writeln!(io::stdout(), "{record}"),
    };
    let printed = match printed {
        // The reader may close the pipe early, as `head` does.
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(error).context("cannot write the summary")
        }
        _ => Ok(()),
    };
    let reported = args.junit.as_ref().map_or(Ok(()), |path| {
        let written = std::fs::write(path, junit::report(record));
        written.with_context(|| format!("cannot write the report to {}", path.display()))
    });
    // The last line that a terminal shows.
    if let Some(red) = record.red().next().filter(|_| args.explain.is_none()) {
        print(&format!("\nto explain it: {} --explain=red", red.replay));
    }
    let mut is_written = is_written;
    for error in [printed, reported].into_iter().filter_map(Result::err) {
        print(&format!("error: {error:#}"));
        is_written = false;
    }
    match is_written && record.passed() {
        false => ExitCode::FAILURE,
        true if record.seeds < record.requested => ExitCode::from(INTERRUPTED),
        true => ExitCode::SUCCESS,
    }
}

/// The folder of each red seed's explanation: `folder` itself for `--seed` with one failure, else a subfolder. A kept seed
/// may fail several times, with the plan of each of its entries.
fn folders(folder: &Path, is_single: bool, record: &Record) -> Vec<PathBuf> {
    let name = |red: &RedSeed| match red.kept {
        Some(_) => format!("kept-seed-{}", red.seed),
        None => format!("seed-{}", red.seed),
    };
    let names: Vec<String> = record.red().map(name).collect();
    if is_single && names.len() == 1 {
        return vec![folder.to_owned()];
    }
    let folders = names.iter().enumerate().map(|(index, name)| {
        match names[..index].iter().filter(|earlier| *earlier == name).count() {
            0 => folder.join(name),
            before => folder.join(format!("{name}-{}", before + 1)),
        }
    });
    folders.collect()
}

/// Explains a red seed in a folder and prints what was found. Returns the shrunk plan; `None` if the search stopped before
/// it found a smaller one.
fn explain(campaign: &AnyCampaign<'_>, folder: &Path, program: &str, red: &RedSeed) -> Result<Option<Plan>> {
    let (seed, kept) = (red.seed, red.kept.as_ref());
    let settings = campaign.settings_of(seed, Some(&red.redraws), kept);
    let given = match &settings.faults {
        Faults::Plan(plan) => plan.clone(),
        Faults::Swarm | Faults::None => Plan::default(),
    };
    let initial_plan = red.faults.clone().unwrap_or(given);
    let verify = kept.map_or(campaign.verify, |kept| kept.verify);
    let line = Args { faults: None, ..Args::non_default(&settings, verify) }.command_line(program, seed);
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
    print(&text);
    let is_smaller = shrunk.stopped.is_none() || shrunk.plan != initial_plan;
    Ok(is_smaller.then_some(shrunk.plan))
}

fn spinner() -> ProgressBar {
    match io::stderr().is_terminal() {
        true => ProgressBar::new_spinner(),
        false => ProgressBar::hidden(),
    }
}

/// As clap's exit code.
const WRONG_USAGE: u8 = 2;

const SEEDS: u64 = 200;
const FAILURES_MAX: usize = 10;

/// The exit code by which a shell reports death by SIGINT: 128 and the signal's number.
const INTERRUPTED: u8 = 130;

/// Installs the handler of Ctrl-C: the first sets the flag, a second exits.
fn handle_ctrl_c(flag: &Arc<AtomicBool>) -> io::Result<()> {
    use signal_hook::{consts::SIGINT, flag};
    flag::register_conditional_shutdown(SIGINT, INTERRUPTED.into(), flag.clone())?;
    flag::register(SIGINT, flag.clone())?;
    Ok(())
}

/// Its length is set when the campaign has started.
fn progress_bar() -> ProgressBar {
    if !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{bar:30} {pos}/{len} seeds, {msg}, {eta} left")
        .unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::stderr_with_hz(10)).with_style(style)
}
