//! Where built daemons are stored: slots in the order of completion, which is a dependency order.
//!
//! A started factory's slots never change. They are dropped in reverse, so dependents first.

use std::any::TypeId;
use std::borrow::Borrow;
use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use crate::Daemon;
use crate::control::SlotId;
use crate::daemon::ErasedDaemon;
use crate::label::{Label, label, told_apart};

/// Where a factory finds a daemon: in a slot of its own, or among those shared by ancestors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Place {
    Shared(u32),
    Own(SlotId),
}

/// What can be looked up: a value by its type, a daemon by its type and optional name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key {
    of: TypeId,
    name: Option<Arc<str>>,
}

struct ValueOf<V>(PhantomData<fn() -> V>);

impl Key {
    pub(crate) fn daemon<T: Daemon>() -> Self {
        Key { of: TypeId::of::<T>(), name: None }
    }

    pub(crate) fn named<T: Daemon>(name: &str) -> Self {
        Key { of: TypeId::of::<T>(), name: Some(name.into()) }
    }

    pub(crate) fn value<V: 'static>() -> Self {
        Key { of: TypeId::of::<ValueOf<V>>(), name: None }
    }

    pub(crate) fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// `Store`, or `Store[primary]`.
    pub(crate) fn label<T>(&self) -> Label {
        match &self.name {
            Some(name) => Label::Owned(format!("{}[{name}]", label::<T>())),
            None => label::<T>(),
        }
    }
}

/// A [`Key`] or its parts, so that a lookup by name allocates no key.
pub(crate) trait AsKey {
    fn parts(&self) -> (TypeId, Option<&str>);
}

/// A daemon's type and borrowed name.
pub(crate) struct Named<'a>(TypeId, &'a str);

impl<'a> Named<'a> {
    pub(crate) fn daemon<T: Daemon>(name: &'a str) -> Self {
        Named(TypeId::of::<T>(), name)
    }
}

impl AsKey for Key {
    fn parts(&self) -> (TypeId, Option<&str>) {
        (self.of, self.name())
    }
}

impl AsKey for Named<'_> {
    fn parts(&self) -> (TypeId, Option<&str>) {
        (self.0, Some(self.1))
    }
}

impl<'a> Borrow<dyn AsKey + 'a> for Key {
    fn borrow(&self) -> &(dyn AsKey + 'a) {
        self
    }
}

impl PartialEq for dyn AsKey + '_ {
    fn eq(&self, other: &Self) -> bool {
        self.parts() == other.parts()
    }
}

impl Eq for dyn AsKey + '_ {}

impl PartialOrd for dyn AsKey + '_ {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

// Must be the order of `Key`.
impl Ord for dyn AsKey + '_ {
    fn cmp(&self, other: &Self) -> Ordering {
        self.parts().cmp(&other.parts())
    }
}

/// A dependency: which daemon was handed out, and how it was requested.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Need {
    pub(crate) place: Place,
    pub(crate) via: Via,
}

/// How a dependency was requested.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Via {
    /// By its type.
    Itself,
    /// By its type, as an optional dependency.
    Optional,
    /// As the binding of this trait.
    Trait(fn() -> Label),
    /// As a member of this group.
    Group(fn() -> Label),
    /// It was not: only the order was requested.
    Order,
}

/// A lookup entry: a daemon that was built, provided or shared.
pub(crate) struct Known {
    pub(crate) place: Place,
    /// The first requester; `None` as long as it was only provided.
    pub(crate) requested_by: Option<Label>,
}

pub(crate) type Lookup = BTreeMap<Key, Known>;

/// How many keys a [`BuiltFrom`] lists at most.
const KEYS_LISTED: usize = 128;

/// What a daemon was built from: its transitive dependencies, those that were looked up and not found included.
///
/// A long chain in which each daemon lists all of them would take quadratic memory and time. So one with more than
/// [`KEYS_LISTED`] has only what it requested itself; what its dependencies were built from is found through these.
#[derive(Default)]
pub(crate) struct BuiltFrom {
    /// Sorted.
    pub(crate) keys: Box<[Key]>,
    /// Those of `keys` that were not found.
    pub(crate) absent: Box<[Key]>,
    /// Whether these are all.
    pub(crate) is_complete: bool,
}

/// What a daemon under construction was built from so far.
#[derive(Default)]
pub(crate) struct BuildingFrom {
    /// What it requested itself.
    pub(crate) keys: Vec<Key>,
    pub(crate) absent: Vec<Key>,
    /// What its dependencies were built from.
    inherited: Vec<Key>,
    inherited_absent: Vec<Key>,
    /// One of them does not list all.
    pub(crate) is_incomplete: bool,
}

impl BuildingFrom {
    /// Adds what a dependency was built from.
    pub(crate) fn inherit(&mut self, from: &BuiltFrom) {
        self.is_incomplete |= !from.is_complete;
        if !self.is_incomplete {
            self.inherited.extend_from_slice(&from.keys);
            self.inherited_absent.extend_from_slice(&from.absent);
        }
    }

    /// Adds all of another one, as if it had been requested here: of a build that failed, which may be handled.
    pub(crate) fn adopt(&mut self, other: BuildingFrom) {
        self.is_incomplete |= other.is_incomplete;
        self.keys.extend(other.keys.into_iter().chain(other.inherited));
        self.absent.extend(other.absent.into_iter().chain(other.inherited_absent));
    }

    pub(crate) fn contains(&self, key: &Key) -> bool {
        self.keys.contains(key) || self.inherited.contains(key)
    }

