//! The simulated sockets and files beside Linux's: known programs and new ones, for a minute.
//!
//! All need network namespaces with virtual cables, and these the privilege for them. Without it they are skipped and counted.

use std::process::{Command, Stdio};

use anyhow::{Context as _, Result};

use crate::libtest::{Count, cargo_test};
use crate::steps::{Outcome, Steps};
use crate::workspace::Workspace;

const KNOWN: &str = "linux: programs of tests/linux";
const NEW: &str = "linux: programs of a fuzzer";
const ROUTED: &str = "linux: programs of a fuzzer on hosts with a router between them";

/// Runs the steps, if their names contain `filter`; the number of those that were skipped.
pub(super) fn run(
    workspace: &Workspace,
    filter: Option<&str>,
    steps: &mut Steps,
    total: &mut Count,
) -> usize {
    let wanted = |name: &str| filter.is_none_or(|filter| name.contains(filter));
    let wanted: Vec<&'static str> = [KNOWN, NEW, ROUTED].into_iter().filter(|name| wanted(name)).collect();
    let may_run = may_unshare(&CABLE);
    let (wanted, skipped): (Vec<_>, Vec<_>) = wanted.into_iter().partition(|_| may_run);
    if !skipped.is_empty() {
        println!("skipped, because network namespaces take root: {}", skipped.join(", "));
    }
    for name in wanted {
        steps.run(name, || match name {
            KNOWN => {
                // As `cargo xtask test` has built it.
                let mut tests = workspace.whole(["test", "--test", "linux"]);
                tests.env("ASK_LINUX", "1");
                cargo_test(tests, total)
            }
            // Seeds that are known to agree; of a hundred thousand others some are still red: docs/network.md.
            NEW => {
                let kinds = ["--only", "calls,typed,files,epolls", "--first", "10000", "--programs", "700"];
                fuzz(workspace, &kinds, "40")
            }
            _ => fuzz(
                workspace,
                &["--only", "routed,trips", "--first", "1", "--programs", "150", "--differences", "2"],
                "40",
            ),
        });
    }
    skipped.len()
}

fn fuzz(workspace: &Workspace, arguments: &[&str], seconds: &str) -> Result<Outcome> {
    let fuzzer = workspace.build(workspace.whole(["build", "--example", "linux"]), "linux")?;
    let mut fuzzer = Command::new(fuzzer.context("the fuzzer does not build")?);
    fuzzer.args(arguments).args(["--seconds", seconds, "--directory"]);
    fuzzer.arg(workspace.target.join("tmp/linux")).current_dir(&workspace.root);
    Ok(Outcome::from(fuzzer.status().context("cannot run the fuzzer")?.success()))
}

/// A virtual cable between two namespaces.
const CABLE: [&str; 9] = ["ip", "link", "add", "v0", "type", "veth", "peer", "name", "v1"];

/// Whether a command succeeds in a network namespace of its own.
fn may_unshare(command: &[&str]) -> bool {
    let status = Command::new("unshare").arg("--net").args(command).stderr(Stdio::null()).status();
    status.is_ok_and(|status| status.success())
}
