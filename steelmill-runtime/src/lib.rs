//! The runtime world of steelmill: runs daemons in production, on tokio, with real sockets, the system's clock and
//! entropy, signals, logging and exit codes. `steelmill-sim` has the same names for a simulated cluster.
//!
//! # Example
//! A TCP echo service. It names no world, so it runs in the simulation, too:
//! ```
//! use std::process::ExitCode;
//! use std::sync::Arc;
//! use steelmill_core::{Daemon, DaemonRef, Factory, Network, Result, Scope, SetOnce};
//! use steelmill_core::{TcpListener, TcpStream, World};
//! use steelmill_runtime::{Options, RuntimeWorld, run};
//! use tokio::io::copy;
//! # use tokio::io::{AsyncReadExt, AsyncWriteExt};
//!
//! struct Echo<W: World> {
//!     network: DaemonRef<W::Network>,
//!     listener: SetOnce<<W::Network as Network>::TcpListener>,
//! }
//!
//! impl<W: World> Daemon for Echo<W> {
//!     fn build(factory: &mut Factory) -> Result<Self> {
//!         Ok(Self { network: factory.get()?, listener: SetOnce::new() })
//!     }
//!
//!     async fn prepare(&self, _: &Scope) -> Result {
//!         self.listener.set(self.network.bind("127.0.0.1:0").await?)
//!     }
//!
//!     async fn run(self: &Arc<Self>, scope: &Scope) -> Result {
//!         let listener = self.listener.get()?;
//!         tracing::info!("listens on {}", listener.local_addr()?);
//!         scope
//!             .accept_loop(listener, |stream, _peer| {
//!                 let (mut read, mut write) = stream.into_split();
//!                 // An idle client does not delay a stop, and a broken connection does not fail the service.
//!                 scope.spawn_until_stopping("connection", async move {
//!                     let _ = copy(&mut read, &mut write).await;
//!                 });
//!             })
//!             .await;
//!         Ok(())
//!     }
//! }
//! # // A client, so that the example ends: it checks one echo, and requests the stop.
//! # struct Client(DaemonRef<Echo<RuntimeWorld>>);
//! # impl Daemon for Client {
//! #     fn build(factory: &mut Factory) -> Result<Self> {
//! #         Ok(Self(factory.get()?))
//! #     }
//! #     async fn run(self: &Arc<Self>, scope: &Scope) -> Result {
//! #         let mut stream = self.0.network.connect(self.0.listener.get()?.local_addr()?).await?;
//! #         stream.write_all(b"hello").await?;
//! #         let mut answer = [0; 5];
//! #         stream.read_exact(&mut answer).await?;
//! #         anyhow::ensure!(&answer == b"hello");
//! #         scope.request_stop();
//! #         Ok(())
//! #     }
//! # }
//!
//! fn main() -> ExitCode {
//!     let options = Options { name: "echo".to_owned(), ..Options::default() };
//!     run(options, |factory| {
//!         # factory.with::<Client>()?;
//!         factory.with::<Echo<RuntimeWorld>>()
//!     })
//! }
//! ```
//!
//! # Start here
//! [`run`] (what `main` calls: signals, exit code, report) and its [`Options`] (name, [`LogFormat`], stop deadline).
//! Then, as needed:
//! - a configuration that SIGHUP replaces: [`configure`];
//! - probes and metrics over HTTP: [`Probes`];
//! - the world, for [`Factory::root`](steelmill_core::Factory::root) in a tokio runtime of your own: [`RuntimeWorld`];
//! - what it supplies to daemons: [`Clock`], [`Network`], [`Entropy`] with its [`Rng`], [`Spawner`] with its [`Task`];
//! - tokio's socket types: [`TcpSocket`], [`TcpListener`], [`TcpStream`], [`UdpSocket`], and the halves of a stream.
#![forbid(unsafe_code)]

// What the world supplies, each file the twin of the sim's.
mod clock; // the system clock, and timers
mod entropy; // random numbers
mod net; // TCP, UDP and names
mod spawn; // tasks
mod supervise; // supervisors, which no blocked thread holds up
mod world; // all four, gathered

// What a service's `main` calls.
mod logging; // events on stderr
mod run; // setup, start, stop, exit code
mod probes; // /livez, /readyz and /metrics over HTTP
mod reload; // SIGHUP has configurations read again
#[cfg_attr(not(unix), path = "notify/absent.rs")]
mod notify; // what systemd is told
mod signal; // SIGINT, SIGTERM and SIGHUP; and the last resort

pub use clock::Clock;
pub use entropy::{Entropy, Rng};
pub use logging::LogFormat;
pub use net::{
    Network, OwnedReadHalf, OwnedWriteHalf, ReadHalf, ReuniteError, TcpListener, TcpSocket, TcpStream,
    UdpSocket, WriteHalf,
};
pub use probes::{Probes, ProbesAddress};
pub use reload::configure;
pub use run::{Options, run};
pub use spawn::{Spawner, Task};
pub use world::RuntimeWorld;
