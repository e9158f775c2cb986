//! What Rust files may contain, and where.

use super::tokens::{Token, find, tokens};
use super::{Finding, Tree};

/// The files that may contain `unsafe`: few and small, each with its argument beside the code.
const UNSAFE: &[&str] = &[
    "steelmill-sim/src/kernel/probe.rs",
    "steelmill-sim/src/machine/waker.rs",
    "steelmill-sim/src/machine/cluster.rs",
    "steelmill-sim/src/kernel/code.rs",
    "steelmill-sim/src/kernel/spinning.rs",
    "steelmill-sim/src/machine/real.rs",
    "steelmill-sim/src/machine/thread_data.rs",
    "steelmill-sim/src/machine/allocators/linked.rs",
    "steelmill-sim/src/machine/executable.rs",
    "steelmill-sim/src/machine/statics/image.rs",
    "steelmill-sim/src/machine/threads.rs",
    "steelmill-sim/src/machine/threads/context.rs",
    "steelmill-sim/src/machine/threads/exit.rs",
    "steelmill-sim/src/machine/threads/locals.rs",
    "steelmill-sim/src/machine/threads/real_thread.rs",
    "steelmill-sim/src/machine/futex.rs",
    "steelmill-sim/src/machine/lock_watch.rs",
    "steelmill-sim/src/machine/program.rs",
    "steelmill-sim/src/machine/runtimes.rs",
    "steelmill-sim/src/campaign/fresh_thread.rs",
    "steelmill-sim/src/host/allocators.rs",
    "steelmill-sim/src/host/counter.rs",
    "steelmill-sim/src/host/fork.rs",
    "steelmill-sim/src/host/purity.rs",
    "steelmill-sim/src/host/raw_calls.rs",
    "steelmill-sim/src/host/libc/mod.rs",
    "steelmill-sim/src/host/libc/usage.rs",
    "steelmill-sim/src/host/libc/address.rs",
    "steelmill-sim/src/host/libc/c11_threads.rs",
    "steelmill-sim/src/host/libc/conditions.rs",
    "steelmill-sim/src/host/libc/control.rs",
    "steelmill-sim/src/host/libc/directories.rs",
    "steelmill-sim/src/host/libc/epoll.rs",
    "steelmill-sim/src/host/libc/file_locks.rs",
    "steelmill-sim/src/host/libc/files.rs",
    "steelmill-sim/src/host/libc/futex.rs",
    "steelmill-sim/src/host/libc/environment.rs",
    "steelmill-sim/src/host/libc/identity.rs",
    "steelmill-sim/src/host/libc/interfaces.rs",
    "steelmill-sim/src/host/libc/inotify.rs",
    "steelmill-sim/src/host/libc/limits.rs",
    "steelmill-sim/src/host/libc/local_time.rs",
    "steelmill-sim/src/host/libc/locks.rs",
    "steelmill-sim/src/host/libc/mappings.rs",
    "steelmill-sim/src/host/libc/names.rs",
    "steelmill-sim/src/host/libc/paths.rs",
    "steelmill-sim/src/host/libc/process.rs",
    "steelmill-sim/src/host/libc/fortified.rs",
    "steelmill-sim/src/host/libc/refused.rs",
    "steelmill-sim/src/host/libc/select.rs",
    "steelmill-sim/src/host/libc/signals.rs",
    "steelmill-sim/src/host/libc/sockets.rs",
    "steelmill-sim/src/host/libc/status.rs",
    "steelmill-sim/src/host/libc/streams.rs",
    "steelmill-sim/src/host/libc/symbols.rs",
    "steelmill-sim/src/host/libc/temporary.rs",
    "steelmill-sim/src/host/libc/threads.rs",
    "steelmill-sim/src/host/libc/time.rs",
    "steelmill-sim/src/host/libc/transfers.rs",
    "steelmill-sim/src/host/libc/unwinding.rs",
    "steelmill-sim/src/host/libc/users.rs",
    "steelmill-sim/src/host/libc/variadic.rs",
    "steelmill-core/meter/src/lib.rs",
    "steelmill-sim/examples/linux/calls.rs",
    "steelmill-sim/examples/linux/epolls/course.rs",
    "steelmill-sim/examples/linux/files/calls.rs",
    "steelmill-sim/ecosystem/tests/allocators/jemalloc.rs",
    "steelmill-sim/ecosystem/tests/databases/lmdb.rs",
    "steelmill-sim/tests/c_library.rs",
    "steelmill-sim/tests/programs/addresses.rs",
    "steelmill-sim/tests/programs/disk.rs",
    "steelmill-sim/tests/programs/endings.rs",
    "steelmill-sim/tests/programs/files.rs",
    "steelmill-sim/tests/programs/inotify.rs",
    "steelmill-sim/tests/programs/limits.rs",
    "steelmill-sim/tests/programs/locks.rs",
    "steelmill-sim/tests/programs/identity.rs",
    "steelmill-sim/tests/programs/interfaces.rs",
    "steelmill-sim/tests/programs/names.rs",
    "steelmill-sim/tests/programs/raw_calls.rs",
    "steelmill-sim/tests/programs/signals.rs",
    "steelmill-sim/tests/programs/statics.rs",
    "steelmill-sim/tests/programs/sockets.rs",
    "steelmill-sim/tests/programs/thread_locals.rs",
    "steelmill-sim/tests/programs/waiting.rs",
    "steelmill-sim/tests/scale/memory.rs",
];

