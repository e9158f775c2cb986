//! Tasks, time, draws and the digest. Knows no machine, no network and no fault.

pub(crate) mod decisions; // every draw of randomness, in one function
pub(crate) mod digest; // a hash over every event
pub(crate) mod executor; // tasks, and which runs next
pub(crate) mod machine_index; // which entries of a table are a machine's
pub(crate) mod pct; // the schedule by priorities
pub(crate) mod run_queue; // the tasks that are ready
pub(crate) mod timers; // what is going to happen, and when
pub(crate) mod waker; // wakers that are integers
pub(crate) mod watchdog; // polls that never come back
