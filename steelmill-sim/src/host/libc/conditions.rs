//! What threads of C code wait for together: pthread_cond_wait(3), pthread_barrier_wait(3), pthread_once(3).
//!
//! A condition variable or a barrier of a guest is the simulation's alone: its memory is opaque to the program. So guests
//! have to initialize a barrier, and a condition variable with a clock other than the wall clock: not what executes before
//! `main`.

use std::ffi::c_int;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use libc::{
    clockid_t, pthread_barrier_t, pthread_barrierattr_t, pthread_cond_t, pthread_condattr_t, pthread_mutex_t,
    pthread_once_t, timespec,
};

use super::guest;
use super::locks::{Deadline, acquire, try_mutex, wait, wake, word_of};
use crate::machine::futex::WaitEnd;
use crate::machine::real::real;
use crate::machine::threads::{preempt, wakes_spuriously};
use crate::machine::world::Process;

/// What a guest's condition variable keeps.
#[repr(C)]
struct Condition {
    /// Where those wait that wait for it. Never written.
    word: AtomicU32,
    /// Not used, so that the clock is where an initializer of C has zeros, as for the wall clock.
    unused: [u32; 10],
    clock: clockid_t,
}

const _: () = assert!(size_of::<Condition>() <= size_of::<pthread_cond_t>());

/// # Safety
/// As pthread_cond_init(3).
#[unsafe(no_mangle)]
unsafe extern "C" fn pthread_cond_init(
    condition: *mut pthread_cond_t,
    attributes: *const pthread_condattr_t,
) -> c_int {
    if guest().is_none() {
        // SAFETY: as ours.
        return unsafe {
            real!("pthread_cond_init", fn(*mut pthread_cond_t, *const pthread_condattr_t) -> c_int)(
                condition, attributes,
            )
        };
    }
    let mut clock = libc::CLOCK_REALTIME;
    // SAFETY: pthread_cond_init(3): the attributes are null or valid, and the memory is there for a condition variable.
    unsafe {
        if !attributes.is_null() {
            libc::pthread_condattr_getclock(attributes, &raw mut clock);
        }
        condition.write(std::mem::zeroed());
        (*condition.cast::<Condition>()).clock = clock;
    }
    0
}

/// Waits for a condition variable of a guest, without its mutex meanwhile.
///
/// # Safety
/// As pthread_cond_wait(3).
unsafe fn wait_for_condition(
    process: Process,
    condition: *mut pthread_cond_t,
    mutex: *mut pthread_mutex_t,
    deadline: Option<&Deadline>,
) -> c_int {
    let timeout = match deadline.map(Deadline::left).transpose() {
        // It waits all the same for the mutex.
        Err(libc::ETIMEDOUT) => Some(Duration::ZERO),
        Err(code) => return code,
        Ok(timeout) => timeout,
    };
    // SAFETY: the caller holds the mutex.
    let unlocked = unsafe { real!("pthread_mutex_unlock", fn(*mut pthread_mutex_t) -> c_int)(mutex) };
    if unlocked != 0 {
        return unlocked;
    }
    wake(process, word_of(mutex), 1);
    let woken = match wakes_spuriously(process) {
        true => WaitEnd::Woken,
        false => wait(process, word_of(condition), timeout),
    };
    match acquire(process, word_of(mutex), None, || try_mutex(mutex)) {
        0 if woken == WaitEnd::TimedOut => libc::ETIMEDOUT,
        result => result,
    }
}

/// # Safety
/// As pthread_cond_wait(3).
#[unsafe(no_mangle)]
unsafe extern "C" fn pthread_cond_wait(condition: *mut pthread_cond_t, mutex: *mut pthread_mutex_t) -> c_int {
    match guest() {
        // SAFETY: as ours.
        Some(process) => unsafe { wait_for_condition(process, condition, mutex, None) },
        // SAFETY: as ours.
        None => unsafe {
            real!("pthread_cond_wait", fn(*mut pthread_cond_t, *mut pthread_mutex_t) -> c_int)(
                condition, mutex,
            )
        },
    }
}

/// # Safety
/// As pthread_cond_timedwait(3).
#[unsafe(no_mangle)]
unsafe extern "C" fn pthread_cond_timedwait(
    condition: *mut pthread_cond_t,
    mutex: *mut pthread_mutex_t,
    point: *const timespec,
) -> c_int {
    match guest() {
        // SAFETY: as ours. The condition variable is a guest's, as only guests wait for it.
        Some(process) => unsafe {
            let clock = (*condition.cast::<Condition>()).clock;
            wait_for_condition(process, condition, mutex, Some(&Deadline::new(clock, point)))
        },
        // SAFETY: as ours.
        None => unsafe {
            real!(
                "pthread_cond_timedwait",
                fn(*mut pthread_cond_t, *mut pthread_mutex_t, *const timespec) -> c_int
            )(condition, mutex, point)
        },
    }
}

