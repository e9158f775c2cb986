//! Task wakers without reference counts.
//!
//! The data of a waker is a packed task key (run, generation, index). Clone, compare and drop cost nothing; a wake
//! looks the task up in the run.
#![allow(unsafe_code, reason = "a RawWaker is unsafe to make; the argument stands beside the one place")]

use std::task::{RawWaker, RawWakerVTable, Waker};

use super::cluster;
use crate::kernel::probe;
use crate::kernel::waiter::Waiter;
use crate::schema::task::TaskKey;

#[inline]
pub(crate) fn waker(key: TaskKey) -> Waker {
    // SAFETY: the data pointer is never dereferenced, only read back as the integer it is, so every function
    // of the table is sound for every value, on every thread, any number of times.
    unsafe { Waker::from_raw(raw(key)) }
}

#[inline]
fn raw(key: TaskKey) -> RawWaker {
    RawWaker::new(std::ptr::without_provenance(key.to_raw() as usize), &TABLE)
}

#[inline]
fn key(data: *const ()) -> TaskKey {
    TaskKey::from_raw(data.addr() as u64)
}

static TABLE: RawWakerVTable = RawWakerVTable::new(
    |data| raw(key(data)),
    |data| cluster::wake(key(data)),
    |data| cluster::wake(key(data)),
    |_| (),
);

impl Waiter {
    /// The waiter of a waker. Clones a foreign waker, which runs user code: never call it while the run is borrowed.
    #[inline]
    pub(crate) fn of(waker: &Waker) -> Self {
        if std::ptr::eq(waker.vtable(), &TABLE) {
            Waiter::Task(key(waker.data()))
        } else {
            Waiter::foreign(waker)
        }
    }

    #[inline(never)]
    fn foreign(waker: &Waker) -> Self {
        probe::foreign_waker_registered();
        Waiter::Foreign(waker.clone())
    }
}
