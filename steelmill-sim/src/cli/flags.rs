//! What can be said to a campaign from outside: by flags where it is a program, by the environment where it is a test.
//!
//! Each flag is an environment variable, too: `--time-limit 60` is `STEELMILL_TIME_LIMIT=60`, and a flag without a value
//! is given by `1`.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use clap::error::{ContextKind, ContextValue};
use clap::{Arg, ArgAction, CommandFactory as _, Parser};
use steelmill_core::Result;

use crate::campaign::campaign::Campaign;
use crate::campaign::replay::{from_anywhere, quoted};
use crate::campaign::shard::Shard;
use crate::campaign::summary::Summary;
use crate::campaign::verify;
use crate::schema::plan::{Faults, Plan};
use crate::schema::settings::{Schedule, Seed, Settings};
use crate::schema::verify::Verify;

/// The flags of a campaign, for a program to flatten into its own.
#[derive(Debug, Clone, Default, clap::Args)]
#[group(skip)] // a program's own flags may well be called Args, too
#[non_exhaustive]
pub struct Args {
    /// How many seeds to run [default: 200]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub seeds: Option<u64>,

    /// Run until no new place (assert_sometimes! and its kin) was hit for a while: as many seeds as it took to hit the last
    /// one, and at least 200; --seeds is then how many at most
    #[arg(long, conflicts_with_all = ["seed", "shard"])]
    pub until_covered: bool,

    /// Run this one seed, and show its log
    #[arg(long, value_name = "S", conflicts_with = "seeds")]
    pub seed: Option<u64>,

    /// The first of the seeds [default: 1]
    #[arg(long, value_name = "S", conflicts_with = "seed")]
    pub first_seed: Option<u64>,

    /// Run the I-th of N parts of the seeds, for one of several machines: 1/N to N/N
    #[arg(long, value_name = "I/N", conflicts_with_all = ["seed", "save_faults"])]
    pub shard: Option<Shard>,

    /// Keep red seeds in a file that can be committed: they are tried first the next time, with the plan they failed with,
    /// and dropped when they pass; with --seed, that one is run as it was kept
    #[arg(long, value_name = "FILE")]
    pub keep: Option<PathBuf>,

    /// On how many threads [default: as many as there are cores]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub jobs: Option<u16>,

    /// How many virtual seconds a seed may take [default: 3600]
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..))]
    pub time_limit: Option<u64>,

    /// Which of the ready tasks runs next: uniform (any), fifo (the oldest), or pct:D (by priorities that change D-1
    /// times: finds bugs that need D rare orderings) [default: uniform]
    #[arg(long, value_name = "HOW")]
    pub schedule: Option<Schedule>,

    /// What goes wrong: swarm (drawn from the seed), none, or the plan in a file of JSON [default: swarm]
    #[arg(long, value_name = "WHAT")]
    pub faults: Option<FaultsFlag>,

    /// Write the plan of what went wrong to a file, for --faults; needs --seed
    #[arg(long, value_name = "FILE")]
    pub save_faults: Option<PathBuf>,

    /// Explain red seeds in a folder: the least plan with which they fail, as a file for --faults, and a trace of that
    /// run; a folder in it for each, unless --seed says which and that one is red in one way
    #[arg(long, value_name = "DIR")]
    pub explain: Option<PathBuf>,

    /// How many runs explaining a red seed may take; needs --explain [default: 3000]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub explain_runs: Option<u64>,

    /// Run each seed twice and compare: in this process, or with =process in another; where they differ the seed is
    /// red, and the first event that does is shown
    #[arg(long, value_name = "HOW", num_args = 0..=1, require_equals = true, default_missing_value = "twice")]
    pub verify: Option<Verify>,

    /// Show which code asks the system for time, entropy or threads in a run, though the first two are simulated
    #[arg(long)]
    pub audit: bool,

    /// After how many red seeds to stop [default: 10]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub max_failures: Option<u16>,

    /// Print the summary as one line of JSON on standard output
    #[arg(long)]
    pub json: bool,

    /// Write a report for a CI system, as JUnit's XML
    #[arg(long, value_name = "FILE")]
    pub junit: Option<PathBuf>,

    /// Run nothing: put together what all shards of a campaign have printed by --json into these files
    #[arg(long, value_name = "FILE", num_args = 1.., conflicts_with_all = RUNNING)]
    pub merge: Vec<PathBuf>,
}

