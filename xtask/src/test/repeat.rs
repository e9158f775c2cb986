//! `cargo xtask test --repeat N [--busy]`: finds tests whose result depends on luck.
//!
//! Only the runtime world's tests are repeated, as those of the sim world repeat anyway. They are built once; then their
//! binaries run N times, without cargo; with `--at-once`, several rounds at a time, each of which is load for the others.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use serde_json::Value;

use crate::libtest::{Count, failed};
use crate::steps::wait;
use crate::workspace::{Crate, ON_DEMAND, Workspace};

/// The crate whose users have tests in the runtime world.
const RUNTIME: &str = "steelmill-runtime";

/// Parts of the names of tests that do not depend on luck, although their binary belongs to both worlds: those of the sim
/// world, and a table.
const REPEATABLE: [&str; 3] = ["in_the_sim", "machines::", "sharing_table::"];

/// A test binary that model checking has already run through every interleaving.
const MODEL_CHECKED: &str = "cells";

/// How long one binary may run. On an idle machine they take seconds.
const LIMIT: Duration = Duration::from_secs(300);

/// Busy loops for each CPU: enough that a thread is interrupted anywhere.
const LOOPS_PER_CPU: usize = 2;

/// A test binary.
#[derive(Debug, PartialEq)]
struct Binary {
    /// Its crate and target: `steelmill-stories stories`.
    name: String,
    path: PathBuf,
    /// The folder of its crate, in which cargo runs it.
    folder: PathBuf,
}

/// Which rounds there are.
pub(super) struct Rounds {
    pub(super) count: u32,
    pub(super) at_once: u32,
    /// Beside busy loops.
    pub(super) busy: bool,
}

/// Runs the tests whose name contains `filter` in rounds; true when all of them are green.
pub(super) fn run(workspace: &Workspace, filter: Option<&str>, rounds: &Rounds) -> Result<bool> {
    let Some(binaries) = build(workspace)? else {
        return Ok(false);
    };
    let _loops = rounds.busy.then(BusyLoops::start);
    let next = AtomicU32::new(1);
    let tally = Mutex::new(Tally::default());
    let some = |folder: PathBuf| -> Result<()> {
        fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        loop {
            let round = next.fetch_add(1, Ordering::Relaxed);
            if round > rounds.count {
                return Ok(());
            }
            let (failures, line) = one_round(&binaries, filter, &folder)?;
            println!("round {round} of {}: {line}", rounds.count);
            tally.lock().map_err(|_| anyhow!("another round panicked"))?.add(failures);
        }
    };
    thread::scope(|scope| {
        let running: Vec<_> = (0..rounds.at_once)
            .map(|lane| {
                let folder = workspace.target.join("repeat").join(lane.to_string());
                scope.spawn(|| some(folder))
            })
            .collect();
        running.into_iter().try_for_each(|lane| lane.join().map_err(|_| anyhow!("a round panicked"))?)
    })?;
    let tally = tally.into_inner().map_err(|_| anyhow!("a round panicked"))?;
    println!("\n{tally}");
    Ok(tally.is_green())
}

/// What failed in a round, and a line about it. What binaries print goes to files in a folder.
fn one_round(binaries: &[Binary], filter: Option<&str>, folder: &Path) -> Result<(Vec<String>, String)> {
    let begin = Instant::now();
    let mut count = Count::default();
    let mut failures = Vec::new();
    // One binary after the other, as cargo does it: a test may count on some time of a CPU.
    for (index, binary) in binaries.iter().enumerate() {
        let output = folder.join(format!("{index}.txt"));
        let status = wait(start(binary, filter, &output)?, Instant::now() + LIMIT)?;
        let bytes = fs::read(&output).with_context(|| format!("cannot read {}", output.display()))?;
        let text = String::from_utf8_lossy(&bytes);
        text.lines().for_each(|line| count.read(line));
        let found = failures_of(binary, status, &text);
        if !found.is_empty() {
            println!("{text}");
        }
        failures.extend(found);
    }
    Ok((failures, format!("{count}, {:.1} s", begin.elapsed().as_secs_f64())))
}

