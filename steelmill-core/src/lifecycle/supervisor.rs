//! The one task that owns a running factory's lifecycle: it hears of events, asks the plan, and acts.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, Location, catch_unwind};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use anyhow::anyhow;
use futures::future::BoxFuture;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::oneshot;

use super::plan::{Action, PhaseEnd, Plan, Verdict};
use super::seen::Seen;
use super::{ChildId, Event, Join, Membership};
use crate::changes::Watcher;
use crate::factory::{Node, SlotId};
use crate::report::{ChildFailed, Lost, NotTold, Stuck, panicked};
use crate::scope::{Ending, Leash, Outcome};
use crate::{Error, Milestone, Overstayed, Phase, Report, RunningFactory, Scope, StartError, ToldToStop};

pub(super) struct Supervisor {
    pub(super) node: Arc<Node>,
    pub(super) inbox: UnboundedReceiver<Event>,
    /// One for each slot; a capability needs none.
    pub(super) leashes: Vec<Option<Arc<Leash>>>,
    pub(super) plan: Plan,
    pub(super) children: BTreeMap<ChildId, Join>,
    /// With every ancestor that has to wait for this factory.
    pub(super) memberships: Vec<Membership>,
    /// Ancestors that have not answered yet.
    pub(super) joining: usize,
    /// What the world has been told last.
    pub(super) reached: Option<Milestone>,
    pub(super) timer: Option<BoxFuture<'static, ()>>,
    pub(super) report: Report,
    /// What others may see of each slot, and of the factory as a whole.
    pub(super) seen: Vec<Seen>,
    pub(super) seen_of_all: Seen,
    pub(super) watchers: Vec<Watcher>,
    /// A failure of this factory is one of its parent's.
    pub(super) escalates: bool,
    pub(super) started: Option<oneshot::Sender<Result<RunningFactory, StartError>>>,
    pub(super) end: oneshot::Sender<Arc<Report>>,
}

impl Supervisor {
    pub(super) async fn run(mut self) {
        if self.joining == 0 {
            self.start();
        }
        self.act();
        while !self.plan.has_ended() {
            let event = self.next_event().await;
            self.plan.it_is(self.node.hub.driver.now());
            match event {
                Some(event) => self.hear(event),
                None => {
                    self.timer = None;
                    self.plan.timer_rang();
                }
            }
            self.act();
        }
        self.finish();
    }

    /// The next event; none when the timer rings first.
    async fn next_event(&mut self) -> Option<Event> {
        let Supervisor { inbox, timer, .. } = self;
        poll_fn(|context| {
            if let Poll::Ready(event) = inbox.poll_recv(context) {
                return Poll::Ready(event);
            }
            match timer {
                Some(timer) => timer.as_mut().poll(context).map(|()| None),
                None => Poll::Pending,
            }
        })
        .await
    }

    fn hear(&mut self, event: Event) {
        match event {
            Event::JobEnded { slot, phase, outcome } => self.phase_ended(slot, phase, outcome),
            Event::TaskFailed { slot, name, error } => self.task_failed(slot, name, error),
            Event::TasksEnded { slot, life } => {
                // Those of an earlier run that could not be aborted are nobody's any more.
                if self.leashes[slot.index()].as_ref().is_some_and(|leash| leash.life == life) {
                    self.plan.tasks_ended(slot);
                }
            }
            Event::Stop => self.stop(),
            Event::StartDropped => {
                if self.started.is_some() {
                    self.stop();
                }
            }
            Event::HandlesDropped => {
                if !self.node.hub.is_stopping() {
                    let factory = &*self.node.hub.path;
                    tracing::warn!(factory, "stopping: its last handle was dropped without a call of stop()");
                }
                self.stop();
            }
            Event::Kill { limit } => {
                // What has ended by now has ended in time.
                while let Ok(event) = self.inbox.try_recv() {
                    self.hear(event);
                }
                self.stop();
                self.plan.kill(limit);
            }
            Event::Join(join) => self.take_in(*join),
            Event::Left { child, failure } => {
                let failed = failure.is_some();
                if let Some(report) = failure {
                    self.record_child(child, Phase::Run, ChildFailed(report).into());
                }
                self.children.remove(&child);
                self.plan.child_left(child);
                if failed {
                    self.plan.stop();
                }
            }
            Event::Show(answer) => self.show(answer),
            Event::Watch(watcher) => self.let_watch(watcher),
            Event::Joined => {
                self.joining -= 1;
                if self.joining == 0 {
                    self.start();
                }
            }
            Event::Refused { by } => {
                self.refuse_start(|| anyhow!("{by} is stopping: nothing can be started in it any more"));
                self.stop();
            }
            Event::Orphaned { by } => {
                self.refuse_start(|| anyhow!("{by} has ended: nothing can be started in it any more"));
                self.stop();
            }
        }
    }

