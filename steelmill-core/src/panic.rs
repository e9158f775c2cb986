//! Panics of user code, as errors.

use std::any::Any;

use crate::Error;

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
