//! What the scenario sees for itself, beside the clients: who holds the lease, and when the store has lost its keys.

use std::cell::{Cell, RefCell};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::ensure;
use steelmill_core::Result;

use super::{Cluster, client, faults};
use crate::store::Store;
use crate::world::sim::history::{Call, History, KvOp, KvReply};
use crate::world::sim::{Machine, Sim};

/// The time between two looks.
const PERIOD: Duration = Duration::from_millis(10);

/// Looks at the cluster, and records the losses of the store in the clients' history.
pub struct Observer {
    sim: Sim,
    history: History,
    losses: Losses,
    /// The last gateway that held the lease.
    holder: RefCell<String>,
    holder_changes: Cell<u64>,
}

impl Observer {
    pub fn new(sim: Sim, history: History) -> Self {
        Self {
            sim,
            history,
            losses: Losses::default(),
            holder: RefCell::default(),
            holder_changes: Cell::new(0),
        }
    }

    /// To be called whenever the store is started: all that it had before is lost from now on.
    ///
    /// A client may still be shown it from a cache, until the store serves somebody again.
    pub fn store_starts(&self) -> impl Fn() + Send + Sync + use<> {
        let (sim, history, losses) = (self.sim, self.history.clone(), self.losses.clone());
        move || {
            let keys = client::TEXT_KEYS.into_iter().chain(client::COUNTER_KEYS);
            losses.open().extend(keys.map(|key| history.invoke(sim.elapsed(), "store", key, KvOp::Lose)));
        }
    }

    /// How many times another gateway was seen to hold the lease than before.
    pub fn holder_changes(&self) -> u64 {
        self.holder_changes.get()
    }

    /// Looks at the cluster again and again, and never ends by itself.
    ///
    /// # Errors
    /// Two gateways hold the lease at once.
    pub async fn run(&self, cluster: &Cluster) -> Result {
        loop {
            self.look_at_holders(&cluster.gateways)?;
            if cluster.store.get::<Store>().is_ok_and(|store| store.has_served()) {
                let lost = std::mem::take(&mut *self.losses.open());
                lost.into_iter().for_each(|loss| loss.returned(self.sim.elapsed(), KvReply::Ok));
            }
            self.sim.clock().sleep(PERIOD).await;
        }
    }

    fn look_at_holders(&self, gateways: &[Machine]) -> Result {
        let holds = |gateway: &&Machine| faults::lease_left(gateway).is_some_and(|left| !left.is_zero());
        let holders: Vec<&str> = gateways.iter().filter(holds).map(Machine::name).collect();
        ensure!(
            holders.len() < 2,
            "{} gateways hold the lease at once: {}",
            holders.len(),
            holders.join(", ")
        );
        let mut last = self.holder.borrow_mut();
        if let Some(holder) = holders.first().filter(|holder| **holder != *last) {
            self.holder_changes.set(self.holder_changes.get() + u64::from(!last.is_empty()));
            (*holder).clone_into(&mut *last);
        }
        Ok(())
    }
}

/// For each key that the store has lost: the operation that says so, while nobody was served since.
#[derive(Clone, Default)]
struct Losses(Arc<Mutex<Vec<Call>>>);

impl Losses {
    fn open(&self) -> MutexGuard<'_, Vec<Call>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
