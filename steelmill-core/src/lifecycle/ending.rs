//! The end of a factory: its daemons are dropped, and everybody who waits gets the report.
//!
//! Destructors are user code, so the world runs them, and they have what is left of the stop's deadline. What has not returned by
//! then is named in the report and left behind.

use std::any::Any;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tracing::Level;
use tracing::level_filters::LevelFilter;

use super::supervisor::{EVENTS_PER_POLL, Supervisor};
use crate::cell::Counter;
use crate::control::{Abort, Event, Maker};
use crate::factory::{Dismantled, Node};
use crate::panic::{Fault, forget_panic, panicked};
use crate::report::{DropExceeded, Killed, NotDropped};
use crate::supervision::{Supervise, UserCode};
use crate::sync::OnceLock;
use crate::{Error, Milestone, Phase, StartError};

/// The end of a factory, while its daemons are dropped.
pub(super) struct Ending {
    /// Until they are being dropped.
    node: Option<Arc<Node>>,
    /// Somebody who ends later may hold them until then.
    may_be_held: bool,
    dropping: Arc<Dropping>,
    daemons: usize,
    since: Instant,
    /// When it is no longer waited for; `None` if never.
    until: Option<Instant>,
}

impl Ending {
    pub(super) fn has_daemons(&self) -> bool {
        self.node.is_some()
    }

    /// The code that drops the daemons, once.
    pub(super) fn dismantle(&mut self) -> Option<UserCode> {
        let (node, may_be_held, dropping) = (self.node.take()?, self.may_be_held, self.dropping.clone());
        Some(UserCode::new(move || {
            let dismantled = match Arc::try_unwrap(node) {
                Ok(node) => node.dismantle(&dropping.begun),
                Err(_) if may_be_held => Dismantled::default(),
                Err(node) => Dismantled { held: Arc::strong_count(&node) - 1, ..Dismantled::default() },
            };
            let _ = dropping.dismantled.set(dismantled);
        }))
    }
}

/// Shared with the code that drops the daemons.
#[derive(Default)]
struct Dropping {
    /// How many daemons it has begun to drop.
    begun: Counter,
    dismantled: OnceLock<Dismantled>,
}

impl Supervisor {
    /// Begins to drop the daemons.
    pub(super) fn dismantle(&mut self) {
        let now = self.plan.now();
        self.drain_inbox();
        self.notify_milestone(Milestone::Ended);
        while self.children.pop_first().is_some() {}
        self.answer_commands();
        let until = self.plan.drop_by();
        // A daemon that made a child which is stopped with its parent ends after it, and may hold its handle until then.
        let may_be_held = self
            .ancestor_links
            .first()
            .is_some_and(|parent| matches!(parent.maker, Maker::Daemon(_)) && parent.ancestor.is_stopping());
        let daemons = self.node().daemons();
        self.wake_at = until;
        self.ending = Some(Ending {
            node: self.node.take(),
            may_be_held,
            dropping: Arc::default(),
            daemons,
            since: now,
            until,
        });
    }

    /// Waits for the destructors of the daemons, up to the deadline; then ends.
    pub(super) fn poll_ending(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let Some(ending) = &self.ending else { return Poll::Pending };
        let dropping = ending.dropping.clone();
        let is_over = || ending.until.is_some_and(|until| self.control.driver.now() >= until);
        match dropping.dismantled.get() {
            Some(dismantled) => self.report_dismantled(dismantled),
            None if is_over() => self.report_overdue(dropping.begun.count()),
            None => {
                self.receive_late(context);
                return Poll::Pending;
            }
        }
        self.wake_at = None;
        self.finish();
        Poll::Ready(())
    }

    fn receive_late(&mut self, context: &mut Context<'_>) {
        for _ in 0..EVENTS_PER_POLL {
            match self.inbox.poll_recv(context) {
                Poll::Ready(Some(event)) => self.handle_late(event),
                _ => return,
            }
        }
        context.waker().wake_by_ref();
    }

    fn report_dismantled(&mut self, dismantled: &Dismantled) {
        for (label, panic) in &dismantled.panics {
            let error = Error::new(panic.clone()).context("panicked").context("while it was dropped");
            self.report().add(label, Phase::Stop, Fault::of(error));
        }
        for (label, refs) in &dismantled.retained {
            self.report().add_retained(label, *refs);
        }
        self.report().set_held(dismantled.held);
    }

