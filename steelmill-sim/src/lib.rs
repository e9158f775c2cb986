//! The sim world of steelmill: a whole cluster in one process, on a loopback network and a deterministic clock, with
//! faults, and every run repeatable from its seed.

// Rooms, bottom up: each knows those above it in this list, and none below it.
mod schema; // plain data that a run is described in

mod kernel; // tasks, time, draws, digest

mod machine; // simulated hosts, their network, and the run's state

pub mod fault;
pub mod trace; // what happened // what goes wrong

mod host; // what keeps the real world out

mod run; // one seed, from beginning to end

mod campaign; // many seeds

mod explain; // a red seed

pub mod cli; // a campaign as a program, and as a test

pub use trace::{history, logging};

pub use campaign::campaign::Campaign;
pub use campaign::coverage::{Coverage, CoveragePoint};
pub use campaign::record::{CampaignSettings, Count, KeptRecord, KeptSeed, Record, RedSeed};
pub use campaign::shard::{Shard, UnknownShard};
pub use campaign::summary::{Kept, Summary};
pub use cli::testing::{check, check_daemon};
pub use explain::picture::{EVENTS_SHOWN, Picture};
pub use explain::shrink::{FailureRate, Progress, Shrunk, Step, Stopped};
pub use host::purity::is_pure;
pub use machine::clock::{Clock, Sleep};
pub use machine::entropy::{Entropy, Rng};
pub use machine::links::{Hold, Impaired, Partition};
pub use machine::machine::{Claim, Machine};
pub use machine::net::{
    Impairment, Network, OwnedReadHalf, OwnedWriteHalf, ReadHalf, ReuniteError, TcpListener, TcpStream,
    UdpSocket, WriteHalf,
};
pub use machine::sim::{Sim, Sizes};
pub use machine::spawn::{Spawner, Task};
pub use machine::world::SimWorld;
pub use run::simulate::simulate;
pub use schema::decision::{Decision, Reseed, Stream};
pub use schema::outcome::{Cause, Failure, FailureLocation, Outcome, Overstay, TaskReport};
pub use schema::settings::{Schedule, Seed, Settings, UnknownSchedule};
pub use schema::system_use::{SystemCall, SystemUse};
pub use schema::verify::{Difference, Side, UnknownVerify, Verify};

/// The README's example is a test.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;
