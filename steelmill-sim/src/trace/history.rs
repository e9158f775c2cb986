//! What the clients saw, and whether one correct store could have shown it to them.
//!
//! A scenario's clients record each operation when they send it and when its answer arrives. Afterwards
//! [`History::check`] looks for an order of the operations that a single, never failing copy of the data would
//! have answered in the same way, and that keeps every operation between its invocation and its return. If there
//! is one, the history is *linearizable*: no client could tell the cluster from that single copy.
//!
//! What always holds:
//!
//! - **An unknown outcome stays open.** An operation that timed out, or whose client crashed, may take effect at any
//!   time after its invocation, or never. Forgetting it would blame a correct cluster for a write that arrived late.
//! - **Order is the order of the calls** to [`History::invoke`] and [`Call::returned`]. The times given to them are
//!   for the reader of a report; equal times never make two operations concurrent that were not.
//! - **Keys are judged one by one.** A history is linearizable exactly if the part of every object is (Herlihy and
//!   Wing's locality), which is also what makes checking fast. A command on several keys is recorded as one operation
//!   per key; that it acted on all of them at once is not checked.
//! - **The verdict repeats**: same history, same verdict, same words.
//!
//! A run with a [trace] tells of each operation there, and of those that a check could not order.
//!
//! ```
//! use std::time::Duration;
//! use steelmill_sim::history::{History, Kv, KvOp, KvReply, Verdict};
//!
//! let ms = Duration::from_millis;
//! let history = History::<Kv>::default();
//!
//! let write = history.invoke(ms(10), "client-1", "a", KvOp::Set("1".into()));
//! write.returned(ms(20), KvReply::Ok);
//! let write = history.invoke(ms(30), "client-1", "a", KvOp::Set("2".into()));
//! let early = history.invoke(ms(35), "client-2", "a", KvOp::Get);
//! early.returned(ms(38), KvReply::Value(Some("1".into()))); // the second write is still under way
//! write.returned(ms(40), KvReply::Ok);
//! assert!(matches!(history.check(), Verdict::Linearizable));
//!
//! let late = history.invoke(ms(50), "client-2", "a", KvOp::Get);
//! late.returned(ms(60), KvReply::Value(Some("1".into()))); // a stale read
//! let Verdict::NotLinearizable(violation) = history.check() else { panic!() };
//! assert_eq!(violation.operations[violation.offender].what, r#"GET a -> "1""#);
//! println!("{violation}");
//! ```

mod bits;
mod explain;
mod kv;
mod linearizability;
mod model;
mod render;
mod verdict;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

pub use kv::{Kv, KvOp, KvReply, Value};
pub use model::Model;
pub use verdict::{Operation, Undecided, Verdict, Violation};

use crate::schema::trace::Answer;
use crate::trace::{self, operations};

/// What the clients of one run did, shared by all of them: a clone is another handle to the same history.
#[derive(Debug)]
pub struct History<M: Model = Kv>(Arc<Mutex<Log<M>>>);

impl<M: Model> History<M> {
    /// An empty history of objects that each start as `initial`.
    pub fn new(initial: M) -> Self {
        Self(Arc::new(Mutex::new(Log { initial, moments: 0, records: Vec::new() })))
    }

    /// Records that `client` is about to send `op`, which acts on `key`.
    ///
    /// Call it before the first byte leaves, so that the operation cannot take effect earlier. Each attempt is an
    /// operation of its own: a retry after an unknown outcome is invoked anew, for the first attempt may still arrive.
    pub fn invoke(&self, now: Duration, client: &str, key: &str, op: M::Op) -> Call<M> {
        let number = operations::invoked(|| trace::Operation {
            client: client.into(),
            key: key.into(),
            what: M::describe(key, &op, None),
            answer: None,
            is_blamed: false,
        });
        let mut log = self.log();
        let invoked = log.moment(now);
        log.records.push(Record {
            number,
            client: client.into(),
            key: key.into(),
            op,
            invoked,
            outcome: Outcome::Open,
        });
        Call { history: self.clone(), index: log.records.len() - 1 }
    }

