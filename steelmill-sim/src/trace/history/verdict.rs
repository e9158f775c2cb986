//! Verdict of a linearizability check over all keys.

use std::collections::BTreeMap;
use std::time::Duration;

use super::linearizability::{self, Found, search};
use super::{Log, Model, Outcome, Record, explain};

/// The maximum number of model applications for one key before the check gives up: about a second.
pub(super) const STEPS: u64 = 2_000_000;

/// The result of [`History::check`](super::History::check).
#[derive(Clone, PartialEq, Eq, Debug)]
#[must_use]
pub enum Verdict {
    /// Each key has an order that explains all replies.
    Linearizable,
    /// Some key has no such order. Of several keys, the one whose violation occurred first.
    NotLinearizable(Box<Violation>),
    /// No violation was found, and the search gave up on at least one key: not a pass.
    Undecided(Undecided),
}

impl Verdict {
    /// Whether the history was shown to be linearizable.
    pub fn is_linearizable(&self) -> bool {
        matches!(self, Verdict::Linearizable)
    }

    /// Converts the verdict for use with `?`.
    ///
    /// # Errors
    /// The verdict itself, unless the history was shown to be linearizable.
    pub fn into_result(self) -> Result<(), Verdict> {
        if self.is_linearizable() { Ok(()) } else { Err(self) }
    }
}

/// A minimized set of operations on one key that is not linearizable.
///
/// The essential operations contradict each other whatever the outcomes of all other operations on the key. The set is
/// minimal: if the outcome of any one of them were unknown, the rest would be linearizable.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Violation {
    /// The key.
    pub key: String,
    /// The operations, in the order of their invocation.
    pub operations: Vec<Operation>,
    /// The index in `operations` of the one that cannot be ordered: its return made the history non-linearizable.
    pub offender: usize,
    /// The last operation after which the offender would fit: for a stale read, the write whose value it returned.
    pub source: Option<usize>,
    /// A valid order of the others: indices into `operations`.
    pub order: Vec<usize>,
    /// The key's state after `order`, which the offender's reply contradicts.
    pub state: String,
    /// The number of operations recorded on this key.
    pub recorded: usize,
}

/// An operation in a report.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Operation {
    /// The client that invoked it.
    pub client: String,
    /// Operation and reply: `GET a -> "3"`.
    pub what: String,
    /// Virtual time of its invocation.
    pub invoked: Duration,
    /// Virtual time of its return; `None` if the outcome is unknown.
    pub returned: Option<Duration>,
    /// Whether it is part of the contradiction. If not, it is the source, or part of the order.
    pub essential: bool,
    /// Sequence numbers of its invocation and its return in the order of recording.
    pub(super) span: (usize, Option<usize>),
    /// Its number in the run's trace, if the run is traced.
    pub(super) number: Option<u32>,
}

/// A key on which the search gave up: its operations allow too many orders.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Undecided {
    /// The key.
    pub key: String,
    /// The number of operations recorded on it.
    pub recorded: usize,
    /// The number of those with an unknown outcome.
    pub open: usize,
    /// The number of model applications before giving up.
    pub steps: u64,
}

pub(super) fn judge<M: Model>(log: &Log<M>, steps: u64) -> Verdict {
    let mut keys = BTreeMap::<&str, Vec<&Record<M>>>::new();
    for record in &log.records {
        keys.entry(&record.key).or_default().push(record);
    }
    let mut undecided = None;
    let mut violations = Vec::new();
    for (key, mut records) in keys {
        records.retain(|record| !matches!(record.outcome, Outcome::Failed));
        let operations: Vec<_> = records.iter().map(|record| operation(record)).collect();
        match search(&log.initial, &operations, &mut { steps }) {
            Found::Order => {}
            Found::OutOfSteps => {
                let open = operations.iter().filter(|operation| operation.returned.is_none()).count();
                undecided.get_or_insert(Undecided { key: key.into(), recorded: records.len(), open, steps });
            }
            Found::NoOrder(dead_end) => violations.push((records, operations, dead_end)),
        }
    }
    let first =
        violations.into_iter().min_by_key(|(_, operations, dead_end)| operations[dead_end.blocked].returned);
    match (first, undecided) {
        (Some((records, operations, dead_end)), _) => {
            let violation = explain::violation(&log.initial, &records, &operations, dead_end, steps);
            Verdict::NotLinearizable(Box::new(violation))
        }
        (None, Some(undecided)) => Verdict::Undecided(undecided),
        (None, None) => Verdict::Linearizable,
    }
}

fn operation<M: Model>(record: &Record<M>) -> linearizability::Operation<'_, M> {
    let (returned, ret) = match &record.outcome {
        Outcome::Returned(moment, ret) => (Some(moment.order), Some(ret)),
        Outcome::Open | Outcome::Failed => (None, None),
    };
    let (op, invoked) = (&record.op, record.invoked.order);
    linearizability::Operation { op, invoked, returned, required: returned.is_some(), ret }
}
