//! What a factory does next: a plain state machine, without an executor and without user code.
//!
//! The supervisor tells it what has happened and when, and carries out the [`Action`]s it answers with.
//!
//! What always holds:
//! - a daemon prepares after everything it needs is prepared, and is told to stop after everything that needs it, its
//!   children and those who share it included, has ended;
//! - a child is told to stop when nothing but children keeps its maker, or a daemon it shares, from its turn;
//! - a daemon runs again only after its tasks and the children it made have ended;
//! - every state that waits for user code has a timer set, except while a daemon runs;
//! - once the stop's time has passed `ROUNDS` times, everything ends whatever user code does.

mod again;
mod alarms;
mod overstay;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use self::again::Again;
use self::alarms::{Alarm, Alarms};
use self::overstay::ROUNDS;
use super::{ChildId, Maker};
use crate::factory::SlotId;
use crate::status::State;
use crate::{Backoff, Deadlines, Phase, Policy};

/// What the supervisor is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    /// Start a daemon's `prepare`, `run` or `stop`.
    Begin(SlotId, Phase),
    /// All daemons are prepared and run.
    Started,
    /// Tell a daemon to stop.
    Tell(SlotId),
    /// Tell a daemon's tasks to end, and wait for them; when it has none, say [`Plan::tasks_ended`] at once.
    CloseTasks(SlotId),
    /// Give a daemon whose tasks have ended a fresh scope.
    Renew(SlotId),
    /// Draw the pause before a daemon's nth restart, and say [`Plan::pause`].
    Draw(SlotId, Backoff, u32),
    /// Report that a daemon was still in this phase at the deadline.
    Overstayed(SlotId, Phase, Duration),
    /// Report that there was no time left to tell a daemon to stop.
    NotTold(SlotId),
    /// Abort what runs for a daemon; report the tasks among it when they had been told.
    Kill(SlotId, Option<Duration>),
    /// Report that what was aborted did not end.
    Stuck(SlotId),
    /// Let a child start.
    Admit(ChildId),
    /// Tell a child to stop.
    TellChild(ChildId),
    /// Abort a child, and report that it had not ended at the deadline.
    KillChild(ChildId, Duration),
    /// Report that a child did not end when it was aborted.
    StuckChild(ChildId),
    /// Replace the timer.
    Timer(Option<Instant>),
}

/// How a phase of a daemon ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PhaseEnd {
    Done,
    Failed,
    /// It was told to stop, or killed, before it had ended.
    Cut,
}

/// What becomes of a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It stands in the report.
    Stands,
    /// The daemon runs again.
    RunsAgain,
    /// The daemon would have run again, but has done so too often.
    TooOften(Backoff),
}

pub(super) struct Plan {
    deadlines: Deadlines,
    now: Instant,
    stage: Stage,
    slots: Vec<Slot>,
    children: BTreeMap<ChildId, Child>,
    /// Slots that are not prepared.
    unready: usize,
    /// Slots that have not ended.
    left: usize,
    /// Slots and children that were killed and have not ended.
    dying: usize,
    alarms: Alarms,
    actions: Vec<Action>,
    /// Slots whose state may be another one.
    changed: Vec<SlotId>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    New,
    Preparing,
    Running,
    Stopping {
        limit: Duration,
        rounds: u32,
        /// The time is up, and what was killed is awaited.
        is_killing: bool,
    },
    Ended,
}

struct Slot {
    has_lifecycle: bool,
    step: Step,
    busy: Busy,
    /// What runs for it has been aborted.
    is_killed: bool,
    /// And is awaited.
    is_dying: bool,
    needs: Vec<SlotId>,
    needed_by: Vec<SlotId>,
    /// How many of `needs` are not prepared.
    waits_for: usize,
    /// How many of `needed_by` have not ended.
    waited_for_by: usize,
    /// How many children count as dependents.
    children: usize,
    /// How many of those it made.
    own_children: usize,
    are_children_told: bool,
    /// Of a daemon that has a policy.
    again: Option<Box<Again>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Waiting,
    Preparing,
    /// Prepared; it runs unless it rests.
    Ready(Rest),
    /// Its run has failed; the children it made and its tasks are awaited.
    Winding,
    /// Told to stop; its phases are awaited.
    Told,
    /// Its tasks are awaited.
    Draining,
    Ended,
}

