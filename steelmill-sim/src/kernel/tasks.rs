//! The task table: spawn, wake, join, abort, and the state of each task until its slot is freed.
//!
//! Waking a ready task changes nothing. Futures are polled and dropped while the run's state is not borrowed.

use std::any::Any;
use std::future::Future;
use std::panic::Location;
use std::pin::Pin;
use std::sync::Arc;

use steelmill_core::{Owner, TaskError};

use super::kernel::{Kernel, RunId};
use super::machine_index::MachineIndex;
use super::policy::Policy;
use super::run_queue::RunQueue;
use super::scheduler::{RecentPolls, diagnosed_polls};
use super::waiter::Waiter;
use crate::schema::event::{EventKind, TaskEnd};
use crate::schema::outcome::TaskReport;
use crate::schema::settings::Settings;
use crate::schema::task::{TaskId, TaskKey};
use crate::schema::trace::TaskInfo;

/// A task's output, of any type; a `()` allocates nothing.
pub(crate) type Output = Box<dyn Any + Send>;
pub(crate) type TaskFuture = Pin<Box<dyn Future<Output = Output>>>;

/// The slot of the scenario's task: the first of every run.
pub(crate) const MAIN: usize = 0;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    Vacant,
    Idle,
    Ready,
    Running,
    /// Was woken during its poll: ready again when the poll returns.
    RunningWoken,
    /// Was aborted during its poll: ends when the poll returns.
    RunningAborted,
    Ended,
    /// Was aborted in the run queue; its slot is freed when it is dequeued.
    EndedInQueue,
}

impl State {
    pub(super) fn is_alive(self) -> bool {
        !matches!(self, State::Vacant | State::Ended | State::EndedInQueue)
    }
}

/// A task. The fields that a wake and a poll read are adjacent: with a thousand tasks, cache misses dominate.
#[repr(C)]
pub(super) struct Slot {
    pub(super) key: TaskKey,
    pub(super) future: Option<TaskFuture>,
    pub(super) polls: u64,
    pub(super) machine: u32,
    pub(super) state: State,
    /// Set by the simulated primitive that last returned `Pending` to it.
    pub(super) waits_for: WaitsFor,
    pub(super) has_handle: bool,
    /// The logarithm of its chance to run next, beside that of others: see [`Schedule::Weighted`](crate::Schedule::Weighted).
    pub(super) speed: u8,
    /// A slow machine has deferred its next poll already.
    pub(super) was_deferred: bool,
    pub(super) joiner: Option<Waiter>,
    pub(super) end: Option<Result<Output, TaskError>>,
    pub(super) owner: Option<Arc<Owner>>,
    pub(super) name: &'static str,
    pub(super) spawned_at: &'static Location<'static>,
}

/// The future of an aborted task, to be dropped outside of the borrow.
pub(crate) struct Orphan {
    pub(crate) future: TaskFuture,
    pub(crate) task: OrphanTask,
}

/// The task of an orphan, for a report if its destructor panics.
pub(crate) struct OrphanTask {
    key: TaskKey,
    pub(crate) machine: u32,
    polls: u64,
    owner: Option<Arc<Owner>>,
    name: &'static str,
    spawned_at: &'static Location<'static>,
}

impl Slot {
    fn orphan(&mut self) -> Option<Orphan> {
        let task = OrphanTask {
            key: self.key,
            machine: self.machine,
            polls: self.polls,
            owner: self.owner.clone(),
            name: self.name,
            spawned_at: self.spawned_at,
        };
        self.future.take().map(|future| Orphan { future, task })
    }
}

pub(crate) struct Tasks {
    run: RunId,
    pub(super) slots: Vec<Slot>,
    free: Vec<u32>,
    pub(super) ready: RunQueue,
    by_machine: MachineIndex,
    /// With some schedules the ready tasks move from the run queue to here before each pick.
    pub(crate) policy: Option<Box<Policy>>,
    /// The task that is being polled, or [`TaskKey::NONE`].
    pub(super) current: TaskKey,
    pub(crate) polls: u64,
    pub(crate) polls_before_this_instant: u64,
    /// The number of polls at which livelock diagnosis starts to count, or fails the run, unless time passes before.
    pub(crate) polls_end: u64,
    /// The number of polls in one instant before livelock diagnosis starts.
    pub(crate) polls_undiagnosed: u64,
    pub(super) recent: Option<Box<RecentPolls>>,
}

