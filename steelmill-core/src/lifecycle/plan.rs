//! What a factory does next: a state machine without executor and user code.
//!
//! The supervisor reports each event and the time of it, and executes the [`Action`]s it gets back.
//!
//! What always holds:
//! - a daemon prepares after all it needs is prepared, and stops after all that needs it has ended, its children and the
//!   children that share it included;
//! - a child is stopped as soon as nothing but children keeps its maker, or a daemon it shares, from stopping;
//! - a daemon restarts only after its tasks and the children it made have ended;
//! - every state that waits for user code has a timeout, except while a daemon runs;
//! - within twice its deadline a stop ends, whatever user code does (`budget` divides that time).

mod drain; // before a requested stop
mod budget; // how the time of a stop is divided
mod deadline; // after a deadline has passed
mod restart; // after a run has failed
mod timeouts; // what is due when

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use self::budget::Budget;
use self::deadline::ROUNDS;
pub(super) use self::restart::Next;
use self::restart::Restarts;
use self::timeouts::{Timeout, Timeouts};
use crate::control::{ChildId, Maker, SlotId};
use crate::status::State;
use crate::{Backoff, Deadlines, Phase, Policy};

/// For how many actions a running factory keeps memory.
const ACTIONS_KEPT: usize = 4;

/// What the supervisor has to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    /// Start a daemon's `prepare`, `run` or `stop`.
    Begin(SlotId, Phase),
    /// The start is complete: all daemons are prepared and run.
    Started,
    /// Withdraw readiness, and tell daemons and children that the factory drains.
    Drain,
    /// Raise a daemon's stop signal.
    SignalStop(SlotId),
    /// Raise the stop signal for a daemon's tasks and wait for them; if there are none, call [`Plan::tasks_ended`] at once.
    CloseTasks(SlotId),
    /// Give a daemon whose tasks have ended a fresh scope.
    RenewScope(SlotId),
    /// Every daemon has finished: call [`Plan::finish`] if none has a task left, else [`Plan::try_finish`] when the last has
    /// ended.
    AwaitTasks,
    /// Draw the backoff before a daemon's nth restart, and call [`Plan::pause`].
    DrawBackoff(SlotId, Backoff, u32),
    /// Report that a daemon was still in this phase at the deadline.
    DeadlineExceeded(SlotId, Phase, Duration),
    /// Report that no time was left for a daemon's `stop`.
    StopSkipped(SlotId),
    /// Abort a daemon's phases and tasks; with a limit, report the tasks.
    Abort(SlotId, Option<Duration>),
    /// Look whether something aborted is about to end, and call [`Plan::wait_again`] or [`Plan::give_up`].
    Look(SlotId),
    /// Let a child start.
    Admit(ChildId),
    /// Stop a child.
    StopChild(ChildId),
    /// Abort a child, and report that it exceeded the deadline; with what it may grant to what it aborts.
    AbortChild(ChildId, Duration, Duration),
    /// Report that an aborted child did not end.
    StuckChild(ChildId),
    /// Replace the timer.
    Timer(Option<Instant>),
}

/// How a phase of a daemon ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PhaseEnd {
    Done,
    Failed,
    /// By a stop or an abort.
    Cancelled,
}

/// What follows from the end of a phase.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// If it failed, that is a failure of the factory.
    Stands,
    /// The daemon restarts.
    Restarts,
    /// The daemon has used up the restarts of its policy.
    TooOften(Backoff),
}

/// Why a child is not admitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NotJoined {
    /// The factory stops, or the maker of the child was aborted.
    TooLate,
    /// Its maker waits for it, and it would wait for its maker.
    WaitsForItself,
}

pub(super) struct Plan {
    deadlines: Deadlines,
    now: Instant,
    stage: Stage,
    /// It runs, and will stop.
    is_draining: bool,
    /// It drains because it was itself requested to stop.
    has_own_drain: bool,
    /// It goes on when all of its daemons have finished.
    remains: bool,
    slots: Vec<Slot>,
    /// Slots that are needed by others and come after these: to be linked.
    late: Vec<(SlotId, SlotId)>,
    children: BTreeMap<ChildId, Child>,
    /// How many slots are not prepared.
    unprepared: usize,
    /// How many slots have not ended.
    unended: usize,
    /// How many slots and children were aborted and have not ended.
    aborts_pending: usize,
    timeouts: Timeouts,
    budget: Budget,
    /// When the current round of the stop is over; `None` if never, or before a stop.
    stop_by: Option<Instant>,
    actions: VecDeque<Action>,
    /// Slots whose state may have changed.
    changed: VecDeque<SlotId>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    New,
    Preparing,
    Running,
    Stopping {
        limit: Duration,
        rounds: u32,
        /// The deadline has passed; waiting for what was aborted.
        is_aborting: bool,
    },
    Ended,
}

