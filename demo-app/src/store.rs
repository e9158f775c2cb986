//! The store: keys and values in memory, fenced by the token of the lease, and on disk if there is a folder for them.
//!
//! A lease holder first claims its token ([`Command::Claim`]); from then on the store refuses all others, also to read.
//! So once a claim has been answered, no delayed request of a former holder can change or read anything. This does not
//! depend on clocks. A restarted store has no claim: it refuses all who began before, so their caches of what may be gone
//! end with their leases (`gateway::keys`).
//!
//! With `--data DIR` a reply is sent when what it shows is durable, and a restarted store has all that was acknowledged
//! (`storage`). Without, it begins empty.
//!
//! Claims are for the lease's tokens, which grow. A token that no lease daemon can have granted is refused: it would
//! lock out all gateways. Apart from that, clients of the store are trusted. Only gateways may reach its address.
//!
//! Every reply about a key has a version, so that replies that arrive out of order can be ordered.

mod data;
mod message;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use steelmill_core::{Daemon, DaemonRef, Factory, Health, Result, Scope};

use crate::hash::Keyed;
use crate::service::{Answer, Endpoint, Service};
use crate::settings::{Canary, Settings};
use crate::storage::Storage;
use crate::token::micros_since_1970;
use crate::world::{Clock, Entropy};
use data::Data;
pub use message::{Command, Condition, Expiry, Reply, Request, State, Value};

const ADDRESS: &str = "127.0.0.1:6380";

/// The most bytes of keys and values.
pub const MEMORY_MAX: usize = 1 << 30;

/// Keeps keys and values for the lease holder.
pub struct Store {
    clock: DaemonRef<Clock>,
    data: Data,
    /// Whether a request about a key has been executed.
    has_served: AtomicBool,
    endpoint: Endpoint,
}

impl Daemon for Store {
    fn build(factory: &mut Factory) -> Result<Self> {
        let hasher = Keyed::draw(&*factory.get::<Entropy>()?);
        let canary = factory.value::<Settings>()?.canary == Some(Canary::StoreRestart);
        Ok(Self {
            clock: factory.get()?,
            data: Data::new(hasher, MEMORY_MAX, canary, Storage::build(factory, Self::NAME)?),
            has_served: AtomicBool::new(false),
            endpoint: Endpoint::build::<Self>(factory, ADDRESS)?,
        })
    }

    async fn prepare(&self, _scope: &Scope) -> Result {
        match self.data.storage().load().await? {
            Some(loaded) => {
                let wall = micros_since_1970(self.clock.wall());
                self.data.restore(loaded, self.clock.now(), wall);
            }
            None => tracing::info!(
                "keeps its keys in memory alone: they are gone when it ends; --data keeps them"
            ),
        }
        self.endpoint.bind::<Self>().await
    }

    async fn run(self: &Arc<Self>, scope: &Scope) -> Result {
        tokio::try_join!(self.endpoint.serve(self, scope), self.data.storage().run(scope))?;
        Ok(())
    }

    async fn health(&self) -> Health {
        match self.data.used() {
            used if used > MEMORY_MAX / 10 * 9 => {
                Health::degraded(format!("{used} of {MEMORY_MAX} bytes are in use"))
            }
            _ => Health::Healthy,
        }
    }

    async fn stop(&self, _scope: &Scope) -> Result {
        if self.has_served() && !self.data.storage().is_on_disk() {
            tracing::info!("drops {} keys, which are in memory alone", self.data.len());
        }
        Ok(())
    }
}

impl Service for Store {
    const NAME: &'static str = "store";
    type Request<'a> = Request<'a>;
    type Reply = Reply;

    fn answer(&self, request: Request<'_>) -> Answer<Reply> {
        let wall = || micros_since_1970(self.clock.wall());
        let answer = self.data.answer(self.clock.now(), wall, request);
        match answer.reply {
            Reply::Claimed => tracing::info!("serves the holder of token {}", request.token),
            Reply::AbsurdToken => {
                tracing::warn!("refused token {}, which no lease daemon can have granted", request.token);
            }
            Reply::Stale { .. } => {}
            _ if !self.has_served.load(Relaxed) => self.has_served.store(true, Relaxed),
            _ => {}
        }
        answer
    }

    fn storage(&self) -> &Storage {
        self.data.storage()
    }
}

impl Store {
    /// Whether a lease holder's request has been executed since the start.
    pub fn has_served(&self) -> bool {
        self.has_served.load(Relaxed)
    }
}
