//! What a started factory is: an immutable node that handles, scopes and children point to.
//!
//! Built daemons never move or change, so looking one up takes no lock, allocates nothing and writes nothing.

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use anyhow::{anyhow, bail};

use super::slots::{Key, Known, Lookup, Place, Slot, SlotId, Slots, What};
use super::{DEPTH_MAX, Factory, Parent, reference};
use crate::daemon::label;
use crate::driver::Driver;
use crate::lifecycle::{Ended, Event, Events};
use crate::{Daemon, DaemonRef, Deadlines, Phase, Report, Result, World};

/// A handle to a started factory. Cheap to clone and to send around.
///
/// Dropping the last handle stops the factory, with a warning in the log: [`stop`](RunningFactory::stop) says how it
/// went, dropping cannot.
#[derive(Clone)]
pub struct RunningFactory {
    node: Arc<Node>,
    _handles: Arc<Handles>,
}

impl RunningFactory {
    pub(crate) fn new(node: Arc<Node>) -> Self {
        let handles = Handles(node.events.clone());
        RunningFactory {
            node,
            _handles: Arc::new(handles),
        }
    }

    /// The factory's name behind those of its ancestors: `demo/lease-7`.
    pub fn path(&self) -> &str {
        &self.node.path
    }

    /// The daemon of this type: one of this factory, or one that it shares with an ancestor.
    ///
    /// Takes no lock, allocates nothing and writes nothing when there is one.
    ///
    /// # Errors
    /// When nobody asked for one while the factory was assembled.
    pub fn get<T: Daemon>(&self) -> Result<&DaemonRef<T>> {
        match self.node.lookup.get(&Key::daemon::<T>()) {
            Some(Known {
                what: What::Daemon(place),
                ..
            }) => Ok(reference(self.node.slot(*place))),
            _ => {
                let daemons: Vec<_> = self.node.slots.iter().map(|(_, slot)| &*slot.label).collect();
                let daemons = daemons.join(", ");
                bail!(
                    "{} has no {}; its own daemons are: {daemons}",
                    self.path(),
                    label::<T>()
                )
            }
        }
    }

    /// The value of this type: the factory's own, else the nearest ancestor's.
    ///
    /// Takes no lock, allocates nothing and writes nothing when there is one.
    ///
    /// # Errors
    /// When there is none.
    pub fn value<V: Send + Sync + 'static>(&self) -> Result<&Arc<V>> {
        let key = Key::value::<V>();
        let mut node = &self.node;
        loop {
            if let Some(value) = node.own_value(key).and_then(|value| value.downcast_ref()) {
                return Ok(value);
            }
            node = (node.parent.as_ref())
                .ok_or_else(|| anyhow!("{}: no value of type {} was provided", self.path(), label::<V>()))?;
        }
    }

    /// A child factory: a lifetime inside this one. It shares this factory's daemons, and stops before any daemon it
    /// shares does.
    ///
    /// # Errors
    /// When this factory is stopping or has ended; when factories are nested more than [`DEPTH_MAX`] deep.
    pub fn child(&self, name: &str) -> Result<Factory> {
        Factory::child(name, self.parent())
    }

    /// A child factory in a place of its own, such as a machine of a simulated cluster: with its own clock, network,
    /// entropy and tasks. A daemon that was built from this factory's is built anew in it.
    ///
    /// # Errors
    /// As [`child`](RunningFactory::child).
    pub fn child_in<W: World>(&self, name: &str, world: W) -> Result<Factory> {
        Factory::child_in(name, self.parent(), world)
    }

    /// Asks the factory to stop, and returns at once.
    pub fn request_stop(&self) {
        self.node.request_stop();
    }

    /// Stops the factory and waits for its end. However often and from wherever it is called, there is one stop, and
    /// everybody gets its one report.
    ///
    /// # Order
    /// Daemons stop in reverse order of their dependencies, each after everything that depends on it has ended.
    ///
    /// # Cancellation
    /// Dropping the future does not cancel the stop.
    pub fn stop(self) -> impl Future<Output = Arc<Report>> + Send + 'static {
        self.request_stop();
        self.node.clone().ended()
    }

    /// Waits until the factory has ended, for whatever reason.
    ///
    /// # Cancellation
    /// Dropping the future changes nothing.
    pub fn ended(&self) -> impl Future<Output = Arc<Report>> + Send + 'static {
        self.node.clone().ended()
    }

    fn parent(&self) -> Parent {
        Parent {
            node: self.node.clone(),
            maker: None,
        }
    }
}

