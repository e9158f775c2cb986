//! Where built daemons are stored: slots in the order of completion, which is a dependency order.
//!
//! A started factory's slots never change. They are dropped in reverse, so dependents first.

use std::any::TypeId;
use std::borrow::Borrow;
use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::sync::Arc;

use crate::Daemon;
use crate::control::SlotId;
use crate::daemon::ErasedDaemon;
use crate::label::{Label, label};

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
}

/// A lookup entry: a daemon that was built, provided or shared.
pub(crate) struct Known {
    pub(crate) place: Place,
    /// The first requester; `None` as long as it was only provided.
    pub(crate) requested_by: Option<Label>,
}

pub(crate) type Lookup = BTreeMap<Key, Known>;

/// A built daemon.
pub(crate) struct Slot {
    pub(crate) key: Key,
    pub(crate) label: Label,
    pub(crate) daemon: Arc<dyn ErasedDaemon>,
    /// Its direct dependencies, each once, sorted by place.
    pub(crate) needs: Box<[Need]>,
    /// Its transitive dependencies, those looked up and not found included. Sorted.
    pub(crate) built_from: Box<[Key]>,
    /// Those of `built_from` that were not found.
    pub(crate) absent: Box<[Key]>,
    /// Supplied by the world: handed out like a daemon, but with nothing to prepare, run or stop.
    pub(crate) is_capability: bool,
}

impl Slot {
    pub(crate) fn is_built_from(&self, key: &Key) -> bool {
        self.built_from.binary_search(key).is_ok()
    }

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
pub(crate) struct Slots(Vec<Slot>);

impl Slots {
    pub(crate) fn push(&mut self, slot: Slot) -> SlotId {
        let id = u32::try_from(self.0.len()).expect("four billion daemons do not fit into memory");
        self.0.push(slot);
        SlotId(id)
    }

    pub(crate) fn get(&self, id: SlotId) -> &Slot {
        &self.0[id.index()]
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (SlotId, &Slot)> {
        (0..).map(SlotId).zip(&self.0)
    }

    /// Removes the last slot: no remaining one depends on it.
    pub(crate) fn pop(&mut self) -> Option<Slot> {
        self.0.pop()
    }
}

impl Drop for Slots {
    fn drop(&mut self) {
        while self.0.pop().is_some() {}
    }
}

/// An ancestor's daemon.
pub(crate) struct Shared {
    pub(crate) daemon: Arc<dyn ErasedDaemon>,
    /// The level of its owner: 0 is the parent.
    pub(crate) level: usize,
    pub(crate) slot: SlotId,
}
