//! The events that a factory's supervisor receives, and the entries by which a child is known to its ancestors.

use std::sync::Arc;
use std::time::Duration;

use futures::future::Shared;
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::oneshot;

use super::Control;
use crate::changes::Watcher;
use crate::panic::Fault;
use crate::readiness::HealthSender;
use crate::status::Snapshot;
use crate::{FactoryHealth, Health, Phase, Report};

/// The sending side of a supervisor's event queue.
pub(crate) type Events = UnboundedSender<Event>;

/// Resolves to the report, or to an error when the supervisor was dropped by its executor.
pub(crate) type Ended = Shared<oneshot::Receiver<Arc<Report>>>;

/// What a supervisor receives.
pub(crate) enum Event {
    /// A daemon's `prepare`, `run` or `stop` has ended.
    PhaseEnded { slot: SlotId, phase: Phase, outcome: Outcome },
    /// A task returned an error or panicked.
    TaskFailed { slot: SlotId, name: &'static str, fault: Box<Fault> },
    /// The last task of a daemon has ended after its tasks were closed.
    TasksEnded { slot: SlotId, incarnation: u32 },
    /// The factory is asked to stop, after it has drained.
    Stop,
    /// The factory is to stop without draining, or to drain no longer.
    StopAtOnce,
    /// The parent drains.
    Drain,
    /// The future of `start` was dropped.
    StartCancelled,
    /// The last `RunningFactory` was dropped.
    HandlesDropped,
    /// An ancestor's deadline has passed: the factory ends at once. `limit` is that deadline.
    Abort { limit: Duration },
    /// A child asks to start.
    Join(Box<ChildEntry>),
    /// A child has ended, or was dropped with its executor. `overstayed`: only because it was aborted at a deadline.
    ChildEnded { child: ChildId, failure: Option<Arc<Report>>, overstayed: bool },
    /// An ancestor lets this factory start.
    Admitted,
    /// An ancestor is stopping and admits no children.
    Refused { by: Arc<str> },
    /// An ancestor's supervisor has ended, or was dropped, with this factory's entry.
    AncestorEnded { by: Arc<str> },
    /// A request for the current status.
    StatusRequested(oneshot::Sender<Snapshot>),
    /// A request for all changes of state from now on.
    Subscribe(Watcher),
    /// A request for the health from now on; by a parent, without a sender.
    WatchHealth(Option<HealthSender>),
    /// A daemon that was asked for its health has answered, or was interrupted.
    HealthAnswered { slot: SlotId, question: u64, health: Option<Health> },
    /// The health of a child has changed.
    ChildHealth { child: ChildId, health: Arc<FactoryHealth> },
    /// Somebody waits until the factory stops.
    AwaitStopping(oneshot::Sender<()>),
}

/// The index of a daemon's slot in its factory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct SlotId(pub(crate) u32);

impl SlotId {
    pub(crate) fn index(self) -> usize {
        self.0 as usize
    }
}

/// How a phase or a task ended.
#[derive(Debug)]
pub(crate) enum Outcome {
    Done,
    Failed(Box<Fault>),
    /// It was cancelled by a stop, or aborted.
    Cancelled,
    /// The executor dropped it.
    Dropped,
}

/// A child of a factory; unique within the factory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ChildId(pub(crate) u64);

/// A child's entry in the supervisor of an ancestor. Its drop notifies the child.
pub(crate) struct ChildEntry {
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
    /// The holder of a handle to the ancestor.
    Handle,
    /// A daemon of the ancestor, on its scope.
    Daemon(SlotId),
    /// A factory between the two, or a daemon in one.
    Descendant,
}

impl Drop for ChildEntry {
    fn drop(&mut self) {
        let by = self.ancestor.clone();
        let _ = self.events.send(Event::AncestorEnded { by });
    }
}

/// The child's end of a [`ChildEntry`]. Its drop notifies the ancestor, also when the child's executor is gone.
pub(crate) struct AncestorLink {
    pub(crate) id: ChildId,
    pub(crate) ancestor: Arc<Control>,
    pub(crate) maker: Maker,
    pub(crate) failure: Option<Arc<Report>>,
    /// The child was aborted at a deadline.
    pub(crate) overstayed: bool,
}

impl Drop for AncestorLink {
    fn drop(&mut self) {
        let (failure, overstayed) = (self.failure.take(), self.overstayed);
        self.ancestor.send(Event::ChildEnded { child: self.id, failure, overstayed });
    }
}
