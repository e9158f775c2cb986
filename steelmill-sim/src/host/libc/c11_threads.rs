//! C11's threads, locks and condition variables (threads.h): each is the POSIX one, with results of its own.

use std::ffi::{c_int, c_void};

use libc::{pthread_cond_t, pthread_mutex_t, timespec};

use super::conditions::pthread_once;
use crate::machine::threads::ThreadName;

// What glibc's threads.h says.
const SUCCESS: c_int = 0;
const BUSY: c_int = 1;
const ERROR: c_int = 2;
const NOMEM: c_int = 3;
const TIMEDOUT: c_int = 4;

/// What POSIX calls give as what C11's do.
fn result_of(code: c_int) -> c_int {
    match code {
        0 => SUCCESS,
        libc::EBUSY => BUSY,
        libc::ENOMEM => NOMEM,
        libc::ETIMEDOUT => TIMEDOUT,
        _ => ERROR,
    }
}

/// What a thread executes. thrd_exit(3) unwinds it.
type Routine = unsafe extern "C-unwind" fn(*mut c_void) -> c_int;

/// A routine and its argument, for the thread that is to execute it.
struct Start(Routine, *mut c_void);

extern "C-unwind" fn execute(start: *mut c_void) -> *mut c_void {
    // SAFETY: `thrd_create` made it from a box, for this thread.
    let Start(routine, argument) = *unsafe { Box::from_raw(start.cast::<Start>()) };
    // SAFETY: thrd_create(3): the routine may be called with the argument.
    let result = unsafe { routine(argument) };
    std::ptr::without_provenance_mut(result as usize)
}

/// # Safety
/// As thrd_create(3).
#[unsafe(no_mangle)]
unsafe extern "C" fn thrd_create(thread: *mut ThreadName, routine: Routine, argument: *mut c_void) -> c_int {
    let start = Box::into_raw(Box::new(Start(routine, argument)));
    // SAFETY: the name is valid for a write, and the thread takes the box.
    let code = unsafe { create(thread, std::ptr::null(), execute, start.cast()) };
    if code != 0 {
        // SAFETY: no thread has it.
        drop(unsafe { Box::from_raw(start) });
    }
    // EAGAIN: there are too many threads.
    if code == libc::EAGAIN { NOMEM } else { result_of(code) }
}

unsafe extern "C" {
    // With a routine that may be unwound.
    #[link_name = "pthread_create"]
    fn create(
        thread: *mut ThreadName,
        attributes: *const libc::pthread_attr_t,
        routine: extern "C-unwind" fn(*mut c_void) -> *mut c_void,
        argument: *mut c_void,
    ) -> c_int;
}

/// # Safety
/// As thrd_join(3).
#[unsafe(no_mangle)]
unsafe extern "C" fn thrd_join(thread: ThreadName, result: *mut c_int) -> c_int {
    let mut given = std::ptr::null_mut();
    // SAFETY: as ours.
    let code = unsafe { libc::pthread_join(thread, &raw mut given) };
    if code == 0 && !result.is_null() {
        // SAFETY: thrd_join(3): it is valid for a write.
        unsafe { result.write(given.addr() as c_int) };
    }
    result_of(code)
}

/// # Safety
/// As thrd_detach(3).
#[unsafe(no_mangle)]
unsafe extern "C" fn thrd_detach(thread: ThreadName) -> c_int {
    // SAFETY: as ours.
    result_of(unsafe { libc::pthread_detach(thread) })
}

/// # Safety
/// As thrd_exit(3).
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn thrd_exit(result: c_int) -> ! {
    // SAFETY: as ours.
    unsafe { super::threads::pthread_exit(std::ptr::without_provenance_mut(result as usize)) }
}

/// Calls that are a POSIX one with the same arguments. glibc's types are those of POSIX, under other names.
macro_rules! as_posix {
    ($($function:ident($($argument:ident: $type:ty),*) is $posix:ident;)*) => {$(
        /// # Safety
        /// As the POSIX function.
        #[unsafe(no_mangle)]
        unsafe extern "C" fn $function($($argument: $type),*) -> c_int {
            // SAFETY: as ours.
            result_of(unsafe { libc::$posix($($argument),*) })
        }
    )*};
}

as_posix! {
    mtx_lock(lock: *mut pthread_mutex_t) is pthread_mutex_lock;
    mtx_timedlock(lock: *mut pthread_mutex_t, point: *const timespec) is pthread_mutex_timedlock;
    mtx_trylock(lock: *mut pthread_mutex_t) is pthread_mutex_trylock;
    mtx_unlock(lock: *mut pthread_mutex_t) is pthread_mutex_unlock;
    cnd_wait(condition: *mut pthread_cond_t, lock: *mut pthread_mutex_t) is pthread_cond_wait;
    cnd_timedwait(condition: *mut pthread_cond_t, lock: *mut pthread_mutex_t, point: *const timespec) is pthread_cond_timedwait;
    cnd_signal(condition: *mut pthread_cond_t) is pthread_cond_signal;
    cnd_broadcast(condition: *mut pthread_cond_t) is pthread_cond_broadcast;
}

/// # Safety
/// As call_once(3).
#[unsafe(no_mangle)]
unsafe extern "C" fn call_once(once: *mut libc::c_int, routine: extern "C" fn()) {
    // SAFETY: as ours.
    unsafe { pthread_once(once, routine) };
}
