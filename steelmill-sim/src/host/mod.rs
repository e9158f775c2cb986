//! What keeps the real world out of a run, or tells that it came in.

pub(crate) mod audit; // who asks the system for what
pub(crate) mod panics; // where a panic was raised
#[cfg(all(target_os = "linux", target_env = "gnu"))]
pub(crate) mod libc; // the C library's functions, for guest threads
pub(crate) mod purity; // what would leak the real world in
pub(crate) mod stuck; // where a task waits that does not go on
