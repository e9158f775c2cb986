//! `cargo xtask canaries`: a mutation test, which breaks the lifecycle rules one by one and must detect each break.
//!
//! `canaries/` holds one patch per rule; its first line says what it breaks. Each is applied to a copy of the workspace,
//! where the lifecycle scenario must then be red. A patch that no longer applies or compiles fails too: it proves nothing.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};

use crate::workspace::Workspace;

/// The number of seeds in which a break must be detected.
const SEEDS: &str = "5000";

/// The scenario's exit code when a seed is red.
const RED: i32 = 1;

/// What is copied: the sources of the scenario, and nothing that changes without a commit.
const COPIED: [&str; 10] = [
    ".cargo",
    "Cargo.toml",
    "Cargo.lock",
    "clippy.toml",
    "rustfmt.toml",
    "demo-app",
    "steelmill-core",
    "steelmill-runtime",
    "steelmill-sim",
    "xtask",
];

/// Tries the canaries whose name contains `filter`; true when each was caught.
pub(crate) fn run(workspace: &Workspace, filter: Option<&str>) -> Result<bool> {
    let canaries = read_all(&workspace.root.join("canaries"))?;
    let sandbox = Sandbox { root: workspace.root.clone(), copy: workspace.target.join("canaries/workspace") };
    sandbox.refresh()?;
    println!("without a canary ...");
    match sandbox.scenario()? {
        Campaign::Green => {}
        campaign => bail!("the scenario fails without a canary: {campaign:?}"),
    }
    let mut rows = Vec::new();
    for canary in canaries.iter().filter(|canary| filter.is_none_or(|filter| canary.name.contains(filter))) {
        println!("{} ...", canary.name);
        let begun = Instant::now();
        let verdict = sandbox.try_one(canary).unwrap_or_else(|error| Err(format!("{error:#}")));
        rows.push((canary, verdict, begun.elapsed().as_secs_f64()));
    }
    sandbox.refresh()?;
    ensure!(!rows.is_empty(), "no canary has {:?} in its name", filter.unwrap_or_default());
    let width = rows.iter().map(|(canary, ..)| canary.name.len()).max().unwrap_or_default();
    println!("\n=== canaries");
    for (canary, verdict, seconds) in &rows {
        let (word, note) = match verdict {
            Ok(how) => ("caught", how),
            Err(why) => ("MISSED", why),
        };
        println!(
            "{word}  {:<width$}  {seconds:>6.1} s  {}\n{:w2$}{note}",
            canary.name,
            canary.breaks,
            "",
            w2 = width + 20
        );
    }
    let missed = rows.iter().filter(|(_, verdict, _)| verdict.is_err()).count();
    println!("\n{} caught, {missed} missed", rows.len() - missed);
    Ok(missed == 0)
}

/// A patch that breaks a rule.
struct Canary {
    name: String,
    /// The first line before the diff.
    breaks: String,
    patch: PathBuf,
}

fn read_all(folder: &Path) -> Result<Vec<Canary>> {
    let files = fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let mut canaries = Vec::new();
    for file in files {
        let patch = file?.path();
        if patch.extension().is_some_and(|extension| extension == "patch") {
            let text = fs::read_to_string(&patch)?;
            let breaks = text.lines().next().unwrap_or_default().to_owned();
            ensure!(
                !breaks.is_empty() && !breaks.starts_with("diff "),
                "{}: the first line must say what it breaks",
                patch.display()
            );
            let name = patch.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            canaries.push(Canary { name, breaks, patch });
        }
    }
    canaries.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(canaries)
}

/// The copy of the workspace that is patched. It is kept, so that each build compiles only what a patch changed.
struct Sandbox {
    root: PathBuf,
    copy: PathBuf,
}

#[derive(Debug)]
enum Campaign {
    Green,
    /// The error of the first red seed.
    Red(String),
    /// The first error of the compiler.
    BuildFailed(String),
}

impl Sandbox {
    /// The error that caught the canary, or why it was missed.
    fn try_one(&self, canary: &Canary) -> Result<std::result::Result<String, String>> {
        self.refresh()?;
        if let Err(error) = self.apply(&canary.patch) {
            return Ok(Err(format!("it no longer applies: {error:#}")));
        }
        Ok(match self.scenario()? {
            Campaign::Red(how) => Ok(how),
            Campaign::Green => Err(format!("{SEEDS} seeds are green")),
            Campaign::BuildFailed(error) => Err(format!("it no longer compiles: {error}")),
        })
    }

