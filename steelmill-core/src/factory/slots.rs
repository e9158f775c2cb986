//! Where built daemons are kept: slots in the order of completion, which is also an order of dependencies.
//!
//! A slot never moves and never changes once its factory runs. Slots are dropped last first, so dependents first.

use std::any::{Any, TypeId};
use std::borrow::Borrow;
use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::sync::Arc;

use futures::future::BoxFuture;

use crate::daemon::{Label, label};
use crate::scope::{Ending, Guarded};
use crate::{Daemon, DaemonRef, Phase, Scope};

/// The place of a daemon among its factory's slots.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct SlotId(pub(crate) u32);

impl SlotId {
    pub(crate) fn index(self) -> usize {
        self.0 as usize
    }
}

/// Where a factory finds a daemon: in a slot of its own, or among those that ancestors share with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Place {
    Shared(u32),
    Own(SlotId),
}

/// What can be looked up: a daemon or a plain value, by type; a daemon by its name as well, when it has one.
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

    /// What people call it: `Store`, or `Store[primary]`.
    pub(crate) fn label<T>(&self) -> Label {
        match &self.name {
            Some(name) => Label::Owned(format!("{}[{name}]", label::<T>())),
            None => label::<T>(),
        }
    }
}

/// A [`Key`] or what it is made of, so that looking for a name needs no key of its own.
pub(crate) trait AsKey {
    fn parts(&self) -> (TypeId, Option<&str>);
}

/// A daemon's type and name, to look it up by.
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

// The order of keys.
impl Ord for dyn AsKey + '_ {
    fn cmp(&self, other: &Self) -> Ordering {
        self.parts().cmp(&other.parts())
    }
}

/// A daemon that somebody was handed, and what they asked for when they were.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Need {
    pub(crate) place: Place,
    pub(crate) via: Via,
}

/// What somebody asked for who was handed a daemon.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Via {
    /// For the daemon.
    Itself,
    /// For the daemon, if there is one.
    Optional,
    /// For whatever is bound as this trait.
    Trait(fn() -> Label),
    /// For every daemon of this group.
    Group(fn() -> Label),
}

/// A daemon that was built, provided or shared.
pub(crate) struct Known {
    pub(crate) place: Place,
    /// Who asked first; nobody may have, when it was provided.
    pub(crate) asked_by: Option<Label>,
}

pub(crate) type Lookup = BTreeMap<Key, Known>;

/// A built daemon.
pub(crate) struct Slot {
    pub(crate) label: Label,
    pub(crate) daemon: Arc<dyn Held>,
    /// What it was handed while it was built, each once. Sorted by place.
    pub(crate) needs: Box<[Need]>,
    /// Every type it was built from, however far down; what was looked for and absent too. Sorted.
    pub(crate) made_from: Box<[Key]>,
    /// Daemons among these that it, or what it was built from, went on without.
    pub(crate) missed: Box<[Key]>,
    /// Supplied by the world: it is handed out like a daemon, but there is nothing to prepare, run or stop.
    pub(crate) is_capability: bool,
}

impl Slot {
    pub(crate) fn is_made_from(&self, key: &Key) -> bool {
        self.made_from.binary_search(key).is_ok()
    }

    /// Those of its own factory's slots that it needs.
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

    /// Takes out the last slot: nothing that is left was built from it.
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
    pub(crate) daemon: Arc<dyn Held>,
    /// Whose it is: 0 is the parent.
    pub(crate) level: usize,
    pub(crate) slot: SlotId,
}

/// A daemon with its type erased.
pub(crate) trait Held: Send + Sync {
    /// The `DaemonRef<T>`.
    fn reference(&self) -> &(dyn Any + Send + Sync);

    /// How many refs to the daemon there are, this one left out.
    fn other_refs(&self) -> usize;

    /// Prepares, runs or stops the daemon.
    fn job(&self, phase: Phase, scope: Scope, ending: Ending) -> BoxFuture<'static, ()>;
}

impl<T: Daemon> Held for DaemonRef<T> {
    fn reference(&self) -> &(dyn Any + Send + Sync) {
        self
    }

    fn other_refs(&self) -> usize {
        Arc::strong_count(self.arc()) - 1
    }

    fn job(&self, phase: Phase, scope: Scope, ending: Ending) -> BoxFuture<'static, ()> {
        let daemon = self.share();
        let span = scope.span().clone();
        match phase {
            Phase::Prepare => Box::pin(Guarded::new(
                async move { scope.until_stopping(daemon.prepare(&scope)).await },
                span,
                ending,
            )),
            Phase::Stop => {
                Box::pin(Guarded::new(async move { Some(daemon.stop(&scope).await) }, span, ending))
            }
            _ => Box::pin(Guarded::new(async move { Some(daemon.arc().run(&scope).await) }, span, ending)),
        }
    }
}
