//! `cargo xtask lint`: everything that can be found without running a test.

use std::process::Command;

use anyhow::{Context, Result};

use crate::steps::{Outcome, Steps};
use crate::workspace::Workspace;
use crate::{acceptance, sim, tidy};

/// Runs the checks; true when all are green.
pub(crate) fn run(workspace: &Workspace) -> Result<bool> {
    let mut steps = Steps::new("lint");
    steps.run("format", || outcome(workspace.cargo(["fmt", "--all", "--check"])));
    steps.run("tidy", || Ok(tidy::run(workspace)?.into()));
    steps.run("clippy: runtime world", || {
        clippy(workspace.cargo(["clippy", "--workspace", "--exclude", acceptance::CRATE]))
    });
    steps.run("clippy: sim world", || {
        // core and sim once more: without the features that the runtime world turns on in them. No binary comes of it,
        // so it shares the target directory, and with it most of what was checked before.
        let mut world = workspace.cargo(["clippy", "-p", "steelmill-core", "-p", "steelmill-sim"]);
        world.args(sim::WORLD);
        clippy(world)
    });
    steps.run("documentation", || {
        let mut doc = workspace.cargo([
            "doc",
            "--workspace",
            "--exclude",
            acceptance::CRATE,
            "--no-deps",
            "--keep-going",
        ]);
        doc.env("RUSTDOCFLAGS", "-D warnings");
        outcome(doc)
    });
    steps.run("one world at a time", || one_world(workspace));
    Ok(steps.finish())
}

fn clippy(mut clippy: Command) -> Result<Outcome> {
    clippy.args(["--all-targets", "--keep-going", "--", "-D", "warnings"]);
    outcome(clippy)
}

fn outcome(mut command: Command) -> Result<Outcome> {
    Ok(command.status().context("cannot run cargo")?.success().into())
}

/// Building the demo for both worlds or for neither must fail with the commands that work.
fn one_world(workspace: &Workspace) -> Result<Outcome> {
    let mut notes = Vec::new();
    for (case, args) in
        [("both worlds", ["--features", "runtime,sim"].as_slice()), ("no world", &["--no-default-features"])]
    {
        let output = workspace
            .cargo(["check", "--quiet", "-p", "demo-app"])
            .args(args)
            .output()
            .context("cannot run cargo")?;
        let said = String::from_utf8_lossy(&output.stderr);
        if output.status.success() {
            notes.push(format!("{case}: built, where a compile_error! was due"));
        } else if let Some(missing) = ["cargo run -p demo-app", "cargo xtask sim"]
            .iter()
            .find(|command| !compile_error(&said).contains(**command))
        {
            notes.push(format!("{case}: the error does not say `{missing}`"));
            eprintln!("{said}");
        } else {
            println!("{case}: refused, and says what to type");
        }
    }
    Ok(Outcome { green: notes.is_empty(), note: notes.join("; ") })
}

/// The first error of a compiler's output, up to where the compiler shows the source: a `compile_error!`'s own words.
fn compile_error(said: &str) -> &str {
    let begin = said.find("error: ").unwrap_or(said.len());
    let text = &said[begin..];
    let end = text.find("-->").unwrap_or(text.len());
    &text[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_first_errors_own_words_count() {
        let said = "warning: x\nerror: pick one world:\n  cargo xtask sim\n --> src/main.rs:3\n | \"cargo run\"\nerror: more";
        assert_eq!(compile_error(said).trim_end(), "error: pick one world:\n  cargo xtask sim");
        assert_eq!(compile_error("all is well"), "");
    }
}
