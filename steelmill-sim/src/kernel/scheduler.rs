//! Which ready task is polled next, when time passes, and whether tasks go round in circles while none does.

use super::kernel::Kernel;
use super::tasks::{State, TaskFuture, WaitsFor};
use super::timers::Nanos;
use crate::schema::decision::Stream;
use crate::schema::event::What;
use crate::schema::outcome::{Cause, TaskReport};
use crate::schema::settings::{Schedule, Settings};
use crate::schema::task::{TaskId, TaskKey};

/// Whose polls there had been when it began to be counted whose they are.
pub(super) struct RecentPolls {
    /// Tells the time from others: how many polls there had been before it.
    instant: u64,
    since: u64,
    /// By place.
    counts: Vec<(TaskKey, u64)>,
}

/// Of how many polls it is counted whose they are, at the end of a livelock.
pub(super) fn watched_polls(settings: &Settings) -> u64 {
    settings.poll_limit.div_ceil(2).min(100_000)
}

impl<E> Kernel<E> {
    /// Takes a task out to be polled. `None` where it was aborted while it stood in the run queue: its slot is freed.
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
        self.happened_often(|| What::Poll { task: TaskId::of(key), place: place as u64 });
        if let Some(watch) = &self.watch {
            watch.polling(index as usize, self.tasks.polls);
        }
        Some((key, future))
    }

    /// Puts a task back that has paused. One that was aborted while it was polled comes back, to be dropped outside of the
    /// borrow.
    #[inline(always)]
    pub(crate) fn park(&mut self, key: TaskKey, future: TaskFuture) -> Option<TaskFuture> {
        let index = key.index();
        let slot = &mut self.tasks.slots[index];
        match slot.state {
            State::RunningAborted => return Some(future),
            State::RunningWoken => {
                slot.state = State::Ready;
                self.tasks.ready.push(index as u32);
            }
            _ => slot.state = State::Idle,
        }
        debug_assert!(slot.future.is_none());
        std::mem::forget(slot.future.replace(future)); // it is empty while the task is polled
        None
    }

    /// Lets time jump to `at`. `false` where the time limit comes before that, and the run has failed.
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
            self.tasks.polls_end = self.tasks.polls.saturating_add(self.tasks.polls_unwatched);
            self.happened_often(|| What::Time { to: at });
        }
        true
    }

    /// The next ready task, by the schedule, and the place it had among them.
    #[inline(always)]
    pub(crate) fn pick(&mut self) -> Option<(u32, usize)> {
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
    pub(crate) fn watch_livelock(&mut self) {
        let (polls, instant) = (self.tasks.polls, self.tasks.polls_before_this_instant);
        let Some(recent) = self.tasks.recent.take().filter(|recent| recent.instant == instant) else {
            let counts = self.tasks.slots.iter().map(|slot| (slot.key, slot.polls)).collect();
            self.tasks.recent = Some(Box::new(RecentPolls { instant, since: polls, counts }));
            self.tasks.polls_end = polls.saturating_add(watched_polls(&self.settings));
            return;
        };
        let of = polls - recent.since;
        let mut tasks: Vec<TaskReport> = Vec::new();
        for (index, slot) in self.tasks.slots.iter().enumerate().filter(|(_, slot)| slot.state.is_alive()) {
            let before =
                recent.counts.get(index).filter(|(key, _)| *key == slot.key).map_or(0, |(_, polls)| *polls);
            // One that has ended is no longer known; who is to run next is, at least.
            if slot.polls > before || slot.state == State::Ready {
                let recent_polls = Some((slot.polls - before, of));
                tasks.push(TaskReport { recent_polls, ..self.task_report(index) });
            }
        }
        tasks.sort_by_key(|task| std::cmp::Reverse(task.recent_polls));
        self.fail(Cause::Livelock { polls: self.settings.poll_limit, tasks });
    }
}
