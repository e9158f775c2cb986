//! Merging: combines the records of all shards into the record of one run.
//!
//! Every field of a record is a sum, a minimum or a sorted list, so the result is the same as that of one process. Only the
//! wall time differs: it is that of the slowest shard, as shards run in parallel.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, bail, ensure};
use steelmill_core::Result;

use crate::campaign::record::{CampaignSettings, KeptRecord, Record};
use crate::campaign::shard::Shard;
use crate::host::audit;

impl Record {
    /// Merges the records of all shards of one campaign. The name of each, such as its file, is for errors.
    ///
    /// # Errors
    /// When `parts` is empty, when the campaigns differ, and when a shard is missing or there twice.
    pub fn merge(mut parts: Vec<(String, Record)>) -> Result<Self> {
        parts.sort_by_key(|(_, part)| part.shard);
        ensure_complete(&parts)?;
        let mut parts = parts.into_iter().map(|(_, part)| part);
        let first = parts.next().context("there is nothing to merge")?;
        let mut merged = parts.fold(first, Record::and);
        merged.failed.sort_by_key(|red| red.seed);
        if let Some(kept) = &mut merged.kept {
            kept.sort();
        }
        merged.audit.iter_mut().for_each(|audit| audit::sort(audit));
        merged.merged = merged.shard.take().map(Shard::of).filter(|shards| *shards > 1);
        Ok(merged)
    }

    fn and(mut self, other: Self) -> Self {
        self.requested += other.requested;
        self.seeds += other.seeds;
        self.varied += other.varied;
        self.failed.extend(other.failed);
        self.wall = self.wall.max(other.wall);
        self.simulated += other.simulated;
        self.polls += other.polls;
        self.events += other.events;
        for (name, count) in other.counts {
            self.counts.entry(name).and_modify(|known| *known = known.and(count)).or_insert(count);
        }
        self.coverage.merge(&other.coverage);
        self.digest = self.digest.wrapping_add(other.digest);
        self.impure += other.impure;
        self.kept = match (self.kept, other.kept) {
            (Some(kept), Some(others)) => Some(kept.and(others)),
            (kept, others) => kept.or(others),
        };
        self.audit = self.audit.zip(other.audit).map(|(mut uses, others)| {
            others.into_iter().for_each(|used| audit::add(&mut uses, used));
            uses
        });
        self.purity &= other.purity;
        self.select_repeats &= other.select_repeats;
        self
    }
}

impl KeptRecord {
    fn and(mut self, other: Self) -> Self {
        self.ran += other.ran;
        self.failed.extend(other.failed);
        self.passed.extend(other.passed);
        self
    }
}

/// Reads and merges files with the output of `--json`, one per shard.
///
/// # Errors
/// When a file cannot be read or is no record, and when the records are not all shards of the campaign of that name.
pub(crate) fn files(paths: &[PathBuf], campaign: &str) -> Result<Record> {
    let read = |path: &PathBuf| {
        let name = path.display().to_string();
        let json = fs::read_to_string(path).with_context(|| format!("cannot read {name}"))?;
        ensure!(!json.trim().is_empty(), "{name} is empty: did its shard end, and run with --json?");
        let record = Record::from_json(&json).with_context(|| format!("{name} is not what --json prints"))?;
        let other = &record.campaign.name;
        ensure!(
            other == campaign,
            "{name} is of the campaign {other:?}, and this is {campaign:?}: merge with the program that ran the shards, and \
             with the flags that select its scenario"
        );
        Ok((name, record))
    };
    Record::merge(paths.iter().map(read).collect::<Result<_>>()?)
}

/// Checks that `parts`, sorted by shard, are all shards of one campaign.
fn ensure_complete(parts: &[(String, Record)]) -> Result<()> {
    let Some((first_name, first)) = parts.first() else { return Ok(()) };
    for (name, part) in &parts[1..] {
        if let Some(difference) = difference(&first.campaign, &part.campaign)? {
            bail!("{first_name} and {name} are not of one campaign: {difference}");
        }
    }
    let shards: Vec<Shard> = parts.iter().map(|(_, part)| part.shard.unwrap_or(Shard::WHOLE)).collect();
    let of = shards[0].of();
    if let Some(other) = shards.iter().position(|shard| shard.of() != of) {
        let (name, shard) = (&parts[other].0, shards[other]);
        bail!("{first_name} is shard {}, and {name} is {shard}: the numbers of shards differ", shards[0]);
    }
    if let Some(twice) = shards.windows(2).position(|pair| pair[0] == pair[1]) {
        let (one, other) = (&parts[twice].0, &parts[twice + 1].0);
        bail!("{one} and {other} are both shard {}: name each shard once", shards[twice]);
    }
    let is_missing = |number: &u64| shards.binary_search_by_key(number, |shard| shard.number()).is_err();
    let missing: Vec<String> =
        (1..=of).filter(is_missing).take(LISTED).map(|number| format!("{number}/{of}")).collect();
    let many = of - shards.len() as u64;
    let more = if many > LISTED as u64 { ", ..." } else { "" };
    ensure!(many == 0, "{many} of {of} shards missing: {}{more}", missing.join(", "));
    Ok(())
}

