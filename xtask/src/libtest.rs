//! `cargo test`, with its output forwarded and its tests counted.

use std::env;
use std::io::{self, BufRead, BufReader, IsTerminal, Write};
use std::process::{Command, Stdio};

use anyhow::{Context, Result};

use crate::steps::Outcome;

pub(crate) fn cargo_test(mut command: Command, total: &mut Count) -> Result<Outcome> {
    let wants_no_colour = env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    if io::stdout().is_terminal() && !wants_no_colour {
        command.args(["--", "--color=always"]); // it would see our pipe and drop its colours
    }
    let mut child = command.stdout(Stdio::piped()).spawn().context("cannot run cargo")?;
    let output = child.stdout.take().context("cargo's output was not piped")?;
    let mut count = Count::default();
    for line in BufReader::new(output).split(b'\n') {
        let mut line = line?;
        count.read(&String::from_utf8_lossy(&line));
        line.push(b'\n');
        io::stdout().write_all(&line)?;
    }
    let green = child.wait()?.success();
    total.add(&count);
    Ok(Outcome { green, note: count.to_string() })
}

/// Tests counted from libtest's closing lines.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Count {
    passed: u64,
    failed: u64,
}

impl Count {
    /// Adds a line such as `test result: ok. 12 passed; 0 failed; ...`, in colour or not.
    pub(crate) fn read(&mut self, line: &str) {
        if line.starts_with("test result: ") {
            self.passed += number_before(line, " passed;");
            self.failed += number_before(line, " failed;");
        }
    }

    /// Adds what another command of xtask has counted: `12 passed, 0 failed, 3 skipped`; returns how many were skipped.
    pub(crate) fn read_total(&mut self, line: &str) -> u64 {
        self.passed += number_before(line, " passed");
        self.failed += number_before(line, " failed");
        number_before(line, " skipped")
    }

    fn add(&mut self, other: &Self) {
        self.passed += other.passed;
        self.failed += other.failed;
    }
}

impl std::fmt::Display for Count {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} passed, {} failed", self.passed, self.failed)
    }
}

/// The names of failed tests, from lines such as `test room::name ... FAILED`.
pub(crate) fn failed(output: &str) -> Vec<&str> {
    output.lines().filter_map(|line| line.strip_prefix("test ")?.strip_suffix(" ... FAILED")).collect()
}

/// The number that stands before a word; 0 if there is none.
fn number_before(line: &str, word: &str) -> u64 {
    line.split(word)
        .next()
        .and_then(|before| before.rsplit(' ').next())
        .and_then(|number| number.parse().ok())
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn closing_lines_are_added_up_in_colour_or_not() {
        let mut count = Count::default();
        count.read("running 3 tests");
        count.read("test a_result: passes ... ok");
        assert_eq!(count.read_total("0 passed, 0 failed, 3 skipped"), 3);
        count.read("test result: ok. 12 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out");
        count.read("test result: \x1b[31mFAILED\x1b[m. 1 passed; 2 failed; 0 ignored; 0 measured");
        assert_eq!(count, Count { passed: 13, failed: 2 });
    }
}
