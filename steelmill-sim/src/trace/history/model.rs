//! What one correct copy of an object would answer: the specification a history is held against.

use std::fmt::Debug;
use std::hash::Hash;

/// A sequential object, as its state: what it is before an operation decides what the operation may answer.
///
/// The two hints only ever save work, and a wrong one makes verdicts wrong; leave them out when in doubt.
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
    /// What a client asks for. Equal operations have equal effects.
    type Op: PartialEq + Debug;
    /// What it is answered.
    type Ret: Debug;

    /// The state after `op`, or `None` if `op` could not have been answered with `ret` in this state.
    ///
    /// Without a `ret` the outcome is unknown, and any answer will do.
    fn step(&self, op: &Self::Op, ret: Option<&Self::Ret>) -> Option<Self>;

    /// Whether an operation with this answer leaves every state as it was in which it is possible.
    fn is_read(_op: &Self::Op, _ret: Option<&Self::Ret>) -> bool {
        false
    }

    /// Whether an operation with this answer is possible in every state, and leads from each to the same.
    fn is_overwrite(_op: &Self::Op, _ret: Option<&Self::Ret>) -> bool {
        false
    }

    /// One operation in a report, with no answer if its outcome is unknown: `SET a "4"`, `GET a -> "3"`.
    fn describe(key: &str, op: &Self::Op, ret: Option<&Self::Ret>) -> String {
        match ret {
            Some(ret) => format!("{op:?} on {key} -> {ret:?}"),
            None => format!("{op:?} on {key}"),
        }
    }
}
