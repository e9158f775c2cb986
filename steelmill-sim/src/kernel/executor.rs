//! The executor: one thread, one table of tasks, one queue of those that are ready.
//!
//! The next task is drawn from the ready ones; when none is ready, time jumps to the next event. A wake of a task that
//! is ready already changes nothing. A task is polled outside of any borrow of the run's state.

use std::any::Any;
use std::future::Future;
use std::panic::{AssertUnwindSafe, Location, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use steelmill_core::{Owner, Panic, TaskError};

use crate::kernel::decisions::Stream;
use crate::kernel::machine_index::Roster;
use crate::kernel::pct::Pct;
use crate::kernel::run_queue::Ready;
use crate::kernel::waker::{TaskKey, Waiter};
use crate::machine::cluster::{self, Event, Run, RunId};
use crate::schema::outcome::{Cause, TaskReport};
use crate::schema::settings::{Schedule, Settings};
use crate::trace::{TaskEnd, TaskId, TaskInfo, What};

/// A task's output, whatever its type; that of a task without one takes no memory.
pub(crate) type Output = Box<dyn Any + Send>;
pub(crate) type TaskFuture = Pin<Box<dyn Future<Output = Output>>>;

/// The scenario itself: the first task of every run.
pub(crate) const MAIN: usize = 0;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Vacant,
    /// Waits for a wake.
    Idle,
    /// Stands in the ready queue.
    Ready,
    Running,
    /// Was woken while it ran: ready again as soon as it pauses.
    RunningWoken,
    /// Was aborted while it ran: ends as soon as it pauses.
    RunningAborted,
    Ended,
    /// Was aborted while it stood in the ready queue; its place is given back when it comes up there.
    EndedInQueue,
}

impl State {
    fn is_alive(self) -> bool {
        !matches!(self, State::Vacant | State::Ended | State::EndedInQueue)
    }
}

/// A task. What a wake and a poll look at lies together: with a thousand tasks it is the cache lines that count.
#[repr(C)]
struct Slot {
    key: TaskKey,
    future: Option<TaskFuture>,
    polls: u64,
    machine: u32,
    state: State,
    /// What a simulated primitive last said it waits for.
    waits_for: WaitsFor,
    has_handle: bool,
    /// A slow machine has let it wait for long enough.
    is_its_turn: bool,
    joiner: Option<Waiter>,
    end: Option<Result<Output, TaskError>>,
    owner: Option<Arc<Owner>>,
    name: &'static str,
    spawned_at: &'static Location<'static>,
}

pub(crate) struct Tasks {
    run: RunId,
    slots: Vec<Slot>,
    free: Vec<u32>,
    ready: Ready,
    of_machines: Roster,
    /// Where priorities decide, the ready tasks are here as soon as one is to be picked.
    pct: Option<Box<Pct>>,
    /// The task that is being polled, or none.
    current: TaskKey,
    pub(crate) polls: u64,
    /// How many polls there had been when time last passed.
    pub(crate) polls_before_this_instant: u64,
    /// How many there may be before time has to pass, or it is counted whose they are.
    pub(crate) polls_end: u64,
    /// How many more there may be at each time that comes.
    pub(crate) polls_unwatched: u64,
    lately: Option<Box<Lately>>,
}

/// Whose polls there had been when it began to be counted whose they are.
struct Lately {
    /// Tells the time from others: how many polls there had been before it.
    instant: u64,
    since: u64,
    /// By place.
    counts: Vec<(TaskKey, u64)>,
}

/// Of how many polls it is counted whose they are, at the end of a livelock.
fn watched_polls(settings: &Settings) -> u64 {
    settings.poll_limit.div_ceil(2).min(100_000)
}

/// What the executor is to do outside of the borrow.
enum Step {
    Poll(TaskKey, TaskFuture),
    /// The task was aborted while it was polled.
    End(TaskKey, TaskFuture),
    /// Foreign wakers are to be woken before it goes on.
    Wake,
    Over,
}

