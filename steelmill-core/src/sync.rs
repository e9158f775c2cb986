//! The primitives that `cell` is made of. `tests/cells.rs` replaces them by loom's, under the same names.

pub(crate) use std::sync::OnceLock;
pub(crate) use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

pub(crate) use tokio::sync::Notify;
pub(crate) use tokio::sync::futures::OwnedNotified;
