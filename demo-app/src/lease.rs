//! The lease daemon: grants the lease to one gateway at a time.
//!
//! A lease is granted for a time to live on this daemon's clock, with a fencing token higher than any before. The
//! holder counts the same time from before it sent the request, less a bound on clock drift ([`DRIFT_MAX_PPM`]), so it
//! stops relying on the lease before another gateway can get it. Its delayed requests are refused by the store, by
//! their token.
//!
//! # Restarts
//!
//! Without `--data` it does not know after a restart which leases are still held. It grants none until
//! all of them have expired: for the longest time to live that it grants, or that a gateway has requested since. So a
//! lower `--lease-ttl` needs its restart only after that of the gateways. It serves at once only if nobody outside of
//! the process can hold a lease of this data: it has no address of its own, and the store is in the process, too.
//!
//! With `--data DIR` a grant is durable before its holder hears of it, and so is a longer time to live. No clock can be
//! trusted across a restart, so a lease that was held counts as renewed by it: its holder goes on renewing, and if it is
//! gone, others wait for as long as without the data. Where nobody held the lease, it is granted at once. In a new
//! folder nothing is known, which is as without one.
//!
//! Its first token is the wall clock's time, or that of the last grant that is known, if that is higher. Should the clock have been set back, the store refuses the token with the
//! newest one it knows, the gateway hands that on ([`Command::Acquire`]), and the next token is higher.

mod held; // a lease on its holder's side
mod message; // requests and replies
mod table; // granted leases

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use steelmill_core::{Daemon, DaemonRef, Factory, Result, Scope};

use crate::service::{Answer, Endpoint, Service};
use crate::settings::{Canary, Settings};
use crate::storage::Storage;
use crate::token::micros_since_1970;
use crate::world::Clock;
pub use held::{HeldLease, minus_drift};
pub use message::{Command, Reply, Request};
use table::Table;

/// The bound on clock drift, in microseconds per second, either way. One percent is a thousand times a quartz clock's
/// drift, so that a clock being slewed stays within it too.
pub const DRIFT_MAX_PPM: u32 = 10_000;

const ADDRESS: &str = "127.0.0.1:6381";

pub struct Lease {
    settings: Arc<Settings>,
    clock: DaemonRef<Clock>,
    table: Mutex<Table>,
    storage: Arc<Storage>,
    endpoint: Endpoint,
}

impl Daemon for Lease {
    fn build(factory: &mut Factory) -> Result<Self> {
        let clock = factory.get::<Clock>()?;
        let settings = factory.value::<Settings>()?;
        let last_token = micros_since_1970(clock.wall());
        let storage = Arc::new(Storage::build(factory, Self::NAME)?);
        Ok(Self {
            table: Mutex::new(Table::new(last_token, settings.lease_ttl, storage.clone())),
            storage,
            settings,
            clock,
            endpoint: Endpoint::build::<Self>(factory, ADDRESS)?,
        })
    }

    async fn prepare(&self, _scope: &Scope) -> Result {
        let loaded = self.storage.load().await?;
        self.endpoint.bind::<Self>().await?;
        // Only now: an earlier process grants leases for as long as it has the address.
        let now = self.clock.now();
        let is_private = !self.endpoint.is_enabled() && self.settings.runs("store");
        let forgets = is_private || self.settings.canary == Some(Canary::LeaseRestart);
        let is_known = loaded.as_ref().is_some_and(|loaded| !loaded.is_new);
        let mut table = self.table();
        if let Some(loaded) = loaded {
            table.restore(loaded, now, forgets)?;
        }
        if !is_known && !forgets {
            let ttl = self.settings.lease_ttl;
            table.wait_from(now);
            tracing::info!("grants no lease for {ttl:?}, until those granted before a restart have expired");
        }
        Ok(())
    }

    async fn run(self: &Arc<Self>, scope: &Scope) -> Result {
        tokio::try_join!(self.endpoint.serve(self, scope), self.storage.run(scope))?;
        Ok(())
    }
}

impl Service for Lease {
    const NAME: &'static str = "lease";
    type Request<'a> = Request<'a>;
    type Reply = Reply;

    fn answer(&self, request: Request<'_>) -> Answer<Reply> {
        let answer = self.table().answer(self.clock.now(), request);
        if let (Command::Acquire { holder, .. }, Reply::Granted { token, ttl }) =
            (request.command, &answer.reply)
        {
            tracing::info!("granted the lease {} to {holder} for {ttl:?}, token {token}", request.name);
        }
        answer
    }

    fn storage(&self) -> &Storage {
        &self.storage
    }
}

impl Lease {
    fn table(&self) -> MutexGuard<'_, Table> {
        // The table is consistent at every step, so a panic elsewhere is no reason to stop granting.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
