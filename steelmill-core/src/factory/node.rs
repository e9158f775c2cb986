//! What a started factory consists of, and its handover to the lifecycle.
//!
//! Only the supervisor, handles and children under assembly hold a node; running children hold just the daemons they
//! share. Everybody else holds the [control block](crate::control), which holds no daemon.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Weak};
use std::time::Duration;

use super::Factory;
use super::bound::Traits;
use super::policies::Policies;
use super::slots::{Built, Key, Lookup, Place, Shared, Slots};
use super::values::Values;
use crate::cell::Counter;
use crate::control::{Control, Ended, Events, Maker, SlotId};
use crate::daemon::ErasedDaemon;
use crate::label::Label;
use crate::panic::forget_panic;
use crate::{Panic, Policy};

/// The daemons of a started factory and how to look them up. Immutable, so lookups need no lock.
pub(crate) struct Node {
    pub(crate) control: Arc<Control>,
    // Before the slots, so that these refs are dropped before the daemons are.
    pub(super) traits: Traits,
    pub(super) slots: Slots,
    pub(super) shared: Vec<Shared>,
    pub(super) lookup: Lookup,
    pub(super) values: Arc<Values>,
    pub(super) parent: Option<Weak<Node>>,
}

impl Node {
    /// The slot of a daemon that this factory built or was provided.
    pub(super) fn own_slot(&self, key: &Key) -> Option<SlotId> {
        match self.lookup.get(key)?.place {
            Place::Own(slot) => Some(slot),
            Place::Shared(_) => None,
        }
    }

    /// The owner of a daemon, in levels above this factory, and its slot there.
    pub(super) fn origin(&self, place: Place) -> (usize, SlotId) {
        match place {
            Place::Own(slot) => (0, slot),
            Place::Shared(index) => {
                let shared = &self.shared[index as usize];
                (shared.level + 1, shared.slot)
            }
        }
    }

    /// The daemon in a slot.
    pub(crate) fn daemon(&self, slot: SlotId) -> &dyn ErasedDaemon {
        &*self.slots.get(slot).daemon
    }

    /// Drops the daemons, dependents first, counting each in `dropping` before. User code.
    pub(crate) fn dismantle(mut self, dropping: &Counter) -> Dismantled {
        let mut dismantled = Dismantled::default();
        // More refs to the same daemons, kept for lookups.
        self.traits.clear();
        let mut held = Vec::new();
        while let Some(slot) = self.slots.pop() {
            dropping.next();
            let label = slot.label.clone();
            if refs(&slot.daemon) > 0 && !slot.is_capability {
                held.push((label.clone(), Arc::downgrade(&slot.daemon), slot.daemon.refs_later()));
            }
            dismantled.drop_caught(slot, label);
        }
        dropping.next();
        dismantled.drop_caught(self, Label::default());
        // Counted only now: a daemon that was dropped after this one may have held it, by the handle of an ended child.
        for (label, daemon, refs_later) in held {
            let refs = daemon.upgrade().map_or_else(refs_later, |daemon| refs(&daemon));
            if refs > 0 {
                dismantled.retained.push((label, refs));
            }
        }
        dismantled
    }

    /// How many daemons there are to drop, the capabilities of the world included.
    pub(crate) fn daemons(&self) -> usize {
        self.slots.iter().count()
    }
}

/// What was found out when the daemons of a factory were dropped.
#[derive(Default)]
pub(crate) struct Dismantled {
    /// The panics of destructors.
    pub(crate) panics: Vec<(Label, Panic)>,
    /// Daemons that somebody still holds, and by how many refs.
    pub(crate) retained: Vec<(Label, usize)>,
    /// Handles that keep all of them, which were not dropped then.
    pub(crate) held: usize,
}

impl Dismantled {
    /// Drops a value of the user's.
    fn drop_caught<T>(&mut self, value: T, label: Label) {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| drop(value))) {
            self.panics.push((label, Panic::of(panic.as_ref())));
            forget_panic(panic);
        }
    }
}

/// How many refs to a daemon exist besides this one.
fn refs(daemon: &Arc<dyn ErasedDaemon>) -> usize {
    Arc::strong_count(daemon) - 1 + daemon.other_refs()
}

/// A frozen factory, as the lifecycle receives it.
pub(crate) struct Handover {
    pub(crate) node: Arc<Node>,
    policies: Policies,
    /// One for each slot.
    built: Vec<Built>,
}

/// What the lifecycle has to know of a daemon.
pub(crate) struct Assembled<'a> {
    pub(crate) slot: SlotId,
    pub(crate) label: &'a Label,
    /// False for a capability of the world: there is nothing to prepare, run or stop.
    pub(crate) has_lifecycle: bool,
    /// Its dependencies in the same factory.
    pub(crate) needs: Vec<SlotId>,
    pub(crate) policy: Policy,
    /// How long its `build` took.
    pub(crate) build: Duration,
}

impl Handover {
    /// How many daemons there are.
    pub(crate) fn slots(&self) -> usize {
        self.built.len()
    }

    /// The daemons, dependencies first.
    pub(crate) fn daemons(&self) -> impl Iterator<Item = Assembled<'_>> {
        self.node.slots.iter().zip(&self.built).map(|((id, slot), built)| Assembled {
            slot: id,
            label: &slot.label,
            has_lifecycle: !slot.is_capability,
            needs: slot.own_needs().collect(),
            policy: self.policies.of(&built.key, &*slot.daemon),
            build: built.build,
        })
    }

    /// Whether a failure of this factory is one of its parent's.
    pub(crate) fn escalates(&self) -> bool {
        self.policies.escalates
    }

    /// Whether it goes on when all of its daemons have finished.
    pub(crate) fn remains(&self) -> bool {
        self.policies.remains
    }
}

impl Factory {
    /// The ancestors that outlive this factory, which of their daemons it shares, and who made it.
    pub(crate) fn owners(&self) -> impl Iterator<Item = (Arc<Control>, Vec<SlotId>, Maker)> {
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
            Some((owner.control.clone(), shares, maker))
        })
    }

    /// The control block of its parent.
    pub(crate) fn parent(&self) -> Option<Arc<Control>> {
        self.ancestors.first().map(|parent| parent.control.clone())
    }

    /// Whether this daemon of this factory has made it.
    pub(crate) fn is_made_by(&self, factory: &str, daemon: &str) -> bool {
        let (Some(parent), Some(maker)) = (self.ancestors.first(), self.maker) else { return false };
        parent.slots.get(maker).label == daemon && *parent.control.path == *factory
    }

    /// Ends assembling: from here on nothing is built or provided.
    pub(crate) fn freeze(mut self, events: Events, ended: Ended) -> Handover {
        let built = self.slots.freeze();
        let parent = self.ancestors.first();
        let depth = parent.map_or(0, |parent| parent.control.depth + 1);
        let mut control = Control::new(self.path, depth, self.driver, self.settings, events, ended);
        control.drain = self.drain;
        let node = Node {
            control: Arc::new(control),
            traits: self.traits,
            slots: self.slots,
            shared: self.shared,
            lookup: self.lookup,
            values: Arc::new(self.values),
            parent: parent.map(Arc::downgrade),
        };
        Handover { node: Arc::new(node), policies: self.policies, built }
    }
}
