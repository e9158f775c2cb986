//! The handle to a started factory.
//!
//! Built daemons never move or change, so looking one up takes no lock, allocates nothing and writes nothing.

use std::fmt;
use std::future::Future;
use std::sync::Arc;

use anyhow::{anyhow, bail};

use super::node::Node;
use super::slots::{AsKey, Key, Known, Named, Place};
use super::{Factory, bound, reference};
use crate::daemon::{Label, label};
use crate::lifecycle::{Event, Events};
use crate::{Changes, Daemon, DaemonRef, Report, Result, Status, World};

/// A handle to a started factory. Cheap to clone and to send around.
///
/// Dropping the last handle stops the factory, with a warning in the log: [`stop`](RunningFactory::stop) tells how it
/// went, dropping cannot.
#[derive(Clone)]
pub struct RunningFactory {
    node: Arc<Node>,
    /// Only dropped.
    handles: Arc<Handles>,
}

impl RunningFactory {
    pub(crate) fn new(node: Arc<Node>) -> Self {
        let handles = Handles(node.hub.events.clone());
        RunningFactory { node, handles: Arc::new(handles) }
    }

    /// The factory's name behind those of its ancestors: `demo/lease-7`.
    pub fn path(&self) -> &str {
        &self.node.hub.path
    }

    /// The daemon of this type: one of this factory, or one that it shares with an ancestor.
    ///
    /// Takes no lock, allocates nothing and writes nothing when there is one.
    ///
    /// # Errors
    /// When nobody asked for one while the factory was assembled.
    pub fn get<T: Daemon>(&self) -> Result<&DaemonRef<T>> {
        self.find(self.node.lookup.get(&Key::daemon::<T>()), label::<T>)
    }

    /// The daemon of this type and name: one of this factory, or one that it shares with an ancestor.
    ///
    /// Takes no lock, allocates nothing and writes nothing when there is one.
    ///
    /// # Errors
    /// When nobody asked for one while the factory was assembled.
    pub fn get_named<T: Daemon>(&self, name: &str) -> Result<&DaemonRef<T>> {
        let key: &dyn AsKey = &Named::daemon::<T>(name);
        self.find(self.node.lookup.get(key), || Key::named::<T>(name).label::<T>())
    }

