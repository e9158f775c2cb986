//! What can happen to a running factory, and how its supervisor hears of it.

use std::sync::Arc;
use std::time::Duration;

use futures::future::Shared;
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::oneshot;

use crate::changes::Watcher;
use crate::factory::{Hub, SlotId};
use crate::scope::Outcome;
use crate::status::Snapshot;
use crate::{Error, Phase, Report};

/// The way to a supervisor.
pub(crate) type Events = UnboundedSender<Event>;

/// Resolves when the supervisor has ended the factory, or has vanished.
pub(crate) type Ended = Shared<oneshot::Receiver<Arc<Report>>>;

pub(crate) enum Event {
    /// A daemon's `prepare`, `run` or `stop` has ended.
    JobEnded { slot: SlotId, phase: Phase, outcome: Outcome },
    /// A task returned an error or panicked.
    TaskFailed { slot: SlotId, name: &'static str, error: Error },
    /// The last task of a daemon that has ended is gone.
    TasksEnded { slot: SlotId, life: u32 },
    /// Somebody asks the factory to stop.
    Stop,
    /// Whoever was waiting for the start has lost interest.
    StartDropped,
    /// The last handle is gone.
    HandlesDropped,
    /// The factory is to end at once: an ancestor's deadline has passed, which was so long.
    Kill { limit: Duration },
    /// A child wants to start.
    Join(Box<Join>),
    /// A child has ended or vanished.
    Left { child: ChildId, failure: Option<Arc<Report>> },
    /// An ancestor has taken this factory in.
    Joined,
    /// An ancestor takes no children any more.
    Refused { by: Arc<str> },
    /// An ancestor's supervisor has dropped this factory's entry.
    Orphaned { by: Arc<str> },
    /// Somebody wants to see how things stand.
    Show(oneshot::Sender<Snapshot>),
    /// Somebody wants to be told of changes.
    Watch(Watcher),
}

/// Names a child among those of one factory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ChildId(pub(crate) u64);

/// A child's entry with an ancestor.
pub(crate) struct Join {
    pub(crate) id: ChildId,
    pub(crate) child: Arc<str>,
    pub(crate) ancestor: Arc<str>,
    pub(crate) events: Events,
    /// The ancestor's daemons that the child shares.
    pub(crate) shares: Vec<SlotId>,
    pub(crate) maker: Maker,
}

/// Who made a child, as one of its ancestors sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Maker {
    /// Whoever holds a handle to the ancestor.
    Handle,
    /// A daemon of the ancestor, on its scope.
    Daemon(SlotId),
    /// Somebody further down.
    Descendant,
}

impl Drop for Join {
    fn drop(&mut self) {
        let by = self.ancestor.clone();
        let _ = self.events.send(Event::Orphaned { by });
    }
}

/// The child's end of a [`Join`]: tells the ancestor when the child is gone, for whatever reason.
pub(crate) struct Membership {
    pub(crate) id: ChildId,
    pub(crate) ancestor: Arc<Hub>,
    pub(crate) failure: Option<Arc<Report>>,
}

impl Drop for Membership {
    fn drop(&mut self) {
        self.ancestor.tell(Event::Left { child: self.id, failure: self.failure.take() });
    }
}
