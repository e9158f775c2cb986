//! A small key-value service for Redis clients.
//!
//! The daemon `store` keeps the data, `lease` grants the lease to one gateway at a time, and `gateway` serves clients.
//! They run in one process or several, on real sockets or as a simulated cluster, with the same code.
#![forbid(unsafe_code)]
#![expect(unreachable_pub, reason = "a program has no API; `pub` says which items other files use")]

mod world; // the world this binary is built for

// The three daemons.
mod gateway; // serves Redis clients
mod lease; // grants the lease to one gateway at a time
mod store; // keys and values, fenced by the lease's token

// Their parts.
mod cache; // a gateway's read cache, valid while it holds the lease
mod descriptors; // the file descriptors of the process
mod hash; // the keyed hasher of every map
mod read_buffer; // received bytes that are not parsed yet
mod link; // requests to a service, in process or over TCP
mod listener; // a TCP listener with a connection limit
mod memory; // a memory budget shared by connections
mod resp; // RESP, the protocol of Redis clients
mod service; // a daemon that answers requests, in process or over TCP
mod settings; // configuration: daemons, addresses, limits
mod storage; // what a daemon keeps on disk, with group commit
mod token; // fencing tokens
mod wire; // frames and messages between the daemons

// Which daemons run.
#[cfg(feature = "runtime")]
mod cli; // the command line
#[cfg(all(feature = "sim", not(feature = "runtime")))]
mod cluster; // a simulated cluster, its clients and its faults
mod daemons; // the daemons by name

#[cfg(feature = "runtime")]
fn main() -> std::process::ExitCode {
    cli::main()
}

#[cfg(all(feature = "sim", not(feature = "runtime")))]
fn main() -> std::process::ExitCode {
    cluster::main()
}

// Without a world only world.rs reports an error.
#[cfg(not(any(feature = "runtime", feature = "sim")))]
fn main() {}
