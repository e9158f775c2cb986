//! The store: the data, and the truth about it.
//!
//! Every request, reads included, carries the fencing token of its sender's lease, and the store refuses any older than
//! the newest it has seen. So from the moment the holder of a new lease has been answered once, nothing that a former
//! holder sent earlier, however late it comes, can change or read anything. Nobody has to trust a clock for that.
//!
//! Whoever can connect is trusted with that: a made-up token from the far future would shut all gateways out. Let only
//! gateways reach the address it listens on.
//!
//! Every answer about a key is dated, so that of two answers that arrive in the wrong order the newer one is known.

mod data;
mod message;

use std::sync::Arc;

use steelmill_core::{Daemon, Factory, Result, Scope};

use crate::hash::Keyed;
use crate::service::{Entrance, Service};
use crate::world::Entropy;
use data::Data;
pub use message::{Command, Reply, Request, Value};

const ADDRESS: &str = "127.0.0.1:6380";

/// How many bytes of keys and values it takes.
const MEMORY: usize = 1 << 30;

/// Keys and values, for whoever holds the lease.
pub struct Store {
    data: Data,
    entrance: Entrance,
}

impl Daemon for Store {
    fn build(factory: &mut Factory) -> Result<Self> {
        let hasher = Keyed::draw(&*factory.get::<Entropy>()?);
        Ok(Self { data: Data::new(hasher, MEMORY), entrance: Entrance::build::<Self>(factory, ADDRESS)? })
    }

    async fn prepare(&self, _scope: &Scope) -> Result {
        self.entrance.open::<Self>().await
    }

    async fn run(self: &Arc<Self>, scope: &Scope) -> Result {
        self.entrance.serve(self, scope).await
    }

    async fn stop(&self, _scope: &Scope) -> Result {
        tracing::info!("forgets {} keys: nothing is kept beyond the process yet", self.data.len());
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
