//! Diagnosis of stuck tasks (deadlock, livelock, exceeded deadline): the async stack on which each task waits.
//!
//! A primitive that makes a task wait clones the task's waker. So each task is polled once more with a waker that captures
//! the stack when it is cloned or called: from the executor to there it shows the async functions that await each other.
//! The poll runs the program's code, so it is made only in a failed run, and its effects are discarded.
//!
//! A task that is aborted at a deadline must not be polled then, because the run goes on and may pass. If it fails later,
//! it is repeated up to the abort, and the task is polled there.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::task::{Context, Poll};

use crate::kernel::probe::{self, probe_waker};
use crate::kernel::stacks::{self, Frame};
use crate::kernel::tasks::{UNKNOWN, WaitsFor};
use crate::kernel::waiter::Waiter;
use crate::machine::cluster::{self, RunId};
use crate::schema::look::{LockKind, Look};
use crate::schema::outcome::{Cause, DeadlineExceeded, LISTED, Outcome, TaskReport};

/// The most stacks reported per task that waits for several things.
const WAITS: usize = 4;

/// The most times of a run at which tasks aborted at a deadline are inspected.
const MOMENTS: usize = 3;

/// Wakes all waiters of simulated primitives: else a combinator such as `FuturesUnordered` would not poll its futures.
fn wake_all(id: RunId) {
    cluster::with(id, |run| {
        let waiters: Vec<Waiter> =
            run.kernel.timers.take_waiters().chain(run.kernel.tasks.take_joiners()).collect();
        waiters.into_iter().for_each(|waiter| run.kernel.wake(waiter));
        run.net.take_waiters().into_iter().for_each(|waiters| run.kernel.wake_all(waiters));
    });
}

/// Adds the stacks of waiting tasks to a deadlock, livelock or time limit, after the run.
pub(crate) fn inspect(id: RunId, outcome: &mut Outcome) {
    let cause = outcome.failure.as_mut().map(|failure| &mut failure.cause);
    let Some(Cause::Deadlock { tasks } | Cause::Livelock { tasks, .. } | Cause::TimeLimit { tasks, .. }) =
        cause
    else {
        return;
    };
    // The inspection's polls must not log.
    let _silent = tracing::dispatcher::set_default(&tracing::Dispatch::none());
    cluster::with(id, |run| run.kernel.over = Some(None));
    wake_all(id);
    for task in tasks.iter_mut().take(LISTED) {
        inspect_task(id, task);
    }
}

fn inspect_task(id: RunId, task: &mut TaskReport) {
    let Some((current, mut future)) = cluster::with(id, |run| run.kernel.tasks.begin_inspection(task.key))
    else {
        return;
    };
    probe::begin(task.key);
    let waker = probe_waker(task.key);
    let end = catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(&mut Context::from_waker(&waker))));
    cluster::with(id, |run| run.kernel.tasks.end_inspection(task.key, future, current));
    let stacks = probe::end();
    match end {
        Ok(Poll::Pending) => {
            let stacks: Vec<Vec<Frame>> =
                stacks.iter().map(|(addresses, depth)| stacks::symbolize(&addresses[..*depth])).collect();
            if stacks.iter().any(|stack| !stacks::has_debug_info(stack)) {
                task.waits_at = vec![vec![format!("functions that are {}", stacks::NO_DEBUG_INFO)]];
                return;
            }
            if task.is_thread() {
                stacks.into_iter().for_each(|stack| inspect_thread(id, task, thread_stack(stack)));
                return;
            }
            let stacks = stacks.into_iter().map(async_stack);
            let stacks: Vec<Vec<Frame>> = stacks.filter(|stack| !is_wait_for_abort(stack)).collect();
            if stacks.is_empty() && !task.is_ready && task.waits_for == UNKNOWN {
                task.waits_for = "nothing: it registered no waker, so nothing can wake it";
            }
            if task.waits_for == UNKNOWN {
                task.waits_for = awaited_primitive(&stacks);
            }
            let waits = distinct(stacks.iter().map(|stack| (functions(stack), primitive(stack))).collect());
            if waits.len() > 1 {
                task.waits_for_each = waits.iter().map(|(_, what)| what.map(str::to_owned)).collect();
            }
            task.waits_at = waits.into_iter().map(|(stack, _)| stack).collect();
        }
        // A ready task makes the progress that its next poll would have made.
        _ if task.is_ready => {}
        Ok(Poll::Ready(_)) | Err(_) => {
            task.waits_for = "nothing: a poll makes progress, but nothing has woken it (a lost wakeup)"
        }
    }
}

