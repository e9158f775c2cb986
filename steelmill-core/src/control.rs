//! How a running factory is reached: its control block, and the [events](Event) that its supervisor receives.
//!
//! The control block holds no daemon, so keeping one (in a scope that a daemon holds, in the handle of an ended child)
//! makes no reference cycle.

mod end; // the report, for those who wait for it
mod event; // what a supervisor receives

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;

use crate::cell::{Counter, Flag, Signal};
use crate::changes::{Changes, changes};
use crate::driver::Driver;
use crate::readiness::health_watch;
use crate::status::{Snapshot, Status};
use crate::sync::OnceLock;
use crate::{Deadlines, HealthChecks, HealthWatch, Report};

pub(crate) use end::{EndSender, Ended, end};
pub(crate) use event::{
    Abort, AncestorLink, ChildEntry, ChildId, ChildrenRequest, Command, Event, Events, FailedTask, Handle,
    Maker, Order, Outcome, Refusal, Refused, SlotId, StartedBy,
};

/// What was set for a factory and is inherited by its children, which share it until it is set for them.
#[derive(Clone, Default)]
pub(crate) struct Settings {
    pub(crate) deadlines: Deadlines,
    pub(crate) health_checks: HealthChecks,
}

/// The control block of a started factory: everything but its daemons.
pub(crate) struct Control {
    pub(crate) path: Arc<str>,
    /// Levels below the root.
    pub(crate) depth: usize,
    pub(crate) driver: Arc<dyn Driver>,
    pub(crate) settings: Arc<Settings>,
    pub(crate) events: Events,
    ended: Ended,
    /// How long a requested stop goes on serving.
    pub(crate) drain: Duration,
    is_stopping: Flag,
    is_watched: Flag,
    /// Made by the first who waits for it: most factories never drain.
    draining: OnceLock<Signal>,
    children: Counter,
}

impl Control {
    pub(crate) fn new(
        path: Arc<str>,
        depth: usize,
        driver: Arc<dyn Driver>,
        settings: Arc<Settings>,
        events: Events,
        ended: Ended,
    ) -> Self {
        Control {
            path,
            depth,
            driver,
            settings,
            events,
            ended,
            drain: Duration::ZERO,
            is_stopping: Flag::default(),
            is_watched: Flag::default(),
            draining: OnceLock::new(),
            children: Counter::default(),
        }
    }

    /// Sends an event to the supervisor. Ignored once that has ended: nothing is left to do then.
    pub(crate) fn send(&self, event: Event) {
        let _ = self.events.send(event);
    }

    pub(crate) fn request_stop(&self) {
        self.announce_stop();
        self.send(Event::Stop);
    }

    /// Stops without draining, or ends the drain.
    pub(crate) fn stop_at_once(&self) {
        self.set_stopping();
        self.send(Event::StopAtOnce);
    }

    /// A stop is about to be requested: children are refused from here on, unless the factory drains first.
    pub(crate) fn announce_stop(&self) {
        if self.drain.is_zero() {
            self.set_stopping();
        }
    }

    /// Raised when the factory drains.
    pub(crate) fn draining(&self) -> &Signal {
        self.draining.get_or_init(Signal::default)
    }

    pub(crate) fn is_draining(&self) -> bool {
        !self.is_stopping() && self.draining.get().is_some_and(Signal::is_raised)
    }

    /// From here on children are refused.
    pub(crate) fn set_stopping(&self) {
        self.is_stopping.raise();
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.is_stopping.is_raised()
    }

    /// Whether anybody has asked for the report: one that nobody reads is logged.
    pub(crate) fn is_watched(&self) -> bool {
        self.is_watched.is_raised()
    }

    /// Asks the supervisors of this factory and its children for their state; `None` once the factory has ended.
    pub(crate) fn status(&self) -> impl Future<Output = Option<Status>> + Send + use<> {
        let (answer, answered) = oneshot::channel();
        self.send(Event::StatusRequested(answer));
        Snapshot::gather(answered)
    }

    /// Waits until the factory begins to stop, or has ended.
    pub(crate) fn stopping(&self) -> impl Future<Output = ()> + Send + use<> {
        let (waiter, stops) = oneshot::channel();
        self.send(Event::AwaitStopping(waiter));
        async move {
            // An error says that the supervisor is gone.
            let _ = stops.await;
        }
    }

    pub(crate) fn health(&self) -> HealthWatch {
        let (sender, watch) = health_watch(self.path.clone());
        self.send(Event::WatchHealth(Some(sender)));
        watch
    }

    pub(crate) fn changes(&self) -> Changes {
        let (watcher, changes) = changes();
        self.send(Event::Subscribe(watcher));
        changes
    }

    /// A number for a new [`ChildId`].
    pub(crate) fn next_child(&self) -> u64 {
        self.children.next()
    }

    /// Waits for the report. The future keeps nothing of the factory alive.
    pub(crate) fn ended(&self) -> impl Future<Output = Arc<Report>> + Send + use<> {
        self.is_watched.raise();
        let (path, ended) = (self.path.clone(), self.ended.clone());
        async move { ended.report().await.unwrap_or_else(|| Arc::new(Report::abandoned(path))) }
    }
}
