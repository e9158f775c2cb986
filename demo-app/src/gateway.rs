//! The gateway: what Redis clients talk to.
//!
//! Any number of gateways share one store; the one that holds the lease serves, the others say who does. While it holds
//! the lease it runs a child factory with a read cache in it, and answers most reads without asking the store.
//!
//! To follow one GET: [`session`] reads it, [`command`] tells what it is, [`keys`] answers it, and says why the answer is
//! right. To follow the lease: [`tenure`].
//!
//! To follow a shutdown: the child factory depends on this daemon, so it is stopped first, and the cache with it; the
//! lease goes back. Then this daemon is told: nobody is let in any more, and each client's session ends after the command
//! it is at. Only then are the links told, and after them a store and a lease of this process.

mod command;
mod info;
mod keys;
mod session;
mod tenure;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use steelmill_core::{Daemon, DaemonRef, Factory, Result, Scope, SetOnce};
use tokio::sync::{Semaphore, watch};

use crate::door::{Door, Visitor};
use crate::lease::Lease;
use crate::link::Link;
use crate::settings::Settings;
use crate::store::Store;
use crate::world::{Clock, Entropy, Network};
use keys::Refusal;
pub use tenure::Term;
use tenure::{Standing, Tenure};

/// Its name on the command line.
pub const NAME: &str = "gateway";

/// Where Redis clients look.
const ADDRESS: &str = "127.0.0.1:6379";

/// How many clients at a time are told that there is no place for them; above, they are just dropped.
const TURNED_AWAY: usize = 64;

/// Speaks RESP2 with clients, and serves them while it holds the lease.
pub struct Gateway {
    settings: Arc<Settings>,
    clock: DaemonRef<Clock>,
    network: DaemonRef<Network>,
    entropy: DaemonRef<Entropy>,
    store: DaemonRef<Link<Store>>,
    lease: DaemonRef<Link<Lease>>,
    door: SetOnce<Door>,
    /// What clients are told to try: where it listens.
    holder: SetOnce<String>,
    standing: watch::Sender<Standing>,
    /// What all connections together have waiting.
    memory: Arc<AtomicUsize>,
    lobby: Arc<Semaphore>,
    /// For seeing how its factory stands.
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
            door: SetOnce::new(),
            holder: SetOnce::new(),
            standing: watch::Sender::new(Standing::Waits(None)),
            memory: Arc::default(),
            lobby: Arc::new(Semaphore::new(TURNED_AWAY)),
            scope: SetOnce::new(),
            counters: Counters::default(),
        })
    }

    async fn prepare(&self, scope: &Scope) -> Result {
        self.scope.set(scope.clone())?;
        let address = self.settings.listen(NAME, ADDRESS);
        let door = Door::open(&self.network, NAME, &address, self.settings.clients.connections).await?;
        // As it was written, because a name may mean more to clients than what it stands for here; but port 0 means nothing.
        self.holder.set(if address.ends_with(":0") { door.address()?.to_string() } else { address })?;
        self.door.set(door)
    }

    async fn run(self: &Arc<Self>, scope: &Scope) -> Result {
        tokio::try_join!(self.compete(scope), self.receive(scope))?;
        Ok(())
    }
}

impl Gateway {
    /// Lets clients in.
    async fn receive(self: &Arc<Self>, scope: &Scope) -> Result {
        let door = self.door.get()?;
        while let Some(Visitor { stream, peer, place }) = door.next(scope, &self.clock).await {
            let gateway = self.clone();
            match (place, self.lobby.clone().try_acquire_owned()) {
                (Some(place), _) => {
                    let serving = session::serve(gateway, stream, scope.clone());
                    scope.spawn("client", async move {
                        serving.await;
                        drop(place);
                    });
                }
                (None, Ok(seat)) => scope.spawn("turned away", async move {
                    session::turn_away(gateway, stream).await;
                    drop(seat);
                }),
                (None, Err(_)) => tracing::debug!("{peer} was dropped: there is no place for it"),
            }
        }
        Ok(())
    }

    /// For how long it may still rely on the lease, if it holds it.
    pub fn lease_left(&self) -> Option<Duration> {
        match &*self.standing.borrow() {
            Standing::Holds(tenure) => Some(tenure.term.until().saturating_duration_since(self.clock.now())),
            Standing::Waits(_) => None,
        }
    }

    fn holder(&self) -> &str {
        self.holder.get().map(String::as_str).unwrap_or_default()
    }

    fn stand(&self, standing: Standing) {
        if self.settings.canary && matches!(standing, Standing::Waits(_)) {
            return;
        }
        self.standing.send_replace(standing);
    }

    /// The lease it holds. Never kept across an await: it must be able to end.
    fn tenure(&self) -> Result<Arc<Tenure>, Refusal> {
        match &*self.standing.borrow() {
            Standing::Holds(tenure) => Ok(tenure.clone()),
            Standing::Waits(leader) => {
                Err(Refusal::NotLeader { leader: leader.as_deref().map(|leader| leader.into()) })
            }
        }
    }
}

/// What it has done so far.
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
