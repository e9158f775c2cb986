//! Campaigns: run one scenario over many seeds, verify that seeds repeat, keep red seeds, and report.

pub(crate) mod again; // this program once more, in another process
pub(crate) mod campaign; // the public builder
pub(crate) mod coverage; // coverage points, counted over all seeds
mod fresh_thread; // a thread of its own for each run
mod guidance; // which runs a campaign makes that learns
pub(crate) mod junit; // JUnit XML report for CI systems
pub(crate) mod keep; // the file of red seeds
pub(crate) mod merge; // merges the records of shards
#[cfg_attr(not(all(target_os = "linux", target_env = "gnu")), path = "no_processes.rs")]
pub(crate) mod processes; // a process for each run of a scenario with programs
mod queue; // seeds waiting to run
pub(crate) mod record; // a summary as JSON
pub(crate) mod replay; // the command that runs a test again
mod runner; // worker threads
pub(crate) mod shard; // a part of a campaign
pub(crate) mod signature; // compares failures
pub(crate) mod summary; // the result of a campaign
pub(crate) mod verify; // determinism check: runs each seed twice