/// Builds the tests of the runtime world; `None` when the build failed.
fn build(workspace: &Workspace) -> Result<Option<Vec<Binary>>> {
    let mut build = workspace.cargo(["test", "--no-run", "--message-format=json-render-diagnostics"]);
    let crates: Vec<&Crate> = workspace.crates.iter().filter(|one| has_runtime_tests(one)).collect();
    for one in &crates {
        build.args(["-p", &one.name]);
    }
    let output = build.stderr(Stdio::inherit()).output().context("cannot run cargo")?;
    if !output.status.success() {
        return Ok(None);
    }
    Ok(Some(binaries(&String::from_utf8_lossy(&output.stdout), workspace, &crates)))
}

fn has_runtime_tests(one: &Crate) -> bool {
    let uses = one.dependencies.iter().any(|dependency| dependency.name == RUNTIME);
    (one.name == RUNTIME || uses) && !ON_DEMAND.contains(&&*one.name)
}

/// Finds the test binaries of these crates in cargo's JSON messages.
fn binaries(messages: &str, workspace: &Workspace, crates: &[&Crate]) -> Vec<Binary> {
    let messages = messages.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let binary = |message: Value| {
        let path = message["executable"].as_str()?;
        if message["profile"]["test"] != true || message["target"]["name"] == MODEL_CHECKED {
            return None;
        }
        let manifest = Path::new(message["manifest_path"].as_str()?);
        let is_in = |one: &&&Crate| manifest.parent() == Some(&workspace.root.join(&one.folder));
        let one = crates.iter().find(is_in)?;
        Some(Binary {
            name: format!("{} {}", one.name, message["target"]["name"].as_str()?),
            path: path.into(),
            folder: workspace.root.join(&one.folder),
        })
    };
    messages.filter_map(binary).collect()
}

/// Starts a binary, with what it prints in a file.
fn start(binary: &Binary, filter: Option<&str>, output: &Path) -> Result<Child> {
    let file = File::create(output).with_context(|| format!("cannot make {}", output.display()))?;
    let mut command = Command::new(&binary.path);
    command.current_dir(&binary.folder).env("CARGO_MANIFEST_DIR", &binary.folder);
    command.args(filter).args(REPEATABLE.iter().flat_map(|name| ["--skip", name]));
    command.stdin(Stdio::null()).stderr(file.try_clone()?).stdout(file);
    command.spawn().with_context(|| format!("cannot run {}", binary.path.display()))
}

/// The failures of one run of a binary: its failed tests, or what else went wrong with it.
fn failures_of(binary: &Binary, status: Option<ExitStatus>, output: &str) -> Vec<String> {
    let whole = |what: String| vec![format!("{}: {what}", binary.name)];
    match status {
        None => whole(format!("still running after {LIMIT:?}, and killed")),
        Some(status) if status.success() => Vec::new(),
        Some(status) => match failed(output) {
            tests if tests.is_empty() => whole(status.to_string()),
            tests => tests.into_iter().map(|test| format!("{}: {test}", binary.name)).collect(),
        },
    }
}

/// How many rounds there were, how many of them green, and what failed how often.
#[derive(Default)]
struct Tally {
    rounds: u32,
    green: u32,
    failures: BTreeMap<String, u32>,
}

impl Tally {
    fn add(&mut self, failures: Vec<String>) {
        self.rounds += 1;
        self.green += u32::from(failures.is_empty());
        for failure in failures {
            *self.failures.entry(failure).or_default() += 1;
        }
    }

    fn is_green(&self) -> bool {
        self.green == self.rounds
    }
}

impl std::fmt::Display for Tally {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} of {} rounds green", self.green, self.rounds)?;
        for (failure, times) in &self.failures {
            write!(f, "\n  failed {times} times: {failure}")?;
        }
        Ok(())
    }
}

