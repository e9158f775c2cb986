//! What core's shared cells are made of. `tests/cells.rs` puts loom's in its place, under the same names.

pub(crate) use std::sync::OnceLock;
pub(crate) use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

pub(crate) use tokio::sync::Notify;
pub(crate) use tokio::sync::futures::OwnedNotified;
