//! How the daemons of a factory start, are supervised and stop.
//!
//! Each running factory has one supervisor, which owns the whole state of the lifecycle, so that nothing is locked. It receives
//! every [`Event`]; a state machine, the plan, decides; the supervisor executes. User code runs in tasks of its own, or is left
//! to the world, which may let it block: so it can neither block nor break the supervisor.

mod plan; // decides: a state machine
mod supervisor; // executes
mod looking; // how aborted daemons end
mod children; // admits children, by name
mod commands; // restarts or stops a single daemon
mod replacing; // a child in the place of its namesake
mod stopping; // waits for the end of a factory
mod ending; // drops the daemons, and hands out the report
mod checks; // decides who is asked for its health
mod health; // asks, and publishes the health
mod published; // answers requests for status and changes
mod serving; // a factory run to its end, and a handle without daemons

use std::collections::{BTreeMap, VecDeque};
use std::panic::Location;
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use crate::changes::Watchers;
use crate::control::{
    AncestorLink, ChildEntry, ChildId, Control, Event, Events, Maker, SlotId, StartedBy, end,
};
use crate::factory::Assembled;
use crate::scope::RunState;
use crate::supervision::Supervision;
use crate::{Factory, LogContext, Report, RunningFactory, StartError};

use looking::Looking;
use plan::Plan;
use published::PublishedStatus;
use serving::Started;
use supervisor::Supervisor;

pub use replacing::Replaced;
pub use serving::{Remote, Serving};

impl Factory {
    /// Prepares all daemons, dependencies first and independent ones concurrently, then starts every `run` and returns.
    ///
    /// # Cancellation
    /// Dropping the future rolls back: the `prepare`s in flight are dropped, and prepared daemons are stopped.
    ///
    /// # Errors
    /// When a `prepare` fails, panics or exceeds the deadline; when the factory is told to stop meanwhile; when an ancestor
    /// is stopping; when its parent has a child of this name already, which [`replace`](Factory::replace) would take the
    /// place of; when a daemon's `prepare` awaits the start of a child that depends on this daemon. The prepared daemons have then been stopped in reverse order, and the report has all failures.
    pub async fn start(self) -> Result<RunningFactory, StartError> {
        self.start_as(false).await
    }

    /// Starts it, in the place of its namesake if it `replaces` that.
    async fn start_as(self, replaces: bool) -> Result<RunningFactory, StartError> {
        let path = self.shared_path();
        let (started, when_started) = oneshot::channel();
        let (mut interest, _) = launch(self, Started::Factory(started), replaces);
        let outcome = when_started.await;
        interest.0 = None;
        outcome.unwrap_or_else(|_| Err(StartError::new(Arc::new(Report::abandoned(path)))))
    }

    /// Starts the factory and runs it to its end, without a handle to its daemons: for the main function of a process, which
    /// must be able to stop a factory that is starting, and to ask for its status. Begins with the call.
    ///
    /// # Cancellation
    /// Dropping the future stops the factory.
    ///
    /// # Errors
    /// As of [`start`](Factory::start). A failure after the start is in the report.
    pub fn serve(self) -> Serving {
        let (started, when_started) = oneshot::channel();
        let (interest, control) = launch(self, Started::Serving(started), false);
        Serving::new(interest, when_started, control)
    }
}

/// Guard of the future of a start: its drop before the end rolls back.
struct Interest(Option<Events>);

impl Drop for Interest {
    fn drop(&mut self) {
        if let Some(events) = &self.0 {
            let _ = events.send(Event::StartCancelled);
        }
    }
}

/// Freezes a factory and spawns its supervisor.
fn launch(factory: Factory, started: Started, replaces: bool) -> (Interest, Arc<Control>) {
    let (events, inbox) = mpsc::unbounded_channel();
    let (end, ended) = end();
    let interest = Interest(Some(events.clone()));

    let ancestor_links = join_ancestors(&factory, &events, replaces);
    let handover = factory.freeze(events, ended);
    let node = &handover.node;
    let control = node.control.clone();
    let driver = control.driver.clone();
    let now = driver.now();
    let mut plan = Plan::new(control.settings.deadlines, now);
    let slots = handover.slots();
    let (mut run_states, mut published) = (Vec::with_capacity(slots), Vec::with_capacity(slots));
    plan.reserve(slots);
    for Assembled { slot, label, has_lifecycle, needs, policy, build } in handover.daemons() {
        published.push(PublishedStatus::new(now, build));
        plan.add(has_lifecycle, needs, policy);
        run_states.push(has_lifecycle.then(|| Arc::new(RunState::new(node, slot, label.clone()))));
    }
    if handover.remains() {
        plan.remain();
    }
    let supervisor = Supervisor {
        report: Arc::new(Report::new(control.path.clone())),
        published,
        published_factory: PublishedStatus::new(now, Duration::ZERO),
        watchers: Watchers::default(),
        health: None,
        names: BTreeMap::new(),
        handles: Weak::new(),
        commanded: Vec::new(),
        await_stopping: Vec::new(),
        escalates: handover.escalates(),
        control: control.clone(),
        node: Some(handover.node),
        inbox,
        run_states,
        plan,
        children: BTreeMap::new(),
        joining: ancestor_links.len(),
        ancestor_links,
        has_begun: false,
        reached: None,
        wake_at: None,
        looking: Looking::default(),
        overstayed: false,
        ending: None,
        started: Some(started),
        end: Some(end),
        user_code: VecDeque::new(),
    };
    driver.supervise(&control.path, Location::caller(), Supervision::new(supervisor));
    (interest, control)
}

/// Registers with every ancestor that must outlive this factory.
fn join_ancestors(factory: &Factory, events: &Events, replaces: bool) -> Vec<AncestorLink> {
    let join = |(control, shares, maker): (Arc<Control>, Vec<SlotId>, Maker)| {
        let id = ChildId(control.next_child());
        control.send(Event::Join(Box::new(ChildEntry {
            id,
            child: factory.shared_path(),
            ancestor: control.path.clone(),
            events: events.clone(),
            shares,
            maker,
            start: StartedBy {
                replaces,
                is_awaited_by_maker: matches!(maker, Maker::Daemon(_)) && is_in_phase_of(factory),
            },
        })));
        AncestorLink { id, ancestor: control, maker, failure: None, overstayed: false }
    };
    factory.owners().map(join).collect()
}

/// Whether this runs in a phase of the daemon that has made the factory: not in a task of it. Not known where a subscriber sees
/// spans instead of a [`LogContext`].
fn is_in_phase_of(factory: &Factory) -> bool {
    LogContext::current(|context| {
        context.is_some_and(|context| {
            context.task().is_none() && factory.is_made_by(context.factory(), context.daemon())
        })
    })
}