/// Threads that keep the CPUs busy until they are dropped.
struct BusyLoops {
    is_over: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl BusyLoops {
    fn start() -> Self {
        let is_over = Arc::new(AtomicBool::new(false));
        let cpus = thread::available_parallelism().map_or(1, |cpus| cpus.get());
        let threads = (0..cpus * LOOPS_PER_CPU).map(|_| {
            let is_over = is_over.clone();
            thread::spawn(move || {
                while !is_over.load(Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
            })
        });
        let threads = threads.collect();
        Self { is_over, threads }
    }
}

impl Drop for BusyLoops {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace::Dependency;

    fn a_crate(name: &str, dependency: &str) -> Crate {
        let dependencies = vec![Dependency { name: dependency.into(), dev: true }];
        Crate { name: name.into(), folder: name.into(), dependencies }
    }

    #[test]
    fn the_binaries_of_crates_that_test_in_the_runtime_world_are_found() {
        let crates = vec![
            a_crate(RUNTIME, "tokio"),
            a_crate("core", RUNTIME),
            a_crate("sim", "steelmill-core"),
            a_crate(ON_DEMAND[1], RUNTIME),
        ];
        let workspace = Workspace { root: "/w".into(), target: "/w/target".into(), crates };
        let chosen: Vec<&Crate> = workspace.crates.iter().filter(|one| has_runtime_tests(one)).collect();
        assert_eq!(chosen.iter().map(|one| &*one.name).collect::<Vec<_>>(), [RUNTIME, "core"]);
        let messages = concat!(
            r#"{"manifest_path":"/w/core/Cargo.toml","target":{"name":"stories"},"profile":{"test":true},"executable":"/t/stories"}"#,
            "\nnot json\n",
            r#"{"manifest_path":"/w/core/Cargo.toml","target":{"name":"tool"},"profile":{"test":false},"executable":"/t/tool"}"#,
            "\n",
            r#"{"manifest_path":"/w/core/Cargo.toml","target":{"name":"cells"},"profile":{"test":true},"executable":"/t/cells"}"#,
            "\n",
            r#"{"manifest_path":"/w/sim/Cargo.toml","target":{"name":"sim"},"profile":{"test":true},"executable":"/t/sim"}"#,
        );
        let stories =
            Binary { name: "core stories".into(), path: "/t/stories".into(), folder: "/w/core".into() };
        assert_eq!(binaries(messages, &workspace, &chosen), [stories]);
    }

    #[test]
    fn the_tally_names_what_failed_and_how_often() {
        let mut tally = Tally::default();
        tally.add(vec![]);
        assert!(tally.is_green());
        assert_eq!(tally.to_string(), "1 of 1 rounds green");
        tally.add(vec!["core stories: running::one".into(), "core stories: running::two".into()]);
        tally.add(vec!["core stories: running::two".into()]);
        assert!(!tally.is_green());
        assert_eq!(
            tally.to_string(),
            "1 of 3 rounds green\n  failed 1 times: core stories: running::one\n  \
             failed 2 times: core stories: running::two"
        );
    }

    #[test]
    #[cfg(unix)]
    fn a_failure_is_a_test_or_else_the_way_the_binary_ended() {
        use std::os::unix::process::ExitStatusExt as _;
        let binary = Binary { name: "core stories".into(), path: "".into(), folder: "".into() };
        let failures = |status, output| failures_of(&binary, status, output);
        assert_eq!(failures(Some(ExitStatus::from_raw(0)), ""), [""; 0]);
        let output = "test a::b ... ok\ntest a::c ... FAILED\ntest a::d - should panic ... FAILED\n";
        assert_eq!(
            failures(Some(ExitStatus::from_raw(101 << 8)), output),
            ["core stories: a::c", "core stories: a::d - should panic"]
        );
        assert_eq!(failures(Some(ExitStatus::from_raw(6)), ""), ["core stories: signal: 6 (SIGABRT)"]);
        assert_eq!(failures(None, ""), ["core stories: still running after 300s, and killed"]);
    }
}
