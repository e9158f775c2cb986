//! Records client operations of a [history](super::history) in the trace: invocation, return, blame.

use super::{Answer, EventKind, Operation};
use crate::machine::cluster;

pub(crate) fn is_tracing() -> bool {
    cluster::with_current(|run| run.kernel.recorder.is_some()) == Some(true)
}

/// Records an invocation. Returns the operation's number, if this thread is inside a traced run.
pub(crate) fn invoke(operation: impl FnOnce() -> Operation) -> Option<u32> {
    if !is_tracing() {
        return None;
    }
    let operation = operation();
    cluster::with_current(|run| run.kernel.invoked(operation)).flatten()
}

/// Records a return, or that the client stopped waiting.
pub(crate) fn complete(number: Option<u32>, answer: impl FnOnce() -> Answer) {
    let Some(operation) = number.filter(|_| is_tracing()) else { return };
    let answer = answer();
    cluster::with_current(|run| {
        let recorder = run.kernel.recorder.as_mut()?;
        recorder.trace.operations.get_mut(operation as usize)?.answer = Some(answer);
        run.kernel.note(EventKind::Return { operation })
    });
}

/// Marks an operation as part of a linearizability violation; idempotent.
pub(crate) fn blame(number: Option<u32>) {
    let Some(operation) = number else { return };
    cluster::with_current(|run| {
        let recorder = run.kernel.recorder.as_mut()?;
        let is_first =
            !std::mem::replace(&mut recorder.trace.operations.get_mut(operation as usize)?.is_blamed, true);
        is_first.then(|| run.kernel.note(EventKind::Blame { operation }))
    });
}