    fn start(&mut self) {
        self.reach(Milestone::Preparing);
        self.plan.start();
    }

    /// Tells the world, once.
    fn reach(&mut self, milestone: Milestone) {
        if self.reached < Some(milestone) {
            self.reached = Some(milestone);
            let hub = &self.node.hub;
            hub.driver.reached(&hub.path, milestone);
        }
    }

    fn stop(&mut self) {
        self.refuse_start(|| ToldToStop.into());
        self.plan.stop();
    }

    /// Notes why the factory does not start, unless it has started or there is a reason already.
    fn refuse_start(&mut self, reason: impl FnOnce() -> Error) {
        if self.started.is_some() && self.report.is_clean() {
            self.report.add("", Phase::Prepare, reason());
        }
    }

    fn take_in(&mut self, mut join: Join) {
        let shares = std::mem::take(&mut join.shares);
        if self.plan.join(join.id, shares, join.maker) {
            if join.maker != super::Maker::Descendant {
                for watcher in &self.watchers {
                    let _ = join.events.send(Event::Watch(watcher.clone()));
                }
            }
            self.children.insert(join.id, join);
        } else {
            let by = self.node.hub.path.clone();
            let _ = join.events.send(Event::Refused { by });
        }
    }

    fn phase_ended(&mut self, slot: SlotId, phase: Phase, outcome: Outcome) {
        let (end, error) = match outcome {
            Outcome::Done => (PhaseEnd::Done, None),
            Outcome::Cut => (PhaseEnd::Cut, None),
            Outcome::Failed(error) => (PhaseEnd::Failed, Some(error)),
            Outcome::Lost => (PhaseEnd::Failed, Some(Lost.into())),
        };
        let verdict = self.plan.phase_ended(slot, phase, end);
        match (error, verdict) {
            (None, _) => {}
            (Some(error), Verdict::Stands) => self.record(slot, phase, error),
            (Some(error), Verdict::RunsAgain) => self.record_restart(slot, error),
            (Some(error), Verdict::TooOften(backoff)) => {
                let (restarts, window) = (backoff.restarts, backoff.window);
                let often = format!("after {restarts} restarts within {window:?}, which is its limit");
                self.record(slot, phase, error.context(often));
            }
        }
    }

    fn task_failed(&mut self, slot: SlotId, name: &'static str, error: Error) {
        if let Some(leash) = &self.leashes[slot.index()] {
            leash.span.in_scope(|| tracing::error!(task = name, "task failed: {error:#}"));
            self.seen[slot.index()].failed(Phase::Task, &error);
            self.report.add_task(&leash.label, name, error);
        }
    }

    fn record(&mut self, slot: SlotId, phase: Phase, error: Error) {
        if let Some(leash) = &self.leashes[slot.index()] {
            leash.span.in_scope(|| tracing::error!("failed to {phase}: {error:#}"));
            self.seen[slot.index()].failed(phase, &error);
            self.report.add(&leash.label, phase, error);
        }
    }

    fn record_restart(&mut self, slot: SlotId, error: Error) {
        if let Some(leash) = &self.leashes[slot.index()] {
            leash.span.in_scope(|| tracing::warn!("failed to run, and will run again: {error:#}"));
            self.seen[slot.index()].failed(Phase::Run, &error);
            self.report.add_restart(&leash.label, error);
        }
    }

