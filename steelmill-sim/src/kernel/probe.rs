//! The probe: a waker that records the stacks on which it is cloned or called, to find where a stuck task waits.
#![allow(unsafe_code, reason = "a RawWaker is unsafe to make; the argument stands beside the one place")]

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::task::{RawWaker, RawWakerVTable, Waker};

use super::stacks::{self, Stack};
use crate::schema::task::TaskKey;

const STACKS: usize = 16;

/// Captured stacks.
pub(crate) type Stacks = Vec<Stack>;

/// The task that is inspected, and the stacks on which its waker was cloned or called.
struct Inspection {
    task: TaskKey,
    stacks: Stacks,
}

thread_local! {
    static INSPECTION: RefCell<Option<Inspection>> = const { RefCell::new(None) };
    /// The tasks whose probes were called since that is watched.
    static WOKEN: RefCell<Option<BTreeSet<TaskKey>>> = const { RefCell::new(None) };
}

/// Begins or ends to take note of the tasks whose probes are called.
pub(crate) fn watch_wakes(is_watched: bool) {
    WOKEN.set(is_watched.then(BTreeSet::new));
}

/// Whether the probe of a task was called meanwhile.
pub(crate) fn was_woken(task: TaskKey) -> bool {
    WOKEN.with_borrow(|woken| woken.as_ref().is_some_and(|woken| woken.contains(&task)))
}

fn called(task: TaskKey) {
    WOKEN.with_borrow_mut(|woken| {
        if let Some(woken) = woken {
            woken.insert(task);
        }
    });
    cloned_or_called(task);
}

fn cloned_or_called(task: TaskKey) {
    // The inspected task may call the probe of another task that was inspected before.
    record(|inspection| inspection.task == task);
}

/// Records the stack on which a simulated primitive registers a foreign waker.
pub(crate) fn foreign_waker_registered() {
    record(|_| true);
}

fn record(applies: impl FnOnce(&Inspection) -> bool) {
    INSPECTION.with_borrow_mut(|inspection| match inspection {
        Some(inspection) if inspection.stacks.len() < STACKS && applies(inspection) => {
            inspection.stacks.push(stacks::capture())
        }
        _ => {}
    });
}

/// Adds a stack that was captured elsewhere.
pub(crate) fn add(stack: Stack) {
    INSPECTION.with_borrow_mut(|inspection| {
        if let Some(inspection) = inspection {
            inspection.stacks.push(stack);
        }
    });
}

/// Begins to record the stacks on which the [probe](probe_waker) of a task is cloned or called.
pub(crate) fn begin(task: TaskKey) {
    INSPECTION.set(Some(Inspection { task, stacks: Vec::new() }));
}

/// Whether stacks are recorded.
pub(crate) fn is_active() -> bool {
    INSPECTION.with_borrow(Option::is_some)
}

pub(crate) fn end() -> Stacks {
    INSPECTION.take().map(|inspection| inspection.stacks).unwrap_or_default()
}

/// A waker that wakes no task; the stacks on which it is cloned or called are recorded.
pub(crate) fn probe_waker(task: TaskKey) -> Waker {
    static TABLE: RawWakerVTable = RawWakerVTable::new(
        |data| {
            cloned_or_called(key(data));
            RawWaker::new(data, &TABLE)
        },
        |data| called(key(data)),
        |data| called(key(data)),
        |_| (),
    );
    // SAFETY: the data pointer is never dereferenced, only read back as the integer it is, so every function of the
    // table is sound on every thread, any number of times.
    unsafe { Waker::from_raw(RawWaker::new(std::ptr::without_provenance(task.to_raw() as usize), &TABLE)) }
}

fn key(data: *const ()) -> TaskKey {
    TaskKey::from_raw(data.addr() as u64)
}