/// Polls tasks and lets time pass until the run is over.
pub(crate) fn drive(id: RunId) {
    let mut step = cluster::with(id, Run::next_step);
    loop {
        match step {
            Step::Poll(key, mut future) => {
                let waker = key.waker();
                let context = &mut Context::from_waker(&waker);
                match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(context))) {
                    Ok(Poll::Pending) => {
                        // The common case: one look into the run parks the task and finds the next.
                        step = cluster::with(id, |run| run.park(key, future));
                        continue;
                    }
                    Ok(Poll::Ready(output)) => end(id, key, future, Ok(output)),
                    Err(payload) => end(id, key, future, Err(panicked(payload))),
                }
            }
            Step::End(key, future) => end(id, key, future, Err(TaskError::Aborted)),
            Step::Wake => {}
            Step::Over => return,
        }
        step = cluster::with(id, Run::next_step);
    }
}

/// Drops a task's future, while it still counts as running, and then tells who waits for it.
fn end(id: RunId, key: TaskKey, future: TaskFuture, result: Result<Output, TaskError>) {
    let dropped = catch_unwind(AssertUnwindSafe(|| drop(future)));
    let result = dropped.map_or_else(|payload| Err(panicked(payload)), |()| result);
    let unseen = cluster::with(id, |run| run.finish(key, result));
    drop(unseen);
}

/// What was raised is dropped here, where that may run code of a user.
fn panicked(payload: Box<dyn Any + Send>) -> TaskError {
    TaskError::Panicked(Panic::of(payload.as_ref()))
}

impl Run {
    /// Puts a paused task back and finds the next.
    #[inline(always)]
    fn park(&mut self, key: TaskKey, future: TaskFuture) -> Step {
        let index = key.index();
        let slot = &mut self.tasks.slots[index];
        match slot.state {
            State::RunningAborted => return Step::End(key, future),
            State::RunningWoken => {
                slot.state = State::Ready;
                self.tasks.ready.push(index as u32);
            }
            _ => slot.state = State::Idle,
        }
        debug_assert!(slot.future.is_none());
        std::mem::forget(slot.future.replace(future)); // it is empty while the task is polled
        self.next_step()
    }

    /// What to do next: nearly always to poll a task that is ready.
    #[inline(always)]
    fn next_step(&mut self) -> Step {
        loop {
            if self.over.is_none()
                && let Some((index, place)) = self.pick()
            {
                if self.hosts.hampered > 0 && self.is_kept_waiting(index) {
                    continue;
                }
                let slot = &mut self.tasks.slots[index as usize];
                let Some(future) = slot.future.take() else {
                    slot.state = State::Ended;
                    self.tasks.vacate_if_done(index);
                    continue;
                };
                slot.state = State::Running;
                slot.polls += 1;
                slot.waits_for = WaitsFor::Unknown;
                let key = slot.key;
                self.tasks.current = key;
                self.tasks.polls += 1;
                self.happened_often(|| What::Poll { task: TaskId::of(key), place: place as u64 });
                if let Some(watch) = &self.watch {
                    watch.polling(index as usize, self.tasks.polls);
                }
                return Step::Poll(key, future);
            }
            if let Some(step) = self.pass_time() {
                return step;
            }
        }
    }

    /// Whether a task that is ready is not polled yet, because its machine is paused or slow.
    #[cold]
    fn is_kept_waiting(&mut self, index: u32) -> bool {
        let slot = &mut self.tasks.slots[index as usize];
        if slot.future.is_none() {
            return false; // it has ended, and its place is to be given back
        }
        let host = &mut self.hosts[slot.machine];
        if let Some(waiting) = &mut host.paused {
            waiting.push(index);
            return true;
        }
        slot.is_its_turn = !slot.is_its_turn && host.slowness > 0;
        if slot.is_its_turn {
            let greatest = host.slowness;
            let at = self.now + self.draw(Stream::Slowness, greatest + 1);
            self.timers.schedule(at, Event::Turn(index));
            return true;
        }
        false
    }

    /// A task of a slow machine has waited for long enough.
    pub(crate) fn turn(&mut self, index: u32) {
        self.tasks.ready.push(index);
    }