struct Slot {
    has_lifecycle: bool,
    step: Step,
    in_flight: InFlight,
    is_aborted: bool,
    /// Aborted, and counted in `aborts_pending`.
    is_abort_pending: bool,
    /// Until when its tasks may go on ending after an abort before the stop; `None` if forever.
    patience: Option<Instant>,
    needs: Vec<SlotId>,
    needed_by: Vec<SlotId>,
    /// How many of `needs` are not prepared.
    waits_for: u32,
    /// How many of `needed_by` have not ended.
    waited_for_by: u32,
    /// How many children depend on it.
    children: u32,
    /// How many of these it made.
    own_children: u32,
    are_children_notified: bool,
    /// What comes after it has wound down.
    next: Next,
    /// Only with a policy.
    restarts: Option<Box<Restarts>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// Until its dependencies are prepared.
    Waiting,
    Preparing,
    /// Prepared: running, or idle for this reason.
    Ready(Idle),
    /// Until its run, the children it made and then its tasks have ended: before a restart, or before it stays down.
    WindingDown,
    /// Its stop signal is raised: until its phases and children have ended.
    Stopping,
    /// Until its tasks have ended.
    Draining,
    Ended,
}

/// Why a prepared daemon does not run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Idle {
    /// The others are not prepared yet.
    NotYet,
    /// Its `run` has returned.
    Finished,
    /// Backoff before a restart.
    Pause,
    /// Its `run` has failed, and its policy leaves it down.
    Down,
    /// Its `run` was stopped by a request for this daemon.
    Stopped,
}

/// The phases that are in flight.
#[derive(Clone, Copy, Default)]
struct InFlight {
    prepare: bool,
    run: bool,
    stop: bool,
}

struct Child {
    /// The daemons it shares, and its maker.
    slots: Vec<SlotId>,
    maker: Maker,
    /// It depends on its maker. Otherwise it does not wait for that, which may make children while it prepares.
    shares_maker: bool,
    /// How many shared daemons are not prepared.
    waits_for: usize,
    is_notified: bool,
    is_aborted: bool,
}

impl Plan {
    /// A plan without slots.
    pub(super) fn new(deadlines: Deadlines, now: Instant) -> Self {
        Plan {
            deadlines,
            now,
            stage: Stage::New,
            is_draining: false,
            has_own_drain: false,
            remains: false,
            slots: Vec::new(),
            late: Vec::new(),
            children: BTreeMap::new(),
            unprepared: 0,
            unended: 0,
            aborts_pending: 0,
            timeouts: Timeouts::default(),
            budget: Budget::unlimited(),
            stop_by: None,
            actions: VecDeque::with_capacity(ACTIONS_KEPT),
            changed: VecDeque::new(),
        }
    }

    /// So many slots will be added.
    pub(super) fn reserve(&mut self, slots: usize) {
        self.slots.reserve_exact(slots);
    }

    /// Adds the next slot, usually after those it needs. One without a lifecycle counts as prepared and ended by itself.
    pub(super) fn add(&mut self, has_lifecycle: bool, needs: Vec<SlotId>, policy: Policy) {
        let id = SlotId(u32::try_from(self.slots.len()).expect("slots are counted in 32 bits"));
        for need in needs.iter().copied() {
            match need < id {
                true => self.link(need, id),
                // Only an order, which was requested after both were built.
                false => self.late.push((need, id)),
            }
        }
        self.slots.push(Slot {
            has_lifecycle,
            step: Step::Waiting,
            in_flight: InFlight::default(),
            is_aborted: false,
            is_abort_pending: false,
            patience: None,
            waits_for: needs.len() as u32,
            needs,
            needed_by: Vec::new(),
            waited_for_by: 0,
            children: 0,
            own_children: 0,
            are_children_notified: false,
            next: Next::Down,
            restarts: (policy != Policy::default()).then(|| Box::new(Restarts::new(policy))),
        });
        self.unprepared += 1;
        self.unended += 1;
        for (_, dependent) in self.late.extract_if(.., |(need, _)| *need == id).collect::<Vec<_>>() {
            self.link(id, dependent);
        }
    }

