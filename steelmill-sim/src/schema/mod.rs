//! What a run is described in: plain data that can be compared, saved and read back. Knows nothing of a run at work.

// What a run is asked to be.
pub(crate) mod decision; // draws of randomness
pub(crate) mod moment; // moments in a machine's life
pub(crate) mod plan; // faults
pub(crate) mod rare_branch; // the rare branches of the program
pub(crate) mod settings;
pub(crate) mod verify; // how seeds are verified, and where two runs differ

// What happened in it, and how it ended.
pub(crate) mod event; // everything that can happen
pub(crate) mod line; // an event as a person reads it
pub(crate) mod outcome;
pub(crate) mod system_use; // what code asked the system for
pub(crate) mod task; // what a task is called
pub(crate) mod trace; // the events, with names
