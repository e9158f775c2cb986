//! Allowed imports between the rooms of a crate: its top-level modules, each a file or a folder.
//!
//! `lib.rs` and `main.rs` belong to no room and may import all of them. A path to an item that they re-export counts as
//! an import of the room that defines it. Unit tests count like other code. A crate without a table is not checked.
//!
//! Imports are paths that begin with `crate`, `super` or `self`, read from tokens. Not detected: paths that a macro
//! concatenates, modules under `#[path]`, aliases of the crate (`use crate as x`), and methods, which need no path.

use std::collections::{BTreeMap, BTreeSet};

use super::tokens::{Token, tokens};
use super::{Finding, Tree, line_of};

struct Layout {
    /// The crate's folder, from the root of the workspace.
    folder: &'static str,
    /// Lowest first.
    rooms: &'static [(&'static str, Imports)],
    /// Imports allowed in addition: the importing room, the imported one, and the reason.
    exceptions: &'static [(&'static str, &'static str, &'static str)],
}

/// What a room may import.
enum Imports {
    /// Any room before it in the table.
    Lower,
    /// Exactly these of the rooms before it.
    Only(&'static [&'static str]),
}

use Imports::{Lower, Only};

/// The checked crates. For another one, add its rooms lowest first, and `Only` where a short list of imports says more.
const LAYOUTS: &[Layout] = &[
    Layout {
        folder: "steelmill-sim",
        rooms: &[
            ("schema", Lower),
            ("kernel", Lower),
            ("machine", Lower),
            ("trace", Lower),
            ("fault", Lower),
            ("host", Lower),
            ("run", Lower),
            ("campaign", Lower),
            ("explain", Lower),
            ("cli", Lower),
        ],
        exceptions: &[],
    },
    Layout {
        folder: "steelmill-core",
        rooms: &[
            ("sync", Only(&[])),
            ("label", Only(&[])),
            ("policy", Only(&[])),
            ("health", Only(&[])),
            ("status", Only(&["health"])),
            ("readiness", Only(&["health", "status"])),
            ("panic", Only(&[])),
            ("coverage", Only(&[])),
            ("cell", Only(&["label", "sync"])),
            ("supervision", Only(&["panic"])),
            ("report", Only(&["cell", "panic"])),
            ("changes", Only(&["cell", "health", "status"])),
            ("daemon", Only(&["health", "label", "panic", "report"])),
            ("clock", Only(&["daemon"])),
            ("entropy", Only(&["daemon"])),
            ("net", Only(&["daemon"])),
            ("spawn", Only(&["daemon", "health", "panic", "status", "supervision"])),
            ("world", Only(&["clock", "entropy", "net", "spawn"])),
            ("driver", Only(&["clock", "entropy", "health", "spawn", "status", "supervision", "world"])),
            ("control", Lower),
            ("config", Only(&["label"])),
            ("factory", Lower),
            ("scope", Lower),
            ("lifecycle", Lower),
            ("supervised", Lower),
            ("catalog", Lower),
            ("contract", Only(&["clock", "entropy", "net", "spawn", "world"])),
        ],
        exceptions: &[
            ("daemon", "factory", "the trait's signatures name Factory"),
            ("daemon", "scope", "the trait's signatures name Scope"),
        ],
    },
    Layout {
        folder: "xtask",
        rooms: &[
            ("workspace", Only(&[])),
            ("steps", Only(&[])),
            ("libtest", Only(&["steps"])),
            ("beside", Only(&["libtest", "steps", "workspace"])),
            ("sim", Only(&["workspace"])),
            ("bench", Only(&["sim", "steps", "workspace"])),
            ("canaries", Only(&["workspace"])),
            ("bugs", Only(&["sim", "workspace"])),
            ("ecosystem", Only(&["libtest", "steps", "workspace"])),
            ("new", Only(&["workspace"])),
            ("package", Only(&["libtest", "new", "steps", "workspace"])),
            ("acceptance", Lower),
            ("test", Lower),
            ("tidy", Only(&["test", "workspace"])),
            ("lint", Lower),
        ],
        exceptions: &[],
    },
    Layout {
        folder: "steelmill-runtime",
        rooms: &[
            ("clock", Only(&[])),
            ("entropy", Only(&[])),
            ("net", Only(&[])),
            ("supervise", Only(&[])),
            ("spawn", Only(&["supervise"])),
            ("world", Only(&["clock", "entropy", "net", "spawn"])),
            ("logging", Only(&["world"])),
            ("probes", Only(&["world"])),
            ("reload", Only(&[])),
            ("notify", Only(&[])),
            ("signal", Only(&["logging", "notify", "reload"])),
            ("run", Only(&["logging", "reload", "signal", "world"])),
        ],
        exceptions: &[],
    },
    Layout {
        folder: "demo-app",
        rooms: &[
            ("world", Only(&[])),
            ("hash", Only(&["world"])),
            ("read_buffer", Only(&[])),
            ("resp", Only(&["read_buffer"])),
            ("token", Only(&[])),
            ("memory", Only(&[])),
            ("wire", Only(&["read_buffer", "resp"])),
            ("settings", Only(&["resp"])),
            ("storage", Only(&["settings", "token", "world"])),
            ("descriptors", Only(&["world"])),
            ("listener", Only(&["descriptors", "world"])),
            ("service", Only(&["descriptors", "listener", "memory", "settings", "storage", "wire", "world"])),
            ("store", Only(&["hash", "service", "settings", "storage", "token", "wire", "world"])),
            ("lease", Only(&["service", "settings", "storage", "token", "wire", "world"])),
            ("cache", Only(&["hash", "lease", "settings", "store", "world"])),
            ("link", Only(&["service", "settings", "wire", "world"])),
            (
                "gateway",
                Only(&[
                    "cache",
                    "descriptors",
                    "lease",
                    "link",
                    "listener",
                    "memory",
                    "resp",
                    "settings",
                    "store",
                    "world",
                ]),
            ),
            ("daemons", Only(&["gateway", "lease", "service", "settings", "store"])),
            ("cli", Only(&["daemons", "gateway", "settings", "world"])),
            ("cluster", Only(&["daemons", "gateway", "lease", "read_buffer", "settings", "store", "world"])),
        ],
        exceptions: &[],
    },
];

