//! The sim world of steelmill: a whole cluster in one process, on a simulated network and a virtual clock, with fault
//! injection, and every run repeatable from its seed.
//!
//! ```
//! use std::time::Duration;
//! use steelmill_sim::Campaign;
//! use tokio::io::{AsyncReadExt, AsyncWriteExt};
//!
//! Campaign::new(|sim| async move {
//!     let (server, client) = (sim.client("server"), sim.client("client"));
//!     let listener = server.network().bind("0.0.0.0:7000").await?;
//!     server.spawn("echo", async move {
//!         let (mut stream, _) = listener.accept().await?;
//!         let mut message = [0; 5];
//!         stream.read_exact(&mut message).await?;
//!         stream.write_all(&message).await
//!     });
//!     let mut stream = client.network().connect("server:7000").await?;
//!     let cut = sim.partition(&server, &client);
//!     stream.write_all(b"hello").await?; // resent until it gets through ...
//!     sim.clock().sleep(Duration::from_secs(5)).await;
//!     cut.heal(); // ... after the partition has healed
//!     let mut answer = [0; 5];
//!     stream.read_exact(&mut answer).await?;
//!     anyhow::ensure!(&answer == b"hello");
//!     Ok(())
//! })
//! .seeds(20)
//! .check();
//! ```
//!
//! # Start here
//!
//! - [`Campaign`]: one scenario, an async function, run over many seeds; its failures name the seed and how to replay it.
//! - [`Sim`]: a scenario's handle of the simulation: it makes machines, partitions links, counts, and injects faults.
//! - [`Machine`]: a simulated host with a clock, a network and daemons; it can stop, crash, lose power and restart.
//! - [`fault`]: plans of faults, the budget they stay within, and the nemesis that injects them.
//! - [`check_daemon`]: a unit test of one daemon among test doubles.
//!
//! # The rest
//!
//! - One run: [`simulate`], [`Settings`], [`Outcome`] and its [`Failure`]; every event in [`trace`].
//! - Checking: linearizability in [`history`]; [`Coverage`] of `assert_sometimes!` and its kin.
//! - A failed seed: [`Shrunk`] and [`Picture`]. Many seeds: [`Summary`], [`Record`], [`Shard`], [`Verify`], [`cli`].
//! - What a machine supplies to daemons: [`SimWorld`] with [`Clock`], [`Network`], [`Entropy`] and [`Spawner`].

// Bottom up: each folder imports only those above it in this list.
mod schema; // data types: settings, fault plan, events, outcome

mod kernel; // tasks, scheduler, virtual time, random draws, digest

mod machine; // simulated hosts, their network, and the run's state

pub mod fault; // fault injection
pub mod trace; // events, logs, linearizability

mod host; // interposed system calls, audit, panic hook, stuck tasks

mod run; // one seed, from setup to outcome

mod campaign; // many seeds

mod explain; // shrinking and pictures of red seeds

pub mod cli; // a campaign as a program, and as a test

pub use trace::{history, logging};

pub use campaign::campaign::Campaign;
pub use campaign::coverage::{Coverage, CoveragePoint, Furthest};
pub use campaign::record::{CampaignSettings, Count, KeptRecord, KeptSeed, Record, RedSeed};
pub use campaign::shard::{Shard, UnknownShard};
pub use campaign::summary::{Kept, Summary};
pub use cli::testing::{check, check_daemon};
pub use explain::picture::{EVENTS_SHOWN, Picture};
pub use explain::shrink::{Differs, FailureRate, NearestGreen, Progress, Shrunk, Step, Stopped};
pub use host::purity::is_pure;
pub use machine::clock::{Clock, Sleep};
pub use machine::disk::{Disk, DiskSettings, Durability, Troubled};
pub use machine::entropy::{Entropy, Rng};
pub use machine::links::{Hold, Impaired, Partition, SegmentLoss};
pub use machine::lives::{Life, LifeEnd};
pub use machine::machine::{Claim, Machine};
pub use machine::net::{
    Impairment, InFlightAtCut, LookupTrouble, Network, OwnedReadHalf, OwnedWriteHalf, ReadHalf, ReuniteError,
    SynSchedule, TcpListener, TcpSocket, TcpStream, TroubledLookups, UdpSocket, WriteHalf,
};
pub use machine::program::ExitStatus;
pub use machine::signals::Signal;
pub use machine::sim::{Sim, Sizes};
pub use machine::spawn::{Spawner, Task};
pub use machine::world::SimWorld;
pub use run::simulate::{simulate, simulate_alone};
pub use schema::decision::{Decision, InvalidRedraws, Redraws, Reseed, Stream};
pub use schema::estimates::Estimates;
pub use schema::outcome::{Cause, DeadlineExceeded, Failure, FailureLocation, Holder, Outcome, TaskReport};
pub use schema::portable::SourceLocation;
pub use schema::settings::{Schedule, Seed, Settings, UnknownSchedule};
pub use schema::system_use::{SystemCall, SystemUse};
pub use schema::verify::{Difference, Side, UnknownVerify, Verify};