    /// The daemon that was handed out as the trait `I`, which is [bound](Factory::bind) to it.
    ///
    /// Takes no lock, allocates nothing and writes nothing when there is one.
    ///
    /// # Errors
    /// When nobody asked for one while the factory was assembled.
    pub fn get_dyn<I: ?Sized + Send + Sync + 'static>(&self) -> Result<&DaemonRef<I>> {
        let none = || anyhow!("{}: nobody asked for {} while it was assembled", self.path(), label::<I>());
        bound::bound(&self.node.traits).ok_or_else(none)
    }

    /// The daemons of the [group](Factory::group) of the trait `I`, in its order.
    ///
    /// Takes no lock, allocates nothing and writes nothing when there are any.
    ///
    /// # Errors
    /// When nobody asked for the group while the factory was assembled.
    pub fn group<I: ?Sized + Send + Sync + 'static>(&self) -> Result<&[DaemonRef<I>]> {
        let none = || {
            let (path, label) = (self.path(), label::<I>());
            anyhow!("{path}: nobody asked for the group of {label} while it was assembled")
        };
        bound::group(&self.node.traits).map(Vec::as_slice).ok_or_else(none)
    }

    /// The value of this type: the factory's own, else the nearest ancestor's.
    ///
    /// Takes no lock, allocates nothing and writes nothing when there is one.
    ///
    /// # Errors
    /// When there is none.
    pub fn value<V: Send + Sync + 'static>(&self) -> Result<&Arc<V>> {
        (self.node.values.get())
            .ok_or_else(|| anyhow!("{}: no value of type {} was provided", self.path(), label::<V>()))
    }

    /// A child factory: a lifetime inside this one. It shares this factory's daemons, and stops before any daemon it
    /// shares does.
    ///
    /// # Errors
    /// When this factory is stopping or has ended; when factories are nested more than
    /// [`DEPTH_MAX`](crate::DEPTH_MAX) deep.
    pub fn child(&self, name: &str) -> Result<Factory> {
        Factory::child(name, self.node.clone(), None)
    }

    /// A child factory in a place of its own, such as a machine of a simulated cluster: with its own clock, network,
    /// entropy and tasks. What this factory built from its own is built anew there.
    ///
    /// # Errors
    /// As [`child`](RunningFactory::child).
    pub fn child_in<W: World>(&self, name: &str, world: W) -> Result<Factory> {
        Factory::child_in(name, self.node.clone(), None, world)
    }

    /// Asks the factory to stop, and returns at once.
    pub fn request_stop(&self) {
        self.node.hub.request_stop();
    }

    /// Stops the factory and waits for its end. However often and from wherever it is asked to stop, there is one
    /// stop, and everybody gets its one report.
    ///
    /// # Order
    /// Daemons stop in reverse order of their dependencies, each after everything that depends on it has ended. So a
    /// daemon must not wait for the end of its own factory: that waits for the daemon. It asks for it, with
    /// [`Scope::request_stop`](crate::Scope::request_stop).
    ///
    /// # Cancellation
    /// The stop begins with the call. Dropping the future does not cancel it.
    pub fn stop(self) -> impl Future<Output = Arc<Report>> + Send + 'static {
        let hub = self.node.hub.clone();
        let ended = hub.ended();
        // The handle goes before the stop begins, so that the supervisor does not find it held.
        hub.set_stopping();
        drop(self);
        hub.request_stop();
        ended
    }

    /// Waits until the factory has ended, for whatever reason, without holding it: the daemons are dropped as if this
    /// handle were gone. But it counts as a handle, so the factory is not stopped for the want of one.
    ///
    /// # Cancellation
    /// Dropping the future drops the handle.
    pub fn join(self) -> impl Future<Output = Arc<Report>> + Send + 'static {
        let RunningFactory { node, handles } = self;
        let ended = node.hub.ended();
        drop(node);
        async move {
            let report = ended.await;
            drop(handles);
            report
        }
    }

    /// How the factory stands at this moment, with its daemons and its children, all the way down. `None` once it has
    /// ended.
    ///
    /// Each factory of the tree is asked for its own part. One on a machine that stands still answers when it goes on,
    /// so give it a [`timeout`](crate::Clock::timeout) where machines may be paused.
    ///
    /// # Cancellation
    /// Dropping the future changes nothing.
    ///
    /// # Example
    /// ```
    /// # use steelmill_core::{Daemon, Factory, Result, State};
    /// # struct Gateway;
    /// # impl Daemon for Gateway {
    /// #     fn build(_: &mut Factory) -> Result<Self> { Ok(Gateway) }
    /// # }
    /// # steelmill_sim::check(steelmill_sim::Seed(1), |sim| async move {
    /// let mut factory = Factory::root("demo", sim.world());
    /// factory.with::<Gateway>()?;
    /// let demo = factory.start().await?;
    /// let status = demo.status().await.expect("it has not ended");
    /// assert_eq!(status.to_string(), "demo: running for 0ns\n  Gateway: running for 0ns");
    /// assert_eq!(status.daemons[0].state, State::Running);
    /// # demo.stop().await;
    /// # Ok(())
    /// # });
    /// ```
    pub fn status(&self) -> impl Future<Output = Option<Status>> + Send + 'static {
        self.node.hub.status()
    }

    /// What changes from now on, here and in all children: which daemon does what since when. For how things stand
    /// already, ask for the [`status`](RunningFactory::status) after this call.
    ///
    /// Nobody waits for whoever reads: see [`Changes::missed`].
    pub fn changes(&self) -> Changes {
        self.node.hub.changes()
    }

    /// Waits until the factory has ended, for whatever reason.
    ///
    /// # Cancellation
    /// Dropping the future changes nothing.
    pub fn ended(&self) -> impl Future<Output = Arc<Report>> + Send + 'static {
        self.node.hub.ended()
    }
}

impl RunningFactory {
    fn find<T: Daemon>(&self, known: Option<&Known>, label: impl FnOnce() -> Label) -> Result<&DaemonRef<T>> {
        match known.map(|known| known.place) {
            Some(Place::Own(slot)) => Ok(reference(&*self.node.slots.get(slot).daemon)),
            Some(Place::Shared(index)) => Ok(reference(&*self.node.shared[index as usize].daemon)),
            None => {
                let own: Vec<_> = self.node.slots.iter().map(|(_, slot)| &*slot.label).collect();
                bail!("{} has no {}; its own daemons are: {}", self.path(), label(), own.join(", "))
            }
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