    /// How many operations were recorded, known failures not counted.
    pub fn len(&self) -> usize {
        self.log().records.iter().filter(|record| !matches!(record.outcome, Outcome::Failed)).count()
    }

    /// Whether nothing was recorded, which a check would find linearizable.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many of the operations never returned: their outcome is unknown.
    pub fn open(&self) -> usize {
        self.log().records.iter().filter(|record| matches!(record.outcome, Outcome::Open)).count()
    }

    /// Whether the operations recorded so far are linearizable.
    pub fn check(&self) -> Verdict {
        self.check_within(verdict::STEPS)
    }

    /// The same, giving up on a key after `steps` applications of the model.
    ///
    /// The problem is NP-complete; a busy key with many unknown outcomes can exhaust any budget.
    pub fn check_within(&self, steps: u64) -> Verdict {
        let verdict = verdict::judge(&self.log(), steps);
        if let Verdict::NotLinearizable(violation) = &verdict {
            let essential = violation.operations.iter().filter(|operation| operation.essential);
            essential.for_each(|operation| operations::blamed(operation.number));
        }
        verdict
    }

    // Nothing that can panic runs under the lock, and the sim is single-threaded: poisoning would tell nothing.
    fn log(&self) -> MutexGuard<'_, Log<M>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<M: Model + Default> Default for History<M> {
    fn default() -> Self {
        Self::new(M::default())
    }
}

impl<M: Model> Clone for History<M> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

/// An operation that was invoked and has not returned.
///
/// Dropping it leaves its outcome unknown, which is the truth about a client that crashed or stopped waiting.
#[must_use = "a call that is dropped at once has an unknown outcome for ever"]
#[derive(Debug)]
pub struct Call<M: Model = Kv> {
    history: History<M>,
    index: usize,
}

impl<M: Model> Call<M> {
    /// The answer has arrived: the operation took effect some time between its invocation and this call.
    pub fn returned(self, now: Duration, ret: M::Ret) {
        let mut log = self.history.log();
        let at = log.moment(now);
        let Record { number, key, op, outcome, .. } = &mut log.records[self.index];
        operations::returned(*number, || Answer::Returned(M::describe(key, op, Some(&ret))));
        *outcome = Outcome::Returned(at, ret);
    }

    /// It certainly did not and will not take effect: refused before it was sent, turned down by who would have done it.
    ///
    /// An error that leaves any doubt is [`unknown`](Call::unknown).
    pub fn failed(self) {
        let mut log = self.history.log();
        let record = &mut log.records[self.index];
        operations::returned(record.number, || Answer::Failed);
        record.outcome = Outcome::Failed;
    }

    /// No answer came (a timeout, a lost connection): it may take effect at any time from its invocation on, or never.
    pub fn unknown(self) {
        operations::returned(self.history.log().records[self.index].number, || Answer::Unknown);
    }
}

/// A point of the run: its place in the order of recording, and the virtual time for the reader.
#[derive(Clone, Copy, Debug)]
struct Moment {
    order: usize,
    time: Duration,
}

#[derive(Debug)]
struct Record<M: Model> {
    /// What the run's trace calls it, where there is one.
    number: Option<u32>,
    client: String,
    key: String,
    op: M::Op,
    invoked: Moment,
    outcome: Outcome<M::Ret>,
}

#[derive(Debug)]
enum Outcome<Ret> {
    Open,
    Returned(Moment, Ret),
    Failed,
}

#[derive(Debug)]
struct Log<M: Model> {
    initial: M,
    moments: usize,
    records: Vec<Record<M>>,
}

impl<M: Model> Log<M> {
    fn moment(&mut self, time: Duration) -> Moment {
        self.moments += 1;
        Moment { order: self.moments, time }
    }
}
