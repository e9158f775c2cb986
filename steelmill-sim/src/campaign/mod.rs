//! Many seeds: run, counted, verified, kept and reported.

pub(crate) mod campaign; // one scenario over many seeds
pub(crate) mod coverage; // which coverage points were reached
pub(crate) mod junit; // a report for CI systems
pub(crate) mod keep; // red seeds in a file
pub(crate) mod likeness; // whether two failures are the same
pub(crate) mod merge; // the summaries of several shards, added up
mod queue; // which seed is next
pub(crate) mod record; // a summary as data
pub(crate) mod replay; // what to type to run a test again
mod runner; // running the seeds
pub(crate) mod shard; // a part of a campaign
pub(crate) mod summary; // what a campaign found
pub(crate) mod verify; // proof that a seed repeats
