//! The workspace: its paths, its crates, and cargo commands run in it.

use std::env;
use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use serde_json::Value;

/// The crates that only `cargo xtask acceptance` builds.
pub(crate) const ON_DEMAND: [&str; 2] = [ACCEPTANCE, ECOSYSTEM];

/// The crate that only `cargo xtask bench` builds.
pub(crate) const BESIDE: &str = "steelmill-beside";

/// The crate of the browser tests.
pub(crate) const ACCEPTANCE: &str = "steelmill-acceptance";
/// The crate of the tests of other people's crates.
pub(crate) const ECOSYSTEM: &str = "steelmill-ecosystem";

pub(crate) struct Workspace {
    /// The folder of the root `Cargo.toml`.
    pub(crate) root: PathBuf,
    /// The target directory of all but the sim world.
    pub(crate) target: PathBuf,
    /// Its crates, sorted by name.
    pub(crate) crates: Vec<Crate>,
}

pub(crate) struct Crate {
    pub(crate) name: String,
    /// Its folder, relative to the root.
    pub(crate) folder: String,
    pub(crate) dependencies: Vec<Dependency>,
}

pub(crate) struct Dependency {
    pub(crate) name: String,
    /// Whether it is a dev-dependency: of tests, examples and benches only.
    pub(crate) dev: bool,
}

impl Workspace {
    pub(crate) fn load() -> Result<Self> {
        let output = cargo()
            .args(["metadata", "--no-deps", "--format-version", "1", "--offline"])
            .stderr(Stdio::inherit())
            .output()
            .context("cannot run cargo")?;
        if !output.status.success() {
            bail!("cargo metadata failed; run `cargo xtask` inside the workspace");
        }
        let metadata: Value = serde_json::from_slice(&output.stdout).context("cargo metadata is not JSON")?;
        Self::parse(&metadata).context("cargo metadata lacks a field")
    }

    fn parse(metadata: &Value) -> Option<Self> {
        let root = PathBuf::from(metadata["workspace_root"].as_str()?);
        let mut crates = Vec::new();
        for package in metadata["packages"].as_array()? {
            let mut dependencies = Vec::new();
            for dependency in package["dependencies"].as_array()? {
                dependencies.push(Dependency {
                    name: dependency["name"].as_str()?.to_owned(),
                    dev: dependency["kind"] == "dev",
                });
            }
            let folder = PathBuf::from(package["manifest_path"].as_str()?);
            crates.push(Crate {
                name: package["name"].as_str()?.to_owned(),
                folder: folder.parent()?.strip_prefix(&root).ok()?.to_str()?.to_owned(),
                dependencies,
            });
        }
        crates.sort_by(|a, b| a.name.cmp(&b.name));
        Some(Self { root, target: metadata["target_directory"].as_str()?.into(), crates })
    }

    /// The target directory of the demo's sim world, separate because both worlds give a binary of the same name.
    pub(crate) fn sim_target(&self) -> PathBuf {
        self.target.join("sim-world")
    }

    /// A cargo command, run at the root.
    pub(crate) fn cargo<A: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = A>) -> Command {
        let mut command = cargo();
        command.args(args).current_dir(&self.root);
        command
    }

    /// A cargo command on every crate but those that only `cargo xtask acceptance` builds, because they take long.
    pub(crate) fn whole<A: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = A>) -> Command {
        self.all_but(&[ACCEPTANCE, ECOSYSTEM, BESIDE], args)
    }

    /// A cargo command on every crate but some.
    pub(crate) fn all_but<A: AsRef<OsStr>>(
        &self,
        excluded: &[&str],
        args: impl IntoIterator<Item = A>,
    ) -> Command {
        let mut command = self.cargo(args);
        command.arg("--workspace");
        for one in excluded {
            command.args(["--exclude", one]);
        }
        command
    }

    /// `cargo test` on targets of the crates that only `cargo xtask acceptance` builds: of both at once, for one build of all
    /// that they share.
    pub(crate) fn test_on_demand<'a>(&self, targets: impl IntoIterator<Item = &'a str>) -> Command {
        let mut tests = self.cargo(["test", "--no-fail-fast"]);
        for one in ON_DEMAND {
            tests.args(["-p", one]);
        }
        tests.args(targets);
        tests
    }

    /// Runs a `cargo build ...` whose diagnostics go to the terminal, and returns the executable called `name`;
    /// `None` when the build failed.
    pub(crate) fn build(&self, mut build: Command, name: &str) -> Result<Option<PathBuf>> {
        let output = build
            .arg("--message-format=json-render-diagnostics")
            .stderr(Stdio::inherit())
            .output()
            .context("cannot run cargo")?;
        if !output.status.success() {
            return Ok(None);
        }
        let executable = executable(&String::from_utf8_lossy(&output.stdout), name);
        Ok(Some(executable.with_context(|| format!("cargo built no executable called {name}"))?))
    }
}

fn cargo() -> Command {
    // Set by the cargo that runs xtask, so that `cargo +toolchain xtask` keeps its toolchain.
    Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

/// Finds an executable in cargo's JSON messages.
fn executable(messages: &str, name: &str) -> Option<PathBuf> {
    messages
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter(|message| message["target"]["name"] == name)
        .find_map(|message| message["executable"].as_str().map(PathBuf::from))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_executable_is_found_among_cargos_messages() {
        let messages = concat!(
            r#"{"reason":"compiler-artifact","target":{"name":"clap"},"executable":null}"#,
            "\nnot json\n",
            r#"{"reason":"compiler-artifact","target":{"name":"demo-app"},"executable":"t/sim/demo-app"}"#,
            "\n",
        );
        assert_eq!(executable(messages, "demo-app"), Some(PathBuf::from("t/sim/demo-app")));
        assert_eq!(executable(messages, "clap"), None);
    }
}
