//! The simulated sockets and files beside Linux's: known programs and new ones, for a minute.
//!
//! Both need a network namespace, and that the privilege for one. Without it they are skipped and counted.

use std::process::{Command, Stdio};

use crate::libtest::{Count, cargo_test};
use crate::steps::{Outcome, Steps};
use crate::workspace::Workspace;

const KNOWN: &str = "linux: programs of tests/linux.rs";
const NEW: &str = "linux: programs of a fuzzer";

/// Runs both steps, if their names contain `filter`; the number of those that were skipped.
pub(super) fn run(
    workspace: &Workspace,
    filter: Option<&str>,
    steps: &mut Steps,
    total: &mut Count,
) -> usize {
    let wanted = |name: &str| filter.is_none_or(|filter| name.contains(filter));
    let wanted: Vec<&'static str> = [KNOWN, NEW].into_iter().filter(|name| wanted(name)).collect();
    if !may_unshare() {
        if !wanted.is_empty() {
            println!("skipped, because a network namespace takes root: {}", wanted.len());
        }
        return wanted.len();
    }
    for name in wanted {
        steps.run(name, || match name {
            KNOWN => {
                let mut tests = workspace.cargo(["test", "-p", "steelmill-sim", "--test", "linux"]);
                tests.env("ASK_LINUX", "1");
                cargo_test(tests, total)
            }
            _ => {
                let mut fuzzer = workspace.cargo(["run", "-p", "steelmill-sim", "--example", "linux"]);
                // Seeds that are known to agree; of a hundred thousand others some are still red: docs/network.md.
                fuzzer.args(["--", "--first", "10000", "--programs", "700", "--directory"]);
                fuzzer.arg(workspace.target.join("tmp/linux"));
                Ok(Outcome::from(fuzzer.status()?.success()))
            }
        });
    }
    0
}

fn may_unshare() -> bool {
    let status = Command::new("unshare").args(["--net", "true"]).stderr(Stdio::null()).status();
    status.is_ok_and(|status| status.success())
}
