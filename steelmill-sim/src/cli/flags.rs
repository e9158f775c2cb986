//! Command-line flags and environment variables of a campaign: flags for a program, variables for a test.
//!
//! `--time-limit 60` corresponds to `STEELMILL_TIME_LIMIT=60`; a flag without a value is set by `1`.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use clap::error::{ContextKind, ContextValue};
use clap::{Arg, ArgAction, CommandFactory as _, Parser};
use steelmill_core::Result;

use crate::campaign::again::OURS;
use crate::campaign::campaign::Campaign;
use crate::campaign::replay::{absolute, quoted};
use crate::campaign::shard::Shard;
use crate::campaign::summary::Summary;
use crate::schema::decision::Redraws;
use crate::schema::plan::{Faults, Plan};
use crate::schema::settings::{Schedule, Seed, Settings};
use crate::schema::verify::Verify;

/// The flags of a campaign, to be flattened into a program's own (`#[command(flatten)]`). In `--help` they are grouped.
#[derive(Debug, Clone, Default, clap::Args)]
#[group(skip)] // a program's own flags may well be called Args, too
#[non_exhaustive]
pub struct Args {
    /// Number of seeds to run [default: 200]
    #[arg(long, help_heading = SEEDS, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub seeds: Option<u64>,

    /// First seed; the others are consecutive [default: 1]
    #[arg(long, help_heading = SEEDS, value_name = "SEED", conflicts_with = "seed")]
    pub first_seed: Option<u64>,

    /// Run only this seed, and print its log
    #[arg(long, help_heading = SEEDS, value_name = "SEED", conflicts_with = "seeds")]
    pub seed: Option<u64>,

    /// Run until no new coverage point (assert_sometimes! and similar macros) is hit for as many seeds as it took to hit
    /// the last one, and at least 200; --seeds is then the maximum, with no default
    #[arg(long, help_heading = SEEDS, conflicts_with_all = ["seed", "shard"])]
    pub until_covered: bool,

    /// Learn which runs came far, by assert_sometimes! and similar macros, and vary them in half of the runs
    #[arg(long, help_heading = SEEDS, conflicts_with_all = ["seed", "until_covered"])]
    pub guided: bool,

    /// With --seed: replay a run that a guided campaign varied from it, as its replay command says
    #[arg(long, help_heading = SEEDS, value_name = "TIME=SEED,...")]
    pub redraws: Option<Redraws>,

    /// Number of red (failed) seeds after which to stop [default: 10]
    #[arg(long, help_heading = SEEDS, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub max_failures: Option<u16>,

    /// Limit on the virtual time of a seed, in seconds; a seed that exceeds it is red [default: 3600]
    #[arg(long, help_heading = SEEDS, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..))]
    pub time_limit: Option<u64>,

    /// Number of threads [default: one per core]
    #[arg(long, help_heading = SEEDS, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub jobs: Option<u16>,

    /// Faults to inject: swarm (a random plan for each seed), none, or a JSON file with a plan [default: swarm]
    #[arg(long, help_heading = FAULTS, value_name = "swarm|none|FILE")]
    pub faults: Option<FaultsFlag>,

    /// Write the injected plan of faults to a file, for --faults; needs --seed
    #[arg(long, help_heading = FAULTS, value_name = "FILE")]
    pub save_faults: Option<PathBuf>,

    /// Which ready task runs next: weighted (a random one, by random speeds), uniform (a random one), fifo (the oldest), walk
    /// (evenly over all orders of steps, which a trial run counts), or pct:D (by random priorities with D-1 changes; finds bugs
    /// that need D rare orderings) [default: weighted]
    #[arg(long, help_heading = FAULTS, value_name = "weighted|uniform|fifo|walk|pct:D")]
    pub schedule: Option<Schedule>,

    /// Explain red seeds: shrink each to the fewest faults that still fail, and write that plan (for --faults), a trace and
    /// an HTML picture to this folder; without --seed, to a subfolder for each red seed
    #[arg(long, help_heading = RED_SEEDS, value_name = "DIR")]
    pub explain: Option<PathBuf>,

    /// Limit on the runs that explain a red seed; needs --explain [default: 3000]
    #[arg(long, help_heading = RED_SEEDS, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub explain_runs: Option<u64>,

