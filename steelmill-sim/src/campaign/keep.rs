//! File of red seeds (`--keep`), to be committed: kept seeds run first in the next campaign, and are dropped when they pass.
//!
//! The draws of a seed change with the program. So a seed is kept with its plan of faults, its schedule and its limits, and
//! fails as long as the bug is there. The file is JSON, one sorted line per seed, so that diffs are readable.
//!
//! Several campaigns may use one file at the same time, in one process or in many. Each change reads the file under a lock,
//! writes a new file and renames it over the old one: readers see the old file or the new one, and an interrupted writer
//! leaves the old one. A killed writer may leave `.lock` or `.new` beside the file; the next writer reuses and removes them.
//! A file with any other content is never changed.

use std::cmp::Reverse;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde::{Deserialize, Serialize};
use steelmill_core::Result;

use crate::campaign::record::{CampaignSettings, KeptSeed, Record, RedSeed};
use crate::campaign::shard::Shard;
use crate::campaign::signature::same_failure;
use crate::schema::decision::Redraws;
use crate::schema::plan::{Faults, Plan};
use crate::schema::settings::{Seed, Settings, check_order_applies};

impl KeptSeed {
    pub(crate) fn of(settings: &CampaignSettings, red: &RedSeed) -> Self {
        // A scenario without faults still has a workload and a schedule, which a plan can limit.
        let given = match &settings.faults {
            Faults::Plan(plan) => Some(plan),
            Faults::Swarm | Faults::None => None,
        };
        Self {
            scenario: settings.name.clone(),
            seed: red.seed,
            redraws: red.redraws.clone(),
            schedule: settings.schedule,
            time_limit: settings.time_limit,
            verify: settings.verify,
            failure: red.cause.clone(),
            plan: red.shrunk.clone().or_else(|| red.faults.clone()).or_else(|| given.cloned()),
        }
    }

    /// The campaign's settings, with those the seed failed with.
    pub(crate) fn settings(&self, campaign: &Settings) -> Settings {
        Settings {
            seed: self.seed,
            reseeds: self.redraws.reseeds(),
            schedule: self.schedule,
            time_limit: self.time_limit,
            faults: self.plan.clone().map_or(Faults::None, Faults::Plan),
            ..campaign.clone()
        }
    }

    /// Whether `shard` runs it. Depends on the seed alone, not on the other kept seeds.
    pub(crate) fn is_in(&self, shard: Shard) -> bool {
        self.seed.0 % shard.of() == shard.number() - 1
    }

    /// Whether both are the same failure of the same seed, which is kept once.
    fn is_duplicate_of(&self, other: &Self) -> bool {
        let run = |kept: &Self| (kept.scenario.clone(), kept.seed, kept.redraws.clone(), kept.schedule);
        run(self) == run(other) && same_failure(&self.failure, &other.failure)
    }

    /// The sort key in the file and in reports.
    pub(crate) fn order(&self) -> (&str, Seed, &Redraws, String, &str) {
        (&self.scenario, self.seed, &self.redraws, self.schedule.to_string(), &self.failure)
    }
}

#[derive(Debug, Clone)]
pub(crate) struct KeepFile {
    path: PathBuf,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Contents {
    version: u32,
    kept: Vec<KeptSeed>,
    #[serde(default)]
    learned: Vec<LearnedRun>,
}

/// A run that came to a rare place in a guided campaign. The next one of that name begins with it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct LearnedRun {
    pub(crate) scenario: String,
    pub(crate) seed: Seed,
    #[serde(default, skip_serializing_if = "Redraws::is_empty")]
    pub(crate) redraws: Redraws,
}

const VERSION: u32 = 1;

impl KeepFile {
    pub(crate) fn new(path: &Path) -> Self {
        // Renaming over a symbolic link would replace the link, not its target.
        Self { path: fs::canonicalize(path).unwrap_or_else(|_| path.to_owned()) }
    }

    /// All seeds in the file; none if it does not exist.
    ///
    /// # Errors
    /// When it cannot be read or parsed; says where and why.
    pub(crate) fn read(&self) -> Result<Vec<KeptSeed>> {
        Ok(self.contents()?.unwrap_or_default().kept)
    }

