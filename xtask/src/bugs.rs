//! `cargo xtask bugs`: finds the bugs that are planted in small protocols, shrinks them, and makes a table of it.
//!
//! The protocols, and what makes the table, are an example of the sim's (`steelmill-sim/examples/bugs`). It fails when a
//! bug is not found, when more, fewer or other faults are left than a person would name, and when a protocol fails without
//! its bug.

use std::ffi::OsString;

use anyhow::Result;

use crate::sim;
use crate::workspace::Workspace;

/// Makes the table, of the bugs with `filter` in their name if there is one; true when all is as it should be.
pub(crate) fn run(workspace: &Workspace, filter: Option<&str>) -> Result<bool> {
    let args: Vec<OsString> =
        ["--scenario", "bugs", "table"].into_iter().chain(filter).map(OsString::from).collect();
    match sim::ready(workspace, &args)? {
        Some(mut table) => Ok(table.status()?.success()),
        None => Ok(false),
    }
}
