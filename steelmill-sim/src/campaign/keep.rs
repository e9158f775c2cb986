//! Red seeds in a file that is committed: tried first the next time, and dropped when they pass.
//!
//! A seed alone would not do. What it stands for changes with the program, and so does what is drawn from it: so it is
//! kept with its plan, its schedule and its limits, and fails as long as the cause is there. The file is JSON, a line for
//! each seed, sorted, so that it can be read in a diff.
//!
//! Several campaigns may keep their red seeds in one file, in one process or in many, at the same time. Each change reads
//! the file anew under a lock, makes the new one beside it and puts that in its place: whoever reads sees the old file or
//! the new one, and whoever is interrupted leaves the old one. (One that is killed in between may leave a file beside it,
//! `.lock` or `.new`, for which the next one that has something to write has its use, and takes it away.) A file that holds
//! anything else is left as it is.

use std::cmp::Reverse;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde::Deserialize;
use steelmill_core::Result;

use crate::campaign::likeness::is_alike;
use crate::campaign::record::{CampaignSettings, KeptSeed, Record, RedSeed};
use crate::campaign::shard::Shard;
use crate::schema::plan::{Faults, Plan};
use crate::schema::settings::{Seed, Settings, check_order_applies};

impl KeptSeed {
    pub(crate) fn of(terms: &CampaignSettings, red: &RedSeed) -> Self {
        // A scenario that lets nothing go wrong still has a workload and an order.
        let given = match &terms.faults {
            Faults::Plan(plan) => Some(plan),
            Faults::Swarm | Faults::None => None,
        };
        Self {
            scenario: terms.name.clone(),
            seed: red.seed,
            schedule: terms.schedule,
            time_limit: terms.time_limit,
            verify: terms.verify,
            failure: red.cause.clone(),
            plan: red.least.clone().or_else(|| red.faults.clone()).or_else(|| given.cloned()),
        }
    }

    /// How it is run: as it was when it failed, and in all else as its campaign.
    pub(crate) fn settings(&self, campaign: &Settings) -> Settings {
        Settings {
            seed: self.seed,
            schedule: self.schedule,
            time_limit: self.time_limit,
            faults: self.plan.clone().map_or(Faults::None, Faults::Plan),
            ..campaign.clone()
        }
    }

    /// Whether it is one of this shard's: a seed stays with its shard whatever else is kept.
    pub(crate) fn is_of(&self, shard: Shard) -> bool {
        self.seed.0 % shard.of() == shard.number() - 1
    }

    /// Whether both are the same failure of the same seed, which is kept once.
    fn is_like(&self, other: &Self) -> bool {
        (&self.scenario, self.seed, self.schedule) == (&other.scenario, other.seed, other.schedule)
            && is_alike(&self.failure, &other.failure)
    }

    /// In a file, and in what is told.
    pub(crate) fn order(&self) -> (&str, Seed, String, &str) {
        (&self.scenario, self.seed, self.schedule.to_string(), &self.failure)
    }
}

/// A file of red seeds.
#[derive(Debug, Clone)]
pub(crate) struct Keep {
    path: PathBuf,
}

/// What stands in the file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Contents {
    version: u32,
    kept: Vec<KeptSeed>,
}

const VERSION: u32 = 1;

impl Keep {
    pub(crate) fn new(path: &Path) -> Self {
        // The file itself, if that is a link to it, would otherwise be replaced by another.
        Self { path: fs::canonicalize(path).unwrap_or_else(|_| path.to_owned()) }
    }

    /// All seeds in the file; none if there is no file.
    ///
    /// # Errors
    /// When it cannot be read, or holds something else; says where and what.
    pub(crate) fn read(&self) -> Result<Vec<KeptSeed>> {
        Ok(self.contents()?.unwrap_or_default())
    }

