//! `cargo xtask tidy`: checks the design rules that a compiler cannot.
//!
//! Each rule is a plain function from the tree, held in memory, to its findings; only [`Tree::read`] touches the disk.
//! A rule that a lint can express belongs in `Cargo.toml` or a `clippy.toml` instead.

mod book; // its contents, links and listings
mod crates; // dependencies between crates, and the file names of twins
mod rooms; // imports between the modules of a crate
mod source; // what Rust files may contain, and where
mod text; // what any file may contain
mod tokens; // tokenizing Rust

use std::collections::BTreeMap;
use std::fmt;

use anyhow::{Context, Result, bail};

use crate::workspace::{Crate, Workspace};

/// The input of every rule.
struct Tree<'a> {
    crates: &'a [Crate],
    /// The text files of the repository, by path from the root.
    files: BTreeMap<String, String>,
}

/// A violation of a rule, at one line.
#[derive(Debug, PartialEq)]
struct Finding {
    path: String,
    line: usize,
    problem: String,
    reason: &'static str,
    fix: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}:{}: {}", self.path, self.line, self.problem)?;
        writeln!(f, "    why: {}", self.reason)?;
        write!(f, "    do:  {}", self.fix)
    }
}

type Rule = fn(&Tree) -> Vec<Finding>;

/// Every rule and its name.
const RULES: &[(&str, Rule)] = &[
    ("dependencies between crates", crates::dependencies),
    ("imports between rooms", rooms::imports),
    ("twin file names", crates::twins),
    ("bans of core", crates::core_bans_what_the_root_bans),
    ("readable source", source::readable),
    ("file headers", source::headers),
    ("unsafe code", source::unsafe_code),
    ("where the demo names a world", source::worlds),
    ("locks in core", source::core_locks),
    ("code that must not be committed", source::leftovers),
    ("clean text", text::clean),
    ("paths and hosts of one machine", text::machine_specific),
    ("commands of the README", text::readme_commands),
    ("chapters of the book", book::chapters),
];

/// Runs every rule and prints the findings; true when there are none.
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
    /// Reads the files that git tracks or would add, so that build output and editors' files do not count.
    fn read(workspace: &'a Workspace) -> Result<Self> {
        let listed = std::process::Command::new("git")
            .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
            .current_dir(&workspace.root)
            .output()
            .context("cannot run git, which lists the files to check")?;
        if !listed.status.success() {
            bail!("git: {}", String::from_utf8_lossy(&listed.stderr).trim());
        }
        let mut files = BTreeMap::new();
        for path in String::from_utf8_lossy(&listed.stdout).split_terminator('\0') {
            // Unreadable: a deletion not committed yet, or not text.
            if let Ok(text) = std::fs::read_to_string(workspace.root.join(path)) {
                files.insert(path.to_owned(), text);
            }
        }
        Ok(Self { crates: &workspace.crates, files })
    }

    fn rust(&self) -> impl Iterator<Item = (&str, &str)> {
        self.files
            .iter()
            .filter(|(path, _)| path.ends_with(".rs"))
            .map(|(path, text)| (path.as_str(), text.as_str()))
    }
}

/// The number of the first line that contains `needle`; 1 when none does.
fn line_of(text: &str, needle: &str) -> usize {
    text.lines().position(|line| line.contains(needle)).unwrap_or(0) + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs one rule over files held in memory; gives `path:line: problem` of each finding.
    pub(super) fn check(rule: Rule, files: &[(&str, &str)]) -> Vec<String> {
        check_crates(rule, &[], files)
    }

    pub(super) fn check_crates(rule: Rule, crates: &[Crate], files: &[(&str, &str)]) -> Vec<String> {
        let files = files.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned())).collect();
        rule(&Tree { crates, files })
            .iter()
            .map(|finding| format!("{}:{}: {}", finding.path, finding.line, finding.problem))
            .collect()
    }

    #[test]
    fn a_finding_says_where_what_why_and_what_to_do() {
        let finding = Finding {
            path: "a.rs".into(),
            line: 3,
            problem: "broken".into(),
            reason: "it matters",
            fix: "mend it".into(),
        };
        assert_eq!(finding.to_string(), "a.rs:3: broken\n    why: it matters\n    do:  mend it");
    }
}
