//! What a thread asks about itself and its process, and the end of both.

use std::ffi::{c_char, c_int, c_void};

use super::guest;
use crate::machine::real::real;
use crate::machine::{program, threads};

/// # Safety
/// As exit(3). A guest's ends its process; functions registered by atexit(3) belong to the real one.
#[unsafe(no_mangle)]
unsafe extern "C" fn exit(code: c_int) -> ! {
    if let Some(machine) = program::current_machine() {
        program::exit(machine, code);
    }
    // SAFETY: as ours.
    unsafe { real!("exit", fn(c_int) -> !)(code) }
}

/// # Safety
/// As sched_yield(2).
#[unsafe(no_mangle)]
unsafe extern "C" fn sched_yield() -> c_int {
    match guest() {
        Some(_) => {
            threads::yield_turn();
            0
        }
        // SAFETY: as ours.
        None => unsafe { real!("sched_yield", fn() -> c_int)() },
    }
}

/// The kernel's name of the thread would be that of the thread of the seed.
///
/// # Safety
/// As pthread_setname_np(3).
#[unsafe(no_mangle)]
unsafe extern "C" fn pthread_setname_np(thread: libc::pthread_t, name: *const c_char) -> c_int {
    match guest() {
        Some(_) => 0,
        // SAFETY: as ours.
        None => unsafe {
            real!("pthread_setname_np", fn(libc::pthread_t, *const c_char) -> c_int)(thread, name)
        },
    }
}

/// The alternative stack for signals is the kernel thread's, which a guest shares with others.
///
/// # Safety
/// As sigaltstack(2).
#[unsafe(no_mangle)]
unsafe extern "C" fn sigaltstack(new: *const libc::stack_t, old: *mut libc::stack_t) -> c_int {
    if guest().is_some() {
        if !old.is_null() {
            // SAFETY: sigaltstack(2): it is null or valid for a write.
            unsafe {
                old.write(libc::stack_t {
                    ss_sp: std::ptr::null_mut::<c_void>(),
                    ss_flags: libc::SS_DISABLE,
                    ss_size: 0,
                });
            }
        }
        return 0;
    }
    // SAFETY: as ours.
    unsafe { real!("sigaltstack", fn(*const libc::stack_t, *mut libc::stack_t) -> c_int)(new, old) }
}