    /// What is in the file, if there is one with anything in it.
    fn contents(&self) -> Result<Option<Vec<KeptSeed>>> {
        match fs::read_to_string(&self.path) {
            Ok(json) if json.trim().is_empty() => Ok(None),
            Ok(json) => parse(&json).map(Some).with_context(|| {
                let path = self.path.display();
                format!("{path} is no file of kept seeds, and is left as it is; mend or remove it")
            }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(|| format!("cannot read {}", self.path.display())),
        }
    }

    /// Adds a red seed, unless that failure of it is there already.
    ///
    /// # Errors
    /// When the file cannot be read or written; then it is what it was.
    pub(crate) fn add(&self, red: &KeptSeed) -> Result {
        self.change(|known| {
            let mut kept = known.cloned().unwrap_or_default();
            add(&mut kept, red.clone(), false);
            kept
        })
        .map(drop)
    }

    /// Keeps what failed in a campaign and drops what passed.
    ///
    /// A kept seed that failed again and is in the file no more was taken out by somebody meanwhile, and stays out. Where
    /// there is no file at all nobody can have meant that: then it is kept, as it was.
    ///
    /// # Errors
    /// When the file cannot be read or written; then it is what it was.
    pub(crate) fn settle(&self, record: &Record) -> Result<Settled> {
        let tried = || record.kept.iter();
        let failed = || {
            let failed = tried().flat_map(|tried| &tried.failed);
            failed.filter_map(|red| red.kept.as_ref().map(|kept| (red, kept)))
        };
        let kept = self.change(|known| {
            let mut kept = match known {
                Some(known) => known.clone(),
                None => failed().map(|(_, kept)| kept.clone()).collect(),
            };
            // One that was changed meanwhile has not been tried.
            kept.retain(|kept| tried().all(|tried| !tried.passed.contains(kept)));
            for (red, tried) in failed() {
                // What it takes to fail in another way says nothing about the way for which it is kept.
                let least = red.least.as_ref().filter(|_| is_alike(&tried.failure, &red.cause));
                // Another campaign may have found less meanwhile.
                let is_it = |kept: &&mut KeptSeed| kept.is_like(tried) && kept.time_limit == tried.time_limit;
                let known = kept.iter_mut().find(is_it);
                if let (Some(known), Some(least)) = (known, least)
                    && is_smaller(least, known.plan.as_ref())
                {
                    known.plan = Some(least.clone());
                }
            }
            for red in &record.failed {
                add(&mut kept, KeptSeed::of(&record.campaign, red), red.least.is_some());
            }
            kept
        })?;
        let is_gone = |tried: &KeptSeed| kept.iter().all(|kept| !kept.is_like(tried));
        Ok(Settled {
            left: kept.iter().filter(|kept| kept.scenario == record.campaign.name).count(),
            gone: failed()
                .map(|(_, tried)| tried)
                .filter(|tried| is_gone(tried))
                .map(|tried| tried.seed)
                .collect(),
        })
    }

    /// Makes of what is in the file, if there is one, what is to be there, while nobody else changes it.
    fn change(&self, change: impl Fn(Option<&Vec<KeptSeed>>) -> Vec<KeptSeed>) -> Result<Vec<KeptSeed>> {
        let changed = |before: Option<Vec<KeptSeed>>| {
            let after = change(before.as_ref());
            let is_changed = after != before.unwrap_or_default();
            (after, is_changed)
        };
        // Whoever has nothing to write needs no lock, nor a place where one could be made.
        let (kept, is_changed) = changed(self.contents()?);
        if !is_changed {
            return Ok(kept);
        }
        let lock = beside(&self.path, "lock");
        let _lock = Lock::take(&lock).with_context(|| {
            format!("cannot lock {} by {}, to change it", self.path.display(), lock.display())
        })?;
        let (mut kept, is_changed) = changed(self.contents()?);
        if is_changed {
            kept.sort_by(|a, b| a.order().cmp(&b.order()));
            self.replace(&render(&kept)).with_context(|| format!("cannot write {}", self.path.display()))?;
        }
        Ok(kept)
    }

    /// Puts a new file in the place of the old one, when all of it is on the disk.
    fn replace(&self, text: &str) -> io::Result<()> {
        let new = beside(&self.path, "new");
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

/// What is in the file when a campaign has ended.
#[derive(Debug)]
pub(crate) struct Settled {
    /// How many seeds of the campaign are kept.
    pub(crate) left: usize,
    /// Those of its kept seeds that failed again, and that somebody has taken out of the file meanwhile.
    pub(crate) gone: Vec<Seed>,
}

fn parse(json: &str) -> Result<Vec<KeptSeed>> {
    let Contents { version, kept } = serde_json::from_str(json)?;
    ensure!(version == VERSION, "it is of version {version}, and this program reads version {VERSION}");
    for KeptSeed { scenario, seed, schedule, plan, .. } in &kept {
        let plan = plan.as_ref().map_or(Ok(()), |plan| check_order_applies(*schedule, plan));
        plan.with_context(|| format!("seed {seed} of {scenario:?}"))?;
    }
    Ok(kept)
}

/// A line for each.
fn render(kept: &[KeptSeed]) -> String {
    let line = |kept: &KeptSeed| format!("\n  {}", serde_json::to_string(kept).expect("plain data"));
    let lines: Vec<String> = kept.iter().map(line).collect();
    format!("{{\"version\": {VERSION}, \"kept\": [{}\n]}}\n", lines.join(","))
}

/// A failure that is known stays as it is, unless now it is known to take less. `is_sought` is whether somebody looked for
/// the least that it takes.
fn add(kept: &mut Vec<KeptSeed>, red: KeptSeed, is_sought: bool) {
    let takes_less = |known: &KeptSeed| {
        is_sought && red.plan.as_ref().is_some_and(|least| is_smaller(least, known.plan.as_ref()))
    };
    match kept.iter_mut().find(|known| known.is_like(&red)) {
        Some(known) if takes_less(known) => *known = red,
        Some(_) => {}
        None => kept.push(red),
    }
}

/// Whether the one plan takes less than the other: fewer faults, then less of the workload, then fewer tasks out of turn,
/// then shorter faults. A search that was cut short, or began elsewhere, may well end with a plan that takes more than what
/// is known.
fn is_smaller(one: &Plan, other: Option<&Plan>) -> bool {
    let size = |plan: &Plan| {
        let workload = plan.limits.values().fold(0, |sum: u64, limit| sum.saturating_add(*limit));
        let limits = (Reverse(plan.limits.len()), workload);
        let out_of_turn = plan.order.as_ref().map_or(usize::MAX, Vec::len);
        let lasts = plan.faults.iter().fold(Duration::ZERO, |sum, fault| sum.saturating_add(fault.lasts));
        (plan.faults.len(), limits, out_of_turn, lasts)
    };
    // A plan of nothing is still said more exactly than none.
    other.is_none_or(|other| size(one) < size(other))
}

/// A file beside another, of a name that tells whose it is.
fn beside(path: &Path, extension: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(extension);
    name.into()
}

/// Keeps all others, in this process and in others, from changing a file: by a file that is there only meanwhile.
struct Lock {
    file: File,
    path: PathBuf,
}

impl Lock {
    fn take(path: &Path) -> io::Result<Self> {
        loop {
            let file = File::options().create(true).write(true).truncate(false).open(path)?;
            file.lock()?;
            // Whoever had it before may have removed it: then it keeps nobody off any more.
            if is_at(&file, path)? {
                return Ok(Self { file, path: path.to_owned() });
            }
        }
    }
}

impl Drop for Lock {
    /// Removes the file, as long as it is locked. One with anything in it is not ours.
    fn drop(&mut self) {
        if cfg!(unix) && self.file.metadata().is_ok_and(|file| file.len() == 0) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Whether an open file is the one that is found by its path now.
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

/// Where std cannot tell one file from another, nobody removes it.
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
            schedule: Schedule::Uniform,
            time_limit: Duration::from_millis(3_600_500),
            verify: None,
            failure: failure.to_owned(),
            plan: None,
        }
    }

    /// A file in a folder of its own, gone when this is.
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

        /// The names of all that is in the folder.
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
        let keep = Keep::new(&folder.path());
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
        let keep = Keep::new(&folder.path());
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
    fn a_file_that_is_something_else_is_left_as_it_is() {
        let folder = InFolder::new("else");
        let keep = Keep::new(&folder.path());
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
                "seed 7 of \"a\": the plan says in which order",
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
    fn whoever_writes_at_the_same_time_loses_nothing() {
        let folder = InFolder::new("many");
        std::thread::scope(|scope| {
            for thread in 0..8 {
                let path = folder.path();
                scope.spawn(move || {
                    for seed in 0..25 {
                        let keep = Keep::new(&path);
                        keep.add(&kept("many", thread * 100 + seed, "x")).expect("it can be written");
                    }
                });
            }
        });
        assert_eq!(Keep::new(&folder.path()).read().expect("seeds").len(), 200);
        assert_eq!(folder.files(), ["red.json"]);
    }

    #[test]
    fn a_plan_gives_way_only_to_one_that_takes_less() {
        let pause = r#"{"when":{"at":"1s"},"lasts":"2s","what":{"pause":{"machine":"a"}}}"#;
        let shorter = pause.replace("2s", "1s");
        // From the one that takes most to the one that takes least.
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
        for (place, known) in plans.iter().enumerate() {
            for (other, plan) in plans.iter().enumerate() {
                let after = |is_sought| {
                    let mut kept = vec![with(known)];
                    add(&mut kept, with(plan), is_sought);
                    kept
                };
                assert_eq!(after(true), [with(&plans[place.max(other)])], "{other} where {place} is known");
                assert_eq!(after(false), [with(known)], "nobody has looked for it");
            }
        }
    }

    #[test]
    fn the_least_that_is_found_is_kept_whoever_ends_first() {
        let folder = InFolder::new("settled");
        let keep = Keep::new(&folder.path());
        let pause = r#"{"when":{"at":"1s"},"lasts":"2s","what":{"pause":{"machine":"a"}}}"#;
        let plan = |faults: usize| {
            let faults = vec![pause; faults].join(",");
            Plan::from_json(&format!(r#"{{"faults":[{faults}]}}"#)).expect("a plan")
        };
        let write = |faults| {
            let red = KeptSeed { plan: Some(plan(faults)), ..kept("a", 1, "always 1") };
            fs::write(folder.path(), render(&[red])).expect("a file");
        };
        write(9);
        let campaign = crate::Campaign::new(|_| async { anyhow::bail!("always 2") }).name("a").seeds(1);
        let summary = campaign.time_limit(Duration::from_secs(60)).keep(folder.path()).run();
        let mut record = summary.record(|_, _| String::new());
        record.kept.as_mut().expect("there is a file").failed[0].least = Some(plan(2));
        // What another campaign has made of the file meanwhile, and what is there in the end.
        for (meanwhile, after) in [(9, 2), (3, 2), (1, 1)] {
            write(meanwhile);
            assert_eq!(keep.settle(&record).expect("it can be written").gone, []);
            assert_eq!(keep.read().expect("seeds")[0].plan, Some(plan(after)));
        }
    }

    #[test]
    #[cfg(unix)]
    #[expect(clippy::disallowed_methods, reason = "no simulation is running: this is about threads")]
    fn whoever_waits_for_a_lock_that_is_removed_takes_another() {
        let folder = InFolder::new("removed");
        let path = folder.0.join("red.json.lock");
        let first = Lock::take(&path).expect("nobody has it");
        let (take, taken) = std::sync::mpsc::channel();
        let second = std::thread::spawn({
            let path = path.clone();
            move || take.send(Lock::take(&path).map(drop))
        });
        let shortly = Duration::from_millis(200);
        assert!(taken.recv_timeout(shortly).is_err(), "it waits");
        // As if it were killed in the middle of giving it back; and there is a third, who comes to an empty place.
        fs::remove_file(&path).expect("it is there");
        let third = Lock::take(&path).expect("nobody has it");
        first.file.unlock().expect("it is locked");
        assert!(taken.recv_timeout(shortly).is_err(), "it waits for the third");
        std::mem::forget(first);
        drop(third);
        taken.recv().expect("its turn has come").expect("it can be locked");
        second.join().expect("it has ended").expect("it was heard");
        assert_eq!(folder.files(), [""; 0]);
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "no simulation is running: this is about threads")]
    fn what_stands_in_the_place_of_a_lock_stays_there() {
        let folder = InFolder::new("place");
        let lock = folder.0.join("red.json.lock");
        fs::write(&lock, "another tool's").expect("a file");
        let (tell, told) = std::sync::mpsc::channel();
        let keep = Keep::new(&folder.path());
        std::thread::spawn(move || tell.send(keep.add(&kept("a", 1, "x"))));
        told.recv_timeout(Duration::from_secs(20)).expect("it ends").expect("it can be written");
        assert_eq!(fs::read_to_string(&lock).expect("it is there"), "another tool's");
        fs::remove_file(&lock).expect("it is there");
        fs::create_dir(&lock).expect("it is gone");
        let keep = Keep::new(&folder.path());
        keep.add(&kept("a", 1, "x")).expect("there is nothing to write, and so nothing to lock");
        let error = format!("{:#}", keep.add(&kept("a", 2, "x")).expect_err("that is no file"));
        assert!(error.contains("cannot lock ") && error.contains("red.json.lock"), "{error}");
    }

    #[test]
    fn a_file_that_cannot_be_written_stays_what_it_was() {
        let folder = InFolder::new("full");
        let keep = Keep::new(&folder.path());
        keep.add(&kept("a", 1, "x")).expect("it can be written");
        let before = folder.text();
        fs::create_dir(folder.0.join("red.json.new")).expect("this is in the way, as a full disk would be");
        let error = format!("{:#}", keep.add(&kept("a", 2, "x")).expect_err("it is in the way"));
        assert!(error.contains("cannot write") && error.contains("red.json"), "{error}");
        assert_eq!(folder.text(), before);
        let nowhere = Keep::new(&folder.0.join("none/red.json")).add(&kept("a", 1, "x"));
        let error = format!("{:#}", nowhere.expect_err("there is no such folder"));
        assert!(error.contains("none/red.json"), "{error}");
    }

    #[test]
    #[cfg(unix)]
    fn a_link_to_the_file_stays_one() {
        let folder = InFolder::new("link");
        let link = folder.0.join("link.json");
        Keep::new(&folder.path()).add(&kept("a", 1, "x")).expect("it can be written");
        std::os::unix::fs::symlink(folder.path(), &link).expect("a link");
        Keep::new(&link).add(&kept("a", 2, "x")).expect("it can be written");
        assert!(fs::symlink_metadata(&link).expect("it is there").is_symlink());
        assert_eq!(Keep::new(&folder.path()).read().expect("seeds").len(), 2);
    }

    #[test]
    fn a_seed_is_of_one_shard() {
        let shard = |number| format!("{number}/3").parse().expect("a shard");
        for seed in [0, 1, 2, 3, 7, u64::MAX] {
            let red = kept("a", seed, "x");
            assert_eq!((1..=3).filter(|number| red.is_of(shard(*number))).count(), 1, "{seed}");
            assert!(red.is_of(Shard::WHOLE));
        }
    }
}
