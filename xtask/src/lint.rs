//! `cargo xtask lint`: every check that runs no test.

use std::process::Command;

use anyhow::{Context, Result};

use crate::steps::{Outcome, Steps};
use crate::workspace::{BESIDE, ECOSYSTEM, Workspace};
use crate::{sim, tidy};

/// Runs the checks; true when all are green.
pub(crate) fn run(workspace: &Workspace) -> Result<bool> {
    let mut steps = Steps::new("lint");
    steps.run("format", || outcome(workspace.cargo(["fmt", "--all", "--check"])));
    steps.run("tidy", || Ok(tidy::run(workspace)?.into()));
    steps.run("clippy: runtime world", || clippy(workspace.all_but(&[ECOSYSTEM, BESIDE], ["clippy"])));
    steps.run("clippy: sim world", || {
        // core and sim again, without the features that the runtime world enables in them. Clippy builds no binary, so
        // this can share the target directory, and most of what was checked before.
        let mut world = workspace.cargo(["clippy", "-p", "steelmill-core", "-p", "steelmill-sim"]);
        world.args(sim::WORLD);
        clippy(world)
    });
    steps.run("documentation", || {
        let mut doc = workspace.whole(["doc", "--no-deps", "--keep-going"]);
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

/// Building the demo for both worlds or for neither must fail with an error that names the commands that work.
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
        let stderr = String::from_utf8_lossy(&output.stderr);
        if output.status.success() {
            notes.push(format!("{case}: built, but a compile_error! was expected"));
        } else if let Some(missing) = ["cargo run -p demo-app", "cargo xtask sim"]
            .iter()
            .find(|command| !compile_error(&stderr).contains(**command))
        {
            notes.push(format!("{case}: the error does not say `{missing}`"));
            eprintln!("{stderr}");
        } else {
            println!("{case}: rejected, and the error names the commands");
        }
    }
    Ok(Outcome { green: notes.is_empty(), note: notes.join("; ") })
}

/// The message of the first error in a compiler's output, without the source shown below it.
fn compile_error(stderr: &str) -> &str {
    let begin = stderr.find("error: ").unwrap_or(stderr.len());
    let text = &stderr[begin..];
    let end = text.find("-->").unwrap_or(text.len());
    &text[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_first_errors_message_counts() {
        let stderr = "warning: x\nerror: pick one world:\n  cargo xtask sim\n --> src/main.rs:3\n | \"cargo run\"\nerror: more";
        assert_eq!(compile_error(stderr).trim_end(), "error: pick one world:\n  cargo xtask sim");
        assert_eq!(compile_error("all is well"), "");
    }
}