impl<E> Kernel<E> {
    pub(crate) fn spawn(
        &mut self,
        machine: u32,
        owner: Option<&Arc<Owner>>,
        name: &'static str,
        spawned_at: &'static Location<'static>,
        future: TaskFuture,
    ) -> TaskKey {
        let speed = self.draw_speed();
        let index = self.tasks.insert(Slot {
            key: TaskKey::NONE,
            state: State::Ready,
            machine,
            has_handle: true,
            speed,
            was_deferred: false,
            future: Some(future),
            end: None,
            joiner: None,
            polls: 0,
            waits_for: WaitsFor::Unknown,
            owner: owner.cloned(),
            name,
            spawned_at,
        });
        self.tasks.by_machine.insert(machine, index);
        self.tasks.ready.push(index, speed);
        if let Some(watch) = &self.watch {
            let daemon = owner.and_then(|owner| owner.daemon());
            watch.spawned(index as usize, &self.machine_names[machine as usize], daemon, name);
        }
        let key = self.tasks.key(index);
        self.spawned(key, || TaskInfo {
            name,
            machine,
            owner: owner.cloned(),
            spawned_at: spawned_at.into(),
        });
        self.happened(EventKind::Spawn { task: TaskId::of(key), machine });
        key
    }

    /// Ends a task and wakes its joiner. Returns the result if the task has no handle.
    pub(crate) fn finish(
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
        self.happened(EventKind::End { task: TaskId::of(key), end });
        let slot = &mut self.tasks.slots[index];
        slot.state = if slot.state == State::Ready { State::EndedInQueue } else { State::Ended };
        if index == MAIN {
            slot.end = Some(result);
            self.over.get_or_insert(None);
            return None;
        }
        let joiner = slot.joiner.take();
        let unclaimed = if slot.has_handle {
            slot.end = Some(result);
            None
        } else {
            self.tasks.vacate_if_done(index as u32);
            Some(result)
        };
        if let Some(joiner) = joiner {
            self.wake(joiner);
        }
        unclaimed
    }

    fn leave_machine(&mut self, index: usize) {
        let machine = self.tasks.slots[index].machine;
        self.tasks.by_machine.remove(machine, index as u32);
    }

    /// Aborts a task and hands out its future; a task that is being polled ends when the poll returns.
    pub(crate) fn abort(&mut self, key: TaskKey) -> Option<Orphan> {
        let slot = self.tasks.slot(key)?;
        match slot.state {
            State::Idle | State::Ready => {
                let orphan = slot.orphan();
                self.finish(key, Err(TaskError::Aborted));
                orphan
            }
            State::Running | State::RunningWoken => {
                slot.state = State::RunningAborted;
                None
            }
            _ => None,
        }
    }

    /// Detaches a task from its dropped handle. Returns an unclaimed result, to be dropped outside of the borrow.
    pub(crate) fn detach(&mut self, key: TaskKey) -> Option<Result<Output, TaskError>> {
        let slot = self.tasks.slot(key)?;
        slot.has_handle = false;
        let (end, joiner) = (slot.end.take(), slot.joiner.take());
        self.discard(joiner);
        self.tasks.vacate_if_done(key.index() as u32);
        end
    }

    /// Gives a task another name.
    pub(crate) fn rename(&mut self, key: TaskKey, name: &'static str) {
        if let Some(slot) = self.tasks.slot(key) {
            slot.name = name;
        }
        if let Some(recorder) = &mut self.recorder {
            recorder.rename(key, name);
        }
    }

    /// The reports of all tasks that have not ended: the scenario's first, factories' and idle ones last.
    pub(crate) fn task_list(&self) -> Vec<TaskReport> {
        let alive = |index: &usize| self.tasks.slots[*index].state.is_alive();
        let mut tasks: Vec<(usize, TaskReport)> =
            (0..self.tasks.slots.len()).filter(alive).map(|index| (index, self.task_report(index))).collect();
        let is_of_factory =
            |task: &TaskReport| task.owner.as_ref().is_some_and(|owner| owner.daemon().is_none());
        tasks.sort_by_key(|(index, task)| (*index != MAIN, is_of_factory(task), task.is_at_rest));
        tasks.into_iter().map(|(_, task)| task).collect()
    }

    pub(crate) fn orphan_report(&self, task: OrphanTask) -> TaskReport {
        let OrphanTask { key, machine, polls, owner, name, spawned_at } = task;
        TaskReport {
            machine: self.machine_names[machine as usize].to_string(),
            owner,
            name,
            spawned_at: spawned_at.into(),
            waits_for: "",
            waits_at: Vec::new(),
            waits_for_each: Vec::new(),
            held_by: None,
            polls,
            recent_polls: None,
            is_at_rest: false,
            is_ready: false,
            lock: None,
            key,
        }
    }

