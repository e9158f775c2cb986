//! How a daemon gets what it needs: a [`Factory`] assembles daemons, one owner, no locks.
//!
//! What always holds: a type is built once per factory; slots stand in an order of dependencies; an ancestor's daemon
//! is shared only where nothing it was built from has been replaced on the way; nothing is added to a started ancestor.

mod bound;
mod named;
mod node;
mod policies;
mod running;
mod slots;
mod values;

use std::collections::BTreeMap;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Weak};

use anyhow::{anyhow, bail};

use crate::daemon::{Label, label};
use crate::driver::{Driver, WorldDriver};
use crate::graph::{Graph, GraphEdge, GraphNode};
use crate::report::panicked;
use crate::{Daemon, DaemonRef, Deadlines, Result, World};

use bound::Traits;
pub(crate) use node::{Hub, Node};
use policies::Policies;
pub use running::RunningFactory;
use slots::{Held, Key, Known, Lookup, Need, Place, Shared, Slot, Slots};
pub(crate) use slots::{SlotId, Via};
use values::Values;

/// How many factories may be nested, and how many daemons may wait for one another while being built.
pub const DEPTH_MAX: usize = 128;

/// Assembles daemons and what they depend on; then [starts](Factory::start) them.
///
/// A factory whose `get` failed can go on: what had been completed before the failure stays built, and what failed can be
/// asked for again. Except where a daemon took the failure for an answer and was built without: what somebody went on
/// without cannot appear afterwards, so that no two daemons of a factory disagree on what there is.
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
    // Before the slots, so that these refs do not outlive the daemons' turn to be dropped.
    traits: Traits,
    slots: Slots,
    shared: Vec<Shared>,
    lookup: Lookup,
    values: Values,
    /// Daemons that somebody went on without, and who.
    missed: BTreeMap<Key, Label>,
    /// Who is being built, innermost last. The first is the setup itself.
    frames: Vec<Frame>,
}

/// Somebody who is asking: a daemon that is being built, or the setup.
#[derive(Default)]
struct Frame {
    key: Option<Key>,
    label: Label,
    needs: Vec<Need>,
    made_from: Vec<Key>,
    /// Daemons among these that it does without, so far.
    missed: Vec<Key>,
}

