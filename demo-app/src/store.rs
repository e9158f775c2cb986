//! The store: keys and values in memory, fenced by the token of the lease.
//!
//! Every request, reads included, carries the fencing token of its sender's lease, and the store refuses tokens older
//! than the newest it has seen. So once the holder of a new lease has had one reply, no delayed request of a former
//! holder can change or read anything. This does not depend on clocks.
//!
//! Clients of the store are trusted: a forged token from the far future would lock all gateways out. Only gateways may
//! reach its address.
//!
//! Every reply about a key has a version, so that replies that arrive out of order can be ordered.

mod data;
mod message;

use std::sync::Arc;

use steelmill_core::{Daemon, Factory, Result, Scope};

use crate::hash::Keyed;
use crate::service::{Endpoint, Service};
use crate::world::Entropy;
use data::Data;
pub use message::{Command, Reply, Request, Value};

const ADDRESS: &str = "127.0.0.1:6380";

/// The most bytes of keys and values.
const MEMORY_MAX: usize = 1 << 30;

/// Keeps keys and values for the lease holder.
pub struct Store {
    data: Data,
    endpoint: Endpoint,
}

impl Daemon for Store {
    fn build(factory: &mut Factory) -> Result<Self> {
        let hasher = Keyed::draw(&*factory.get::<Entropy>()?);
        Ok(Self { data: Data::new(hasher, MEMORY_MAX), endpoint: Endpoint::build::<Self>(factory, ADDRESS)? })
    }

    async fn prepare(&self, _scope: &Scope) -> Result {
        self.endpoint.bind::<Self>().await
    }

    async fn run(self: &Arc<Self>, scope: &Scope) -> Result {
        self.endpoint.serve(self, scope).await
    }

    async fn stop(&self, _scope: &Scope) -> Result {
        tracing::info!("drops {} keys: there is no storage yet", self.data.len());
        Ok(())
    }
}

impl Service for Store {
    const NAME: &'static str = "store";
    type Request<'a> = Request<'a>;
    type Reply = Reply;

    fn answer(&self, request: Request<'_>) -> Reply {
        self.data.answer(request)
    }
}
