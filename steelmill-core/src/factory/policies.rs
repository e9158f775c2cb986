//! What holds for single daemons, and for the factory as its parent sees it: said while assembling.

use std::any::TypeId;
use std::collections::BTreeMap;

use super::Factory;
use super::slots::Held;
use crate::{Daemon, DaemonRef, Policy};

#[derive(Default)]
pub(crate) struct Policies {
    /// By the type of the ref.
    of: BTreeMap<TypeId, Policy>,
    /// A failure of the factory is one of its parent's.
    pub(crate) escalates: bool,
}

impl Policies {
    pub(crate) fn of(&self, daemon: &dyn Held) -> Policy {
        if self.of.is_empty() {
            return Policy::default(); // as in most children
        }
        self.of.get(&daemon.reference().type_id()).copied().unwrap_or_default()
    }
}

impl Factory {
    /// Sets what holds for the daemons of this type, whatever their names, that this factory builds or is provided: what
    /// a failure leads to, and how long they may take. The last call counts; a daemon may make it for itself while it is
    /// built.
    ///
    /// An ancestor's daemon that is shared keeps what holds there; children begin without any.
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
    ///     factory.policy::<Gateway>(Policy::run_again(Backoff::default()));
    ///     factory.with::<Gateway>()
    /// }
    /// ```
    pub fn policy<T: Daemon>(&mut self, policy: Policy) {
        self.policies.of.insert(TypeId::of::<DaemonRef<T>>(), policy);
    }

    /// Makes a failure of this factory, once it has started, a failure of its parent: the parent stops, and its report
    /// names this one by its path. Without it a child's failures are its own: its handle tells of them, and the log if
    /// nobody asks.
    ///
    /// Every end with failures counts, that of a child which vanished with its machine or runtime, and one that
    /// somebody asked for, too. A start that fails is told to whoever starts it. Changes nothing in a root.
    pub fn escalate(&mut self) {
        self.policies.escalates = true;
    }
}
