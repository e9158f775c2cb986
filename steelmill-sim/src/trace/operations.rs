//! Clients' operations in a trace: a history tells of them as they are invoked and return.

use super::{Answer, EventKind, Operation};
use crate::machine::cluster;

/// Whether this thread is inside a run that is traced.
pub(crate) fn is_tracing() -> bool {
    cluster::with_current(|run| run.kernel.recorder.is_some()) == Some(true)
}

/// A client is about to do something; its number, inside a run that is traced.
pub(crate) fn invoked(operation: impl FnOnce() -> Operation) -> Option<u32> {
    if !is_tracing() {
        return None;
    }
    let operation = operation();
    cluster::with_current(|run| run.kernel.invoked(operation)).flatten()
}

/// A client has its answer, or waits for it no longer.
pub(crate) fn returned(number: Option<u32>, answer: impl FnOnce() -> Answer) {
    let Some(operation) = number.filter(|_| is_tracing()) else { return };
    let answer = answer();
    cluster::with_current(|run| {
        let recorder = run.kernel.recorder.as_mut()?;
        recorder.trace.operations.get_mut(operation as usize)?.answer = Some(answer);
        run.kernel.note(EventKind::Return { operation })
    });
}

/// An operation is one of those that cannot be ordered.
pub(crate) fn blamed(number: Option<u32>) {
    let Some(operation) = number else { return };
    cluster::with_current(|run| {
        let recorder = run.kernel.recorder.as_mut()?;
        let is_news =
            !std::mem::replace(&mut recorder.trace.operations.get_mut(operation as usize)?.is_blamed, true);
        is_news.then(|| run.kernel.note(EventKind::Blame { operation }))
    });
}
