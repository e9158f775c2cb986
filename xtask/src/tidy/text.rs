//! What any committed file may say.

use super::{Finding, Tree, line_of};
use crate::test::README_CAMPAIGN;

/// What the README, CI and everybody runs before handing a change in.
const TEST: &str = "cargo xtask test";

/// Hosts that packages come from. Written in two parts, or this file would be found.
const HOSTS: &[&str] = &[
    concat!("crates", ".io"),
    concat!("pypi", ".org"),
    concat!("npmjs", ".org"),
    concat!("npmjs", ".com"),
    concat!("deb.debian", ".org"),
];

/// Beginnings of paths that exist on one machine only.
const MACHINE_PATHS: &[&str] = &[
    concat!("/ho", "me/"),
    concat!("/ro", "ot/"),
    concat!("/wo", "rk/"),
    concat!("/Us", "ers/"),
    concat!("C:", "\\"),
];

/// No blanks at the ends of lines, one line end at the end of the file.
pub(super) fn clean(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, text) in &tree.files {
        let blanks = text.split('\n').enumerate().filter(|(_, line)| line.ends_with([' ', '\t', '\r']));
        findings.extend(blanks.map(|(index, _)| Finding {
            path: path.clone(),
            line: index + 1,
            what: "blanks at the end of the line".into(),
            why: "they turn up in every later diff",
            fix: "remove them".into(),
        }));
        if !text.is_empty() && (!text.ends_with('\n') || text.ends_with("\n\n")) {
            findings.push(Finding {
                path: path.clone(),
                line: text.lines().count(),
                what: "the file does not end with exactly one line end".into(),
                why: "it turns up in every later diff",
                fix: "end the last line, and leave no empty one after it".into(),
            });
        }
    }
    findings
}

/// Nothing that holds on one machine or behind one network only.
pub(super) fn places(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    // Cargo.lock names the registry in every entry: cargo's business.
    for (path, text) in tree.files.iter().filter(|(path, _)| *path != "Cargo.lock") {
        for (index, line) in text.lines().enumerate() {
            if let Some(host) = HOSTS.iter().find(|host| line.contains(**host)) {
                findings.push(Finding {
                    path: path.clone(),
                    line: index + 1,
                    what: format!("names the package host {host}"),
                    why: "where packages come from is the machine's own configuration; mirrors must work",
                    fix: "name the package instead".into(),
                });
            }
            if let Some(place) = MACHINE_PATHS.iter().find(|place| begins_a_path(line, place)) {
                findings.push(Finding {
                    path: path.clone(),
                    line: index + 1,
                    what: format!("a path under {place}"),
                    why: "it exists on one machine only",
                    fix: "use a path relative to the workspace, or ask the system for one".into(),
                });
            }
        }
    }
    findings
}

/// Whether `place` stands in `line` as the beginning of a path, not inside a longer one or an address of the web.
fn begins_a_path(line: &str, place: &str) -> bool {
    line.match_indices(place).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        before.is_none_or(|c| !c.is_alphanumeric() && !"._-~/".contains(c))
    })
}

/// The README's commands are those CI runs: the tests directly, the campaign as their last step.
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
                what: format!("no line that is `{command}`"),
                why: "a command in the README that CI does not run stops working without anybody noticing",
                fix: "let README.md, .ci/run and README_CAMPAIGN in xtask/src/test.rs say the same".into(),
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
    fn blanks_and_missing_line_ends_are_found() {
        let files = [("a", "x\ny \n"), ("b", "x"), ("c", "x\n\n"), ("d", ""), ("e", "x\n")];
        assert_eq!(
            check(clean, &files),
            [
                "a:2: blanks at the end of the line",
                "b:1: the file does not end with exactly one line end",
                "c:2: the file does not end with exactly one line end"
            ]
        );
    }

    #[test]
    fn package_hosts_are_found_except_in_the_lock_file() {
        let text = format!("fine\nregistry+https://github.com/rust-lang/{}-index\n", HOSTS[0]);
        assert_eq!(check(places, &[("Cargo.lock", &text)]), NONE);
        assert_eq!(check(places, &[("README.md", &text)]).len(), 1);
    }

    #[test]
    fn paths_of_one_machine_are_found_but_not_paths_that_only_look_like_it() {
        let home = MACHINE_PATHS[0];
        let found = format!("cd {home}me\n");
        let fine = format!("https://example.org{home}x\n./a{home}x\n");
        assert_eq!(check(places, &[("a", &found)]), [format!("a:1: a path under {home}")]);
        assert_eq!(check(places, &[("a", &fine)]), NONE);
    }

    #[test]
    fn readme_and_ci_say_the_same() {
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
