//! The executor: polls ready tasks, and advances virtual time when none is ready.
//!
//! Tasks are polled outside of any borrow of the run's state. A ready task of a paused or slow machine is deferred.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::task::{Context, Poll};

use steelmill_core::TaskError;

use super::cluster::{self, Cluster, Event};
use super::panics::panicked;
use super::{net, waker::waker};
use crate::kernel::kernel::RunId;
use crate::kernel::tasks::{Output, TaskFuture};
use crate::kernel::timers::{Due, Nanos};
use crate::machine::panic_log;
use crate::schema::decision::Stream;
use crate::schema::outcome::Cause;
use crate::schema::task::TaskKey;

/// The executor's next step outside of the borrow.
enum Step {
    Poll(TaskKey, TaskFuture),
    /// The task was aborted while it was polled.
    End(TaskKey, TaskFuture),
    /// Wake foreign wakers, then continue.
    Wake,
    Over,
}

pub(crate) fn drive(id: RunId) {
    let mut step = cluster::with(id, Cluster::next_step);
    loop {
        match step {
            Step::Poll(key, mut future) => {
                let waker = waker(key);
                let context = &mut Context::from_waker(&waker);
                match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(context))) {
                    Ok(Poll::Pending) => {
                        if panic_log::has_any() {
                            judge(id, key);
                        }
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
        step = cluster::with(id, Cluster::next_step);
    }
}

/// Drops a task's future while the task still counts as running, then wakes its joiner.
fn end(id: RunId, key: TaskKey, future: TaskFuture, result: Result<Output, TaskError>) {
    let dropped = catch_unwind(AssertUnwindSafe(|| drop(future)));
    let result = dropped.map_or_else(|payload| Err(panicked(payload)), |()| result);
    if panic_log::has_any() {
        judge(id, key);
    }
    let unseen = cluster::with(id, |run| run.kernel.finish(key, result));
    if unseen.is_some() {
        panic_log::drop_caught(unseen);
        if panic_log::has_any() {
            judge(id, key);
        }
    }
}

/// Something panicked in the poll of a task, whoever caught it.
#[cold]
fn judge(id: RunId, key: TaskKey) {
    cluster::with(id, |run| run.judge_panics(run.kernel.task_report(key.index())));
}

impl Cluster {
    #[inline(always)]
    fn park(&mut self, key: TaskKey, future: TaskFuture) -> Step {
        match self.kernel.park(key, future) {
            Some(aborted) => Step::End(key, aborted),
            None => self.next_step(),
        }
    }

    #[inline(always)]
    fn next_step(&mut self) -> Step {
        loop {
            if self.kernel.over.is_none()
                && let Some((index, place)) = self.kernel.pick()
            {
                if self.hosts.paused_or_slow > 0 && self.defers(index) {
                    continue;
                }
                match self.kernel.begin_poll(index, place) {
                    Some((key, future)) => return Step::Poll(key, future),
                    None => continue,
                }
            }
            if let Some(step) = self.pass_time() {
                return step;
            }
        }
    }

    /// Defers a ready task if its machine is paused or slow. Whether it did.
    #[cold]
    fn defers(&mut self, index: u32) -> bool {
        let Some(machine) = self.kernel.tasks.machine_of_ready(index) else { return false };
        let host = &mut self.hosts[machine];
        if let Some(waiting) = &mut host.paused {
            waiting.push(index);
            return true;
        }
        let slowness = host.slowness;
        let is_deferred = self.kernel.tasks.toggle_deferral(index, slowness > 0);
        if is_deferred {
            let at = self.kernel.now + self.kernel.draw(Stream::Slowness, slowness + 1);
            self.kernel.timers.schedule(at, Event::DeferredTask(index));
        }
        is_deferred
    }

    /// Without a ready task: takes wakes of other threads, or advances time; fails the run on livelock and deadlock.
    #[inline(never)]
    fn pass_time(&mut self) -> Option<Step> {
        self.kernel.tasks.pause_polling();
        if self.kernel.over.is_some() {
            if let Some(watch) = &self.kernel.watch {
                watch.idle();
            }
            return Some(Step::Over);
        }
        if self.kernel.tasks.polls >= self.kernel.tasks.polls_end && self.kernel.tasks.is_any_ready() {
            self.kernel.diagnose_livelock();
            return None;
        }
        if self.has_futex_waiters() && self.recheck_futexes() {
            return None;
        }
        if !self.take_foreign_wakes() && !self.advance() && !self.await_real_threads() {
            let tasks = self.kernel.task_list();
            self.kernel.fail(Cause::Deadlock { tasks });
        }
        self.kernel.has_waker_actions().then_some(Step::Wake)
    }

    /// Nothing is going to happen, but a guest thread may wait for a lock that a real thread holds for a moment; whether one
    /// was woken.
    #[cold]
    #[expect(clippy::disallowed_methods, reason = "real threads go on in real time")]
    fn await_real_threads(&mut self) -> bool {
        (0..50).any(|_| {
            let has_waiters = self.has_futex_waiters();
            if has_waiters {
                std::thread::sleep(std::time::Duration::from_millis(1));
            }
            has_waiters && self.recheck_futexes()
        })
    }

    /// Lets time jump to the next event and takes everything due then. `false` when there is nothing to come.
    #[inline]
    fn advance(&mut self) -> bool {
        let Some(at) = self.kernel.timers.next_at() else {
            return false;
        };
        if !self.kernel.jump(at) {
            return true;
        }
        while let Some(due) = self.next_due(at) {
            self.kernel.events += 1;
            match due {
                Due::Timer(waiter) => {
                    if let Some(waiter) = waiter {
                        self.kernel.wake(waiter);
                    }
                }
                Due::Event(Event::Net(event)) => net::handle(self, event),
                Due::Event(Event::DeferredTask(index)) => self.kernel.tasks.requeue(index),
                Due::Event(Event::Reseed(index)) => self.reseed(self.kernel.settings.reseeds[index]),
            }
        }
        true
    }

    #[inline(always)]
    fn next_due(&mut self, at: Nanos) -> Option<Due<Event>> {
        if self.kernel.recorder.is_some() {
            self.note_due(at);
        }
        self.kernel.timers.pop_due(at)
    }

    /// Traces the cause of the next due event; no task is its cause.
    #[cold]
    fn note_due(&mut self, now: Nanos) {
        self.kernel.replace_cause(None);
        match self.kernel.timers.peek_due(now) {
            Some(Err(timer)) => self.kernel.note_timer(timer),
            Some(Ok(Event::Net(event))) => {
                let event = *event;
                self.trace_due(event);
            }
            Some(Ok(Event::Reseed(_) | Event::DeferredTask(_))) | None => {}
        }
    }
}