/// Why a prepared daemon does not run, if it does not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rest {
    /// The others are not prepared yet.
    NotYet,
    /// Its `run` has returned.
    Finished,
    /// It is about to run again.
    Pause,
    /// It has failed and is left down.
    Down,
}

/// The phases that are under way.
#[derive(Clone, Copy, Default)]
struct Busy {
    prepare: bool,
    run: bool,
    stop: bool,
}

struct Child {
    /// What it shares, and its maker.
    slots: Vec<SlotId>,
    maker: Maker,
    /// How many of those it shares are not prepared. Not the maker: that may make it while it prepares.
    waits_for: usize,
    is_told: bool,
    is_killed: bool,
}

impl Plan {
    /// A plan for slots that stand behind everything they need.
    pub(super) fn new(deadlines: Deadlines, now: Instant) -> Self {
        Plan {
            deadlines,
            now,
            stage: Stage::New,
            slots: Vec::new(),
            children: BTreeMap::new(),
            unready: 0,
            left: 0,
            dying: 0,
            alarms: Alarms::default(),
            actions: Vec::new(),
            changed: Vec::new(),
        }
    }

    /// Adds the next slot. One without a lifecycle is only ever waited for.
    pub(super) fn add(&mut self, has_lifecycle: bool, needs: Vec<SlotId>, policy: Policy) {
        let id = SlotId(u32::try_from(self.slots.len()).expect("slots are counted in 32 bits"));
        for need in &needs {
            self.slots[need.index()].needed_by.push(id);
            self.slots[need.index()].waited_for_by += 1;
        }
        self.slots.push(Slot {
            has_lifecycle,
            step: Step::Waiting,
            busy: Busy::default(),
            is_killed: false,
            is_dying: false,
            waits_for: needs.len(),
            needs,
            needed_by: Vec::new(),
            waited_for_by: 0,
            children: 0,
            own_children: 0,
            are_children_told: false,
            again: (policy != Policy::default()).then(|| Box::new(Again::new(policy))),
        });
        self.unready += 1;
        self.left += 1;
    }

    pub(super) fn has_ended(&self) -> bool {
        self.stage == Stage::Ended
    }

    pub(super) fn is_stopping(&self) -> bool {
        matches!(self.stage, Stage::Stopping { .. } | Stage::Ended)
    }

    /// What is to be done, in this order.
    pub(super) fn actions(&mut self) -> Vec<Action> {
        std::mem::take(&mut self.actions)
    }

    /// Slots whose state may have changed since the last call.
    pub(super) fn changed(&mut self) -> Vec<SlotId> {
        std::mem::take(&mut self.changed)
    }

    /// The time on the factory's clock. Said before anything else that happens.
    pub(super) fn it_is(&mut self, now: Instant) {
        self.now = self.now.max(now);
    }

    pub(super) fn now(&self) -> Instant {
        self.now
    }

    pub(super) fn state(&self, id: SlotId) -> State {
        let slot = &self.slots[id.index()];
        match slot.step {
            Step::Waiting => State::Waiting,
            Step::Preparing => State::Preparing,
            Step::Ready(_) if slot.busy.run => State::Running,
            Step::Ready(Rest::NotYet) => State::Prepared,
            Step::Ready(Rest::Finished) => State::Finished,
            Step::Ready(Rest::Pause) => State::Pausing,
            Step::Ready(Rest::Down) => State::Down,
            Step::Winding => State::WindingDown,
            Step::Told | Step::Draining => State::Stopping,
            Step::Ended => State::Ended,
        }
    }

    /// The state of the factory as a whole.
    pub(super) fn state_of_all(&self) -> State {
        match self.stage {
            Stage::New => State::Waiting,
            Stage::Preparing => State::Preparing,
            Stage::Running => State::Running,
            Stage::Stopping { .. } => State::Stopping,
            Stage::Ended => State::Ended,
        }
    }
}

