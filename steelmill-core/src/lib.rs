//! The service side of steelmill: what a [`Daemon`] is, how a [`Factory`] builds daemons with what they depend on
//! and starts and stops them in order, and one trait for each capability a world supplies.
//!
//! This crate has no executor and does no I/O. A world (`steelmill-sim` or `steelmill-runtime`) brings those.
#![forbid(unsafe_code)]

mod catalog; // names for daemon types
mod cell; // what several threads share: set once, raised once, counted
mod changes; // what happens to it, as it happens
mod daemon; // what a service is
mod driver; // a world as the lifecycle sees it
mod factory; // how a daemon gets what it needs
mod graph; // who depends on whom
mod lifecycle; // how all of them start and stop
mod policy; // how long that may take, and what a failure leads to
mod report; // how it went
mod scope; // what a running daemon is given
mod status;
mod sync; // what cells are made of // what it is doing at this moment

pub use catalog::Catalog;
pub use cell::SetOnce;
pub use changes::{CHANGES_KEPT, Change, Changes};
pub use daemon::{Daemon, DaemonRef};
pub use factory::{DEPTH_MAX, Factory, RunningFactory};
pub use graph::Graph;
pub use policy::{Backoff, Deadlines, OnFailure, Policy};
pub use report::{
    Abandoned, Failure, Overstayed, Phase, Report, Restarted, Retained, StartError, TASK_FAILURES_LISTED,
    ToldToStop,
};
pub use scope::{Scope, TaskOutput};
pub use status::{DaemonStatus, State, Status};

// What a world supplies.
mod clock; // time
mod entropy; // randomness
mod net; // TCP, UDP and names
mod spawn; // tasks
mod world; // all four, gathered

pub use clock::{Clock, Elapsed, Interval};
pub use entropy::Entropy;
pub use net::{Address, AddressError, Network, TcpListener, TcpStream, ToAddress, UdpSocket};
pub use spawn::{Milestone, Origin, Owner, Panic, Spawn, Task, TaskError, panic_message};
pub use world::World;

pub mod contract; // what every world must do

pub mod places; // what is looked at across runs: assert_sometimes! and its kin

/// Why a daemon could not do what was asked: any error, with context added on its way up.
pub use anyhow::Error;

/// What daemons return.
pub type Result<T = (), E = Error> = std::result::Result<T, E>;
