//! What a supervisor lets others see: each daemon's state and since when, and who is told of changes.

use std::time::Instant;

use tokio::sync::oneshot;

use super::supervisor::Supervisor;
use super::{Event, Maker};
use crate::changes::{Change, Watcher};
use crate::factory::SlotId;
use crate::status::{DaemonStatus, Snapshot, State, Status};
use crate::{Error, Phase};

/// What is known of one daemon, or of the factory, for those who ask.
pub(super) struct Seen {
    state: State,
    since: Instant,
    runs: u32,
    last_error: Option<Box<str>>,
}

impl Seen {
    pub(super) fn new(now: Instant) -> Self {
        Seen { state: State::Waiting, since: now, runs: 0, last_error: None }
    }

    pub(super) fn runs(&mut self) {
        self.runs = self.runs.saturating_add(1);
    }

    pub(super) fn failed(&mut self, phase: Phase, error: &Error) {
        self.last_error = Some(format!("{phase}: {error:#}").into());
    }

    /// Notes a state; true when it is another one.
    fn is_now(&mut self, state: State, now: Instant) -> bool {
        let is_new = std::mem::replace(&mut self.state, state) != state;
        if is_new {
            self.since = now;
        }
        is_new
    }
}

impl Supervisor {
    /// Notes what has changed, and tells the world and those who watch.
    pub(super) fn publish(&mut self) {
        let now = self.plan.now();
        let state = self.plan.state_of_all();
        let has_ended = state == State::Ended;
        if !has_ended && self.seen_of_all.is_now(state, now) {
            self.tell(None, state, now);
        }
        for slot in self.plan.changed() {
            let state = self.plan.state(slot);
            if self.leashes[slot.index()].is_some() && self.seen[slot.index()].is_now(state, now) {
                self.tell(Some(slot), state, now);
            }
        }
        if has_ended && self.seen_of_all.is_now(state, now) {
            self.tell(None, state, now);
        }
    }

    fn tell(&mut self, slot: Option<SlotId>, state: State, since: Instant) {
        let leash = slot.and_then(|slot| self.leashes[slot.index()].as_ref());
        let (hub, label) = (&self.node.hub, leash.map(|leash| &leash.label));
        hub.driver.changed(&hub.path, label.map(|label| &**label), state);
        if self.watchers.is_empty() {
            return;
        }
        let change = Change { factory: hub.path.clone(), daemon: label.cloned(), state, since };
        self.watchers.retain(|watcher| watcher.tell(change.clone()));
    }

    /// Somebody wants to know of changes, here and below.
    pub(super) fn let_watch(&mut self, watcher: Watcher) {
        for child in self.children.values().filter(|child| child.maker != Maker::Descendant) {
            let _ = child.events.send(Event::Watch(watcher.clone()));
        }
        self.watchers.push(watcher);
    }

    /// Draws this factory's part of the tree, and asks the children for theirs.
    pub(super) fn show(&self, answer: oneshot::Sender<Snapshot>) {
        let now = self.node.hub.driver.now();
        let lasted = |seen: &Seen| now.saturating_duration_since(seen.since);
        let leashes = self.leashes.iter().zip(&self.seen);
        let daemons = leashes.filter_map(|(leash, seen)| {
            let leash = leash.as_ref()?;
            Some(DaemonStatus {
                daemon: leash.label.to_string(),
                state: seen.state,
                since: seen.since,
                lasted: lasted(seen),
                runs: seen.runs,
                last_error: seen.last_error.as_deref().map(str::to_owned),
                tasks: leash.tasks.live().collect(),
            })
        });
        let own = Status {
            factory: self.node.hub.path.to_string(),
            state: self.seen_of_all.state,
            since: self.seen_of_all.since,
            lasted: lasted(&self.seen_of_all),
            daemons: daemons.collect(),
            children: Vec::new(),
        };
        let children = self.children.values().filter(|child| child.maker != Maker::Descendant);
        let ask = |child: &super::Join| {
            let (answer, answered) = oneshot::channel();
            let _ = child.events.send(Event::Show(answer));
            answered
        };
        // Whoever asked may have lost interest.
        let _ = answer.send(Snapshot { own, children: children.map(ask).collect() });
    }
}