    /// `is_known` says of a key that was absent that it is known by now.
    pub(crate) fn finish(self, is_known: impl Fn(&Key) -> bool) -> BuiltFrom {
        let BuildingFrom { mut keys, mut absent, inherited, inherited_absent, is_incomplete } = self;
        let sort = |keys: &mut Vec<Key>| {
            keys.sort_unstable();
            keys.dedup();
        };
        sort(&mut keys);
        let mut is_complete = !is_incomplete;
        if is_complete && inherited.is_empty() {
            is_complete = keys.len() <= KEYS_LISTED;
        } else if is_complete {
            let mut all = inherited;
            all.extend_from_slice(&keys);
            sort(&mut all);
            is_complete = all.len() <= KEYS_LISTED;
            if is_complete {
                keys = all;
                absent.extend(inherited_absent);
            }
        }
        absent.retain(|key| !is_known(key));
        sort(&mut absent);
        BuiltFrom { keys: keys.into(), absent: absent.into(), is_complete }
    }
}

/// A built daemon.
pub(crate) struct Slot {
    /// Unique in a factory that was started.
    pub(crate) label: Label,
    pub(crate) daemon: Arc<dyn ErasedDaemon>,
    /// Its direct dependencies, each once, sorted by place.
    pub(crate) needs: Box<[Need]>,
    pub(crate) built_from: BuiltFrom,
    /// Supplied by the world: handed out like a daemon, but with nothing to prepare, run or stop.
    pub(crate) is_capability: bool,
}

/// What is known of a built daemon until its factory starts.
pub(crate) struct Built {
    pub(crate) key: Key,
    /// The full name of its type.
    pub(crate) type_name: &'static str,
    /// How long its `build` took, without that of its dependencies.
    pub(crate) build: Duration,
}

impl Slot {
    /// Its direct dependencies in the same factory.
    pub(crate) fn own_needs(&self) -> impl Iterator<Item = SlotId> {
        self.needs.iter().filter_map(|need| match need.place {
            Place::Own(slot) => Some(slot),
            Place::Shared(_) => None,
        })
    }
}

/// A factory's slots.
#[derive(Default)]
pub(crate) struct Slots {
    all: Vec<Slot>,
    /// One for each slot, until the factory starts.
    built: Vec<Built>,
}

impl Slots {
    pub(crate) fn push(&mut self, slot: Slot, built: Built) -> SlotId {
        let id = u32::try_from(self.all.len()).expect("four billion daemons do not fit into memory");
        self.all.push(slot);
        self.built.push(built);
        SlotId(id)
    }

    pub(crate) fn get(&self, id: SlotId) -> &Slot {
        &self.all[id.index()]
    }

    pub(crate) fn get_mut(&mut self, id: SlotId) -> &mut Slot {
        &mut self.all[id.index()]
    }

    /// The factory starts: hands out what is not needed after that.
    pub(crate) fn freeze(&mut self) -> Vec<Built> {
        self.tell_apart();
        std::mem::take(&mut self.built)
    }

    /// Gives daemons whose types have one name longer ones, with as much of the path as it takes.
    fn tell_apart(&mut self) {
        // Most factories are children with a few daemons.
        let is_small = self.all.len() <= 16;
        let is_unique =
            |(index, slot): (usize, &Slot)| self.all[..index].iter().all(|other| other.label != slot.label);
        if is_small && self.all.iter().enumerate().all(is_unique) {
            return;
        }
        let mut seen = BTreeMap::new();
        for (index, slot) in self.all.iter().enumerate().filter(|(_, slot)| !slot.is_capability) {
            seen.entry(&*slot.label).or_insert_with(Vec::new).push(index);
        }
        let namesakes: Vec<Vec<usize>> = seen.into_values().filter(|indices| indices.len() > 1).collect();
        for indices in namesakes {
            let names: Vec<_> = indices.iter().map(|index| self.built[*index].type_name).collect();
            for (index, name) in indices.into_iter().zip(told_apart(&names)) {
                self.all[index].label = match self.built[index].key.name() {
                    Some(instance) => format!("{name}[{instance}]").into(),
                    None => name.into(),
                };
            }
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (SlotId, &Slot)> {
        (0..).map(SlotId).zip(&self.all)
    }

    /// Removes the last slot: no remaining one depends on it.
    pub(crate) fn pop(&mut self) -> Option<Slot> {
        self.all.pop()
    }
}

impl Drop for Slots {
    fn drop(&mut self) {
        while self.all.pop().is_some() {}
    }
}

/// An ancestor's daemon.
pub(crate) struct Shared {
    pub(crate) daemon: Arc<dyn ErasedDaemon>,
    /// The level of its owner: 0 is the parent.
    pub(crate) level: usize,
    pub(crate) slot: SlotId,
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Link;

    impl Daemon for Link {
        fn build(_: &mut crate::Factory) -> crate::Result<Self> {
            Ok(Link)
        }
    }

    #[test]
    fn the_memory_of_a_long_chain_is_linear() {
        let mut below = BuiltFrom { is_complete: true, ..BuiltFrom::default() };
        for number in 0..2_000 {
            let mut building = BuildingFrom::default();
            building.keys.push(Key::named::<Link>(&number.to_string()));
            building.inherit(&below);
            below = building.finish(|_| false);
            assert_eq!(below.is_complete, number < KEYS_LISTED);
            assert_eq!(below.keys.len(), if below.is_complete { number + 1 } else { 1 });
        }
    }
}
