//! How a daemon gets what it needs: a [`Factory`] assembles daemons, one owner, no locks.
//!
//! What always holds: a type is built once per factory; slots stand in an order of dependencies; an ancestor's daemon
//! is shared only where nothing it was built from has been replaced on the way; nothing is added to a started ancestor.

mod running;
mod slots;

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use anyhow::{anyhow, bail};

use crate::daemon::{Label, label};
use crate::driver::{Driver, WorldDriver};
use crate::graph::{Graph, GraphNode};
use crate::{Daemon, DaemonRef, Deadlines, Panicked, Result, World};

pub(crate) use running::Node;
pub use running::RunningFactory;
use slots::{Key, Known, What, overrides};
pub(crate) use slots::{Lookup, Place, Slot, SlotId, Slots};

/// How many factories may be nested, and how many daemons may wait for one another while being built.
pub const DEPTH_MAX: usize = 128;

/// Assembles daemons and what they depend on; then [starts](Factory::start) them.
///
/// A factory whose `get` failed can go on: what had been completed before the failure stays built.
pub struct Factory {
    path: Arc<str>,
    depth: usize,
    driver: Arc<dyn Driver>,
    parent: Option<Parent>,
    deadlines: Deadlines,
    lookup: Lookup,
    slots: Slots,
    /// Who is being built, innermost last. The first is the setup itself.
    frames: Vec<Frame>,
}

/// Where a child hangs.
pub(crate) struct Parent {
    pub(crate) node: Arc<Node>,
    /// The daemon on whose scope it was made.
    pub(crate) maker: Option<SlotId>,
}

/// Somebody who is asking: a daemon that is being built, or the setup.
struct Frame {
    key: Option<Key>,
    label: Label,
    needs: Vec<Place>,
    made_from: Vec<Key>,
}

impl Factory {
    /// The factory at the top. Hands out the world's clock, network, entropy and spawner as daemons.
    pub fn root<W: World>(name: &str, world: W) -> Factory {
        Self::in_world(name.into(), 0, None, Deadlines::default(), world)
    }

    fn in_world<W: World>(
        path: Arc<str>,
        depth: usize,
        parent: Option<Parent>,
        deadlines: Deadlines,
        world: W,
    ) -> Factory {
        let driver = Arc::new(WorldDriver::new(&world));
        let mut factory = Self::new(path, depth, driver, parent, deadlines);
        factory.supply(world.clock());
        factory.supply(world.network());
        factory.supply(world.entropy());
        factory.supply(world.spawner());
        factory
    }

    fn new(
        path: Arc<str>,
        depth: usize,
        driver: Arc<dyn Driver>,
        parent: Option<Parent>,
        deadlines: Deadlines,
    ) -> Factory {
        let setup = Frame {
            key: None,
            label: Label::Borrowed("the setup"),
            needs: Vec::new(),
            made_from: Vec::new(),
        };
        Factory {
            path,
            depth,
            driver,
            parent,
            deadlines,
            lookup: Lookup::new(),
            slots: Slots::default(),
            frames: vec![setup],
        }
    }

    /// The daemon of this type: this factory's own; else the nearest ancestor's, where nothing it was built from has
    /// been provided or rebuilt on the way; else one that is built here.
    ///
    /// # Errors
    /// Those of building, with the chain of who asked in front; a dependency cycle, with its path; a chain of
    /// dependencies longer than [`DEPTH_MAX`]. A panic while building is an error too.
    pub fn get<T: Daemon>(&mut self) -> Result<DaemonRef<T>> {
        let place = self.obtain::<T>()?;
        Ok(self.hand_out(place))
    }

    /// The daemon of this type, built here whatever an ancestor has.
    ///
    /// # Errors
    /// As [`get`](Factory::get); and when an ancestor's, or anything built from it, was handed out here before: that
    /// names who asked.
    pub fn build<T: Daemon>(&mut self) -> Result<DaemonRef<T>> {
        let key = Key::daemon::<T>();
        let own = self.lookup.get(&key).is_some_and(Known::is_own);
        if !own {
            self.refuse_if_asked(key, &label::<T>(), "built here")?;
            self.construct::<T>(key)?;
        }
        self.get()
    }