    /// No task is ready: lets time pass until one is, or until the run is over.
    #[inline(never)]
    fn pass_time(&mut self) -> Option<Step> {
        self.tasks.current = TaskKey::NONE;
        if self.over.is_some() {
            if let Some(watch) = &self.watch {
                watch.idle();
            }
            return Some(Step::Over);
        }
        if self.tasks.polls >= self.tasks.polls_end && self.tasks.is_any_ready() {
            self.watch_livelock();
            return None;
        }
        if !self.take_foreign_wakes() && !self.advance() {
            let tasks = self.task_list();
            self.fail(Cause::Deadlock { tasks });
        }
        self.has_later().then_some(Step::Wake)
    }

    /// The next ready task, by the schedule, and the place it had among them.
    #[inline(always)]
    fn pick(&mut self) -> Option<(u32, usize)> {
        match self.settings.schedule {
            Schedule::Uniform => {}
            Schedule::Fifo => return self.pick_oldest(),
            Schedule::Pct { .. } => return self.pick_by_priority(),
        }
        let ready = self.tasks.ready.len();
        if ready <= 1 || self.tasks.polls >= self.tasks.polls_end {
            return self.pick_oldest();
        }
        let place = self.draw(Stream::Schedule, ready as u64) as usize;
        Some((self.tasks.ready.take(place), place))
    }

    /// The oldest ready task, if there is one and it may still be polled.
    fn pick_oldest(&mut self) -> Option<(u32, usize)> {
        if self.tasks.ready.len() == 0 || self.tasks.polls >= self.tasks.polls_end {
            return None;
        }
        Some((self.tasks.ready.take_oldest(), 0))
    }

    /// The next ready task where priorities decide: all that are ready move over to them.
    #[cold]
    fn pick_by_priority(&mut self) -> Option<(u32, usize)> {
        // Out of the run meanwhile, as it draws from it.
        let mut pct = self.tasks.pct.take()?;
        while self.tasks.ready.len() > 0 {
            let index = self.tasks.ready.take(0);
            let key = self.tasks.key(index);
            pct.push(key, &mut |below| self.draw(Stream::Schedule, below));
        }
        let instant = self.tasks.polls_before_this_instant;
        if self.tasks.polls >= self.tasks.polls_end {
            self.tasks.pct = Some(pct);
            return None;
        }
        let picked = pct.pick(instant, &mut |below| self.draw(Stream::Schedule, below));
        self.tasks.pct = Some(pct);
        picked.map(|index| (index, 0))
    }

    /// Tasks are ready, but so many polls have happened without any time passing that from here on it is counted whose
    /// they are; or so many more that the run fails.
    #[cold]
    fn watch_livelock(&mut self) {
        let (polls, instant) = (self.tasks.polls, self.tasks.polls_before_this_instant);
        let Some(lately) = self.tasks.lately.take().filter(|lately| lately.instant == instant) else {
            let counts = self.tasks.slots.iter().map(|slot| (slot.key, slot.polls)).collect();
            self.tasks.lately = Some(Box::new(Lately { instant, since: polls, counts }));
            self.tasks.polls_end = polls.saturating_add(watched_polls(&self.settings));
            return;
        };
        let of = polls - lately.since;
        let mut tasks: Vec<TaskReport> = Vec::new();
        for (index, slot) in self.tasks.slots.iter().enumerate().filter(|(_, slot)| slot.state.is_alive()) {
            let before =
                lately.counts.get(index).filter(|(key, _)| *key == slot.key).map_or(0, |(_, polls)| *polls);
            // One that has ended is no longer known; who is to run next is, at least.
            if slot.polls > before || slot.state == State::Ready {
                let polls_lately = Some((slot.polls - before, of));
                tasks.push(TaskReport { polls_lately, ..self.task_report(index) });
            }
        }
        tasks.sort_by_key(|task| std::cmp::Reverse(task.polls_lately));
        self.fail(Cause::Livelock { polls: self.settings.poll_limit, tasks });
    }

