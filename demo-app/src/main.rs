//! A small key-value service that Redis clients talk to.
//!
//! `store` keeps the data, `lease` says which gateway serves, `gateway` talks to clients. They run in one process or in
//! many, on real sockets or as a simulated cluster, and do not know which.
#![forbid(unsafe_code)]
#![expect(unreachable_pub, reason = "a program has no API; `pub` says which items other files use")]

mod world; // the world this binary is built for

// The three daemons.
mod gateway; // what clients talk to
mod lease; // who may serve
mod store; // the data

// What they are made of.
mod cache; // what a gateway remembers while it holds the lease
mod hash; // the hasher of every map
mod inbox; // bytes that came and were not read yet
mod link; // requests to a service, in this process or another
mod listener; // a TCP listener with a connection limit
mod resp; // the protocol of Redis clients
mod service; // answering gateways
mod settings; // what the command line decides
mod wire; // the protocol between the daemons

// Which of them run.
#[cfg(feature = "runtime")]
mod cli; // the command line
#[cfg(all(feature = "sim", not(feature = "runtime")))]
mod cluster; // a simulated cluster and its clients
mod daemons; // their names

#[cfg(feature = "runtime")]
fn main() -> std::process::ExitCode {
    cli::main()
}

#[cfg(all(feature = "sim", not(feature = "runtime")))]
fn main() -> std::process::ExitCode {
    cluster::main()
}

// So that the error of a missing world is the only one; see world.rs.
#[cfg(not(any(feature = "runtime", feature = "sim")))]
fn main() {}
