//! Policies of single daemons, and whether a failure escalates to the parent.

use std::any::TypeId;
use std::collections::BTreeMap;

use super::Factory;
use super::slots::Key;
use crate::daemon::ErasedDaemon;
use crate::{Daemon, DaemonRef, Policy};

#[derive(Default)]
pub(crate) struct Policies {
    /// By the `TypeId` of the `DaemonRef`, under every name.
    of: BTreeMap<TypeId, Policy>,
    /// Of one daemon, by its type and name.
    named: BTreeMap<Key, Policy>,
    /// A failure of the factory is a failure of its parent.
    pub(crate) escalates: bool,
    /// The factory goes on when all of its daemons have finished.
    pub(crate) remains: bool,
}

impl Policies {
    pub(crate) fn of(&self, key: &Key, daemon: &dyn ErasedDaemon) -> Policy {
        if self.of.is_empty() && self.named.is_empty() {
            return Policy::default(); // as in most children
        }
        let of_type = || self.of.get(&daemon.reference().type_id());
        self.named.get(key).or_else(of_type).copied().unwrap_or_default()
    }
}

impl Factory {
    /// Sets the restart policy and timeouts of this factory's own daemons of this type, under every name that has none
    /// [of its own](Factory::policy_named). The last call counts; a daemon may set its own policy in `build`.
    ///
    /// Shared daemons keep the policy of their owner; children inherit none.
    ///
    /// # Example
    /// ```
    /// use steelmill_core::{Backoff, Daemon, Factory, Policy, Result};
    ///
    /// struct Gateway;
    ///
    /// impl Daemon for Gateway {
    ///     fn build(_: &mut Factory) -> Result<Self> {
    ///         Ok(Self)
    ///     }
    /// }
    ///
    /// fn setup(factory: &mut Factory) -> Result {
    ///     factory.policy::<Gateway>(Policy::restart(Backoff::default()));
    ///     factory.with::<Gateway>()
    /// }
    /// ```
    pub fn policy<T: Daemon>(&mut self, policy: Policy) {
        self.policies.of.insert(TypeId::of::<DaemonRef<T>>(), policy);
    }

    /// Like [`policy`](Factory::policy), for the daemon of this type and name alone. It takes precedence, whichever is called
    /// first.
    ///
    /// # Example
    /// ```
    /// use steelmill_core::{Backoff, Daemon, Factory, Policy, Result};
    ///
    /// struct Store;
    ///
    /// impl Daemon for Store {
    ///     fn build(_: &mut Factory) -> Result<Self> {
    ///         Ok(Self)
    ///     }
    /// }
    ///
    /// fn setup(factory: &mut Factory) -> Result {
    ///     factory.policy_named::<Store>("cache", Policy::restart(Backoff::default()));
    ///     factory.with_named::<Store>("cache")?;
    ///     factory.with_named::<Store>("ledger") // the factory stops when this one fails
    /// }
    /// # steelmill_sim::check(steelmill_sim::Seed(1), |sim| async move {
    /// #     let mut factory = Factory::root("demo", sim.world());
    /// #     setup(&mut factory)
    /// # });
    /// ```
    pub fn policy_named<T: Daemon>(&mut self, name: &str, policy: Policy) {
        self.policies.named.insert(Key::named::<T>(name), policy);
    }

    /// Keeps the factory running when all of its daemons have finished, as systemd's `RemainAfterExit=` does
    /// ([systemd.service(5)](https://www.freedesktop.org/software/systemd/man/latest/systemd.service.html)).
    ///
    /// Otherwise a factory stops by itself, without a failure, as soon as the `run` of each of its daemons has returned `Ok`
    /// and no task and no child is left. A daemon that has failed and was [left down](crate::OnFailure::LeaveDown)
    /// counts as finished if another one has finished. A daemon that was [stopped by request](crate::RunningFactory::stop_daemon),
    /// or that restarts, has not finished; and a factory without daemons has nothing that could finish. Children do not
    /// inherit this.
    ///
    /// # Example
    /// ```
    /// use std::sync::Arc;
    /// use steelmill_core::{Daemon, Factory, Result, Scope};
    ///
    /// struct Migration;
    ///
    /// impl Daemon for Migration {
    ///     fn build(_: &mut Factory) -> Result<Self> {
    ///         Ok(Self)
    ///     }
    ///     async fn run(self: &Arc<Self>, _: &Scope) -> Result {
    ///         Ok(()) // done
    ///     }
    /// }
    ///
    /// steelmill_sim::check(steelmill_sim::Seed(1), |sim| async move {
    ///     let mut factory = Factory::root("job", sim.world());
    ///     factory.with::<Migration>()?;
    ///     assert!(factory.start().await?.join().await.is_clean());
    ///
    ///     let mut factory = Factory::root("service", sim.world());
    ///     factory.with::<Migration>()?;
    ///     factory.remain_when_finished();
    ///     let service = factory.start().await?; // until it is stopped
    ///     assert!(service.stop().await.is_clean());
    ///     Ok(())
    /// });
    /// ```
    pub fn remain_when_finished(&mut self) {
        self.policies.remains = true;
    }

    /// Makes a failure of this factory, after its start, a failure of its parent: the parent stops, and its report names
    /// this factory. Otherwise a child's failures are only in its own report, which is logged if nobody reads it.
    ///
    /// Every end with failures counts, also after a requested stop, and when the child's machine or runtime went away. A
    /// failed start is returned to the caller only. Has no effect on a root.
    pub fn escalate(&mut self) {
        self.policies.escalates = true;
    }
}