    fn record_child(&mut self, id: ChildId, phase: Phase, error: Error) {
        if let Some(child) = self.children.get(&id) {
            let (factory, child) = (&*self.node.hub.path, &*child.child);
            tracing::error!(factory, child, "child failed to {phase}: {error:#}");
            self.report.add(&format!("child {child}"), phase, error);
        }
    }
}

// Acting.
impl Supervisor {
    fn act(&mut self) {
        loop {
            let actions = self.plan.actions();
            if actions.is_empty() {
                break;
            }
            for action in actions {
                self.carry_out(action);
            }
        }
        if self.plan.is_stopping() {
            self.node.hub.set_stopping();
            self.reach(Milestone::Stopping);
        }
        self.publish();
    }

    fn carry_out(&mut self, action: Action) {
        match action {
            Action::Begin(slot, phase) => self.begin(slot, phase),
            Action::Started => self.tell_started(),
            Action::Tell(slot) => self.with_leash(slot, |leash| leash.stopping.raise()),
            Action::CloseTasks(slot) => {
                let leash = self.leashes[slot.index()].as_ref();
                if let Some(leash) = leash.filter(|leash| !leash.stopping.is_raised()) {
                    leash.stopping.raise();
                }
                if leash.is_none_or(|leash| leash.tasks.close()) {
                    self.plan.tasks_ended(slot);
                }
            }
            Action::Overstayed(slot, phase, limit) => {
                self.with_leash(slot, |leash| leash.overstayed(job_name(phase), limit));
                self.record(slot, phase, Overstayed { limit }.into());
            }
            Action::Renew(slot) => self.renew(slot),
            Action::Draw(slot, backoff, nth) => {
                let pause = backoff.pause(nth, self.node.hub.driver.draw());
                self.plan.pause(slot, pause);
            }
            Action::NotTold(slot) => self.record(slot, Phase::Stop, NotTold.into()),
            Action::Kill(slot, limit) => self.kill(slot, limit),
            Action::Stuck(slot) => self.record(slot, Phase::Stop, Stuck.into()),
            Action::Admit(child) => self.tell_child(child, Event::Joined),
            Action::TellChild(child) => self.tell_child(child, Event::Stop),
            Action::KillChild(child, limit) => {
                self.record_child(child, Phase::Stop, Overstayed { limit }.into());
                self.tell_child(child, Event::Kill { limit });
            }
            Action::StuckChild(child) => {
                self.record_child(child, Phase::Stop, Stuck.into());
                self.children.remove(&child);
            }
            Action::Timer(deadline) => {
                self.timer = deadline.map(|deadline| self.node.hub.driver.sleep_until(deadline));
            }
        }
    }

    fn begin(&mut self, slot: SlotId, phase: Phase) {
        if phase == Phase::Run {
            self.seen[slot.index()].runs();
        }
        if let Some(leash) = &self.leashes[slot.index()] {
            tracing::debug!(parent: &leash.span, "{phase}");
            let ending = Ending::job(leash.clone(), phase);
            let daemon = &self.node.slots.get(slot).daemon;
            let job = daemon.job(phase, Scope::new(leash.clone()), ending);
            self.node.hub.driver.spawn(leash.origin(Location::caller()), job_name(phase), job);
        }
    }

    /// A fresh scope for a daemon that is to run again, or to be stopped after it could not.
    fn renew(&mut self, slot: SlotId) {
        if let Some(leash) = &mut self.leashes[slot.index()] {
            *leash = Arc::new(Leash::new(&self.node, slot, leash.label.clone(), leash.life + 1));
        }
    }