/// Adds the stack on which a thread of a program waits.
fn inspect_thread(id: RunId, task: &mut TaskReport, stack: Vec<Frame>) {
    if task.waits_for == WaitsFor::Futex.text() {
        let text = lock_of_thread(&stack).or_else(|| primitive_of_library(&stack));
        task.waits_for = text.unwrap_or(task.waits_for);
        let kind = match task.waits_for {
            MUTEX => Some(LockKind::Mutex),
            RW_LOCK if !is_of_c(&stack) => Some(LockKind::RwLock),
            _ => None,
        };
        task.lock = kind.and_then(|kind| cluster::with(id, |run| run.lock_of(task.key, kind)));
    }
    task.waits_at.push(functions(&stack));
}

/// Inspects a task that is about to be aborted at a deadline: see [`ExceededDeadlines`](crate::machine::deadline_exceeded::ExceededDeadlines).
pub(crate) fn inspect_aborted(id: RunId, task: &mut TaskReport) {
    wake_all(id);
    inspect_task(id, task);
}

/// Adds the stacks of the tasks last aborted at a deadline to a failure. `again` repeats the run.
pub(crate) fn explain_exceeded_deadlines(outcome: &mut Outcome, again: impl Fn(Look) -> Outcome) {
    let Some(failure) = &mut outcome.failure else { return };
    let mut moments: Vec<u64> = failure.deadline_exceeded.iter().map(|exceeded| exceeded.polls).collect();
    moments.dedup();
    for moment in moments.into_iter().rev().take(MOMENTS) {
        let inspected = again(Look::Aborted { polls: moment })
            .failure
            .map(|failure| failure.deadline_exceeded)
            .unwrap_or_default();
        for exceeded in failure.deadline_exceeded.iter_mut().filter(|exceeded| exceeded.polls == moment) {
            // If the digests differ, the run does not repeat, and its stacks would mislead.
            let same =
                |other: &&DeadlineExceeded| other.task.key.within_run() == exceeded.task.key.within_run();
            let other = inspected.iter().filter(|other| other.digest == exceeded.digest).find(same);
            if let Some(other) = other {
                exceeded.task.waits_for = other.task.waits_for;
                exceeded.task.waits_at.clone_from(&other.task.waits_at);
            }
        }
    }
}

/// The frames between the waker and the poll of the inspected task, innermost first.
fn async_stack(mut stack: Vec<Frame>) -> Vec<Frame> {
    let is_in = |file| move |frame: &Frame| frame.is_in("steelmill-sim", file);
    let probe = stack.iter().rposition(is_in("src/kernel/probe.rs")).map_or(0, |index| index + 1);
    // `Waiter::of` in `waker.rs` clones a foreign waker.
    let waker = probe + usize::from(stack.get(probe).is_some_and(is_in("src/machine/waker.rs")));
    stack.drain(..waker);
    let poll = stack.iter().position(is_in("src/host/stuck.rs"));
    stack.truncate(poll.unwrap_or(stack.len()));
    stack
}

/// The frames of a thread between the function of the C library in which it waits and its beginning, innermost first.
fn thread_stack(mut stack: Vec<Frame>) -> Vec<Frame> {
    let begins = |frame: &Frame| {
        frame.is_in("steelmill-sim", "src/machine/threads.rs") && frame.function.ends_with("execute")
    };
    stack.truncate(stack.iter().rposition(begins).unwrap_or(stack.len()));
    let is_call = |frame: &Frame| frame.file.contains("steelmill-sim/src/host/");
    let is_program = |frame: &Frame| !frame.is_external() && !frame.file.contains("steelmill-sim/src/");
    let program = stack.iter().position(is_program).unwrap_or(stack.len());
    let call = stack[..program].iter().rposition(is_call);
    // A function of the C library that is a lock's is kept, to tell what lock.
    stack.drain(..call.unwrap_or(0));
    stack
}

/// Whether a thread waits in a lock of the C library.
fn is_of_c(stack: &[Frame]) -> bool {
    stack.first().is_some_and(|frame| frame.is_in("steelmill-sim", "src/host/libc/locks.rs"))
}

