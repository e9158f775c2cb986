//! Panics of user code, as errors; and errors with their text.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::Error;

/// An error with its text, the error's sources included.
///
/// Formatting an error is user code, which may panic or block. So it happens once, where the error was made: in the task that
/// failed, never in a supervisor.
#[derive(Debug)]
pub(crate) struct Fault {
    pub(crate) error: Error,
    pub(crate) text: String,
}

impl Fault {
    #[cold]
    #[inline(never)]
    pub(crate) fn of(error: Error) -> Self {
        let text = catch_unwind(AssertUnwindSafe(|| format!("{error:#}")));
        let text = text.unwrap_or_else(|panic| {
            let text = format!("an error whose `Display` panicked: {}", panic_message(panic.as_ref()));
            forget_panic(panic);
            text
        });
        Fault { error, text }
    }

    /// Adds context in front.
    pub(crate) fn context(self, context: String) -> Self {
        Fault { text: format!("{context}: {}", self.text), error: self.error.context(context) }
    }
}

/// Leaks the payload of a panic: its destructor is user code, which may panic again.
pub(crate) fn forget_panic(payload: Box<dyn Any + Send>) {
    std::mem::forget(payload);
}

/// The error for user code that panicked: a [`Panic`].
pub(crate) fn panicked(payload: &(dyn Any + Send)) -> Error {
    Error::new(Panic::of(payload)).context("panicked")
}

/// The text of a panic. The payload itself is not `Sync`, which an error has to be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Panic(String);

impl Panic {
    /// From a payload of [`catch_unwind`](std::panic::catch_unwind).
    pub fn of(payload: &(dyn Any + Send)) -> Self {
        Self(panic_message(payload).to_owned())
    }
}

/// The text of a panic payload.
pub fn panic_message(payload: &(dyn Any + Send)) -> &str {
    if let Some(text) = payload.downcast_ref::<&'static str>() {
        text
    } else if let Some(text) = payload.downcast_ref::<String>() {
        text
    } else {
        "a payload that is not text"
    }
}