/// What is said about seeds that are yet to run.
const RUNNING: [&str; 14] = [
    "seeds",
    "seed",
    "first_seed",
    "until_covered",
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

/// Which faults a campaign has, and how that was said.
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

/// What a test has no use for.
const PROGRAM_ONLY: [&str; 3] = ["json", "junit", "merge"];

/// To read the flags alone.
#[derive(Debug, Parser)]
#[command(no_binary_name = true)]
struct Alone {
    #[command(flatten)]
    args: Args,
}

impl Args {
    /// What the environment says.
    ///
    /// # Errors
    /// When a variable has a value that its flag would not take, or one of our names that is no flag's: the text names it,
    /// and what was probably meant.
    pub(crate) fn from_environment(
        variables: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Result<Self, String> {
        let ours = variables.into_iter().filter_map(|(name, value)| {
            let name = name.to_str().filter(|name| name.starts_with(PREFIX) && *name != verify::ASKED)?;
            (!value.is_empty()).then(|| (name.to_owned(), value))
        });
        let mut ours: Vec<_> = ours.collect();
        ours.sort(); // which of two mistakes is told does not depend on the system
        let command = Alone::command();
        let mut given = Vec::new();
        for (name, value) in ours {
            let is_meant = |flag: &&Arg| flag.get_long().is_some_and(|long| variable(long) == name);
            let Some(flag) = command.get_arguments().find(is_meant) else { return Err(unknown(&name)) };
            let long = flag.get_long().unwrap_or_default();
            if PROGRAM_ONLY.contains(&long) {
                return Err(format!("{name}: --{long} is for a campaign that is a program, not for a test"));
            }
            let text = match (flag.get_action(), value.to_str()) {
                (ArgAction::SetTrue, Some("1" | "true")) => format!("--{long}"),
                (ArgAction::SetTrue, Some("0" | "false")) => continue,
                (ArgAction::SetTrue, _) => return Err(format!("{name}={value:?}: say 1 or 0")),
                (_, Some(text)) => format!("--{long}={text}"),
                (_, None) => return Err(format!("{name}={value:?} is not text")),
            };
            if let Err(error) = Alone::try_parse_from([&text]) {
                let error = error.to_string();
                let reason = error.lines().next().unwrap_or_default().trim_start_matches("error: ");
                return Err(format!("{name}={value:?}: {reason}"));
            }
            given.push((long.to_owned(), text));
        }
        // One seed was singled out: whatever else is set for all campaigns, it is that one that is meant.
        if given.iter().any(|(long, _)| long == "seed") {
            given.retain(|(long, _)| {
                !["seeds", "first-seed", "shard", "until-covered"].contains(&long.as_str())
            });
        }
        let line = Alone::try_parse_from(given.into_iter().map(|(_, text)| text));
        line.map(|line| line.args).map_err(|error| error.to_string())
    }

    /// The campaign as these flags want it; what they do not speak of stays.
    pub(crate) fn apply<S>(&self, mut campaign: Campaign<S>) -> Campaign<S> {
        let settings = &mut campaign.settings;
        settings.schedule = self.schedule.unwrap_or(settings.schedule);
        settings.time_limit = self.time_limit.map_or(settings.time_limit, Duration::from_secs);
        settings.audit |= self.audit;
        if let Some(said) = &self.faults {
            settings.faults = said.faults.clone();
        }
        campaign.verify = self.verify.or(campaign.verify);
        campaign.jobs = self.jobs.map(usize::from).or(campaign.jobs);
        campaign.explain_runs = self.explain_runs.unwrap_or(campaign.explain_runs);
        campaign.failures_max = self.max_failures.map_or(campaign.failures_max, usize::from);
        campaign.first = self.first_seed.map_or(campaign.first, Seed);
        campaign.seeds = self.seeds.unwrap_or(campaign.seeds);
        campaign.shard = self.shard.or(campaign.shard);
        campaign.keep = self.keep.clone().or(campaign.keep);
        if self.until_covered {
            (campaign.until_covered, campaign.seeds) = (true, self.seeds.unwrap_or(u64::MAX));
        }
        if let Some(seed) = self.seed {
            (campaign.first, campaign.seeds, campaign.shard) = (Seed(seed), 1, None);
            (campaign.until_covered, campaign.is_single) = (false, true);
        }
        campaign
    }

    /// The flags that give any campaign such settings, whatever its own are. A plan of faults has no flag: it takes a file.
    pub(crate) fn exactly(settings: &Settings, verify: Option<Verify>) -> Self {
        let seconds = settings.time_limit.as_secs_f64().ceil() as u64;
        Self {
            schedule: Some(settings.schedule),
            time_limit: Some(seconds.max(1)),
            verify,
            faults: (settings.faults == Faults::None)
                .then(|| FaultsFlag { text: "none".to_owned(), faults: Faults::None }),
            ..Self::default()
        }
    }

    /// Those that a program's campaign needs for such settings.
    pub(crate) fn of(settings: &Settings, verify: Option<Verify>) -> Self {
        let all = Self::exactly(settings, verify);
        Self {
            schedule: all.schedule.filter(|schedule| *schedule != Schedule::default()),
            time_limit: all.time_limit.filter(|seconds| *seconds != TIME_LIMIT),
            ..all
        }
    }

    /// The same for a program that is started elsewhere than a test is. `None` where the test has a plan of faults that is
    /// in no file.
    pub(crate) fn of_test(&self, settings: &Settings, verify: Option<Verify>) -> Option<Self> {
        let mut flags = Self::of(settings, verify);
        if let Faults::Plan(_) = settings.faults {
            let said = self.faults.as_ref()?;
            let file = from_anywhere(Path::new(&said.text)).display().to_string();
            flags.faults = Some(FaultsFlag { text: file, ..said.clone() });
        }
        Some(flags)
    }

    /// What has to be said again for one seed to be run in the same way: flags and their values.
    fn said(&self) -> Vec<(&'static str, String)> {
        let mut said = Vec::new();
        said.extend(self.schedule.map(|schedule| ("schedule", schedule.to_string())));
        said.extend(self.time_limit.map(|limit| ("time-limit", limit.to_string())));
        said.extend(self.faults.as_ref().map(|said| ("faults", said.text.clone())));
        said.extend(self.verify.map(|verify| ("verify", verify.to_string())));
        said
    }

    /// Checks what no single flag can, and that what is to be written at the end has somewhere to go.
    ///
    /// # Errors
    /// When a plan is to be saved, and which seed's is not said; when nothing is to be explained, but in so many runs; when a
    /// file's folder is not there.
    pub(crate) fn check(&self) -> Result<()> {
        let is_one = self.seed.is_some() || self.seeds == Some(1);
        ensure!(
            self.save_faults.is_none() || is_one,
            "--save-faults writes the plan of one seed: say which with --seed"
        );
        ensure!(
            self.explain_runs.is_none() || self.explain.is_some(),
            "--explain-runs says how many runs an explanation may take: say where it goes with --explain"
        );
        // Not after hours of seeds.
        for (flag, path) in [("save-faults", &self.save_faults), ("junit", &self.junit), ("keep", &self.keep)]
        {
            let folder = path.as_deref().and_then(Path::parent).filter(|folder| *folder != Path::new(""));
            if let Some(folder) = folder.filter(|folder| !folder.is_dir()) {
                bail!("--{flag}: there is no folder {}: make it first", folder.display());
            }
            if let Some(folder) = path.as_deref().filter(|path| path.is_dir()) {
                bail!("--{flag}: {} is a folder: say a file, which may be in it", folder.display());
            }
        }
        if let Some(folder) = self.explain.as_deref().filter(|folder| folder.exists() && !folder.is_dir()) {
            bail!("--explain: {} is no folder: say where one may be made", folder.display());
        }
        Ok(())
    }

    /// Writes the plan of the one seed that was run, if that is wanted.
    ///
    /// # Errors
    /// When the file cannot be written, and when there is nothing to write or more than one plan.
    pub(crate) fn save(&self, summary: &Summary) -> Result<()> {
        let Some(path) = &self.save_faults else { return Ok(()) };
        let tried = summary.kept.as_ref().filter(|_| summary.asked == 0).map_or(0, |kept| kept.tried);
        ensure!(
            tried <= 1,
            "no plan is written to {}: the seed is kept {tried} times, each with a plan of its own, in the file of --keep",
            path.display()
        );
        let Some(plan) = &summary.faults else {
            bail!("there is no plan to write to {}: the run let nothing go wrong", path.display());
        };
        std::fs::write(path, plan.to_json())
            .with_context(|| format!("cannot write the plan to {}", path.display()))
    }

    /// `program --schedule=pct:3 --seed 7`
    pub(crate) fn command_line(&self, program: &str, seed: Seed) -> String {
        let flags = self.said().into_iter().map(|(flag, value)| format!(" --{flag}={}", quoted(&value)));
        format!("{program}{} --seed {seed}", flags.collect::<String>())
    }

    /// `STEELMILL_SCHEDULE=pct:3 STEELMILL_SEED=7 `
    pub(crate) fn variables(&self, seed: Option<Seed>) -> String {
        let seed = seed.map(|seed| ("seed", seed.to_string()));
        let all = self.said().into_iter().chain(seed);
        all.map(|(flag, value)| format!("{}={} ", variable(flag), quoted(&value))).collect()
    }
}

/// The command line of a program that runs a seed as it was kept: `program --keep=red.json --seed 7`
pub(crate) fn kept_command_line(program: &str, file: &Path, seed: Seed) -> String {
    format!("{program} --keep={} --seed {seed}", quoted(&file.display().to_string()))
}

/// What a test runs a seed by as it was kept: `STEELMILL_KEEP=red.json STEELMILL_SEED=7 `
pub(crate) fn kept_variables(file: &Path, seed: Seed) -> String {
    let file = file.display().to_string();
    format!("{}={} {}={seed} ", variable("keep"), quoted(&file), variable("seed"))
}

/// What a test is given a plan of faults by: `STEELMILL_FAULTS=plan.json `
pub(crate) fn faults_variable(plan: &Path) -> String {
    format!("{}={} ", variable("faults"), quoted(&plan.display().to_string()))
}

/// What a test has a red seed explained by, in a folder of that name beside its package: `STEELMILL_EXPLAIN=red `
pub(crate) fn explain_variable() -> String {
    format!("{}=red ", variable("explain"))
}

/// How many virtual seconds a seed of a program's campaign may take unless it is said.
pub(crate) const TIME_LIMIT: u64 = 3600;

/// How the name of each of our variables begins.
const PREFIX: &str = "STEELMILL_";

/// The variable of a flag.
fn variable(flag: &str) -> String {
    format!("{PREFIX}{}", flag.replace('-', "_").to_uppercase())
}

/// Says that there is no such variable, and what comes near it: by the parser that knows what comes near a flag.
fn unknown(name: &str) -> String {
    let flag = format!("--{}", name.trim_start_matches(PREFIX).to_lowercase().replace('_', "-"));
    let error = Alone::try_parse_from([flag]).err();
    let meant = match error.as_ref().and_then(|error| error.get(ContextKind::SuggestedArg)) {
        Some(ContextValue::String(flag)) => {
            format!("did you mean {}?", variable(flag.trim_start_matches('-')))
        }
        _ => {
            let command = Alone::command();
            let flags = command.get_arguments().filter_map(|flag| flag.get_long());
            let known = flags.filter(|long| !PROGRAM_ONLY.contains(long)).map(variable);
            format!("there are: {}", known.collect::<Vec<_>>().join(", "))
        }
    };
    format!("{name} is no variable of a campaign; {meant}")
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
            ("STEELMILL_MAX_FAILURES", "4"),
            (verify::ASKED, "not a flag, but ours"),
            ("ANOTHER", "1"),
        ]);
        let args = args.expect("all are right");
        assert_eq!((args.seeds, args.first_seed, args.jobs), (Some(7), Some(3), Some(2)));
        assert_eq!(args.shard.map(|shard| shard.to_string()).as_deref(), Some("2/3"));
        assert_eq!((args.time_limit, args.max_failures), (Some(60), Some(4)));
        assert_eq!((args.schedule, args.verify), (Some(Schedule::Pct { depth: 3 }), Some(Verify::Process)));
        assert!(args.audit);
        assert_eq!(
            args.variables(Some(Seed(9))),
            "STEELMILL_SCHEDULE=pct:3 STEELMILL_TIME_LIMIT=60 STEELMILL_FAULTS=none STEELMILL_VERIFY=process STEELMILL_SEED=9 "
        );
        assert_eq!(
            args.command_line("cargo xtask sim", Seed(9)),
            "cargo xtask sim --schedule=pct:3 --time-limit=60 --faults=none --verify=process --seed 9"
        );
    }

    #[test]
    fn a_test_may_have_faults_that_no_flag_can_say() {
        let plan = Settings { faults: Faults::Plan(Plan::default()), ..Settings::new(Seed(7)) };
        assert!(Args::default().of_test(&plan, None).is_none(), "it is in no file");
        let faults = Some(FaultsFlag { text: "a b.json".to_owned(), faults: plan.faults.clone() });
        let flags = Args { faults, ..Args::default() }.of_test(&plan, None).expect("it is in a file");
        let here = std::env::current_dir().expect("a folder");
        let file = format!(" --faults='{}/a b.json' --seed 7", here.display());
        let line = flags.command_line("run", Seed(7));
        assert!(line.ends_with(&file), "{line}");
    }

    #[test]
    fn one_seed_counts_more_than_how_many() {
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
    fn a_wrong_value_is_said_to_be_wrong() {
        for (name, value, part) in [
            ("STEELMILL_SEED", "seven", "invalid digit"),
            ("STEELMILL_SEEDS", "0", "not in 1.."),
            ("STEELMILL_SHARD", "3/2", "from 1/n to n/n"),
            ("STEELMILL_SCHEDULE", "pct", "uniform, fifo, pct:D"),
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
            ("STEELMILL_XYZ", "there are: STEELMILL_SEEDS, STEELMILL_UNTIL_COVERED, STEELMILL_SEED, "),
            ("STEELMILL_JSON", "--json is for a campaign that is a program"),
        ] {
            let error = from(&[(name, "7"), ("STEELMILL_JOBS", "1")]).expect_err("a wrong name");
            assert!(error.starts_with(name) && error.contains(part), "{error}");
        }
        assert!(from(&[("STEELMILL_SEDES", "")]).is_ok(), "what is empty is not set");
    }

    #[test]
    fn a_folder_that_is_not_there_is_told_before_any_seed_runs() {
        let to = |path: &str| Args { junit: Some(PathBuf::from(path)), ..Args::default() }.check();
        assert!(to("report.xml").is_ok() && to("/report.xml").is_ok());
        let error = to("/no-such-folder/report.xml").expect_err("nothing can be written there");
        assert_eq!(error.to_string(), "--junit: there is no folder /no-such-folder: make it first");
        let keep = Args { keep: Some(PathBuf::from("/no-such-folder/red.json")), ..Args::default() };
        assert!(keep.check().expect_err("no folder").to_string().starts_with("--keep: there is no folder"));
        assert!(to("/").expect_err("no file").to_string().starts_with("--junit: / is a folder"));
        let explain = Args { explain: Some(PathBuf::from("/dev/null")), ..Args::default() };
        assert!(explain.check().expect_err("a file").to_string().starts_with("--explain: /dev/null is no"));
    }

    #[test]
    fn what_is_empty_is_not_set() {
        let args = from(&[("STEELMILL_SEED", ""), ("STEELMILL_AUDIT", "0")]).expect("nothing is set");
        assert!(args.seed.is_none() && !args.audit);
    }
}
