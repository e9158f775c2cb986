//! The handle to a started factory.
//!
//! Its daemons never move or change, so a lookup takes no lock, allocates nothing and writes nothing.

use std::fmt;
use std::future::Future;
use std::sync::{Arc, Weak};

use anyhow::{anyhow, bail};

use super::node::Node;
use super::slots::{AsKey, Key, Known, Named, Place};
use super::{Factory, bound, reference};
use crate::control::{Control, Event, Events};
use crate::label::{Label, label};
use crate::{Changes, Daemon, DaemonRef, HealthWatch, Report, Result, Status, World};

/// A handle to a started factory. Cheap to clone and to send around.
///
/// Dropping the last handle stops the factory, with a warning in the log, because its report is lost. Prefer
/// [`stop`](RunningFactory::stop).
#[derive(Clone)]
pub struct RunningFactory {
    node: Arc<Node>,
    /// Kept for its drop.
    handles: Arc<Handles>,
}

impl RunningFactory {
    pub(crate) fn new(node: Arc<Node>) -> Self {
        let handles = Handles(node.control.events.clone());
        RunningFactory { node, handles: Arc::new(handles) }
    }

    /// One more handle, as long as there are others.
    pub(crate) fn upgrade(node: &Arc<Node>, handles: &Weak<Handles>) -> Option<Self> {
        Some(RunningFactory { handles: handles.upgrade()?, node: node.clone() })
    }

    pub(crate) fn downgrade(&self) -> Weak<Handles> {
        Arc::downgrade(&self.handles)
    }

    /// The name of a daemon of its own in reports.
    pub(crate) fn own_label(&self, key: &Key) -> Option<&Label> {
        Some(&self.node.slots.get(self.node.own_slot(key)?).label)
    }

    pub(crate) fn control(&self) -> &Arc<Control> {
        &self.node.control
    }

    /// The names of its ancestors and its own: `demo/lease-7`.
    pub fn path(&self) -> &str {
        &self.node.control.path
    }

    /// The daemon of this type, own or shared.
    ///
    /// Takes no lock, allocates nothing and writes nothing, if there is one.
    ///
    /// # Errors
    /// When nothing requested one before the start.
    pub fn get<T: Daemon>(&self) -> Result<&DaemonRef<T>> {
        self.find(self.node.lookup.get(&Key::daemon::<T>()), label::<T>)
    }

    /// The daemon of this type and name, own or shared.
    ///
    /// Takes no lock, allocates nothing and writes nothing, if there is one.
    ///
    /// # Errors
    /// When nothing requested one before the start.
    pub fn get_named<T: Daemon>(&self, name: &str) -> Result<&DaemonRef<T>> {
        let key: &dyn AsKey = &Named::daemon::<T>(name);
        self.find(self.node.lookup.get(key), || Key::named::<T>(name).label::<T>())
    }

    /// The daemon [bound](Factory::bind) as the trait `I`.
    ///
    /// Takes no lock, allocates nothing and writes nothing, if there is one.
    ///
    /// # Errors
    /// When nothing requested one before the start.
    pub fn get_dyn<I: ?Sized + Send + Sync + 'static>(&self) -> Result<&DaemonRef<I>> {
        let none = || anyhow!("{}: {} was not requested before the start", self.path(), label::<I>());
        bound::bound(&self.node.traits).ok_or_else(none)
    }

    /// The members of the [group](Factory::group) of the trait `I`, in its order.
    ///
    /// Takes no lock, allocates nothing and writes nothing, if there is one.
    ///
    /// # Errors
    /// When nothing requested the group before the start.
    pub fn group<I: ?Sized + Send + Sync + 'static>(&self) -> Result<&[DaemonRef<I>]> {
        let none = || {
            let (path, label) = (self.path(), label::<I>());
            anyhow!("{path}: the group of {label} was not requested before the start")
        };
        bound::group(&self.node.traits).map(Vec::as_slice).ok_or_else(none)
    }

    /// The value of this type: the factory's own, else the nearest ancestor's.
    ///
    /// Takes no lock, allocates nothing and writes nothing, if there is one.
    ///
    /// # Errors
    /// When there is none.
    pub fn value<V: Send + Sync + 'static>(&self) -> Result<&Arc<V>> {
        (self.node.values.get())
            .ok_or_else(|| anyhow!("{}: no value of type {} was provided", self.path(), label::<V>()))
    }

    /// A child factory: it shares this factory's daemons, and stops before every daemon it shares.
    ///
    /// # Errors
    /// When this factory is stopping or has ended; when factories are nested more than
    /// [`DEPTH_MAX`](crate::DEPTH_MAX) deep.
    pub fn child(&self, name: &str) -> Result<Factory> {
        Factory::child(name, self.node.clone(), None)
    }

    /// A child factory in a world of its own, such as a machine of a simulated cluster: with its own clock, network,
    /// entropy and tasks. Daemons that depend on any of the parent's are built anew there.
    ///
    /// # Errors
    /// As [`child`](RunningFactory::child).
    pub fn child_in<W: World>(&self, name: &str, world: W) -> Result<Factory> {
        Factory::child_in(name, self.node.clone(), None, world)
    }

    /// Asks the factory to stop, and returns at once.
    pub fn request_stop(&self) {
        self.node.control.request_stop();
    }

    /// As [`request_stop`](RunningFactory::request_stop), but without draining; ends a drain that has begun.
    pub fn stop_at_once(&self) {
        self.node.control.stop_at_once();
    }

    /// Waits for the end of the factory, for whatever reason. The future counts as a handle, so the factory is not stopped
    /// for lack of one; but it does not keep the daemons in memory.
    ///
    /// # Cancellation
    /// Dropping the future drops the handle.
    pub fn join(self) -> impl Future<Output = Arc<Report>> + Send + 'static {
        let RunningFactory { node, handles } = self;
        let ended = node.control.ended();
        drop(node);
        async move {
            let report = ended.await;
            drop(handles);
            report
        }
    }

    /// The current state of each daemon, of the factory and of all factories below it. `None` once it has ended.
    ///
    /// Each factory of the tree answers for itself. One on a paused machine answers when that resumes, so use a
    /// [`timeout`](crate::Clock::timeout) where machines may be paused.
    ///
    /// # Cancellation
    /// Dropping the future has no effect.
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
        self.node.control.status()
    }

    /// Subscribes to the health of the factory: whether it is ready and live, and why not. From the first call on its daemons
    /// are asked, which is why this costs something while [`status`](RunningFactory::status) does not.
    pub fn health(&self) -> HealthWatch {
        self.node.control.health()
    }

    /// Subscribes to all changes of state and health, here and in all factories below. For the state before, call
    /// [`status`](RunningFactory::status) after this.
    ///
    /// A slow reader loses changes: see [`Changes::missed`].
    pub fn changes(&self) -> Changes {
        self.node.control.changes()
    }

    /// Waits for the end of the factory, for whatever reason.
    ///
    /// # Cancellation
    /// Dropping the future has no effect.
    pub fn ended(&self) -> impl Future<Output = Arc<Report>> + Send + 'static {
        self.node.control.ended()
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

/// Shared by all handles to a factory; dropped with the last one, which notifies the supervisor.
pub(crate) struct Handles(Events);

impl Drop for Handles {
    fn drop(&mut self) {
        let _ = self.0.send(Event::HandlesDropped);
    }
}