/// The lock of std or of the C library that a thread waits for. A condition variable of std takes its mutex again.
fn lock_of_thread(stack: &[Frame]) -> Option<&'static str> {
    let call = stack.first()?;
    if is_of_c(stack) {
        let locks = [("pthread_mutex", MUTEX), ("pthread_rwlock", RW_LOCK), ("sem_", PERMIT)];
        return locks.iter().find(|(name, _)| call.function.contains(name)).map(|(_, lock)| *lock);
    }
    let entered = stack.iter().find(|frame| frame.file.contains("/std/src/sys/sync/"))?;
    let locks = [("/mutex/", MUTEX), ("/rwlock/", RW_LOCK)];
    locks.iter().find(|(folder, _)| entered.file.contains(folder)).map(|(_, lock)| *lock)
}

/// Whether a stack is core's wait for an abort, which it makes beside everything that a daemon awaits.
fn is_wait_for_abort(stack: &[Frame]) -> bool {
    let waits = |frame: &&Frame| frame.is_in("steelmill-core", "src/cell.rs");
    let polls = |frame: &&Frame| {
        frame.is_in("steelmill-core", "src/scope/guarded.rs")
            || frame.is_in("steelmill-sim", "src/machine/spawn.rs")
    };
    let own = stack.iter().filter(|frame| !frame.is_external());
    own.clone().any(|frame| waits(&frame)) && own.clone().all(|frame| waits(&frame) || polls(&frame))
}

/// The primitive that a stack waits for, by the library file that it enters.
fn primitive(stack: &[Frame]) -> Option<&'static str> {
    let file = &stack.first()?.file;
    if let Some((_, primitive)) = SIM_PRIMITIVES.iter().find(|(part, _)| file.contains(part)) {
        return Some(primitive);
    }
    let own = stack.iter().position(|frame| !frame.is_external())?;
    let (library, entered) = (&stack[..own], &stack[own]);
    if entered.is_in("steelmill-core", "src/cell.rs") && entered.function.contains("Wait") {
        return Some(STOP);
    }
    if entered.is_in("steelmill-core", "src/control/end.rs") {
        return Some("the end of a factory");
    }
    if entered.is_in("steelmill-core", "src/lifecycle/supervisor.rs") {
        return Some("its daemons");
    }
    primitive_of_library(library)
}

/// The well-known primitive that frames of libraries are of.
fn primitive_of_library(library: &[Frame]) -> Option<&'static str> {
    // The outermost match: a primitive may be built from others.
    library.iter().rev().find_map(|frame| {
        let matches = |(file, function, _): &&(&str, &str, &str)| {
            frame.file.contains(file) && frame.function.contains(function)
        };
        PRIMITIVES.iter().find(matches).map(|(.., primitive)| *primitive)
    })
}

/// The primitive outside of the sim that a task waits for.
fn awaited_primitive(stacks: &[Vec<Frame>]) -> &'static str {
    let all: Vec<Option<&str>> = stacks.iter().map(|stack| primitive(stack)).collect();
    // Tasks wait for the stop request beside their work; it is reported only if they wait for nothing else.
    let besides: Vec<Option<&str>> =
        all.iter().copied().filter(|primitive| *primitive != Some(STOP)).collect();
    match besides[..] {
        [Some(first), ref others @ ..] if others.iter().all(|other| *other == Some(first)) => first,
        [_, _, ..] => "several things",
        [] if !all.is_empty() => STOP,
        _ => UNKNOWN,
    }
}

const STOP: &str = "the stop request";

pub(super) const MUTEX: &str = "a lock (a Mutex)";
pub(super) const RW_LOCK: &str = "a lock (an RwLock)";
pub(super) const PERMIT: &str = "a permit (a Semaphore)";

/// The sim's own primitives, by the sources that register a waker.
const SIM_PRIMITIVES: [(&str, &str); 3] = [
    ("steelmill-sim/src/machine/clock.rs", "its clock"),
    ("steelmill-sim/src/machine/net", "the network"),
    ("steelmill-sim/src/machine/spawn.rs", "a task to end"),
];

