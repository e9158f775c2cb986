//! How a daemon gets what it needs: a [`Factory`] assembles daemons, one owner, no locks.
//!
//! What always holds: a type is built once per factory; slots stand in an order of dependencies; an ancestor's daemon
//! is shared only where nothing it was built from has been replaced on the way; nothing is added to a started ancestor.

mod node;
mod policies;
mod running;
mod slots;
mod values;

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Weak};

use anyhow::{anyhow, bail};

use crate::daemon::{Label, label};
use crate::driver::{Driver, WorldDriver};
use crate::graph::{Graph, GraphNode};
use crate::report::panicked;
use crate::{Daemon, DaemonRef, Deadlines, Result, World};

pub(crate) use node::{Hub, Node};
use policies::Policies;
pub use running::RunningFactory;
pub(crate) use slots::SlotId;
use slots::{Held, Key, Known, Lookup, Place, Shared, Slot, Slots};
use values::Values;

/// How many factories may be nested, and how many daemons may wait for one another while being built.
pub const DEPTH_MAX: usize = 128;

/// Assembles daemons and what they depend on; then [starts](Factory::start) them.
///
/// A factory whose `get` failed can go on: what had been completed before the failure stays built.
///
/// # Example
/// ```
/// use steelmill_core::{Daemon, DaemonRef, Factory, Result};
///
/// struct Limit(u32);
///
/// struct Store {
///     limit: u32,
/// }
///
/// impl Daemon for Store {
///     fn build(factory: &mut Factory) -> Result<Self> {
///         Ok(Self { limit: factory.value::<Limit>()?.0 })
///     }
/// }
///
/// struct Gateway {
///     store: DaemonRef<Store>,
/// }
///
/// impl Daemon for Gateway {
///     fn build(factory: &mut Factory) -> Result<Self> {
///         Ok(Self { store: factory.get()? })
///     }
/// }
///
/// steelmill_sim::check(steelmill_sim::Seed(1), |sim| async move {
///     let mut factory = Factory::root("demo", sim.world());
///     factory.provide_value(Limit(3))?;
///     factory.with::<Gateway>()?;
///     let demo = factory.start().await?;
///     assert_eq!(demo.get::<Gateway>()?.store.limit, 3);
///
///     // A child shares what it can: its gateway would be this one.
///     let mut tenant = demo.child("tenant")?;
///     tenant.provide_value(Limit(5))?;
///     assert_eq!(tenant.get::<Gateway>()?.store.limit, 5);
///     assert_eq!(tenant.start().await?.stop().await.to_string(), "demo/tenant: ended cleanly");
///
///     assert_eq!(demo.stop().await.to_string(), "demo: ended cleanly");
///     Ok(())
/// });
/// ```
pub struct Factory {
    path: Arc<str>,
    driver: Arc<dyn Driver>,
    deadlines: Deadlines,
    pub(crate) policies: Policies,
    /// The parent first. Held only while assembling.
    ancestors: Vec<Arc<Node>>,
    /// The parent's daemon on whose scope this was made.
    maker: Option<SlotId>,
    slots: Slots,
    shared: Vec<Shared>,
    lookup: Lookup,
    values: Values,
    /// Who is being built, innermost last. The first is the setup itself.
    frames: Vec<Frame>,
}

/// Somebody who is asking: a daemon that is being built, or the setup.
#[derive(Default)]
struct Frame {
    key: Option<Key>,
    label: Label,
    needs: Vec<Place>,
    made_from: Vec<Key>,
}

impl Factory {
    /// The factory at the top. Hands out the world's clock, network, entropy and spawner as daemons.
    pub fn root<W: World>(name: &str, world: W) -> Factory {
        let driver = Arc::new(WorldDriver::new(&world));
        let mut factory = Self::new(name.into(), driver, Deadlines::default(), Values::default());
        factory.supply(world);
        factory
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
        let own = self.lookup.get(&key);
        if !own.is_some_and(|known| matches!(known.place, Place::Own(_))) {
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
        self.values.insert(value);
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
        let value = self.values.get().cloned();
        let asker = self.asker();
        // What the setup looks for in vain it may still provide; what a daemon misses has shaped that daemon.
        if value.is_some() || asker.key.is_some() {
            asker.made_from.push(Key::value::<V>());
        }
        value
    }

    /// Sets how long starting and stopping this factory may take. Children made from it begin with the same.
    pub fn deadlines(&mut self, deadlines: Deadlines) {
        self.deadlines = deadlines;
    }

    /// The factory's name behind those of its ancestors: `demo/lease-7`.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// What has been built so far, and from what. Shared daemons come first, then those built here.
    pub fn graph(&self) -> Graph {
        let shared = self.shared.iter().map(|shared| {
            let owner = &self.ancestors[shared.level];
            GraphNode {
                label: owner.slots.get(shared.slot).label.clone(),
                owner: Some(owner.hub.path.to_string()),
                needs: Vec::new(),
            }
        });
        let index = |need: &Place| match *need {
            Place::Shared(index) => index as usize,
            Place::Own(slot) => self.shared.len() + slot.index(),
        };
        let own = self.slots.iter().map(|(_, slot)| GraphNode {
            label: slot.label.clone(),
            owner: None,
            needs: slot.needs.iter().map(index).collect(),
        });
        Graph::new(&self.path, shared.chain(own).collect())
    }
}

// Building and sharing.
impl Factory {
    fn new(path: Arc<str>, driver: Arc<dyn Driver>, deadlines: Deadlines, values: Values) -> Factory {
        let setup = Frame { label: Label::Borrowed("the setup"), ..Frame::default() };
        Factory {
            path,
            driver,
            deadlines,
            policies: Policies::default(),
            ancestors: Vec::new(),
            maker: None,
            slots: Slots::default(),
            shared: Vec::new(),
            lookup: Lookup::new(),
            values,
            frames: vec![setup],
        }
    }