/// The file with the tables: this one.
const TABLES: &str = "xtask/src/tidy/rooms.rs";

/// Rooms import each other only as their crate's table allows.
pub(super) fn imports(tree: &Tree) -> Vec<Finding> {
    LAYOUTS.iter().flat_map(|layout| check_crate(tree, layout)).collect()
}

fn check_crate(tree: &Tree, layout: &Layout) -> Vec<Finding> {
    let source = Source::read(tree, layout.folder);
    let mut findings = source.globs();
    let known = |room: &str| layout.rooms.iter().any(|(name, _)| *name == room);
    for (room, path) in source.rooms() {
        if !known(room) {
            findings.push(Finding {
                path: path.into(),
                line: 1,
                problem: format!("the room {room} is not in the table of {}", layout.folder),
                reason: "what a module may import is decided when it is added, or import cycles grow",
                fix: format!("move it into a room that exists, or give it a line in {TABLES}"),
            });
        }
    }
    let (mut used, mut reported) = (BTreeSet::new(), BTreeSet::new());
    for import in source.imports() {
        let Some(to) = import.room else {
            findings.push(Finding {
                path: import.path.into(),
                line: import.line,
                problem: format!("`{}` imports the whole crate root", import.written),
                reason: "it hides which rooms the file imports",
                fix: "name the imported items".into(),
            });
            continue;
        };
        if import.from == to || !known(import.from) || !known(to) {
            continue;
        }
        if layout.allows(import.from, to) {
            used.insert((import.from, to));
            continue;
        }
        let finding = Finding {
            path: import.path.into(),
            line: import.line,
            problem: format!("{} imports {to}: `{}`", import.from, import.written),
            reason: "rooms import one way, so that each can be read and changed without those above it",
            fix: format!(
                "move what both need into a lower room, hand it in as an argument or through a trait, or change the \
                 table in {TABLES} and the drawing in ARCHITECTURE.md"
            ),
        };
        if reported.insert((import.path, import.line, to)) {
            findings.push(finding);
        }
    }
    findings.extend(stale(tree, layout, &source, &used));
    findings
}