// What can happen.
impl Plan {
    pub(super) fn start(&mut self) {
        if self.stage != Stage::New {
            return;
        }
        self.stage = Stage::Preparing;
        self.alarms.share(self.now, self.deadlines.prepare);
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

    /// Ends everything without waiting for anybody's turn, because an ancestor's deadline has passed.
    pub(super) fn kill(&mut self, limit: Duration) {
        self.stop();
        if matches!(self.stage, Stage::Stopping { .. }) {
            self.kill_round(limit, 0);
        }
        self.settle();
    }

    pub(super) fn phase_ended(&mut self, id: SlotId, phase: Phase, end: PhaseEnd) -> Verdict {
        self.changed.push(id);
        let slot = &mut self.slots[id.index()];
        let mut verdict = Verdict::Stands;
        match phase {
            Phase::Prepare => slot.busy.prepare = false,
            Phase::Run => slot.busy.run = false,
            _ => slot.busy.stop = false,
        }
        match (self.stage, phase) {
            (Stage::Preparing, Phase::Prepare) if end == PhaseEnd::Done => {
                self.ready(id);
                self.try_run();
            }
            (Stage::Preparing, Phase::Prepare) => {
                self.slots[id.index()].step = Step::Told;
                self.act(Action::Tell(id));
                self.begin_stop(self.deadlines.rollback);
            }
            // Prepared after all, so it has to be stopped.
            (_, Phase::Prepare) if end == PhaseEnd::Done && !slot.is_killed && slot.step == Step::Told => {
                slot.step = Step::Ready(Rest::NotYet);
                self.try_tell(id);
            }
            (Stage::Running, Phase::Run) if end != PhaseEnd::Done => verdict = self.run_failed(id),
            (_, Phase::Run) if slot.step.is_prepared() => slot.step = Step::Ready(Rest::Finished),
            _ => {}
        }
        self.try_drain(id);
        self.settle();
        verdict
    }

    /// The last task of a daemon has ended, after its tasks were closed.
    pub(super) fn tasks_ended(&mut self, id: SlotId) {
        match self.slots[id.index()].step {
            Step::Draining => self.end(id),
            Step::Winding => self.wound_down(id),
            _ => {}
        }
        self.settle();
    }

    /// A child wants to start. It may when what it shares is prepared; that, and its maker, end after it. False when it
    /// is too late.
    pub(super) fn join(&mut self, id: ChildId, shares: Vec<SlotId>, maker: Maker) -> bool {
        let is_late = |maker: SlotId| self.slots[maker.index()].is_killed;
        if self.is_stopping() || matches!(maker, Maker::Daemon(maker) if is_late(maker)) {
            return false;
        }
        let mut child = Child { slots: shares, maker, waits_for: 0, is_told: false, is_killed: false };
        if let Maker::Daemon(maker) = maker {
            child.slots.retain(|slot| *slot != maker);
        }
        let is_unprepared = |slot: &&SlotId| !self.slots[slot.index()].step.is_prepared();
        child.waits_for = child.slots.iter().filter(is_unprepared).count();
        if let Maker::Daemon(maker) = maker {
            child.slots.push(maker);
            self.slot(maker).own_children += 1;
            // Its maker's run has failed: what that made goes with it.
            child.is_told = self.slot(maker).step == Step::Winding;
        }
        for slot in &child.slots {
            self.slots[slot.index()].children += 1;
        }
        if child.is_told {
            self.act(Action::TellChild(id));
        } else if child.waits_for == 0 {
            self.act(Action::Admit(id));
        }
        self.children.insert(id, child);
        true
    }

    pub(super) fn child_left(&mut self, child: ChildId) {
        self.forget_child(child);
        self.settle();
    }

    pub(super) fn timer_rang(&mut self) {
        self.alarms.rang();
        while let Some(alarm) = self.alarms.due(self.now) {
            match (alarm, self.stage) {
                (Alarm::Child(id), _) => self.give_up_child(id),
                (Alarm::Slot(id), _) => self.slot_alarm(id.0),
                (Alarm::Shared, Stage::Preparing) => self.overstay_start(),
                (Alarm::Shared, Stage::Stopping { is_killing: false, limit, rounds }) => {
                    self.kill_round(limit, rounds - 1);
                }
                (Alarm::Shared, _) => {}
            }
        }
        self.settle();
    }
}

// What follows from it.
impl Plan {
    fn ids(&self) -> impl DoubleEndedIterator<Item = SlotId> + use<> {
        (0..self.slots.len() as u32).map(SlotId)
    }

