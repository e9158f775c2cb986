//! How much memory this thread holds. A run stays on its thread, so runs beside it are not counted in.
//!
//! The allocator hands every call on to the system's, with the layout and pointer it was given, so it keeps exactly the
//! promises the system's keeps. Counting touches plain cells of the thread, which need neither initialising nor
//! dropping, and so can be reached at any time.
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

// SAFETY: every method passes its arguments on to `System` unchanged and returns what that returns.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        made(layout.size());
        // SAFETY: the caller's promises are the ones `System` asks for.
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

/// The bytes that this thread has asked for and not given back.
pub(crate) fn held() -> i64 {
    HELD.get()
}

/// How often this thread has asked for memory.
pub(crate) fn allocations() -> u64 {
    ALLOCATIONS.get()
}

/// What a piece of work made this thread hold at most, beyond what it held before.
pub(crate) fn most<R>(work: impl FnOnce() -> R) -> (R, i64) {
    let before = held();
    MOST.set(before);
    let result = work();
    (result, MOST.get() - before)
}
