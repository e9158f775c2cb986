//! The panics of a run that no one has judged yet, as the panic hook recorded them.
//!
//! A panic may be caught anywhere: by the executor, by the lifecycle, by a program's own `catch_unwind`. So the hook
//! records it here, and the executor asks after every poll and every destructor whether there is one.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::cluster;
use crate::schema::outcome::Panicked;

/// A run's log. It lies beside the run's state, not in it: a panic may be raised while that is borrowed.
#[derive(Default)]
pub(crate) struct PanicLog {
    panics: RefCell<Vec<Panicked>>,
    has_any: Cell<bool>,
    /// The hook was called for a panic that has not begun to unwind.
    is_hooked: Cell<bool>,
}

/// Records a panic of this thread's run.
pub(crate) fn record(panicked: Panicked) {
    cluster::with_panic_log(|log| {
        log.has_any.set(true);
        log.is_hooked.set(true);
        log.panics.borrow_mut().push(panicked);
    });
}

/// A panic begins to unwind, or goes on to; whether the hook was called for it.
pub(crate) fn unwinds() -> bool {
    cluster::with_panic_log(|log| log.is_hooked.replace(false)).unwrap_or(true)
}

/// Whether a panic was recorded since [`take`].
#[inline]
pub(crate) fn has_any() -> bool {
    cluster::with_panic_log(|log| log.has_any.get()).unwrap_or(false)
}

/// The recorded panics, in order; the log is empty afterwards.
pub(crate) fn take() -> Vec<Panicked> {
    let taken = cluster::with_panic_log(|log| {
        log.has_any.set(false);
        log.panics.take()
    });
    taken.unwrap_or_default()
}

/// Drops a value whose destructor may panic; the hook records such a panic.
pub(crate) fn drop_caught<T>(value: T) {
    caught(|| drop(value));
}

/// Runs code that may panic where nobody waits for its end; the hook records such a panic.
pub(crate) fn caught(run: impl FnOnce()) {
    if let Err(payload) = catch_unwind(AssertUnwindSafe(run)) {
        drop_payload(payload);
    }
}

/// Drops a panic payload. Its destructor may panic as well; then the second payload is leaked, as its destructor may be
/// the same.
pub(crate) fn drop_payload(payload: Box<dyn Any + Send>) {
    if let Err(second) = catch_unwind(AssertUnwindSafe(|| drop(payload))) {
        std::mem::forget(second);
    }
}
