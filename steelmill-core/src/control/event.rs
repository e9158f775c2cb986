//! The events that a factory's supervisor receives, and the entries by which a child is known to its ancestors.

use std::any::Any;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::oneshot;

use super::Control;
use crate::changes::Watcher;
use crate::label::Label;
use crate::panic::Fault;
use crate::readiness::HealthSender;
use crate::status::Snapshot;
use crate::{FactoryHealth, Health, Phase, Report, Result};

/// The sending side of a supervisor's event queue.
pub(crate) type Events = UnboundedSender<Event>;

/// What a supervisor receives. Small, because the queue allocates room for 32 at a time.
pub(crate) enum Event {
    /// A daemon's `prepare`, `run` or `stop` has ended.
    PhaseEnded { slot: SlotId, phase: Phase, outcome: Outcome },
    /// A task returned an error or panicked.
    TaskFailed(Box<FailedTask>),
    /// The last task of a daemon has ended after its tasks were closed, or after the daemon has finished.
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
    /// An ancestor's deadline has passed: the factory ends at once.
    Abort(Box<Abort>),
    /// A child asks to start.
    Join(Box<ChildEntry>),
    /// A child has ended, or was dropped with its executor. `overstayed`: only because it was aborted at a deadline.
    ChildEnded { child: ChildId, failure: Option<Arc<Report>>, overstayed: bool },
    /// An ancestor lets this factory start.
    Admitted,
    /// An ancestor does not admit this factory.
    Refused(Box<Refused>),
    /// An ancestor's supervisor has ended, or was dropped, with this factory's entry.
    AncestorEnded { by: Arc<str> },
    /// A request for the current status.
    StatusRequested(oneshot::Sender<Snapshot>),
    /// A request for all changes of state from now on.
    Subscribe(Watcher),
    /// A request for the health from now on; by a parent, without a sender.
    WatchHealth(Option<HealthSender>),
    /// A daemon that was asked for its health has answered, or was interrupted.
    HealthAnswered { slot: SlotId, question: u64, health: Option<Box<Health>> },
    /// The health of a child has changed.
    ChildHealth { child: ChildId, health: Arc<FactoryHealth> },
    /// Somebody waits until the factory stops.
    AwaitStopping(oneshot::Sender<()>),
    /// A request for handles to the running children.
    ChildrenRequested(Box<ChildrenRequest>),
    /// A request for a handle to this factory, if it runs.
    HandleRequested(oneshot::Sender<Handle>),
    /// A request to restart or stop a single daemon.
    Command(Box<Command>),
}

/// What an ancestor says of an abort.
pub(crate) struct Abort {
    /// The deadline that has passed.
    pub(crate) limit: Duration,
    /// How long what is aborted may take to end. The ancestor waits a little longer.
    pub(crate) grace: Duration,
}

/// A task that returned an error or panicked.
pub(crate) struct FailedTask {
    pub(crate) slot: SlotId,
    pub(crate) name: &'static str,
    pub(crate) fault: Fault,
}

/// A request for handles to the running children: of this path, the newest first, or all, the oldest first.
pub(crate) struct ChildrenRequest {
    pub(crate) path: Option<Box<str>>,
    pub(crate) answer: oneshot::Sender<Vec<oneshot::Receiver<Handle>>>,
}

/// A `RunningFactory`, which is above this module.
pub(crate) type Handle = Box<dyn Any + Send>;

/// A request to restart or stop the daemon with this label.
pub(crate) struct Command {
    pub(crate) daemon: Box<str>,
    pub(crate) order: Order,
    pub(crate) answer: oneshot::Sender<Result>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    Restart,
    Stop,
}

/// Why an ancestor does not admit a factory.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("is stopping: nothing can be started in it any more")]
    Stopping,
    #[error("is stopping: {0} cannot be made in it")]
    NotMade(Box<str>),
    #[error("has ended: {0} cannot be made in it")]
    Ended(Box<str>),
    #[error("has a child called {0} already: stop that before, or call `replace` instead of `start`")]
    NameTaken(Box<str>),
    #[error("has a child called {0} that {1} made, and nobody else may replace it")]
    OtherMaker(Box<str>, Label),
    #[error("cannot start it in `prepare` of {0}, on which it depends: start it in `run`")]
    WaitsForItself(Label),
}

impl Refusal {
    /// Because the ancestor stops.
    pub(crate) fn is_late(&self) -> bool {
        matches!(self, Refusal::Stopping | Refusal::NotMade(_) | Refusal::Ended(_))
    }
}

/// The error of a child that an ancestor has refused.
#[derive(Debug, thiserror::Error)]
#[error("{by} {why}")]
pub(crate) struct Refused {
    pub(crate) by: Arc<str>,
    pub(crate) why: Refusal,
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
    pub(crate) start: StartedBy,
}

/// How a child is started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct StartedBy {
    /// It takes the place of the child of its name.
    pub(crate) replaces: bool,
    /// By a phase of its maker, which does not end before it has started.
    pub(crate) is_awaited_by_maker: bool,
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

#[cfg(test)]
mod tests {
    use super::*;

    /// As long as tokio's feature `tracing` is off, with which a sender holds a span.
    #[test]
    fn an_event_is_small() {
        assert!(size_of::<Event>() <= 24);
    }
}
