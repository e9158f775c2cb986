//! Where a stuck task waits, as a stack of async functions, with no help from what it waits for.
//!
//! Whatever makes a task wait keeps a clone of its waker. So each task is polled once more with a waker that looks at the
//! stack when it is cloned, or called: between the executor and there lie the async functions that wait for each other.
//! This runs the program's code, so it is done only where the run has failed, and what it does counts for nothing.
//!
//! A task that is aborted because its time is up may well be survived, and nobody may poll it then. Should the run fail
//! later on, it is made once more, up to that moment; and then the task is looked at.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::task::{Context, Poll};

use crate::kernel::probe::{self, probe_waker};
use crate::kernel::stacks::{self, Named};
use crate::kernel::tasks::UNKNOWN;
use crate::kernel::waiter::Waiter;
use crate::machine::cluster::{self, RunId};
use crate::schema::outcome::{Cause, LISTED, Outcome, Overstay, TaskReport};

/// How many things that a task waits for at once are told.
const WAITS: usize = 4;

/// At how many moments of a run tasks that are aborted at a deadline are looked at.
const MOMENTS: usize = 3;

/// Wakes everybody who waits for something of the sim's, in a run that is over. A combinator that has wakers of its own,
/// such as `FuturesUnordered`, polls only those of its futures that were woken.
fn wake_all(id: RunId) {
    cluster::with(id, |run| {
        let waiters: Vec<Waiter> =
            run.kernel.timers.take_waiters().chain(run.kernel.tasks.take_joiners()).collect();
        waiters.into_iter().for_each(|waiter| run.kernel.wake(waiter));
        run.net.take_waiters().into_iter().for_each(|waiters| run.kernel.wake_all(waiters));
    });
}

/// Adds to the failure of a run that is over where its tasks wait, if it is one of not going on.
pub(crate) fn look(id: RunId, outcome: &mut Outcome) {
    let cause = outcome.failure.as_mut().map(|failure| &mut failure.cause);
    let Some(Cause::Deadlock { tasks } | Cause::Livelock { tasks, .. } | Cause::TimeLimit { tasks, .. }) =
        cause
    else {
        return;
    };
    // Nor is anything said of it.
    let _silent = tracing::dispatcher::set_default(&tracing::Dispatch::none());
    cluster::with(id, |run| run.kernel.over = Some(None));
    wake_all(id);
    for task in tasks.iter_mut().take(LISTED) {
        look_at(id, task);
    }
}

/// Polls a task with a probe, and notes where it waits.
fn look_at(id: RunId, task: &mut TaskReport) {
    let Some((current, mut future)) = cluster::with(id, |run| run.kernel.tasks.begin_look(task.key)) else {
        return;
    };
    probe::begin(task.key);
    let waker = probe_waker(task.key);
    let end = catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(&mut Context::from_waker(&waker))));
    cluster::with(id, |run| run.kernel.tasks.end_look(task.key, future, current));
    let stacks = probe::end();
    match end {
        Ok(Poll::Pending) => {
            let stacks: Vec<Vec<Named>> =
                stacks.iter().map(|(frames, depth)| stacks::named(&frames[..*depth])).collect();
            if stacks.iter().any(|stack| !stacks::has_debug_info(stack)) {
                task.waits_at = vec![vec![format!("functions that are {}", stacks::NO_DEBUG_INFO)]];
                return;
            }
            let stacks = stacks.into_iter().map(polled);
            let stacks: Vec<Vec<Named>> = stacks.filter(|stack| !is_abort(stack)).collect();
            if stacks.is_empty() && !task.is_ready {
                task.waits_for = "nothing: it has given its waker to nobody, so that nobody can wake it";
            }
            if task.waits_for == UNKNOWN {
                task.waits_for = what_for(&stacks);
            }
            task.waits_at = apart(stacks.iter().map(|stack| functions(stack)).collect());
        }
        // One that was about to be polled does what it would have done.
        _ if task.is_ready => {}
        Ok(Poll::Ready(_)) | Err(_) => {
            task.waits_for = "nothing: when it is polled it goes on, but nobody has woken it"
        }
    }
}

/// Looks at a task that is about to be aborted because its time is up: see [`ExceededDeadlines`](crate::machine::deadline_exceeded::ExceededDeadlines).
pub(crate) fn look_at_overstay(id: RunId, task: &mut TaskReport) {
    wake_all(id);
    look_at(id, task);
}

/// Adds to a run's failure where the tasks waited that were aborted because their time was up: makes it again, up to the
/// poll at which they were, for the last few such moments.
pub(crate) fn explain_overstays(outcome: &mut Outcome, again: impl Fn(u64) -> Outcome) {
    let Some(failure) = &mut outcome.failure else { return };
    let mut moments: Vec<u64> = failure.overstayed.iter().map(|overstay| overstay.polls).collect();
    moments.dedup();
    for moment in moments.into_iter().rev().take(MOMENTS) {
        let looked = again(moment).failure.map(|failure| failure.overstayed).unwrap_or_default();
        for overstay in failure.overstayed.iter_mut().filter(|overstay| overstay.polls == moment) {
            // A run that does not repeat has nothing to tell.
            let same = |other: &&Overstay| other.task.key.within_run() == overstay.task.key.within_run();
            let other = looked.iter().filter(|other| other.digest == overstay.digest).find(same);
            if let Some(other) = other {
                overstay.task.waits_for = other.task.waits_for;
                overstay.task.waits_at.clone_from(&other.task.waits_at);
            }
        }
    }
}