    fn link(&mut self, need: SlotId, dependent: SlotId) {
        let need = self.slot(need);
        need.needed_by.push(dependent);
        need.waited_for_by += 1;
    }

    pub(super) fn has_ended(&self) -> bool {
        self.stage == Stage::Ended
    }

    pub(super) fn is_stopping(&self) -> bool {
        matches!(self.stage, Stage::Stopping { .. } | Stage::Ended)
    }

    /// Gives back memory that the start took: a running factory has little to do. What a small one took is kept for its stop.
    pub(super) fn shrink(&mut self) {
        self.actions.shrink_to(ACTIONS_KEPT);
        self.changed.shrink_to(ACTIONS_KEPT);
    }

    /// Takes the action that is to be executed next.
    pub(super) fn next_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// Takes the next slot whose state may have changed.
    pub(super) fn next_changed(&mut self) -> Option<SlotId> {
        self.changed.pop_front()
    }

    /// Sets the time, before the event that happened at it.
    pub(super) fn set_now(&mut self, now: Instant) {
        self.now = self.now.max(now);
    }

    pub(super) fn now(&self) -> Instant {
        self.now
    }

    /// Until when destructors that begin now are waited for; `None` if for ever. They have what is left of the deadline.
    pub(super) fn drop_by(&self) -> Option<Instant> {
        self.stop_by.map(|stop_by| self.budget.drop_by(self.now, stop_by))
    }

    pub(super) fn state(&self, id: SlotId) -> State {
        let slot = &self.slots[id.index()];
        match slot.step {
            Step::Waiting => State::Waiting,
            Step::Preparing => State::Preparing,
            Step::Ready(_) if slot.in_flight.run => State::Running,
            Step::Ready(Idle::NotYet) => State::Prepared,
            Step::Ready(Idle::Finished) => State::Finished,
            Step::Ready(Idle::Pause) => State::Pausing,
            Step::Ready(Idle::Down | Idle::Stopped) => State::Down,
            Step::WindingDown => State::WindingDown,
            Step::Stopping | Step::Draining => State::Stopping,
            Step::Ended => State::Ended,
        }
    }

    /// The state of the factory as a whole.
    pub(super) fn factory_state(&self) -> State {
        match self.stage {
            Stage::New => State::Waiting,
            Stage::Preparing => State::Preparing,
            Stage::Running if self.is_draining => State::Draining,
            Stage::Running => State::Running,
            Stage::Stopping { .. } => State::Stopping,
            Stage::Ended => State::Ended,
        }
    }
}

// Events.
impl Plan {
    pub(super) fn start(&mut self) {
        if self.stage != Stage::New {
            return;
        }
        self.stage = Stage::Preparing;
        self.timeouts.set_shared(self.now, self.deadlines.prepare);
        for id in self.ids() {
            self.try_prepare(id);
        }
        self.try_run();
        self.settle();
    }

    pub(super) fn stop(&mut self) {
        match self.stage {
            Stage::New | Stage::Preparing => self.begin_stop(self.deadlines.rollback),
            Stage::Running => self.begin_stop(self.deadlines.stop),
            Stage::Stopping { .. } | Stage::Ended => {}
        }
        self.settle();
    }

    /// Aborts everything at once, because an ancestor's deadline `limit` has passed, who waits for a moment.
    pub(super) fn abort(&mut self, limit: Duration, grace: Duration) {
        self.stop();
        if matches!(self.stage, Stage::Stopping { .. }) {
            self.stop_by = Some(self.now);
            self.budget.hurry(self.now, grace);
            self.abort_round(limit, 0);
        }
        self.settle();
    }

    /// Ends at once: the daemons that had not ended, dependents first.
    pub(super) fn kill(&mut self) -> Vec<SlotId> {
        let is_killed = |id: &SlotId| {
            let slot = &self.slots[id.index()];
            slot.has_lifecycle && !matches!(slot.step, Step::Waiting | Step::Ended)
        };
        let killed: Vec<_> = self.ids().rev().filter(is_killed).collect();
        for id in self.ids() {
            self.slot(id).step = Step::Ended;
        }
        self.changed = self.ids().collect();
        self.children.clear();
        self.actions.clear();
        self.timeouts.clear_all();
        self.stage = Stage::Ended;
        self.stop_by = Some(self.now);
        killed
    }

