//! What a simulated host is: its processes, its clock, its randomness, its network.

pub(crate) mod machine; // the handle to a machine
pub(crate) mod sim; // the handle a scenario gets
pub(crate) mod lives; // the processes of a machine, and its init system

// What a machine supplies to its daemons: twins of core's capabilities.
pub(crate) mod clock;
pub(crate) mod entropy;
pub(crate) mod net;
pub(crate) mod spawn;
pub(crate) mod world;

// The state that all handles point into.
pub(crate) mod cluster; // all of a run, and the one thread-local that holds it
pub(crate) mod coverage; // visits of coverage points
pub(crate) mod executor; // polls tasks and lets time pass
pub(crate) mod hosts; // what the run keeps of each machine
pub(crate) mod moments; // who waits for a machine to reach a moment
pub(crate) mod panic_log; // panics that no one has judged yet
pub(crate) mod panics; // a panic fails the run
pub(crate) mod overstays; // tasks that overstayed a deadline
pub(crate) mod tally; // what a run tells of itself at its end
pub(crate) mod waker; // wakers that are integers

// Programs that were not written for the simulation.
pub(crate) mod descriptors; // what a process has open, by number
pub(crate) mod futex; // threads that wait at an address
pub(crate) mod program; // a `main` as a machine's process
pub(crate) mod real; // the C library's own functions
pub(crate) mod threads; // guest threads

pub(crate) mod links; // what a scenario does to the links between machines
