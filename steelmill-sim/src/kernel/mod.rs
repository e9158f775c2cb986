//! Tasks, time, draws and the digest. Knows no machine, no network and no fault.

pub(crate) mod kernel; // all of it together, for one run

pub(crate) mod machine_index; // which entries of a table are a machine's
pub(crate) mod pct; // the schedule by priorities
pub(crate) mod run_queue; // the tasks that are ready
pub(crate) mod scheduler; // which of them is next
pub(crate) mod tasks; // the table of tasks
pub(crate) mod waiter; // who waits for something
pub(crate) mod watch; // which of many things something has happened to

pub(crate) mod timers; // what is going to happen, and when

pub(crate) mod decisions; // every draw of randomness, in one function
pub(crate) mod digest; // a hash over every event
pub(crate) mod recorder; // how events get into the digest and the trace

pub(crate) mod probe; // a waker that records who clones it
pub(crate) mod stacks; // where a thread is
pub(crate) mod watchdog; // polls that never come back
