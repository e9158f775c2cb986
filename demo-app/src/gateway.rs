//! The gateway: the daemon that Redis clients connect to.
//!
//! Any number of gateways share one store. The lease holder, the leader, serves; the others reply with its address.
//! The leader runs a child factory with a read cache, and answers most reads without the store.
//!
//! One GET: [`session`] reads it, [`command`] parses it, [`keys`] answers it and explains why the answer is not stale.
//! The lease: [`leadership`].
//!
//! A shutdown: the child factory depends on this daemon, so it stops first, with the cache; then the lease is
//! released. Then this daemon stops: it accepts no more connections, and each session ends after its current command.
//! Last to stop are the links, and then a store and a lease daemon of this process.

mod client; // what a connection remembers about its client
mod command; // the commands: syntax and execution
mod config; // the reply to CONFIG GET
mod info; // the reply to INFO
mod keys; // reads and writes of a key
mod leadership; // acquiring, holding and losing the lease
mod session; // one client's connection

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use steelmill_core::{Daemon, DaemonRef, Factory, Health, Result, Scope, SetOnce};
use tokio::sync::{Semaphore, watch};

use crate::descriptors::Descriptors;
use crate::lease::Lease;
use crate::link::Link;
use crate::listener::{Accepted, Admission, Listener};
use crate::settings::{Canary, Settings};
use crate::store::Store;
use crate::world::{Clock, Entropy, Network};
use keys::CommandError;
use leadership::{Leadership, LeaseState};

/// Its name on the command line.
pub const NAME: &str = "gateway";

/// The default port of Redis.
const ADDRESS: &str = "127.0.0.1:6379";

/// The most keys of commands with several that are looked up at a time, so that their values take little memory.
const LOOKUPS_MAX: usize = 64;

/// Serves Redis clients over RESP; executes their commands while it holds the lease.
pub struct Gateway {
    settings: Arc<Settings>,
    clock: DaemonRef<Clock>,
    network: DaemonRef<Network>,
    entropy: DaemonRef<Entropy>,
    store: DaemonRef<Link<Store>>,
    lease: DaemonRef<Link<Lease>>,
    listener: SetOnce<Listener>,
    /// Its own address, by which other gateways refer clients to the lease holder.
    holder: SetOnce<String>,
    lease_state: watch::Sender<LeaseState>,
    /// The newest token that the store has named.
    newest_token: AtomicU64,
    /// Buffered bytes of all connections together.
    memory: Arc<AtomicUsize>,
    descriptors: DaemonRef<Descriptors>,
    /// For the keys of commands with several.
    lookups: Semaphore,
    /// The number of the last client.
    last_client: AtomicU64,
    /// For the status of its factory.
    scope: SetOnce<Scope>,
    counters: Counters,
}

impl Daemon for Gateway {
    fn build(factory: &mut Factory) -> Result<Self> {
        Ok(Self {
            settings: factory.value()?,
            clock: factory.get()?,
            network: factory.get()?,
            entropy: factory.get()?,
            store: factory.get()?,
            lease: factory.get()?,
            listener: SetOnce::new(),
            holder: SetOnce::new(),
            lease_state: watch::Sender::new(LeaseState::NotHeld(None)),
            newest_token: AtomicU64::new(0),
            memory: Arc::default(),
            descriptors: factory.get()?,
            lookups: Semaphore::new(LOOKUPS_MAX),
            last_client: AtomicU64::new(0),
            scope: SetOnce::new(),
            counters: Counters::default(),
        })
    }

    async fn prepare(&self, scope: &Scope) -> Result {
        self.scope.set(scope.clone())?;
        let address = self.settings.listen(NAME, ADDRESS);
        let limit = self.settings.clients.connections;
        let listener = Listener::bind(&self.network, self.descriptors.share(), NAME, &address, limit).await?;
        // As configured, because clients may resolve a name differently; but port 0 is no address to connect to.
        self.holder.set(if address.ends_with(":0") { listener.address()?.to_string() } else { address })?;
        self.listener.set(listener)
    }

    async fn run(self: &Arc<Self>, scope: &Scope) -> Result {
        tokio::try_join!(self.acquire_loop(scope), self.accept_loop(scope))?;
        Ok(())
    }

    async fn health(&self) -> Health {
        match &*self.lease_state.borrow() {
            // One that does not hold the lease names the one that does.
            LeaseState::Held(_) | LeaseState::NotHeld(Some(_)) => Health::Healthy,
            LeaseState::NotHeld(None) => Health::failing("no gateway is known to hold the lease"),
        }
    }
}

impl Gateway {
    /// Accepts clients until the stop.
    async fn accept_loop(self: &Arc<Self>, scope: &Scope) -> Result {
        let accepted = |Accepted { stream, peer, admission }: Accepted| {
            let gateway = self.clone();
            match admission {
                Admission::Admitted(permit) => {
                    // Not dropped at the stop: the session finishes its current command.
                    let serving = session::serve(gateway, stream, scope.clone());
                    scope.spawn("client", async move {
                        serving.await;
                        drop(permit);
                    });
                }
                Admission::Rejected(reason, Some(permit)) => scope.spawn("rejected client", async move {
                    session::reject(gateway, stream, &reason).await;
                    drop(permit);
                }),
                Admission::Rejected(reason, None) => {
                    tracing::debug!("closed the connection of {peer}: {reason}");
                    session::reject_at_once(stream, &reason);
                }
            }
        };
        self.listener.get()?.accept_loop(scope, accepted).await;
        Ok(())
    }

    /// How long it may still rely on the lease; `None` if it does not hold it.
    pub fn lease_left(&self) -> Option<Duration> {
        match &*self.lease_state.borrow() {
            LeaseState::Held(leadership) => {
                Some(leadership.lease.expiry().saturating_duration_since(self.clock.now()))
            }
            LeaseState::NotHeld(_) => None,
        }
    }

    fn holder(&self) -> &str {
        self.holder.get().map(String::as_str).unwrap_or_default()
    }

    /// Whether it is broken on purpose: the cache stays in use until the next lease replaces it.
    fn keeps_cache(&self) -> bool {
        self.settings.canary == Some(Canary::Cache)
    }

    fn set_lease_state(&self, state: LeaseState) {
        if self.keeps_cache() && matches!(state, LeaseState::NotHeld(_)) {
            return;
        }
        self.lease_state.send_replace(state);
    }

    /// The leadership, while it holds the lease. Not to be kept across an await, or it could not end.
    fn leadership(&self) -> Result<Arc<Leadership>, CommandError> {
        match &*self.lease_state.borrow() {
            LeaseState::Held(leadership) => Ok(leadership.clone()),
            LeaseState::NotHeld(holder) => {
                Err(CommandError::NotLeader { leader: holder.as_deref().map(|holder| holder.into()) })
            }
        }
    }
}

/// Counters since the start, for `INFO`.
#[derive(Debug, Default)]
struct Counters {
    commands: Counter,
    hits: Counter,
    misses: Counter,
}

#[derive(Debug, Default)]
struct Counter(AtomicU64);

impl Counter {
    fn add(&self) {
        self.0.fetch_add(1, Relaxed);
    }

    fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}