    /// The report of a task that tokio polls.
    pub(crate) fn report_of_tokio(&self, machine: u32, spawned_at: &'static Location<'static>) -> TaskReport {
        let (key, name) = (TaskKey::NONE, "a task of tokio");
        self.orphan_report(OrphanTask { key, machine, polls: 0, owner: None, name, spawned_at })
    }

    pub(crate) fn task_report(&self, index: usize) -> TaskReport {
        let slot = &self.tasks.slots[index];
        TaskReport {
            machine: self.machine_names[slot.machine as usize].to_string(),
            owner: slot.owner.clone(),
            name: slot.name,
            spawned_at: slot.spawned_at.into(),
            waits_for: match slot.state {
                State::Idle => slot.waits_for.text(),
                State::Ready => "its turn to run",
                _ => "",
            },
            waits_at: Vec::new(),
            waits_for_each: Vec::new(),
            held_by: None,
            polls: slot.polls,
            recent_polls: None,
            is_at_rest: slot.state == State::Idle && slot.waits_for.is_timer_or_input(),
            is_ready: slot.state == State::Ready,
            lock: None,
            key: slot.key,
        }
    }

    #[inline]
    pub(crate) fn waits_for(&mut self, what: WaitsFor) {
        if let Some(slot) = self.tasks.slots.get_mut(self.tasks.current.index()) {
            slot.waits_for = what;
        }
    }
}

/// The report of a task that waits for something other than a simulated primitive.
pub(crate) const UNKNOWN: &str = "something outside of the sim, such as a channel or a lock";

/// The simulated primitive that a task waits for.
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
    Futex,
    Epoll,
    Bytes,
    Factory,
    ProcessEnd,
    FirstLife,
}

impl WaitsFor {
    fn is_timer_or_input(self) -> bool {
        matches!(
            self,
            WaitsFor::Clock
                | WaitsFor::Accept
                | WaitsFor::Read
                | WaitsFor::Datagram
                | WaitsFor::Epoll
                | WaitsFor::Factory
        )
    }

    pub(crate) fn text(self) -> &'static str {
        match self {
            WaitsFor::Unknown => UNKNOWN,
            WaitsFor::Clock => "its clock",
            WaitsFor::Task => "a task to end",
            WaitsFor::Connection => "a TCP connection to be made",
            WaitsFor::Accept => "a TCP connection to accept",
            WaitsFor::Read => "bytes to read from a TCP connection",
            WaitsFor::Write => "room to write to a TCP connection",
            WaitsFor::Datagram => "a datagram",
            WaitsFor::Futex => "a lock, a condition variable or another thread's wake (futex)",
            WaitsFor::Epoll => "events of an epoll",
            WaitsFor::Factory => "its factory to end",
            WaitsFor::ProcessEnd => "a machine's process to end (Machine::ended)",
            WaitsFor::FirstLife => {
                "the end of a machine that was never started (Machine::ended without Machine::start)"
            }
            WaitsFor::Bytes => "a pipe, a socket pair or an eventfd",
        }
    }
}