/// Well-known primitives outside of the sim, by the paths of their sources and what is in the names of functions there. Those
/// names are unknown in a program that has line tables only.
const PRIMITIVES: [(&str, &str, &str); 34] = [
    ("src/sync/mutex.rs", "", MUTEX),
    ("src/sync/rwlock", "", RW_LOCK),
    ("src/sync/semaphore.rs", "", PERMIT),
    ("src/sync/notify.rs", "", "a notification (a Notify)"),
    ("src/sync/mpsc/", "Sender<T>::closed", "the receiver of a channel (mpsc) to close"),
    ("src/sync/mpsc/", "Sender", "room in a channel (mpsc), to send"),
    ("src/sync/mpsc/", "Receiver", "a message in a channel (mpsc), to receive"),
    ("src/sync/mpsc/", "", "a channel (mpsc)"),
    ("src/sync/oneshot.rs", "Sender", "the receiver of a channel (oneshot) to close"),
    ("src/sync/oneshot.rs", "Receiver", "the message of a channel (oneshot), to receive"),
    ("src/sync/oneshot.rs", "", "a channel (oneshot)"),
    ("src/sync/watch.rs", "Sender", "all receivers of a channel (watch) to be dropped"),
    ("src/sync/watch.rs", "Receiver", "a change in a channel (watch), to receive"),
    ("src/sync/watch.rs", "", "a channel (watch)"),
    ("src/sync/broadcast.rs", "Sender", "all receivers of a channel (broadcast) to be dropped"),
    ("src/sync/broadcast.rs", "", "a message in a channel (broadcast), to receive"),
    ("src/sync/barrier.rs", "", "a barrier (a Barrier)"),
    ("/futures-channel-", "", "a channel (of the crate futures)"),
    ("/async-channel-", "", "a channel (of the crate async-channel)"),
    ("/crossbeam-channel-", "", "a channel (of the crate crossbeam-channel)"),
    ("/flume-", "", "a channel (of the crate flume)"),
    ("src/stream/futures_unordered/", "", "one of several futures (FuturesUnordered)"),
    // What threads of programs wait for.
    ("/std/src/sync/mp", "recv", "a message in a channel (mpsc), to receive"),
    ("/std/src/sync/mp", "Receiver", "a message in a channel (mpsc), to receive"),
    ("/std/src/sync/mp", "send", "room in a channel (mpsc), to send"),
    ("/std/src/sync/poison/once.rs", "", "another thread to initialize a value (a Once)"),
    ("/std/src/sys/sync/once/", "", "another thread to initialize a value (a Once)"),
    ("/std/src/sys/sync/condvar/", "", "a condition variable (a Condvar)"),
    ("/std/src/sys/sync/thread_parking/", "", "another thread to unpark it"),
    ("/parking_lot-", "RawMutex", "a lock (a Mutex of parking_lot)"),
    ("/parking_lot-", "RawRwLock", "a lock (an RwLock of parking_lot)"),
    ("/parking_lot-", "Condvar", "a condition variable (a Condvar of parking_lot)"),
    ("src/runtime/scheduler/multi_thread/", "", "a task to poll (a worker of a tokio runtime)"),
    ("src/runtime/blocking/pool.rs", "", "a call to make (a thread of tokio's blocking pool)"),
];

/// The stacks, and what each waits for, without those that are an outer part of another.
fn distinct(waits: Vec<(Vec<String>, Option<&'static str>)>) -> Vec<(Vec<String>, Option<&'static str>)> {
    let mut distinct: Vec<(Vec<String>, Option<&'static str>)> = Vec::new();
    for (stack, what) in waits {
        if distinct.iter().any(|(other, _)| other.ends_with(&stack)) {
            continue;
        }
        distinct.retain(|(other, _)| !stack.ends_with(other));
        distinct.push((stack, what));
    }
    distinct.truncate(WAITS);
    distinct
}

/// The program's own functions in a stack, with file and line.
fn functions(stack: &[Frame]) -> Vec<String> {
    let is_library = |frame: &&Frame| {
        frame.is_external()
            || ["steelmill-sim/src/", "steelmill-core/src/"].iter().any(|folder| frame.file.contains(folder))
    };
    let line = |frame: &Frame| match without_closures(&frame.function) {
        // With line tables as the only debug info, the name may be missing.
        "" => frame.file.clone(),
        function => format!("{function} at {}", frame.file),
    };
    stack.iter().filter(|frame| !is_library(frame)).map(line).collect()
}

/// A function's name without the compiler's suffixes of closures and async functions.
fn without_closures(function: &str) -> &str {
    let mut name = function;
    loop {
        let (rest, last) = name.rsplit_once("::").unwrap_or(("", name));
        if !last.starts_with('{') {
            return name;
        }
        name = rest;
    }
}

#[cfg(test)]
mod tests {
    use super::without_closures;

    #[test]
    fn names_are_what_a_person_wrote() {
        assert_eq!(
            without_closures("demo_app::link::{impl#3}::serve::{async_fn#0}"),
            "demo_app::link::{impl#3}::serve"
        );
        assert_eq!(without_closures("demo_app::run::{{closure}}::{{closure}}"), "demo_app::run");
        assert_eq!(without_closures("{async_block#0}"), "");
        assert_eq!(without_closures("main"), "main");
    }
}
