//! Threads: pthread_create(3), pthread_join(3), pthread_detach(3), pthread_key_create(3), and destructors of thread-locals.

use std::ffi::{c_int, c_void};

use steelmill_core::Error;

use super::{caller, is_guest, may_block};
use crate::host::audit;
use crate::machine::cluster;
use crate::machine::real::real;
use crate::machine::runtimes;
use crate::machine::thread_data;
use crate::machine::threads::{self, Routine, ThreadName};
use crate::schema::outcome::Cause;
use crate::schema::system_use::SystemCall;

/// On the thread of a seed outside of tasks a real thread is started, and the run may not repeat.
///
/// # Safety
/// As pthread_create(3).
#[unsafe(no_mangle)]
unsafe extern "C" fn pthread_create(
    thread: *mut ThreadName,
    attributes: *const libc::pthread_attr_t,
    routine: Routine,
    argument: *mut c_void,
) -> c_int {
    if let Some(process) = runtimes::caller_for_thread() {
        if !is_guest() {
            audit::note(SystemCall::Thread);
        }
        let setup = match cluster::with(process.run, |run| run.guest_setup.clone()) {
            Ok(setup) => setup,
            Err(reason) => {
                cluster::with(process.run, |run| run.kernel.fail(Cause::Error(Error::msg(reason))));
                return libc::EAGAIN;
            }
        };
        return match threads::spawn(process, "thread", attributes, routine, argument, setup) {
            Ok(name) => {
                // SAFETY: pthread_create(3): it is valid for a write.
                unsafe { thread.write(name) };
                0
            }
            Err(error) => error.raw_os_error().unwrap_or(libc::EAGAIN),
        };
    }
    if cluster::is_simulating() {
        audit::note(SystemCall::Thread);
        cluster::with_current(|run| run.kernel.impure = true);
    }
    let create = real!(
        "pthread_create",
        fn(*mut ThreadName, *const libc::pthread_attr_t, Routine, *mut c_void) -> c_int
    );
    // SAFETY: as ours.
    unsafe { create(thread, attributes, routine, argument) }
}

/// # Safety
/// As pthread_join(3).
#[unsafe(no_mangle)]
unsafe extern "C" fn pthread_join(thread: ThreadName, result: *mut *mut c_void) -> c_int {
    let Some(process) = caller() else {
        // SAFETY: as ours.
        return unsafe { real!("pthread_join", fn(ThreadName, *mut *mut c_void) -> c_int)(thread, result) };
    };
    if !may_block() {
        return libc::EDEADLK;
    }
    match threads::block_until(|run, waiter| run.join_thread(process.machine, thread, waiter)) {
        Ok(ended) => {
            if !result.is_null() {
                // SAFETY: pthread_join(3): it is null or valid for a write.
                unsafe { result.write(ended.result()) };
            }
            0
        }
        Err(code) => code,
    }
}

/// # Safety
/// As pthread_detach(3).
#[unsafe(no_mangle)]
unsafe extern "C" fn pthread_detach(thread: ThreadName) -> c_int {
    match caller() {
        Some(process) => {
            let detached = cluster::with(process.run, |run| run.detach_thread(process.machine, thread));
            if detached.is_some() { 0 } else { libc::ESRCH }
        }
        // SAFETY: as ours.
        None => unsafe { real!("pthread_detach", fn(ThreadName) -> c_int)(thread) },
    }
}

/// The C library keeps the keys. Their values are destroyed when a guest thread ends.
///
/// # Safety
/// As pthread_key_create(3).
#[unsafe(no_mangle)]
unsafe extern "C" fn pthread_key_create(
    key: *mut libc::pthread_key_t,
    destructor: Option<thread_data::Destructor>,
) -> c_int {
    type Destructor = Option<thread_data::Destructor>;
    let create = real!("pthread_key_create", fn(*mut libc::pthread_key_t, Destructor) -> c_int);
    // SAFETY: as ours.
    let result = unsafe { create(key, destructor) };
    if result == 0 {
        // SAFETY: the C library has written it.
        thread_data::note_key(unsafe { *key }, destructor);
    }
    result
}

/// # Safety
/// As pthread_key_delete(3).
#[unsafe(no_mangle)]
unsafe extern "C" fn pthread_key_delete(key: libc::pthread_key_t) -> c_int {
    thread_data::note_key(key, None);
    // SAFETY: as ours.
    unsafe { real!("pthread_key_delete", fn(libc::pthread_key_t) -> c_int)(key) }
}

/// Registers a destructor of a thread-local (Itanium C++ ABI). A guest's run when its thread ends, within the simulation.
///
/// # Safety
/// As the compiler's runtime calls it.
#[unsafe(no_mangle)]
unsafe extern "C" fn __cxa_thread_atexit_impl(
    destroy: unsafe extern "C" fn(*mut u8),
    object: *mut u8,
    library: *mut u8,
) -> c_int {
    if threads::at_thread_exit(destroy, object) {
        return 0;
    }
    type Destroy = unsafe extern "C" fn(*mut u8);
    // SAFETY: as ours.
    unsafe {
        real!("__cxa_thread_atexit_impl", fn(Destroy, *mut u8, *mut u8) -> c_int)(destroy, object, library)
    }
}
