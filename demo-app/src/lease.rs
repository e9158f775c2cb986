//! The lease daemon: says which gateway serves, one at a time.
//!
//! A lease is granted for a time to live on this daemon's clock, with a fencing token larger than any before. Its holder
//! counts the same time from before it asked, less a bound on how far the two clocks can drift apart ([`DRIFT_MAX_PPM`]),
//! so that it stops relying on the lease before another can get it. What a holder sent earlier and arrives later is the
//! store's to refuse, by the token.
//!
//! The daemon keeps nothing beyond its process. Its first token is taken from the wall clock, so that tokens go on
//! growing over a restart, and the store's fence holds. But a restarted daemon knows nothing of a lease still
//! running, and could grant a second; until there is storage to remember it, restart it only with its gateways stopped.

mod held; // a lease as its holder sees it
mod message; // requests and replies
mod table; // who holds which lease until when

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use steelmill_core::{Daemon, DaemonRef, Factory, Result, Scope};

use crate::service::{Entrance, Service};
use crate::world::Clock;
pub use held::HeldLease;
pub use message::{Command, Reply, Request};
use table::Table;

/// How many microseconds a second of any clock here may be off, either way. A percent: a thousand times what a quartz
/// does, so that a clock being slewed stays within it too.
pub const DRIFT_MAX_PPM: u32 = 10_000;

const ADDRESS: &str = "127.0.0.1:6381";

/// Grants leases.
pub struct Lease {
    clock: DaemonRef<Clock>,
    table: Mutex<Table>,
    entrance: Entrance,
}

impl Daemon for Lease {
    fn build(factory: &mut Factory) -> Result<Self> {
        let clock = factory.get::<Clock>()?;
        let since_1970 = clock.wall().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let last_token = u64::try_from(since_1970.as_micros()).unwrap_or(0);
        Ok(Self {
            clock,
            table: Mutex::new(Table::new(last_token)),
            entrance: Entrance::build::<Self>(factory, ADDRESS)?,
        })
    }

    async fn prepare(&self, _scope: &Scope) -> Result {
        self.entrance.open::<Self>().await
    }

    async fn run(self: &Arc<Self>, scope: &Scope) -> Result {
        self.entrance.serve(self, scope).await
    }

    async fn stop(&self, _scope: &Scope) -> Result {
        tracing::debug!("leases went to another holder {} times", self.changes());
        Ok(())
    }
}

impl Service for Lease {
    const NAME: &'static str = "lease";
    type Request<'a> = Request<'a>;
    type Reply = Reply;

    fn answer(&self, request: Request<'_>) -> Reply {
        let reply = self.table().answer(self.clock.now(), request);
        if let (Command::Acquire { holder, .. }, Reply::Granted { token, ttl }) = (request.command, &reply) {
            tracing::info!("the lease {} goes to {holder} for {ttl:?}, token {token}", request.name);
        }
        reply
    }
}

impl Lease {
    /// How often a lease went to another holder than the last one granted.
    pub fn changes(&self) -> u64 {
        self.table().changes()
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        // Answering leaves the table whole at every step, so a panic elsewhere is no reason to stop granting.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
