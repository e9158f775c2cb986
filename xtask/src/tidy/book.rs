//! The book in `docs/book`: its table of contents, its links, and that its listings are tests.

use super::{Finding, Tree, line_of};

const CHAPTERS: &str = "docs/book/src/";
const CONTENTS: &str = "SUMMARY.md";

/// The crate whose documentation tests have the listings.
const TESTS: &str = "steelmill-sim/ecosystem/src/lib.rs";

/// Every chapter is in the table of contents, every link leads to a chapter or a file, every page that is included is there, and every
/// chapter with listings is a test.
pub(super) fn chapters(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    let contents = tree.files.get(&format!("{CHAPTERS}{CONTENTS}")).map_or("", String::as_str);
    let tests = tree.files.get(TESTS).map_or("", String::as_str);
    for (path, text) in &tree.files {
        let Some(name) = path.strip_prefix(CHAPTERS) else {
            continue;
        };
        let mut found = |needle: &str, problem: String, reason, fix: &str| {
            findings.push(Finding {
                path: path.clone(),
                line: line_of(text, needle),
                problem,
                reason,
                fix: fix.into(),
            });
        };
        if name != CONTENTS && !contents.contains(&format!("]({name})")) {
            found("", format!("{name} is not in {CONTENTS}"), "mdBook leaves it out", "add a line for it");
        }
        for target in linked(text, "](", ')').chain(linked(text, "{{#include ", '}')) {
            let file = target.split('#').next().unwrap_or_default();
            let is_file = !file.is_empty() && !file.contains("://");
            if is_file && !tree.files.contains_key(&resolved(CHAPTERS, file)) {
                found(
                    target,
                    format!("there is no {file}"),
                    "a reader cannot follow it",
                    "name a file that is there",
                );
            }
        }
        if text.contains("```rust") && !tests.contains(&format!("{CHAPTERS}{name}")) {
            let fix = format!("include it in {TESTS}, as the others");
            found("```rust", "no test has this listing".into(), "it can stop working unnoticed", &fix);
        }
    }
    findings
}

/// What is between `open` and `close`, each time.
fn linked<'a>(text: &'a str, open: &'a str, close: char) -> impl Iterator<Item = &'a str> {
    text.split(open).skip(1).filter_map(move |rest| Some(rest.split_once(close)?.0))
}

/// A path relative to a folder, as one from the root.
fn resolved(folder: &str, path: &str) -> String {
    let mut parts: Vec<&str> = folder.split_terminator('/').collect();
    for part in path.split('/') {
        match part {
            ".." => drop(parts.pop()),
            "." => {}
            part => parts.push(part),
        }
    }
    parts.join("/")
}

#[cfg(test)]
mod tests {
    use super::super::tests::check;
    use super::*;

    #[test]
    fn a_chapter_is_listed_linked_and_tested() {
        let contents = "- [One](one.md)\n- [Two](two.md)\n";
        let one = "# One\n[two](two.md#part) [web](https://example.org/x.md)\n```rust\nf();\n```\n";
        let tests = "#[doc = include_str!(\"../../../docs/book/src/one.md\")]\n";
        let two = "{{#include ../../two.md}}\n";
        let files = |contents, two| {
            [
                ("docs/book/src/SUMMARY.md", contents),
                ("docs/book/src/one.md", one),
                ("docs/book/src/two.md", two),
                ("docs/two.md", "# Two\n"),
                (TESTS, tests),
            ]
        };
        assert_eq!(check(chapters, &files(contents, two)), [] as [&str; 0]);
        assert_eq!(
            check(
                chapters,
                &files("- [One](one.md)\n- [Three](three.md)\n", "\n```rust\n[x](../../three.md)\n")
            ),
            [
                "docs/book/src/SUMMARY.md:2: there is no three.md",
                "docs/book/src/two.md:1: two.md is not in SUMMARY.md",
                "docs/book/src/two.md:3: there is no ../../three.md",
                "docs/book/src/two.md:2: no test has this listing",
            ]
        );
    }
}