/// Rooms and imports in the table that do not exist in the crate.
fn stale(tree: &Tree, layout: &Layout, source: &Source, used: &BTreeSet<(&str, &str)>) -> Vec<Finding> {
    let mut problems = Vec::new();
    for (room, imports) in layout.rooms {
        if !source.rooms().contains_key(room) {
            problems.push((*room, format!("{} has no room {room}", layout.folder)));
        } else if let Only(listed) = imports {
            let unused = listed.iter().filter(|to| !used.contains(&(*room, **to)));
            problems.extend(
                unused.map(|to| (*room, format!("{room} of {} does not import {to}", layout.folder))),
            );
        }
    }
    for (from, to, _) in layout.exceptions {
        if !used.contains(&(*from, *to)) {
            problems.push((*from, format!("{from} of {} does not import {to}", layout.folder)));
        }
    }
    let text = tree.files.get(TABLES).map_or("", String::as_str);
    let finding = |(room, problem): (&str, String)| Finding {
        path: TABLES.into(),
        line: line_of(text, &format!("(\"{room}\"")),
        problem,
        reason: "the table documents the imports between rooms, so it must list only those that exist",
        fix: "remove it from the table".into(),
    };
    problems.into_iter().map(finding).collect()
}

impl Layout {
    fn allows(&self, from: &str, to: &str) -> bool {
        let place = |room: &str| self.rooms.iter().position(|(name, _)| *name == room);
        let listed = match self.rooms.iter().find(|(name, _)| *name == from) {
            Some((_, Lower)) => place(to) < place(from),
            Some((_, Only(rooms))) => rooms.contains(&to),
            None => false,
        };
        listed || self.exceptions.iter().any(|(a, b, _)| (*a, *b) == (from, to))
    }
}

/// The modules of one crate, and the names that its root re-exports.
struct Source<'a> {
    files: Vec<File<'a>>,
    root: Option<File<'a>>,
    /// The `use` declarations of the crate root, by the path under which other modules reach them.
    exports: BTreeMap<Vec<String>, Export>,
    /// The room of each macro with `#[macro_export]`, whose path is `crate::name` wherever it is defined.
    macros: BTreeMap<String, &'a str>,
}

/// The target of a `use` in the crate root.
struct Export {
    /// From the crate root.
    path: Vec<String>,
    line: usize,
}

struct File<'a> {
    path: &'a str,
    /// Its module path, from the crate root.
    module: Vec<&'a str>,
    tokens: Vec<Token>,
}

/// A path in a room's code that leads to a room, maybe its own, or to the crate root.
struct Import<'a> {
    path: &'a str,
    line: usize,
    from: &'a str,
    /// The room that is imported; none if it is the whole crate root.
    room: Option<&'a str>,
    written: String,
}

impl<'a> Source<'a> {
    fn read(tree: &'a Tree, folder: &str) -> Self {
        let prefix = format!("{folder}/src/");
        let mut source =
            Self { files: Vec::new(), root: None, exports: BTreeMap::new(), macros: BTreeMap::new() };
        for (path, text) in tree.rust() {
            let Some(inside) =
                path.strip_prefix(prefix.as_str()).filter(|inside| !inside.starts_with("bin/"))
            else {
                continue;
            };
            let Ok(tokens) = tokens(text) else { continue };
            let mut module: Vec<&str> = inside.trim_end_matches(".rs").split('/').collect();
            module.pop_if(|last| *last == "mod");
            match module[..] {
                ["lib" | "main"] => source.root = Some(File { path, module: Vec::new(), tokens }),
                _ => source.files.push(File { path, module, tokens }),
            }
        }
        source.exports = source.root.as_ref().map(exports).unwrap_or_default();
        for file in &source.files {
            for name in exported_macros(&file.tokens) {
                source.macros.insert(name, file.module[0]);
            }
        }
        source
    }