    pub(super) fn phase_ended(&mut self, id: SlotId, phase: Phase, end: PhaseEnd) -> Verdict {
        self.changed.push_back(id);
        let slot = &mut self.slots[id.index()];
        let mut verdict = Verdict::Stands;
        match phase {
            Phase::Prepare => slot.in_flight.prepare = false,
            Phase::Run => slot.in_flight.run = false,
            _ => slot.in_flight.stop = false,
        }
        match (self.stage, phase) {
            (Stage::Preparing, Phase::Prepare) if end == PhaseEnd::Done => {
                self.ready(id);
                self.try_run();
            }
            (Stage::Preparing, Phase::Prepare) => {
                self.slots[id.index()].step = Step::Stopping;
                self.act(Action::SignalStop(id));
                self.begin_stop(self.deadlines.rollback);
            }
            // It was prepared before it saw the stop signal, so it has to be stopped.
            (_, Phase::Prepare)
                if end == PhaseEnd::Done && !slot.is_aborted && slot.step == Step::Stopping =>
            {
                slot.step = Step::Ready(Idle::NotYet);
                self.try_stop(id);
            }
            (_, Phase::Run) if slot.step == Step::WindingDown => self.try_wind_down(id),
            (Stage::Running, Phase::Run) => verdict = self.run_ended(id, end),
            (_, Phase::Run) if slot.step.is_prepared() => slot.step = Step::Ready(Idle::Finished),
            _ => {}
        }
        self.try_drain(id);
        self.settle();
        verdict
    }

    /// The last task of a daemon has ended after its tasks were closed.
    pub(super) fn tasks_ended(&mut self, id: SlotId) {
        match self.slots[id.index()].step {
            Step::Draining => self.end(id),
            Step::WindingDown => self.wound_down(id),
            _ => {}
        }
        self.settle();
    }

    /// A child asks to start: it is admitted once what it shares is prepared. Refused when it is too late, and when its maker
    /// waits for it in `prepare` while it would have to wait for that.
    pub(super) fn join(
        &mut self,
        id: ChildId,
        shares: Vec<SlotId>,
        maker: Maker,
        is_awaited: bool,
    ) -> Result<(), NotJoined> {
        let made_by = match maker {
            Maker::Daemon(maker) => Some(maker),
            Maker::Handle | Maker::Descendant => None,
        };
        if self.is_stopping() || made_by.is_some_and(|maker| self.slots[maker.index()].is_aborted) {
            return Err(NotJoined::TooLate);
        }
        if let Some(maker) = made_by.filter(|_| is_awaited)
            && self.slot(maker).step == Step::Preparing
            && self.depend_on(&shares, maker)
        {
            return Err(NotJoined::WaitsForItself);
        }
        let is_unprepared = |slot: &&SlotId| !self.slots[slot.index()].step.is_prepared();
        let waits_for = shares.iter().filter(is_unprepared).count();
        let shares_maker = made_by.is_some_and(|maker| shares.contains(&maker));
        let mut child =
            Child { slots: shares, maker, shares_maker, waits_for, is_notified: false, is_aborted: false };
        if let Some(maker) = made_by {
            if !shares_maker {
                child.slots.push(maker);
            }
            self.slot(maker).own_children += 1;
            // The maker's run has ended, or is told to, and the children of that run end with it.
            child.is_notified = self.slot(maker).step == Step::WindingDown;
        }
        for slot in &child.slots {
            self.slots[slot.index()].children += 1;
        }
        if child.is_notified {
            self.act(Action::StopChild(id));
        } else if child.waits_for == 0 {
            self.act(Action::Admit(id));
        }
        self.children.insert(id, child);
        Ok(())
    }

    /// Whether any of these is that one, or depends on it.
    fn depend_on(&self, these: &[SlotId], that: SlotId) -> bool {
        let mut left = these.to_vec();
        let mut seen = vec![false; self.slots.len()];
        while let Some(id) = left.pop() {
            if id == that {
                return true;
            }
            if !std::mem::replace(&mut seen[id.index()], true) {
                left.extend_from_slice(&self.slots[id.index()].needs);
            }
        }
        false
    }

    pub(super) fn child_left(&mut self, child: ChildId) {
        self.forget_child(child);
        self.try_finish();
        self.settle();
    }

