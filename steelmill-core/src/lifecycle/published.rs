//! Published status: the last state of each daemon, for requests of status, subscribers and the world.

use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::supervisor::Supervisor;
use crate::Phase;
use crate::changes::{Change, Watcher};
use crate::control::{ChildEntry, Event, Maker, SlotId};
use crate::status::{DaemonStatus, Snapshot, State, Status};

/// The published status of a daemon, or of the factory.
pub(super) struct PublishedStatus {
    state: State,
    since: Instant,
    build: Lasted,
    prepare: Lasted,
    stop: Lasted,
    runs: u32,
    last_error: Option<Box<str>>,
}

/// How long something took, in nanoseconds; the greatest number if it has not happened. Every daemon has several.
#[derive(Clone, Copy)]
struct Lasted(u64);

impl Lasted {
    const NEVER: Self = Self(u64::MAX);

    fn of(time: Duration) -> Self {
        Self(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX - 1))
    }

    fn get(self) -> Option<Duration> {
        (self.0 != u64::MAX).then(|| Duration::from_nanos(self.0))
    }
}

impl PublishedStatus {
    pub(super) fn new(now: Instant, build: Duration) -> Self {
        let (build, prepare, stop) = (Lasted::of(build), Lasted::NEVER, Lasted::NEVER);
        PublishedStatus { state: State::Waiting, since: now, build, prepare, stop, runs: 0, last_error: None }
    }

    pub(super) fn runs(&mut self) {
        self.runs = self.runs.saturating_add(1);
    }

    pub(super) fn failed(&mut self, phase: Phase, error: &str) {
        self.last_error = Some(format!("{phase}: {error}").into());
    }

    /// The state, and when it was entered.
    pub(super) fn state_since(&self) -> (State, Instant) {
        (self.state, self.since)
    }

    /// Sets the state; returns the former one if it has changed.
    fn set_state(&mut self, state: State, now: Instant) -> Option<State> {
        let former = std::mem::replace(&mut self.state, state);
        let is_new = former != state;
        if is_new {
            let lasted = || Lasted::of(now.saturating_duration_since(self.since));
            match former {
                State::Preparing => self.prepare = lasted(),
                State::Stopping => self.stop = lasted(),
                _ => {}
            }
            self.since = now;
        }
        is_new.then_some(former)
    }
}

impl Supervisor {
    /// Publishes changed states, to the world and to subscribers.
    pub(super) fn publish(&mut self) {
        let now = self.plan.now();
        let state = self.plan.factory_state();
        let has_ended = state == State::Ended;
        if !has_ended && let Some(former) = self.published_factory.set_state(state, now) {
            self.notify(None, former, state, now);
        }
        while let Some(slot) = self.plan.next_changed() {
            let state = self.plan.state(slot);
            if self.run_states[slot.index()].is_some()
                && let Some(former) = self.published[slot.index()].set_state(state, now)
            {
                self.notify(Some(slot), former, state, now);
            }
        }
        if has_ended && let Some(former) = self.published_factory.set_state(state, now) {
            self.notify(None, former, state, now);
        }
    }

    fn notify(&mut self, slot: Option<SlotId>, former: State, state: State, since: Instant) {
        self.health_of_changed(slot, former, state);
        let run_state = slot.and_then(|slot| self.run_states[slot.index()].as_ref());
        let (control, label) = (&self.control, run_state.map(|run_state| &run_state.label));
        control.driver.changed(&control.path, label.map(|label| &**label), state);
        if self.watchers.is_empty() {
            return;
        }
        let health = slot.and_then(|slot| self.health.as_ref()?.of(slot).cloned());
        let change = Change { factory: control.path.clone(), daemon: label.cloned(), state, since, health };
        self.watchers.notify(change);
    }

    /// Subscribes to changes, here and in all children.
    pub(super) fn subscribe(&mut self, watcher: Watcher) {
        for child in self.children.values().filter(|child| child.maker != Maker::Descendant) {
            let _ = child.events.send(Event::Subscribe(watcher.clone()));
        }
        self.watchers.add(watcher);
    }

    /// Answers with this factory's part of the tree, and requests the children's.
    pub(super) fn answer_status(&self, answer: oneshot::Sender<Snapshot>) {
        let now = self.control.driver.now();
        let lasted = |published: &PublishedStatus| now.saturating_duration_since(published.since);
        let run_states = self.run_states.iter().zip(&self.published).enumerate();
        let daemons = run_states.filter_map(|(index, (run_state, published))| {
            let run_state = run_state.as_ref()?;
            Some(DaemonStatus {
                daemon: run_state.label.to_string(),
                state: published.state,
                since: published.since,
                lasted: lasted(published),
                build: published.build.get().unwrap_or_default(),
                prepare: published.prepare.get(),
                stop: published.stop.get(),
                runs: published.runs,
                last_error: published.last_error.as_deref().map(str::to_owned),
                health: self.health.as_ref().and_then(|health| health.of(SlotId(index as u32)).cloned()),
                tasks: run_state.tasks.live().collect(),
            })
        });
        let own = Status {
            factory: self.control.path.to_string(),
            state: self.published_factory.state,
            since: self.published_factory.since,
            lasted: lasted(&self.published_factory),
            daemons: daemons.collect(),
            children: Vec::new(),
        };
        let children = self.children.values().filter(|child| child.maker != Maker::Descendant);
        let ask = |child: &ChildEntry| {
            let (answer, answered) = oneshot::channel();
            let _ = child.events.send(Event::StatusRequested(answer));
            answered
        };
        // The requester may be gone.
        let _ = answer.send(Snapshot { own, children: children.map(ask).collect() });
    }
}
