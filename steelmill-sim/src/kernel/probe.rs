//! A waker that records the stacks on which it is cloned or called, for finding out where a stuck task waits.
#![allow(unsafe_code, reason = "a RawWaker is unsafe to make; the argument stands beside the one place")]

use std::cell::RefCell;
use std::task::{RawWaker, RawWakerVTable, Waker};

use super::stacks::{self, DEPTH};
use crate::schema::task::TaskKey;

/// How many stacks are recorded of one task.
const STACKS: usize = 16;

/// Stacks, each as addresses and how many there are.
pub(crate) type Stacks = Vec<([usize; DEPTH], usize)>;

/// The task that is looked at, and the stacks on which its waker was cloned or called.
struct Look {
    task: TaskKey,
    stacks: Stacks,
}

thread_local! {
    static LOOK: RefCell<Option<Look>> = const { RefCell::new(None) };
}

/// The watched waker of a task has been cloned or called.
fn touched(task: TaskKey) {
    // A task that is looked at may well wake another that was looked at before.
    note(|look| look.task == task);
}

/// One of the sim's own primitives has been asked to wake somebody by a waker that is not the sim's.
pub(crate) fn asked() {
    note(|_| true);
}

fn note(is_meant: impl FnOnce(&Look) -> bool) {
    LOOK.with_borrow_mut(|look| match look {
        Some(look) if look.stacks.len() < STACKS && is_meant(look) => look.stacks.push(stacks::here()),
        _ => {}
    });
}

/// Records from here on the stacks on which the [probe](probe_waker) of a task is cloned or called.
pub(crate) fn begin(task: TaskKey) {
    LOOK.set(Some(Look { task, stacks: Vec::new() }));
}

/// Whether stacks are recorded.
pub(crate) fn is_active() -> bool {
    LOOK.with_borrow(Option::is_some)
}

/// Ends the recording; what was recorded.
pub(crate) fn end() -> Stacks {
    LOOK.take().map(|look| look.stacks).unwrap_or_default()
}

/// A waker of a task that wakes nobody; the stacks on which it is cloned or called are recorded.
pub(crate) fn probe_waker(task: TaskKey) -> Waker {
    static TABLE: RawWakerVTable = RawWakerVTable::new(
        |data| {
            touched(key(data));
            RawWaker::new(data, &TABLE)
        },
        |data| touched(key(data)),
        |data| touched(key(data)),
        |_| (),
    );
    // SAFETY: the data pointer is never dereferenced, only read back as the integer it is, so every function of the
    // table is sound on every thread, any number of times.
    unsafe { Waker::from_raw(RawWaker::new(std::ptr::without_provenance(task.word() as usize), &TABLE)) }
}

fn key(data: *const ()) -> TaskKey {
    TaskKey::of_word(data.addr() as u64)
}