impl Tasks {
    pub(crate) fn new(run: RunId, settings: &Settings, speeds: usize) -> Self {
        Self {
            run,
            slots: Vec::with_capacity(16),
            free: Vec::with_capacity(16),
            ready: RunQueue::new(speeds),
            by_machine: MachineIndex::default(),
            policy: Policy::of(settings).map(Box::new),
            current: TaskKey::NONE,
            polls: 0,
            polls_before_this_instant: 0,
            polls_end: settings.poll_limit - diagnosed_polls(settings),
            polls_undiagnosed: settings.poll_limit - diagnosed_polls(settings),
            recent: None,
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

    /// The slot of a key; `None` if it has been freed, or the key is of another run.
    #[inline]
    fn slot(&mut self, key: TaskKey) -> Option<&mut Slot> {
        self.slots.get_mut(key.index()).filter(|slot| slot.key == key)
    }

    /// Makes a task ready; `false` if its slot has been freed, or the key is of another run.
    #[inline]
    pub(crate) fn wake(&mut self, key: TaskKey) -> bool {
        let Some(slot) = self.slot(key) else { return false };
        match slot.state {
            State::Idle => {
                slot.state = State::Ready;
                let speed = slot.speed;
                self.ready.push(key.index() as u32, speed);
            }
            State::Running => slot.state = State::RunningWoken,
            _ => {}
        }
        true
    }

    pub(crate) fn is_waiting(&mut self, key: TaskKey) -> bool {
        self.slot(key).is_some_and(|slot| matches!(slot.state, State::Idle | State::Running))
    }

    /// Frees a slot whose task has ended and has no handle.
    pub(super) fn vacate_if_done(&mut self, index: u32) {
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

    /// Takes a task's result. If it has not ended, registers `waiter` and returns the former waiter as `Err`.
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

    pub(crate) fn pause_polling(&mut self) {
        self.current = TaskKey::NONE;
    }

    /// The machine of a dequeued task; `None` if it was aborted in the run queue.
    pub(crate) fn machine_of_ready(&self, index: u32) -> Option<u32> {
        let slot = &self.slots[index as usize];
        slot.future.is_some().then_some(slot.machine)
    }

    /// Whether to defer the poll of a dequeued task: on a slow machine every other time.
    pub(crate) fn toggle_deferral(&mut self, index: u32, is_slow: bool) -> bool {
        let slot = &mut self.slots[index as usize];
        slot.was_deferred = !slot.was_deferred && is_slow;
        slot.was_deferred
    }

    pub(crate) fn requeue(&mut self, index: u32) {
        self.ready.push(index, self.slots[index as usize].speed);
    }

    pub(crate) fn current_machine(&self) -> Option<u32> {
        self.slots.get(self.current.index()).map(|slot| slot.machine)
    }

    pub(crate) fn current_key(&self) -> Option<TaskKey> {
        (self.current != TaskKey::NONE).then_some(self.current)
    }

    /// The tasks of a machine that have not ended.
    pub(crate) fn of(&self, machine: u32) -> Vec<TaskKey> {
        self.by_machine.of(machine).map(|index| self.key(index)).collect()
    }

    /// Whether a task has this name and owner, by pointer: a restarted daemon has a new owner with the same names.
    pub(crate) fn is_owned(&self, key: TaskKey, owner: &Arc<Owner>, name: &str) -> bool {
        let slot = &self.slots[key.index()];
        slot.name == name && slot.owner.as_ref().is_some_and(|other| Arc::ptr_eq(other, owner))
    }

    #[inline]
    pub(super) fn key(&self, index: u32) -> TaskKey {
        self.slots[index as usize].key
    }

    pub(crate) fn take_main(&mut self) -> Option<Result<Output, TaskError>> {
        self.slots.get_mut(MAIN)?.end.take()
    }

    /// Hands out a task's future for a diagnostic poll and makes the task current; also returns the former current task.
    pub(crate) fn begin_inspection(&mut self, key: TaskKey) -> Option<(TaskKey, TaskFuture)> {
        let future = self.slot(key)?.future.take()?;
        Some((std::mem::replace(&mut self.current, key), future))
    }

    pub(crate) fn end_inspection(&mut self, key: TaskKey, future: TaskFuture, current: TaskKey) {
        self.current = current;
        if let Some(slot) = self.slot(key) {
            slot.future = Some(future);
        }
    }

    /// The living tasks but one, in the order of their slots.
    pub(crate) fn keys_of_others(&self, task: TaskKey) -> Vec<TaskKey> {
        let others = self.slots.iter().filter(|slot| slot.future.is_some() && slot.key != task);
        others.map(|slot| slot.key).collect()
    }

    /// Takes the future of a task, which is not polled again.
    pub(crate) fn take_future(&mut self, task: TaskKey) -> Option<Orphan> {
        self.slot(task)?.orphan()
    }

    pub(crate) fn is_any_ready(&self) -> bool {
        self.ready.len() > 0 || self.policy.as_ref().is_some_and(|policy| policy.is_any_ready())
    }

    /// Takes all registrations for the end of a task, after the run.
    pub(crate) fn take_joiners(&mut self) -> impl Iterator<Item = Waiter> + '_ {
        self.slots.iter_mut().filter_map(|slot| slot.joiner.take())
    }

    pub(crate) fn take_all(&mut self) -> Vec<Orphan> {
        self.slots.iter_mut().filter_map(Slot::orphan).collect()
    }

    /// The ends of tasks that nobody has taken, to be dropped outside of the borrow.
    pub(crate) fn take_ends(&mut self) -> Vec<Result<Output, TaskError>> {
        self.slots.iter_mut().filter_map(|slot| slot.end.take()).collect()
    }

    pub(crate) fn alive(&self) -> usize {
        self.slots.iter().filter(|slot| slot.state.is_alive()).count()
    }
}