    fn tell_started(&mut self) {
        self.reach(Milestone::Running);
        if self.escalates
            && let Some(parent) = self.memberships.first_mut()
        {
            parent.failure = Some(Arc::new(Report::abandoned(self.node.hub.path.clone()))); // until it ends
        }
        let factory = RunningFactory::new(self.node.clone());
        if let Some(started) = self.started.take() {
            // When nobody waits any more the handle is dropped, and that stops.
            if started.send(Ok(factory)).is_err() {
                self.node.hub.set_stopping();
            }
        }
    }

    fn kill(&mut self, slot: SlotId, limit: Option<Duration>) {
        let Some(leash) = self.leashes[slot.index()].clone() else {
            return;
        };
        leash.tasks.kill();
        if let Some(limit) = limit {
            for (name, live) in leash.tasks.live() {
                leash.overstayed(name, limit);
                let error = Error::new(Overstayed { limit });
                let error = if live > 1 { error.context(format!("{live} of them")) } else { error };
                self.report.add_task(&leash.label, name, error);
            }
        }
        leash.killed.raise();
    }

    fn with_leash(&self, slot: SlotId, act: impl FnOnce(&Leash)) {
        if let Some(leash) = &self.leashes[slot.index()] {
            act(leash);
        }
    }

    fn tell_child(&self, child: ChildId, event: Event) {
        if let Some(child) = self.children.get(&child) {
            let _ = child.events.send(event);
        }
    }
}

// Ending.
impl Supervisor {
    /// Takes the factory apart, then lets everybody who waits know, ancestors first.
    fn finish(mut self) {
        self.hear_last_words();
        self.reach(Milestone::Ended);
        let Supervisor { node, leashes, children, mut memberships, mut report, started, end, .. } = self;
        drop((leashes, children));
        let hub = node.hub.clone();
        match Arc::try_unwrap(node) {
            Ok(node) => take_apart(node, &mut report),
            Err(node) => report.set_held(Arc::strong_count(&node) - 1),
        }
        let report = Arc::new(report);
        let mut is_told = hub.is_watched();
        if let Some(parent) = memberships.first_mut()
            && parent.failure.is_some()
        {
            is_told = true;
            parent.failure = (!report.is_clean()).then(|| report.clone());
        }
        drop(memberships);
        if let Some(started) = started {
            is_told |= started.send(Err(StartError::new(report.clone()))).is_ok();
        }
        let factory = &*hub.path;
        if is_told || report.is_clean() {
            tracing::debug!(factory, "{report}");
        } else {
            tracing::warn!(factory, "{report}");
        }
        // Nobody may be waiting.
        let _ = end.send(report);
    }

    /// A task tells of its failure and then leaves; the end may have been seen first.
    fn hear_last_words(&mut self) {
        while let Ok(event) = self.inbox.try_recv() {
            match event {
                Event::TaskFailed { slot, name, error } => self.task_failed(slot, name, error),
                Event::JobEnded { slot, phase, outcome } => self.phase_ended(slot, phase, outcome),
                // Its drop tells a child that wants to join that it is too late.
                _ => {}
            }
        }
    }
}

/// What the task is called in which a daemon prepares, runs or stops.
fn job_name(phase: Phase) -> &'static str {
    match phase {
        Phase::Prepare => "prepare",
        Phase::Stop => "stop",
        _ => "run",
    }
}

/// Drops the daemons, dependents first, so that whoever still holds one is not a daemon of this factory.
fn take_apart(mut node: Node, report: &mut Report) {
    // More refs to the same daemons, kept for lookups.
    node.traits.clear();
    while let Some(slot) = node.slots.pop() {
        let refs = Arc::strong_count(&slot.daemon) - 1 + slot.daemon.other_refs();
        if refs > 0 && !slot.is_capability {
            report.add_retained(&slot.label, refs);
        }
        let label = slot.label.clone();
        drop_caught(slot, &label, report);
    }
    drop_caught(node, "", report);
}

/// Drops what is a user's; a panic is caught and reported.
fn drop_caught<T>(value: T, daemon: &str, report: &mut Report) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| drop(value))) {
        let error = panicked(panic.as_ref()).context("while it was dropped");
        report.add(daemon, Phase::Stop, error);
    }
}
