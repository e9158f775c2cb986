//! Operation history and linearizability checker: could a single correct copy of the data have given these replies?
//!
//! Clients of a scenario record each operation at its invocation and at its return. [`History::check`] searches for an
//! order of the operations in which the [`Model`] gives the same replies, and each operation takes effect between its
//! invocation and its return. If there is one, the history is *linearizable*.
//!
//! Invariants:
//!
//! - **An unknown outcome stays open.** An operation that timed out, or whose client crashed, may take effect at any
//!   time after its invocation, or never. Dropping it would report a violation for a write that arrived late.
//! - **Order is the order of the calls** to [`History::invoke`] and [`Call::returned`]. The times passed to them appear
//!   in reports only; equal times do not make operations concurrent.
//! - **Keys are checked separately.** A history is linearizable if and only if its part on each object is (Herlihy and
//!   Wing's locality), which also keeps checking fast. A command on several keys is recorded as one operation per key;
//!   its atomicity across keys is not checked.
//! - **Checks are deterministic**: the same history gives the same verdict and the same report.
//!
//! If the run is traced, its [trace] contains each operation and marks those that a check could not order.
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
//! early.returned(ms(38), KvReply::Value(Some("1".into()))); // the second write is still in flight
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

/// The operations of a run's clients. A clone is another handle to the same history.
#[derive(Debug)]
pub struct History<M: Model = Kv>(Arc<Mutex<Log<M>>>);

impl<M: Model> History<M> {
    /// An empty history; each key starts in state `initial`.
    pub fn new(initial: M) -> Self {
        Self(Arc::new(Mutex::new(Log { initial, moments: 0, records: Vec::new() })))
    }

    /// Records the invocation of `op` on `key` by `client`, at virtual time `now`.
    ///
    /// Call it before the first byte is sent, so that the operation cannot take effect earlier. Each attempt is an
    /// operation of its own: record a retry after an unknown outcome anew, as the first attempt may still take effect.
    pub fn invoke(&self, now: Duration, client: &str, key: &str, op: M::Op) -> Call<M> {
        let number = operations::invoke(|| trace::Operation {
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

    /// The number of recorded operations, without those that [failed](Call::failed).
    pub fn len(&self) -> usize {
        self.log().records.iter().filter(|record| !matches!(record.outcome, Outcome::Failed)).count()
    }

    /// Whether no operation was recorded; such a history is linearizable.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The number of operations without a return: their outcome is unknown.
    pub fn open(&self) -> usize {
        self.log().records.iter().filter(|record| matches!(record.outcome, Outcome::Open)).count()
    }

    /// Checks whether the operations recorded so far are linearizable.
    pub fn check(&self) -> Verdict {
        self.check_within(verdict::STEPS)
    }

    /// [`check`](History::check) with a limit: gives up on a key after `steps` applications of the model.
    ///
    /// Linearizability checking is NP-complete; a key with many operations of unknown outcome can exhaust any limit.
    pub fn check_within(&self, steps: u64) -> Verdict {
        let verdict = verdict::judge(&self.log(), steps);
        if let Verdict::NotLinearizable(violation) = &verdict {
            let essential = violation.operations.iter().filter(|operation| operation.essential);
            essential.for_each(|operation| operations::blame(operation.number));
        }
        verdict
    }

    // Nothing that can panic runs under the lock, and the sim is single-threaded: poisoning means nothing.
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

/// An operation in flight: invoked and not returned.
///
/// Dropping it leaves the outcome unknown, as for a client that crashed or stopped waiting.
#[must_use = "an operation whose call is dropped has an unknown outcome for ever"]
#[derive(Debug)]
pub struct Call<M: Model = Kv> {
    history: History<M>,
    index: usize,
}

impl<M: Model> Call<M> {
    /// Records the reply, at virtual time `now`: the operation took effect between its invocation and this call.
    pub fn returned(self, now: Duration, ret: M::Ret) {
        let mut log = self.history.log();
        let at = log.moment(now);
        let Record { number, key, op, outcome, .. } = &mut log.records[self.index];
        operations::complete(*number, || Answer::Returned(M::describe(key, op, Some(&ret))));
        *outcome = Outcome::Returned(at, ret);
    }

    /// Records that the operation did not and will not take effect: never sent, or rejected by the server.
    ///
    /// An error that leaves any doubt is [`unknown`](Call::unknown).
    pub fn failed(self) {
        let mut log = self.history.log();
        let record = &mut log.records[self.index];
        operations::complete(record.number, || Answer::Failed);
        record.outcome = Outcome::Failed;
    }

    /// Records an unknown outcome (timeout, lost connection): it may take effect at any later time, or never.
    pub fn unknown(self) {
        operations::complete(self.history.log().records[self.index].number, || Answer::Unknown);
    }
}

/// When something was recorded: its sequence number, and the virtual time shown in reports.
#[derive(Clone, Copy, Debug)]
struct Moment {
    order: usize,
    time: Duration,
}

#[derive(Debug)]
struct Record<M: Model> {
    /// Its number in the run's trace, if the run is traced.
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