    /// Names the daemon whose destructor has not returned.
    fn report_overdue(&mut self, begun: u64) {
        let Some(Ending { daemons, since, until: Some(until), .. }) = self.ending else { return };
        let (limit, begun) = (until - since, usize::try_from(begun).unwrap_or(usize::MAX));
        let dropped_last = daemons.checked_sub(begun).filter(|_| begun > 0);
        let run_state = dropped_last.and_then(|index| Some((index, self.run_states[index].clone()?)));
        self.overstayed = true;
        match run_state {
            Some((index, run_state)) => {
                let left = self.run_states[..=index].iter().flatten().count();
                let fault = Fault::of(DropExceeded { limit, left }.into());
                self.report().add(&run_state.label, Phase::Stop, fault);
            }
            None => self.report().add("", Phase::Stop, Fault::of(NotDropped { limit }.into())),
        }
    }

    /// Notifies all that wait: ancestors, the caller of `start`, those who await the report.
    fn finish(&mut self) {
        self.drain_inbox();
        if self.has_user_code() {
            // The rest may be dropped never, but whoever asks is to be told.
            self.inbox.close();
            self.drain_inbox();
        }
        // It is dropped with the supervisor, if nobody else has it then.
        let report = self.report.clone();
        let mut is_notified = self.control.is_watched();
        for link in &mut self.ancestor_links {
            link.overstayed = self.overstayed;
        }
        if let Some(parent) = self.ancestor_links.first_mut()
            && parent.failure.is_some()
        {
            is_notified = true;
            parent.failure = report.has_failures().then(|| report.clone());
        }
        self.ancestor_links.clear();
        if let Some(started) = self.started.take() {
            is_notified |= started.fail(StartError::new(report.clone()));
        }
        if let Some(end) = self.end.take() {
            end.send(report.clone());
        }
        let control = self.control.clone();
        if is_notified || !report.has_failures() {
            // Children end often, and most without a word.
            if LevelFilter::current() >= Level::DEBUG {
                self.leave(move || tracing::debug!(factory = &*control.path, "{report}"));
            }
        } else {
            self.leave(move || tracing::warn!(factory = &*control.path, "{report}"));
        }
    }

    /// Records failures that are still queued: a task reports its failure before it leaves, but on another thread.
    fn drain_inbox(&mut self) {
        for _ in 0..self.inbox.len() {
            match self.inbox.try_recv() {
                Ok(event) => self.handle_late(event),
                Err(_) => break,
            }
        }
    }

    /// An event after the end of all daemons. Dropping a `Join` refuses the child.
    fn handle_late(&mut self, event: Event) {
        match event {
            Event::TaskFailed(failed) => self.task_failed(*failed),
            Event::PhaseEnded { slot, phase, outcome } => self.phase_ended(slot, phase, outcome),
            Event::ChildEnded { failure: Some(report), .. } => self.leave(move || drop(report)),
            Event::StatusRequested(answer) => self.answer_status(answer),
            Event::Abort(abort) => self.hurry(abort.grace),
            _ => {}
        }
    }

    /// An ancestor's deadline has passed, and it waits for a moment.
    fn hurry(&mut self, grace: Duration) {
        if let Some(ending) = &mut self.ending {
            let until = self.control.driver.now() + grace / 2;
            let until = ending.until.map_or(until, |former| former.min(until));
            ending.until = Some(until);
            self.wake_at = Some(until);
        }
    }

    /// The supervisor itself has failed: aborts and names everything that it supervises.
    pub(super) fn kill(&mut self, panic: Box<dyn Any + Send>) {
        let fault = Fault::of(panicked(panic.as_ref()).context("its supervisor failed"));
        forget_panic(panic);
        self.report().add("", Phase::Run, fault);
        self.control.set_stopping();
        for slot in self.plan.kill() {
            if let Some(run_state) = self.run_states[slot.index()].clone() {
                run_state.tasks.abort();
                self.report().add(&run_state.label, Phase::Stop, Fault::of(Killed.into()));
                // Wakers are foreign code; this may be what has panicked.
                self.user_code.push_back(UserCode::new(move || run_state.stopping.raise()));
            }
        }
        for run_state in self.run_states.iter().flatten() {
            let run_state = run_state.clone();
            self.user_code.push_back(UserCode::new(move || run_state.abort()));
        }
        for (_, child) in std::mem::take(&mut self.children) {
            self.report().add(&format!("child {}", child.child), Phase::Stop, Fault::of(Killed.into()));
            let grace = self.plan.grace();
            let _ = child.events.send(Event::Abort(Box::new(Abort { limit: grace, grace })));
        }
        self.overstayed = true;
    }
}