    /// Like [`get`](Factory::get), for when the daemon only has to be there.
    ///
    /// # Errors
    /// As [`get`](Factory::get).
    pub fn with<T: Daemon>(&mut self) -> Result {
        if self.frames.len() == 1 {
            // The setup keeps no ref, so what it provides later cannot depend on this one.
            self.obtain::<T>().map(drop)
        } else {
            self.get::<T>().map(drop)
        }
    }

    /// Uses `daemon` instead of building one. It is prepared, run and stopped like any other.
    ///
    /// It may hold refs to whatever its provider was handed before, so it counts as depending on all of that.
    ///
    /// # Errors
    /// When it is there already; when this type, or anything built from it, was handed out before: names who asked.
    pub fn provide<T: Daemon>(&mut self, daemon: T) -> Result {
        let key = Key::daemon::<T>();
        let label = label::<T>();
        self.refuse_if_asked(key, &label, "provided")?;
        let needs = self.asker().needs.clone();
        self.add(key, label, daemon, needs, Vec::new());
        Ok(())
    }

    /// Adds a plain value, such as a configuration. It has no lifecycle, and children find it too.
    ///
    /// # Errors
    /// As [`provide`](Factory::provide).
    pub fn provide_value<V: Send + Sync + 'static>(&mut self, value: V) -> Result {
        let key = Key::value::<V>();
        self.refuse_if_asked(key, &label::<V>(), "provided")?;
        let known = Known {
            what: What::Value(Box::new(Arc::new(value))),
            asked_by: None,
        };
        self.lookup.insert(key, known);
        Ok(())
    }

    /// The value of this type: this factory's own, else the nearest ancestor's.
    ///
    /// # Errors
    /// When there is none.
    pub fn value<V: Send + Sync + 'static>(&mut self) -> Result<Arc<V>> {
        self.try_value()
            .ok_or_else(|| anyhow!("{}: no value of type {} was provided", self.path, label::<V>()))
    }

    /// The value of this type, if there is one.
    pub fn try_value<V: Send + Sync + 'static>(&mut self) -> Option<Arc<V>> {
        let key = Key::value::<V>();
        self.asker().made_from.push(key);
        if !self.lookup.contains_key(&key) {
            let known = Known {
                what: self.find_value(key),
                asked_by: None,
            };
            self.lookup.insert(key, known);
        }
        self.note_asker(key);
        let value = match &self.lookup.get(&key)?.what {
            What::Value(value) => value,
            What::SharedValue(up) => self.ancestor(*up).own_value(key)?,
            _ => return None,
        };
        value.downcast_ref::<Arc<V>>().cloned()
    }

    /// Sets how long starting and stopping this factory may take. Children made from it begin with the same.
    pub fn deadlines(&mut self, deadlines: Deadlines) {
        self.deadlines = deadlines;
    }

    /// The factory's name behind those of its ancestors: `demo/lease-7`.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// What has been built so far, and from what.
    pub fn graph(&self) -> Graph {
        let mut shared = BTreeMap::new();
        for (_, slot) in self.slots.iter() {
            for need in &slot.needs {
                if let Place::Shared { up, slot } = *need {
                    shared.entry((up, slot)).or_insert(0);
                }
            }
        }
        let mut nodes = Vec::new();
        for (&(up, slot), index) in &mut shared {
            *index = nodes.len();
            let owner = self.ancestor(up);
            nodes.push(GraphNode {
                label: owner.slots.get(slot).label.clone(),
                owner: Some(owner.path.to_string()),
                needs: Vec::new(),
            });
        }
        let first_own = nodes.len();
        for (_, slot) in self.slots.iter() {
            let index = |need: &Place| match *need {
                Place::Own(slot) => first_own + slot.index(),
                Place::Shared { up, slot } => shared[&(up, slot)],
            };
            nodes.push(GraphNode {
                label: slot.label.clone(),
                owner: None,
                needs: slot.needs.iter().map(index).collect(),
            });
        }
        Graph::new(&self.path, nodes)
    }
}