    /// Makes the copy equal to the workspace. Equal files keep their times, so that cargo does not rebuild them.
    fn refresh(&self) -> Result<()> {
        for name in COPIED {
            let (from, to) = (self.root.join(name), self.copy.join(name));
            copy(&from, &to).with_context(|| format!("cannot copy {}", from.display()))?;
        }
        Ok(())
    }

    fn apply(&self, patch: &Path) -> Result<()> {
        let mut git = Command::new("git");
        git.args(["apply", "-C1"]).arg(patch).current_dir(&self.copy);
        // The copy is inside a repository: without this, git would resolve the paths from the root of that.
        git.env("GIT_CEILING_DIRECTORIES", self.copy.parent().unwrap_or(&self.copy));
        let output = git.output().context("cannot run git")?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr).trim());
        Ok(())
    }

    fn scenario(&self) -> Result<Campaign> {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut build = Command::new(cargo);
        build.args(["build", "--quiet", "-p", "steelmill-sim", "--example", "lifecycle"]);
        // Each patch rebuilds these, and building them optimised takes longer than running them unoptimised.
        build.args([
            "--config",
            "profile.dev.debug=0",
            "--config",
            "profile.dev.package.steelmill-sim.opt-level=0",
        ]);
        let target = self.copy.with_file_name("target");
        build.arg("--target-dir").arg(&target).current_dir(&self.copy);
        // CI turns this off, for it builds all else once.
        build.env("CARGO_INCREMENTAL", "1");
        let output = build.stdout(Stdio::null()).output().context("cannot run cargo")?;
        if !output.status.success() {
            let text = String::from_utf8_lossy(&output.stderr);
            let error = text.lines().find(|line| line.starts_with("error")).unwrap_or_default();
            return Ok(Campaign::BuildFailed(error.to_owned()));
        }
        let mut run = Command::new(target.join("debug/examples/lifecycle"));
        run.args(["--seeds", SEEDS, "--max-failures", "1"]).env("RUST_BACKTRACE", "0");
        let output = run.output().context("cannot run the scenario")?;
        match output.status.code() {
            Some(0) => Ok(Campaign::Green),
            Some(RED) => Ok(Campaign::Red(reason(&String::from_utf8_lossy(&output.stderr)))),
            code => bail!("the scenario ended with {code:?}: {}", String::from_utf8_lossy(&output.stderr)),
        }
    }
}

/// A red seed's error without its trace: a broken rule is printed after the trace, a hang before it.
fn reason(text: &str) -> String {
    let rule = text.lines().find_map(|line| line.strip_prefix(": "));
    let reason = rule.or_else(|| text.lines().find(|line| line.starts_with("seed ")));
    reason.unwrap_or_default().chars().take(160).collect()
}

/// Copies the files that differ, and removes those that are gone.
fn copy(from: &Path, to: &Path) -> Result<()> {
    if !from.is_dir() {
        let new = fs::read(from)?;
        if fs::read(to).ok().as_ref() != Some(&new) {
            fs::create_dir_all(to.parent().context("a file lies in a folder")?)?;
            fs::write(to, new)?;
        }
        return Ok(());
    }
    fs::create_dir_all(to)?;
    let mut names = Vec::new();
    for entry in fs::read_dir(from)? {
        let name = entry?.file_name();
        copy(&from.join(&name), &to.join(&name))?;
        names.push(name);
    }
    for entry in fs::read_dir(to)? {
        let entry = entry?;
        if !names.contains(&entry.file_name()) && entry.file_type()?.is_file() {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reason_is_the_rule_after_the_trace_or_else_the_first_line() {
        let text = "seed 3 failed at 1 s: broken in:\n  0 0.000 s root starts\n: each phase happens once: twice\nmore";
        assert_eq!(reason(text), "each phase happens once: twice");
        assert_eq!(
            reason("seed 3 failed at 1 s: it hangs; so far:\n  0 root"),
            "seed 3 failed at 1 s: it hangs; so far:"
        );
    }

    #[test]
    fn every_canary_says_what_it_breaks() {
        let canaries =
            read_all(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../canaries")).expect("they can be read");
        assert!(canaries.len() >= 12, "one for each rule");
    }
}