    pub(super) fn timer_fired(&mut self) {
        self.timeouts.fired();
        while let Some(timeout) = self.timeouts.due(self.now) {
            match (timeout, self.stage) {
                (Timeout::Child(id), _) => self.give_up_child(id),
                (Timeout::Slot(id), _) => self.slot_timeout(id.0),
                (Timeout::Shared, Stage::Preparing) => self.start_deadline_exceeded(),
                (Timeout::Shared, Stage::Running) => self.drained(),
                (Timeout::Shared, Stage::Stopping { is_aborting: false, limit, rounds }) => {
                    let is_last = self.budget.abort_by().is_some_and(|abort_by| abort_by <= self.now);
                    self.abort_round(limit, if is_last { 0 } else { rounds - 1 });
                }
                (Timeout::Shared, _) => {}
            }
        }
        self.settle();
    }
}

// Transitions.
impl Plan {
    fn ids(&self) -> impl DoubleEndedIterator<Item = SlotId> + use<> {
        (0..self.slots.len() as u32).map(SlotId)
    }

    fn slot(&mut self, id: SlotId) -> &mut Slot {
        &mut self.slots[id.index()]
    }

    fn policy(&self, id: SlotId) -> Policy {
        self.slots[id.index()].restarts.as_ref().map_or_else(Policy::default, |restarts| restarts.policy)
    }

    fn act(&mut self, action: Action) {
        self.actions.push_back(action);
    }

    fn try_prepare(&mut self, id: SlotId) {
        let slot = self.slot(id);
        if slot.step != Step::Waiting || slot.waits_for > 0 {
            return;
        }
        if slot.has_lifecycle {
            slot.step = Step::Preparing;
            slot.in_flight.prepare = true;
            self.changed.push_back(id);
            self.act(Action::Begin(id, Phase::Prepare));
            self.limit(id, self.policy(id).prepare);
        } else {
            self.ready(id);
        }
    }

    fn ready(&mut self, id: SlotId) {
        self.unprepared -= 1;
        self.limit(id, None);
        let slot = self.slot(id);
        slot.step = Step::Ready(Idle::NotYet);
        for dependent in slot.needed_by.clone() {
            self.slot(dependent).waits_for -= 1;
            self.try_prepare(dependent);
        }
        if self.slot(id).children > 0 {
            self.admit_children(id);
        }
    }

    /// Admits the children for which this daemon was the last to prepare.
    fn admit_children(&mut self, id: SlotId) {
        let waiting = self.children.iter_mut().filter(|(_, child)| {
            let shares = child.shares_maker || child.maker != Maker::Daemon(id);
            shares && child.waits_for > 0 && child.slots.contains(&id)
        });
        for (child, waiting) in waiting {
            waiting.waits_for -= 1;
            if waiting.waits_for == 0 {
                self.actions.push_back(Action::Admit(*child));
            }
        }
    }

    fn try_run(&mut self) {
        if self.stage != Stage::Preparing || self.unprepared > 0 {
            return;
        }
        self.stage = Stage::Running;
        self.timeouts.clear_shared();
        for id in self.ids() {
            if self.slot(id).has_lifecycle {
                self.run(id);
            }
        }
        self.act(Action::Started);
        if self.is_draining {
            self.act(Action::Drain);
        }
    }

    fn run(&mut self, id: SlotId) {
        self.slot(id).in_flight.run = true;
        self.changed.push_back(id);
        self.act(Action::Begin(id, Phase::Run));
    }

    fn begin_stop(&mut self, limit: Duration) {
        self.stage = Stage::Stopping { limit, rounds: ROUNDS, is_aborting: false };
        self.budget = Budget::new(self.now, limit);
        self.begin_round(self.now.checked_add(limit));
        let firsts: Vec<_> = self
            .children
            .iter()
            .filter(|(_, child)| child.maker == Maker::Handle)
            .map(|(id, _)| *id)
            .collect();
        for child in firsts {
            self.stop_child(child);
        }
        for id in self.ids().rev() {
            if self.slot(id).step == Step::Waiting {
                self.end(id);
            }
        }
        for id in self.ids().rev() {
            self.try_stop(id);
        }
    }

    /// Stops a daemon if everything that depends on it has ended.
    fn try_stop(&mut self, id: SlotId) {
        let is_stopping = self.is_stopping();
        let slot = self.slot(id);
        if !is_stopping || slot.waited_for_by > 0 {
            return;
        }
        match slot.step {
            Step::Ready(_) | Step::WindingDown if slot.children > 0 => self.stop_children(id),
            // Its children have nothing to wait for if it is not prepared: they end together.
            Step::Ready(_) | Step::Preparing => self.stop_slot(id),
            // One that winds down is stopped afterwards.
            Step::Waiting | Step::WindingDown | Step::Stopping | Step::Draining | Step::Ended => {}
        }
    }

