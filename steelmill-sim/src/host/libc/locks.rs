//! Locks of C code: pthread_mutex_lock(3), pthread_rwlock_rdlock(3), sem_wait(3). Rust's own wait by futex(2).
//!
//! A lock stays the C library's, which tries it, counts its owners and releases it; only the wait is the simulation's.

use std::ffi::c_int;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use libc::{clockid_t, pthread_mutex_t, pthread_rwlock_t, sem_t, timespec};

use super::time::now_of;
use super::{duration_of, guest, set_errno};
use crate::machine::cluster;
use crate::machine::futex::{self, WaitEnd};
use crate::machine::real::real;
use crate::machine::threads::{called_in_vain, preempt, yield_turn};
use crate::machine::world::Process;

/// Until when a call waits: a point on a clock.
pub(super) struct Deadline(clockid_t, timespec);

impl Deadline {
    /// One that has passed.
    pub(super) const PAST: Self = Self(libc::CLOCK_MONOTONIC, timespec { tv_sec: 0, tv_nsec: 0 });

    /// # Safety
    /// `point` is valid for a read.
    pub(super) unsafe fn new(clock: clockid_t, point: *const timespec) -> Self {
        // SAFETY: as the caller says.
        Self(clock, unsafe { *point })
    }

    /// How long that is from now; the error if it has passed, or is none.
    pub(super) fn left(&self) -> Result<Duration, c_int> {
        let Self(clock, point) = self;
        if point.tv_sec < 0 {
            return Err(libc::ETIMEDOUT);
        }
        let left = duration_of(point)?.saturating_sub(now_of(*clock));
        if left.is_zero() { Err(libc::ETIMEDOUT) } else { Ok(left) }
    }
}

/// The first word of a lock, which all that wait for it wait at.
pub(super) fn word_of<T>(lock: *mut T) -> *const AtomicU32 {
    lock.cast_const().cast()
}

pub(super) fn wait(process: Process, word: *const AtomicU32, timeout: Option<Duration>) -> WaitEnd {
    // SAFETY: the lock that a guest waits for is valid, and at least a word long.
    let value = unsafe { &*word }.load(Ordering::SeqCst);
    futex::wait(process, word.expose_provenance(), value, u32::MAX, timeout)
}

pub(super) fn wake(process: Process, word: *const AtomicU32, limit: usize) {
    cluster::with(process.run, |run| run.wake_futex(process.machine, word.addr(), u32::MAX, limit));
}

/// Waits until an attempt at a lock gives something other than that it is taken. No signal interrupts that.
pub(super) fn acquire(
    process: Process,
    word: *const AtomicU32,
    deadline: Option<Deadline>,
    attempt: impl Fn() -> c_int,
) -> c_int {
    loop {
        match acquire_unless_interrupted(process, word, deadline.as_ref(), &attempt) {
            libc::EINTR => {}
            done => return done,
        }
    }
}

/// The same, but for EINTR when a signal was handled meanwhile.
fn acquire_unless_interrupted(
    process: Process,
    word: *const AtomicU32,
    deadline: Option<&Deadline>,
    attempt: impl Fn() -> c_int,
) -> c_int {
    preempt();
    loop {
        match attempt() {
            libc::EBUSY => {}
            done => return done,
        }
        match deadline.map(Deadline::left).transpose() {
            Ok(timeout) if wait(process, word, timeout) == WaitEnd::Interrupted => return libc::EINTR,
            Ok(_) => {}
            Err(code) => return code,
        }
    }
}

/// Releases a lock, and wakes some of those that wait for it.
fn release(process: Process, word: *const AtomicU32, wakes: usize, unlock: impl FnOnce() -> c_int) -> c_int {
    let result = unlock();
    if result == 0 {
        wake(process, word, wakes);
        preempt();
    }
    result
}

/// Functions that take a lock, and the C library's that tries to.
macro_rules! acquires {
    ($($name:literal $function:ident($lock:ty) tries $attempt:ident;)*) => {$(
        /// # Safety
        /// As the C library's.
        #[unsafe(no_mangle)]
        unsafe extern "C" fn $function(lock: *mut $lock) -> c_int {
            match guest() {
                Some(process) => acquire(process, word_of(lock), None, || $attempt(lock)),
                // SAFETY: as ours.
                None => unsafe { real!($name, fn(*mut $lock) -> c_int)(lock) },
            }
        }
    )*};
}

/// The same until a point in time, on the wall clock.
macro_rules! acquires_until {
    ($($name:literal $function:ident($lock:ty) tries $attempt:ident;)*) => {$(
        /// # Safety
        /// As the C library's.
        #[unsafe(no_mangle)]
        unsafe extern "C" fn $function(lock: *mut $lock, point: *const timespec) -> c_int {
            match guest() {
                Some(process) => {
                    // SAFETY: it is valid for a read.
                    let deadline = unsafe { Deadline::new(libc::CLOCK_REALTIME, point) };
                    acquire(process, word_of(lock), Some(deadline), || $attempt(lock))
                }
                // SAFETY: as ours.
                None => unsafe { real!($name, fn(*mut $lock, *const timespec) -> c_int)(lock, point) },
            }
        }
    )*};
}

