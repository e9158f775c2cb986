//! Thread-specific data (pthread_key_create(3)): the destructors of a guest thread's, which run when it ends, within the simulation.
//! The C library keeps the values.
#![allow(unsafe_code, reason = "calling destructors; the argument stands beside each place")]

use std::ffi::c_void;
use std::ptr::{null, null_mut};
use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};

/// A destructor, as pthread_key_create(3) is given it.
pub(crate) type Destructor = extern "C" fn(*mut c_void);

/// Of all keys, by key. They are no heap's: allocators make their keys when they begin.
static DESTRUCTORS: [AtomicPtr<c_void>; 1024] = [const { AtomicPtr::new(null_mut()) }; 1024]; // PTHREAD_KEYS_MAX

/// More than any key with a destructor.
static KEYS_END: AtomicUsize = AtomicUsize::new(0);

/// A key was made, or deleted: then it has no destructor.
pub(crate) fn note_key(key: libc::pthread_key_t, destructor: Option<Destructor>) {
    let key = key as usize;
    let destructor = destructor.map_or(null(), |destructor| destructor as *const c_void);
    if let Some(place) = DESTRUCTORS.get(key) {
        place.store(destructor.cast_mut(), Ordering::Relaxed);
        KEYS_END.fetch_max(key + 1, Ordering::Relaxed);
    }
}

/// Destroys this thread's values whose destructors are chosen, as at its exit.
pub(crate) fn destroy(is_chosen: impl Fn(usize) -> bool) {
    // A destructor may set values anew, as jemalloc's does. pthread_key_create(3): it is called so often at most.
    const ITERATIONS: usize = 4; // PTHREAD_DESTRUCTOR_ITERATIONS
    for _ in 0..ITERATIONS {
        let called =
            (0..KEYS_END.load(Ordering::Relaxed)).filter(|key| destroy_one(*key, &is_chosen)).count();
        if called == 0 {
            break;
        }
    }
}

/// Takes all values from this thread, without their destructors.
pub(crate) fn forget() {
    for key in 0..KEYS_END.load(Ordering::Relaxed) {
        // SAFETY: pthread_setspecific(3) takes any key, and null for any value.
        unsafe { libc::pthread_setspecific(key as libc::pthread_key_t, null()) };
    }
}

/// Destroys this thread's value of a key; whether there was one.
fn destroy_one(key: usize, is_chosen: &impl Fn(usize) -> bool) -> bool {
    let destructor = DESTRUCTORS[key].load(Ordering::Relaxed);
    if destructor.is_null() || !is_chosen(destructor.addr()) {
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
