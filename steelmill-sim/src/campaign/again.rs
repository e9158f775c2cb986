//! This program once more, in a process of its own, up to the same place.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::Context as _;
use steelmill_core::Result;

/// Environment variable of the process of a second run: the campaign's number on its thread, the seed, the digest of the
/// first run, and the file to write, which holds the kept seed, if it is one, and else nothing.
pub(super) const SECOND_RUN_VARIABLE: &str = "STEELMILL_SECOND_RUN";

/// Environment variable of a server of runs: the number of the campaign that it serves.
pub(super) const SERVER_VARIABLE: &str = "STEELMILL_SEED_SERVER";

/// Environment variables that are no flags.
pub(crate) const OURS: [&str; 2] = [SECOND_RUN_VARIABLE, SERVER_VARIABLE];

/// The command that reaches the campaign of this thread in another process: this program with the same arguments, or the
/// test harness with those that select this thread's test.
#[derive(Debug, Clone)]
pub(super) struct SameProgram {
    pub(super) program: PathBuf,
    pub(super) args: Vec<OsString>,
}

impl SameProgram {
    /// # Errors
    /// When the thread has no name, so that nobody knows how to reach what it does.
    pub(super) fn of_this_thread() -> Result<Self> {
        let program = std::env::current_exe().context("cannot find the path of this program")?;
        let current = std::thread::current();
        let args = match current.name() {
            Some("main") => std::env::args_os().skip(1).collect(),
            Some(test) => [test, "--exact", "--include-ignored", "--nocapture"].map(OsString::from).into(),
            None => anyhow::bail!(
                "a campaign whose runs are made in other processes must run on its program's main thread or on its \
                 test's thread, and this thread has no name"
            ),
        };
        Ok(Self { program, args })
    }

    /// It reads and prints nothing, unless that is changed.
    pub(super) fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.args(&self.args).stdin(Stdio::null()).stdout(Stdio::null());
        command
    }
}