// Building and sharing.
impl Factory {
    /// Finds a daemon or builds it.
    fn obtain<T: Daemon>(&mut self) -> Result<Place> {
        let key = Key::daemon::<T>();
        let place = match self.lookup.get(&key).map(|known| &known.what) {
            Some(What::Daemon(place)) => *place,
            _ => match self.find_shared(key) {
                Some(place) => {
                    let known = Known {
                        what: What::Daemon(place),
                        asked_by: None,
                    };
                    self.lookup.insert(key, known);
                    place
                }
                None => Place::Own(self.construct::<T>(key)?),
            },
        };
        self.note_asker(key);
        Ok(place)
    }

    /// The nearest ancestor's daemon, unless something it was built from is different here or on the way.
    fn find_shared(&self, key: Key) -> Option<Place> {
        let mut up = 1;
        let mut owner = &self.parent.as_ref()?.node;
        let slot = loop {
            match owner.own_slot(key) {
                Some(slot) => break slot,
                None => owner = owner.parent.as_ref()?,
            }
            up += 1;
        };
        let made_from = &owner.slots.get(slot).made_from;
        let being_built = |key: &Key| self.frames.iter().any(|frame| frame.key == Some(*key));
        let replaced = overrides(&self.lookup, made_from)
            || being_built(&key)
            || made_from.iter().any(being_built)
            || (1..up).any(|level| overrides(&self.ancestor(level).lookup, made_from));
        (!replaced).then_some(Place::Shared { up, slot })
    }

    fn find_value(&self, key: Key) -> What {
        let mut up = 1;
        let mut next = self.parent.as_ref().map(|parent| &parent.node);
        while let Some(node) = next {
            if node.own_value(key).is_some() {
                return What::SharedValue(up);
            }
            next = node.parent.as_ref();
            up += 1;
        }
        What::Absent
    }

    /// Builds a daemon in a new slot.
    fn construct<T: Daemon>(&mut self, key: Key) -> Result<SlotId> {
        let label = label::<T>();
        if let Some(start) = self.frames.iter().position(|frame| frame.key == Some(key)) {
            let mut cycle: Vec<&str> = self.frames[start..].iter().map(|frame| &*frame.label).collect();
            cycle.push(&label);
            bail!("dependency cycle: {}", cycle.join(" -> "));
        }
        if self.frames.len() > DEPTH_MAX {
            bail!(
                "{label} is the end of a chain of more than {DEPTH_MAX} daemons that wait for one another to be built"
            );
        }
        self.frames.push(Frame {
            key: Some(key),
            label: label.clone(),
            needs: Vec::new(),
            made_from: Vec::new(),
        });
        let depth = self.frames.len();
        let outcome = catch_unwind(AssertUnwindSafe(|| T::build(self)));
        self.frames.truncate(depth);
        let frame = self.frames.pop().expect("the frame pushed above");
        let outcome = match outcome {
            Ok(outcome) => outcome,
            Err(panic) => Err(Panicked::new(panic.as_ref()).into()),
        };
        let outcome = outcome.and_then(|daemon| match self.lookup.get(&key) {
            Some(_) => Err(anyhow!("it was provided while it was being built")),
            None => Ok(self.add(key, label.clone(), daemon, frame.needs, frame.made_from.clone())),
        });
        outcome.map_err(|error| {
            // Whoever asked may go on without it, and so was shaped by what made this one fail.
            let asker = self.asker();
            asker.made_from.push(key);
            asker.made_from.extend(frame.made_from);
            match self.frames.len() {
                1 => error.context(format!("{}: building {label}", self.path)),
                _ => error.context(format!("building {label}")),
            }
        })
    }

