//! The executor: polls ready tasks, and advances virtual time when none is ready.
//!
//! Tasks are polled outside of any borrow of the run's state. A ready task of a paused or slow machine is deferred.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::task::{Context, Poll};

use steelmill_core::TaskError;
use tokio::runtime::Handle;

use super::cluster::{self, Cluster, Event, Isolation};
use super::panics::panicked;
use super::real;
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
    /// Some machine has a tokio runtime or statics of its own.
    PollInside(TaskKey, TaskFuture),
    /// The task was aborted while it was polled.
    End(TaskKey, TaskFuture),
    /// Wake foreign wakers, then continue.
    Wake,
    Over,
}

/// For how long a real thread may hold a lock that a guest thread waits for, in real time: symbolizing a backtrace takes a
/// second without optimization.
const REAL_LOCK_MILLIS: u32 = 10_000;

/// Polls until the run is over, or a task has claimed the runtime it was polled in.
#[inline(never)]
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
            Step::PollInside(key, future) => poll_inside(id, key, future),
            Step::End(key, future) => end(id, key, future, Err(TaskError::Aborted)),
            Step::Wake => {}
            Step::Over => return cluster::with(id, Cluster::load_own_statics),
        }
        step = cluster::with(id, Cluster::next_step);
    }
}

/// Polls a task with the tokio runtime and the statics of its machine, if that has some of its own.
#[cold]
fn poll_inside(id: RunId, key: TaskKey, mut future: TaskFuture) {
    let runtime = cluster::with(id, |run| {
        run.load_statics_of_current();
        run.runtime_of_current()
    });
    let _inside = runtime.as_ref().map(Handle::enter);
    let waker = waker(key);
    let polled = catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(&mut Context::from_waker(&waker))));
    let result = match polled {
        Ok(Poll::Pending) => {
            if panic_log::has_any() {
                judge(id, key);
            }
            let Some(aborted) = cluster::with(id, |run| run.kernel.park(key, future)) else { return };
            return end(id, key, aborted, Err(TaskError::Aborted));
        }
        Ok(Poll::Ready(output)) => Ok(output),
        Err(payload) => Err(panicked(payload)),
    };
    end(id, key, future, result);
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
                && !self.runtimes.is_claimed()
                && let Some((index, place)) = self.kernel.pick()
            {
                if self.hosts.paused_or_slow > 0 && self.defers(index) {
                    continue;
                }
                match self.kernel.begin_poll(index, place) {
                    Some((key, future)) if self.polls_inside => {
                        return Step::PollInside(key, future);
                    }
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
        if self.kernel.over.is_some() || self.runtimes.is_claimed() {
            if let Some(watch) = &self.kernel.watch {
                watch.idle();
            }
            return Some(Step::Over);
        }
        if self.kernel.tasks.polls >= self.kernel.tasks.polls_end && self.kernel.tasks.is_any_ready() {
            self.kernel.diagnose_livelock();
            return None;
        }
        // Where other threads run beside the simulation, it may be at any time that one gives a lock back.
        if self.isolation != Isolation::Own && self.has_futex_waiters() && self.recheck_futexes() {
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
    fn await_real_threads(&mut self) -> bool {
        self.has_static_futex_waiters()
            && (0..REAL_LOCK_MILLIS).any(|_| {
                real::sleep_millisecond();
                self.recheck_futexes()
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
                Due::Event(Event::Timer(file)) => self.timer_due(file),
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
            Some(Ok(Event::Reseed(_) | Event::DeferredTask(_) | Event::Timer(_))) | None => {}
        }
    }
}