/// # Safety
/// As pthread_cond_clockwait(3).
#[unsafe(no_mangle)]
unsafe extern "C" fn pthread_cond_clockwait(
    condition: *mut pthread_cond_t,
    mutex: *mut pthread_mutex_t,
    clock: clockid_t,
    point: *const timespec,
) -> c_int {
    match guest() {
        // SAFETY: as ours.
        Some(process) => unsafe {
            wait_for_condition(process, condition, mutex, Some(&Deadline::new(clock, point)))
        },
        // SAFETY: as ours.
        None => unsafe {
            real!(
                "pthread_cond_clockwait",
                fn(*mut pthread_cond_t, *mut pthread_mutex_t, clockid_t, *const timespec) -> c_int
            )(condition, mutex, clock, point)
        },
    }
}

/// Functions that wake those that wait for a condition variable.
macro_rules! signals {
    ($($name:literal $function:ident wakes $wakes:expr;)*) => {$(
        /// # Safety
        /// As the C library's.
        #[unsafe(no_mangle)]
        unsafe extern "C" fn $function(condition: *mut pthread_cond_t) -> c_int {
            match guest() {
                Some(process) => {
                    wake(process, word_of(condition), $wakes);
                    preempt();
                    0
                }
                // SAFETY: as ours.
                None => unsafe { real!($name, fn(*mut pthread_cond_t) -> c_int)(condition) },
            }
        }
    )*};
}

signals! {
    "pthread_cond_signal" pthread_cond_signal wakes 1;
    "pthread_cond_broadcast" pthread_cond_broadcast wakes usize::MAX;
}

/// What a guest's barrier keeps.
#[repr(C)]
struct Barrier {
    /// How often all have arrived. Those that have wait here for the others.
    round: AtomicU32,
    expected: u32,
    arrived: AtomicU32,
}

const _: () = assert!(size_of::<Barrier>() <= size_of::<pthread_barrier_t>());

/// # Safety
/// As pthread_barrier_init(3).
#[unsafe(no_mangle)]
unsafe extern "C" fn pthread_barrier_init(
    barrier: *mut pthread_barrier_t,
    attributes: *const pthread_barrierattr_t,
    expected: u32,
) -> c_int {
    match guest() {
        Some(_) if expected == 0 => libc::EINVAL,
        Some(_) => {
            let new = Barrier { round: AtomicU32::new(0), expected, arrived: AtomicU32::new(0) };
            // SAFETY: pthread_barrier_init(3): the memory is there for a barrier.
            unsafe { barrier.cast::<Barrier>().write(new) };
            0
        }
        // SAFETY: as ours.
        None => unsafe {
            real!(
                "pthread_barrier_init",
                fn(*mut pthread_barrier_t, *const pthread_barrierattr_t, u32) -> c_int
            )(barrier, attributes, expected)
        },
    }
}

/// # Safety
/// As pthread_barrier_wait(3).
#[unsafe(no_mangle)]
unsafe extern "C" fn pthread_barrier_wait(barrier: *mut pthread_barrier_t) -> c_int {
    let Some(process) = guest() else {
        // SAFETY: as ours.
        return unsafe { real!("pthread_barrier_wait", fn(*mut pthread_barrier_t) -> c_int)(barrier) };
    };
    let word = word_of(barrier);
    // SAFETY: pthread_barrier_wait(3): it was initialized, by a guest as only guests use it.
    let barrier = unsafe { &*barrier.cast::<Barrier>() };
    let round = barrier.round.load(Ordering::SeqCst);
    if barrier.arrived.fetch_add(1, Ordering::SeqCst) + 1 == barrier.expected {
        barrier.arrived.store(0, Ordering::SeqCst);
        barrier.round.fetch_add(1, Ordering::SeqCst);
        wake(process, word, usize::MAX);
        preempt();
        return libc::PTHREAD_BARRIER_SERIAL_THREAD;
    }
    while barrier.round.load(Ordering::SeqCst) == round {
        wait(process, word, None);
    }
    0
}

/// # Safety
/// As pthread_barrier_destroy(3).
#[unsafe(no_mangle)]
unsafe extern "C" fn pthread_barrier_destroy(barrier: *mut pthread_barrier_t) -> c_int {
    match guest() {
        Some(_) => 0,
        // SAFETY: as ours.
        None => unsafe { real!("pthread_barrier_destroy", fn(*mut pthread_barrier_t) -> c_int)(barrier) },
    }
}

/// States of what is done once; the first and the last are those of the C library.
const NOT_DONE: u32 = 0;
const IN_PROGRESS: u32 = 1;
const DONE: u32 = 2;

/// # Safety
/// As pthread_once(3).
#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn pthread_once(control: *mut pthread_once_t, action: extern "C" fn()) -> c_int {
    let Some(process) = guest() else {
        // SAFETY: as ours.
        return unsafe {
            real!("pthread_once", fn(*mut pthread_once_t, extern "C" fn()) -> c_int)(control, action)
        };
    };
    let word = word_of(control);
    // SAFETY: pthread_once(3): it is valid, and initialized to zero.
    let state = unsafe { &*word };
    loop {
        match state.compare_exchange(NOT_DONE, IN_PROGRESS, Ordering::SeqCst, Ordering::SeqCst) {
            Ok(_) => {
                action();
                state.store(DONE, Ordering::SeqCst);
                wake(process, word, usize::MAX);
                return 0;
            }
            Err(DONE) => return 0,
            Err(_) => wait(process, word, None),
        };
    }
}