    /// Starts a task of a machine.
    pub(crate) fn spawn(
        &mut self,
        machine: u32,
        owner: Option<&Arc<Owner>>,
        name: &'static str,
        spawned_at: &'static Location<'static>,
        future: TaskFuture,
    ) -> TaskKey {
        let index = self.tasks.insert(Slot {
            key: TaskKey::NONE,
            state: State::Ready,
            machine,
            has_handle: true,
            is_its_turn: false,
            future: Some(future),
            end: None,
            joiner: None,
            polls: 0,
            waits_for: WaitsFor::Unknown,
            owner: owner.cloned(),
            name,
            spawned_at,
        });
        self.tasks.of_machines.enter(machine, index);
        self.tasks.ready.push(index);
        if let Some(watch) = &self.watch {
            let daemon = owner.and_then(|owner| owner.daemon());
            watch.spawned(index as usize, &self.hosts[machine].name, daemon, name);
        }
        let key = self.tasks.key(index);
        self.spawned(key, || TaskInfo { name, machine, owner: owner.cloned(), spawned_at });
        self.happened(What::Spawn { task: TaskId::of(key), machine });
        key
    }

    /// Takes a task that has ended out of its machine's list and tells who waits for it. Gives back what nobody will
    /// ever look at.
    fn finish(
        &mut self,
        key: TaskKey,
        result: Result<Output, TaskError>,
    ) -> Option<Result<Output, TaskError>> {
        let index = key.index();
        self.leave_machine(index);
        let end = match &result {
            Ok(_) => TaskEnd::Returned,
            Err(TaskError::Panicked(_)) => TaskEnd::Panicked,
            Err(TaskError::Aborted) => TaskEnd::Aborted,
        };
        self.happened(What::End { task: TaskId::of(key), end });
        let slot = &mut self.tasks.slots[index];
        slot.state = if slot.state == State::Ready { State::EndedInQueue } else { State::Ended };
        if index == MAIN {
            slot.end = Some(result);
            self.over.get_or_insert(None);
            return None;
        }
        let joiner = slot.joiner.take();
        let unseen = if slot.has_handle {
            slot.end = Some(result);
            None
        } else {
            if let Err(TaskError::Panicked(panic)) = &result {
                self.unseen_panic(index, panic);
            }
            self.tasks.vacate_if_done(index as u32);
            Some(result)
        };
        if let Some(joiner) = joiner {
            self.wake(joiner);
        }
        unseen
    }

    /// A task panicked and no handle will tell of it: the run fails.
    fn unseen_panic(&mut self, index: usize, panic: &Panic) {
        let task = self.task_report(index);
        self.fail(Cause::Panic { message: panic.to_string(), task });
    }

    fn leave_machine(&mut self, index: usize) {
        let machine = self.tasks.slots[index].machine;
        self.tasks.of_machines.leave(machine, index as u32);
    }

    /// Ends a task that is not being polled; its future is handed out to be dropped outside of the borrow. One that
    /// is being polled ends when it pauses.
    pub(crate) fn abort(&mut self, key: TaskKey) -> Option<TaskFuture> {
        let slot = self.tasks.slot(key)?;
        match slot.state {
            State::Idle | State::Ready => {
                let future = slot.future.take();
                self.finish(key, Err(TaskError::Aborted));
                future
            }
            State::Running | State::RunningWoken => {
                slot.state = State::RunningAborted;
                None
            }
            _ => None,
        }
    }

    /// The handle of a task is gone. What it never looked at comes back, to be dropped outside of the borrow.
    pub(crate) fn detach(&mut self, key: TaskKey) -> Option<Result<Output, TaskError>> {
        let slot = self.tasks.slot(key)?;
        slot.has_handle = false;
        let (end, joiner) = (slot.end.take(), slot.joiner.take());
        self.discard(joiner);
        if let Some(Err(TaskError::Panicked(panic))) = &end {
            self.unseen_panic(key.index(), panic);
        }
        self.tasks.vacate_if_done(key.index() as u32);
        end
    }

    /// What a report says of every task that has not ended: the scenario's, those that others might have to wake, and
    /// then those that have nothing to do.
    pub(crate) fn task_list(&self) -> Vec<TaskReport> {
        let alive = |index: &usize| self.tasks.slots[*index].state.is_alive();
        let mut tasks: Vec<(usize, TaskReport)> =
            (0..self.tasks.slots.len()).filter(alive).map(|index| (index, self.task_report(index))).collect();
        let is_factorys =
            |task: &TaskReport| task.owner.as_ref().is_some_and(|owner| owner.daemon().is_none());
        tasks.sort_by_key(|(index, task)| (*index != MAIN, is_factorys(task), task.is_at_rest));
        tasks.into_iter().map(|(_, task)| task).collect()
    }

