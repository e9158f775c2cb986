//! How all daemons of a factory start and stop.
//!
//! Each running factory has one supervisor: a task that owns everything there is to know about the lifecycle, so that
//! nothing is locked. All that happens reaches it as an [`Event`]; a plain state machine, the plan, decides; the
//! supervisor acts. User code runs in tasks of its own and can neither block nor break the supervisor.

mod event;
mod plan;
mod seen;
mod supervisor;

use std::collections::BTreeMap;
use std::panic::Location;
use std::sync::Arc;

use futures::FutureExt;
use tokio::sync::{mpsc, oneshot};

use crate::factory::{Hub, SlotId};
use crate::scope::Leash;
use crate::{Factory, Origin, Owner, Report, RunningFactory, StartError};

pub(crate) use event::{ChildId, Ended, Event, Events, Join, Maker, Membership};
use plan::Plan;
use seen::Seen;
use supervisor::Supervisor;

impl Factory {
    /// Prepares all daemons, dependencies first and independent ones at the same time; then runs them.
    ///
    /// Returns when all are prepared and their `run`s have been started.
    ///
    /// # Cancellation
    /// Dropping the future rolls back: what was being prepared is dropped, what had been prepared is stopped.
    ///
    /// # Errors
    /// When a daemon fails to prepare, panics, or is not done at the deadline; when the factory is told to stop
    /// meanwhile; when an ancestor is stopping. By then what had been prepared has been stopped again, in reverse
    /// order, and the error's report says everything that went wrong.
    pub async fn start(self) -> Result<RunningFactory, StartError> {
        let path = self.path().into();
        let (mut interest, started) = launch(self);
        let outcome = started.await;
        interest.0 = None;
        outcome.unwrap_or_else(|_| Err(StartError::new(Arc::new(Report::abandoned(path)))))
    }
}

/// Held by whoever waits for a start; its drop before the end rolls back.
struct Interest(Option<Events>);

impl Drop for Interest {
    fn drop(&mut self) {
        if let Some(events) = &self.0 {
            let _ = events.send(Event::StartDropped);
        }
    }
}

type Started = oneshot::Receiver<Result<RunningFactory, StartError>>;

/// Freezes a factory and hands it to a supervisor.
fn launch(mut factory: Factory) -> (Interest, Started) {
    let (events, inbox) = mpsc::unbounded_channel();
    let (end, ended) = oneshot::channel();
    let (started, when_started) = oneshot::channel();
    let interest = Interest(Some(events.clone()));

    let memberships = join_ancestors(&factory, &events);
    let policies = std::mem::take(&mut factory.policies);
    let node = Arc::new(factory.freeze(events, ended.shared()));
    let driver = node.hub.driver.clone();
    let now = driver.now();
    let mut plan = Plan::new(node.hub.deadlines, now);
    let mut leashes = Vec::new();
    for (id, slot) in node.slots.iter() {
        let has_lifecycle = !slot.is_capability;
        plan.add(has_lifecycle, slot.own_needs().collect(), policies.of(&*slot.daemon));
        leashes.push(has_lifecycle.then(|| Arc::new(Leash::new(&node, id, slot.label.clone(), 0))));
    }
    let owner = Owner::new(node.hub.path.clone(), None);
    let supervisor = Supervisor {
        report: Report::new(node.hub.path.clone()),
        seen: leashes.iter().map(|_| Seen::new(now)).collect(),
        seen_of_all: Seen::new(now),
        watchers: Vec::new(),
        escalates: policies.escalates,
        node,
        inbox,
        leashes,
        plan,
        children: BTreeMap::new(),
        joining: memberships.len(),
        memberships,
        reached: None,
        timer: None,
        started: Some(started),
        end,
    };
    let origin = Origin { owner: &owner, place: Location::caller() };
    driver.spawn(origin, "supervisor", Box::pin(supervisor.run()));
    (interest, when_started)
}

/// Asks every ancestor that has to wait for this factory to take it in.
fn join_ancestors(factory: &Factory, events: &Events) -> Vec<Membership> {
    let join = |(hub, shares, maker): (Arc<Hub>, Vec<SlotId>, Maker)| {
        let id = ChildId(hub.next_child());
        hub.tell(Event::Join(Box::new(Join {
            id,
            child: factory.path().into(),
            ancestor: hub.path.clone(),
            events: events.clone(),
            shares,
            maker,
        })));
        Membership { id, ancestor: hub, failure: None }
    };
    factory.owners().map(join).collect()
}
