//! Dependency injection: a [`Factory`] builds daemons with what they depend on. It has one owner and no locks.
//!
//! What always holds: a type is built once per factory; slots are in dependency order; an ancestor's daemon is shared only
//! if none of its dependencies was replaced in between; nothing is added to a started factory.

mod asking; // a request resolves to a daemon: the factory's own, a shared one, or a new one
mod building; // the construction stack
mod sharing; // children, and what they share
mod refusing; // requests that contradict earlier ones

mod validating; // all errors of an assembly at once
mod recipes; // daemons built by a closure
mod ordering; // order without a dependency
mod bound; // daemons behind traits, decorators, and groups of them
mod named; // several daemons of one type
mod policies; // per-daemon policies
mod configuring; // configuration
mod values; // plain shared values
mod slots; // where built daemons are stored

mod graph; // the dependency graph as a picture
mod node; // the frozen factory, handed over to the lifecycle
mod running; // the handle to a started factory

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::control::{Settings, SlotId};
use crate::daemon::ErasedDaemon;
use crate::driver::{Driver, WorldDriver};
use crate::label::Label;
use crate::{Daemon, DaemonRef, Deadlines, HealthChecks, World};

use bound::Traits;
use building::Frame;
pub use graph::Graph;
pub(crate) use node::{Assembled, Dismantled, Node};
use policies::Policies;
pub(crate) use running::Handles;
pub use running::RunningFactory;
pub(crate) use slots::Key;
use slots::{Lookup, Shared, Slots};
use validating::Collected;
pub(crate) use validating::Missing;
pub use validating::{AssemblyError, AssemblyErrorKind, AssemblyErrors};
use values::Values;

/// The limit for nested factories, and for the length of a dependency chain under construction.
pub const DEPTH_MAX: usize = 128;

/// Builds daemons with their dependencies, then [starts](Factory::start) them.
///
/// A failed [`get`](Factory::get) can be retried, and what was completed before it stays built. The exception: if a daemon
/// handled the failure and was built without the dependency, that dependency cannot be built in this factory any more.
/// So no two daemons of a factory disagree on what exists.
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
///     // A child shares its parent's daemons, except those that depend on something it replaces.
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
    settings: Arc<Settings>,
    drain: Duration,
    policies: Policies,
    /// The parent first. Held only until the start.
    ancestors: Vec<Arc<Node>>,
    /// The parent's daemon whose scope made this.
    maker: Option<SlotId>,
    // Before the slots, so that these refs are dropped before the daemons are.
    traits: Traits,
    slots: Slots,
    shared: Vec<Shared>,
    lookup: Lookup,
    values: Values,
    /// Daemons that were looked up and not found, and by which daemon.
    absent: BTreeMap<Key, Label>,
    /// The errors so far, while it is validated.
    collected: Option<Box<Collected>>,
    /// The construction stack: the setup, then the daemons under construction, innermost last.
    stack: Vec<Frame>,
}
impl Factory {
    /// The factory at the top. It provides the world's clock, network, entropy and spawner as daemons.
    pub fn root<W: World>(name: &str, world: W) -> Factory {
        let driver = Arc::new(WorldDriver::new(&world));
        let mut factory = Self::new(name.into(), driver, Arc::default(), Values::default());
        factory.supply(world);
        factory
    }

    /// Sets the deadlines for starting and stopping this factory. Its children inherit them.
    pub fn deadlines(&mut self, deadlines: Deadlines) {
        Arc::make_mut(&mut self.settings).deadlines = deadlines;
    }

    /// Sets how often daemons are asked for their [health](crate::Health), and how long they may take to answer. Its children
    /// inherit it.
    pub fn health_checks(&mut self, checks: HealthChecks) {
        Arc::make_mut(&mut self.settings).health_checks = checks;
    }

    /// Sets for how long a stop goes on serving, before the first daemon is told to stop; by default not at all.
    ///
    /// A load balancer learns only after a while that an instance goes away, and sends requests until then. So a requested stop
    /// *drains* first: the factory is not [ready](crate::FactoryHealth) any more, its state is
    /// [`Draining`](crate::State::Draining), [`Scope::draining`](crate::Scope::draining) resolves, and all else goes on for this
    /// long. Then the stop runs in its order.
    ///
    /// A factory whose daemons have all finished ends while it drains, too, unless it
    /// [remains](Factory::remain_when_finished): nobody is left to serve.
    ///
    /// # Order
    /// All factories below drain with it, and children can be made until the drain is over. A child that ends because its
    /// parent stops does not drain by itself; one that is stopped alone does, if this was set for it. Children do not inherit it.
    ///
    /// A failure, an ancestor's stop, the drop of the last handle, and
    /// [`stop_at_once`](crate::RunningFactory::stop_at_once) drain not, or no longer. A start that is stopped before its end does
    /// not drain either.
    ///
    /// # Example
    /// ```
    /// use std::sync::Arc;
    /// use std::time::Duration;
    /// use steelmill_core::{Clock, Daemon, Factory, Result, Scope};
    ///
    /// struct Gateway;
    ///
    /// impl Daemon for Gateway {
    ///     fn build(_: &mut Factory) -> Result<Self> {
    ///         Ok(Gateway)
    ///     }
    ///
    ///     async fn run(self: &Arc<Self>, scope: &Scope) -> Result {
    ///         scope.draining().await;
    ///         // From here on, answer with `Connection: close`.
    ///         scope.stopping().await;
    ///         Ok(())
    ///     }
    /// }
    ///
    /// steelmill_sim::check(steelmill_sim::Seed(1), |sim| async move {
    ///     let mut factory = Factory::root("demo", sim.world());
    ///     factory.drain(Duration::from_secs(5));
    ///     factory.with::<Gateway>()?;
    ///     let demo = factory.start().await?;
    ///     let begun = sim.clock().now();
    ///     assert!(demo.stop().await.is_clean());
    ///     assert_eq!(sim.clock().now() - begun, Duration::from_secs(5));
    ///     Ok(())
    /// });
    /// ```
    pub fn drain(&mut self, time: Duration) {
        self.drain = time;
    }

    /// The names of its ancestors and its own: `demo/lease-7`.
    pub fn path(&self) -> &str {
        &self.path
    }
}

impl Factory {
    pub(crate) fn shared_path(&self) -> Arc<str> {
        self.path.clone()
    }

    fn new(path: Arc<str>, driver: Arc<dyn Driver>, settings: Arc<Settings>, values: Values) -> Factory {
        let setup = Frame { label: Label::Borrowed("the setup"), ..Frame::default() };
        // For the setup and a daemon: many children have but one.
        let mut stack = Vec::with_capacity(2);
        stack.push(setup);
        Factory {
            path,
            driver,
            settings,
            drain: Duration::ZERO,
            policies: Policies::default(),
            ancestors: Vec::new(),
            maker: None,
            traits: Traits::default(),
            slots: Slots::default(),
            shared: Vec::new(),
            lookup: Lookup::new(),
            values,
            absent: BTreeMap::new(),
            collected: None,
            stack,
        }
    }
}

impl fmt::Debug for Factory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Factory({})", self.path)
    }
}

fn reference<T: Daemon>(daemon: &dyn ErasedDaemon) -> &DaemonRef<T> {
    let daemon = daemon.reference().downcast_ref();
    daemon.expect("a daemon is found by its type")
}