    fn slot(&mut self, id: SlotId) -> &mut Slot {
        &mut self.slots[id.index()]
    }

    fn policy(&self, id: SlotId) -> Policy {
        self.slots[id.index()].again.as_ref().map_or_else(Policy::default, |again| again.policy)
    }

    fn act(&mut self, action: Action) {
        self.actions.push(action);
    }

    fn try_prepare(&mut self, id: SlotId) {
        let slot = self.slot(id);
        if slot.step != Step::Waiting || slot.waits_for > 0 {
            return;
        }
        if slot.has_lifecycle {
            slot.step = Step::Preparing;
            slot.busy.prepare = true;
            self.changed.push(id);
            self.act(Action::Begin(id, Phase::Prepare));
            self.limit(id, self.policy(id).prepare);
        } else {
            self.ready(id);
        }
    }

    fn ready(&mut self, id: SlotId) {
        self.unready -= 1;
        self.limit(id, None);
        let slot = self.slot(id);
        slot.step = Step::Ready(Rest::NotYet);
        // Whoever needs it is not asked for again before a stop begins, and that only counts them.
        for dependent in slot.needed_by.clone() {
            self.slot(dependent).waits_for -= 1;
            self.try_prepare(dependent);
        }
        if self.slot(id).children > 0 {
            self.admit_children(id);
        }
    }

    /// Lets those children start that were waiting for this daemon only.
    fn admit_children(&mut self, id: SlotId) {
        let waiting = self.children.iter_mut().filter(|(_, child)| {
            child.maker != Maker::Daemon(id) && child.waits_for > 0 && child.slots.contains(&id)
        });
        for (child, waiting) in waiting {
            waiting.waits_for -= 1;
            if waiting.waits_for == 0 {
                self.actions.push(Action::Admit(*child));
            }
        }
    }

    fn try_run(&mut self) {
        if self.stage != Stage::Preparing || self.unready > 0 {
            return;
        }
        self.stage = Stage::Running;
        self.alarms.unshare();
        for id in self.ids() {
            if self.slot(id).has_lifecycle {
                self.run(id);
            }
        }
        self.act(Action::Started);
    }

    fn run(&mut self, id: SlotId) {
        self.slot(id).busy.run = true;
        self.changed.push(id);
        self.act(Action::Begin(id, Phase::Run));
    }

    fn begin_stop(&mut self, limit: Duration) {
        self.stage = Stage::Stopping { limit, rounds: ROUNDS, is_killing: false };
        self.alarms.share(self.now, limit);
        let firsts: Vec<_> = self
            .children
            .iter()
            .filter(|(_, child)| child.maker == Maker::Handle)
            .map(|(id, _)| *id)
            .collect();
        for child in firsts {
            self.tell_child(child);
        }
        for id in self.ids().rev() {
            if self.slot(id).step == Step::Waiting {
                self.end(id);
            }
        }
        for id in self.ids().rev() {
            self.try_tell(id);
        }
    }

    /// Tells a daemon to stop if its turn has come.
    fn try_tell(&mut self, id: SlotId) {
        let is_stopping = self.is_stopping();
        let slot = self.slot(id);
        if !is_stopping || slot.waited_for_by > 0 {
            return;
        }
        match slot.step {
            Step::Ready(_) | Step::Winding if slot.children > 0 => self.tell_children(id),
            // One that is not prepared has nothing to offer to its children: they end with it.
            Step::Ready(_) | Step::Preparing => self.tell(id),
            // One that winds down is told when it has.
            Step::Waiting | Step::Winding | Step::Told | Step::Draining | Step::Ended => {}
        }
    }

