//! The sim world of steelmill: a whole cluster in one process, on a loopback network and a deterministic clock, with
//! faults, and every run repeatable from its seed.

// What a user holds.
mod campaign; // one scenario over many seeds
pub mod cli; // a campaign as a program
mod explain; // a red seed, in a folder
pub mod fault; // what goes wrong, as data
mod flags; // what can be said to a campaign from outside
pub mod history; // what clients saw, and whether it was linearizable
mod junit; // what a campaign came to, for CI systems
mod keep; // red seeds in a file
mod limits; // how much of its workload a run has
mod links; // what a scenario does to the links between machines
pub mod logging; // log lines with virtual time, machine and daemon
mod machine; // a simulated host
mod merge; // what several shards came to together
mod perfetto; // a trace for a viewer of traces
mod picture; // a run as a page
mod record; // what a campaign came to, as data
mod replay; // what to type to run a test again
mod shard; // a part of a campaign
mod shrink; // what of a red seed's plan it takes
mod sim; // the handle a scenario gets
mod summary; // what a campaign came to
mod testing; // helpers for plain unit tests

// How a run repeats.
mod audit; // who asks the system for what
mod decisions; // every draw of randomness, in one function
mod digest; // a hash over every event
mod executor; // tasks, and which runs next
mod hosts; // what the run keeps of each machine
mod outcome; // how one seed ended
mod panics; // where a panic was raised
mod pct; // the schedule by priorities
mod places; // what was come to, and what never
mod purity; // what would leak the real world in
mod ready; // the tasks that wait for their turn
mod roster; // which entries of a table are a machine's
mod run; // the one thread-local all handles point into
mod settings; // what a run is asked to be
mod simulate; // one seed from beginning to end
mod stacks; // where a thread is
mod stuck; // where a task waits that does not go on
mod timers; // what is going to happen, and when
pub mod trace; // what a run did, event by event
mod verify; // proof that a seed repeats
mod waker; // wakers that are integers
mod watchdog; // polls that never come back

// The twins of core's capabilities.
mod clock;
mod entropy;
mod net;
mod spawn;
mod world;

pub use audit::{SystemCall, SystemUse};
pub use campaign::Campaign;
pub use clock::{Clock, Sleep};
pub use decisions::{Decision, Rekey, Stream};
pub use entropy::{Entropy, Rng};
pub use keep::KeptSeed;
pub use links::{Hold, Impaired, Partition};
pub use machine::{Claim, Machine};
pub use net::{
    Impairment, Network, OwnedReadHalf, OwnedWriteHalf, ReadHalf, ReuniteError, TcpListener, TcpStream,
    UdpSocket, WriteHalf,
};
pub use outcome::{Cause, Failure, Outcome, Overstay, TaskReport, Whereabouts};
pub use picture::{EVENTS_SHOWN, Picture};
pub use places::{Coverage, Covered};
pub use purity::is_pure;
pub use record::{KeptRecord, Record, RedSeed, Terms};
pub use settings::{Schedule, Seed, Settings, UnknownSchedule};
pub use shard::{Shard, UnknownShard};
pub use shrink::{Progress, Prospect, Shrunk, Step, Stopped};
pub use sim::{Sim, Sizes};
pub use simulate::simulate;
pub use spawn::{Spawner, Task};
pub use summary::{Count, Kept, Summary};
pub use testing::{check, check_daemon};
pub use verify::{Difference, Side, UnknownVerify, Verify};
pub use world::SimWorld;

/// The README's example is a test.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;
