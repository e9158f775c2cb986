//! Allowed dependencies between crates, and equal file names for a capability in core and in both worlds.

use super::{Finding, Tree, line_of};

/// Each crate, its allowed dependencies, and its allowed dev-dependencies besides (tests, examples and benches).
const DEPENDENCIES: &[(&str, &[&str], &[&str])] = &[
    ("steelmill-core", &[], &[]),
    ("steelmill-meter", &[], &[]),
    ("steelmill-promises", &[], &["steelmill-core"]),
    ("steelmill-stories", &[], &["steelmill-core", "steelmill-runtime", "steelmill-sim"]),
    ("steelmill-sim", &["steelmill-core"], &["steelmill-meter"]),
    ("steelmill-acceptance", &["steelmill-core", "steelmill-sim"], &[]),
    ("steelmill-beside", &[], &["steelmill-core", "steelmill-meter", "steelmill-sim"]),
    ("steelmill-ecosystem", &[], &["steelmill-core", "steelmill-runtime", "steelmill-sim"]),
    ("steelmill-runtime", &["steelmill-core"], &["steelmill-meter"]),
    ("demo-app", &["steelmill-core", "steelmill-sim", "steelmill-runtime"], &[]),
    ("xtask", &[], &[]),
];

/// What a world provides: one trait in core, an implementation in a file of the same name (a twin) in each world.
const CAPABILITIES: [&str; 4] = ["clock", "net", "entropy", "spawn"];
/// The crates that hold the twins, each with the folder that they are in.
const TWINS: [(&str, &str); 3] = [
    ("steelmill-core", "steelmill-core/src"),
    ("steelmill-sim", "steelmill-sim/src/machine"),
    ("steelmill-runtime", "steelmill-runtime/src"),
];

/// Crates depend on each other only as the design allows.
pub(super) fn dependencies(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for one in tree.crates {
        let manifest = format!("{}/Cargo.toml", one.folder);
        let text = tree.files.get(&manifest).map_or("", String::as_str);
        let Some((_, always, for_dev)) = DEPENDENCIES.iter().find(|(name, ..)| *name == one.name) else {
            findings.push(Finding {
                path: manifest,
                line: 1,
                problem: format!("the crate {} is not in the table of dependencies", one.name),
                reason: "what a crate may depend on is decided when it is added",
                fix:
                    "give it a line in DEPENDENCIES of xtask/src/tidy/crates.rs and a paragraph in ARCHITECTURE.md"
                        .into(),
            });
            continue;
        };
        for dependency in &one.dependencies {
            let ours = tree.crates.iter().any(|other| other.name == dependency.name);
            let name = dependency.name.as_str();
            if ours && !always.contains(&name) && !(dependency.dev && for_dev.contains(&name)) {
                findings.push(Finding {
                    path: manifest.clone(),
                    line: line_of(text, name),
                    problem: format!("{} depends on {name}", one.name),
                    reason: "core must compile without any world, and each world without the other, so that a world can be replaced",
                    fix: "move shared code into steelmill-core, as a trait if the worlds implement it differently".into(),
                });
            }
        }
    }
    findings
}

/// A capability's file has the same name in core, sim and runtime.
pub(super) fn twins(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (name, folder) in TWINS {
        for capability in CAPABILITIES {
            let file = format!("{folder}/{capability}.rs");
            let inside = format!("{folder}/{capability}/mod.rs");
            if !tree.files.contains_key(&file) && !tree.files.contains_key(&inside) {
                findings.push(Finding {
                    path: file,
                    line: 1,
                    problem: format!("{name} has no file for the capability {capability}"),
                    reason: "a reader who knows a capability's file in one crate finds its twins in the others",
                    fix: format!(
                        "put {name}'s part of it into a file of this name, or correct the folder in TWINS"
                    ),
                });
            }
        }
    }
    findings
}

