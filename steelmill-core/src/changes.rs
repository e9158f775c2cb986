//! A stream of the state changes of a factory and all factories below it.
//!
//! Supervisors never wait for a reader: a slow one loses changes, and the number of lost ones is counted.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::mpsc::{Receiver, Sender, channel};

use crate::State;
use crate::cell::Counter;

/// The capacity of the buffer of [`Changes`]; further changes are lost.
pub const CHANGES_BUFFERED: usize = 1024;

/// A change of state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The path of the factory.
    pub factory: Arc<str>,
    /// The daemon; `None` for the factory as a whole.
    pub daemon: Option<Cow<'static, str>>,
    /// The new state.
    pub state: State,
    /// When it was entered, on that factory's monotonic clock.
    pub since: Instant,
}

/// A subscription to the state changes of a factory, its daemons and its children; see
/// [`RunningFactory::changes`](crate::RunningFactory::changes).
///
/// States that begin and end within one step of the supervisor are omitted.
#[derive(Debug)]
pub struct Changes {
    inbox: Receiver<Change>,
    missed: Arc<Counter>,
}

impl Changes {
    /// The next change; `None` after the factory and all factories below it have ended.
    ///
    /// # Order
    /// The changes of one factory arrive in order. While [`CHANGES_BUFFERED`] are unread, new ones are lost.
    ///
    /// # Cancellation
    /// Dropping the future loses nothing.
    pub async fn next(&mut self) -> Option<Change> {
        self.inbox.recv().await
    }

    /// How many changes were lost so far, because they were not read in time. Call
    /// [`status`](crate::RunningFactory::status) to catch up.
    pub fn missed(&self) -> u64 {
        self.missed.count()
    }
}

/// The sending side of [`Changes`].
#[derive(Clone)]
pub(crate) struct Watcher {
    outbox: Sender<Change>,
    missed: Arc<Counter>,
}

impl Watcher {
    /// Sends a change; false when the receiver was dropped.
    pub(crate) fn notify(&self, change: Change) -> bool {
        match self.outbox.try_send(change) {
            Ok(()) => true,
            Err(TrySendError::Full(_)) => {
                self.missed.next();
                true
            }
            Err(TrySendError::Closed(_)) => false,
        }
    }
}

pub(crate) fn changes() -> (Watcher, Changes) {
    let (outbox, inbox) = channel(CHANGES_BUFFERED);
    let missed = Arc::new(Counter::default());
    (Watcher { outbox, missed: missed.clone() }, Changes { inbox, missed })
}
