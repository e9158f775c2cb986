//! Wakers that are integers.
//!
//! A waker of the sim is the packed name of a task (run, generation, index), so cloning, comparing and dropping it
//! cost nothing and a wake is a look into the run's table. Waiting places store a [`Waiter`]: the name itself
//! where the waker is ours, and a real waker where a combinator such as `FuturesUnordered` brought its own.
#![allow(unsafe_code, reason = "a RawWaker is unsafe to make; the argument stands beside the one place")]

use std::task::{RawWaker, RawWakerVTable, Waker};

#[cfg(not(target_pointer_width = "64"))]
compile_error!("steelmill-sim packs a task's name into a waker's pointer and needs a 64-bit target");

/// A task of one run, small enough for a waker's pointer: 20 bits of run, 20 of generation, 24 of index.
///
/// A name is mistaken for another only when a waker is kept for a million runs of the process *and* the same slot is
/// then in the same generation modulo a million; the price would be a spurious wake.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct TaskKey(u64);

const INDEX_BITS: u32 = 24;
const PART_BITS: u32 = 20;
const PART_MASK: u64 = (1 << PART_BITS) - 1;

impl TaskKey {
    /// No task's: its index is past the end of every table.
    pub(crate) const NONE: Self = Self(u64::MAX);

    /// One more than the greatest index that fits.
    pub(crate) const INDEX_END: usize = (1 << INDEX_BITS) - 1;

    #[inline]
    pub(crate) fn new(run: u32, generation: u32, index: u32) -> Self {
        let run = u64::from(run) & PART_MASK;
        let generation = u64::from(generation) & PART_MASK;
        Self(run << (PART_BITS + INDEX_BITS) | generation << INDEX_BITS | u64::from(index))
    }

    #[inline]
    pub(crate) fn index(self) -> usize {
        (self.0 & ((1 << INDEX_BITS) - 1)) as usize
    }

    /// The same place with its next task.
    pub(crate) fn next_generation(self) -> Self {
        let generation = ((self.0 >> INDEX_BITS) + 1) & PART_MASK;
        Self(self.0 & !(PART_MASK << INDEX_BITS) | generation << INDEX_BITS)
    }

    #[inline]
    pub(crate) fn is_run(self, run: u32) -> bool {
        self.0 >> (PART_BITS + INDEX_BITS) == u64::from(run) & PART_MASK
    }

    /// A number that is the same in every run of the seed: for the digest.
    #[inline]
    pub(crate) fn within_run(self) -> u64 {
        self.0 & ((1 << (PART_BITS + INDEX_BITS)) - 1)
    }

    /// The place, and the generation, of what [`within_run`](Self::within_run) gave.
    pub(crate) fn parts(within_run: u64) -> (u64, u64) {
        (within_run & ((1 << INDEX_BITS) - 1), within_run >> INDEX_BITS)
    }

    #[inline]
    pub(crate) fn waker(self) -> Waker {
        // SAFETY: the data pointer is never dereferenced, only read back as the integer it is, so every function
        // of the table is sound for every value, on every thread, any number of times.
        unsafe { Waker::from_raw(self.raw()) }
    }

    #[inline]
    fn raw(self) -> RawWaker {
        RawWaker::new(std::ptr::without_provenance(self.0 as usize), &TABLE)
    }

    #[inline]
    fn of(data: *const ()) -> Self {
        Self(data.addr() as u64)
    }
}

static TABLE: RawWakerVTable = RawWakerVTable::new(
    |data| TaskKey::of(data).raw(),
    |data| crate::machine::cluster::wake(TaskKey::of(data)),
    |data| crate::machine::cluster::wake(TaskKey::of(data)),
    |_| (),
);

/// A waker of a task that wakes nobody, and tells [`stuck`](crate::host::stuck) when it is cloned or called.
pub(crate) fn watched_waker(key: TaskKey) -> Waker {
    static TABLE: RawWakerVTable = RawWakerVTable::new(
        |data| {
            crate::host::stuck::touched(TaskKey::of(data));
            RawWaker::new(data, &TABLE)
        },
        |data| crate::host::stuck::touched(TaskKey::of(data)),
        |data| crate::host::stuck::touched(TaskKey::of(data)),
        |_| (),
    );
    // SAFETY: the data pointer is never dereferenced, only read back as the integer it is, so every function of the
    // table is sound on every thread, any number of times.
    unsafe { Waker::from_raw(RawWaker::new(std::ptr::without_provenance(key.0 as usize), &TABLE)) }
}

/// Who is to be woken.
///
/// A foreign waker runs code of its own when cloned, dropped or woken, so none of that may happen while the run's
/// state is borrowed: [`Waiter::of`] is called before, and foreign waiters are woken and dropped after.
#[derive(Debug)]
pub(crate) enum Waiter {
    Task(TaskKey),
    Foreign(Waker),
}

impl Waiter {
    #[inline]
    pub(crate) fn of(waker: &Waker) -> Self {
        if std::ptr::eq(waker.vtable(), &TABLE) {
            Waiter::Task(TaskKey::of(waker.data()))
        } else {
            Waiter::of_other(waker)
        }
    }

    #[inline(never)]
    fn of_other(waker: &Waker) -> Self {
        crate::host::stuck::asked();
        Waiter::Foreign(waker.clone())
    }

    /// Whether both wake the same task in the same way.
    #[inline]
    pub(crate) fn same(&self, other: &Self) -> bool {
        match (self, other) {
            (Waiter::Task(a), Waiter::Task(b)) => a == b,
            (Waiter::Foreign(a), Waiter::Foreign(b)) => a.will_wake(b),
            _ => false,
        }
    }
}

/// Who waits at a place, in the order they came: nearly always one task, sometimes several.
#[derive(Debug, Default)]
pub(crate) enum Waiters {
    #[default]
    None,
    One(Waiter),
    Several(Vec<Waiter>),
}

impl Waiters {
    /// Adds a waiter, once. What was not needed comes back to be dropped elsewhere.
    #[inline]
    pub(crate) fn add(&mut self, waiter: Waiter) -> Option<Waiter> {
        match self {
            Waiters::None => *self = Waiters::One(waiter),
            Waiters::One(only) if only.same(&waiter) => return Some(waiter),
            _ => return self.add_another(waiter),
        }
        None
    }

    #[cold]
    fn add_another(&mut self, waiter: Waiter) -> Option<Waiter> {
        let mut all = match self.take() {
            Waiters::None => Vec::new(),
            Waiters::One(only) => vec![only],
            Waiters::Several(all) => all,
        };
        let mut unneeded = None;
        if all.iter().any(|other| other.same(&waiter)) {
            unneeded = Some(waiter);
        } else {
            all.push(waiter);
        }
        *self = Waiters::Several(all);
        unneeded
    }

    /// Takes all of them.
    #[inline]
    pub(crate) fn take(&mut self) -> Self {
        std::mem::take(self)
    }
}