impl fmt::Debug for RunningFactory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RunningFactory({})", self.path())
    }
}

/// What all handles to one factory share: its drop says that nobody holds the factory any more.
struct Handles(Events);

impl Drop for Handles {
    fn drop(&mut self) {
        let _ = self.0.send(Event::HandlesDropped);
    }
}

/// A started factory.
pub(crate) struct Node {
    pub(crate) path: Arc<str>,
    pub(crate) depth: usize,
    pub(crate) driver: Arc<dyn Driver>,
    pub(crate) deadlines: Deadlines,
    pub(crate) slots: Slots,
    pub(crate) lookup: Lookup,
    pub(crate) events: Events,
    pub(crate) ended: Ended,
    /// Children are refused from here on.
    pub(crate) is_stopping: AtomicBool,
    /// Somebody has asked how it ends.
    pub(crate) is_watched: AtomicBool,
    pub(crate) next_child: AtomicU64,
    // Behind everything that was built from what the parent has.
    pub(crate) parent: Option<Arc<Node>>,
}

impl Node {
    pub(crate) fn request_stop(&self) {
        self.is_stopping.store(true, Ordering::Release);
        let _ = self.events.send(Event::Stop);
    }

    /// Holds no part of the node, so that waiting for the end does not keep daemons alive.
    fn ended(self: Arc<Self>) -> impl Future<Output = Arc<Report>> + Send + 'static {
        self.is_watched.store(true, Ordering::Release);
        let (path, ended) = (self.path.clone(), self.ended.clone());
        async move {
            match ended.await {
                Ok(report) => report,
                Err(_) => Arc::new(Report::abandoned(path)),
            }
        }
    }

    pub(crate) fn own_slot(&self, key: Key) -> Option<SlotId> {
        match self.lookup.get(&key)?.what {
            What::Daemon(Place::Own(slot)) => Some(slot),
            _ => None,
        }
    }

    /// The `Arc<V>` of a value.
    pub(crate) fn own_value(&self, key: Key) -> Option<&(dyn std::any::Any + Send + Sync)> {
        match &self.lookup.get(&key)?.what {
            What::Value(value) => Some(value.as_ref()),
            _ => None,
        }
    }

    pub(crate) fn slot(&self, place: Place) -> &Slot {
        match place {
            Place::Own(slot) => self.slots.get(slot),
            Place::Shared { up, slot } => {
                let parent = self.parent.as_ref().expect("only a child has shared anything");
                parent.above(up - 1).slots.get(slot)
            }
        }
    }

    /// The ancestor that many levels above.
    pub(crate) fn above(self: &Arc<Self>, levels: u32) -> &Arc<Node> {
        (0..levels).fold(self, |node, _| {
            node.parent.as_ref().expect("a place counts levels that exist")
        })
    }
}

impl Factory {
    pub(crate) fn child(name: &str, parent: Parent) -> Result<Factory> {
        let (path, depth) = parent.descend(name)?;
        let (driver, deadlines) = (parent.node.driver.clone(), parent.node.deadlines);
        Ok(Factory::new(path, depth, driver, Some(parent), deadlines))
    }

    pub(crate) fn child_in<W: World>(name: &str, parent: Parent, world: W) -> Result<Factory> {
        let (path, depth) = parent.descend(name)?;
        let deadlines = parent.node.deadlines;
        Ok(Factory::in_world(path, depth, Some(parent), deadlines, world))
    }
}

impl Parent {
    /// The path and the depth of a child.
    fn descend(&self, name: &str) -> Result<(Arc<str>, usize)> {
        let path = &self.node.path;
        if self.node.is_stopping.load(Ordering::Acquire) {
            bail!("{path} is stopping: {name} cannot be made in it");
        }
        let depth = self.node.depth + 1;
        if depth > DEPTH_MAX {
            bail!(
                "{path} is nested {DEPTH_MAX} factories deep, which is the limit: {name} cannot be made in it"
            );
        }
        Ok((format!("{path}/{name}").into(), depth))
    }
}