    /// Keep red seeds, with the faults they failed with, in a file to commit: they run first next time, and are dropped
    /// when they pass; with --seed, replay that seed as it was kept
    #[arg(long, help_heading = RED_SEEDS, value_name = "FILE")]
    pub keep: Option<PathBuf>,

    /// Run each seed twice, in this process or with =process in another; if the runs differ, the seed is red, and the first
    /// event that differs is shown
    #[arg(long, help_heading = DETERMINISM, value_name = "twice|process", num_args = 0..=1, require_equals = true, default_missing_value = "twice")]
    pub verify: Option<Verify>,

    /// List the code that asks the system for time, entropy or threads; time and entropy are simulated, threads are not
    #[arg(long, help_heading = DETERMINISM)]
    pub audit: bool,

    /// Print the summary as one line of JSON on standard output
    #[arg(long, help_heading = CI)]
    pub json: bool,

    /// Write a JUnit XML report to a file
    #[arg(long, help_heading = CI, value_name = "FILE")]
    pub junit: Option<PathBuf>,

    /// Run only the I-th of N parts of the seeds, from 1/N to N/N, as one of N machines
    #[arg(long, help_heading = CI, value_name = "I/N", conflicts_with_all = ["seed", "save_faults"])]
    pub shard: Option<Shard>,

    /// Run no seed, but merge the --json output of all shards from these files
    #[arg(long, help_heading = CI, value_name = "FILE", num_args = 1.., conflicts_with_all = RUN_FLAGS)]
    pub merge: Vec<PathBuf>,
}

// The groups of `--help`. Each flag names its own, as `next_help_heading` would apply to the program's flags after these.
const SEEDS: &str = "Seeds";
const FAULTS: &str = "Faults and schedule";
const RED_SEEDS: &str = "Red seeds";
const DETERMINISM: &str = "Determinism";
const CI: &str = "CI";

/// The flags that affect only running seeds, which `--merge` does not do.
const RUN_FLAGS: [&str; 16] = [
    "seeds",
    "seed",
    "first_seed",
    "until_covered",
    "guided",
    "redraws",
    "shard",
    "jobs",
    "time_limit",
    "schedule",
    "faults",
    "save_faults",
    "max_failures",
    "explain",
    "verify",
    "audit",
];

/// The value of `--faults`: the faults, and the text that was parsed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FaultsFlag {
    text: String,
    faults: Faults,
}

impl FromStr for FaultsFlag {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let faults = match text {
            "swarm" => Faults::Swarm,
            "none" => Faults::None,
            file => Faults::Plan(Plan::read(Path::new(file)).map_err(|error| format!("{error:#}"))?),
        };
        Ok(Self { text: text.to_owned(), faults })
    }
}

/// The flags without an environment variable.
const COMMAND_LINE_ONLY: [&str; 3] = ["json", "junit", "merge"];

#[derive(Debug, Parser)]
#[command(no_binary_name = true)]
struct FlagsOnly {
    #[command(flatten)]
    args: Args,
}

