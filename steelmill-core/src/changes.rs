//! A stream of the state changes of a factory and all factories below it.
//!
//! Supervisors never wait for a reader: a slow one loses changes, and the number of lost ones is counted.
//!
//! What always holds: the buffer belongs to the reader, and goes with it, whatever the supervisors are doing. What a
//! supervisor keeps of a subscription is two pointers; and of those whose reader has gone, never more than of those whose
//! reader is there, beyond a few.

use std::borrow::Cow;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::Poll;
use std::time::Instant;

use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::sync::oneshot;

use crate::cell::Counter;
use crate::{Health, State};

/// The capacity of the buffer of [`Changes`]; further changes are lost.
pub const CHANGES_BUFFERED: usize = 1024;

/// A change of state, or of health.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Change {
    /// The path of the factory.
    pub factory: Arc<str>,
    /// The daemon; `None` for the factory as a whole.
    pub daemon: Option<Cow<'static, str>>,
    /// The new state, or the current one if the health has changed.
    pub state: State,
    /// When it was entered, on that factory's monotonic clock.
    pub since: Instant,
    /// What the daemon answered last in this run, if anybody [requested](crate::RunningFactory::health) the health of the
    /// factory.
    pub health: Option<Health>,
}

/// A subscription to the state changes of a factory, its daemons and its children; see
/// [`RunningFactory::changes`](crate::RunningFactory::changes).
///
/// States that begin and end within one step of the supervisor are omitted.
#[derive(Debug)]
pub struct Changes {
    inbox: Receiver<Change>,
    buffer: Arc<Buffer>,
    /// Resolves when the last supervisor has dropped its [`Watcher`]; `None` once it has.
    ended: Option<oneshot::Receiver<()>>,
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
        let Changes { inbox, ended, .. } = self;
        poll_fn(|context| {
            if let Poll::Ready(change) = inbox.poll_recv(context) {
                return Poll::Ready(change);
            }
            if let Some(receiver) = ended
                && Pin::new(receiver).poll(context).is_pending()
            {
                return Poll::Pending;
            }
            *ended = None;
            // One may have come between the two looks.
            Poll::Ready(inbox.try_recv().ok())
        })
        .await
    }

    /// How many changes were lost so far, because they were not read in time. Call
    /// [`status`](crate::RunningFactory::status) to catch up.
    pub fn missed(&self) -> u64 {
        self.buffer.missed.count()
    }
}

/// The buffer of a subscription, owned by its reader.
#[derive(Debug)]
struct Buffer {
    outbox: Sender<Change>,
    missed: Counter,
}

/// The sending side of [`Changes`].
#[derive(Clone)]
pub(crate) struct Watcher {
    buffer: Weak<Buffer>,
    /// Never sent on: its drop is the end.
    _alive: Arc<oneshot::Sender<()>>,
}

impl Watcher {
    /// Sends a change; false when the reader has gone.
    fn notify(&self, change: Change) -> bool {
        let Some(buffer) = self.buffer.upgrade() else {
            return false;
        };
        match buffer.outbox.try_send(change) {
            Ok(()) => true,
            Err(TrySendError::Full(_)) => {
                buffer.missed.next();
                true
            }
            Err(TrySendError::Closed(_)) => false,
        }
    }

    fn has_reader(&self) -> bool {
        self.buffer.strong_count() > 0
    }
}

/// The watchers of a factory.
#[derive(Default)]
pub(crate) struct Watchers {
    all: Vec<Watcher>,
    /// How many there may be before the next look for those whose reader has gone.
    limit: usize,
}

impl Watchers {
    const LIMIT_MIN: usize = 4;

    pub(crate) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Watcher> {
        self.all.iter()
    }

    /// Adds one; those whose reader has gone are removed now and then, at a constant cost for each that is added.
    pub(crate) fn add(&mut self, watcher: Watcher) {
        if self.all.len() >= self.limit {
            self.all.retain(Watcher::has_reader);
            self.limit = (2 * self.all.len()).max(Self::LIMIT_MIN);
        }
        if watcher.has_reader() {
            self.all.push(watcher);
        }
    }

    /// Sends a change to all of them.
    pub(crate) fn notify(&mut self, change: Change) {
        self.all.retain(|watcher| watcher.notify(change.clone()));
    }
}

pub(crate) fn changes() -> (Watcher, Changes) {
    let (outbox, inbox) = channel(CHANGES_BUFFERED);
    let (alive, ended) = oneshot::channel();
    let buffer = Arc::new(Buffer { outbox, missed: Counter::default() });
    let watcher = Watcher { buffer: Arc::downgrade(&buffer), _alive: Arc::new(alive) };
    (watcher, Changes { inbox, buffer, ended: Some(ended) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subscription_that_was_dropped_is_forgotten() {
        let mut watchers = Watchers::default();
        let (watcher, kept) = changes();
        watchers.add(watcher);
        for _ in 0..1_000 {
            let (watcher, dropped) = changes();
            watchers.add(watcher);
            drop(dropped);
            assert!(watchers.all.len() <= Watchers::LIMIT_MIN, "{} of them", watchers.all.len());
        }
        assert!(watchers.iter().any(Watcher::has_reader), "it is still subscribed");
        drop(kept);
    }

    #[test]
    fn its_buffer_goes_with_the_reader_although_a_supervisor_holds_the_other_side() {
        let (watcher, changes) = changes();
        let buffer = Arc::downgrade(&changes.buffer);
        drop(changes);
        assert_eq!(buffer.strong_count(), 0);
        assert!(!watcher.has_reader());
    }
}