/// The same on a clock that the caller names.
macro_rules! acquires_by_clock {
    ($($name:literal $function:ident($lock:ty) tries $attempt:ident;)*) => {$(
        /// # Safety
        /// As the C library's.
        #[unsafe(no_mangle)]
        unsafe extern "C" fn $function(lock: *mut $lock, clock: clockid_t, point: *const timespec) -> c_int {
            match guest() {
                Some(process) => {
                    // SAFETY: it is valid for a read.
                    let deadline = unsafe { Deadline::new(clock, point) };
                    acquire(process, word_of(lock), Some(deadline), || $attempt(lock))
                }
                // SAFETY: as ours.
                None => unsafe {
                    real!($name, fn(*mut $lock, clockid_t, *const timespec) -> c_int)(lock, clock, point)
                },
            }
        }
    )*};
}

/// Functions that release a lock, and how many of those that wait may try again.
macro_rules! releases {
    ($($name:literal $function:ident($lock:ty) wakes $wakes:expr;)*) => {$(
        /// # Safety
        /// As the C library's.
        #[unsafe(no_mangle)]
        unsafe extern "C" fn $function(lock: *mut $lock) -> c_int {
            // SAFETY: as ours.
            let unlock = || unsafe { real!($name, fn(*mut $lock) -> c_int)(lock) };
            match guest() {
                Some(process) => release(process, word_of(lock), $wakes, unlock),
                None => unlock(),
            }
        }
    )*};
}

acquires! {
    "pthread_mutex_lock" pthread_mutex_lock(pthread_mutex_t) tries try_mutex;
    "pthread_rwlock_rdlock" pthread_rwlock_rdlock(pthread_rwlock_t) tries try_read;
    "pthread_rwlock_wrlock" pthread_rwlock_wrlock(pthread_rwlock_t) tries try_write;
}

acquires_until! {
    "pthread_mutex_timedlock" pthread_mutex_timedlock(pthread_mutex_t) tries try_mutex;
    "pthread_rwlock_timedrdlock" pthread_rwlock_timedrdlock(pthread_rwlock_t) tries try_read;
    "pthread_rwlock_timedwrlock" pthread_rwlock_timedwrlock(pthread_rwlock_t) tries try_write;
}

acquires_by_clock! {
    "pthread_mutex_clocklock" pthread_mutex_clocklock(pthread_mutex_t) tries try_mutex;
    "pthread_rwlock_clockrdlock" pthread_rwlock_clockrdlock(pthread_rwlock_t) tries try_read;
    "pthread_rwlock_clockwrlock" pthread_rwlock_clockwrlock(pthread_rwlock_t) tries try_write;
}

releases! {
    "pthread_mutex_unlock" pthread_mutex_unlock(pthread_mutex_t) wakes 1;
    "pthread_rwlock_unlock" pthread_rwlock_unlock(pthread_rwlock_t) wakes usize::MAX;
}

/// Whether a mutex is one that finds errors. Its kind is the fifth word, where the initializers in the C library's headers
/// put it (PTHREAD_ERRORCHECK_MUTEX_INITIALIZER_NP), so that it stays there.
fn finds_errors(mutex: *mut pthread_mutex_t) -> bool {
    const BASIC_KINDS: c_int = 3;
    // SAFETY: whoever takes a mutex gives a valid one. Its kind is not written once it is initialized.
    let kind = unsafe { mutex.cast::<c_int>().add(4).read() };
    kind & BASIC_KINDS == libc::PTHREAD_MUTEX_ERRORCHECK
}

pub(super) fn try_mutex(mutex: *mut pthread_mutex_t) -> c_int {
    // SAFETY: as above; the same for all that follow.
    match unsafe { real!("pthread_mutex_trylock", fn(*mut pthread_mutex_t) -> c_int)(mutex) } {
        // That it is the caller's own, a try does not tell. This never waits.
        libc::EBUSY if finds_errors(mutex) => {
            let past = timespec { tv_sec: 0, tv_nsec: 0 };
            let take = real!("pthread_mutex_timedlock", fn(*mut pthread_mutex_t, *const timespec) -> c_int);
            // SAFETY: as above.
            match unsafe { take(mutex, &raw const past) } {
                libc::ETIMEDOUT => libc::EBUSY,
                other => other,
            }
        }
        other => other,
    }
}

fn try_read(lock: *mut pthread_rwlock_t) -> c_int {
    // SAFETY: as in `try_mutex`.
    unsafe { real!("pthread_rwlock_tryrdlock", fn(*mut pthread_rwlock_t) -> c_int)(lock) }
}

