//! What happens to a factory and everything below it, as it happens.
//!
//! The supervisors hand each change to whoever watches and never wait for them: a slow reader loses changes, and is told
//! how many.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::mpsc::{Receiver, Sender, channel};

use crate::State;
use crate::cell::Numbers;

/// How many changes wait for a reader; more are lost.
pub const CHANGES_KEPT: usize = 1024;

/// A change of state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The path of the factory it is about.
    pub factory: Arc<str>,
    /// The daemon; `None` when it is about the factory as a whole.
    pub daemon: Option<Cow<'static, str>>,
    /// What it does from now on.
    pub state: State,
    /// Since when, on that factory's own monotonic clock.
    pub since: Instant,
}

/// The changes of state of a factory, its daemons, and the children that start after it was made; see
/// [`RunningFactory::changes`](crate::RunningFactory::changes).
///
/// States that something only passes through within one step of the supervisor are not told.
#[derive(Debug)]
pub struct Changes {
    inbox: Receiver<Change>,
    missed: Arc<Numbers>,
}

impl Changes {
    /// The next change; `None` when the factory and everything below it has ended.
    ///
    /// # Order
    /// Those of one factory come in order. After [`CHANGES_KEPT`] that nobody has read, newer ones are lost.
    ///
    /// # Cancellation
    /// Dropping the future loses nothing.
    pub async fn next(&mut self) -> Option<Change> {
        self.inbox.recv().await
    }

    /// How many changes have been lost so far because they were not read in time.
    /// [`status`](crate::RunningFactory::status) tells how things stand.
    pub fn missed(&self) -> u64 {
        self.missed.given()
    }
}

/// The supervisors' end of it.
#[derive(Clone)]
pub(crate) struct Watcher {
    outbox: Sender<Change>,
    missed: Arc<Numbers>,
}

impl Watcher {
    /// Tells of a change; false when nobody listens any more.
    pub(crate) fn tell(&self, change: Change) -> bool {
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
    let (outbox, inbox) = channel(CHANGES_KEPT);
    let missed = Arc::new(Numbers::default());
    (Watcher { outbox, missed: missed.clone() }, Changes { inbox, missed })
}
