//! The simulation kernel: tasks, scheduling, virtual time, random draws, digest. Knows no machine, network or fault.

pub(crate) mod kernel; // the state of one run

pub(crate) mod machine_index; // the entries of a table by machine
pub(crate) mod pct; // the priority scheduler
pub(crate) mod policy; // schedules that keep the ready tasks in an order of their own
pub(crate) mod run_queue; // the ready tasks
pub(crate) mod scheduler; // which of them is next, virtual time, livelock detection
pub(crate) mod tasks; // the task table
pub(crate) mod walk; // the uniform random walk
pub(crate) mod waiter; // waiter registrations: task or foreign waker
pub(crate) mod watch; // readiness lists of many watches

pub(crate) mod timers; // the timing wheel: timers and pending events

pub(crate) mod decisions; // every random draw, in one function
pub(crate) mod digest; // a hash over every event
pub(crate) mod recorder; // recording of events and their causes

pub(crate) mod probe; // a waker that records the stacks on which it is cloned
pub(crate) mod backtraces; // stacks of panics, and none of errors
pub(crate) mod internal; // what is done for the simulation itself
#[cfg(target_os = "linux")]
pub(crate) mod code; // where machine code is in this process
mod spinning; // a thread that does not return
pub(crate) mod stacks; // capture and symbolization of stacks
pub(crate) mod watchdog; // real-time limit of one poll