fn try_write(lock: *mut pthread_rwlock_t) -> c_int {
    // SAFETY: as in `try_mutex`.
    unsafe { real!("pthread_rwlock_trywrlock", fn(*mut pthread_rwlock_t) -> c_int)(lock) }
}

/// Functions that try to take a lock. A loop of tries comes to where another has released it.
macro_rules! tries {
    ($($name:literal $function:ident($lock:ty);)*) => {$(
        /// # Safety
        /// As the C library's.
        #[unsafe(no_mangle)]
        unsafe extern "C" fn $function(lock: *mut $lock) -> c_int {
            // SAFETY: as ours.
            let result = unsafe { real!($name, fn(*mut $lock) -> c_int)(lock) };
            if result != 0 && guest().is_some() {
                // SAFETY: every thread has an errno.
                let errno = unsafe { *libc::__errno_location() };
                called_in_vain();
                set_errno(errno);
            }
            result
        }
    )*};
}

tries! {
    "pthread_mutex_trylock" pthread_mutex_trylock(pthread_mutex_t);
    "pthread_rwlock_tryrdlock" pthread_rwlock_tryrdlock(pthread_rwlock_t);
    "pthread_rwlock_trywrlock" pthread_rwlock_trywrlock(pthread_rwlock_t);
    "pthread_spin_trylock" pthread_spin_trylock(libc::pthread_spinlock_t);
    "sem_trywait" sem_trywait(sem_t);
}

/// What waiting for a semaphore gives: 0, or -1 and errno.
fn decrement(process: Process, semaphore: *mut sem_t, deadline: Option<Deadline>) -> c_int {
    let attempt = || {
        // SAFETY: as in `try_mutex`.
        match unsafe { real!("sem_trywait", fn(*mut sem_t) -> c_int)(semaphore) } {
            0 => 0,
            // SAFETY: every thread has an errno.
            _ => match unsafe { *libc::__errno_location() } {
                libc::EAGAIN => libc::EBUSY,
                code => code,
            },
        }
    };
    match acquire_unless_interrupted(process, word_of(semaphore), deadline.as_ref(), attempt) {
        0 => 0,
        code => {
            set_errno(code);
            -1
        }
    }
}

/// # Safety
/// As sem_wait(3).
#[unsafe(no_mangle)]
unsafe extern "C" fn sem_wait(semaphore: *mut sem_t) -> c_int {
    match guest() {
        Some(process) => decrement(process, semaphore, None),
        // SAFETY: as ours.
        None => unsafe { real!("sem_wait", fn(*mut sem_t) -> c_int)(semaphore) },
    }
}

/// # Safety
/// As sem_timedwait(3).
#[unsafe(no_mangle)]
unsafe extern "C" fn sem_timedwait(semaphore: *mut sem_t, point: *const timespec) -> c_int {
    match guest() {
        // SAFETY: sem_timedwait(3): it is valid for a read.
        Some(process) => {
            decrement(process, semaphore, Some(unsafe { Deadline::new(libc::CLOCK_REALTIME, point) }))
        }
        // SAFETY: as ours.
        None => unsafe { real!("sem_timedwait", fn(*mut sem_t, *const timespec) -> c_int)(semaphore, point) },
    }
}

/// # Safety
/// As sem_clockwait(3).
#[unsafe(no_mangle)]
unsafe extern "C" fn sem_clockwait(semaphore: *mut sem_t, clock: clockid_t, point: *const timespec) -> c_int {
    match guest() {
        // SAFETY: it is valid for a read.
        Some(process) => decrement(process, semaphore, Some(unsafe { Deadline::new(clock, point) })),
        // SAFETY: as ours.
        None => unsafe {
            real!("sem_clockwait", fn(*mut sem_t, clockid_t, *const timespec) -> c_int)(
                semaphore, clock, point,
            )
        },
    }
}

/// # Safety
/// As sem_post(3).
#[unsafe(no_mangle)]
unsafe extern "C" fn sem_post(semaphore: *mut sem_t) -> c_int {
    // SAFETY: as ours.
    let post = || unsafe { real!("sem_post", fn(*mut sem_t) -> c_int)(semaphore) };
    match guest() {
        Some(process) => release(process, word_of(semaphore), 1, post),
        None => post(),
    }
}

/// Tries again until it has the lock: who holds it may have lost its turn.
///
/// # Safety
/// As pthread_spin_lock(3).
#[unsafe(no_mangle)]
unsafe extern "C" fn pthread_spin_lock(lock: *mut libc::pthread_spinlock_t) -> c_int {
    if guest().is_none() {
        // SAFETY: as ours.
        return unsafe { real!("pthread_spin_lock", fn(*mut libc::pthread_spinlock_t) -> c_int)(lock) };
    }
    // SAFETY: as ours.
    while unsafe { libc::pthread_spin_trylock(lock) } == libc::EBUSY {
        yield_turn();
    }
    0
}
