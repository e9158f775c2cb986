//! `cargo xtask bugs`: finds and shrinks the bugs planted in small protocols, and prints a table of the results.
//!
//! The protocols and the table are an example of the sim (`steelmill-sim/examples/bugs`). It fails when a bug is not
//! found, when more, fewer or other faults are left than a person would name, and when a protocol fails without its bug.

use std::ffi::OsString;

use anyhow::Result;

use crate::sim;
use crate::workspace::Workspace;

/// Prints the table of the bugs whose name contains `filter`; true when each is found and shrinks as expected.
pub(crate) fn run(workspace: &Workspace, filter: Option<&str>) -> Result<bool> {
    let args: Vec<OsString> =
        ["--scenario", "bugs", "table"].into_iter().chain(filter).map(OsString::from).collect();
    match sim::built(workspace, &args)? {
        Some(mut table) => Ok(table.status()?.success()),
        None => Ok(false),
    }
}
