//! Simulated machines: processes, clocks, randomness, network and tasks, and the state of one run.

pub(crate) mod machine; // the handle to a machine: start, stop, exit, power loss, pause
pub(crate) mod sim; // the handle of a scenario to its run
pub(crate) mod lives; // the processes of a machine, and its init system

// Core's capabilities, as a machine supplies them to its daemons.
pub(crate) mod clock;
pub(crate) mod entropy;
pub(crate) mod net;
pub(crate) mod spawn;
pub(crate) mod world;

// The state behind all handles.
pub(crate) mod cluster; // the state of a run, in a thread-local
pub(crate) mod coverage; // visits of coverage points
pub(crate) mod deadline_exceeded; // tasks aborted at a deadline
pub(crate) mod executor; // polls tasks and advances virtual time
pub(crate) mod hosts; // the state of each machine
pub(crate) mod suspension; // machines that sleep
pub(crate) mod moments; // waiting for a moment of a machine's lifecycle
pub(crate) mod panic_log; // panics that no one has judged yet
pub(crate) mod panics; // a panic fails the run
pub(crate) mod tally; // counts, limits, faults and coverage of a run
pub(crate) mod waker; // wakers that are integers

// Programs that were not written for the simulation.
pub(crate) mod allocators; // jemalloc and its kin, in this executable
pub(crate) mod descriptors; // what a process has open, by number
pub(crate) mod disk; // files, and what a power loss leaves of them
#[cfg(all(target_os = "linux", target_env = "gnu", target_pointer_width = "64"))]
pub(crate) mod executable; // the file of this program
pub(crate) mod files; // what a program finds of files
pub(crate) mod futex; // threads that wait at an address
pub(crate) mod lock_watch; // which of them hold a lock
pub(crate) mod program; // a `main` as a machine's process
pub(crate) mod real; // the C library's own functions
pub(crate) mod signals; // signals and their handlers
pub(crate) mod statics; // statics, arguments and environment of each process
pub(crate) mod runtimes; // tokio runtimes of machines' tasks
pub(crate) mod thread_data; // pthread_key_create(3)
pub(crate) mod threads; // guest threads

pub(crate) mod exit_functions; // atexit(3)
pub(crate) mod limits; // limits of resources
pub(crate) mod proc; // proc(5)
pub(crate) mod links; // partition, hold, impair, reset, latency