    /// Each room with its first file.
    fn rooms(&self) -> BTreeMap<&'a str, &'a str> {
        self.files.iter().rev().map(|file| (file.module[0], file.path)).collect()
    }

    /// Glob re-exports of rooms in the crate root.
    fn globs(&self) -> Vec<Finding> {
        let Some(root) = &self.root else { return Vec::new() };
        let globs = self.exports.iter().filter(|(name, _)| name.last().is_some_and(|last| last == "*"));
        let of_rooms = globs.filter(|(_, export)| self.room_of(&export.path, 0).is_some());
        let finding = |export: &Export| Finding {
            path: root.path.into(),
            line: export.line,
            problem: format!("the crate root re-exports `{}`", export.path.join("::")),
            reason: "it hides which room defines an item that is imported from the crate root",
            fix: "name the items".into(),
        };
        of_rooms.map(|(_, export)| finding(export)).collect()
    }

    fn imports(&self) -> impl Iterator<Item = Import<'_>> {
        self.files.iter().flat_map(|file| {
            paths(&file.tokens).into_iter().filter_map(|path| {
                let module = file.module.iter().map(|part| (*part).to_owned()).chain(path.inside.clone());
                let target = absolute(module.collect(), &path.parts)?;
                let room = match &target[..] {
                    // The root itself, or everything in it.
                    [] => None,
                    [all] if all == "*" => None,
                    _ => Some(self.room_of(&target, 0)?),
                };
                let written = path.parts.join("::");
                Some(Import { path: file.path, line: path.line, from: file.module[0], room, written })
            })
        })
    }

    /// The room of an item, given its path from the crate root; none for items of the root and of other crates.
    fn room_of(&self, path: &[String], hops: usize) -> Option<&str> {
        let first = path.first()?;
        let room = self.files.iter().map(|file| file.module[0]).find(|room| room == first);
        // `crate::x` may be a function re-exported from another room; `crate::x::y` is in the room `x`.
        if room.is_some() && (path.len() > 1 || !self.exports.contains_key(path)) {
            return room;
        }
        let through = (1..=path.len()).find_map(|length| Some((length, self.exports.get(&path[..length])?)));
        match through {
            Some((length, export)) if hops < 8 => {
                self.room_of(&[&export.path, &path[length..]].concat(), hops + 1)
            }
            _ => self.macros.get(first).copied(),
        }
    }
}

/// The `use` declarations of the crate root.
fn exports(root: &File) -> BTreeMap<Vec<String>, Export> {
    let mut exports = BTreeMap::new();
    walk(&root.tokens, |at, inside| {
        if root.tokens[at].text != "use" || is_followed_by(&root.tokens, at, &["<"]) {
            return at + 1;
        }
        let mut leaves = Vec::new();
        let end = read_tree(&root.tokens, at + 1, &mut Vec::new(), &mut leaves);
        for leaf in leaves {
            let Some(path) = absolute(inside.to_vec(), &leaf.parts) else { continue };
            let Some(name) = leaf.alias.or_else(|| path.last().cloned()) else { continue };
            exports.insert([inside, &[name]].concat(), Export { path, line: leaf.line });
        }
        end
    });
    exports
}

fn exported_macros(tokens: &[Token]) -> Vec<String> {
    let mut names = Vec::new();
    let mut is_exported = false;
    for at in 0..tokens.len() {
        match tokens[at].text.as_str() {
            "macro_export" => is_exported = true,
            "macro_rules" if is_exported => {
                names.extend(tokens.get(at + 2).map(|name| name.text.clone()));
                is_exported = false;
            }
            _ => {}
        }
    }
    names
}

/// A path in a file; a `use` tree gives one per leaf.
struct Path {
    parts: Vec<String>,
    alias: Option<String>,
    line: usize,
    /// The enclosing inline modules.
    inside: Vec<String>,
}

/// The first segment of a path that may leave its module within the crate.
const HEADS: [&str; 3] = ["crate", "super", "self"];

