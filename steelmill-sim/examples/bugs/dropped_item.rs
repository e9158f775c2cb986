//! Item dropped by `select!`: a future that has taken an item from a queue is dropped before it returns the item.
//!
//! A courier takes parcels from a queue and looks up the address of each in a directory. It waits for the next parcel
//! and for a tick, at which it reports, and must keep the future of the parcel across ticks. Planted bug: it makes a new
//! one after each tick. A parcel whose address was being looked up is neither in the queue nor delivered.

use std::collections::VecDeque;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::ensure;
use steelmill_core::{Clock as _, Daemon, DaemonRef, Factory, Result, Scope};
use steelmill_sim::fault::Budget;
use steelmill_sim::{Clock, Machine, Network, Sim};
use tokio::sync::{Notify, oneshot};

use super::talk::{Answers, Client, Listener, answer_all, think};
use super::{Bug, Version};

pub(crate) const BUG: Bug = Bug {
    name: "dropped-item",
    missing_code: "the courier does not keep the future that takes a parcel across ticks",
    needed: "a tick while an address is looked up, no fault",
    faults: &[],
    may_help: &[],
    scenario: |sim, version| Box::pin(scenario(sim, version)),
};

struct Courier {
    version: Version,
    listener: Listener,
    clock: DaemonRef<Clock>,
    network: DaemonRef<Network>,
    parcels: Mutex<VecDeque<Parcel>>,
    has_parcels: Notify,
}

/// The sender that reports the parcel delivered.
type Parcel = oneshot::Sender<()>;

impl Daemon for Courier {
    fn build(factory: &mut Factory) -> Result<Self> {
        Ok(Self {
            version: *factory.value()?,
            listener: Listener::build(factory)?,
            clock: factory.get()?,
            network: factory.get()?,
            parcels: Mutex::default(),
            has_parcels: Notify::new(),
        })
    }

    async fn prepare(&self, _: &Scope) -> Result {
        self.listener.bind(7000).await
    }

    async fn run(self: &Arc<Self>, scope: &Scope) -> Result {
        let answers = self.listener.serve(scope, |stream| answer_all(self.clone(), stream));
        let deliveries = scope.until_stopping(self.deliver_loop());
        let (answers, _) = tokio::join!(answers, deliveries);
        answers
    }
}

impl Answers for Courier {
    async fn answer(&self, _parcel: &str) -> String {
        let (parcel, delivered) = oneshot::channel();
        self.parcels().push_back(parcel);
        self.has_parcels.notify_one();
        if delivered.await.is_ok() { "delivered" } else { "lost" }.to_owned()
    }
}

impl Courier {
    fn parcels(&self) -> MutexGuard<'_, VecDeque<Parcel>> {
        self.parcels.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn deliver_loop(&self) {
        let mut tick = self.clock.interval(Duration::from_millis(100));
        let mut next = pin!(self.next_parcel());
        loop {
            tokio::select! {
                parcel = &mut next => {
                    let _ = parcel.send(());
                    next.set(self.next_parcel());
                }
                _ = tick.tick() => {
                    tracing::info!("{} parcels wait", self.parcels().len());
                    if self.version == Version::Planted {
                        next.set(self.next_parcel());
                    }
                }
            }
        }
    }

    /// The next parcel, when its address is known.
    async fn next_parcel(&self) -> Parcel {
        let parcel = loop {
            if let Some(parcel) = self.parcels().pop_front() {
                break parcel;
            }
            self.has_parcels.notified().await;
        };
        while Client::new(*self.network, "directory:7000").ask("where to?").await.is_err() {}
        parcel
    }
}

struct Directory {
    listener: Listener,
}

impl Daemon for Directory {
    fn build(factory: &mut Factory) -> Result<Self> {
        Ok(Self { listener: Listener::build(factory)? })
    }

    async fn prepare(&self, _: &Scope) -> Result {
        self.listener.bind(7000).await
    }

    async fn run(self: &Arc<Self>, scope: &Scope) -> Result {
        self.listener.serve(scope, |stream| answer_all(self.clone(), stream)).await
    }
}

impl Answers for Directory {
    async fn answer(&self, _: &str) -> String {
        "an address".to_owned()
    }
}

async fn scenario(sim: Sim, version: Version) -> Result {
    let directory = sim.machine("directory", |factory| factory.with::<Directory>()).start().await?;
    let courier = sim.machine("courier", move |factory| {
        factory.provide_value(version)?;
        factory.with::<Courier>()
    });
    let courier = courier.start().await?;
    let client = sim.client("client");
    let parcels = client.spawn("parcels", send_all(client.clone(), sim.limit("parcels", 1..=300)));

    // No request has a timeout, so no machine may end: a peer that loses power sends no reset.
    let machines = [client, courier, directory];
    sim.inject_faults(Budget { ends: Vec::new(), ..Budget::of(&machines) }).run().await?;
    parcels.await?
}

async fn send_all(client: Machine, parcels: u64) -> Result {
    let mut courier = Client::new(client.network(), "courier:7000");
    for parcel in 0..parcels {
        think(&client, Duration::from_millis(200)).await;
        // The request may fail; one that is answered must have been delivered.
        if let Ok(answer) = courier.ask("a parcel").await {
            ensure!(answer == "delivered", "parcel {parcel} is {answer}");
        }
    }
    Ok(())
}
