//! What Rust files may say, and where.

use super::tokens::{Token, find, tokens};
use super::{Finding, Tree};

/// The files that may hold `unsafe`, each with its argument beside the code. Small and few; everything else forbids it.
const UNSAFE: &[&str] = &[
    "steelmill-sim/src/waker.rs",
    "steelmill-sim/src/purity.rs",
    "steelmill-sim/benches/peers/meter.rs",
    "steelmill-sim/tests/scale/memory.rs",
];

/// Crates without any `unsafe` say so to the compiler in their root file.
const SAFE_ROOTS: &[&str] = &[
    "steelmill-core/src/lib.rs",
    "steelmill-sim/acceptance/src/lib.rs",
    "steelmill-runtime/src/lib.rs",
    "demo-app/src/main.rs",
    "xtask/src/main.rs",
];

/// The demo's files that may know that there are two worlds.
const WORLD_AWARE: &[&str] = &["demo-app/src/world.rs", "demo-app/src/main.rs"];

/// Words that must not land, as tokens; why; what to do instead.
const WORDS: &[(&[&str], &str, &str)] = &[
    (
        &["async_trait"],
        "native async in traits is what makes a call through a world cost nothing",
        "declare `-> impl Future + Send` and implement with `async fn`",
    ),
    (
        &["todo", "!"],
        "a promise in the code is a panic in somebody's hands",
        "write it, or leave the path to it out",
    ),
    (
        &["unimplemented", "!"],
        "a promise in the code is a panic in somebody's hands",
        "write it, or leave the path to it out",
    ),
    (&["dbg", "!"], "left over from looking for something", "remove it, or log it with tracing"),
    (
        &["#", "[", "ignore"],
        "a test that does not run proves nothing",
        "make it fast enough to run, or delete it",
    ),
];

/// A file that cannot be taken apart is found here, once, and passed over by the other rules.
pub(super) fn readable(tree: &Tree) -> Vec<Finding> {
    tree.rust()
        .filter_map(|(path, text)| {
            let error = tokens(text).err()?;
            Some(Finding {
                path: path.into(),
                line: error.span().start().line,
                what: "this is not Rust that can be read".into(),
                why: "the other rules cannot look into it",
                fix: "make it compile".into(),
            })
        })
        .collect()
}

/// Every file begins by saying what it is about.
pub(super) fn headers(tree: &Tree) -> Vec<Finding> {
    tree.rust()
        .filter(|(_, text)| !text.starts_with("//! "))
        .map(|(path, _)| Finding {
            path: path.into(),
            line: 1,
            what: "the file does not begin with `//! `".into(),
            why: "a reader wants to know what a file is about before its first `use`",
            fix: "state the problem it solves and what always holds, in a sentence or two".into(),
        })
        .collect()
}

/// `unsafe` lives in the files listed for it, and the crates without any forbid it.
pub(super) fn unsafe_code(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, tokens) in taken_apart(tree) {
        if SAFE_ROOTS.contains(&path) && find(&tokens, &["forbid", "(", "unsafe_code"]).is_empty() {
            findings.push(Finding {
                path: path.into(),
                line: 1,
                what: "the crate does not forbid unsafe code".into(),
                why: "`forbid` cannot be relaxed further in; that no file of it is unsafe should not need reading",
                fix: "add #![forbid(unsafe_code)]".into(),
            });
        }
        if !UNSAFE.contains(&path) {
            findings.extend(find(&tokens, &["unsafe"]).into_iter().map(|line| Finding {
                path: path.into(),
                line,
                what: "unsafe code outside the files that may hold it".into(),
                why: "each unsafe line needs an argument and a second reader: they stay in a few small files",
                fix: "do without, or list the file, with its argument inside, in xtask/src/tidy/source.rs".into(),
            }));
        }
    }
    findings
}

/// Which world it runs in is decided in two files of the demo; the others are the same program in both.
pub(super) fn worlds(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, tokens) in taken_apart(tree) {
        if !path.starts_with("demo-app/") || WORLD_AWARE.contains(&path) {
            continue;
        }
        for pattern in [
            ["steelmill_sim"].as_slice(),
            &["steelmill_runtime"],
            &["feature", "=", "\"sim\""],
            &["feature", "=", "\"runtime\""],
        ] {
            findings.extend(find(&tokens, pattern).into_iter().map(|line| Finding {
                path: path.into(),
                line,
                what: format!("`{}` names a world", pattern.join(" ")),
                why: "the demo is one program: what it does must not depend on the world it runs in",
                fix: "use what `crate::world` offers, or decide it in world.rs or main.rs; a test of one world says \
                      so with `required-features` in Cargo.toml"
                    .into(),
            }));
        }
    }
    findings
}