    /// What a guided campaign of that name has learned.
    ///
    /// # Errors
    /// As [`read`](KeepFile::read).
    pub(crate) fn learned(&self, scenario: &str) -> Result<Vec<LearnedRun>> {
        let mut learned = self.contents()?.unwrap_or_default().learned;
        learned.retain(|run| run.scenario == scenario);
        Ok(learned)
    }

    /// Replaces what a guided campaign of that name has learned.
    ///
    /// # Errors
    /// When the file cannot be read or written; it is then unchanged.
    pub(crate) fn learn(&self, scenario: &str, learned: &[LearnedRun]) -> Result {
        self.change(|known| {
            let mut contents = known.cloned().unwrap_or_default();
            contents.learned.retain(|run| run.scenario != scenario);
            contents.learned.extend(learned.iter().cloned());
            contents.learned.sort();
            contents
        })
        .map(drop)
    }

    /// What is in the file; `None` if it does not exist or is empty.
    fn contents(&self) -> Result<Option<Contents>> {
        match fs::read_to_string(&self.path) {
            Ok(json) if json.trim().is_empty() => Ok(None),
            Ok(json) => parse(&json).map(Some).with_context(|| {
                let path = self.path.display();
                format!("{path} is no file of kept seeds, and is left as it is; repair or remove it")
            }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(|| format!("cannot read {}", self.path.display())),
        }
    }

    /// Adds a red seed, unless the file has the same failure of the seed.
    ///
    /// # Errors
    /// When the file cannot be read or written; it is then unchanged.
    pub(crate) fn add(&self, red: &KeptSeed) -> Result {
        self.change(|known| {
            let mut contents = known.cloned().unwrap_or_default();
            add(&mut contents.kept, red.clone(), false);
            contents
        })
        .map(drop)
    }

    /// Adds the seeds that failed in a campaign, and drops the kept seeds that passed.
    ///
    /// A kept seed that failed again but is missing from the file was removed by somebody during the campaign, and stays
    /// removed. If there is no file at all, it is added.
    ///
    /// # Errors
    /// When the file cannot be read or written; it is then unchanged.
    pub(crate) fn update(&self, record: &Record) -> Result<Updated> {
        let results = || record.kept.iter();
        let failed = || {
            let failed = results().flat_map(|kept| &kept.failed);
            failed.filter_map(|red| red.kept.as_ref().map(|kept| (red, kept)))
        };
        let Contents { kept, .. } = self.change(|known| {
            let mut contents = known.cloned().unwrap_or_default();
            let kept = &mut contents.kept;
            if known.is_none() {
                kept.extend(failed().map(|(_, kept)| kept.clone()));
            }
            // An entry that was changed during the campaign did not run as it is now, and stays.
            kept.retain(|kept| results().all(|results| !results.passed.contains(kept)));
            for (red, tried) in failed() {
                // A shrunk plan of another failure does not replace the plan of this one.
                let shrunk = red.shrunk.as_ref().filter(|_| same_failure(&tried.failure, &red.cause));
                // Another campaign may have found a smaller plan at the same time.
                let is_entry =
                    |kept: &&mut KeptSeed| kept.is_duplicate_of(tried) && kept.time_limit == tried.time_limit;
                let known = kept.iter_mut().find(is_entry);
                if let (Some(known), Some(shrunk)) = (known, shrunk)
                    && is_smaller(shrunk, known.plan.as_ref())
                {
                    known.plan = Some(shrunk.clone());
                }
            }
            for red in &record.failed {
                add(kept, KeptSeed::of(&record.campaign, red), red.shrunk.is_some());
            }
            contents
        })?;
        let is_removed = |tried: &KeptSeed| kept.iter().all(|kept| !kept.is_duplicate_of(tried));
        Ok(Updated {
            kept: kept.iter().filter(|kept| kept.scenario == record.campaign.name).count(),
            removed: failed()
                .map(|(_, tried)| tried)
                .filter(|tried| is_removed(tried))
                .map(|tried| tried.seed)
                .collect(),
        })
    }

    /// Reads the file, applies `change` to what is in it (`None` without a file) and writes the result, under a lock.
    fn change(&self, change: impl Fn(Option<&Contents>) -> Contents) -> Result<Contents> {
        let changed = |before: Option<Contents>| {
            let after = change(before.as_ref());
            let is_changed = after != before.unwrap_or_default();
            (after, is_changed)
        };
        // Without a change no lock is taken, so the folder may be read-only or missing.
        let (contents, is_changed) = changed(self.contents()?);
        if !is_changed {
            return Ok(contents);
        }
        let lock = with_suffix(&self.path, "lock");
        let _lock = Lock::take(&lock).with_context(|| {
            format!("cannot lock {} by {}, to change it", self.path.display(), lock.display())
        })?;
        let (mut contents, is_changed) = changed(self.contents()?);
        if is_changed {
            contents.kept.sort_by(|a, b| a.order().cmp(&b.order()));
            self.replace(&render(&contents))
                .with_context(|| format!("cannot write {}", self.path.display()))?;
        }
        Ok(contents)
    }

    /// Replaces the file atomically, after syncing the new one to disk.
    fn replace(&self, text: &str) -> io::Result<()> {
        let new = with_suffix(&self.path, "new");
        let written = (|| {
            let mut file = File::create(&new)?;
            file.write_all(text.as_bytes())?;
            if let Ok(old) = fs::metadata(&self.path) {
                file.set_permissions(old.permissions())?;
            }
            file.sync_all()?;
            fs::rename(&new, &self.path)
        })();
        if written.is_err() {
            let _ = fs::remove_file(&new);
        }
        written
    }
}

/// The state of the file after [`KeepFile::update`].
#[derive(Debug)]
pub(crate) struct Updated {
    pub(crate) kept: usize,
    /// Kept seeds that failed again, but that somebody removed from the file during the campaign.
    pub(crate) removed: Vec<Seed>,
}

fn parse(json: &str) -> Result<Contents> {
    let contents: Contents = serde_json::from_str(json)?;
    let version = contents.version;
    ensure!(version == VERSION, "its format is version {version}, and this program reads version {VERSION}");
    for KeptSeed { scenario, seed, schedule, plan, .. } in &contents.kept {
        let plan = plan.as_ref().map_or(Ok(()), |plan| check_order_applies(*schedule, plan));
        plan.with_context(|| format!("seed {seed} of {scenario:?}"))?;
    }
    Ok(contents)
}

fn render(Contents { kept, learned, .. }: &Contents) -> String {
    let kept = lines(kept);
    match learned.is_empty() {
        true => format!("{{\"version\": {VERSION}, \"kept\": [{kept}\n]}}\n"),
        false => {
            let learned = lines(learned);
            format!("{{\"version\": {VERSION}, \"kept\": [{kept}\n], \"learned\": [{learned}\n]}}\n")
        }
    }
}

/// One line for each, so that diffs are readable.
fn lines(of: &[impl Serialize]) -> String {
    let line = |one| format!("\n  {}", serde_json::to_string(one).expect("plain data"));
    of.iter().map(line).collect::<Vec<_>>().join(",")
}

/// Adds a red seed. It replaces the entry of the same failure only if its plan was shrunk and is smaller.
fn add(kept: &mut Vec<KeptSeed>, red: KeptSeed, is_shrunk: bool) {
    let is_better_than = |known: &KeptSeed| {
        is_shrunk && red.plan.as_ref().is_some_and(|shrunk| is_smaller(shrunk, known.plan.as_ref()))
    };
    match kept.iter_mut().find(|known| known.is_duplicate_of(&red)) {
        Some(known) if is_better_than(known) => *known = red,
        Some(_) => {}
        None => kept.push(red),
    }
}

/// Whether a plan is smaller: fewer faults, then a smaller workload, then fewer out-of-order choices, then shorter faults.
/// A search that stopped early, or started from another plan, may end with a larger plan than the known one.
fn is_smaller(one: &Plan, other: Option<&Plan>) -> bool {
    let size = |plan: &Plan| {
        let workload = plan.limits.values().fold(0, |sum: u64, limit| sum.saturating_add(*limit));
        let limits = (Reverse(plan.limits.len()), workload);
        let out_of_turn = plan.order.as_ref().map_or(usize::MAX, Vec::len);
        let lasts = plan.faults.iter().fold(Duration::ZERO, |sum, fault| sum.saturating_add(fault.lasts));
        (plan.faults.len(), limits, out_of_turn, lasts)
    };
    // An empty plan is smaller than none: it fixes that no fault is needed.
    other.is_none_or(|other| size(one) < size(other))
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(suffix);
    name.into()
}

/// A lock between processes and threads: a lock file, removed on drop.
struct Lock {
    file: File,
    path: PathBuf,
}

impl Lock {
    fn take(path: &Path) -> io::Result<Self> {
        loop {
            let file = File::options().create(true).write(true).truncate(false).open(path)?;
            file.lock()?;
            // The previous holder may have removed the file: then a lock on it excludes nobody.
            if is_at(&file, path)? {
                return Ok(Self { file, path: path.to_owned() });
            }
        }
    }
}

impl Drop for Lock {
    /// Removes the file while it is locked. A file with any content is not ours, and stays.
    fn drop(&mut self) {
        if cfg!(unix) && self.file.metadata().is_ok_and(|file| file.len() == 0) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Whether `path` still refers to the open file.
#[cfg(unix)]
fn is_at(file: &File, path: &Path) -> io::Result<bool> {
    use std::os::unix::fs::MetadataExt as _;
    let there = match fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        there => there?,
    };
    let own = file.metadata()?;
    Ok((own.dev(), own.ino()) == (there.dev(), there.ino()))
}

/// std cannot compare files here, so the lock file is never removed.
#[cfg(not(unix))]
fn is_at(_: &File, _: &Path) -> io::Result<bool> {
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::settings::Schedule;

    fn kept(scenario: &str, seed: u64, failure: &str) -> KeptSeed {
        KeptSeed {
            scenario: scenario.to_owned(),
            seed: Seed(seed),
            redraws: Redraws::default(),
            schedule: Schedule::Uniform,
            time_limit: Duration::from_millis(3_600_500),
            verify: None,
            failure: failure.to_owned(),
            plan: None,
        }
    }

    struct InFolder(PathBuf);

    impl InFolder {
        fn new(name: &str) -> Self {
            let folder = std::env::temp_dir().join(format!("steelmill-keep-{name}-{}", std::process::id()));
            fs::create_dir_all(&folder).expect("a folder can be made");
            Self(folder)
        }

        fn path(&self) -> PathBuf {
            self.0.join("red.json")
        }

        fn text(&self) -> String {
            fs::read_to_string(self.path()).expect("there is a file")
        }

        fn files(&self) -> Vec<String> {
            let entries = fs::read_dir(&self.0).expect("a folder");
            let name = |entry: io::Result<fs::DirEntry>| entry.expect("readable").file_name().into_string();
            let mut names: Vec<String> = entries.map(|entry| name(entry).expect("text")).collect();
            names.sort();
            names
        }
    }

    impl Drop for InFolder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn a_file_has_a_sorted_line_for_each_seed() {
        let folder = InFolder::new("lines");
        let keep = KeepFile::new(&folder.path());
        assert_eq!(keep.read().expect("no file is no seeds"), []);
        let plan = r#"{"faults":[{"when":{"at":"1s"},"lasts":"2s","what":{"pause":{"machine":"a"}}}]}"#;
        let plan = Some(Plan::from_json(plan).expect("a plan"));
        let with_plan =
            KeptSeed { plan, schedule: Schedule::Pct { depth: 3 }, ..kept("b", 2, "\"x\"\u{1b}") };
        for red in [with_plan.clone(), kept("b", 10, "y"), kept("b", 2, "z"), kept("a", 30, "w")] {
            keep.add(&red).expect("it can be written");
        }
        let expected = r#"{"version": 1, "kept": [
  {"scenario":"a","seed":30,"schedule":"uniform","time_limit":"1h 500ms","failure":"w"},
  {"scenario":"b","seed":2,"schedule":"pct:3","time_limit":"1h 500ms","failure":"\"x\"\u001b","plan":{"faults":[{"when":{"at":"1s"},"lasts":"2s","what":{"pause":{"machine":"a"}}}]}},
  {"scenario":"b","seed":2,"schedule":"uniform","time_limit":"1h 500ms","failure":"z"},
  {"scenario":"b","seed":10,"schedule":"uniform","time_limit":"1h 500ms","failure":"y"}
]}
"#;
        assert_eq!(folder.text(), expected);
        assert_eq!(keep.read().expect("it was written so")[1], with_plan);
        assert_eq!(folder.files(), ["red.json"], "nothing is left beside it");
    }

