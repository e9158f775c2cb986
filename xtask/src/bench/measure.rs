//! Running one program, and reading its time and counts.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde_json::Value;

/// A program to measure. It prints one line of JSON with its number of operations and its time.
pub(super) struct Program {
    pub(super) name: &'static str,
    pub(super) path: PathBuf,
}

#[derive(Debug, PartialEq)]
pub(super) struct Run {
    pub(super) ops: f64,
    pub(super) nanoseconds: f64,
    /// The total, if it counted them.
    pub(super) allocations: Option<f64>,
    /// The most memory that the process had.
    pub(super) peak_kib: Option<f64>,
}

impl Program {
    /// Runs it. Each of `args` is a list separated by blanks.
    pub(super) fn run(&self, args: &[&str]) -> Result<Run> {
        let output = self.output(Command::new(&self.path), args)?;
        let line = String::from_utf8_lossy(&output.stdout);
        Run::read(&line).with_context(|| format!("{} printed no figures: {line:?}", self.name))
    }

    pub(super) fn instructions(&self, args: &[&str]) -> Result<f64> {
        let mut valgrind = Command::new("valgrind");
        let profile = self.path.with_extension("callgrind");
        valgrind
            .arg("--tool=callgrind")
            .arg(format!("--callgrind-out-file={}", profile.display()))
            .arg(&self.path);
        let output = self.output(valgrind, args)?;
        let stderr = String::from_utf8_lossy(&output.stderr);
        collected(&stderr).with_context(|| format!("callgrind printed no count: {stderr:?}"))
    }

    fn output(&self, mut command: Command, args: &[&str]) -> Result<std::process::Output> {
        command.args(args.iter().flat_map(|args| args.split_whitespace()));
        let output = command.output().with_context(|| format!("cannot run {}", self.name))?;
        if !output.status.success() {
            bail!(
                "{} {} failed:\n{}",
                self.name,
                args.join(" "),
                String::from_utf8_lossy(&output.stderr).trim()
            );
        }
        Ok(output)
    }
}

impl Run {
    /// Reads the last line.
    fn read(text: &str) -> Option<Self> {
        let line: Value = serde_json::from_str(text.lines().last()?).ok()?;
        let ops = line["ops"].as_f64()?;
        Some(Self {
            ops,
            nanoseconds: line["wall_seconds"].as_f64()? * 1e9,
            allocations: line["allocs_per_op"].as_f64().map(|each| each * ops),
            peak_kib: line["peak_rss_kb"].as_f64(),
        })
    }
}

pub(crate) fn can_count_instructions() -> bool {
    Command::new("valgrind").arg("--version").output().is_ok_and(|output| output.status.success())
}

/// Reads `==17== Collected : 12345`.
fn collected(stderr: &str) -> Option<f64> {
    let (_, after) = stderr.split_once("Collected : ")?;
    after.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_read_from_the_last_line() {
        let text = "hello\n{\"ops\":10,\"wall_seconds\":0.5,\"allocs_per_op\":2.5,\"peak_rss_kb\":7}\n";
        assert_eq!(
            Run::read(text),
            Some(Run { ops: 10.0, nanoseconds: 5e8, allocations: Some(25.0), peak_kib: Some(7.0) })
        );
        assert_eq!(Run::read("{\"skipped\":\"no such workload\"}"), None);
        assert_eq!(Run::read(""), None);
    }

    #[test]
    fn callgrinds_count_is_found() {
        let stderr = "==17== Events    : Ir\n==17== Collected : 1234567\n==17==\n";
        assert_eq!(collected(stderr), Some(1_234_567.0));
        assert_eq!(collected("valgrind: command not found"), None);
    }
}
