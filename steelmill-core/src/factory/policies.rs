//! Policies of single daemons, and whether a failure escalates to the parent.

use std::any::TypeId;
use std::collections::BTreeMap;

use super::Factory;
use crate::daemon::ErasedDaemon;
use crate::{Daemon, DaemonRef, Policy};

#[derive(Default)]
pub(crate) struct Policies {
    /// By the `TypeId` of the `DaemonRef`.
    of: BTreeMap<TypeId, Policy>,
    /// A failure of the factory is a failure of its parent.
    pub(crate) escalates: bool,
}

impl Policies {
    pub(crate) fn of(&self, daemon: &dyn ErasedDaemon) -> Policy {
        if self.of.is_empty() {
            return Policy::default(); // as in most children
        }
        self.of.get(&daemon.reference().type_id()).copied().unwrap_or_default()
    }
}

impl Factory {
    /// Sets the restart policy and timeouts of this factory's own daemons of this type, under every name. The last call
    /// counts; a daemon may set its own policy in `build`.
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

    /// Makes a failure of this factory, after its start, a failure of its parent: the parent stops, and its report names
    /// this factory. Otherwise a child's failures are only in its own report, which is logged if nobody reads it.
    ///
    /// Every end with failures counts, also after a requested stop, and when the child's machine or runtime went away. A
    /// failed start is returned to the caller only. Has no effect on a root.
    pub fn escalate(&mut self) {
        self.policies.escalates = true;
    }
}
