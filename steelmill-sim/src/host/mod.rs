//! The boundary to the real process: interposed system calls, their audit, the panic hook, and stuck-task diagnosis.

#[cfg(all(target_os = "linux", target_env = "gnu", target_pointer_width = "64"))]
pub(crate) mod allocators; // jemalloc and its kin call the real C library
pub(crate) mod audit; // reports which code calls the system
#[cfg(all(target_os = "linux", target_env = "gnu"))]
pub(crate) mod fork; // a process for each run
pub(crate) mod holders; // who holds the lock that a stuck task waits for
pub(crate) mod panics; // the panic hook
#[cfg(all(target_os = "linux", target_env = "gnu"))]
pub(crate) mod libc; // the C library's functions, for guest threads
pub(crate) mod purity; // clocks and entropy, interposed
#[cfg(all(target_os = "linux", target_env = "gnu", target_arch = "x86_64"))]
pub(crate) mod counter; // the processor's time stamp counter
#[cfg(all(target_os = "linux", target_env = "gnu", target_arch = "x86_64"))]
pub(crate) mod raw_calls; // system call instructions of programs
pub(crate) mod stuck; // the async stacks of stuck tasks
