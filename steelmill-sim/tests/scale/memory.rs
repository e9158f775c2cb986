//! A counting allocator per thread. A run stays on its thread, so parallel runs are not counted.
//!
//! The allocator forwards every call to the system's with the same layout and pointer, so it keeps the same contract.
//! It counts in thread-local cells without initialiser or destructor, which are therefore accessible at any time.
#![expect(unsafe_code, reason = "a global allocator has no safe form; see above")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

thread_local! {
    static HELD: Cell<i64> = const { Cell::new(0) };
    static MOST: Cell<i64> = const { Cell::new(0) };
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

struct Counting;

fn changed(bytes: usize, sign: i64) {
    let held = HELD.get() + sign * bytes as i64;
    HELD.set(held);
    MOST.set(MOST.get().max(held));
}

fn made(bytes: usize) {
    ALLOCATIONS.set(ALLOCATIONS.get() + 1);
    changed(bytes, 1);
}

// SAFETY: every method forwards its arguments to `System` unchanged and returns its result.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        made(layout.size());
        // SAFETY: the caller upholds the contract of `System`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        made(layout.size());
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        changed(layout.size(), -1);
        made(size);
        // SAFETY: as above; `pointer` came from `System`, because all of them do.
        unsafe { System.realloc(pointer, layout, size) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        changed(layout.size(), -1);
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }
}

pub(crate) fn held() -> i64 {
    HELD.get()
}

pub(crate) fn allocations() -> u64 {
    ALLOCATIONS.get()
}

/// The peak of bytes held during `work`, above those held before.
pub(crate) fn most<R>(work: impl FnOnce() -> R) -> (R, i64) {
    let before = held();
    MOST.set(before);
    let result = work();
    (result, MOST.get() - before)
}