    /// A child that shares the parent's world.
    pub(crate) fn child(name: &str, parent: Arc<Node>, maker: Option<SlotId>) -> Result<Factory> {
        let driver = parent.hub.driver.clone();
        Self::inside(name, parent, maker, driver)
    }

    /// A child in a world of its own.
    pub(crate) fn child_in<W: World>(
        name: &str,
        parent: Arc<Node>,
        maker: Option<SlotId>,
        world: W,
    ) -> Result<Factory> {
        let driver = Arc::new(WorldDriver::new(&world));
        let mut factory = Self::inside(name, parent, maker, driver)?;
        factory.supply(world);
        Ok(factory)
    }

    fn inside(
        name: &str,
        parent: Arc<Node>,
        maker: Option<SlotId>,
        driver: Arc<dyn Driver>,
    ) -> Result<Factory> {
        let path = &parent.hub.path;
        if parent.hub.is_stopping() {
            bail!("{path} is stopping: {name} cannot be made in it");
        }
        if parent.hub.depth >= DEPTH_MAX {
            bail!(
                "{path} is nested {DEPTH_MAX} factories deep, which is the limit: {name} cannot be made in it"
            );
        }
        let path = format!("{path}/{name}").into();
        let values = Values::inside(parent.values.clone());
        let mut factory = Self::new(path, driver, parent.hub.deadlines, values);
        factory.maker = maker;
        let mut next = Some(parent);
        while let Some(node) = next {
            next = node.parent.as_ref().and_then(Weak::upgrade);
            factory.ancestors.push(node);
        }
        Ok(factory)
    }

    fn supply<W: World>(&mut self, world: W) {
        self.supply_one(world.clock());
        self.supply_one(world.network());
        self.supply_one(world.entropy());
        self.supply_one(world.spawner());
    }

    /// Finds a daemon or builds it.
    fn obtain<T: Daemon>(&mut self) -> Result<Place> {
        let key = Key::daemon::<T>();
        let place = match self.lookup.get(&key) {
            Some(known) => known.place,
            None => match self.share(key) {
                Some(place) => place,
                None => Place::Own(self.construct::<T>(key)?),
            },
        };
        let asker = self.asker().label.clone();
        if let Some(known) = self.lookup.get_mut(&key) {
            known.asked_by.get_or_insert(asker);
        }
        Ok(place)
    }

    /// Takes the nearest ancestor's daemon, unless something it was built from is different here or on the way.
    fn share(&mut self, key: Key) -> Option<Place> {
        let mut owners = self.ancestors.iter().enumerate();
        let (level, slot) = owners.find_map(|(level, node)| Some((level, node.own_slot(key)?)))?;
        let slot_there = self.ancestors[level].slots.get(slot);
        let made_from = &slot_there.made_from;
        let is_being_built = |key: &Key| self.frames.iter().any(|frame| frame.key == Some(*key));
        let is_replaced = is_being_built(&key)
            || made_from.iter().any(is_being_built)
            || replaces(&self.lookup, &self.values, made_from)
            || (self.ancestors[..level].iter()).any(|node| replaces(&node.lookup, &node.values, made_from));
        if is_replaced {
            return None;
        }
        let place = Place::Shared(u32::try_from(self.shared.len()).ok()?);
        let shared = Shared { daemon: slot_there.daemon.clone(), level, slot };
        self.shared.push(shared);
        self.insert(key, place);
        Some(place)
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
            Err(panic) => Err(panicked(panic.as_ref())),
        };
        let outcome = outcome.and_then(|daemon| match self.lookup.get(&key) {
            Some(_) => Err(anyhow!("it was provided while it was being built")),
            None => Ok(self.add(key, label.clone(), daemon, frame.needs, frame.made_from.clone())),
        });
        outcome.map_err(|error| {
            let asker = self.asker();
            if asker.key.is_some() {
                // It may go on without, and then was shaped by whatever made this one fail.
                asker.made_from.push(key);
                asker.made_from.extend(frame.made_from);
            }
            match self.frames.len() {
                1 => error.context(format!("{}: building {label}", self.path)),
                _ => error.context(format!("building {label}")),
            }
        })
    }