/// All paths that begin with one of [`HEADS`].
fn paths(tokens: &[Token]) -> Vec<Path> {
    let mut paths = Vec::new();
    walk(tokens, |at, inside| {
        if !HEADS.contains(&tokens[at].text.as_str()) || !is_followed_by(tokens, at, &[":", ":"]) {
            return at + 1;
        }
        let first = paths.len();
        let end = read_tree(tokens, at, &mut Vec::new(), &mut paths);
        for path in &mut paths[first..] {
            path.inside = inside.to_vec();
        }
        end
    });
    paths
}

/// Calls `visit` with token positions and their enclosing inline modules; it returns the next position to visit.
fn walk(tokens: &[Token], mut visit: impl FnMut(usize, &[String]) -> usize) {
    let (mut names, mut depths, mut depth) = (Vec::new(), Vec::new(), 0_usize);
    let mut at = 0;
    while at < tokens.len() {
        match tokens[at].text.as_str() {
            "{" => {
                depth += 1;
                if at >= 2 && tokens[at - 2].text == "mod" {
                    names.push(tokens[at - 1].text.clone());
                    depths.push(depth);
                }
            }
            "}" => {
                if depths.pop_if(|begun| *begun == depth).is_some() {
                    names.pop();
                }
                depth = depth.saturating_sub(1);
            }
            _ => {
                at = visit(at, &names);
                continue;
            }
        }
        at += 1;
    }
}

/// Parses a path or `use` tree that begins at `at`; returns the position after it.
fn read_tree(tokens: &[Token], mut at: usize, prefix: &mut Vec<String>, paths: &mut Vec<Path>) -> usize {
    let text = |at: usize| tokens.get(at).map_or("", |token| token.text.as_str());
    let length = prefix.len();
    let mut line = tokens.get(at).map_or(0, |token| token.line);
    loop {
        match text(at) {
            "{" => {
                at += 1;
                while !["}", ""].contains(&text(at)) {
                    let end = read_tree(tokens, at, prefix, paths);
                    at = end.max(at + 1); // skips commas, too
                }
                prefix.truncate(length);
                return at + 1;
            }
            part if part == "*" || is_word(part) => {
                line = tokens[at].line;
                prefix.push(part.trim_start_matches("r#").to_owned());
                at += 1;
            }
            _ => break,
        }
        let has_next = text(at) == ":" && text(at + 1) == ":";
        if !has_next || !(["{", "*"].contains(&text(at + 2)) || is_word(text(at + 2))) {
            break;
        }
        at += 2;
    }
    let is_in_macro = text(at) == ":" && text(at + 2) == "$"; // in a macro: the rest is not known
    if prefix.len() > length && !is_in_macro {
        let alias = (text(at) == "as" && !HEADS.contains(&text(at + 1))).then(|| text(at + 1).to_owned());
        at += if alias.is_some() { 2 } else { 0 };
        paths.push(Path { parts: prefix.clone(), alias, line, inside: Vec::new() });
    }
    prefix.truncate(length);
    at
}

/// A path from the crate root, given the module that contains it; none if it has too many `super`.
fn absolute(module: Vec<String>, parts: &[String]) -> Option<Vec<String>> {
    let mut path = module;
    for part in parts {
        match part.as_str() {
            "crate" => path.clear(),
            "super" => drop(path.pop()?),
            "self" => {}
            _ => path.push(part.clone()),
        }
    }
    Some(path)
}

fn is_word(text: &str) -> bool {
    text.starts_with(|c: char| c.is_alphabetic() || c == '_')
}

fn is_followed_by(tokens: &[Token], at: usize, texts: &[&str]) -> bool {
    tokens.get(at + 1..).is_some_and(|rest| {
        rest.len() >= texts.len() && rest.iter().zip(texts).all(|(token, text)| token.text == *text)
    })
}

#[cfg(test)]
mod tests {
    use super::super::tests::check;
    use super::*;

    const NONE: [&str; 0] = [];

