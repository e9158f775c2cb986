//! The health of a factory: the supervisor asks its daemons, and publishes what they answer.
//!
//! What always holds: nothing of this exists until somebody requests it. The daemons answer in tasks of their own, for which the
//! supervisor never waits.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use super::checks::Checks;
use super::supervisor::Supervisor;
use crate::changes::Change;
use crate::control::{ChildId, Event, Maker, SlotId};
use crate::readiness::HealthSender;
use crate::scope::{Asking, Completion, Question};
use crate::{DaemonHealth, FactoryHealth, Health, Scope, State};

/// What a supervisor knows of the health of its factory, once that was requested.
pub(super) struct KnownHealth {
    checks: Checks<Option<Asking>>,
    watchers: Vec<HealthSender>,
    children: BTreeMap<ChildId, Arc<FactoryHealth>>,
    published: Arc<FactoryHealth>,
    /// Whether it was ready and live when the world was told of it.
    told: Option<(bool, bool)>,
    /// What is published may differ from what is known.
    is_outdated: bool,
}

impl KnownHealth {
    pub(super) fn wake_at(&self) -> Option<Instant> {
        self.checks.wake_at()
    }

    pub(super) fn of(&self, slot: SlotId) -> Option<&Health> {
        self.checks.health(slot)
    }
}

fn is_running(state: State) -> bool {
    matches!(state, State::Running | State::Finished)
}

impl Supervisor {
    /// From now on the daemons are asked, here and in all children.
    pub(super) fn watch_health(&mut self, sender: Option<HealthSender>) {
        if self.health.is_none() {
            let path = self.control.path.clone();
            let checks = Checks::new(self.control.settings.health_checks, self.run_states.len());
            self.health = Some(Box::new(KnownHealth {
                checks,
                watchers: Vec::new(),
                children: BTreeMap::new(),
                published: Arc::new(FactoryHealth::unknown(path)),
                told: None,
                is_outdated: true,
            }));
            self.begin_checks();
            for child in self.children.values().filter(|child| child.maker != Maker::Descendant) {
                let _ = child.events.send(Event::WatchHealth(None));
            }
        }
        let Some(health) = &mut self.health else { return };
        if let Some(sender) = sender {
            sender.send(&health.published);
            health.watchers.retain(HealthSender::has_reader);
            health.watchers.push(sender);
        }
    }

    fn begin_checks(&mut self) {
        let now = self.plan.now();
        if let Some(health) = &mut self.health
            && matches!(self.plan.factory_state(), State::Running | State::Draining)
        {
            health.checks.begin(now);
        }
    }

    /// The state of a daemon, or of the factory, has changed.
    pub(super) fn health_of_changed(&mut self, slot: Option<SlotId>, from: State, to: State) {
        let Some(health) = &mut self.health else { return };
        health.is_outdated = true;
        match slot {
            Some(slot) if is_running(from) != is_running(to) => {
                health.checks.renew(slot, is_running(to));
            }
            Some(_) => {}
            None if to >= State::Stopping => health.checks.end(),
            None => self.begin_checks(),
        }
    }

    /// A daemon has answered a question.
    pub(super) fn health_answered(&mut self, slot: SlotId, question: u64, answer: Option<Box<Health>>) {
        let Some(health) = &mut self.health else { return };
        let former = health.checks.health(slot).cloned();
        if health.checks.answered(slot, question, answer.map(|answer| *answer)) {
            self.health_changed(slot, former);
        }
    }

    /// A child has published its health.
    pub(super) fn child_health(&mut self, child: ChildId, of_child: Arc<FactoryHealth>) {
        if let Some(health) = &mut self.health
            && self.children.contains_key(&child)
        {
            health.children.insert(child, of_child);
            health.is_outdated = true;
        }
    }

    /// A child has gone.
    pub(super) fn forget_child_health(&mut self, child: ChildId) {
        if let Some(health) = &mut self.health
            && health.children.remove(&child).is_some()
        {
            health.is_outdated = true;
        }
    }

