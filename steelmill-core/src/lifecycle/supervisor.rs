//! What owns a running factory's lifecycle: it receives events, asks the plan, and executes its actions.
//!
//! What always holds: no user code runs in here. What has to be run (a log line, a destructor) is left as [`UserCode`] to the
//! world that polls the supervisor.

use std::any::Any;
use std::collections::{BTreeMap, VecDeque};
use std::panic::Location;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use anyhow::anyhow;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::oneshot;

use super::commands::Commanded;
use super::ending::Ending;
use super::health::KnownHealth;
use super::looking::Looking;
use super::plan::{Action, PhaseEnd, Plan, Verdict};
use super::published::PublishedStatus;
use super::serving::Started;
use crate::changes::Watchers;
use crate::control::{
    Abort, AncestorLink, ChildEntry, ChildId, Control, EndSender, Event, FailedTask, Maker, Outcome, SlotId,
};
use crate::factory::{Handles, Node};
use crate::panic::Fault;
use crate::report::{ChildFailed, RunReturned, StopSkipped, Stuck, TaskDropped};
use crate::scope::{Completion, RunState};
use crate::supervision::{Supervise, UserCode};
use crate::{DeadlineExceeded, Error, Milestone, Phase, Report, RunningFactory, Scope, StopRequested};

/// How many events one poll handles, so that other tasks have their turn. Also how many of those that were queued when a
/// timeout became due are handled before it.
pub(super) const EVENTS_PER_POLL: usize = 1024;

pub(super) struct Supervisor {
    pub(super) control: Arc<Control>,
    /// `None` once its daemons are being dropped.
    pub(super) node: Option<Arc<Node>>,
    pub(super) inbox: UnboundedReceiver<Event>,
    /// One for each slot; none for a capability.
    pub(super) run_states: Vec<Option<Arc<RunState>>>,
    pub(super) plan: Plan,
    pub(super) children: BTreeMap<ChildId, ChildEntry>,
    /// One for each ancestor that must outlive this factory.
    pub(super) ancestor_links: Vec<AncestorLink>,
    /// How many ancestors have not admitted this factory yet.
    pub(super) joining: usize,
    pub(super) has_begun: bool,
    /// The last milestone that the world was notified of.
    pub(super) reached: Option<Milestone>,
    /// When the next timeout is due.
    pub(super) wake_at: Option<Instant>,
    /// How the aborted daemons end.
    pub(super) looking: Looking,
    /// Something was aborted at a deadline.
    pub(super) overstayed: bool,
    pub(super) ending: Option<Ending>,
    /// Shared with those who get it at the end.
    pub(super) report: Arc<Report>,
    /// The published state of each slot, and of the factory as a whole.
    pub(super) published: Vec<PublishedStatus>,
    pub(super) published_factory: PublishedStatus,
    pub(super) watchers: Watchers,
    /// Only once it was requested.
    pub(super) health: Option<Box<KnownHealth>>,
    /// The children that have this factory as their parent, by path; empty as long as there are few.
    pub(super) names: BTreeMap<Arc<str>, ChildId>,
    /// Those that other code holds.
    pub(super) handles: Weak<Handles>,
    /// Commands that were not carried out yet.
    pub(super) commanded: Vec<Commanded>,
    /// Those who wait until the factory stops.
    pub(super) await_stopping: Vec<oneshot::Sender<()>>,
    /// A failure of this factory is a failure of its parent.
    pub(super) escalates: bool,
    pub(super) started: Option<Started>,
    pub(super) end: Option<EndSender>,
    pub(super) user_code: VecDeque<UserCode>,
}

