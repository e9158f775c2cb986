//! Threads: pthread_create(3), pthread_join(3), pthread_detach(3), pthread_key_create(3), and destructors of thread-locals.

use std::ffi::{c_int, c_void};
use std::future::{Future as _, poll_fn};
use std::pin::pin;
use std::task::Poll;

use steelmill_core::{Error, World as _};

use super::locks::Deadline;
use super::{caller, is_guest, may_block};
use crate::host::audit;
use crate::kernel::waiter::Waiter;
use crate::machine::cluster;
use crate::machine::real::real;
use crate::machine::runtimes;
use crate::machine::thread_data;
use crate::machine::threads::{self, Routine, ThreadName};
use crate::machine::world::SimWorld;
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

/// Joins a thread that ends until a point in time.
fn join_until(thread: ThreadName, result: *mut *mut c_void, deadline: &Deadline) -> c_int {
    let Some(process) = caller().filter(|_| may_block()) else { return libc::EDEADLK };
    let timeout = deadline.left();
    let mut sleep = pin!(SimWorld(process).clock().sleep(timeout.unwrap_or_default()));
    let joined = threads::block_on(poll_fn(|context| {
        let waiter = Waiter::of(context.waker());
        match cluster::with(process.run, |run| run.join_thread(process.machine, thread, waiter)) {
            Some(joined) => Poll::Ready(joined),
            None => match timeout {
                Ok(_) => sleep.as_mut().poll(context).map(|()| Err(libc::ETIMEDOUT)),
                Err(code) => Poll::Ready(Err(code)),
            },
        }
    }));
    match joined {
        Ok(ended) => {
            // SAFETY: pthread_timedjoin_np(3): it is null or valid for a write.
            unsafe { result.as_mut() }.into_iter().for_each(|result| *result = ended.result());
            0
        }
        Err(code) => code,
    }
}

/// # Safety
/// As pthread_tryjoin_np(3).
#[unsafe(no_mangle)]
unsafe extern "C" fn pthread_tryjoin_np(thread: ThreadName, result: *mut *mut c_void) -> c_int {
    if !is_guest() {
        // SAFETY: as ours.
        return unsafe {
            real!("pthread_tryjoin_np", fn(ThreadName, *mut *mut c_void) -> c_int)(thread, result)
        };
    }
    match join_until(thread, result, &Deadline::PAST) {
        libc::ETIMEDOUT => {
            threads::called_in_vain();
            libc::EBUSY
        }
        code => code,
    }
}

/// # Safety
/// As pthread_timedjoin_np(3).
#[unsafe(no_mangle)]
unsafe extern "C" fn pthread_timedjoin_np(
    thread: ThreadName,
    result: *mut *mut c_void,
    point: *const libc::timespec,
) -> c_int {
    // SAFETY: as ours.
    unsafe { pthread_clockjoin_np(thread, result, libc::CLOCK_REALTIME, point) }
}

/// # Safety
/// As pthread_clockjoin_np(3).
#[unsafe(no_mangle)]
unsafe extern "C" fn pthread_clockjoin_np(
    thread: ThreadName,
    result: *mut *mut c_void,
    clock: libc::clockid_t,
    point: *const libc::timespec,
) -> c_int {
    if !is_guest() {
        type Join = unsafe extern "C" fn(
            ThreadName,
            *mut *mut c_void,
            libc::clockid_t,
            *const libc::timespec,
        ) -> c_int;
        // SAFETY: as ours.
        return unsafe { real!(@ "pthread_clockjoin_np", Join)(thread, result, clock, point) };
    }
    if point.is_null() {
        // SAFETY: as ours.
        return unsafe { pthread_join(thread, result) };
    }
    // SAFETY: it is valid for a read.
    let deadline = unsafe { Deadline::new(clock, point) };
    join_until(thread, result, &deadline)
}

/// A guest thread ends as when its routine returns. The C library unwinds its stack.
///
/// # Safety
/// As pthread_exit(3).
#[unsafe(no_mangle)]
pub(super) unsafe extern "C-unwind" fn pthread_exit(result: *mut c_void) -> ! {
    threads::exits_with(result);
    type Exit = unsafe extern "C-unwind" fn(*mut c_void) -> !;
    // SAFETY: as ours.
    unsafe { real!(@ "pthread_exit", Exit)(result) }
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
