//! A command of xtask beside others, for what is built while they wait: at the lowest priority, and what it prints is shown
//! when it is asked for.

use std::env;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result};

use crate::libtest::Count;
use crate::steps::Outcome;
use crate::workspace::Workspace;

/// Such a command; it is killed if nobody asks for its end.
pub(crate) struct Beside {
    child: Child,
    output: PathBuf,
}

impl Beside {
    /// Starts `cargo xtask <command>`.
    pub(crate) fn start(workspace: &Workspace, command: &str) -> Result<Self> {
        let output = workspace.target.join(format!("beside-{command}.txt"));
        let file = File::create(&output).with_context(|| format!("cannot make {}", output.display()))?;
        let this = env::current_exe().context("this program has no path")?;
        let mut process = if cfg!(unix) {
            let mut nice = Command::new("nice");
            nice.args(["-n", "19"]).arg(this);
            nice
        } else {
            Command::new(this)
        };
        process.arg(command).stdin(Stdio::null()).stderr(file.try_clone()?).stdout(file);
        let child = process.spawn().with_context(|| format!("cannot run {command}"))?;
        Ok(Self { child, output })
    }

    /// Waits for its end, shows what it has printed, counts its tests, and says how many were skipped.
    pub(crate) fn finish(mut self, total: &mut Count) -> Result<(Outcome, usize)> {
        let green = self.child.wait()?.success();
        let text =
            fs::read(&self.output).with_context(|| format!("cannot read {}", self.output.display()))?;
        io::stdout().write_all(&text)?;
        let text = String::from_utf8_lossy(&text);
        // Not each test that it ran: some are red as they must be.
        let last = text.lines().last().unwrap_or_default();
        let skipped = total.read_total(last);
        Ok((Outcome { green, note: last.to_owned() }, skipped as usize))
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