    fn supply<T: Daemon>(&mut self, capability: T) {
        let slot = Slot {
            label: label::<T>(),
            daemon: Box::new(DaemonRef::new(capability)),
            needs: Box::default(),
            made_from: Box::default(),
            is_capability: true,
        };
        self.insert(Key::daemon::<T>(), slot);
    }

    fn add<T: Daemon>(
        &mut self,
        key: Key,
        label: Label,
        daemon: T,
        mut needs: Vec<Place>,
        mut made_from: Vec<Key>,
    ) -> SlotId {
        needs.sort_unstable();
        needs.dedup();
        made_from.sort_unstable();
        made_from.dedup();
        let slot = Slot {
            label,
            daemon: Box::new(DaemonRef::new(daemon)),
            needs: needs.into(),
            made_from: made_from.into(),
            is_capability: false,
        };
        self.insert(key, slot)
    }

    fn insert(&mut self, key: Key, slot: Slot) -> SlotId {
        let id = self.slots.push(slot);
        let known = Known {
            what: What::Daemon(Place::Own(id)),
            asked_by: None,
        };
        self.lookup.insert(key, known);
        id
    }

    /// Gives a ref to the asker, who depends on it from now on.
    fn hand_out<T: Daemon>(&mut self, place: Place) -> DaemonRef<T> {
        let slot = self.slot(place);
        let daemon = reference::<T>(slot).share();
        let made_from = slot.made_from.clone();
        let asker = self.asker();
        asker.needs.push(place);
        if asker.key.is_some() {
            asker.made_from.push(Key::daemon::<T>());
            asker.made_from.extend(made_from);
        }
        daemon
    }

    fn note_asker(&mut self, key: Key) {
        let asker = self.asker().label.clone();
        if let Some(known) = self.lookup.get_mut(&key) {
            known.asked_by.get_or_insert(asker);
        }
    }

    /// Nothing may be replaced after it, or anything built from it, was handed out.
    fn refuse_if_asked(&self, key: Key, label: &str, what: &str) -> Result {
        let path = &self.path;
        if let Some(known) = self.lookup.get(&key) {
            match &known.asked_by {
                Some(asker) => {
                    bail!("{path}: {label} cannot be {what} any more: {asker} asked for it before")
                }
                None => bail!("{path}: {label} cannot be {what}: it was provided before"),
            }
        }
        if self.frames.iter().any(|frame| frame.key == Some(key)) {
            bail!("{path}: {label} cannot be {what}: it is being built");
        }
        for known in self.lookup.values() {
            if let (What::Daemon(place @ Place::Shared { up, .. }), Some(asker)) =
                (&known.what, &known.asked_by)
            {
                let shared = self.slot(*place);
                if shared.made_from.binary_search(&key).is_ok() {
                    let (owner, shared) = (&self.ancestor(*up).path, &shared.label);
                    bail!(
                        "{path}: {label} cannot be {what} any more: {asker} asked before for {shared} of {owner}, \
                         which was built from it"
                    );
                }
            }
        }
        Ok(())
    }

    fn asker(&mut self) -> &mut Frame {
        self.frames.last_mut().expect("the setup's frame is never popped")
    }

    fn slot(&self, place: Place) -> &Slot {
        match place {
            Place::Own(slot) => self.slots.get(slot),
            Place::Shared { up, slot } => self.ancestor(up).slots.get(slot),
        }
    }

    /// The ancestor that many levels above; the parent is one above.
    fn ancestor(&self, up: u32) -> &Arc<Node> {
        let parent = self.parent.as_ref().expect("only a child has shared anything");
        parent.node.above(up - 1)
    }
}

fn reference<T: Daemon>(slot: &Slot) -> &DaemonRef<T> {
    let daemon = slot.daemon.reference().downcast_ref();
    daemon.expect("a slot is found by the type of what it holds")
}
