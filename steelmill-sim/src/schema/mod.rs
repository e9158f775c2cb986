//! The data types of a run: settings, fault plan, events, trace and outcome. Plain data, without a running simulation.

// The input of a run.
pub(crate) mod decision; // random draws
pub(crate) mod disk_trouble; // what may go wrong with a disk
pub(crate) mod estimates; // what a trial run counted of each task
pub(crate) mod look; // what a run is repeated for
pub(crate) mod moment; // lifecycle moments that trigger faults
pub(crate) mod plan; // faults
pub(crate) mod rare_branch; // all `buggify!` of the program
pub(crate) mod segment; // kinds of TCP segments
pub(crate) mod settings;
pub(crate) mod verify; // verification of determinism, and where two runs differ

// The output of a run.
pub(crate) mod event;
pub(crate) mod line; // an event in readable form
pub(crate) mod outcome; // success or failure
pub(crate) mod portable; // how an outcome crosses to another process
pub(crate) mod system_use; // audited calls of the system
pub(crate) mod task; // task keys and ids
pub(crate) mod trace; // all events, with names
