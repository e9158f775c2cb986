//! Who holds the lock that a stuck task waits for.
//!
//! A lock does not say who holds it. For threads of a program its word of memory is watched in a run that is repeated: see
//! [`lock_watch`](crate::machine::lock_watch). And whatever a task holds is released when its future is dropped, and that wakes the
//! first who waits for it. So a failed run is repeated, and at its end the futures of all other tasks are dropped, one by one,
//! until the task in question is woken. A task that was itself woken before may only have got the lock by that; then nothing is
//! told, unless dropping in the other direction tells.

use crate::kernel::probe;
use crate::machine::cluster::{self, RunId};
use crate::machine::lock_watch;
use crate::machine::panics;
use crate::schema::look::{LockWord, Look};
use crate::schema::outcome::{Cause, Failure, Holder, LISTED, Outcome, TaskReport};
use crate::schema::task::TaskKey;

/// The most tasks of which a holder is searched: each takes another run, or two.
const SEARCHED: usize = 4;

/// The most addresses of a lock that are tried, each with what is around it. The memory of a process is laid out in one of a few ways: a
/// thread that watches the run takes some, too.
const ADDRESSES: usize = 12;

/// What has a holder, as [`TaskReport::waits_for`] says it.
const HELD: [&str; 3] = [super::stuck::MUTEX, super::stuck::RW_LOCK, super::stuck::PERMIT];

fn tasks(failure: &mut Failure) -> &mut [TaskReport] {
    match &mut failure.cause {
        Cause::Deadlock { tasks } | Cause::Livelock { tasks, .. } | Cause::TimeLimit { tasks, .. } => tasks,
        _ => &mut [],
    }
}

/// Adds holders to a failure. `again` repeats the run.
pub(crate) fn explain(outcome: &mut Outcome, again: impl Fn(Look) -> Outcome) {
    let digest = outcome.digest;
    let Some(failure) = &mut outcome.failure else { return };
    let waits = |task: &&mut TaskReport| HELD.contains(&task.waits_for);
    for task in tasks(failure).iter_mut().filter(waits).take(SEARCHED) {
        let key = task.key.within_run();
        task.held_by = match task.lock {
            Some(lock) => threads_that_hold(lock, key, digest, &again),
            // No future is dropped for a thread.
            None if task.is_thread() => None,
            None => task_that_holds(key, digest, &again),
        };
    }
    // An address is another in each process.
    tasks(failure).iter_mut().for_each(|task| task.lock = None);
}

/// Which task holds what a task waits for.
fn task_that_holds(task: u64, digest: u64, again: impl Fn(Look) -> Outcome) -> Option<Holder> {
    [false, true].into_iter().find_map(|backwards| {
        let mut other = again(Look::Holder { task, backwards });
        // If the digests differ, the run does not repeat, and what it shows would mislead.
        let other = other.failure.as_mut().filter(|_| other.digest == digest)?;
        tasks(other).iter_mut().find(|other| other.key.within_run() == task)?.held_by.take()
    })
}

/// Which threads hold the lock that a thread waits for.
fn threads_that_hold(
    lock: LockWord,
    thread: u64,
    digest: u64,
    again: impl Fn(Look) -> Outcome,
) -> Option<Holder> {
    let mut locks = vec![lock];
    while locks.len() <= ADDRESSES {
        let mut other = again(Look::Threads { locks: locks.clone() });
        let other = other.failure.as_mut().filter(|_| other.digest == digest)?;
        let report = tasks(other).iter_mut().find(|report| report.key.within_run() == thread)?;
        let found = report.lock?;
        if lock_watch::is_watched(&locks, found) {
            return report.held_by.take();
        }
        locks.push(found);
    }
    None
}

/// Adds what was seen of the watched locks to the threads that wait for them.
pub(crate) fn seen(id: RunId, outcome: &mut Outcome) {
    let Some(failure) = &mut outcome.failure else { return };
    for report in tasks(failure) {
        report.held_by = report.lock.and_then(|lock| cluster::with(id, |run| run.holder_of_watched(lock)));
    }
}

/// Drops the futures of all tasks but one, after a run and its inspection, until that one is woken.
pub(crate) fn search(id: RunId, outcome: &mut Outcome, task: u64, backwards: bool) {
    let Some(failure) = &mut outcome.failure else { return };
    let Some(report) = tasks(failure).iter_mut().find(|report| report.key.within_run() == task) else {
        return;
    };
    let (mut others, has_threads) = cluster::with(id, |run| {
        run.detach();
        (run.kernel.tasks.keys_of_others(report.key), run.threads.are_any_alive())
    });
    // Of tasks that were not inspected nobody sees that they are woken.
    if others.len() >= LISTED {
        return;
    }
    if backwards {
        others.reverse();
    }
    let holder = holder(id, report.key, &others);
    // A thread that is killed releases nothing of what it holds.
    report.held_by = holder.filter(|holder| !(has_threads && *holder == Holder::NoOtherTask));
}

fn holder(id: RunId, task: TaskKey, others: &[TaskKey]) -> Option<Holder> {
    probe::watch_wakes(true);
    let holder = holder_by_wakes(id, task, others);
    probe::watch_wakes(false);
    holder
}

fn holder_by_wakes(id: RunId, task: TaskKey, others: &[TaskKey]) -> Option<Holder> {
    for other in others {
        let Some((name, orphan)) = cluster::with(id, |run| {
            Some((run.kernel.task_report(other.index()).who(), run.kernel.tasks.take_future(*other)?))
        }) else {
            continue;
        };
        let was_woken = probe::was_woken(*other);
        panics::drop_orphans(id, [orphan]);
        if probe::was_woken(task) {
            return (!was_woken).then_some(Holder::Task(name));
        }
    }
    Some(Holder::NoOtherTask)
}