/// Clippy reads only the nearest clippy.toml, so core's, which is stricter, must repeat the root's bans.
pub(super) fn core_bans_what_the_root_bans(tree: &Tree) -> Vec<Finding> {
    let bans = |path: &str| -> Vec<(usize, String)> {
        let text = tree.files.get(path).map_or("", String::as_str);
        text.lines()
            .enumerate()
            .filter_map(|(index, line)| {
                let (_, rest) = line.split_once("path = \"")?;
                Some((index + 1, rest.split_once('"')?.0.to_owned()))
            })
            .collect()
    };
    let core = bans("steelmill-core/clippy.toml");
    bans("clippy.toml")
        .into_iter()
        .filter(|(_, ban)| !core.iter().any(|(_, other)| other == ban))
        .map(|(line, ban)| Finding {
            path: "clippy.toml".into(),
            line,
            problem: format!("{ban} is banned here but not in steelmill-core/clippy.toml"),
            reason: "clippy reads only the nearest clippy.toml: a ban not repeated there does not apply to core",
            fix: "repeat the entry in steelmill-core/clippy.toml".into(),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::tests::{check, check_crates};
    use super::*;
    use crate::workspace::{Crate, Dependency};

    fn one(name: &str, dependencies: &[(&str, bool)]) -> Crate {
        Crate {
            name: name.into(),
            folder: name.into(),
            dependencies: dependencies
                .iter()
                .map(|(name, dev)| Dependency { name: (*name).into(), dev: *dev })
                .collect(),
        }
    }

    #[test]
    fn core_depends_on_no_world_even_in_tests() {
        let crates = |dev| {
            [
                one("steelmill-core", &[("tokio", false), ("steelmill-sim", dev)]),
                one("steelmill-stories", &[("steelmill-core", true), ("steelmill-sim", true)]),
                one("steelmill-sim", &[("steelmill-core", false)]),
            ]
        };
        let manifest = "[dependencies]\ntokio = \"1\"\nsteelmill-sim.workspace = true\n";
        for dev in [true, false] {
            assert_eq!(
                check_crates(dependencies, &crates(dev), &[("steelmill-core/Cargo.toml", manifest)]),
                ["steelmill-core/Cargo.toml:3: steelmill-core depends on steelmill-sim"]
            );
        }
    }

    #[test]
    fn the_worlds_do_not_depend_on_each_other_even_in_tests() {
        let crates = [one("steelmill-runtime", &[("steelmill-sim", true)]), one("steelmill-sim", &[])];
        assert_eq!(
            check_crates(dependencies, &crates, &[]),
            ["steelmill-runtime/Cargo.toml:1: steelmill-runtime depends on steelmill-sim"]
        );
    }

    #[test]
    fn a_crate_outside_the_table_is_found() {
        assert_eq!(
            check_crates(dependencies, &[one("extra", &[])], &[]),
            ["extra/Cargo.toml:1: the crate extra is not in the table of dependencies"]
        );
    }

    #[test]
    fn a_capability_may_be_a_file_or_a_folder_but_must_be_there() {
        let mut files = Vec::new();
        for (_, folder) in TWINS {
            for capability in CAPABILITIES {
                files.push(format!("{folder}/{capability}.rs"));
            }
        }
        files[1] = files[1].replace("net.rs", "net/mod.rs");
        let there = |files: &[String]| {
            let files: Vec<(&str, &str)> = files.iter().map(|path| (path.as_str(), "")).collect();
            check(twins, &files)
        };
        assert_eq!(there(&files), [] as [&str; 0]);
        files.remove(5);
        let folder = TWINS[1].1;
        assert_eq!(
            there(&files),
            [format!("{folder}/net.rs:1: steelmill-sim has no file for the capability net")]
        );
    }

    #[test]
    fn core_repeats_the_roots_bans() {
        let root =
            "disallowed-methods = [\n  { path = \"a::b\", reason = \"r\" },\n  { path = \"c::d\" },\n]\n";
        let core = "disallowed-methods = [{ path = \"a::b\" }]\n";
        assert_eq!(
            check(
                core_bans_what_the_root_bans,
                &[("clippy.toml", root), ("steelmill-core/clippy.toml", core)]
            ),
            ["clippy.toml:3: c::d is banned here but not in steelmill-core/clippy.toml"]
        );
    }
}
