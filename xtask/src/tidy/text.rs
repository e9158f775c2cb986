//! What any committed file may contain.

use super::{Finding, Tree, line_of};
use crate::test::README_CAMPAIGN;

/// The test command of the README and of CI.
const TEST: &str = "cargo xtask test";

/// Package registries. Each is split in two, so that this file passes its own rule.
const HOSTS: &[&str] = &[
    concat!("crates", ".io"),
    concat!("pypi", ".org"),
    concat!("npmjs", ".org"),
    concat!("npmjs", ".com"),
    concat!("deb.debian", ".org"),
];

/// Prefixes of paths that exist on one machine only.
const MACHINE_PATHS: &[&str] = &[
    concat!("/ho", "me/"),
    concat!("/ro", "ot/"),
    concat!("/wo", "rk/"),
    concat!("/Us", "ers/"),
    concat!("C:", "\\"),
];

/// No trailing blanks, and one newline at the end of the file.
pub(super) fn clean(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, text) in &tree.files {
        let blanks = text.split('\n').enumerate().filter(|(_, line)| line.ends_with([' ', '\t', '\r']));
        findings.extend(blanks.map(|(index, _)| Finding {
            path: path.clone(),
            line: index + 1,
            problem: "blanks at the end of the line".into(),
            reason: "editors remove them, which clutters later diffs",
            fix: "remove them".into(),
        }));
        if !text.is_empty() && (!text.ends_with('\n') || text.ends_with("\n\n")) {
            findings.push(Finding {
                path: path.clone(),
                line: text.lines().count(),
                problem: "the file does not end with exactly one newline".into(),
                reason: "editors change it, which clutters later diffs",
                fix: "end the last line, and remove empty lines after it".into(),
            });
        }
    }
    findings
}

/// No paths or package hosts that exist on one machine or network only.
pub(super) fn machine_specific(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    // Cargo writes the registry into every entry of Cargo.lock.
    for (path, text) in tree.files.iter().filter(|(path, _)| *path != "Cargo.lock") {
        for (index, line) in text.lines().enumerate() {
            if let Some(host) = HOSTS.iter().find(|host| line.contains(**host)) {
                findings.push(Finding {
                    path: path.clone(),
                    line: index + 1,
                    problem: format!("names the package host {host}"),
                    reason: "the package source is configured per machine; mirrors must work",
                    fix: "name the package instead".into(),
                });
            }
            if let Some(prefix) = MACHINE_PATHS.iter().find(|prefix| begins_a_path(line, prefix)) {
                findings.push(Finding {
                    path: path.clone(),
                    line: index + 1,
                    problem: format!("a path under {prefix}"),
                    reason: "it exists on one machine only",
                    fix: "use a path relative to the workspace, or one from the environment".into(),
                });
            }
        }
    }
    findings
}

/// Whether `prefix` begins a path in `line`, rather than being inside a longer path or a URL.
fn begins_a_path(line: &str, prefix: &str) -> bool {
    line.match_indices(prefix).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        before.is_none_or(|c| !c.is_alphanumeric() && !"._-~/".contains(c))
    })
}

/// CI runs the README's commands: the tests directly, the campaign as one of their steps.
pub(super) fn readme_commands(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, command) in [
        ("README.md", README_CAMPAIGN),
        ("README.md", TEST),
        (".ci/run", "cargo xtask lint"),
        (".ci/run", TEST),
    ] {
        let text = tree.files.get(path).map_or("", String::as_str);
        if !text.lines().any(|line| line.split('#').next().unwrap_or("").trim() == command) {
            findings.push(Finding {
                path: path.into(),
                line: line_of(text, "cargo xtask"),
                problem: format!("no line that is `{command}`"),
                reason: "a README command that CI does not run can break unnoticed",
                fix: "use the same command in README.md, .ci/run and README_CAMPAIGN in xtask/src/test.rs"
                    .into(),
            });
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::super::tests::check;
    use super::*;

    const NONE: [&str; 0] = [];

    #[test]
    fn trailing_blanks_and_missing_newlines_are_found() {
        let files = [("a", "x\ny \n"), ("b", "x"), ("c", "x\n\n"), ("d", ""), ("e", "x\n")];
        assert_eq!(
            check(clean, &files),
            [
                "a:2: blanks at the end of the line",
                "b:1: the file does not end with exactly one newline",
                "c:2: the file does not end with exactly one newline"
            ]
        );
    }

    #[test]
    fn package_hosts_are_found_except_in_the_lock_file() {
        let text = format!("fine\nregistry+https://github.com/rust-lang/{}-index\n", HOSTS[0]);
        assert_eq!(check(machine_specific, &[("Cargo.lock", &text)]), NONE);
        assert_eq!(check(machine_specific, &[("README.md", &text)]).len(), 1);
    }

    #[test]
    fn paths_of_one_machine_are_found_but_not_longer_paths_and_urls() {
        let home = MACHINE_PATHS[0];
        let found = format!("cd {home}me\n");
        let fine = format!("https://example.org{home}x\n./a{home}x\n");
        assert_eq!(check(machine_specific, &[("a", &found)]), [format!("a:1: a path under {home}")]);
        assert_eq!(check(machine_specific, &[("a", &fine)]), NONE);
    }

    #[test]
    fn readme_and_ci_have_the_same_commands() {
        let ci = "set -e\ncargo xtask lint\ncargo xtask test\n";
        let readme = format!("```sh\n{README_CAMPAIGN}   # a cluster\n{TEST}\n```\n");
        assert_eq!(check(readme_commands, &[("README.md", &readme), (".ci/run", ci)]), NONE);
        assert_eq!(
            check(
                readme_commands,
                &[("README.md", "cargo xtask sim --seeds 100\ncargo xtask test\n"), (".ci/run", ci)]
            ),
            [format!("README.md:1: no line that is `{README_CAMPAIGN}`")]
        );
    }
}
