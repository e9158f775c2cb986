//! The scheduler: picks the next ready task, advances virtual time, and diagnoses livelocks.

use super::kernel::Kernel;
use super::tasks::{Slot, State, TaskFuture, WaitsFor};
use super::timers::Nanos;
use crate::schema::decision::Stream;
use crate::schema::event::EventKind;
use crate::schema::outcome::{Cause, TaskReport};
use crate::schema::settings::{Schedule, Settings};
use crate::schema::task::{TaskId, TaskKey};

/// The polls of each task when livelock diagnosis started to count.
pub(super) struct RecentPolls {
    /// Identifies the virtual time: the number of polls before it.
    instant: u64,
    since: u64,
    /// By slot.
    counts: Vec<(TaskKey, u64)>,
}

/// The number of last polls before the limit that livelock diagnosis counts per task.
pub(super) fn diagnosed_polls(settings: &Settings) -> u64 {
    settings.poll_limit.div_ceil(2).min(100_000)
}

impl<E> Kernel<E> {
    /// Takes a task's future out of its slot to be polled. `None` if it was aborted in the run queue; its slot is freed.
    #[inline(always)]
    pub(crate) fn begin_poll(&mut self, index: u32, place: usize) -> Option<(TaskKey, TaskFuture)> {
        let slot = &mut self.tasks.slots[index as usize];
        let Some(future) = slot.future.take() else {
            slot.state = State::Ended;
            self.tasks.vacate_if_done(index);
            return None;
        };
        slot.state = State::Running;
        slot.polls += 1;
        slot.waits_for = WaitsFor::Unknown;
        let key = slot.key;
        self.tasks.current = key;
        self.tasks.polls += 1;
        self.happened_often(|| EventKind::Poll { task: TaskId::of(key), place: place as u64 });
        if let Some(watch) = &self.watch {
            watch.polling(index as usize, self.tasks.polls);
        }
        Some((key, future))
    }

    /// Puts a pending future back into its slot; hands it out again if the task was aborted during the poll.
    #[inline(always)]
    pub(crate) fn park(&mut self, key: TaskKey, future: TaskFuture) -> Option<TaskFuture> {
        let index = key.index();
        let slot = &mut self.tasks.slots[index];
        match slot.state {
            State::RunningAborted => return Some(future),
            State::RunningWoken => {
                slot.state = State::Ready;
                let speed = slot.speed;
                self.tasks.ready.push(index as u32, speed);
            }
            _ => slot.state = State::Idle,
        }
        debug_assert!(slot.future.is_none());
        std::mem::forget(slot.future.replace(future)); // it is empty while the task is polled
        None
    }

    /// Advances virtual time to `at`. `false` if that exceeds the time limit, which fails the run.
    #[inline]
    pub(crate) fn jump(&mut self, at: Nanos) -> bool {
        if at > self.time_limit {
            self.now = self.time_limit;
            self.fail(Cause::TimeLimit { limit: self.settings.time_limit, tasks: self.task_list() });
            return false;
        }
        if at > self.now {
            self.now = at;
            self.tasks.polls_before_this_instant = self.tasks.polls;
            self.tasks.polls_end = self.tasks.polls.saturating_add(self.tasks.polls_undiagnosed);
            self.happened_often(|| EventKind::Time { to: at });
        }
        true
    }

    /// Dequeues the next task: its slot, and by which chance of the run queue. `None` if none is ready, or livelock diagnosis is due.
    #[inline(always)]
    pub(crate) fn pick(&mut self) -> Option<(u32, usize)> {
        match self.settings.schedule {
            Schedule::Weighted | Schedule::Uniform => {}
            Schedule::Fifo => return self.pick_oldest(),
            Schedule::Pct { .. } | Schedule::Walk => return self.pick_by_policy(),
        }
        if self.tasks.ready.len() <= 1 || self.tasks.polls >= self.tasks.polls_end {
            return self.pick_oldest();
        }
        let chance = self.draw(Stream::Schedule, self.tasks.ready.chances());
        Some((self.tasks.ready.take(chance), chance as usize))
    }

    /// The logarithm of the speed of a task that is spawned.
    #[inline]
    pub(super) fn draw_speed(&mut self) -> u8 {
        match self.tasks.ready.speeds() {
            1 => 0,
            several => self.draw(Stream::Speed, several as u64) as u8,
        }
    }

    fn pick_oldest(&mut self) -> Option<(u32, usize)> {
        if self.tasks.ready.len() == 0 || self.tasks.polls >= self.tasks.polls_end {
            return None;
        }
        Some((self.tasks.ready.take_oldest(), 0))
    }

    /// [`pick`](Kernel::pick) with a schedule that has an order of its own, to which the ready tasks move first.
    #[cold]
    fn pick_by_policy(&mut self) -> Option<(u32, usize)> {
        // Taken out, because it draws from `self`.
        let mut policy = self.tasks.policy.take()?;
        let machines = std::mem::take(&mut self.machine_names);
        while self.tasks.ready.len() > 0 {
            let index = self.tasks.ready.take(0);
            let Slot { key, machine, name, .. } = self.tasks.slots[index as usize];
            policy.push(key, machine, name, &machines, &mut |below| self.draw(Stream::Schedule, below));
        }
        self.machine_names = machines;
        let instant = self.tasks.polls_before_this_instant;
        let picked = (self.tasks.polls < self.tasks.polls_end)
            .then(|| policy.pick(instant, &mut |below| self.draw(Stream::Schedule, below)));
        self.tasks.policy = Some(policy);
        picked.flatten()
    }

    /// Called at `polls_end`: starts to count polls per task, or fails the run if it counts since this instant began.
    #[cold]
    pub(crate) fn diagnose_livelock(&mut self) {
        let (polls, instant) = (self.tasks.polls, self.tasks.polls_before_this_instant);
        let Some(recent) = self.tasks.recent.take().filter(|recent| recent.instant == instant) else {
            let counts = self.tasks.slots.iter().map(|slot| (slot.key, slot.polls)).collect();
            self.tasks.recent = Some(Box::new(RecentPolls { instant, since: polls, counts }));
            self.tasks.polls_end = polls.saturating_add(diagnosed_polls(&self.settings));
            return;
        };
        let counted = polls - recent.since;
        let mut tasks: Vec<TaskReport> = Vec::new();
        for (index, slot) in self.tasks.slots.iter().enumerate().filter(|(_, slot)| slot.state.is_alive()) {
            let before =
                recent.counts.get(index).filter(|(key, _)| *key == slot.key).map_or(0, |(_, polls)| *polls);
            // Tasks that have ended are missing; the tasks to run next are listed at least.
            if slot.polls > before || slot.state == State::Ready {
                let recent_polls = Some((slot.polls - before, counted));
                tasks.push(TaskReport { recent_polls, ..self.task_report(index) });
            }
        }
        tasks.sort_by_key(|task| std::cmp::Reverse(task.recent_polls));
        self.fail(Cause::Livelock { polls: self.settings.poll_limit, tasks });
    }
}