    /// Runs the rule over files of a crate `house` with three rooms, where `low` may exceptionally import `spare`.
    fn check_house(files: &[(&str, &str)]) -> Vec<String> {
        const HOUSE: Layout = Layout {
            folder: "house",
            rooms: &[("low", Lower), ("middle", Lower), ("high", Only(&["low"])), ("top", Lower)],
            exceptions: &[("low", "middle", "a test needs one")],
        };
        // All that the table lists, so that only what a test adds is found.
        let mut all = vec![
            ("house/src/low/listed.rs", "use crate::middle::M;"),
            ("house/src/middle.rs", ""),
            ("house/src/high/listed.rs", "use crate::low::L;"),
            ("house/src/top.rs", ""),
        ];
        all.retain(|(path, _)| files.iter().all(|(other, _)| other != path));
        all.extend(files);
        check(|tree| check_crate(tree, &HOUSE), &all)
    }

    /// The imports found in `code`, the text of `low/code.rs`, by line and room.
    fn check_code(code: &str, expected: &[(usize, &str)]) {
        check_with_root("", code, expected);
    }

    fn check_with_root(root: &str, code: &str, expected: &[(usize, &str)]) {
        let found = check_house(&[("house/src/lib.rs", root), ("house/src/low/code.rs", code)]);
        let found: Vec<_> = found.iter().map(|text| text.split(": `").next().unwrap_or_default()).collect();
        let text = |(line, room): &(usize, &str)| format!("house/src/low/code.rs:{line}: low imports {room}");
        assert_eq!(found, expected.iter().map(text).collect::<Vec<_>>());
    }

    #[test]
    fn a_room_may_import_lower_rooms_and_itself() {
        let code = "use crate::{low, middle::M};\nuse super::other;\nuse std::{fmt, top::T};\nuse top::T;\n";
        assert_eq!(check_house(&[("house/src/middle/code.rs", code)]), NONE);
        assert_eq!(check_house(&[("elsewhere/src/low.rs", "use crate::top;")]), NONE, "not this crate's");
    }

    #[test]
    fn a_forbidden_import_says_where_and_what() {
        assert_eq!(
            check_house(&[("house/src/middle.rs", "\nuse crate::top::{\n    A,\n    b::C,\n};\n")]),
            [
                "house/src/middle.rs:3: middle imports top: `crate::top::A`",
                "house/src/middle.rs:4: middle imports top: `crate::top::b::C`"
            ]
        );
        assert_eq!(
            check_house(&[("house/src/high.rs", "use crate::middle;")]),
            ["house/src/high.rs:1: high imports middle: `crate::middle`"],
            "it is lower, but not on the list"
        );
    }

    #[test]
    fn imports_are_found_in_groups_in_code_and_in_tests() {
        check_code("use crate::{\n    low,\n    top::{self, A},\n    high,\n};", &[(3, "top"), (4, "high")]);
        check_code("use {std::fmt, crate::high as h};", &[(1, "high")]);
        check_code(
            "fn f() -> crate::top::T {\n    crate::high::<u8>(|_| crate::top::g)\n}",
            &[(1, "top"), (2, "high"), (2, "top")],
        );
        check_code(
            "macro_rules! m { ($f:ident) => { $crate::top::f(); super::super::$f() } }",
            &[(1, "top")],
        );
        check_code("fn f(x: crate::low::L) { x as crate::top::T; }", &[(1, "top")]);
        check_code("#[cfg(test)]\nmod tests {\n    use crate::top::T;\n}", &[(3, "top")]);
        check_code("pub(in crate::low) use r#crate::x;\npub(crate) fn f() {}", &[]);
    }

    #[test]
    fn comments_documentation_and_strings_do_not_count() {
        check_code("//! [`crate::top`]\n/// crate::top::T\nfn f() { \"crate::top::T\"; } // crate::top", &[]);
    }

    #[test]
    fn super_paths_that_climb_out_of_the_room_count() {
        check_code("use super::super::top::T;", &[(1, "top")]);
        check_code("use super::top::T;", &[]);
        check_code("use self::super::super::top::T;", &[(1, "top")]);
        check_code("use super::{a, super::{high, low}};", &[(1, "high")]);
        check_code(
            "mod inside {\n    use super::super::super::top;\n    use super::super::top;\n}\nuse super::super::high;",
            &[(2, "top"), (5, "high")],
        );
    }