const LISTED: usize = 20;

/// The first setting in which two campaigns differ.
fn difference(one: &CampaignSettings, other: &CampaignSettings) -> Result<Option<String>> {
    if one == other {
        return Ok(None);
    }
    let (one, other) = (serde_json::to_value(one)?, serde_json::to_value(other)?);
    let fields = one.as_object().into_iter().chain(other.as_object()).flat_map(|settings| settings.keys());
    let field = fields.into_iter().find(|field| one.get(field.as_str()) != other.get(field.as_str()));
    let field = field.map_or("settings", String::as_str);
    // A plan of faults is too long to print.
    let shown =
        |settings: &serde_json::Value| settings.get(field).map_or("none".to_owned(), ToString::to_string);
    let (one, other) = (shown(&one), shown(&other));
    let is_short = one.len().max(other.len()) <= 100;
    Ok(Some(if is_short {
        format!("{field} is {one} and {other}")
    } else {
        format!("{field} is not the same")
    }))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures::FutureExt as _;
    use futures::future::LocalBoxFuture;
    use steelmill_core::assert_sometimes;

    use super::*;
    use crate::{Campaign, Seed, Sim, Summary, Verify};

    async fn scenario(sim: Sim) -> Result {
        let number = sim.seed().0;
        sim.clock().sleep(Duration::from_micros(number * 1_234_567)).await;
        sim.count("things", number % 7);
        if number.is_multiple_of(3) {
            sim.count("rare things", number);
        }
        assert_sometimes!(number.is_multiple_of(7), "a multiple of seven");
        ensure!(!number.is_multiple_of(5), "unlucky {number}");
        Ok(())
    }

    fn campaign(seeds: u64) -> Campaign<impl Fn(Sim) -> LocalBoxFuture<'static, Result> + Send + Sync> {
        Campaign::new(|sim| scenario(sim).boxed_local())
            .name("merged")
            .seeds(seeds)
            .jobs(2)
            .failures_max(usize::MAX)
    }

    /// The record after a round trip through JSON.
    fn record(summary: &Summary) -> Record {
        let record = summary.record(|red, _| format!("run {}", red.seed));
        let json = serde_json::to_string(&record).expect("plain data");
        let read = Record::from_json(&json).expect("it was written so");
        assert_eq!(read, record);
        assert!(json.contains("\"coverage\":"), "the test binary has coverage points: {json}");
        read
    }

    fn shards(seeds: u64, of: u64) -> Vec<(String, Record)> {
        let shard = |number: u64| format!("{number}/{of}").parse().expect("a shard");
        let run = |number| (format!("{number}.json"), record(&campaign(seeds).shard(shard(number)).run()));
        (1..=of).map(run).collect()
    }

    #[test]
    fn merged_shards_equal_one_run_in_any_order() {
        let some = (0..25_u64).map(|n| (1 + n * 7_919 % 61, 1 + n * 104_729 % 17));
        for (seeds, of) in [(1, 1), (1, 4), (7, 7), (13, 20), (97, 5)].into_iter().chain(some) {
            let mut whole = record(&campaign(seeds).run());
            let mut parts = shards(seeds, of);
            parts.rotate_left(of as usize / 2);
            assert_eq!(parts.iter().map(|(_, part)| part.requested).sum::<u64>(), seeds);
            let wall = parts.iter().map(|(_, part)| part.wall).max().expect("there are some");
            let merged = Record::merge(parts).expect("they belong together");
            assert_eq!(merged.wall, wall, "the longest");
            whole.wall = wall;
            let text =
                |record: &Record| record.to_string().replace(&format!(" (the longest of {of} shards)"), "");
            assert_eq!(text(&merged), text(&whole), "{seeds} seeds in {of} shards");
            whole.merged = merged.merged;
            assert_eq!(merged, whole, "{seeds} seeds in {of} shards");
        }
    }

    #[test]
    fn a_shard_without_seeds_is_green() {
        let summary = campaign(2).shard("3/3".parse().expect("a shard")).run();
        assert!(summary.passed() && summary.seeds == 0 && summary.requested == 0);
        assert!(
            summary.to_string().starts_with("merged, shard 3/3: 0 seed(s), 0 passed, 0 failed"),
            "{summary}"
        );
    }

    #[test]
    fn shards_that_do_not_belong_together_are_an_error() {
        let error = |parts| Record::merge(parts).expect_err("they do not belong together").to_string();
        assert_eq!(error(Vec::new()), "there is nothing to merge");
        let three = shards(6, 3);
        let [a, b, c] = [&three[0], &three[1], &three[2]].map(Clone::clone);
        assert_eq!(error(vec![c.clone(), a.clone()]), "1 of 3 shards missing: 2/3");
        assert_eq!(error(vec![c.clone()]), "2 of 3 shards missing: 1/3, 2/3");
        assert_eq!(
            error(vec![a.clone(), b.clone(), c.clone(), ("copy.json".to_owned(), b.1.clone())]),
            "2.json and copy.json are both shard 2/3: name each shard once"
        );
        let whole = ("whole.json".to_owned(), record(&campaign(6).run()));
        assert_eq!(
            error(vec![whole.clone(), whole.clone()]),
            "whole.json and whole.json are both shard 1/1: name each shard once"
        );
        assert_eq!(
            error(vec![a.clone(), whole.clone()]),
            "whole.json is shard 1/1, and 1.json is 1/3: the numbers of shards differ"
        );
        let with = |changed: fn(&mut CampaignSettings)| {
            let mut other = b.clone();
            changed(&mut other.1.campaign);
            error(vec![a.clone(), other, c.clone()])
        };
        let not_one = "1.json and 2.json are not of one campaign: ";
        for (changed, expected) in [
            (
                (|settings| settings.name = "x".to_owned()) as fn(&mut CampaignSettings),
                "name is \"merged\" and \"x\"",
            ),
            (|settings| settings.program = Some("y".to_owned()), "program is none and \"y\""),
            (|settings| settings.first_seed = Seed(2), "first_seed is 1 and 2"),
            (|settings| settings.seeds = 7, "seeds is 6 and 7"),
            (
                |settings| settings.schedule = crate::Schedule::Pct { depth: 3 },
                "schedule is \"weighted\" and \"pct:3\"",
            ),
            (|settings| settings.faults = crate::fault::Faults::None, "faults is \"swarm\" and \"none\""),
            (|settings| settings.verify = Some(Verify::Twice), "verify is none and \"twice\""),
            (|settings| settings.time_limit = Duration::from_secs(1), "time_limit is "),
        ] {
            let error = with(changed);
            assert!(error.starts_with(&format!("{not_one}{expected}")), "{error}");
        }
    }

    #[test]
    fn a_file_that_is_no_record_is_named() {
        let folder = std::env::temp_dir().join(format!("steelmill-merge-{}", std::process::id()));
        fs::create_dir_all(&folder).expect("a folder");
        let check = |text: &str, parts: &[&str]| {
            let path = folder.join("shard.json");
            fs::write(&path, text).expect("a file");
            let error = format!("{:#}", files(std::slice::from_ref(&path), "merged").expect_err(text));
            for part in parts.iter().chain(&[&*path.display().to_string()]) {
                assert!(error.contains(part), "no {part:?} in {error}");
            }
        };
        check("", &["is empty"]);
        check("{\"version\":1", &["is not what --json prints", "line 1 column 12"]);
        check("{\"version\":1}", &["version 1", "reads version 2"]);
        check("[]", &["is not what --json prints"]);
        let json = serde_json::to_string(&record(&campaign(1).run())).expect("plain data");
        check(&json.replace("merged", "other"), &["is of the campaign \"other\", and this is \"merged\""]);
        let error = format!("{:#}", files(&[folder.join("none.json")], "merged").expect_err("there is none"));
        assert!(error.contains("cannot read") && error.contains("none.json"), "{error}");
        fs::remove_dir_all(&folder).expect("it is ours");
    }
}