    #[test]
    fn the_same_failure_of_a_seed_is_kept_once() {
        let folder = InFolder::new("once");
        let keep = KeepFile::new(&folder.path());
        keep.add(&kept("a", 1, "7 of \"x\" after 12 s")).expect("it can be written");
        let before = folder.text();
        keep.add(&kept("a", 1, "8 of \"y\" after 3 s")).expect("it can be read");
        assert_eq!(folder.text(), before);
        keep.add(&kept("a", 1, "something else")).expect("it can be written");
        keep.add(&KeptSeed { schedule: Schedule::Fifo, ..kept("a", 1, "something else") })
            .expect("so it can");
        assert_eq!(keep.read().expect("seeds").len(), 3);
    }

    #[test]
    fn what_was_learned_stays_beside_the_seeds_until_its_campaign_learns_again() {
        let folder = InFolder::new("learned");
        let keep = KeepFile::new(&folder.path());
        let run = |scenario: &str, seed, redraws: &str| LearnedRun {
            scenario: scenario.to_owned(),
            seed: Seed(seed),
            redraws: redraws.parse().unwrap_or_default(),
        };
        keep.learn("a", &[run("a", 9, "1.5s=3"), run("a", 2, "")]).expect("it can be written");
        keep.learn("b", &[run("b", 1, "")]).expect("it can be written");
        keep.add(&kept("a", 1, "x")).expect("it can be written");
        let expected = r#"{"version": 1, "kept": [
  {"scenario":"a","seed":1,"schedule":"uniform","time_limit":"1h 500ms","failure":"x"}
], "learned": [
  {"scenario":"a","seed":2},
  {"scenario":"a","seed":9,"redraws":"1.5s=3"},
  {"scenario":"b","seed":1}
]}
"#;
        assert_eq!(folder.text(), expected);
        keep.learn("a", &[run("a", 5, "")]).expect("it can be written");
        assert_eq!(keep.learned("a").expect("it was written so"), [run("a", 5, "")]);
        assert_eq!(keep.learned("b").expect("it was written so"), [run("b", 1, "")]);
        assert_eq!(keep.read().expect("it was written so"), [kept("a", 1, "x")]);
    }

    #[test]
    fn a_file_that_is_something_else_is_left_as_it_is() {
        let folder = InFolder::new("else");
        let keep = KeepFile::new(&folder.path());
        for (text, part) in [
            ("my notes", "expected value at line 1"),
            ("{\"version\": 1, \"kept\": [", "EOF"),
            ("{\"version\": 2, \"kept\": []}", "version 2"),
            ("{\"version\": 1, \"kept\": [{\"scenario\": \"a\"}]}", "missing field `seed`"),
            ("{\"faults\": []}", "unknown field `faults`"),
            ("<<<<<<< HEAD", "expected value"),
            (
                r#"{"version": 1, "kept": [{"scenario": "a", "seed": 7, "schedule": "fifo", "time_limit": "1h",
                    "failure": "x", "plan": {"faults": [], "order": []}}]}"#,
                "seed 7 of \"a\": the plan has an \"order\" of tasks",
            ),
        ] {
            fs::write(folder.path(), text).expect("a file");
            for error in [keep.read().map(drop), keep.add(&kept("a", 1, "x"))] {
                let error = format!("{:#}", error.expect_err(text));
                assert!(
                    error.contains("red.json is no file of kept seeds") && error.contains(part),
                    "{error}"
                );
            }
            assert_eq!(folder.text(), text);
        }
        assert_eq!(folder.files(), ["red.json"]);
        fs::write(folder.path(), "").expect("a file");
        keep.add(&kept("a", 1, "x")).expect("an empty file holds nothing that could be lost");
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "no simulation is running: this is about threads")]
    fn concurrent_writers_lose_nothing() {
        let folder = InFolder::new("many");
        std::thread::scope(|scope| {
            for thread in 0..8 {
                let path = folder.path();
                scope.spawn(move || {
                    for seed in 0..25 {
                        let keep = KeepFile::new(&path);
                        keep.add(&kept("many", thread * 100 + seed, "x")).expect("it can be written");
                    }
                });
            }
        });
        assert_eq!(KeepFile::new(&folder.path()).read().expect("seeds").len(), 200);
        assert_eq!(folder.files(), ["red.json"]);
    }

    #[test]
    fn a_plan_is_replaced_only_by_a_smaller_one() {
        let pause = r#"{"when":{"at":"1s"},"lasts":"2s","what":{"pause":{"machine":"a"}}}"#;
        let shorter = pause.replace("2s", "1s");
        // From the largest to the smallest.
        let plans = [
            format!(r#"{{"faults":[{pause},{shorter}],"limits":{{"clients":1}},"order":[]}}"#),
            format!(r#"{{"faults":[{pause}]}}"#),
            format!(r#"{{"faults":[{pause}],"limits":{{"clients":2}}}}"#),
            format!(r#"{{"faults":[{pause}],"limits":{{"clients":1}}}}"#),
            format!(r#"{{"faults":[{pause}],"limits":{{"clients":1,"steps":9}}}}"#),
            format!(
                r#"{{"faults":[{pause}],"limits":{{"clients":1,"steps":9}},"order":[{{"nth":1,"place":1}}]}}"#
            ),
            format!(r#"{{"faults":[{pause}],"limits":{{"clients":1,"steps":9}},"order":[]}}"#),
            format!(r#"{{"faults":[{shorter}],"limits":{{"clients":1,"steps":9}},"order":[]}}"#),
        ];
        let plans = plans.map(|plan| Plan::from_json(&plan).expect("a plan"));
        let with = |plan: &Plan| KeptSeed { plan: Some(plan.clone()), ..kept("a", 1, "x") };
        for (index, known) in plans.iter().enumerate() {
            for (other, plan) in plans.iter().enumerate() {
                let after = |is_shrunk| {
                    let mut kept = vec![with(known)];
                    add(&mut kept, with(plan), is_shrunk);
                    kept
                };
                assert_eq!(after(true), [with(&plans[index.max(other)])], "{other} where {index} is known");
                assert_eq!(after(false), [with(known)], "it was not shrunk");
            }
        }
    }

    #[test]
    fn the_smallest_plan_is_kept_whichever_campaign_ends_first() {
        let folder = InFolder::new("updated");
        let keep = KeepFile::new(&folder.path());
        let pause = r#"{"when":{"at":"1s"},"lasts":"2s","what":{"pause":{"machine":"a"}}}"#;
        let plan = |faults: usize| {
            let faults = vec![pause; faults].join(",");
            Plan::from_json(&format!(r#"{{"faults":[{faults}]}}"#)).expect("a plan")
        };
        let write = |faults| {
            let red = KeptSeed { plan: Some(plan(faults)), ..kept("a", 1, "always 1") };
            let contents = Contents { kept: vec![red], ..Contents::default() };
            fs::write(folder.path(), render(&contents)).expect("a file");
        };
        write(9);
        let campaign = crate::Campaign::new(|_| async { anyhow::bail!("always 2") }).name("a").seeds(1);
        let summary = campaign.time_limit(Duration::from_secs(60)).keep(folder.path()).run();
        let mut record = summary.record(|_, _| String::new());
        record.kept.as_mut().expect("there is a file").failed[0].shrunk = Some(plan(2));
        // The number of faults that another campaign writes during this one, and the number in the end.
        for (during, after) in [(9, 2), (3, 2), (1, 1)] {
            write(during);
            assert_eq!(keep.update(&record).expect("it can be written").removed, []);
            assert_eq!(keep.read().expect("seeds")[0].plan, Some(plan(after)));
        }
    }

    #[test]
    #[cfg(unix)]
    #[expect(clippy::disallowed_methods, reason = "no simulation is running: this is about threads")]
    fn a_waiter_whose_lock_file_was_removed_takes_a_new_one() {
        let folder = InFolder::new("removed");
        let path = folder.0.join("red.json.lock");
        let first = Lock::take(&path).expect("it is free");
        let (take, taken) = std::sync::mpsc::channel();
        let second = std::thread::spawn({
            let path = path.clone();
            move || take.send(Lock::take(&path).map(drop))
        });
        let shortly = Duration::from_millis(200);
        assert!(taken.recv_timeout(shortly).is_err(), "it waits");
        // As if the holder were killed while releasing the lock; a third thread then finds no lock file.
        fs::remove_file(&path).expect("it is there");
        let third = Lock::take(&path).expect("it is free");
        first.file.unlock().expect("it is locked");
        assert!(taken.recv_timeout(shortly).is_err(), "it waits for the third");
        std::mem::forget(first);
        drop(third);
        taken.recv().expect("its turn has come").expect("it can be locked");
        second.join().expect("it has ended").expect("the receiver is there");
        assert_eq!(folder.files(), [""; 0]);
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "no simulation is running: this is about threads")]
    fn a_foreign_file_with_the_name_of_the_lock_stays() {
        let folder = InFolder::new("place");
        let lock = folder.0.join("red.json.lock");
        fs::write(&lock, "another tool's").expect("a file");
        let (sender, receiver) = std::sync::mpsc::channel();
        let keep = KeepFile::new(&folder.path());
        std::thread::spawn(move || sender.send(keep.add(&kept("a", 1, "x"))));
        receiver.recv_timeout(Duration::from_secs(20)).expect("it ends").expect("it can be written");
        assert_eq!(fs::read_to_string(&lock).expect("it is there"), "another tool's");
        fs::remove_file(&lock).expect("it is there");
        fs::create_dir(&lock).expect("it is gone");
        let keep = KeepFile::new(&folder.path());
        keep.add(&kept("a", 1, "x")).expect("there is nothing to write, and so nothing to lock");
        let error = format!("{:#}", keep.add(&kept("a", 2, "x")).expect_err("that is no file"));
        assert!(error.contains("cannot lock ") && error.contains("red.json.lock"), "{error}");
    }

    #[test]
    fn a_file_that_cannot_be_written_stays_what_it_was() {
        let folder = InFolder::new("full");
        let keep = KeepFile::new(&folder.path());
        keep.add(&kept("a", 1, "x")).expect("it can be written");
        let before = folder.text();
        fs::create_dir(folder.0.join("red.json.new")).expect("this is in the way, as a full disk would be");
        let error = format!("{:#}", keep.add(&kept("a", 2, "x")).expect_err("it is in the way"));
        assert!(error.contains("cannot write") && error.contains("red.json"), "{error}");
        assert_eq!(folder.text(), before);
        let nowhere = KeepFile::new(&folder.0.join("none/red.json")).add(&kept("a", 1, "x"));
        let error = format!("{:#}", nowhere.expect_err("there is no such folder"));
        assert!(error.contains("none/red.json"), "{error}");
    }

    #[test]
    #[cfg(unix)]
    fn a_link_to_the_file_stays_one() {
        let folder = InFolder::new("link");
        let link = folder.0.join("link.json");
        KeepFile::new(&folder.path()).add(&kept("a", 1, "x")).expect("it can be written");
        std::os::unix::fs::symlink(folder.path(), &link).expect("a link");
        KeepFile::new(&link).add(&kept("a", 2, "x")).expect("it can be written");
        assert!(fs::symlink_metadata(&link).expect("it is there").is_symlink());
        assert_eq!(KeepFile::new(&folder.path()).read().expect("seeds").len(), 2);
    }

    #[test]
    fn a_seed_is_of_one_shard() {
        let shard = |number| format!("{number}/3").parse().expect("a shard");
        for seed in [0, 1, 2, 3, 7, u64::MAX] {
            let red = kept("a", seed, "x");
            assert_eq!((1..=3).filter(|number| red.is_in(shard(*number))).count(), 1, "{seed}");
            assert!(red.is_in(Shard::WHOLE));
        }
    }
}