/// What of a stack lies between the poll of a task that is looked at and the waker, innermost first.
fn polled(mut stack: Vec<Named>) -> Vec<Named> {
    let is_of = |file| move |named: &Named| named.is_of("steelmill-sim", file);
    let probe = stack.iter().rposition(is_of("src/kernel/probe.rs")).map_or(0, |place| place + 1);
    // A foreign waker is asked for by `Waiter::of`.
    let waker = probe + usize::from(stack.get(probe).is_some_and(is_of("src/machine/waker.rs")));
    stack.drain(..waker);
    let look = stack.iter().position(is_of("src/host/stuck.rs"));
    stack.truncate(look.unwrap_or(stack.len()));
    stack
}

/// Whether it is core that waits for the task to be aborted, as it does beside all that a daemon does.
fn is_abort(stack: &[Named]) -> bool {
    let waits = |named: &&Named| named.is_of("steelmill-core", "src/cell.rs");
    let polls = |named: &&Named| {
        named.is_of("steelmill-core", "src/scope/guarded.rs")
            || named.is_of("steelmill-sim", "src/machine/spawn.rs")
    };
    let own = stack.iter().filter(|named| !named.is_foreign());
    own.clone().any(|named| waits(&named)) && own.clone().all(|named| waits(&named) || polls(&named))
}

/// What a task waits for that is not the sim's, as far as the stacks tell by where they enter a library.
fn what_for(stacks: &[Vec<Named>]) -> &'static str {
    let known = |stack: &Vec<Named>| {
        let own = stack.iter().position(|named| !named.is_foreign())?;
        let (library, entered) = (&stack[..own], &stack[own]);
        if entered.is_of("steelmill-core", "src/cell.rs") && entered.function.contains("Wait") {
            return Some(STOP);
        }
        if entered.is_of("steelmill-core", "src/lifecycle/supervisor.rs") {
            return Some("its daemons");
        }
        // The outermost: what is awaited may be made of other primitives.
        library.iter().rev().find_map(|named| {
            PRIMITIVES.iter().find(|(file, _)| named.file.contains(file)).map(|(_, primitive)| *primitive)
        })
    };
    let all: Vec<Option<&str>> = stacks.iter().map(known).collect();
    // Whoever can be told to stop waits for that beside what it is at.
    let besides: Vec<Option<&str>> = all.iter().copied().filter(|what| *what != Some(STOP)).collect();
    match besides[..] {
        [Some(first), ref others @ ..] if others.iter().all(|other| *other == Some(first)) => first,
        [_, _, ..] => "several things",
        [] if !all.is_empty() => STOP,
        _ => UNKNOWN,
    }
}

const STOP: &str = "the word to stop";

/// What tasks wait for outside of the sim, by the files it is made in.
const PRIMITIVES: [(&str, &str); 10] = [
    ("src/sync/mutex.rs", "a lock (a Mutex)"),
    ("src/sync/rwlock", "a lock (an RwLock)"),
    ("src/sync/semaphore.rs", "a permit (a Semaphore)"),
    ("src/sync/notify.rs", "a notification (a Notify)"),
    ("src/sync/mpsc/", "a channel (mpsc)"),
    ("src/sync/oneshot.rs", "a channel (oneshot)"),
    ("src/sync/watch.rs", "a channel (watch)"),
    ("src/sync/broadcast.rs", "a channel (broadcast)"),
    ("src/sync/barrier.rs", "a barrier (a Barrier)"),
    ("src/stream/futures_unordered/", "one of several futures (FuturesUnordered)"),
];

/// The stacks of which none is a part of another, on its way there.
fn apart(stacks: Vec<Vec<String>>) -> Vec<Vec<String>> {
    let mut apart: Vec<Vec<String>> = Vec::new();
    for stack in stacks {
        if apart.iter().any(|other| other.ends_with(&stack)) {
            continue;
        }
        apart.retain(|other| !stack.ends_with(other));
        apart.push(stack);
    }
    apart.truncate(WAITS);
    apart
}

/// The program's functions of a stack, with their places.
fn functions(stack: &[Named]) -> Vec<String> {
    let is_library = |named: &&Named| {
        named.is_foreign()
            || ["steelmill-sim/src/", "steelmill-core/src/"].iter().any(|way| named.file.contains(way))
    };
    let line = |named: &Named| match plain(&named.function) {
        // A program built with line tables only knows no more.
        "" => named.file.clone(),
        function => format!("{function} at {}", named.file),
    };
    stack.iter().filter(|named| !is_library(named)).map(line).collect()
}

/// A function's name without what the compiler makes of an async one.
fn plain(function: &str) -> &str {
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
    use super::plain;

    #[test]
    fn names_are_what_a_person_wrote() {
        assert_eq!(plain("demo_app::link::{impl#3}::serve::{async_fn#0}"), "demo_app::link::{impl#3}::serve");
        assert_eq!(plain("demo_app::run::{{closure}}::{{closure}}"), "demo_app::run");
        assert_eq!(plain("{async_block#0}"), "");
        assert_eq!(plain("main"), "main");
    }
}