impl Supervise for Supervisor {
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if self.ending.is_none() {
            if !std::mem::replace(&mut self.has_begun, true) {
                if self.joining == 0 {
                    self.start();
                }
                self.act();
            }
            let is_pending = self.supervise(context).is_pending();
            self.check_health();
            if is_pending {
                return Poll::Pending;
            }
            self.dismantle();
        }
        self.poll_ending(context)
    }

    fn die(&mut self, panic: Box<dyn Any + Send>) {
        self.kill(panic);
    }

    fn wake_at(&self) -> Option<Instant> {
        let of_health = self.health.as_ref().and_then(|health| health.wake_at());
        [self.wake_at, of_health].into_iter().flatten().min()
    }

    fn has_user_code(&self) -> bool {
        !self.user_code.is_empty() || self.ending.as_ref().is_some_and(Ending::has_daemons)
    }

    /// The destructors of the daemons come after all else.
    fn user_code(&mut self) -> Option<UserCode> {
        let code = self.user_code.pop_front();
        code.or_else(|| self.ending.as_mut()?.dismantle())
    }

    fn path(&self) -> &str {
        &self.control.path
    }
}

impl Supervisor {
    /// Until the plan has ended.
    fn supervise(&mut self, context: &mut Context<'_>) -> Poll<()> {
        for _ in 0..EVENTS_PER_POLL {
            if self.plan.has_ended() {
                return Poll::Ready(());
            }
            if self.wake_at.is_some() {
                self.plan.set_now(self.control.driver.now());
                if self.is_due() {
                    self.timeouts_due();
                    continue;
                }
            }
            let Poll::Ready(Some(event)) = self.inbox.poll_recv(context) else { return Poll::Pending };
            // Else it was read just now.
            if self.wake_at.is_none() {
                self.plan.set_now(self.control.driver.now());
            }
            self.handle(event);
            self.act();
        }
        context.waker().wake_by_ref();
        Poll::Pending
    }

    fn is_due(&self) -> bool {
        self.wake_at.is_some_and(|wake_at| wake_at <= self.plan.now())
    }

    /// Events that are queued by now are in time, but for the end of a child that has aborted what it had at a deadline of its
    /// own: whose timer fires first must decide nothing. An inbox that never empties delays no timeout.
    fn timeouts_due(&mut self) {
        let mut late = Vec::new();
        for _ in 0..self.inbox.len().min(EVENTS_PER_POLL) {
            match self.inbox.try_recv() {
                Ok(event @ Event::ChildEnded { overstayed: true, .. }) => late.push(event),
                Ok(event) => {
                    self.handle(event);
                    self.act();
                }
                Err(_) => break,
            }
        }
        if self.is_due() {
            self.wake_at = None;
            self.plan.timer_fired();
            self.act();
        }
        for event in late {
            self.handle(event);
            self.act();
        }
    }

    /// The report, until the end.
    pub(super) fn report(&mut self) -> &mut Report {
        Arc::get_mut(&mut self.report).expect("it is shared at the end")
    }

