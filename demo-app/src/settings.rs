//! What the command line (or the sim's cluster) decides: which daemons, where they listen, whom they connect to.
//!
//! A plain value that every daemon finds in its factory.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::resp;

/// What a command line says about the daemons.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The daemons of this process, by the names of the catalog.
    pub daemons: Vec<String>,
    /// Where a daemon listens, by its name.
    pub listen: BTreeMap<String, String>,
    /// Where a daemon of another process is found, by its name.
    pub connect: BTreeMap<String, String>,
    /// How long a gateway asks to hold the lease for; it renews it long before.
    pub lease_ttl: Duration,
    /// What clients of a gateway may use.
    pub clients: ClientLimits,
    /// The deliberately broken gateway that the simulation must catch: it goes on answering from its cache after
    /// its lease. Never set outside `--canary`.
    pub canary: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            daemons: Vec::new(),
            listen: BTreeMap::new(),
            connect: BTreeMap::new(),
            lease_ttl: Duration::from_secs(3),
            clients: ClientLimits::default(),
            canary: false,
        }
    }
}

impl Settings {
    /// Where `daemon` listens when it must, `default` unless the command line says otherwise.
    pub fn listen(&self, daemon: &str, default: &'static str) -> String {
        self.listen.get(daemon).cloned().unwrap_or_else(|| default.to_owned())
    }

    /// Where `daemon` listens for gateways of other processes, if it does.
    ///
    /// A gateway of this process needs no socket to reach it; beside one it opens a socket only when asked to. Without
    /// one, a socket is all it is for.
    pub fn listen_for_gateways(&self, daemon: &str, default: &'static str) -> Option<String> {
        let asked = self.listen.contains_key(daemon);
        (asked || !self.runs("gateway")).then(|| self.listen(daemon, default))
    }

    /// Whether `daemon` is one of this process.
    pub fn runs(&self, daemon: &str) -> bool {
        self.daemons.iter().any(|name| name == daemon)
    }
}

/// What clients of a gateway may use. Every limit is answered with an error that names it.
#[derive(Debug, Clone)]
pub struct ClientLimits {
    /// Connections at a time.
    pub connections: usize,
    /// What one command may be made of.
    pub request: resp::Limits,
    /// Bytes in the reply to one command.
    pub reply: usize,
    /// Bytes that all connections together may have waiting, in and out, beyond [`free`](Self::free) for each.
    pub memory: usize,
    /// Bytes that every connection may have waiting whatever the others do.
    pub free: usize,
    /// How long a command may take to arrive once its first byte has.
    pub arrival: Duration,
    /// How long a client may take no byte of a reply that waits for it.
    pub patience: Duration,
    /// How long a client may say nothing.
    pub idle: Duration,
}

impl Default for ClientLimits {
    fn default() -> Self {
        Self {
            connections: 10_000,
            request: resp::Limits::default(),
            reply: 16 << 20,
            memory: 256 << 20,
            free: 16 << 10,
            arrival: Duration::from_secs(60),
            patience: Duration::from_secs(10),
            idle: Duration::from_secs(600),
        }
    }
}
