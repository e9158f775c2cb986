//! Allocators that are linked into this program, such as jemalloc and mimalloc, for a `#[global_allocator]`.
//!
//! The heap is one for all processes of machines and for the simulation itself, so an allocator is no part of a program: its
//! statics stay in place ([`statics`](super::statics)), its calls of the C library are real
//! ([`host::allocators`](crate::host::allocators)), and a guest thread that ends, or that a fault ends, leaves it here.
#![allow(unsafe_code, reason = "calling an allocator's destructors; the argument stands beside each place")]

#[cfg(all(target_os = "linux", target_env = "gnu", target_pointer_width = "64"))]
pub(crate) mod branches; // machine code that calls
#[cfg(all(target_os = "linux", target_env = "gnu", target_pointer_width = "64"))]
mod owned; // which symbols are an allocator's

use std::arch::global_asm;
use std::ffi::c_void;
use std::ops::Range;
use std::ptr::{null, null_mut};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};

#[cfg(all(target_os = "linux", target_env = "gnu", target_pointer_width = "64"))]
pub(crate) use owned::{Code, Owned};

// A function that each allocator has and nobody else. A weak reference is null in a program without the function, and has no library
// linked that nothing else asks for.
global_asm!(
    ".pushsection .data.rel.ro.steelmill_allocators, \"aw\", @progbits",
    ".balign 8",
    ".hidden steelmill_allocators",
    ".globl steelmill_allocators",
    "steelmill_allocators:",
    ".weak _rjem_malloc",
    ".weak je_malloc",
    ".weak mallocx",
    ".weak mi_malloc",
    ".quad _rjem_malloc",
    ".quad je_malloc",
    ".quad mallocx",
    ".quad mi_malloc",
    ".size steelmill_allocators, . - steelmill_allocators",
    ".popsection",
);

unsafe extern "C" {
    static steelmill_allocators: [*const c_void; 4];
}

/// How the names of those allocators begin: jemalloc of the crates tikv-jemalloc-sys and jemalloc-sys, of other builds, and in place of
/// the C library's `malloc`; mimalloc.
const PREFIXES: [&[&str]; 4] = [&["_rjem_"], &["je_", "_je_"], &["_rjem_", "je_", "_je_"], &["mi_", "_mi_"]];

/// The allocators that this program was linked with: a function of each, and how their names begin.
pub(crate) fn linked() -> impl Iterator<Item = (usize, &'static [&'static str])> {
    // SAFETY: the table above, which the loader has relocated and nobody writes.
    let functions = unsafe { &steelmill_allocators };
    let all = functions.iter().zip(PREFIXES).map(|(function, prefixes)| (function.addr(), prefixes));
    all.filter(|(function, _)| *function != 0)
}

/// A destructor of thread-specific data, as pthread_key_create(3) is given it.
pub(crate) type Destructor = extern "C" fn(*mut c_void);

/// The destructors of all keys, by key. They are no heap's: allocators make their keys when they begin.
static DESTRUCTORS: [AtomicPtr<c_void>; 1024] = [const { AtomicPtr::new(null_mut()) }; 1024]; // PTHREAD_KEYS_MAX

/// More than any key with a destructor.
static KEYS_END: AtomicUsize = AtomicUsize::new(0);

/// Where the allocators' code is, in order; unset as long as none was found.
static CODE: OnceLock<Vec<Range<usize>>> = OnceLock::new();

/// A key was made.
pub(crate) fn note_key(key: libc::pthread_key_t, destructor: Option<Destructor>) {
    let key = key as usize;
    let destructor = destructor.map_or(null(), |destructor| destructor as *const c_void);
    if let Some(place) = DESTRUCTORS.get(key) {
        place.store(destructor.cast_mut(), Ordering::Relaxed);
        KEYS_END.fetch_max(key + 1, Ordering::Relaxed);
    }
}

/// The allocators' functions were found, in order of their addresses.
pub(crate) fn have_code_at(ranges: Vec<Range<usize>>) {
    CODE.get_or_init(|| ranges);
}

/// Whether threads have to leave an allocator.
pub(crate) fn are_in_use() -> bool {
    CODE.get().is_some()
}

/// This thread allocates no more: calls the allocators' own destructors, which take it out of their lists and give back what
/// they cache for it, as at the exit of a thread.
pub(crate) fn leave() {
    let Some(code) = CODE.get() else { return };
    // A destructor may ask for a second call, as jemalloc's does. pthread_key_create(3): there are at most so many.
    const ITERATIONS: usize = 4; // PTHREAD_DESTRUCTOR_ITERATIONS
    for _ in 0..ITERATIONS {
        let called = (0..KEYS_END.load(Ordering::Relaxed)).filter(|key| destroy(*key, code)).count();
        if called == 0 {
            break;
        }
    }
}

/// Destroys this thread's value of a key; whether there was one of an allocator.
fn destroy(key: usize, code: &[Range<usize>]) -> bool {
    let destructor = DESTRUCTORS[key].load(Ordering::Relaxed);
    let after = code.partition_point(|function| function.start <= destructor.addr());
    if !after.checked_sub(1).is_some_and(|at| code[at].contains(&destructor.addr())) {
        return false;
    }
    let key = key as libc::pthread_key_t;
    // SAFETY: pthread_getspecific(3) takes any key.
    let value = unsafe { libc::pthread_getspecific(key) };
    if value.is_null() {
        return false;
    }
    // SAFETY: as the C library does at the exit of a thread: the destructor was given for this key, is called with the
    // thread's value, and the value is taken away before.
    unsafe {
        libc::pthread_setspecific(key, null());
        std::mem::transmute::<*mut c_void, Destructor>(destructor)(value);
    }
    true
}