    pub(crate) fn task_report(&self, index: usize) -> TaskReport {
        let slot = &self.tasks.slots[index];
        TaskReport {
            machine: self.hosts[slot.machine].name.to_string(),
            owner: slot.owner.clone(),
            name: slot.name,
            spawned_at: slot.spawned_at,
            waits_for: match slot.state {
                State::Idle => slot.waits_for.text(),
                State::Ready => "its turn to run",
                _ => "",
            },
            waits_at: Vec::new(),
            polls: slot.polls,
            polls_lately: None,
            is_at_rest: slot.state == State::Idle && slot.waits_for.is_rest(),
            is_ready: slot.state == State::Ready,
            key: slot.key,
        }
    }

    /// Takes note of what the task being polled is about to wait for.
    #[inline]
    pub(crate) fn waits_for(&mut self, what: WaitsFor) {
        if let Some(slot) = self.tasks.slots.get_mut(self.tasks.current.index()) {
            slot.waits_for = what;
        }
    }
}

/// What is said of a task that waits for nothing of the sim's.
pub(crate) const UNKNOWN: &str = "something that is not the sim's, such as a channel or a lock";

/// What a task waits for, as far as the sim's own primitives know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WaitsFor {
    Unknown,
    Clock,
    Task,
    Connection,
    Accept,
    Read,
    Write,
    Datagram,
}

impl WaitsFor {
    fn is_rest(self) -> bool {
        matches!(self, WaitsFor::Clock | WaitsFor::Accept | WaitsFor::Read | WaitsFor::Datagram)
    }

    fn text(self) -> &'static str {
        match self {
            WaitsFor::Unknown => UNKNOWN,
            WaitsFor::Clock => "its clock",
            WaitsFor::Task => "a task to end",
            WaitsFor::Connection => "a TCP connection to be made",
            WaitsFor::Accept => "a TCP connection to accept",
            WaitsFor::Read => "bytes to read from a TCP connection",
            WaitsFor::Write => "room to write to a TCP connection",
            WaitsFor::Datagram => "a datagram",
        }
    }
}

impl Tasks {
    pub(crate) fn new(run: RunId, settings: &Settings) -> Self {
        Self {
            run,
            slots: Vec::with_capacity(16),
            free: Vec::with_capacity(16),
            ready: Ready::new(),
            of_machines: Roster::default(),
            pct: match settings.schedule {
                Schedule::Pct { depth } => Some(Box::new(Pct::new(depth))),
                _ => None,
            },
            current: TaskKey::NONE,
            polls: 0,
            polls_before_this_instant: 0,
            polls_end: settings.poll_limit - watched_polls(settings),
            polls_unwatched: settings.poll_limit - watched_polls(settings),
            lately: None,
        }
    }

    fn insert(&mut self, mut slot: Slot) -> u32 {
        match self.free.pop() {
            Some(index) => {
                slot.key = self.slots[index as usize].key;
                self.slots[index as usize] = slot;
                index
            }
            None => {
                assert!(self.slots.len() < TaskKey::INDEX_END, "more than 16 million tasks at once");
                let index = self.slots.len() as u32;
                slot.key = TaskKey::new(self.run, 0, index);
                self.slots.push(slot);
                index
            }
        }
    }

    /// The task of that name, if it has not been vacated. A key of another run finds none.
    #[inline]
    fn slot(&mut self, key: TaskKey) -> Option<&mut Slot> {
        self.slots.get_mut(key.index()).filter(|slot| slot.key == key)
    }

    /// Makes a task ready; whether there is one of that name, which one that has ended or is another run's is not.
    #[inline]
    pub(crate) fn wake(&mut self, key: TaskKey) -> bool {
        let Some(slot) = self.slot(key) else { return false };
        match slot.state {
            State::Idle => {
                slot.state = State::Ready;
                self.ready.push(key.index() as u32);
            }
            State::Running => slot.state = State::RunningWoken,
            _ => {}
        }
        true
    }

