//! The task that owns a running factory's lifecycle: it receives events, asks the plan, and executes its actions.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::panic::Location;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use anyhow::anyhow;
use futures::future::BoxFuture;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::oneshot;

use super::plan::{Action, PhaseEnd, Plan, Verdict};
use super::published::PublishedStatus;
use crate::changes::Watchers;
use crate::control::{AncestorLink, ChildEntry, ChildId, Event, Maker, Outcome, SlotId};
use crate::factory::Node;
use crate::report::{ChildFailed, StopSkipped, Stuck, TaskDropped};
use crate::scope::{Completion, RunState};
use crate::{
    DeadlineExceeded, Error, Milestone, Phase, Report, RunningFactory, Scope, StartError, StopRequested,
};

pub(super) struct Supervisor {
    pub(super) node: Arc<Node>,
    pub(super) inbox: UnboundedReceiver<Event>,
    /// One for each slot; none for a capability.
    pub(super) run_states: Vec<Option<Arc<RunState>>>,
    pub(super) plan: Plan,
    pub(super) children: BTreeMap<ChildId, ChildEntry>,
    /// One for each ancestor that must outlive this factory.
    pub(super) ancestor_links: Vec<AncestorLink>,
    /// How many ancestors have not admitted this factory yet.
    pub(super) joining: usize,
    /// The last milestone that the world was notified of.
    pub(super) reached: Option<Milestone>,
    pub(super) timer: Option<BoxFuture<'static, ()>>,
    pub(super) report: Report,
    /// The published state of each slot, and of the factory as a whole.
    pub(super) published: Vec<PublishedStatus>,
    pub(super) published_factory: PublishedStatus,
    pub(super) watchers: Watchers,
    /// A failure of this factory is a failure of its parent.
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
            self.plan.set_now(self.node.control.driver.now());
            match event {
                Some(event) => self.handle(event),
                None => {
                    self.timer = None;
                    self.plan.timer_fired();
                }
            }
            self.act();
        }
        self.finish();
    }

    /// The next event; `None` when the timer fires first.
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

    fn handle(&mut self, event: Event) {
        match event {
            Event::PhaseEnded { slot, phase, outcome } => self.phase_ended(slot, phase, outcome),
            Event::TaskFailed { slot, name, error } => self.task_failed(slot, name, error),
            Event::TasksEnded { slot, incarnation } => {
                // Ignores an earlier incarnation, whose tasks could not be aborted.
                if self.run_states[slot.index()]
                    .as_ref()
                    .is_some_and(|run_state| run_state.incarnation == incarnation)
                {
                    self.plan.tasks_ended(slot);
                }
            }
            Event::Stop => self.stop(),
            Event::StartCancelled => {
                if self.started.is_some() {
                    self.stop();
                }
            }
            Event::HandlesDropped => {
                if !self.node.control.is_stopping() {
                    let factory = &*self.node.control.path;
                    tracing::warn!(factory, "stopping: its last handle was dropped without a call of stop()");
                }
                self.stop();
            }
            Event::Abort { limit } => {
                // Ends that are queued already are in time.
                while let Ok(event) = self.inbox.try_recv() {
                    self.handle(event);
                }
                self.stop();
                self.plan.abort(limit);
            }
            Event::Join(join) => self.admit_child(*join),
            Event::ChildEnded { child, failure } => {
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
            Event::StatusRequested(answer) => self.answer_status(answer),
            Event::Subscribe(watcher) => self.subscribe(watcher),
            Event::Admitted => {
                self.joining -= 1;
                if self.joining == 0 {
                    self.start();
                }
            }
            Event::Refused { by } => {
                self.refuse_start(|| anyhow!("{by} is stopping: nothing can be started in it any more"));
                self.stop();
            }
            Event::AncestorEnded { by } => {
                self.refuse_start(|| anyhow!("{by} has ended: nothing can be started in it any more"));
                self.stop();
            }
        }
    }

    fn start(&mut self) {
        self.notify_milestone(Milestone::Preparing);
        self.plan.start();
    }

    /// Notifies the world, once.
    fn notify_milestone(&mut self, milestone: Milestone) {
        if self.reached < Some(milestone) {
            self.reached = Some(milestone);
            let control = &self.node.control;
            control.driver.reached(&control.path, milestone);
        }
    }

    fn stop(&mut self) {
        self.refuse_start(|| StopRequested.into());
        self.plan.stop();
    }

    /// Records why the factory does not start, unless it has started or another reason is recorded.
    fn refuse_start(&mut self, reason: impl FnOnce() -> Error) {
        if self.started.is_some() && !self.report.has_failures() {
            self.report.add("", Phase::Prepare, reason());
        }
    }

    fn admit_child(&mut self, mut join: ChildEntry) {
        let shares = std::mem::take(&mut join.shares);
        if self.plan.join(join.id, shares, join.maker) {
            if join.maker != Maker::Descendant {
                for watcher in self.watchers.iter() {
                    let _ = join.events.send(Event::Subscribe(watcher.clone()));
                }
            }
            self.children.insert(join.id, join);
        } else {
            let by = self.node.control.path.clone();
            let _ = join.events.send(Event::Refused { by });
        }
    }

    fn phase_ended(&mut self, slot: SlotId, phase: Phase, outcome: Outcome) {
        let (end, error) = match outcome {
            Outcome::Done => (PhaseEnd::Done, None),
            Outcome::Cancelled => (PhaseEnd::Cancelled, None),
            Outcome::Failed(error) => (PhaseEnd::Failed, Some(error)),
            Outcome::Dropped => (PhaseEnd::Failed, Some(TaskDropped.into())),
        };
        let verdict = self.plan.phase_ended(slot, phase, end);
        match (error, verdict) {
            (None, _) => {}
            (Some(error), Verdict::Stands) => self.record(slot, phase, error),
            (Some(error), Verdict::Restarts) => self.record_restart(slot, error),
            (Some(error), Verdict::TooOften(backoff)) => {
                let (restarts, window) = (backoff.restarts, backoff.window);
                let often = format!("after {restarts} restarts within {window:?}, which is its limit");
                self.record(slot, phase, error.context(often));
            }
        }
    }

    fn task_failed(&mut self, slot: SlotId, name: &'static str, error: Error) {
        if let Some(run_state) = &self.run_states[slot.index()] {
            run_state.log(|| tracing::error!(task = name, "task failed: {error:#}"));
            self.published[slot.index()].failed(Phase::Task, &error);
            self.report.add_task(&run_state.label, name, error);
        }
    }

    fn record(&mut self, slot: SlotId, phase: Phase, error: Error) {
        if let Some(run_state) = &self.run_states[slot.index()] {
            run_state.log(|| tracing::error!("failed to {phase}: {error:#}"));
            self.published[slot.index()].failed(phase, &error);
            self.report.add(&run_state.label, phase, error);
        }
    }

    fn record_restart(&mut self, slot: SlotId, error: Error) {
        if let Some(run_state) = &self.run_states[slot.index()] {
            run_state.log(|| tracing::warn!("failed to run, and will run again: {error:#}"));
            self.published[slot.index()].failed(Phase::Run, &error);
            self.report.add_restart(&run_state.label, error);
        }
    }

    fn record_child(&mut self, id: ChildId, phase: Phase, error: Error) {
        if let Some(child) = self.children.get(&id) {
            let (factory, child) = (&*self.node.control.path, &*child.child);
            tracing::error!(factory, child, "child failed to {phase}: {error:#}");
            self.report.add(&format!("child {child}"), phase, error);
        }
    }
}

