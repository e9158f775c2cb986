//! Where a stuck task waits, as a stack of async functions, with no help from what it waits for.
//!
//! Whatever makes a task wait keeps a clone of its waker. So each task is polled once more with a waker that looks at the
//! stack when it is cloned: between the executor and the clone lie the async functions that wait for each other. This
//! runs the program's code, whose run has failed anyway; what it does then counts for nothing.

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::task::{Context, Poll};

use crate::outcome::{Cause, LISTED, TaskReport};
use crate::run::{self, RunId};
use crate::stacks::{self, DEPTH, Named};
use crate::waker::watched_waker;

/// How many things that a task waits for at once are told.
const WAITS: usize = 4;

thread_local! {
    static CLONED: RefCell<Vec<([usize; DEPTH], usize)>> = const { RefCell::new(Vec::new()) };
}

/// The watched waker has been cloned.
pub(crate) fn cloned() {
    CLONED.with_borrow_mut(|stacks| {
        if stacks.len() < WAITS {
            stacks.push(stacks::here());
        }
    });
}

/// Adds to a failure where its tasks wait, if it is one of not going on.
pub(crate) fn look(id: RunId) {
    let Some(mut cause) = run::with(id, |run| run.over.as_mut().and_then(Option::take)) else { return };
    if let Cause::Deadlock { tasks } | Cause::TimeLimit { tasks, .. } = &mut cause {
        let before = run::with(id, |run| (run.digest, run.counts.clone(), run.trace.take()));
        for task in tasks.iter_mut().take(LISTED) {
            look_at(id, task);
        }
        run::with(id, |run| {
            (run.digest, run.counts, run.trace) = before;
        });
    }
    run::with(id, |run| run.over = Some(Some(cause)));
}

fn look_at(id: RunId, task: &mut TaskReport) {
    let Some((key, mut future)) = run::with(id, |run| run.tasks.begin_look(task.key)) else { return };
    let waker = watched_waker();
    let polled = catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(&mut Context::from_waker(&waker))));
    run::with(id, |run| run.tasks.end_look(key, future));
    let stacks = CLONED.take();
    match polled {
        Ok(Poll::Pending) => {
            task.waits_at = stacks.iter().map(|(frames, depth)| functions(&frames[..*depth])).collect();
            task.waits_at.dedup();
            task.waits_at.retain(|stack| !stack.is_empty());
        }
        Ok(Poll::Ready(_)) | Err(_) => {
            task.waits_for = "nothing: when it is polled it goes on, but nobody has woken it"
        }
    }
}

/// The program's functions of a stack, innermost first, with their places.
fn functions(frames: &[usize]) -> Vec<String> {
    let stack = stacks::named(frames);
    let polled = stack.iter().rposition(|named| named.is_of_the_sim("src/spawn.rs")).unwrap_or(stack.len());
    let is_library = |named: &&Named| {
        named.is_foreign()
            || ["steelmill-sim/src/", "steelmill-core/src/"].iter().any(|way| named.file.contains(way))
    };
    let line = |named: &Named| match plain(&named.function) {
        // A program built with line tables only knows no more.
        "" => named.file.clone(),
        function => format!("{function} at {}", named.file),
    };
    stack[..polled].iter().filter(|named| !is_library(named)).map(line).collect()
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