/// Somebody needs itself to be built.
#[derive(Debug, thiserror::Error)]
#[error("dependency cycle: {names}")]
struct Cycle {
    names: String,
    /// The place of the first of them among who is being built.
    start: usize,
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
        self.get_at(&Key::daemon::<T>(), Via::Itself)
    }

    /// The daemon of this type, built here whatever an ancestor has.
    ///
    /// # Errors
    /// As [`get`](Factory::get); and when an ancestor's, or anything built from it, was handed out here before: that
    /// names who asked.
    pub fn build<T: Daemon>(&mut self) -> Result<DaemonRef<T>> {
        self.build_at(&Key::daemon::<T>())
    }

    /// Like [`get`](Factory::get), for when the daemon only has to be there.
    ///
    /// # Errors
    /// As [`get`](Factory::get).
    pub fn with<T: Daemon>(&mut self) -> Result {
        self.with_at::<T>(&Key::daemon::<T>())
    }

    /// The daemon of this type if there is one that [`get`](Factory::get) would not have to build: this factory's own,
    /// or an ancestor's that can be shared. An optional dependency.
    ///
    /// # Order
    /// What is found is a dependency like any other. A daemon that finds nothing is built without, and then none can
    /// be built or provided here any more: that is an error which names the one that went on without. So what others
    /// may find is asked for, or provided, before them.
    ///
    /// # Errors
    /// When the daemon is being built, and waits for the one that asks: a cycle.
    ///
    /// # Example
    /// ```
    /// use steelmill_core::{Daemon, DaemonRef, Factory, Result};
    ///
    /// struct Metrics;
    ///
    /// impl Daemon for Metrics {
    ///     fn build(_: &mut Factory) -> Result<Self> {
    ///         Ok(Metrics)
    ///     }
    /// }
    ///
    /// struct Gateway {
    ///     metrics: Option<DaemonRef<Metrics>>,
    /// }
    ///
    /// impl Daemon for Gateway {
    ///     fn build(factory: &mut Factory) -> Result<Self> {
    ///         Ok(Self { metrics: factory.find()? })
    ///     }
    /// }
    ///
    /// steelmill_sim::check(steelmill_sim::Seed(1), |sim| async move {
    ///     let mut plain = Factory::root("plain", sim.world());
    ///     assert!(plain.get::<Gateway>()?.metrics.is_none());
    ///     let error = plain.with::<Metrics>().unwrap_err();
    ///     assert_eq!(
    ///         format!("{error:#}"),
    ///         "plain: building Metrics: Gateway asked for it before, and went on without it; ask for Metrics first"
    ///     );
    ///
    ///     let mut measured = Factory::root("measured", sim.world());
    ///     measured.with::<Metrics>()?;
    ///     assert!(measured.get::<Gateway>()?.metrics.is_some());
    ///     Ok(())
    /// });
    /// ```
    pub fn find<T: Daemon>(&mut self) -> Result<Option<DaemonRef<T>>> {
        self.find_at(&Key::daemon::<T>())
    }

    /// Uses `daemon` instead of building one. It is prepared, run and stopped like any other.
    ///
    /// It may hold refs to whatever its provider was handed before, so it counts as depending on all of that. Nobody
    /// could make another, so children share it whatever they have of their own.
    ///
    /// # Errors
    /// When it is there already; when this type, or anything built from it, was handed out before: names who asked.
    pub fn provide<T: Daemon>(&mut self, daemon: T) -> Result {
        self.provide_at(&Key::daemon::<T>(), daemon)
    }

    /// Adds a plain value, such as a configuration. It has no lifecycle, and children find it too.
    ///
    /// # Errors
    /// As [`provide`](Factory::provide).
    pub fn provide_value<V: Send + Sync + 'static>(&mut self, value: V) -> Result {
        let key = Key::value::<V>();
        self.refuse_if_asked(&key, &label::<V>(), "provided")?;
        self.refuse_if_there(&key, &label::<V>(), "provided")?;
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
        let place_of = |place: Place| match place {
            Place::Shared(index) => index as usize,
            Place::Own(slot) => self.shared.len() + slot.index(),
        };
        let shared_places: BTreeMap<_, _> =
            (self.shared.iter().enumerate()).map(|(at, shared)| ((shared.level, shared.slot), at)).collect();
        let shared = self.shared.iter().map(|shared| {
            let owner = &self.ancestors[shared.level];
            let slot = owner.slots.get(shared.slot);
            // Of what it was built from, only what is shared here too.
            let needs = slot.needs.iter().filter_map(|need| {
                let (above, slot) = owner.origin(need.place);
                let at = shared_places.get(&(shared.level + above, slot))?;
                Some(GraphEdge::new(*at, need.via))
            });
            GraphNode {
                label: slot.label.clone(),
                owner: Some(owner.hub.path.to_string()),
                needs: needs.collect(),
            }
        });
        let own = self.slots.iter().map(|(_, slot)| GraphNode {
            label: slot.label.clone(),
            owner: None,
            needs: slot.needs.iter().map(|need| GraphEdge::new(place_of(need.place), need.via)).collect(),
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
            traits: Traits::default(),
            slots: Slots::default(),
            shared: Vec::new(),
            lookup: Lookup::new(),
            values,
            missed: BTreeMap::new(),
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

    fn get_at<T: Daemon>(&mut self, key: &Key, via: Via) -> Result<DaemonRef<T>> {
        let place = self.obtain::<T>(key)?;
        Ok(self.hand_out(key, place, via))
    }

    fn build_at<T: Daemon>(&mut self, key: &Key) -> Result<DaemonRef<T>> {
        let own = self.lookup.get(key);
        if !own.is_some_and(|known| matches!(known.place, Place::Own(_))) {
            self.refuse_if_asked(key, &key.label::<T>(), "built here")?;
            self.refuse_if_there(key, &key.label::<T>(), "built here")?;
            self.construct::<T>(key)?;
        }
        self.get_at(key, Via::Itself)
    }

    fn with_at<T: Daemon>(&mut self, key: &Key) -> Result {
        if self.frames.len() == 1 {
            // The setup keeps no ref, so what it provides later cannot depend on this one.
            self.obtain::<T>(key).map(drop)
        } else {
            self.get_at::<T>(key, Via::Itself).map(drop)
        }
    }

    fn find_at<T: Daemon>(&mut self, key: &Key) -> Result<Option<DaemonRef<T>>> {
        self.refuse_cycle::<T>(key)?;
        let known = self.lookup.get(key).map(|known| known.place);
        let Some(place) = known.or_else(|| self.share(key)) else {
            let asker = self.asker();
            // What the setup looks for in vain it may still ask for; what a daemon misses has shaped that daemon.
            if asker.key.is_some() {
                asker.made_from.push(key.clone());
                asker.missed.push(key.clone());
            }
            return Ok(None);
        };
        self.note_asker(key);
        Ok(Some(self.hand_out(key, place, Via::Optional)))
    }

    fn provide_at<T: Daemon>(&mut self, key: &Key, daemon: T) -> Result {
        let label = key.label::<T>();
        self.refuse_if_asked(key, &label, "provided")?;
        self.refuse_if_there(key, &label, "provided")?;
        let frame = Frame { label, needs: self.asker().needs.clone(), ..Frame::default() };
        self.add(key, daemon, frame);
        Ok(())
    }

    /// Finds a daemon or builds it.
    fn obtain<T: Daemon>(&mut self, key: &Key) -> Result<Place> {
        let place = match self.lookup.get(key) {
            Some(known) => known.place,
            None => match self.share(key) {
                Some(place) => place,
                None => Place::Own(self.construct::<T>(key)?),
            },
        };
        self.note_asker(key);
        Ok(place)
    }

    fn note_asker(&mut self, key: &Key) {
        let asker = &self.frames.last().expect("the setup's frame is never popped").label;
        if let Some(known) = self.lookup.get_mut(key)
            && known.asked_by.is_none()
        {
            known.asked_by = Some(asker.clone());
        }
    }

    /// Takes the nearest ancestor's daemon, unless something it was built from is different here or on the way.
    fn share(&mut self, key: &Key) -> Option<Place> {
        let mut owners = self.ancestors.iter().enumerate();
        let (level, slot) = owners.find_map(|(level, node)| Some((level, node.own_slot(key)?)))?;
        let slot_there = self.ancestors[level].slots.get(slot);
        let made_from = &slot_there.made_from;
        let is_being_built = |key: &Key| self.frames.iter().any(|frame| frame.key.as_ref() == Some(key));
        let is_replaced = is_being_built(key)
            || made_from.iter().any(is_being_built)
            || replaces(&self.lookup, &self.values, made_from)
            || (self.ancestors[..level].iter()).any(|node| replaces(&node.lookup, &node.values, made_from));
        if is_replaced {
            return None;
        }
        let place = Place::Shared(u32::try_from(self.shared.len()).ok()?);
        let shared = Shared { daemon: slot_there.daemon.clone(), level, slot };
        for key in &slot_there.missed {
            let owner = &self.ancestors[level].hub.path;
            let who = || format!("{} of {owner}", slot_there.label).into();
            self.missed.entry(key.clone()).or_insert_with(who);
        }
        self.shared.push(shared);
        self.insert(key, place);
        Some(place)
    }

    /// Builds a daemon in a new slot.
    fn construct<T: Daemon>(&mut self, key: &Key) -> Result<SlotId> {
        let label = key.label::<T>();
        let outcome = self.run_build::<T>(key, &label);
        outcome.map_err(|error| {
            let is_in_cycle =
                error.downcast_ref::<Cycle>().is_some_and(|cycle| cycle.start <= self.frames.len());
            match (self.frames.len(), is_in_cycle) {
                (1, true) => error.context(self.path.clone()),
                (1, false) => error.context(format!("{}: building {label}", self.path)),
                // The cycle says so.
                (_, true) => error,
                (_, false) => error.context(format!("building {label}")),
            }
        })
    }

    fn run_build<T: Daemon>(&mut self, key: &Key, label: &Label) -> Result<SlotId> {
        self.refuse_cycle::<T>(key)?;
        if self.frames.len() > DEPTH_MAX {
            bail!(
                "{label} is the end of a chain of more than {DEPTH_MAX} daemons that wait for one another to be built: \
                 ask for some of them earlier"
            );
        }
        self.refuse_if_missed(key, label)?;
        self.frames.push(Frame { key: Some(key.clone()), label: label.clone(), ..Frame::default() });
        let depth = self.frames.len();
        let outcome = catch_unwind(AssertUnwindSafe(|| T::build(self)));
        self.frames.truncate(depth);
        let frame = self.frames.pop().expect("the frame pushed above");
        let error = match outcome {
            Ok(Ok(_)) if self.lookup.contains_key(key) => anyhow!("it was provided while it was being built"),
            Ok(Ok(daemon)) => return Ok(self.add(key, daemon, frame)),
            Ok(Err(error)) => error,
            Err(panic) => panicked(panic.as_ref()),
        };
        let asker = self.asker();
        if asker.key.is_some() {
            // It may go on without, and then was shaped by whatever made this one fail.
            asker.made_from.push(key.clone());
            asker.made_from.extend(frame.made_from);
            asker.missed.push(key.clone());
            asker.missed.extend(frame.missed);
        }
        Err(error)
    }

    fn supply_one<T: Daemon>(&mut self, capability: T) {
        let id = self.slots.push(Slot {
            label: label::<T>(),
            daemon: Arc::new(DaemonRef::new(Arc::new(capability))),
            needs: Box::default(),
            made_from: Box::default(),
            missed: Box::default(),
            is_capability: true,
        });
        self.insert(&Key::daemon::<T>(), Place::Own(id));
    }

    fn add<T: Daemon>(&mut self, key: &Key, daemon: T, frame: Frame) -> SlotId {
        let Frame { label, mut needs, mut made_from, mut missed, .. } = frame;
        // What was asked for in two ways is shown in the first.
        needs.sort_by_key(|need| need.place);
        needs.dedup_by_key(|need| need.place);
        made_from.sort_unstable();
        made_from.dedup();
        missed.retain(|key| !self.lookup.contains_key(key));
        missed.sort_unstable();
        missed.dedup();
        for key in &missed {
            self.missed.entry(key.clone()).or_insert_with(|| label.clone());
        }
        let id = self.slots.push(Slot {
            label,
            daemon: Arc::new(DaemonRef::new(Arc::new(daemon))),
            needs: needs.into(),
            made_from: made_from.into(),
            missed: missed.into(),
            is_capability: false,
        });
        self.insert(key, Place::Own(id));
        id
    }

    fn insert(&mut self, key: &Key, place: Place) {
        self.lookup.insert(key.clone(), Known { place, asked_by: None });
    }

    /// Gives a ref to the asker, who depends on it from now on.
    fn hand_out<T: Daemon>(&mut self, key: &Key, place: Place, via: Via) -> DaemonRef<T> {
        let asker = self.frames.last_mut().expect("the setup's frame is never popped");
        asker.needs.push(Need { place, via });
        let slot = match place {
            Place::Own(slot) => self.slots.get(slot),
            Place::Shared(index) => {
                let shared = &self.shared[index as usize];
                self.ancestors[shared.level].slots.get(shared.slot)
            }
        };
        if asker.key.is_some() {
            asker.made_from.push(key.clone());
            asker.made_from.extend_from_slice(&slot.made_from);
            asker.missed.extend_from_slice(&slot.missed);
        }
        reference::<T>(&*slot.daemon).share()
    }

    /// Nobody waits for itself to be built.
    fn refuse_cycle<T: Daemon>(&self, key: &Key) -> Result {
        let Some(start) = self.frames.iter().position(|frame| frame.key.as_ref() == Some(key)) else {
            return Ok(());
        };
        let mut names: Vec<&str> = self.frames[start..].iter().map(|frame| &*frame.label).collect();
        let again = key.label::<T>();
        names.push(&again);
        Err(Cycle { names: names.join(" -> "), start }.into())
    }

    /// What somebody went on without does not appear afterwards.
    fn refuse_if_missed(&self, key: &Key, label: &str) -> Result {
        // The innermost is the one that asks: it may ask again.
        let outer = &self.frames[..self.frames.len() - 1];
        let while_building = outer.iter().find(|frame| frame.missed.contains(key)).map(|frame| &frame.label);
        if let Some(who) = self.missed.get(key).or(while_building) {
            bail!("{who} asked for it before, and went on without it; ask for {label} first");
        }
        Ok(())
    }

    /// Nothing may be replaced after it, or anything built from it, was handed out.
    fn refuse_if_asked(&self, key: &Key, label: &str, what: &str) -> Result {
        let path = &self.path;
        let asked_daemon = self.lookup.get(key).and_then(|known| known.asked_by.as_ref());
        let asked_while_building = || self.frames.iter().find(|frame| frame.made_from.contains(key));
        let asked_before = || self.slots.iter().find(|(_, slot)| slot.is_made_from(key));
        let asker = asked_daemon
            .or_else(|| asked_while_building().map(|frame| &frame.label))
            .or_else(|| asked_before().map(|(_, slot)| &slot.label));
        if let Some(asker) = asker {
            bail!("{path}: {label} cannot be {what} any more: {asker} asked for it before");
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

    /// Nothing is there twice.
    fn refuse_if_there(&self, key: &Key, label: &str, what: &str) -> Result {
        let path = &self.path;
        if self.lookup.contains_key(key) || self.values.has_own(key) {
            bail!("{path}: {label} cannot be {what}: it was provided before");
        }
        if self.frames.iter().any(|frame| frame.key.as_ref() == Some(key)) {
            bail!("{path}: {label} cannot be {what}: it is being built");
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
        made_from.iter().any(|key| lookup.get(key).is_some_and(is_own) || values.has_own(key))
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
