//! The file descriptors of the process, shared by all listeners.
//!
//! A process that has none left cannot accept a connection, not even to say so. So connections are counted against the
//! system's limit, and some descriptors are reserved: for what the process needs itself, and to tell clients that there
//! is no room.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use anyhow::bail;
use steelmill_core::{Daemon, Factory, Result};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::world::descriptor_limit;

/// Descriptors for the process itself: standard streams, the runtime, listeners, links.
const OWN: usize = 32;

/// The most connections at a time that are told that there is no room; more are closed without a word.
const REJECTING_MAX: usize = 64;

/// The file descriptors that are free for connections.
pub struct Descriptors {
    budget: Budget,
    connections: Arc<Semaphore>,
    rejecting: Arc<Semaphore>,
    /// Whether it was logged that there are no more.
    is_warned: AtomicBool,
}

/// How the descriptors of a process are divided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Budget {
    /// The system's limit.
    limit: usize,
    connections: usize,
    rejecting: usize,
}

impl Budget {
    /// The division of `limit` descriptors; `None` if nothing is left for connections.
    fn of(limit: usize) -> Option<Self> {
        let free = limit.min(Semaphore::MAX_PERMITS).checked_sub(OWN)?;
        let rejecting = (free / 4).min(REJECTING_MAX);
        let connections = free - rejecting;
        (rejecting > 0).then_some(Self { limit, connections, rejecting })
    }
}

impl Daemon for Descriptors {
    fn build(_: &mut Factory) -> Result<Self> {
        let limit = descriptor_limit();
        let Some(budget) = Budget::of(limit) else {
            bail!(
                "the process may have no more than {limit} files open, which leaves nothing for connections; \
                 allow more with `ulimit -n`"
            );
        };
        Ok(Self {
            budget,
            connections: Arc::new(Semaphore::new(budget.connections)),
            rejecting: Arc::new(Semaphore::new(budget.rejecting)),
            is_warned: AtomicBool::new(false),
        })
    }
}

impl Descriptors {
    /// The right to one more connection, until it is dropped; `None` if there are no more descriptors, which is logged
    /// once.
    pub fn connection(&self) -> Option<OwnedSemaphorePermit> {
        let permit = self.connections.clone().try_acquire_owned().ok();
        if permit.is_none() && !self.is_warned.swap(true, Relaxed) {
            tracing::warn!("rejects connections: {}", self.exhausted());
        }
        // Not at the first that is free again: at the limit that happens all the time.
        if permit.is_some() && self.connections.available_permits() > self.budget.connections / 4 {
            self.is_warned.store(false, Relaxed);
        }
        permit
    }

    /// The right to one more connection that is rejected with a reply; `None` if it has to be closed without one.
    pub fn rejection(&self) -> Option<OwnedSemaphorePermit> {
        self.rejecting.clone().try_acquire_owned().ok()
    }

    /// Why there are no more.
    pub fn exhausted(&self) -> String {
        let Budget { limit, connections, .. } = self.budget;
        format!(
            "{connections} are open, as many as the process's limit of {limit} open files allows (`ulimit -n`)"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn some_descriptors_are_kept_to_tell_clients_that_there_are_no_more() {
        assert_eq!(Budget::of(64), Some(Budget { limit: 64, connections: 24, rejecting: 8 }));
        assert_eq!(Budget::of(1024), Some(Budget { limit: 1024, connections: 928, rejecting: 64 }));
        assert_eq!(Budget::of(35), None, "nobody could be told");
        assert_eq!(Budget::of(3), None);
        assert!(Budget::of(usize::MAX).is_some_and(|budget| budget.connections <= Semaphore::MAX_PERMITS));
    }
}