    fn stop_slot(&mut self, id: SlotId) {
        let slot = self.slot(id);
        if !slot.has_lifecycle {
            return self.end(id);
        }
        let is_prepared = slot.step.is_prepared();
        slot.step = Step::Stopping;
        slot.in_flight.stop = is_prepared;
        self.changed.push_back(id);
        self.act(Action::SignalStop(id));
        if is_prepared {
            self.act(Action::Begin(id, Phase::Stop));
        }
        self.limit(id, self.policy(id).stop);
    }

    /// Drains a daemon's tasks once its phases and children have ended.
    fn try_drain(&mut self, id: SlotId) {
        let slot = self.slot(id);
        if slot.step != Step::Stopping || slot.in_flight.any() {
            return;
        }
        if slot.children > 0 {
            self.abort_done(id);
            return self.stop_children(id);
        }
        slot.step = Step::Draining;
        let is_aborted = slot.is_aborted;
        self.act(Action::CloseTasks(id));
        if is_aborted {
            self.await_abort(id);
        }
    }

    fn end(&mut self, id: SlotId) {
        self.unended -= 1;
        self.changed.push_back(id);
        self.limit(id, None);
        let slot = self.slot(id);
        slot.step = Step::Ended;
        let needs = std::mem::take(&mut slot.needs);
        self.abort_done(id);
        for need in needs {
            self.slot(need).waited_for_by -= 1;
            self.try_stop(need);
        }
    }

    fn stop_children(&mut self, id: SlotId) {
        let slot = self.slot(id);
        if std::mem::replace(&mut slot.are_children_notified, true) {
            return;
        }
        let of_slot = self.children.iter().filter(|(_, child)| child.slots.contains(&id));
        for child in of_slot.map(|(id, _)| *id).collect::<Vec<_>>() {
            self.stop_child(child);
        }
    }

    fn stop_child(&mut self, id: ChildId) {
        if let Some(child) = self.children.get_mut(&id)
            && !std::mem::replace(&mut child.is_notified, true)
        {
            self.act(Action::StopChild(id));
        }
    }

    fn forget_child(&mut self, id: ChildId) {
        let Some(child) = self.children.remove(&id) else {
            return;
        };
        if child.is_aborted {
            self.aborts_pending -= 1;
            self.timeouts.clear(Timeout::Child(id));
        }
        for slot in &child.slots {
            self.slot(*slot).children -= 1;
        }
        if let Maker::Daemon(maker) = child.maker {
            self.slot(maker).own_children -= 1;
            self.try_wind_down(maker);
        }
        for slot in child.slots {
            self.try_stop(slot);
            self.try_drain(slot);
        }
    }

    /// Grants this time.
    fn begin_round(&mut self, ends: Option<Instant>) {
        self.stop_by = ends;
        self.timeouts.set_shared_at(ends);
    }

    /// Enters the next round, or ends, when nothing is left to wait for; and sets the timer.
    fn settle(&mut self) {
        if let Stage::Stopping { limit, rounds, is_aborting } = self.stage {
            if self.unended == 0 && self.children.is_empty() {
                self.stage = Stage::Ended;
                self.timeouts.clear_all();
            } else if is_aborting && self.aborts_pending == 0 && rounds > 0 {
                self.stage = Stage::Stopping { limit, rounds, is_aborting: false };
                // The same time once more, as far as twice the deadline leaves it.
                self.begin_round(self.budget.round_by(self.now, limit));
            }
        }
        if let Some(next) = self.timeouts.next() {
            self.act(Action::Timer(next));
        }
    }
}

impl Step {
    fn is_prepared(self) -> bool {
        matches!(self, Step::Ready(_) | Step::WindingDown)
    }
}

impl InFlight {
    fn any(self) -> bool {
        self.prepare || self.run || self.stop
    }

    fn phases(self) -> impl Iterator<Item = Phase> {
        let phases = [(self.prepare, Phase::Prepare), (self.run, Phase::Run), (self.stop, Phase::Stop)];
        phases.into_iter().filter(|(is_in_flight, _)| *is_in_flight).map(|(_, phase)| phase)
    }
}

#[cfg(test)]
mod tests;
