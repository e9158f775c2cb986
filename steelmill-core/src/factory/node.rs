//! A started factory: an immutable node that holds its daemons, and a hub that holds none.
//!
//! Only the supervisor, handles and children that are being assembled hold a node, and children that run hold just the
//! daemons they share. So whatever else is kept, a scope or an ended child's handle inside a daemon, makes no circle.

use std::future::Future;
use std::sync::{Arc, Weak};

use tokio::sync::oneshot;

use super::Factory;
use super::bound::Traits;
use super::slots::{Key, Lookup, Place, Shared, SlotId, Slots};
use super::values::Values;
use crate::cell::{Flag, Numbers};
use crate::changes::{Changes, changes};
use crate::driver::Driver;
use crate::lifecycle::{Ended, Event, Events, Maker};
use crate::status::{Snapshot, Status};
use crate::{Deadlines, Report};

/// The daemons of a started factory, and where to find them.
pub(crate) struct Node {
    pub(crate) hub: Arc<Hub>,
    // Before the slots, so that these refs do not outlive the daemons' turn to be dropped.
    pub(crate) traits: Traits,
    pub(crate) slots: Slots,
    pub(crate) shared: Vec<Shared>,
    pub(crate) lookup: Lookup,
    pub(crate) values: Arc<Values>,
    pub(crate) parent: Option<Weak<Node>>,
}

/// What belongs to a started factory besides its daemons.
pub(crate) struct Hub {
    pub(crate) path: Arc<str>,
    pub(crate) depth: usize,
    pub(crate) driver: Arc<dyn Driver>,
    pub(crate) deadlines: Deadlines,
    pub(crate) events: Events,
    ended: Ended,
    is_stopping: Flag,
    is_watched: Flag,
    children: Numbers,
}

impl Node {
    /// The slot of a daemon that this factory built or was provided.
    pub(crate) fn own_slot(&self, key: &Key) -> Option<SlotId> {
        match self.lookup.get(key)?.place {
            Place::Own(slot) => Some(slot),
            Place::Shared(_) => None,
        }
    }

    /// Whose a daemon is, in levels above this factory, and its slot there.
    pub(crate) fn origin(&self, place: Place) -> (usize, SlotId) {
        match place {
            Place::Own(slot) => (0, slot),
            Place::Shared(index) => {
                let shared = &self.shared[index as usize];
                (shared.level + 1, shared.slot)
            }
        }
    }
}

impl Hub {
    /// Sends the supervisor an event. When it is gone nobody listens, and there is nothing left to do.
    pub(crate) fn tell(&self, event: Event) {
        let _ = self.events.send(event);
    }

    pub(crate) fn request_stop(&self) {
        self.set_stopping();
        self.tell(Event::Stop);
    }

    /// Children are refused from here on.
    pub(crate) fn set_stopping(&self) {
        self.is_stopping.raise();
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.is_stopping.is_raised()
    }

    /// Whether anybody has asked how the factory ends.
    pub(crate) fn is_watched(&self) -> bool {
        self.is_watched.is_raised()
    }

    /// How things stand; none once the factory has ended.
    pub(crate) fn status(&self) -> impl Future<Output = Option<Status>> + Send + use<> {
        let (answer, answered) = oneshot::channel();
        self.tell(Event::Show(answer));
        Snapshot::gather(answered)
    }

    pub(crate) fn changes(&self) -> Changes {
        let (watcher, changes) = changes();
        self.tell(Event::Watch(watcher));
        changes
    }

    pub(crate) fn next_child(&self) -> u64 {
        self.children.next()
    }

    /// The report, once the factory has ended. The future holds nothing of the factory.
    pub(crate) fn ended(&self) -> impl Future<Output = Arc<Report>> + Send + use<> {
        self.is_watched.raise();
        let (path, ended) = (self.path.clone(), self.ended.clone());
        async move {
            match ended.await {
                Ok(report) => report,
                Err(_) => Arc::new(Report::abandoned(path)),
            }
        }
    }
}

impl Factory {
    /// The ancestors that have to wait for this factory, the daemons of theirs that it shares, and who made it.
    pub(crate) fn owners(&self) -> impl Iterator<Item = (Arc<Hub>, Vec<SlotId>, Maker)> {
        self.ancestors.iter().enumerate().filter_map(|(level, owner)| {
            let shared = self.shared.iter().filter(|shared| shared.level == level);
            let with_lifecycle = shared.filter(|shared| !owner.slots.get(shared.slot).is_capability);
            let shares: Vec<_> = with_lifecycle.map(|shared| shared.slot).collect();
            let maker = match (level, self.maker) {
                (0, Some(daemon)) => Maker::Daemon(daemon),
                (0, None) => Maker::Handle,
                _ if shares.is_empty() => return None,
                _ => Maker::Descendant,
            };
            Some((owner.hub.clone(), shares, maker))
        })
    }

    /// Nothing can be built or provided any more.
    pub(crate) fn freeze(self, events: Events, ended: Ended) -> Node {
        let parent = self.ancestors.first();
        let hub = Hub {
            path: self.path,
            depth: parent.map_or(0, |parent| parent.hub.depth + 1),
            driver: self.driver,
            deadlines: self.deadlines,
            events,
            ended,
            is_stopping: Flag::default(),
            is_watched: Flag::default(),
            children: Numbers::default(),
        };
        Node {
            hub: Arc::new(hub),
            traits: self.traits,
            slots: self.slots,
            shared: self.shared,
            lookup: self.lookup,
            values: Arc::new(self.values),
            parent: parent.map(Arc::downgrade),
        }
    }
}