    fn supply_one<T: Daemon>(&mut self, capability: T) {
        let id = self.slots.push(Slot {
            label: label::<T>(),
            daemon: Arc::new(DaemonRef::new(capability)),
            needs: Box::default(),
            made_from: Box::default(),
            is_capability: true,
        });
        self.insert(Key::daemon::<T>(), Place::Own(id));
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
        let id = self.slots.push(Slot {
            label,
            daemon: Arc::new(DaemonRef::new(daemon)),
            needs: needs.into(),
            made_from: made_from.into(),
            is_capability: false,
        });
        self.insert(key, Place::Own(id));
        id
    }

    fn insert(&mut self, key: Key, place: Place) {
        self.lookup.insert(key, Known { place, asked_by: None });
    }

    /// Gives a ref to the asker, who depends on it from now on.
    fn hand_out<T: Daemon>(&mut self, place: Place) -> DaemonRef<T> {
        let asker = self.frames.last_mut().expect("the setup's frame is never popped");
        asker.needs.push(place);
        let slot = match place {
            Place::Own(slot) => self.slots.get(slot),
            Place::Shared(index) => {
                let shared = &self.shared[index as usize];
                self.ancestors[shared.level].slots.get(shared.slot)
            }
        };
        if asker.key.is_some() {
            asker.made_from.push(Key::daemon::<T>());
            asker.made_from.extend_from_slice(&slot.made_from);
        }
        reference::<T>(&*slot.daemon).share()
    }

    /// Nothing may be replaced after it, or anything built from it, was handed out.
    fn refuse_if_asked(&self, key: Key, label: &str, what: &str) -> Result {
        let path = &self.path;
        let asked_daemon = self.lookup.get(&key).and_then(|known| known.asked_by.as_ref());
        let asked_while_building = || self.frames.iter().find(|frame| frame.made_from.contains(&key));
        let asked_before = || self.slots.iter().find(|(_, slot)| slot.is_made_from(key));
        let asker = asked_daemon
            .or_else(|| asked_while_building().map(|frame| &frame.label))
            .or_else(|| asked_before().map(|(_, slot)| &slot.label));
        if let Some(asker) = asker {
            bail!("{path}: {label} cannot be {what} any more: {asker} asked for it before");
        }
        if self.lookup.contains_key(&key) || self.values.has_own(key) {
            bail!("{path}: {label} cannot be {what}: it was provided before");
        }
        if self.frames.iter().any(|frame| frame.key == Some(key)) {
            bail!("{path}: {label} cannot be {what}: it is being built");
        }
        for known in self.lookup.values() {
            let Known { place: Place::Shared(index), asked_by: Some(asker) } = known else {
                continue;
            };
            let shared = &self.shared[*index as usize];
            let owner = &self.ancestors[shared.level];
            let slot = owner.slots.get(shared.slot);
            if slot.is_made_from(key) {
                bail!(
                    "{path}: {label} cannot be {what} any more: {asker} asked before for {} of {}, which was built from it",
                    slot.label,
                    owner.hub.path
                );
            }
        }
        Ok(())
    }

    fn asker(&mut self) -> &mut Frame {
        self.frames.last_mut().expect("the setup's frame is never popped")
    }
}

/// Whether a factory has something of its own in place of anything in `made_from`, which is sorted.
fn replaces(lookup: &Lookup, values: &Values, made_from: &[Key]) -> bool {
    let is_own = |known: &Known| matches!(known.place, Place::Own(_));
    if lookup.len() + values.own_keys().len() <= made_from.len() {
        let daemons = lookup.iter().filter(|(_, known)| is_own(known)).map(|(key, _)| key);
        daemons.chain(values.own_keys()).any(|key| made_from.binary_search(key).is_ok())
    } else {
        made_from.iter().any(|key| lookup.get(key).is_some_and(is_own) || values.has_own(*key))
    }
}

impl fmt::Debug for Factory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Factory({})", self.path)
    }
}

fn reference<T: Daemon>(daemon: &dyn Held) -> &DaemonRef<T> {
    let daemon = daemon.reference().downcast_ref();
    daemon.expect("a daemon is found by its type")
}