    #[test]
    fn items_re_exported_at_the_root_belong_to_the_room_that_defines_them() {
        let root = "mod top;\npub use top::{T, U as V};\npub(crate) use high::deep;\npub use std::fmt::Debug;\n\
                    pub mod group {\n    pub use crate::high::H;\n    pub use super::T as Again;\n}\nstruct Own;";
        check_with_root(root, "use crate::{Debug, Own, T};", &[(1, "top")]);
        check_with_root(root, "fn f(_: crate::V) {}", &[(1, "top")]);
        check_with_root(root, "use crate::U;", &[]);
        check_with_root(root, "use crate::deep::er::D;", &[(1, "high")]);
        check_with_root(root, "use crate::group::{H, Again};", &[(1, "high"), (1, "top")]);
    }

    #[test]
    fn a_function_at_the_root_may_have_the_name_of_a_room() {
        let root = "pub use top::high;";
        check_with_root(root, "use crate::high;", &[(1, "top")]);
        check_with_root(root, "use crate::high::H;", &[(1, "high")]);
    }

    #[test]
    fn an_exported_macro_belongs_to_the_room_that_defines_it() {
        let top = "#[macro_export]\nmacro_rules! shout { () => {} }\nmacro_rules! whisper { () => {} }";
        let code = "fn f() { crate::shout!(); crate::whisper!(); }";
        assert_eq!(
            check_house(&[("house/src/top.rs", top), ("house/src/low/code.rs", code)]),
            ["house/src/low/code.rs:1: low imports top: `crate::shout`"]
        );
    }

    #[test]
    fn globs_of_the_root_and_in_the_root_are_found() {
        assert_eq!(
            check_house(&[
                ("house/src/lib.rs", "pub use std::*;\npub use top::*;"),
                ("house/src/middle.rs", "use crate::*;\nmod tests {\n    use super::*;\n}"),
                ("house/src/top.rs", "use super::*;"),
            ]),
            [
                "house/src/lib.rs:2: the crate root re-exports `top::*`",
                "house/src/middle.rs:1: `crate::*` imports the whole crate root",
                "house/src/top.rs:1: `super::*` imports the whole crate root"
            ]
        );
    }

    #[test]
    fn rooms_outside_the_table_and_stale_entries_are_found() {
        assert_eq!(
            check_house(&[
                ("house/src/attic/mod.rs", "use crate::top;"),
                ("house/src/bin/tool.rs", "use crate::top;"),
                ("house/src/main.rs", "use crate::top;"),
            ]),
            ["house/src/attic/mod.rs:1: the room attic is not in the table of house"]
        );
        let table = "\n(\"low\", Lower),\n(\"high\", Only)\n";
        assert_eq!(
            check_house(&[
                (TABLES, table),
                ("house/src/low/listed.rs", ""),
                ("house/src/high/listed.rs", ""),
            ]),
            [
                "xtask/src/tidy/rooms.rs:3: high of house does not import low",
                "xtask/src/tidy/rooms.rs:2: low of house does not import middle",
            ]
        );
    }

    #[test]
    fn tables_import_lower_rooms_and_exceptions_are_needed() {
        for Layout { folder, rooms, exceptions } in LAYOUTS {
            for (place, (room, imports)) in rooms.iter().enumerate() {
                let lower = |name: &str| rooms[..place].iter().any(|(lower, _)| *lower == name);
                assert!(!lower(room), "{folder} has {room} twice");
                if let Only(listed) = imports {
                    assert!(
                        listed.iter().all(|to| lower(to)),
                        "{folder}: {room} imports a room that is not lower"
                    );
                }
            }
            let without = Layout { folder, rooms, exceptions: &[] };
            assert!(exceptions.iter().all(|(from, to, _)| !without.allows(from, to)), "{folder}");
        }
    }
}
