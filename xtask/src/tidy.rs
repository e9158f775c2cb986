//! `cargo xtask tidy`: what the design promises and a compiler cannot check.
//!
//! Each rule is a plain function from the tree, held in memory, to its findings; only [`Tree::read`] touches the disk.
//! A rule that a lint can express belongs into `Cargo.toml` or a `clippy.toml` instead.

mod crates; // which crate may know which, and that twins have one name
mod rooms; // which module of a crate may import which
mod source; // what Rust files may say, and where
mod text; // what any file may say
mod tokens; // Rust text, taken apart

use std::collections::BTreeMap;
use std::fmt;

use anyhow::{Context, Result, bail};

use crate::workspace::{Crate, Workspace};

/// Everything a rule may look at.
struct Tree<'a> {
    crates: &'a [Crate],
    /// The committed text files, by their path from the root.
    files: BTreeMap<String, String>,
}

/// A promise broken at one place.
#[derive(Debug, PartialEq)]
struct Finding {
    path: String,
    line: usize,
    what: String,
    why: &'static str,
    fix: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}:{}: {}", self.path, self.line, self.what)?;
        writeln!(f, "    why: {}", self.why)?;
        write!(f, "    do:  {}", self.fix)
    }
}

type Rule = fn(&Tree) -> Vec<Finding>;

/// Every rule, under the name it is counted by.
const RULES: &[(&str, Rule)] = &[
    ("crate arrows", crates::arrows),
    ("room arrows", rooms::arrows),
    ("twin file names", crates::twins),
    ("bans of core", crates::core_bans_what_the_root_bans),
    ("readable source", source::readable),
    ("file headers", source::headers),
    ("unsafe code", source::unsafe_code),
    ("worlds of the demo", source::worlds),
    ("locks in core", source::core_locks),
    ("words that do not land", source::words),
    ("clean text", text::clean),
    ("places of one machine", text::places),
    ("commands of the README", text::readme_commands),
];

/// Runs every rule and prints what they find; true when that is nothing.
pub(crate) fn run(workspace: &Workspace) -> Result<bool> {
    let tree = Tree::read(workspace)?;
    let findings: Vec<Finding> = RULES.iter().flat_map(|(_, rule)| rule(&tree)).collect();
    for finding in &findings {
        println!("{finding}\n");
    }
    println!("tidy: {} rules over {} files, {} findings", RULES.len(), tree.files.len(), findings.len());
    Ok(findings.is_empty())
}

impl<'a> Tree<'a> {
    /// Reads what git has or would take, so that no build output and no editor's leftovers count.
    fn read(workspace: &'a Workspace) -> Result<Self> {
        let listed = std::process::Command::new("git")
            .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
            .current_dir(&workspace.root)
            .output()
            .context("cannot run git, which knows the files to look at")?;
        if !listed.status.success() {
            bail!("git: {}", String::from_utf8_lossy(&listed.stderr).trim());
        }
        let mut files = BTreeMap::new();
        for path in String::from_utf8_lossy(&listed.stdout).split_terminator('\0') {
            // Deleted but not yet committed, or not text: nothing to read.
            if let Ok(text) = std::fs::read_to_string(workspace.root.join(path)) {
                files.insert(path.to_owned(), text);
            }
        }
        Ok(Self { crates: &workspace.crates, files })
    }

    /// The Rust files.
    fn rust(&self) -> impl Iterator<Item = (&str, &str)> {
        self.files
            .iter()
            .filter(|(path, _)| path.ends_with(".rs"))
            .map(|(path, text)| (path.as_str(), text.as_str()))
    }
}

/// The number of the first line that holds `needle`; the first line when none does.
fn line_of(text: &str, needle: &str) -> usize {
    text.lines().position(|line| line.contains(needle)).unwrap_or(0) + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs one rule over files held in memory; gives `path:line: what` of each finding.
    pub(super) fn check(rule: Rule, files: &[(&str, &str)]) -> Vec<String> {
        check_crates(rule, &[], files)
    }

    pub(super) fn check_crates(rule: Rule, crates: &[Crate], files: &[(&str, &str)]) -> Vec<String> {
        let files = files.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned())).collect();
        rule(&Tree { crates, files })
            .iter()
            .map(|finding| format!("{}:{}: {}", finding.path, finding.line, finding.what))
            .collect()
    }

    #[test]
    fn a_finding_says_where_what_why_and_what_to_do() {
        let finding = Finding {
            path: "a.rs".into(),
            line: 3,
            what: "broken".into(),
            why: "it matters",
            fix: "mend it".into(),
        };
        assert_eq!(finding.to_string(), "a.rs:3: broken\n    why: it matters\n    do:  mend it");
    }
}
