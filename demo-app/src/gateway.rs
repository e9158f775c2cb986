//! The gateway: the daemon that Redis clients connect to.
//!
//! Any number of gateways share one store. The one that holds the lease, the leader, serves; the others answer with its
//! address. The leader runs a child factory with a read cache, and answers most reads without asking the store.
//!
//! To follow one GET: [`session`] reads it, [`command`] parses it, [`keys`] answers it, and says why the answer is right.
//! To follow the lease: [`leadership`].
//!
//! To follow a shutdown: the child factory depends on this daemon, so it stops first, with the cache; then the lease is
//! released. Then this daemon is told to stop: it accepts no more connections, and each session ends after its current
//! command. Only then are the links told to stop, and after them a store and a lease daemon of this process.

mod command; // the commands, and what each does
mod info; // the reply to INFO
mod keys; // reads and writes of a key
mod leadership; // the lease, and what exists while it is held
mod session; // one client's connection

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use steelmill_core::{Daemon, DaemonRef, Factory, Result, Scope, SetOnce};
use tokio::sync::{Semaphore, watch};

use crate::lease::Lease;
use crate::link::Link;
use crate::listener::{Accepted, Listener};
use crate::settings::Settings;
use crate::store::Store;
use crate::world::{Clock, Entropy, Network};
use keys::Refusal;
use leadership::{Leadership, LeaseState};

/// Its name on the command line.
pub const NAME: &str = "gateway";

/// Where Redis clients expect it.
const ADDRESS: &str = "127.0.0.1:6379";

/// How many connections above the limit at a time get an error reply; more are closed without one.
const REJECTING_MAX: usize = 64;

/// Answers Redis clients in RESP2; carries out their commands while it holds the lease.
pub struct Gateway {
    settings: Arc<Settings>,
    clock: DaemonRef<Clock>,
    network: DaemonRef<Network>,
    entropy: DaemonRef<Entropy>,
    store: DaemonRef<Link<Store>>,
    lease: DaemonRef<Link<Lease>>,
    listener: SetOnce<Listener>,
    /// Its own address, by which other gateways name it to clients as the lease holder.
    holder: SetOnce<String>,
    lease_state: watch::Sender<LeaseState>,
    /// Bytes that all connections together have waiting.
    memory: Arc<AtomicUsize>,
    rejecting: Arc<Semaphore>,
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
            memory: Arc::default(),
            rejecting: Arc::new(Semaphore::new(REJECTING_MAX)),
            scope: SetOnce::new(),
            counters: Counters::default(),
        })
    }

    async fn prepare(&self, scope: &Scope) -> Result {
        self.scope.set(scope.clone())?;
        let address = self.settings.listen(NAME, ADDRESS);
        let listener =
            Listener::bind(&self.network, NAME, &address, self.settings.clients.connections).await?;
        // As configured, because clients may resolve a name differently; but port 0 is no address to connect to.
        self.holder.set(if address.ends_with(":0") { listener.address()?.to_string() } else { address })?;
        self.listener.set(listener)
    }

    async fn run(self: &Arc<Self>, scope: &Scope) -> Result {
        tokio::try_join!(self.acquire_loop(scope), self.accept_loop(scope))?;
        Ok(())
    }
}

impl Gateway {
    /// Accepts clients until told to stop.
    async fn accept_loop(self: &Arc<Self>, scope: &Scope) -> Result {
        let accepted = |Accepted { stream, peer, permit }: Accepted| {
            let gateway = self.clone();
            match (permit, self.rejecting.clone().try_acquire_owned()) {
                (Some(permit), _) => {
                    // Not dropped at the stop: it finishes the command it is at.
                    let serving = session::serve(gateway, stream, scope.clone());
                    scope.spawn("client", async move {
                        serving.await;
                        drop(permit);
                    });
                }
                (None, Ok(permit)) => scope.spawn("rejected client", async move {
                    session::reject(gateway, stream).await;
                    drop(permit);
                }),
                (None, Err(_)) => tracing::debug!("closed the connection of {peer}: too many clients"),
            }
        };
        self.listener.get()?.accept_loop(scope, accepted).await;
        Ok(())
    }

    /// For how long it may still rely on the lease; `None` when it does not hold it.
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

    fn set_lease_state(&self, state: LeaseState) {
        if self.settings.canary && matches!(state, LeaseState::NotHeld(_)) {
            return;
        }
        self.lease_state.send_replace(state);
    }

    /// Its leadership, while it holds the lease. Never kept across an await: it must be able to end.
    fn leadership(&self) -> Result<Arc<Leadership>, Refusal> {
        match &*self.lease_state.borrow() {
            LeaseState::Held(leadership) => Ok(leadership.clone()),
            LeaseState::NotHeld(holder) => {
                Err(Refusal::NotLeader { leader: holder.as_deref().map(|holder| holder.into()) })
            }
        }
    }
}

/// Counted since the start, for `INFO`.
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