    /// Asks whom it is time to ask, and publishes what has changed.
    pub(super) fn check_health(&mut self) {
        let Some(health) = &mut self.health else { return };
        self.plan.set_now(self.control.driver.now());
        let now = self.plan.now();
        let due = health
            .checks
            .due(now, |slot| self.run_states[slot.index()].is_some() && is_running(self.plan.state(slot)));
        for (slot, former) in due.late {
            if let Some(asking) = self.health.as_mut().and_then(|health| health.checks.give_up(slot)) {
                // The task drops the daemon's future, if that does not block it.
                *asking = None;
            }
            self.health_changed(slot, former);
        }
        for slot in due.ask {
            self.ask(slot, now);
        }
        self.publish_health();
    }

    fn ask(&mut self, slot: SlotId, now: Instant) {
        let (Some(health), Some(run_state)) = (&mut self.health, &self.run_states[slot.index()]) else {
            return;
        };
        let number = health.checks.next_question();
        let Some((question, asking)) = Question::admit(run_state, number) else { return };
        health.checks.asked(slot, number, Some(asking), now);
        let completion = Completion::question(run_state.clone(), question.task());
        let task = question.task();
        let asks = self.node().daemon(slot).ask_health(Scope::new(run_state.clone()), completion, question);
        self.control.driver.spawn(run_state.origin(std::panic::Location::caller()), task, asks);
    }

    /// Tells subscribers, the world and the log of another health of a daemon.
    fn health_changed(&mut self, slot: SlotId, former: Option<Health>) {
        let (Some(health), Some(run_state)) = (&mut self.health, self.run_states[slot.index()].clone())
        else {
            return;
        };
        health.is_outdated = true;
        let Some(current) = health.checks.health(slot).cloned() else { return };
        if former.as_ref() == Some(&current) {
            return;
        }
        self.control.driver.health_changed(&self.control.path, &run_state.label, &current);
        if !self.watchers.is_empty() {
            let (state, since) = self.published[slot.index()].state_since();
            let (factory, daemon) = (self.control.path.clone(), Some(run_state.label.clone()));
            self.watchers.notify(Change { factory, daemon, state, since, health: Some(current.clone()) });
        }
        let was_well = former.as_ref().is_none_or(|former| former.reason().is_none());
        if current.reason().is_some() {
            // Not for each of its reasons, which may have numbers in them.
            if former.is_none_or(|former| former.word() != current.word()) {
                self.leave(move || run_state.log(|| tracing::warn!("is {current}")));
            }
        } else if !was_well {
            self.leave(move || run_state.log(|| tracing::info!("is well again")));
        }
    }

    /// Publishes that the factory stops, before its daemons are told to.
    pub(super) fn withdraw_readiness(&mut self) {
        let is_withdrawn = self.published_factory.state_since().0 >= State::Stopping;
        if self.health.is_some() && self.plan.is_stopping() && !is_withdrawn {
            self.publish();
            self.publish_health();
        }
    }

    /// Publishes the health, if it has changed.
    pub(super) fn publish_health(&mut self) {
        let Some(health) = self.health.as_mut().filter(|health| health.is_outdated) else { return };
        health.is_outdated = false;
        let slots = self.run_states.iter().enumerate();
        let daemons = slots.filter_map(|(index, run_state)| {
            let slot = SlotId(index as u32);
            let daemon = run_state.as_ref()?.label.to_string();
            let state = self.published[index].state_since().0;
            Some(DaemonHealth { daemon, state, health: health.checks.health(slot).cloned() })
        });
        let current = FactoryHealth {
            factory: self.control.path.clone(),
            state: self.published_factory.state_since().0,
            escalates: self.escalates,
            daemons: daemons.collect(),
            children: health.children.values().cloned().collect(),
        };
        if current == *health.published {
            return;
        }
        let (is_ready, is_live) = (current.is_ready(), current.is_live());
        if health.told.replace((is_ready, is_live)) != Some((is_ready, is_live)) {
            self.control.driver.readiness_changed(&current.factory, is_ready, is_live, &current.problems());
        }
        health.published = Arc::new(current);
        for watcher in &health.watchers {
            watcher.send(&health.published);
        }
        if let Some(parent) = self.ancestor_links.first() {
            let health = health.published.clone();
            parent.ancestor.send(Event::ChildHealth { child: parent.id, health });
        }
    }
}