impl Args {
    /// Parses the variables that begin with `STEELMILL_`.
    ///
    /// # Errors
    /// When a value is invalid for its flag, or no flag has the name; the error then suggests the nearest name.
    pub(crate) fn from_environment(
        variables: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Result<Self, String> {
        let ours = variables.into_iter().filter_map(|(name, value)| {
            let name = name.to_str().filter(|name| name.starts_with(PREFIX) && !OURS.contains(&&**name))?;
            (!value.is_empty()).then(|| (name.to_owned(), value))
        });
        let mut ours: Vec<_> = ours.collect();
        ours.sort(); // so that the first of several errors is the same on every system
        let command = FlagsOnly::command();
        let mut arguments = Vec::new();
        for (name, value) in ours {
            let is_named = |flag: &&Arg| flag.get_long().is_some_and(|long| variable(long) == name);
            let Some(flag) = command.get_arguments().find(is_named) else { return Err(unknown(&name)) };
            let long = flag.get_long().unwrap_or_default();
            if COMMAND_LINE_ONLY.contains(&long) {
                return Err(format!(
                    "{name}: --{long} works on the command line of a program, not in a test"
                ));
            }
            let text = match (flag.get_action(), value.to_str()) {
                (ArgAction::SetTrue, Some("1" | "true")) => format!("--{long}"),
                (ArgAction::SetTrue, Some("0" | "false")) => continue,
                (ArgAction::SetTrue, _) => return Err(format!("{name}={value:?}: expected 1 or 0")),
                (_, Some(text)) => format!("--{long}={text}"),
                (_, None) => return Err(format!("{name}={value:?} is not text")),
            };
            if let Err(error) = FlagsOnly::try_parse_from([&text]) {
                let error = error.to_string();
                let reason = error.lines().next().unwrap_or_default().trim_start_matches("error: ");
                return Err(format!("{name}={value:?}: {reason}"));
            }
            arguments.push((long.to_owned(), text));
        }
        // --seed wins over variables that may be set for all campaigns.
        if arguments.iter().any(|(long, _)| long == "seed") {
            arguments.retain(|(long, _)| {
                !["seeds", "first-seed", "shard", "until-covered", "guided"].contains(&long.as_str())
            });
        }
        let line = FlagsOnly::try_parse_from(arguments.into_iter().map(|(_, text)| text));
        line.map(|line| line.args).map_err(|error| error.to_string())
    }

    pub(crate) fn apply<S>(&self, mut campaign: Campaign<S>) -> Campaign<S> {
        let settings = &mut campaign.settings;
        settings.schedule = self.schedule.unwrap_or(settings.schedule);
        settings.time_limit = self.time_limit.map_or(settings.time_limit, Duration::from_secs);
        settings.audit |= self.audit;
        if let Some(flag) = &self.faults {
            settings.faults = flag.faults.clone();
        }
        campaign.verify = self.verify.or(campaign.verify);
        campaign.jobs = self.jobs.map(usize::from).or(campaign.jobs);
        campaign.explain_runs = self.explain_runs.unwrap_or(campaign.explain_runs);
        campaign.failures_max = self.max_failures.map_or(campaign.failures_max, usize::from);
        campaign.first = self.first_seed.map_or(campaign.first, Seed);
        campaign.seeds = self.seeds.unwrap_or(campaign.seeds);
        campaign.shard = self.shard.or(campaign.shard);
        campaign.keep = self.keep.clone().or(campaign.keep);
        campaign.guided |= self.guided;
        if let Some(redraws) = &self.redraws {
            campaign.settings.reseeds = redraws.reseeds();
        }
        if self.until_covered {
            (campaign.until_covered, campaign.seeds) = (true, self.seeds.unwrap_or(u64::MAX));
        }
        if let Some(seed) = self.seed {
            (campaign.first, campaign.seeds, campaign.shard) = (Seed(seed), 1, None);
            (campaign.until_covered, campaign.guided, campaign.is_single) = (false, false, true);
        }
        campaign
    }

    /// The flags that select these settings, whatever the campaign's defaults; a plan of faults needs a file instead.
    pub(crate) fn explicit(settings: &Settings, verify: Option<Verify>) -> Self {
        let seconds = settings.time_limit.as_secs_f64().ceil() as u64;
        Self {
            schedule: Some(settings.schedule),
            time_limit: Some(seconds.max(1)),
            verify,
            redraws: Some(Redraws::of(&settings.reseeds)).filter(|redraws| !redraws.is_empty()),
            faults: (settings.faults == Faults::None)
                .then(|| FaultsFlag { text: "none".to_owned(), faults: Faults::None }),
            ..Self::default()
        }
    }

    /// The flags that a program needs to select these settings: those that differ from its defaults.
    pub(crate) fn non_default(settings: &Settings, verify: Option<Verify>) -> Self {
        let all = Self::explicit(settings, verify);
        Self {
            schedule: all.schedule.filter(|schedule| *schedule != Schedule::default()),
            time_limit: all.time_limit.filter(|seconds| *seconds != TIME_LIMIT),
            ..all
        }
    }

    /// The same for a test's settings, with absolute paths, as a program runs in another folder. `None` if the test has a
    /// plan of faults that is in no file.
    pub(crate) fn for_program(&self, settings: &Settings, verify: Option<Verify>) -> Option<Self> {
        let mut flags = Self::non_default(settings, verify);
        if let Faults::Plan(_) = settings.faults {
            let flag = self.faults.as_ref()?;
            let file = absolute(Path::new(&flag.text)).display().to_string();
            flags.faults = Some(FaultsFlag { text: file, ..flag.clone() });
        }
        Some(flags)
    }

    /// The same for a run that was varied from a seed's own.
    pub(crate) fn redrawn(&self, redraws: &Redraws) -> Self {
        let redraws = Some(redraws).filter(|redraws| !redraws.is_empty()).cloned();
        Self { redraws: redraws.or_else(|| self.redraws.clone()), ..self.clone() }
    }

    /// The flags, with values, that a command to replay a seed must repeat.
    fn replay_flags(&self) -> Vec<(&'static str, String)> {
        let mut flags = Vec::new();
        flags.extend(self.schedule.map(|schedule| ("schedule", schedule.to_string())));
        flags.extend(self.time_limit.map(|limit| ("time-limit", limit.to_string())));
        flags.extend(self.faults.as_ref().map(|flag| ("faults", flag.text.clone())));
        flags.extend(self.verify.map(|verify| ("verify", verify.to_string())));
        flags.extend(self.redraws.as_ref().map(|redraws| ("redraws", redraws.to_string())));
        flags
    }

    /// Checks combinations of flags, and that output files can be created.
    ///
    /// # Errors
    /// When `--save-faults` or `--redraws` lacks `--seed`, when `--explain-runs` lacks `--explain`, and when a file's folder is missing.
    pub(crate) fn check(&self) -> Result<()> {
        let is_one = self.seed.is_some() || self.seeds == Some(1);
        ensure!(
            self.save_faults.is_none() || is_one,
            "--save-faults writes the plan of one seed: choose it with --seed"
        );
        ensure!(
            self.redraws.is_none() || self.seed.is_some(),
            "--redraws varies the run of one seed: choose it with --seed"
        );
        ensure!(
            self.explain_runs.is_none() || self.explain.is_some(),
            "--explain-runs limits the runs of --explain: name its folder with --explain"
        );
        // Before the seeds, which may take hours.
        for (flag, path) in [("save-faults", &self.save_faults), ("junit", &self.junit), ("keep", &self.keep)]
        {
            let folder = path.as_deref().and_then(Path::parent).filter(|folder| *folder != Path::new(""));
            if let Some(folder) = folder.filter(|folder| !folder.is_dir()) {
                bail!("--{flag}: there is no folder {}: create it first", folder.display());
            }
            if let Some(folder) = path.as_deref().filter(|path| path.is_dir()) {
                bail!("--{flag}: {} is a folder: name a file", folder.display());
            }
        }
        if let Some(folder) = self.explain.as_deref().filter(|folder| folder.exists() && !folder.is_dir()) {
            bail!("--explain: {} is no folder: name a folder, which may be new", folder.display());
        }
        Ok(())
    }

    /// Writes the plan of the seed that ran, for `--save-faults`.
    ///
    /// # Errors
    /// When the file cannot be written, and when the run had no plan or several.
    pub(crate) fn save(&self, summary: &Summary) -> Result<()> {
        let Some(path) = &self.save_faults else { return Ok(()) };
        let ran = summary.kept.as_ref().filter(|_| summary.requested == 0).map_or(0, |kept| kept.ran);
        ensure!(
            ran <= 1,
            "no plan is written to {}: the file of --keep has the seed {ran} times, each with its own plan",
            path.display()
        );
        let Some(plan) = &summary.faults else {
            bail!("there is no plan to write to {}: the run injected no faults", path.display());
        };
        std::fs::write(path, plan.to_json())
            .with_context(|| format!("cannot write the plan to {}", path.display()))
    }

    /// `program --schedule=pct:3 --seed 7`
    pub(crate) fn command_line(&self, program: &str, seed: Seed) -> String {
        let flags =
            self.replay_flags().into_iter().map(|(flag, value)| format!(" --{flag}={}", quoted(&value)));
        format!("{program}{} --seed {seed}", flags.collect::<String>())
    }

    /// `STEELMILL_SCHEDULE=pct:3 STEELMILL_SEED=7 `
    pub(crate) fn variables(&self, seed: Option<Seed>) -> String {
        let seed = seed.map(|seed| ("seed", seed.to_string()));
        let all = self.replay_flags().into_iter().chain(seed);
        all.map(|(flag, value)| format!("{}={} ", variable(flag), quoted(&value))).collect()
    }
}

/// The command line that replays a kept seed: `program --keep=red.json --seed 7`
pub(crate) fn kept_command_line(program: &str, file: &Path, seed: Seed) -> String {
    format!("{program} --keep={} --seed {seed}", quoted(&file.display().to_string()))
}

/// The variables with which a test replays a kept seed: `STEELMILL_KEEP=red.json STEELMILL_SEED=7 `
pub(crate) fn kept_variables(file: &Path, seed: Seed) -> String {
    let file = file.display().to_string();
    format!("{}={} {}={seed} ", variable("keep"), quoted(&file), variable("seed"))
}

/// The variable that gives a test a plan of faults: `STEELMILL_FAULTS=plan.json `
pub(crate) fn faults_variable(plan: &Path) -> String {
    format!("{}={} ", variable("faults"), quoted(&plan.display().to_string()))
}

/// The variable with which a test explains a red seed, in this folder of its package: `STEELMILL_EXPLAIN=red `
pub(crate) fn explain_variable() -> String {
    format!("{}=red ", variable("explain"))
}

/// The default limit on a seed's virtual time in a program, in seconds.
pub(crate) const TIME_LIMIT: u64 = 3600;

const PREFIX: &str = "STEELMILL_";

fn variable(flag: &str) -> String {
    format!("{PREFIX}{}", flag.replace('-', "_").to_uppercase())
}

/// The error for an unknown variable, with the nearest name, as clap suggests it for flags.
fn unknown(name: &str) -> String {
    let flag = format!("--{}", name.trim_start_matches(PREFIX).to_lowercase().replace('_', "-"));
    let error = FlagsOnly::try_parse_from([flag]).err();
    let suggestion = match error.as_ref().and_then(|error| error.get(ContextKind::SuggestedArg)) {
        Some(ContextValue::String(flag)) => {
            format!("did you mean {}?", variable(flag.trim_start_matches('-')))
        }
        _ => {
            let command = FlagsOnly::command();
            let flags = command.get_arguments().filter_map(|flag| flag.get_long());
            let known = flags.filter(|long| !COMMAND_LINE_ONLY.contains(long)).map(variable);
            format!("known: {}", known.collect::<Vec<_>>().join(", "))
        }
    };
    format!("{name} is not a campaign variable; {suggestion}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(set: &[(&str, &str)]) -> Result<Args, String> {
        Args::from_environment(set.iter().map(|(name, value)| (name.into(), value.into())))
    }

    #[test]
    fn every_flag_of_a_campaign_is_a_variable() {
        let args = from(&[
            ("STEELMILL_SEEDS", "7"),
            ("STEELMILL_FIRST_SEED", "3"),
            ("STEELMILL_SHARD", "2/3"),
            ("STEELMILL_JOBS", "2"),
            ("STEELMILL_TIME_LIMIT", "60"),
            ("STEELMILL_SCHEDULE", "pct:3"),
            ("STEELMILL_FAULTS", "none"),
            ("STEELMILL_VERIFY", "process"),
            ("STEELMILL_AUDIT", "1"),
            ("STEELMILL_GUIDED", "1"),
            ("STEELMILL_REDRAWS", "1.5s=7"),
            ("STEELMILL_MAX_FAILURES", "4"),
            (OURS[0], "not a flag, but ours"),
            ("ANOTHER", "1"),
        ]);
        let args = args.expect("all are right");
        assert_eq!((args.seeds, args.first_seed, args.jobs), (Some(7), Some(3), Some(2)));
        assert_eq!(args.shard.map(|shard| shard.to_string()).as_deref(), Some("2/3"));
        assert_eq!((args.time_limit, args.max_failures), (Some(60), Some(4)));
        assert_eq!((args.schedule, args.verify), (Some(Schedule::Pct { depth: 3 }), Some(Verify::Process)));
        assert!(args.audit && args.guided);
        assert_eq!(
            args.variables(Some(Seed(9))),
            "STEELMILL_SCHEDULE=pct:3 STEELMILL_TIME_LIMIT=60 STEELMILL_FAULTS=none STEELMILL_VERIFY=process STEELMILL_REDRAWS=1.5s=7 STEELMILL_SEED=9 "
        );
        assert_eq!(
            args.command_line("cargo xtask sim", Seed(9)),
            "cargo xtask sim --schedule=pct:3 --time-limit=60 --faults=none --verify=process --redraws=1.5s=7 --seed 9"
        );
    }

    #[test]
    fn a_plan_of_a_test_needs_a_file_to_become_a_flag() {
        let plan = Settings { faults: Faults::Plan(Plan::default()), ..Settings::new(Seed(7)) };
        assert!(Args::default().for_program(&plan, None).is_none(), "it is in no file");
        let faults = Some(FaultsFlag { text: "a b.json".to_owned(), faults: plan.faults.clone() });
        let flags = Args { faults, ..Args::default() }.for_program(&plan, None).expect("it is in a file");
        let here = std::env::current_dir().expect("a folder");
        let file = format!(" --faults='{}/a b.json' --seed 7", here.display());
        let line = flags.command_line("run", Seed(7));
        assert!(line.ends_with(&file), "{line}");
    }

    #[test]
    fn one_seed_wins_over_several() {
        let args = from(&[
            ("STEELMILL_SEED", "9"),
            ("STEELMILL_SEEDS", "100"),
            ("STEELMILL_FIRST_SEED", "3"),
            ("STEELMILL_SHARD", "2/3"),
        ]);
        let args = args.expect("all are right");
        assert_eq!((args.seed, args.seeds, args.first_seed, args.shard), (Some(9), None, None, None));
    }

    #[test]
    fn a_wrong_value_is_an_error_that_names_it() {
        for (name, value, part) in [
            ("STEELMILL_SEED", "seven", "invalid digit"),
            ("STEELMILL_SEEDS", "0", "not in 1.."),
            ("STEELMILL_SHARD", "3/2", "from 1/n to n/n"),
            ("STEELMILL_SCHEDULE", "pct", "weighted, uniform, fifo, walk, pct:D"),
            ("STEELMILL_SCHEDULE", "pct:0", "1 to 100"),
            ("STEELMILL_VERIFY", "1", "twice, process"),
            ("STEELMILL_AUDIT", "yes", "1 or 0"),
            ("STEELMILL_FAULTS", "sworm", "neither swarm, none, nor a file"),
        ] {
            let error = from(&[(name, value)]).expect_err("a wrong value");
            assert!(error.starts_with(&format!("{name}={value:?}: ")) && error.contains(part), "{error}");
        }
    }

    #[test]
    fn a_misspelt_variable_is_an_error_that_names_the_nearest() {
        for (name, part) in [
            ("STEELMILL_SEDES", "did you mean STEELMILL_SEEDS?"),
            ("STEELMILL_FIRSTSEED", "did you mean STEELMILL_FIRST_SEED?"),
            ("STEELMILL_MAX_FAILURE", "did you mean STEELMILL_MAX_FAILURES?"),
            ("STEELMILL_XYZ", "known: STEELMILL_SEEDS, STEELMILL_FIRST_SEED, STEELMILL_SEED, "),
            ("STEELMILL_JSON", "--json works on the command line of a program"),
        ] {
            let error = from(&[(name, "7"), ("STEELMILL_JOBS", "1")]).expect_err("a wrong name");
            assert!(error.starts_with(name) && error.contains(part), "{error}");
        }
        assert!(from(&[("STEELMILL_SEDES", "")]).is_ok(), "an empty variable is not set");
    }

    #[test]
    fn a_missing_folder_is_an_error_before_any_seed_runs() {
        let to = |path: &str| Args { junit: Some(PathBuf::from(path)), ..Args::default() }.check();
        assert!(to("report.xml").is_ok() && to("/report.xml").is_ok());
        let error = to("/no-such-folder/report.xml").expect_err("nothing can be written there");
        assert_eq!(error.to_string(), "--junit: there is no folder /no-such-folder: create it first");
        let keep = Args { keep: Some(PathBuf::from("/no-such-folder/red.json")), ..Args::default() };
        assert!(keep.check().expect_err("no folder").to_string().starts_with("--keep: there is no folder"));
        assert!(to("/").expect_err("no file").to_string().starts_with("--junit: / is a folder"));
        let explain = Args { explain: Some(PathBuf::from("/dev/null")), ..Args::default() };
        assert!(explain.check().expect_err("a file").to_string().starts_with("--explain: /dev/null is no"));
    }

    #[test]
    fn an_empty_variable_is_not_set() {
        let args = from(&[("STEELMILL_SEED", ""), ("STEELMILL_AUDIT", "0")]).expect("nothing is set");
        assert!(args.seed.is_none() && !args.audit);
    }
}
