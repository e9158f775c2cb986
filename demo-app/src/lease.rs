//! The lease daemon: grants the lease to one gateway at a time.
//!
//! A lease is granted for a time to live on this daemon's clock, with a fencing token higher than any before. The
//! holder counts the same time from before it sent the request, less a bound on clock drift ([`DRIFT_MAX_PPM`]), so it
//! stops relying on the lease before another gateway can get it. Its delayed requests are refused by the store, by
//! their token.
//!
//! The daemon has no storage. Its first token is the wall clock's time, so tokens keep growing across a restart, and
//! the store's fencing holds. But a restarted daemon does not know of a lease that is still held, and could grant a
//! second one. Until it has storage, restart it only with its gateways stopped.

mod held; // a lease on its holder's side
mod message; // requests and replies
mod table; // granted leases

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use steelmill_core::{Daemon, DaemonRef, Factory, Result, Scope};

use crate::service::{Endpoint, Service};
use crate::world::Clock;
pub use held::HeldLease;
pub use message::{Command, Reply, Request};
use table::Table;

/// The bound on clock drift, in microseconds per second, either way. One percent is a thousand times a quartz clock's
/// drift, so that a clock being slewed stays within it too.
pub const DRIFT_MAX_PPM: u32 = 10_000;

const ADDRESS: &str = "127.0.0.1:6381";

pub struct Lease {
    clock: DaemonRef<Clock>,
    table: Mutex<Table>,
    endpoint: Endpoint,
}

impl Daemon for Lease {
    fn build(factory: &mut Factory) -> Result<Self> {
        let clock = factory.get::<Clock>()?;
        let since_1970 = clock.wall().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let last_token = u64::try_from(since_1970.as_micros()).unwrap_or(0);
        Ok(Self {
            clock,
            table: Mutex::new(Table::new(last_token)),
            endpoint: Endpoint::build::<Self>(factory, ADDRESS)?,
        })
    }

    async fn prepare(&self, _scope: &Scope) -> Result {
        self.endpoint.bind::<Self>().await
    }

    async fn run(self: &Arc<Self>, scope: &Scope) -> Result {
        self.endpoint.serve(self, scope).await
    }

    async fn stop(&self, _scope: &Scope) -> Result {
        tracing::debug!("leases changed their holder {} times", self.holder_changes());
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
            tracing::info!("granted the lease {} to {holder} for {ttl:?}, token {token}", request.name);
        }
        reply
    }
}

impl Lease {
    /// How many times a lease was granted to another holder than the grant before.
    pub fn holder_changes(&self) -> u64 {
        self.table().holder_changes()
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        // The table is consistent at every step, so a panic elsewhere is no reason to stop granting.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
