//! Configuration: which daemons run, their addresses, and limits. The command line or the simulated cluster makes it,
//! and each daemon gets it from its factory.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use crate::resp;

/// The configuration of all daemons of a process.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The daemons of this process, by their names in the catalog.
    pub daemons: Vec<String>,
    /// The address that a daemon listens on, by its name.
    pub listen: BTreeMap<String, String>,
    /// The address of a daemon in another process, by its name.
    pub connect: BTreeMap<String, String>,
    /// The time to live of the lease: what a gateway requests, and the most that a lease daemon grants. A gateway renews
    /// it every third of that.
    pub lease_ttl: Duration,
    /// The folder in which store and lease daemon keep their data; without one they keep it in memory.
    pub data: Option<PathBuf>,
    /// Limits of a gateway's clients.
    pub clients: ClientLimits,
    /// Breaks one rule on purpose, which the simulation must catch. Set only by `--canary`.
    pub canary: Option<Canary>,
}

/// A rule of the daemons that is broken on purpose: a simulation that does not catch it is blind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Canary {
    /// Gateways answer from the cache after the lease has ended.
    Cache,
    /// The store serves leaseholders that began before it was restarted, and its restart is not noticed.
    StoreRestart,
    /// The lease daemon grants the lease at once after it was restarted.
    LeaseRestart,
    /// Replies are sent before what they show is durable.
    EarlyReply,
    /// A new file is synced, but not the folder that it has its name in.
    DirectorySync,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            daemons: Vec::new(),
            listen: BTreeMap::new(),
            connect: BTreeMap::new(),
            lease_ttl: Duration::from_secs(3),
            data: None,
            clients: ClientLimits::default(),
            canary: None,
        }
    }
}

impl Settings {
    /// The address that `daemon` listens on: as configured, or `default`.
    pub fn listen(&self, daemon: &str, default: &'static str) -> String {
        self.listen.get(daemon).cloned().unwrap_or_else(|| default.to_owned())
    }

    /// The address that `daemon` listens on for gateways of other processes; `None` if it does not.
    ///
    /// Beside a gateway, which needs no socket to reach it, it listens only if that is configured. Without one it
    /// always listens.
    pub fn listen_for_gateways(&self, daemon: &str, default: &'static str) -> Option<String> {
        let is_configured = self.listen.contains_key(daemon);
        (is_configured || !self.runs("gateway")).then(|| self.listen(daemon, default))
    }

    pub fn runs(&self, daemon: &str) -> bool {
        self.daemons.iter().any(|name| name == daemon)
    }
}

/// Limits of a gateway's clients. A client that exceeds one gets an error that names the limit.
#[derive(Debug, Clone)]
pub struct ClientLimits {
    /// Simultaneous connections.
    pub connections: usize,
    pub request: resp::Limits,
    /// Bytes in the reply to one command.
    pub reply: usize,
    /// Bytes buffered for all connections together, in and out, beyond [`memory_reserved`](Self::memory_reserved) of
    /// each.
    pub memory: usize,
    /// Bytes that each connection may buffer, however much the others do.
    pub memory_reserved: usize,
    /// The time between the first byte of a command and its last.
    pub command_timeout: Duration,
    /// The time in which the client must read more of a reply.
    pub write_timeout: Duration,
    /// The time without input between two commands.
    pub idle_timeout: Duration,
}

impl Default for ClientLimits {
    fn default() -> Self {
        Self {
            connections: 10_000,
            request: resp::Limits::default(),
            reply: 16 << 20,
            memory: 256 << 20,
            memory_reserved: 16 << 10,
            command_timeout: Duration::from_secs(60),
            write_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(600),
        }
    }
}