// Executing actions.
impl Supervisor {
    fn act(&mut self) {
        loop {
            let actions = self.plan.actions();
            if actions.is_empty() {
                break;
            }
            for action in actions {
                self.execute(action);
            }
        }
        if self.plan.is_stopping() {
            self.node.control.set_stopping();
            self.notify_milestone(Milestone::Stopping);
        }
        self.publish();
    }

    fn execute(&mut self, action: Action) {
        match action {
            Action::Begin(slot, phase) => self.begin(slot, phase),
            Action::Started => self.notify_started(),
            Action::SignalStop(slot) => self.with_run_state(slot, |run_state| run_state.stopping.raise()),
            Action::CloseTasks(slot) => {
                if self.run_states[slot.index()].as_ref().is_none_or(|run_state| run_state.close()) {
                    self.plan.tasks_ended(slot);
                }
            }
            Action::DeadlineExceeded(slot, phase, limit) => {
                self.with_run_state(slot, |run_state| run_state.deadline_exceeded(job_name(phase), limit));
                self.record(slot, phase, DeadlineExceeded { limit }.into());
            }
            Action::RenewScope(slot) => self.renew(slot),
            Action::DrawBackoff(slot, backoff, nth) => {
                let pause = backoff.pause(nth, self.node.control.driver.draw());
                self.plan.pause(slot, pause);
            }
            Action::StopSkipped(slot) => self.record(slot, Phase::Stop, StopSkipped.into()),
            Action::Abort(slot, limit) => self.abort(slot, limit),
            Action::Stuck(slot) => self.record(slot, Phase::Stop, Stuck.into()),
            Action::Admit(child) => self.notify_child(child, Event::Admitted),
            Action::StopChild(child) => self.notify_child(child, Event::Stop),
            Action::AbortChild(child, limit) => {
                self.record_child(child, Phase::Stop, DeadlineExceeded { limit }.into());
                self.notify_child(child, Event::Abort { limit });
            }
            Action::StuckChild(child) => {
                self.record_child(child, Phase::Stop, Stuck.into());
                self.children.remove(&child);
            }
            Action::Timer(deadline) => {
                self.timer = deadline.map(|deadline| self.node.control.driver.sleep_until(deadline));
            }
        }
    }

