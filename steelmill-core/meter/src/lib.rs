//! Resource usage of a run: allocations, CPU time, memory.
//!
//! A crate of its own, because benches and tests of several crates use it.
//!
//! The allocator forwards every call to the system's with the same layout and pointer, so it keeps the same contract;
//! counting touches only a few atomics. `getrusage` writes one plain C struct, all of whose bit patterns are valid.
#![expect(unsafe_code, reason = "a global allocator and getrusage have no safe form; see above")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

static COUNTING: AtomicBool = AtomicBool::new(false);
static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);
static BYTES: AtomicU64 = AtomicU64::new(0);
static FREED: AtomicU64 = AtomicU64::new(0);

/// Counts while enabled; otherwise one relaxed load per call.
struct Counting;

fn count(bytes: usize) {
    if COUNTING.load(Relaxed) {
        ALLOCATIONS.fetch_add(1, Relaxed);
        BYTES.fetch_add(bytes as u64, Relaxed);
    }
}

fn uncount(bytes: usize) {
    if COUNTING.load(Relaxed) {
        FREED.fetch_add(bytes as u64, Relaxed);
    }
}

// SAFETY: every method forwards its arguments to `System` unchanged and returns its result.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: the caller upholds the contract of `System`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size);
        uncount(layout.size());
        // SAFETY: as above; `pointer` came from `System`, because all of them do.
        unsafe { System.realloc(pointer, layout, size) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        uncount(layout.size());
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }
}

/// Enables or disables counting of allocations.
pub fn count_allocations(on: bool) {
    COUNTING.store(on, Relaxed);
}

/// The counted allocations, and their bytes.
pub fn allocations() -> (u64, u64) {
    (ALLOCATIONS.load(Relaxed), BYTES.load(Relaxed))
}

/// Allocated bytes relative to the beginning of counting; negative if fewer.
pub fn growth() -> i64 {
    BYTES.load(Relaxed).wrapping_sub(FREED.load(Relaxed)) as i64
}

/// CPU seconds and peak memory (KiB) of this process.
pub fn usage() -> (f64, u64) {
    let mut usage = std::mem::MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: the pointer is to a whole `rusage`, and zeroes are a valid one should the call fail.
    let usage = unsafe {
        libc::getrusage(libc::RUSAGE_SELF, usage.as_mut_ptr());
        usage.assume_init()
    };
    let seconds = |time: libc::timeval| time.tv_sec as f64 + time.tv_usec as f64 / 1e6;
    let memory = u64::try_from(usage.ru_maxrss).unwrap_or(0);
    (seconds(usage.ru_utime) + seconds(usage.ru_stime), memory)
}
