//! What a check comes to, for all keys together.

use std::collections::BTreeMap;
use std::time::Duration;

use super::linearizability::{self, Found, search};
use super::{Log, Model, Outcome, Record, explain};

/// How often the model may be applied to one key before the check gives up: a second or so.
pub(super) const STEPS: u64 = 2_000_000;

/// What [`History::check`](super::History::check) found.
#[derive(Clone, PartialEq, Eq, Debug)]
#[must_use]
pub enum Verdict {
    /// Every key has an order that explains all answers.
    Linearizable,
    /// Some key has none. Of several, this is the one where it showed first.
    NotLinearizable(Box<Violation>),
    /// No key was found to have none, and one was too hard to decide: neither good news nor bad.
    Undecided(Undecided),
}

impl Verdict {
    /// Whether the history was shown to be linearizable.
    pub fn is_linearizable(&self) -> bool {
        matches!(self, Verdict::Linearizable)
    }

    /// For `?`.
    ///
    /// # Errors
    /// The verdict itself, unless the history was shown to be linearizable.
    pub fn into_result(self) -> Result<(), Verdict> {
        if self.is_linearizable() { Ok(()) } else { Err(self) }
    }
}

/// A few operations on one key that no single copy of the data could have answered so.
///
/// The essential ones contradict each other whatever was answered to all other operations on the key, and whether or
/// not these took effect. They are as few as possible: if any one of them might not have taken effect, the rest could
/// be explained.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Violation {
    /// Which key.
    pub key: String,
    /// The operations, in the order of their invocation.
    pub operations: Vec<Operation>,
    /// Which of `operations` cannot be given a place: at the moment it returned, the history stopped making sense.
    pub offender: usize,
    /// The last one after which the offender would have had a place: for a stale read, the write it saw.
    pub source: Option<usize>,
    /// How the others can be ordered: indices into `operations`.
    pub order: Vec<usize>,
    /// What the key holds after them, which the offender's answer contradicts.
    pub state: String,
    /// How many operations on this key were recorded.
    pub recorded: usize,
}

/// An operation as it appears in a report.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Operation {
    /// Who asked.
    pub client: String,
    /// What was asked and answered: `GET a -> "3"`.
    pub what: String,
    /// When it was sent.
    pub invoked: Duration,
    /// When the answer came; `None` if none did.
    pub returned: Option<Duration>,
    /// Whether the contradiction needs it. If not, it is the source, or part of the order.
    pub essential: bool,
    /// Its times once more, as places in the order of recording.
    pub(super) span: (usize, Option<usize>),
    /// What the run's trace calls it, where there is one.
    pub(super) number: Option<u32>,
}

/// A key whose operations allow too many orders to try them all.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Undecided {
    /// Which key.
    pub key: String,
    /// How many operations on it were recorded.
    pub recorded: usize,
    /// How many of them have an unknown outcome.
    pub open: usize,
    /// How often the model was applied before giving up.
    pub steps: u64,
}

pub(super) fn judge<M: Model>(log: &Log<M>, steps: u64) -> Verdict {
    let mut keys = BTreeMap::<&str, Vec<&Record<M>>>::new();
    for record in &log.records {
        keys.entry(&record.key).or_default().push(record);
    }
    let mut undecided = None;
    let mut broken = Vec::new();
    for (key, mut records) in keys {
        records.retain(|record| !matches!(record.outcome, Outcome::Failed));
        let operations: Vec<_> = records.iter().map(|record| operation(record)).collect();
        match search(&log.initial, &operations, &mut { steps }) {
            Found::Order => {}
            Found::OutOfSteps => {
                let open = operations.iter().filter(|operation| operation.returned.is_none()).count();
                undecided.get_or_insert(Undecided { key: key.into(), recorded: records.len(), open, steps });
            }
            Found::NoOrder(dead_end) => broken.push((records, operations, dead_end)),
        }
    }
    let first =
        broken.into_iter().min_by_key(|(_, operations, dead_end)| operations[dead_end.blocked].returned);
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
