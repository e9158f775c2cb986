//! Building a daemon: the construction stack, and the slot that the finished daemon goes into.

use std::any::type_name;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{anyhow, bail};

use super::slots::{BuildingFrom, Built, BuiltFrom, Key, Known, Need, Place, Slot};
use super::{DEPTH_MAX, Factory};
use crate::control::SlotId;
use crate::label::{Label, label};
use crate::panic::panicked;
use crate::{Daemon, DaemonRef, Result, World};

/// An entry of the construction stack: a daemon under construction, or the setup.
#[derive(Default)]
pub(super) struct Frame {
    pub(super) key: Option<Key>,
    pub(super) label: Label,
    pub(super) needs: Vec<Need>,
    pub(super) built_from: BuildingFrom,
    /// How long the `build`s of its dependencies have taken; and its own, once it is over.
    pub(super) nested: Duration,
    pub(super) build: Duration,
}

/// A dependency cycle.
#[derive(Debug, thiserror::Error)]
#[error("dependency cycle: {names}")]
pub(super) struct Cycle {
    pub(super) names: String,
    /// The index of its first daemon in the construction stack.
    pub(super) start: usize,
}

impl Factory {
    pub(super) fn supply<W: World>(&mut self, world: W) {
        self.supply_one(world.clock());
        self.supply_one(world.network());
        self.supply_one(world.entropy());
        self.supply_one(world.spawner());
    }

    /// Builds a daemon in a new slot.
    pub(super) fn construct<T: Daemon>(&mut self, key: &Key) -> Result<SlotId> {
        let label = key.label::<T>();
        let outcome = self.run_build::<T>(key, &label);
        self.note_origin(key, outcome.as_ref().err());
        outcome.map_err(|error| {
            let is_in_cycle =
                error.downcast_ref::<Cycle>().is_some_and(|cycle| cycle.start <= self.stack.len());
            match (self.stack.len(), is_in_cycle) {
                (1, true) => error.context(self.path.clone()),
                (1, false) => error.context(format!("{}: building {label}", self.path)),
                // Inside the cycle, which names it already.
                (_, true) => error,
                (_, false) => error.context(format!("building {label}")),
            }
        })
    }

    fn run_build<T: Daemon>(&mut self, key: &Key, label: &Label) -> Result<SlotId> {
        self.refuse_cycle::<T>(key)?;
        if self.stack.len() > DEPTH_MAX {
            bail!(
                "{label} is the end of a chain of more than {DEPTH_MAX} daemons that wait for one another to be built: \
                 ask for some of them earlier"
            );
        }
        self.refuse_if_absent(key, label)?;
        self.stack.push(Frame { key: Some(key.clone()), label: label.clone(), ..Frame::default() });
        let depth = self.stack.len();
        let recipe = self.values.recipe::<T>(key);
        let begun = self.driver.now();
        let outcome = catch_unwind(AssertUnwindSafe(|| match recipe {
            Some(recipe) => recipe(self),
            None => T::build(self),
        }));
        let taken = self.driver.now().saturating_duration_since(begun);
        self.stack.truncate(depth);
        let mut frame = self.stack.pop().expect("the frame pushed above");
        frame.build = taken.saturating_sub(frame.nested);
        self.requester().nested += taken;
        let error = match outcome {
            Ok(Ok(_)) if self.lookup.contains_key(key) => anyhow!("it was provided while it was being built"),
            Ok(Ok(daemon)) => return Ok(self.add(key, daemon, frame)),
            Ok(Err(error)) => error,
            Err(panic) => panicked(panic.as_ref()),
        };
        let requester = self.requester();
        if requester.key.is_some() {
            // It may handle the error and be built without: then it depends on what made this one fail.
            if frame.built_from.is_incomplete {
                // The rest of what it was built from is found through these.
                requester.needs.extend(frame.needs);
            }
            requester.built_from.adopt(frame.built_from);
            requester.built_from.keys.push(key.clone());
            requester.built_from.absent.push(key.clone());
        }
        Err(error)
    }

    fn supply_one<T: Daemon>(&mut self, capability: T) {
        let key = Key::daemon::<T>();
        let slot = Slot {
            label: label::<T>(),
            daemon: Arc::new(DaemonRef::new(Arc::new(capability))),
            needs: Box::default(),
            built_from: BuiltFrom { is_complete: true, ..BuiltFrom::default() },
            is_capability: true,
        };
        let built = Built { key: key.clone(), type_name: type_name::<T>(), build: Duration::ZERO };
        let id = self.slots.push(slot, built);
        self.insert(&key, Place::Own(id));
    }

    pub(super) fn add<T: Daemon>(&mut self, key: &Key, daemon: T, frame: Frame) -> SlotId {
        let Frame { label, mut needs, built_from, build, .. } = frame;
        // A dependency that was requested in two ways is shown as the first of them.
        needs.sort_by_key(|need| need.place);
        needs.dedup_by_key(|need| need.place);
        let built_from = built_from.finish(|key| self.lookup.contains_key(key));
        for key in &built_from.absent {
            self.absent.entry(key.clone()).or_insert_with(|| label.clone());
        }
        let slot = Slot {
            label,
            daemon: Arc::new(DaemonRef::new(Arc::new(daemon))),
            needs: needs.into(),
            built_from,
            is_capability: false,
        };
        let built = Built { key: key.clone(), type_name: type_name::<T>(), build };
        let id = self.slots.push(slot, built);
        self.insert(key, Place::Own(id));
        id
    }

    pub(super) fn insert(&mut self, key: &Key, place: Place) {
        self.lookup.insert(key.clone(), Known { place, requested_by: None });
    }

    /// The requester: the daemon on top of the construction stack.
    pub(super) fn requester(&mut self) -> &mut Frame {
        self.stack.last_mut().expect("the setup's frame is never popped")
    }
}