    /// Whether a wake would make a task ready.
    pub(crate) fn is_waiting(&mut self, key: TaskKey) -> bool {
        self.slot(key).is_some_and(|slot| matches!(slot.state, State::Idle | State::Running))
    }

    /// Gives a place back once its task has ended and nobody holds its handle.
    fn vacate_if_done(&mut self, index: u32) {
        let slot = &mut self.slots[index as usize];
        if slot.state == State::Ended && !slot.has_handle {
            slot.state = State::Vacant;
            slot.owner = None;
            slot.key = slot.key.next_generation();
            self.free.push(index);
        }
    }

    pub(crate) fn is_finished(&mut self, key: TaskKey) -> bool {
        self.slot(key).is_none_or(|slot| !slot.state.is_alive())
    }

    /// A task's end, once; until then `waiter` will be woken by it and the former waiter comes back.
    pub(crate) fn join(
        &mut self,
        key: TaskKey,
        waiter: Waiter,
    ) -> Result<Result<Output, TaskError>, Option<Waiter>> {
        let Some(slot) = self.slot(key) else {
            return Ok(Err(TaskError::Aborted));
        };
        match slot.end.take() {
            Some(end) => Ok(end),
            None if !slot.state.is_alive() => Ok(Err(TaskError::Aborted)),
            None => Err(slot.joiner.replace(waiter)),
        }
    }

    /// The machine whose task is being polled.
    pub(crate) fn current_machine(&self) -> Option<u32> {
        self.slots.get(self.current.index()).map(|slot| slot.machine)
    }

    /// The task that is being polled.
    pub(crate) fn current_key(&self) -> Option<TaskKey> {
        (self.current != TaskKey::NONE).then_some(self.current)
    }

    /// The tasks of a machine that have not ended.
    pub(crate) fn of(&self, machine: u32) -> Vec<TaskKey> {
        self.of_machines.of(machine).map(|index| self.key(index)).collect()
    }

    /// Whether a task has that name and works for that owner, and not for another of the same names: a daemon that runs
    /// again is another one.
    pub(crate) fn is_owned(&self, key: TaskKey, owner: &Arc<Owner>, name: &str) -> bool {
        let slot = &self.slots[key.index()];
        slot.name == name && slot.owner.as_ref().is_some_and(|other| Arc::ptr_eq(other, owner))
    }

    /// The key of the task in a place.
    #[inline]
    fn key(&self, index: u32) -> TaskKey {
        self.slots[index as usize].key
    }

    /// How the scenario ended.
    pub(crate) fn take_main(&mut self) -> Option<Result<Output, TaskError>> {
        self.slots.get_mut(MAIN)?.end.take()
    }

    /// Hands the future of a task that is not being polled out to be looked at, as if it was; and who is being polled.
    pub(crate) fn begin_look(&mut self, key: TaskKey) -> Option<(TaskKey, TaskFuture)> {
        let future = self.slot(key)?.future.take()?;
        Some((std::mem::replace(&mut self.current, key), future))
    }

    pub(crate) fn end_look(&mut self, key: TaskKey, future: TaskFuture, current: TaskKey) {
        self.current = current;
        if let Some(slot) = self.slot(key) {
            slot.future = Some(future);
        }
    }

    fn is_any_ready(&self) -> bool {
        self.ready.len() > 0 || self.pct.as_ref().is_some_and(|pct| pct.ready().next().is_some())
    }

    /// Who waits for a task to end: for when the run is over.
    pub(crate) fn take_joiners(&mut self) -> impl Iterator<Item = Waiter> + '_ {
        self.slots.iter_mut().filter_map(|slot| slot.joiner.take())
    }

    /// Every future there is, to be dropped outside of the borrow.
    pub(crate) fn take_all(&mut self) -> Vec<TaskFuture> {
        self.slots.iter_mut().filter_map(|slot| slot.future.take()).collect()
    }

    /// How many tasks have not ended: for tests that none is left.
    pub(crate) fn alive(&self) -> usize {
        self.slots.iter().filter(|slot| slot.state.is_alive()).count()
    }
}
