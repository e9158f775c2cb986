//! Long-running services and their lifecycle: write each as a [`Daemon`], let a [`Factory`] build them with their
//! dependencies, start them in order and stop them in reverse.
//!
//! Time, network, randomness and tasks are dependencies, too, and come from a [`World`]. So the same service runs on real
//! sockets (`steelmill-runtime`), and as a whole cluster in a deterministic simulation (`steelmill-sim`). This crate has no
//! executor and does no I/O.
//!
//! # Example
//! A TCP echo service, run in the simulation:
//! ```
//! use std::sync::Arc;
//! use std::time::Duration;
//! use steelmill_core::{Clock, Daemon, DaemonRef, Factory, Network, Result, Scope, SetOnce};
//! use steelmill_core::{TcpListener, TcpStream, World};
//! use tokio::io::{AsyncReadExt, AsyncWriteExt, copy};
//!
//! struct Echo<W: World> {
//!     clock: DaemonRef<W::Clock>,
//!     network: DaemonRef<W::Network>,
//!     listener: SetOnce<<W::Network as Network>::TcpListener>,
//! }
//!
//! impl<W: World> Daemon for Echo<W> {
//!     fn build(factory: &mut Factory) -> Result<Self> {
//!         Ok(Self { clock: factory.get()?, network: factory.get()?, listener: SetOnce::new() })
//!     }
//!
//!     async fn prepare(&self, _: &Scope) -> Result {
//!         self.listener.set(self.network.bind("0.0.0.0:7000").await?)
//!     }
//!
//!     async fn run(self: &Arc<Self>, scope: &Scope) -> Result {
//!         let listener = self.listener.get()?;
//!         while let Some(accepted) = scope.until_stopping(listener.accept()).await {
//!             let Ok((stream, _)) = accepted else {
//!                 // One client, or a shortage of file descriptors, does not end the service.
//!                 scope.until_stopping(self.clock.sleep(Duration::from_millis(100))).await;
//!                 continue;
//!             };
//!             let (mut read, mut write) = stream.into_split();
//!             let connection = scope.clone();
//!             scope.spawn("connection", async move {
//!                 // An idle client does not delay a stop.
//!                 connection.until_stopping(copy(&mut read, &mut write)).await;
//!             });
//!         }
//!         Ok(())
//!     }
//! }
//!
//! steelmill_sim::check(steelmill_sim::Seed(1), |sim| async move {
//!     let mut factory = Factory::root("demo", sim.world());
//!     factory.with::<Echo<steelmill_sim::SimWorld>>()?;
//!     let demo = factory.start().await?;
//!
//!     let mut stream = sim.world().network().connect("127.0.0.1:7000").await?;
//!     stream.write_all(b"hello").await?;
//!     let mut answer = [0; 5];
//!     stream.read_exact(&mut answer).await?;
//!     assert_eq!(&answer, b"hello");
//!
//!     assert!(demo.stop().await.is_clean());
//!     Ok(())
//! });
//! ```
//!
//! # Start here
//! [`Daemon`] (what a service implements), [`Factory`] (dependency injection), [`Scope`] (a running daemon's stop signal,
//! tasks and child factories). Then, as needed:
//! - a started factory: [`RunningFactory`], its [`Status`] and [`Changes`], the [`Report`] of its end; for
//!   the main function of a process: [`Serving`], with a [`Remote`];
//! - timeouts and restarts: [`Deadlines`], [`Policy`], [`Backoff`]; children that are built anew:
//!   [`supervise`](Factory::supervise);
//! - readiness, liveness, and serving on before a stop: [`Health`], [`HealthWatch`], [`Factory::drain`];
//! - a configuration that can be replaced: [`Config`], [`Configuration`], [`ConfigWatch`];
//! - all errors of an assembly at once, as a check for CI: [`Factory::validate`];
//! - state that `prepare` makes: [`SetOnce`]; daemons by name: [`Catalog`]; the dependency graph: [`Graph`];
//! - capabilities of a world: [`Clock`], [`Network`], [`Entropy`], [`Spawn`];
//! - assertions and fault injection inside a service: [`coverage`];
//! - for authors of a world: [`World`], [`contract`], [`Supervision`] and its [`UserCode`]; of a log: [`LogContext`].
#![forbid(unsafe_code)]

// The service side, in reading order.
mod daemon; // what a service is
mod factory; // assembling: a daemon gets its dependencies
mod scope; // what a running daemon is given
mod lifecycle; // starting, supervising and stopping
mod supervised; // children that are built anew when they end
mod policy; // deadlines, restarts, ends
mod health; // how a daemon says it is
mod readiness; // whether a factory is ready and live
mod report; // how a factory ended
mod status; // what a factory is doing at this moment
mod changes; // state changes, as they happen
mod config; // what can be replaced while daemons run
mod catalog; // daemon types by name, for a command line

// What these are made of.
mod cell; // everything several threads write: set-once cell, stop signal, task counts
mod control; // how a running factory is reached: its control block and events
mod driver; // a world with its types erased
mod label; // short names of types
mod panic; // panics of user code, as errors
mod supervision; // a supervisor as a world polls it
mod sync; // the atomics that `cell` is made of

pub use catalog::Catalog;
pub use cell::SetOnce;
pub use changes::{CHANGES_BUFFERED, Change, Changes};
pub use config::{Config, ConfigWatch, Configuration};
pub use daemon::{Daemon, DaemonRef};
pub use factory::{
    AssemblyError, AssemblyErrorKind, AssemblyErrors, DEPTH_MAX, Factory, Graph, RunningFactory,
};
pub use health::{Health, HealthChecks};
pub use lifecycle::{Remote, Replaced, Serving};
pub use panic::{Panic, panic_message};
pub use policy::{Backoff, Deadlines, OnFailure, OnFinish, Policy};
pub use readiness::{DaemonHealth, FactoryHealth, HealthWatch};
pub use report::{
    Abandoned, DeadlineExceeded, Failure, Phase, Report, Restarted, Retained, StartError, StopRequested,
    TASK_FAILURES_LISTED,
};
pub use scope::{LogContext, Scope, TaskOutput};
pub use status::{DaemonStatus, State, Status};
pub use supervised::Supervised;

// What a world supplies.
mod clock; // time
mod entropy; // randomness
mod net; // TCP, UDP and names
mod spawn; // tasks
mod world; // all four, gathered

pub use clock::{Clock, Elapsed, Interval, MissedTickBehavior};
pub use entropy::Entropy;
pub use net::{
    Address, AddressError, LISTEN_BACKLOG, Network, TcpListener, TcpSocket, TcpStream, ToAddress, UdpSocket,
};
pub use spawn::{Milestone, Origin, Owner, Spawn, Task, TaskError};
pub use supervision::{Supervision, UserCode};
pub use world::World;

pub mod contract; // the behaviour every world must have, as tests

pub mod coverage; // coverage points: assert_sometimes! and its kin

/// Any error, with context added on its way up.
pub use anyhow::Error;

/// What daemons return.
pub type Result<T = (), E = Error> = std::result::Result<T, E>;