/// The root files of crates without `unsafe`, which must forbid it.
const SAFE_ROOTS: &[&str] = &[
    "steelmill-core/src/lib.rs",
    "steelmill-sim/acceptance/src/lib.rs",
    "steelmill-sim/ecosystem/src/lib.rs",
    "steelmill-runtime/src/lib.rs",
    "demo-app/src/main.rs",
    "xtask/src/main.rs",
];

/// The demo's files that may name a world.
const WORLD_AWARE: &[&str] = &["demo-app/src/world.rs", "demo-app/src/main.rs"];

/// Code that must not be committed, as tokens; why; what to do instead.
const LEFTOVERS: &[(&[&str], &str, &str)] = &[
    (
        &["async_trait"],
        "it allocates a future per call; native async in traits does not",
        "declare `-> impl Future + Send` and implement with `async fn`",
    ),
    (&["todo", "!"], "it panics when it is reached", "implement it, or remove the path that leads to it"),
    (
        &["unimplemented", "!"],
        "it panics when it is reached",
        "implement it, or remove the path that leads to it",
    ),
    (&["dbg", "!"], "a debugging leftover", "remove it, or log it with tracing"),
    (
        &["#", "[", "ignore"],
        "a test that does not run proves nothing",
        "make it fast enough to run, or delete it",
    ),
];

/// Files that cannot be tokenized. They are found here, once, and skipped by the other rules.
pub(super) fn readable(tree: &Tree) -> Vec<Finding> {
    tree.rust()
        .filter_map(|(path, text)| {
            let error = tokens(text).err()?;
            Some(Finding {
                path: path.into(),
                line: error.span().start().line,
                problem: "the file is not valid Rust".into(),
                reason: "the other rules cannot check it",
                fix: "make it compile".into(),
            })
        })
        .collect()
}

/// Every file begins with its documentation.
pub(super) fn headers(tree: &Tree) -> Vec<Finding> {
    tree.rust()
        .filter(|(_, text)| !text.starts_with("//! "))
        .map(|(path, _)| Finding {
            path: path.into(),
            line: 1,
            problem: "the file does not begin with `//! `".into(),
            reason: "a reader needs the purpose of a file before its first `use`",
            fix: "state the problem it solves and its invariants, in a sentence or two".into(),
        })
        .collect()
}

/// `unsafe` appears only in the listed files, and crates without it forbid it.
pub(super) fn unsafe_code(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, tokens) in tokenized(tree) {
        if SAFE_ROOTS.contains(&path) && find(&tokens, &["forbid", "(", "unsafe_code"]).is_empty() {
            findings.push(Finding {
                path: path.into(),
                line: 1,
                problem: "the crate does not forbid unsafe code".into(),
                reason: "`forbid` cannot be relaxed in a module, so nobody has to read the crate to know that it is safe",
                fix: "add #![forbid(unsafe_code)]".into(),
            });
        }
        if !UNSAFE.contains(&path) {
            findings.extend(find(&tokens, &["unsafe"]).into_iter().map(|line| Finding {
                path: path.into(),
                line,
                problem: "unsafe code outside the files listed for it".into(),
                reason: "each unsafe line needs an argument and a second reviewer, so they stay in a few small files",
                fix: "avoid it, or list the file in xtask/src/tidy/source.rs and write the argument beside the code".into(),
            }));
        }
    }
    findings
}

/// Only two files of the demo name a world; the others are the same program in both.
pub(super) fn worlds(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, tokens) in tokenized(tree) {
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
                problem: format!("`{}` names a world", pattern.join(" ")),
                reason: "the demo is one program: what it does must not depend on the world it runs in",
                fix: "use what `crate::world` offers, or decide it in world.rs or main.rs; a test of one world says \
                      so with `required-features` in Cargo.toml"
                    .into(),
            }));
        }
    }
    findings
}

/// Core has no lock, not even an async one; it coordinates through atomics and async primitives.
pub(super) fn core_locks(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, tokens) in tokenized(tree) {
        if !path.starts_with("steelmill-core/src/") {
            continue;
        }
        for lock in ["Mutex", "RwLock", "Condvar", "ReentrantLock"] {
            findings.extend(find(&tokens, &[lock]).into_iter().map(|line| Finding {
                path: path.into(),
                line,
                problem: format!("{lock} in core"),
                reason: "starting and stopping must not hold a lock across user code, and a lookup must not take one",
                fix: "give the state one owner, or use an atomic, a watch channel or a set-once cell".into(),
            }));
        }
    }
    findings
}

/// Code that is fine while working but must not be committed.
pub(super) fn leftovers(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, tokens) in tokenized(tree) {
        for (pattern, reason, fix) in LEFTOVERS {
            findings.extend(find(&tokens, pattern).into_iter().map(|line| Finding {
                path: path.into(),
                line,
                problem: format!("`{}`", pattern.concat()),
                reason,
                fix: (*fix).into(),
            }));
        }
    }
    findings
}

fn tokenized<'a>(tree: &'a Tree) -> impl Iterator<Item = (&'a str, Vec<Token>)> {
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
            check(unsafe_code, &[("steelmill-sim/src/host/purity.rs", code), ("a.rs", code)]),
            ["a.rs:3: unsafe code outside the files listed for it"]
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
    fn leftovers_are_found_in_code_only() {
        let code = "//! todo!\nfn f() {\n    let todo = \"dbg!\";\n    todo!(\"x\")\n}\n#[test]\n#[ignore = \"slow\"]\nfn g() {}\n";
        assert_eq!(check(leftovers, &[("a.rs", code)]), ["a.rs:4: `todo!`", "a.rs:7: `#[ignore`"]);
        assert_eq!(check(leftovers, &[("a.md", code)]), NONE);
    }
}
