//! The runtime world: real sockets, real time, real entropy, on tokio. In its place, `steelmill-sim` brings the same
//! names for a simulated cluster.
//!
//! [`run`] is what a service's `main` calls.
#![forbid(unsafe_code)]

// What the world supplies, file by file the twin of the sim's.
mod clock; // the system's time
mod entropy; // the system's randomness
mod net; // the system's network
mod spawn; // tokio's tasks
mod world; // all four, gathered

// What a service's `main` calls.
mod logging; // the log
mod run; // from nothing to an exit code
mod signal; // SIGINT, SIGTERM, SIGHUP

pub use clock::Clock;
pub use entropy::{Entropy, Rng};
pub use logging::LogFormat;
pub use net::{
    Network, OwnedReadHalf, OwnedWriteHalf, ReadHalf, ReuniteError, TcpListener, TcpStream, UdpSocket,
    WriteHalf,
};
pub use run::{Options, run};
pub use spawn::{Spawner, Task};
pub use world::RuntimeWorld;
