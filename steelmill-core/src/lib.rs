//! The service side of steelmill: what a [`Daemon`] is, how a [`Factory`] builds daemons with what they depend on
//! and starts and stops them in order, and one trait for each capability a world supplies.
//!
//! This crate has no executor and does no I/O. A world (`steelmill-sim` or `steelmill-runtime`) brings those.
#![forbid(unsafe_code)]

// What a world supplies.
mod clock; // time
mod entropy; // randomness
mod net; // TCP, UDP and names
mod spawn; // tasks
mod world; // all four, gathered

pub use clock::{Clock, Elapsed, Interval};
pub use entropy::Entropy;
pub use net::{Address, AddressError, Network, TcpListener, TcpStream, UdpSocket};
pub use spawn::{Spawn, Task, TaskError};
pub use world::World;

/// Why a daemon could not do what was asked: any error, with context added on its way up.
pub use anyhow::Error;

/// What daemons return.
pub type Result<T = (), E = Error> = std::result::Result<T, E>;
