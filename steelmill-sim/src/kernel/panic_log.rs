//! The thread-local log of panics that the panic hook recorded, until they are judged.
//!
//! A panic may be caught anywhere: by the executor, by the lifecycle, by a program's own `catch_unwind`. So the hook
//! records it here, and the executor checks the log after every poll and every destructor.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::schema::outcome::Panicked;

thread_local! {
    static LOG: RefCell<Vec<Panicked>> = const { RefCell::new(Vec::new()) };
    static HAS_ANY: Cell<bool> = const { Cell::new(false) };
}

pub(crate) fn record(panicked: Panicked) {
    HAS_ANY.set(true);
    // Only text is recorded: a payload's destructor could panic again while the log is borrowed.
    LOG.with_borrow_mut(|log| log.push(panicked));
}

/// Whether a panic was recorded since [`take`].
#[inline]
pub(crate) fn has_any() -> bool {
    HAS_ANY.get()
}

/// The recorded panics, in order; the log is empty afterwards.
pub(crate) fn take() -> Vec<Panicked> {
    HAS_ANY.set(false);
    LOG.take()
}

/// Drops a value whose destructor may panic; the hook records such a panic.
pub(crate) fn drop_caught<T>(value: T) {
    caught(|| drop(value));
}

/// Runs code that may panic, and drops its panic payload; the hook records such a panic.
pub(crate) fn caught(run: impl FnOnce()) {
    if let Err(payload) = catch_unwind(AssertUnwindSafe(run)) {
        drop_payload(payload);
    }
}

/// Drops a panic payload. If its destructor panics, leaks the second payload, whose destructor may panic as well.
pub(crate) fn drop_payload(payload: Box<dyn Any + Send>) {
    if let Err(second) = catch_unwind(AssertUnwindSafe(|| drop(payload))) {
        std::mem::forget(second);
    }
}