/// Core coordinates through atomics and async primitives; not even an async mutex is held there.
pub(super) fn core_locks(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, tokens) in taken_apart(tree) {
        if !path.starts_with("steelmill-core/src/") {
            continue;
        }
        for lock in ["Mutex", "RwLock", "Condvar", "ReentrantLock"] {
            findings.extend(find(&tokens, &[lock]).into_iter().map(|line| Finding {
                path: path.into(),
                line,
                what: format!("{lock} in core"),
                why: "starting and stopping never hold a lock across user code, and a lookup takes none",
                fix: "give the state one owner, or use an atomic, a watch or a set-once cell".into(),
            }));
        }
    }
    findings
}

/// Words that are fine on the way but must not land.
pub(super) fn words(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, tokens) in taken_apart(tree) {
        for (pattern, why, fix) in WORDS {
            findings.extend(find(&tokens, pattern).into_iter().map(|line| Finding {
                path: path.into(),
                line,
                what: format!("`{}`", pattern.concat()),
                why,
                fix: (*fix).into(),
            }));
        }
    }
    findings
}

fn taken_apart<'a>(tree: &'a Tree) -> impl Iterator<Item = (&'a str, Vec<Token>)> {
    tree.rust().filter_map(|(path, text)| Some((path, tokens(text).ok()?)))
}

#[cfg(test)]
mod tests {
    use super::super::tests::check;
    use super::*;

    const NONE: [&str; 0] = [];

    #[test]
    fn a_file_that_is_not_rust_is_found() {
        assert_eq!(check(readable, &[("a.rs", "fn f() {\n"), ("b.rs", "fn f() {}\n")]).len(), 1);
    }

    #[test]
    fn every_rust_file_has_a_header() {
        let files = [("a.rs", "//! About.\n"), ("b.rs", "// Hm.\n"), ("c.md", "# No\n")];
        assert_eq!(check(headers, &files), ["b.rs:1: the file does not begin with `//! `"]);
    }

    #[test]
    fn unsafe_is_found_outside_its_files() {
        let code = "//! Not unsafe.\nfn f() {\n    unsafe { g() }\n}\n";
        assert_eq!(
            check(unsafe_code, &[("steelmill-sim/src/purity.rs", code), ("a.rs", code)]),
            ["a.rs:3: unsafe code outside the files that may hold it"]
        );
    }

    #[test]
    fn safe_crates_forbid_unsafe() {
        let forbids = "//! x\n#![forbid(unsafe_code)]\n";
        assert_eq!(
            check(
                unsafe_code,
                &[("xtask/src/main.rs", forbids), ("steelmill-core/src/lib.rs", "//! forbid(unsafe_code)\n")]
            ),
            ["steelmill-core/src/lib.rs:1: the crate does not forbid unsafe code"]
        );
    }

    #[test]
    fn the_demo_names_its_world_in_two_files_only() {
        let code = "//! steelmill_sim\n#[cfg(feature = \"sim\")]\nuse steelmill_sim::Sim;\n";
        let files = [
            ("demo-app/src/world.rs", code),
            ("demo-app/src/main.rs", code),
            ("demo-app/src/store.rs", code),
            ("steelmill-sim/src/lib.rs", code),
        ];
        assert_eq!(
            check(worlds, &files),
            [
                "demo-app/src/store.rs:3: `steelmill_sim` names a world",
                "demo-app/src/store.rs:2: `feature = \"sim\"` names a world"
            ]
        );
    }

    #[test]
    fn core_holds_no_lock_of_any_kind() {
        let code = "//! A Mutex.\nuse tokio::sync::Mutex;\n";
        assert_eq!(
            check(core_locks, &[("steelmill-core/src/a.rs", code), ("steelmill-core/tests/a.rs", code)]),
            ["steelmill-core/src/a.rs:2: Mutex in core"]
        );
    }

    #[test]
    fn words_that_must_not_land_are_found_in_code_only() {
        let code = "//! todo!\nfn f() {\n    let todo = \"dbg!\";\n    todo!(\"x\")\n}\n#[test]\n#[ignore = \"slow\"]\nfn g() {}\n";
        assert_eq!(check(words, &[("a.rs", code)]), ["a.rs:4: `todo!`", "a.rs:7: `#[ignore`"]);
        assert_eq!(check(words, &[("a.md", code)]), NONE);
    }
}