    fn tell(&mut self, id: SlotId) {
        let slot = self.slot(id);
        if !slot.has_lifecycle {
            return self.end(id);
        }
        let is_prepared = slot.step.is_prepared();
        slot.step = Step::Told;
        slot.busy.stop = is_prepared;
        self.changed.push(id);
        self.act(Action::Tell(id));
        if is_prepared {
            self.act(Action::Begin(id, Phase::Stop));
        }
        self.limit(id, self.policy(id).stop);
    }

    /// Lets a daemon's tasks end when its phases and children have.
    fn try_drain(&mut self, id: SlotId) {
        let slot = self.slot(id);
        if slot.step != Step::Told || slot.busy.any() {
            return;
        }
        if slot.children > 0 {
            self.not_dying(id);
            return self.tell_children(id);
        }
        slot.step = Step::Draining;
        let is_killed = slot.is_killed;
        self.act(Action::CloseTasks(id));
        if is_killed {
            self.dying(id);
        }
    }

    fn end(&mut self, id: SlotId) {
        self.left -= 1;
        self.changed.push(id);
        self.limit(id, None);
        let slot = self.slot(id);
        slot.step = Step::Ended;
        let needs = std::mem::take(&mut slot.needs);
        self.not_dying(id);
        for need in needs {
            self.slot(need).waited_for_by -= 1;
            self.try_tell(need);
        }
    }

    fn tell_children(&mut self, id: SlotId) {
        let slot = self.slot(id);
        if std::mem::replace(&mut slot.are_children_told, true) {
            return;
        }
        let of_slot = self.children.iter().filter(|(_, child)| child.slots.contains(&id));
        for child in of_slot.map(|(id, _)| *id).collect::<Vec<_>>() {
            self.tell_child(child);
        }
    }

    fn tell_child(&mut self, id: ChildId) {
        if let Some(child) = self.children.get_mut(&id)
            && !std::mem::replace(&mut child.is_told, true)
        {
            self.act(Action::TellChild(id));
        }
    }

    fn forget_child(&mut self, id: ChildId) {
        let Some(child) = self.children.remove(&id) else {
            return;
        };
        if child.is_killed {
            self.dying -= 1;
            self.alarms.clear(Alarm::Child(id));
        }
        for slot in &child.slots {
            self.slot(*slot).children -= 1;
        }
        if let Maker::Daemon(maker) = child.maker {
            self.slot(maker).own_children -= 1;
            self.try_wind_down(maker);
        }
        for slot in child.slots {
            self.try_tell(slot);
            self.try_drain(slot);
        }
    }

    /// Goes on to the next round, or ends, when nothing is left to wait for; and says when to look again.
    fn settle(&mut self) {
        if let Stage::Stopping { limit, rounds, is_killing } = self.stage {
            if self.left == 0 && self.children.is_empty() {
                self.stage = Stage::Ended;
                self.alarms.clear_all();
            } else if is_killing && self.dying == 0 && rounds > 0 {
                self.stage = Stage::Stopping { limit, rounds, is_killing: false };
                self.alarms.share(self.now, limit);
            }
        }
        if let Some(next) = self.alarms.next() {
            self.act(Action::Timer(next));
        }
    }
}

impl Step {
    fn is_prepared(self) -> bool {
        matches!(self, Step::Ready(_) | Step::Winding)
    }
}

impl Busy {
    fn any(self) -> bool {
        self.prepare || self.run || self.stop
    }

    fn phases(self) -> impl Iterator<Item = Phase> {
        let phases = [(self.prepare, Phase::Prepare), (self.run, Phase::Run), (self.stop, Phase::Stop)];
        phases.into_iter().filter(|(is_busy, _)| *is_busy).map(|(_, phase)| phase)
    }
}

#[cfg(test)]
mod tests;