    /// The node, until the daemons are dropped.
    pub(super) fn node(&self) -> &Arc<Node> {
        self.node.as_ref().expect("daemons are dropped last")
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::PhaseEnded { slot, phase, outcome } => self.phase_ended(slot, phase, outcome),
            Event::TaskFailed(failed) => self.task_failed(*failed),
            Event::TasksEnded { slot, incarnation } => {
                // Ignores an earlier incarnation, whose tasks could not be aborted.
                let run_state = self.run_states[slot.index()].as_ref();
                if let Some(run_state) = run_state.filter(|run_state| run_state.incarnation == incarnation) {
                    if run_state.tasks.have_ended() {
                        self.plan.tasks_ended(slot);
                    } else {
                        self.plan.try_finish();
                    }
                }
            }
            Event::Stop => self.drain_and_stop(),
            Event::StopAtOnce => self.stop(),
            Event::Drain => self.plan.drain(None),
            Event::StartCancelled => {
                if self.started.is_some() {
                    self.stop();
                }
            }
            // A requested stop drops its handle while it drains.
            Event::HandlesDropped if self.plan.will_stop() => {}
            Event::HandlesDropped => {
                if !self.control.is_stopping() {
                    let control = self.control.clone();
                    self.leave(move || {
                        let factory = &*control.path;
                        tracing::warn!(
                            factory,
                            "stopping: its last handle was dropped without a call of stop()"
                        );
                    });
                }
                self.stop();
            }
            Event::Abort(abort) => {
                // Ends that are queued already are in time.
                for _ in 0..self.inbox.len().min(EVENTS_PER_POLL) {
                    match self.inbox.try_recv() {
                        Ok(event) => self.handle(event),
                        Err(_) => break,
                    }
                }
                self.stop();
                self.plan.abort(abort.limit, abort.grace);
                self.overstayed = true;
            }
            Event::Join(join) => self.admit_child(*join),
            Event::ChildEnded { child, failure, .. } => {
                let failed = failure.is_some();
                if let Some(report) = failure {
                    self.record_child(child, Phase::Run, ChildFailed(report).into());
                }
                self.remove_child(child);
                self.forget_child_health(child);
                self.plan.child_left(child);
                if failed {
                    self.plan.stop();
                }
            }
            Event::StatusRequested(answer) => self.answer_status(answer),
            Event::Subscribe(watcher) => self.subscribe(watcher),
            Event::WatchHealth(sender) => self.watch_health(sender),
            Event::HealthAnswered { slot, question, health } => self.health_answered(slot, question, health),
            Event::ChildHealth { child, health } => self.child_health(child, health),
            Event::AwaitStopping(waiter) => self.await_stopping.push(waiter),
            Event::ChildrenRequested(request) => {
                self.answer_children(request.path.as_deref(), request.answer);
            }
            Event::HandleRequested(answer) => self.answer_handle(answer),
            Event::Command(command) => self.command(*command),
            Event::Admitted => {
                self.joining -= 1;
                if self.joining == 0 {
                    self.start();
                }
            }
            Event::Refused(refused) => {
                self.refuse_start(|| Error::new(*refused));
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
    pub(super) fn notify_milestone(&mut self, milestone: Milestone) {
        if self.reached < Some(milestone) {
            self.reached = Some(milestone);
            let control = &self.control;
            control.driver.reached(&control.path, milestone);
        }
    }

    fn stop(&mut self) {
        self.refuse_start(|| StopRequested.into());
        self.plan.stop();
    }

    /// A requested stop: drains first, if the factory was told to and has started.
    fn drain_and_stop(&mut self) {
        self.refuse_start(|| StopRequested.into());
        match self.control.drain {
            Duration::ZERO => self.plan.stop(),
            time => self.plan.drain(Some(time)),
        }
    }

    /// Records why the factory does not start, unless it has started or another reason is recorded.
    fn refuse_start(&mut self, reason: impl FnOnce() -> Error) {
        if self.started.is_some() && !self.report.has_failures() {
            self.report().add("", Phase::Prepare, Fault::of(reason()));
        }
    }

    pub(super) fn phase_ended(&mut self, slot: SlotId, phase: Phase, outcome: Outcome) {
        let (end, fault) = match outcome {
            Outcome::Done => (PhaseEnd::Done, None),
            Outcome::Cancelled => (PhaseEnd::Cancelled, None),
            Outcome::Failed(fault) => (PhaseEnd::Failed, Some(*fault)),
            Outcome::Dropped => (PhaseEnd::Failed, Some(Fault::of(TaskDropped.into()))),
        };
        let verdict = self.plan.phase_ended(slot, phase, end);
        match (fault, verdict) {
            (None, Verdict::Stands) => {}
            (None, verdict) => self.record_verdict(slot, Fault::of(RunReturned.into()), verdict),
            (Some(fault), Verdict::Stands) => self.record(slot, phase, fault),
            (Some(fault), verdict) => self.record_verdict(slot, fault, verdict),
        }
    }

    /// Records what a `run` has ended with that leads to a restart, or to one too many.
    fn record_verdict(&mut self, slot: SlotId, fault: Fault, verdict: Verdict) {
        match verdict {
            Verdict::Stands => self.record(slot, Phase::Run, fault),
            Verdict::Restarts => self.record_restart(slot, fault),
            Verdict::TooOften(backoff) => {
                let (restarts, window) = (backoff.restarts, backoff.window);
                let often = format!("after {restarts} restarts within {window:?}, which is its limit");
                self.record(slot, Phase::Run, fault.context(often));
            }
        }
    }

    pub(super) fn task_failed(&mut self, FailedTask { slot, name, fault }: FailedTask) {
        if let Some(run_state) = self.run_states[slot.index()].clone() {
            self.published[slot.index()].failed(Phase::Task, &fault.text);
            let text = fault.text.clone();
            let unlisted = self.report().add_task(&run_state.label, name, fault);
            self.leave(move || run_state.log(|| tracing::error!(task = name, "task failed: {text}")));
            self.leave_to_drop(unlisted);
        }
    }

    pub(super) fn record(&mut self, slot: SlotId, phase: Phase, fault: Fault) {
        if let Some(run_state) = self.run_states[slot.index()].clone() {
            self.published[slot.index()].failed(phase, &fault.text);
            let text = fault.text.clone();
            self.report().add(&run_state.label, phase, fault);
            self.leave(move || run_state.log(|| tracing::error!("failed to {phase}: {text}")));
        }
    }

    fn record_restart(&mut self, slot: SlotId, fault: Fault) {
        if let Some(run_state) = self.run_states[slot.index()].clone() {
            let has_failed = !fault.error.is::<RunReturned>();
            if has_failed {
                self.published[slot.index()].failed(Phase::Run, &fault.text);
            }
            let text = fault.text.clone();
            let former = self.report().add_restart(&run_state.label, fault);
            self.leave(move || {
                run_state.log(|| match has_failed {
                    true => tracing::warn!("failed to run, and will run again: {text}"),
                    false => tracing::info!("its run returned, and will run again"),
                });
            });
            self.leave_to_drop(former);
        }
    }

    pub(super) fn record_child(&mut self, id: ChildId, phase: Phase, error: Error) {
        let Some(entry) = self.children.get(&id) else {
            return self.leave_to_drop(Some(error));
        };
        let (control, child, fault) = (self.control.clone(), entry.child.clone(), Fault::of(error));
        let text = fault.text.clone();
        self.report().add(&format!("child {child}"), phase, fault);
        self.leave(move || {
            let factory = &*control.path;
            tracing::error!(factory, child = &*child, "child failed to {phase}: {text}");
        });
    }

    /// Leaves user code to the world.
    pub(super) fn leave(&mut self, code: impl FnOnce() + Send + 'static) {
        self.user_code.push_back(UserCode::new(code));
    }

    /// Leaves the destructor of an error to the world.
    fn leave_to_drop(&mut self, error: Option<Error>) {
        if let Some(error) = error {
            self.leave(move || drop(error));
        }
    }
}

// Executing actions.
impl Supervisor {
    fn act(&mut self) {
        self.withdraw_readiness();
        while let Some(action) = self.plan.next_action() {
            self.execute(action);
        }
        if self.plan.is_stopping() {
            self.control.set_stopping();
            self.notify_milestone(Milestone::Stopping);
            while let Some(waiter) = self.await_stopping.pop() {
                let _ = waiter.send(());
            }
        }
        self.publish();
        if !self.commanded.is_empty() {
            self.answer_commands();
        }
    }

    fn execute(&mut self, action: Action) {
        match action {
            Action::Begin(slot, phase) => self.begin(slot, phase),
            Action::Started => {
                self.notify_started();
                self.plan.shrink();
            }
            Action::SignalStop(slot) => self.with_run_state(slot, |run_state| run_state.stopping.raise()),
            Action::CloseTasks(slot) => {
                if self.run_states[slot.index()].as_ref().is_none_or(|run_state| run_state.close()) {
                    self.plan.tasks_ended(slot);
                }
            }
            Action::DeadlineExceeded(slot, phase, limit) => {
                self.with_run_state(slot, |run_state| run_state.deadline_exceeded(job_name(phase), limit));
                self.record(slot, phase, Fault::of(DeadlineExceeded { limit }.into()));
                self.overstayed = true;
            }
            Action::RenewScope(slot) => self.renew(slot),
            Action::AwaitTasks => {
                let run_states = self.run_states.iter().flatten();
                // Of all: each whose tasks are not over notifies when they are.
                if run_states.filter(|run_state| !run_state.tasks.are_over()).count() == 0 {
                    self.plan.finish();
                }
            }
            Action::DrawBackoff(slot, backoff, nth) => {
                let pause = backoff.pause(nth, self.control.driver.draw());
                self.plan.pause(slot, pause);
            }
            Action::StopSkipped(slot) => self.record(slot, Phase::Stop, Fault::of(StopSkipped.into())),
            Action::Abort(slot, limit) => self.abort(slot, limit),
            Action::Look(slot) => self.look(slot),
            Action::Admit(child) => self.notify_child(child, Event::Admitted),
            Action::Drain => self.begin_drain(),
            Action::StopChild(child) => self.notify_child(child, Event::StopAtOnce),
            Action::AbortChild(child, limit, grace) => {
                self.record_child(child, Phase::Stop, DeadlineExceeded { limit }.into());
                self.notify_child(child, Event::Abort(Box::new(Abort { limit, grace })));
            }
            Action::StuckChild(child) => {
                self.record_child(child, Phase::Stop, Stuck::Child.into());
                self.remove_child(child);
            }
            Action::Timer(deadline) => self.wake_at = deadline,
        }
    }

    /// Withdraws readiness, and then tells the daemons and children.
    fn begin_drain(&mut self) {
        self.publish();
        self.publish_health();
        self.control.draining().raise();
        for child in self.children.values().filter(|child| child.maker != Maker::Descendant) {
            let _ = child.events.send(Event::Drain);
        }
    }

    fn begin(&mut self, slot: SlotId, phase: Phase) {
        if phase == Phase::Run {
            self.published[slot.index()].runs();
        }
        if let Some(run_state) = &self.run_states[slot.index()] {
            let completion = Completion::job(run_state.clone(), phase);
            let daemon = self.node().daemon(slot);
            let job = daemon.job(phase, Scope::new(run_state.clone()), completion);
            self.control.driver.spawn(run_state.origin(Location::caller()), job_name(phase), job);
        }
    }

    /// A fresh scope, for a restart, or for the `stop` of a daemon that stayed down.
    fn renew(&mut self, slot: SlotId) {
        if let Some(run_state) = &mut self.run_states[slot.index()] {
            *run_state = Arc::new(run_state.renewed());
            self.looking.forget(slot);
        }
    }

    fn notify_started(&mut self) {
        self.notify_milestone(Milestone::Running);
        if self.escalates
            && let Some(parent) = self.ancestor_links.first_mut()
        {
            parent.failure = Some(Arc::new(Report::abandoned(self.control.path.clone()))); // until it ends
        }
        match self.started.take() {
            Some(Started::Factory(started)) => {
                let factory = RunningFactory::new(self.node().clone());
                self.handles = factory.downgrade();
                // If the future of `start` is gone, the handle is dropped here, and that stops the factory.
                if started.send(Ok(factory)).is_err() {
                    self.control.set_stopping();
                }
            }
            Some(Started::Serving(started)) => {
                let _ = started.send(Ok(()));
            }
            None => {}
        }
    }

    fn abort(&mut self, slot: SlotId, limit: Option<Duration>) {
        let Some(run_state) = self.run_states[slot.index()].clone() else {
            return;
        };
        run_state.tasks.abort();
        self.looking.begin(slot, &run_state.tasks);
        if let Some(limit) = limit {
            self.overstayed = true;
            for (name, live) in run_state.tasks.live() {
                run_state.deadline_exceeded(name, limit);
                let error = Error::new(DeadlineExceeded { limit });
                let error = if live > 1 { error.context(format!("{live} of them")) } else { error };
                // Listed, as every exceeded deadline is.
                let _ = self.report().add_task(&run_state.label, name, Fault::of(error));
            }
        }
        run_state.abort();
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

/// The name of the task that runs a phase.
pub(super) fn job_name(phase: Phase) -> &'static str {
    match phase {
        Phase::Prepare => "prepare",
        Phase::Stop => "stop",
        _ => "run",
    }
}
