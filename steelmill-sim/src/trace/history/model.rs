//! Sequential specification: the replies of one correct copy of an object, against which a history is checked.

use std::fmt::Debug;
use std::hash::Hash;

/// A sequential specification, implemented by the state of one object: the state determines the allowed replies.
///
/// The hints [`is_read`](Model::is_read) and [`is_overwrite`](Model::is_overwrite) only speed up the search. A wrong
/// one makes verdicts wrong; leave the default when in doubt.
///
/// ```
/// use steelmill_sim::history::{History, Model, Verdict};
/// use std::time::Duration;
///
/// /// Numbers from a dispenser: each is handed out once, in order.
/// #[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
/// struct Dispenser(u64);
///
/// impl Model for Dispenser {
///     type Op = ();
///     type Ret = u64;
///     fn step(&self, (): &(), ticket: Option<&u64>) -> Option<Self> {
///         ticket.is_none_or(|ticket| *ticket == self.0).then_some(Dispenser(self.0 + 1))
///     }
/// }
///
/// let tickets = History::<Dispenser>::default();
/// for client in ["client-1", "client-2"] {
///     tickets.invoke(Duration::ZERO, client, "queue", ()).returned(Duration::ZERO, 0);
/// }
/// assert!(matches!(tickets.check(), Verdict::NotLinearizable(_))); // the same ticket twice
/// ```
pub trait Model: Clone + Eq + Hash + Debug {
    /// An operation that a client invokes. Equal operations have equal effects.
    type Op: PartialEq + Debug;
    /// The reply to an operation.
    type Ret: PartialEq + Debug;

    /// The state after `op`, or `None` if `op` cannot reply `ret` in this state.
    ///
    /// `ret` is `None` if the outcome is unknown; then any reply is allowed.
    fn step(&self, op: &Self::Op, ret: Option<&Self::Ret>) -> Option<Self>;

    /// Whether an operation with this reply leaves each state unchanged in which it is possible.
    fn is_read(_op: &Self::Op, _ret: Option<&Self::Ret>) -> bool {
        false
    }

    /// Whether an operation with this reply is possible in every state, and leads to the same state from each.
    fn is_overwrite(_op: &Self::Op, _ret: Option<&Self::Ret>) -> bool {
        false
    }

    /// An operation as report text, without a reply if the outcome is unknown: `SET a "4"`, `GET a -> "3"`.
    fn describe(key: &str, op: &Self::Op, ret: Option<&Self::Ret>) -> String {
        match ret {
            Some(ret) => format!("{op:?} on {key} -> {ret:?}"),
            None => format!("{op:?} on {key}"),
        }
    }
}