    fn begin(&mut self, slot: SlotId, phase: Phase) {
        if phase == Phase::Run {
            self.published[slot.index()].runs();
        }
        if let Some(run_state) = &self.run_states[slot.index()] {
            run_state.log(|| tracing::debug!("{phase}"));
            let completion = Completion::job(run_state.clone(), phase);
            let daemon = self.node.daemon(slot);
            let job = daemon.job(phase, Scope::new(run_state.clone()), completion);
            self.node.control.driver.spawn(run_state.origin(Location::caller()), job_name(phase), job);
        }
    }

    /// A fresh scope, for a restart, or for the `stop` of a daemon that stayed down.
    fn renew(&mut self, slot: SlotId) {
        if let Some(run_state) = &mut self.run_states[slot.index()] {
            *run_state =
                Arc::new(RunState::new(&self.node, slot, run_state.label.clone(), run_state.incarnation + 1));
        }
    }

    fn notify_started(&mut self) {
        self.notify_milestone(Milestone::Running);
        if self.escalates
            && let Some(parent) = self.ancestor_links.first_mut()
        {
            parent.failure = Some(Arc::new(Report::abandoned(self.node.control.path.clone()))); // until it ends
        }
        let factory = RunningFactory::new(self.node.clone());
        if let Some(started) = self.started.take() {
            // If the future of `start` is gone, the handle is dropped here, and that stops the factory.
            if started.send(Ok(factory)).is_err() {
                self.node.control.set_stopping();
            }
        }
    }

    fn abort(&mut self, slot: SlotId, limit: Option<Duration>) {
        let Some(run_state) = self.run_states[slot.index()].clone() else {
            return;
        };
        run_state.tasks.abort();
        if let Some(limit) = limit {
            for (name, live) in run_state.tasks.live() {
                run_state.deadline_exceeded(name, limit);
                let error = Error::new(DeadlineExceeded { limit });
                let error = if live > 1 { error.context(format!("{live} of them")) } else { error };
                self.report.add_task(&run_state.label, name, error);
            }
        }
        run_state.aborted.raise();
    }

    fn with_run_state(&self, slot: SlotId, act: impl FnOnce(&RunState)) {
        if let Some(run_state) = &self.run_states[slot.index()] {
            act(run_state);
        }
    }

    fn notify_child(&self, child: ChildId, event: Event) {
        if let Some(child) = self.children.get(&child) {
            let _ = child.events.send(event);
        }
    }
}

// Ending.
impl Supervisor {
    /// Drops the daemons, then notifies all that wait: ancestors, the caller of `start`, those awaiting the report.
    fn finish(mut self) {
        self.drain_inbox();
        self.notify_milestone(Milestone::Ended);
        let Supervisor { node, run_states, children, mut ancestor_links, mut report, started, end, .. } =
            self;
        drop((run_states, children));
        let control = node.control.clone();
        // A daemon that made a child which is stopped with its parent ends after it, and may hold its handle until then.
        let maker_ends_later = ancestor_links
            .first()
            .is_some_and(|parent| matches!(parent.maker, Maker::Daemon(_)) && parent.ancestor.is_stopping());
        match Arc::try_unwrap(node) {
            Ok(node) => node.dismantle(&mut report),
            Err(_) if maker_ends_later => {}
            Err(node) => report.set_held(Arc::strong_count(&node) - 1),
        }
        let report = Arc::new(report);
        let mut is_notified = control.is_watched();
        if let Some(parent) = ancestor_links.first_mut()
            && parent.failure.is_some()
        {
            is_notified = true;
            parent.failure = report.has_failures().then(|| report.clone());
        }
        drop(ancestor_links);
        if let Some(started) = started {
            is_notified |= started.send(Err(StartError::new(report.clone()))).is_ok();
        }
        let factory = &*control.path;
        if is_notified || !report.has_failures() {
            tracing::debug!(factory, "{report}");
        } else {
            tracing::warn!(factory, "{report}");
        }
        let _ = end.send(report);
    }

    /// Records failures that are still queued: a task reports its failure before it leaves, but on another thread.
    fn drain_inbox(&mut self) {
        while let Ok(event) = self.inbox.try_recv() {
            match event {
                Event::TaskFailed { slot, name, error } => self.task_failed(slot, name, error),
                Event::PhaseEnded { slot, phase, outcome } => self.phase_ended(slot, phase, outcome),
                // Dropping a `Join` refuses the child.
                _ => {}
            }
        }
    }
}

/// The name of the task that runs a phase.
fn job_name(phase: Phase) -> &'static str {
    match phase {
        Phase::Prepare => "prepare",
        Phase::Stop => "stop",
        _ => "run",
    }
}
