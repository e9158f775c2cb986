//! What a thread asks about itself and its process, and the end of both.

use std::ffi::{c_char, c_int};
use std::io::Write as _;
use std::sync::atomic::{AtomicBool, Ordering};

use super::{answer, guest};
use crate::machine::real::real;
use crate::machine::{program, threads};

/// Whether a guest has called exit(3): `std::process::exit` keeps in a static that the whole process is exiting, and has
/// every later caller wait for that by pause(2).
static HAS_EXITED: AtomicBool = AtomicBool::new(false);

/// # Safety
/// As exit(3). A guest's ends its process; functions registered by atexit(3) belong to the real one.
#[unsafe(no_mangle)]
unsafe extern "C" fn exit(code: c_int) -> ! {
    if let Some(machine) = program::current_machine() {
        HAS_EXITED.store(true, Ordering::Relaxed);
        program::exit(machine, code);
    }
    // SAFETY: as ours.
    unsafe { real!("exit", fn(c_int) -> !)(code) }
}

/// # Safety
/// As pause(2). A second guest that calls `std::process::exit` waits here, and fails its run: the code that it was given is
/// not known. So does the real process, after a run that it made in its own; it ends as one that failed.
#[unsafe(no_mangle)]
unsafe extern "C" fn pause() -> c_int {
    let has_exited = HAS_EXITED.load(Ordering::Relaxed);
    match program::current_machine() {
        Some(machine) if has_exited => {
            machine.fail_run(
                "a second program of this process called `std::process::exit`, which works once in a process: return from \
                 `main` instead",
            );
            program::exit(machine, 1)
        }
        Some(_) => {
            let never = threads::block_on_interruptible(false, std::future::pending::<()>());
            debug_assert!(never.is_none(), "only a signal ends it");
            answer(Err(libc::EINTR))
        }
        None if has_exited => {
            let _ = writeln!(
                std::io::stderr(),
                "a program in the simulation called `std::process::exit`, after which the real process cannot end as it \
                 would have: it exits with code 101. Return from `main` instead."
            );
            // SAFETY: _exit(2) takes any code.
            unsafe { libc::_exit(101) }
        }
        // SAFETY: as ours.
        None => unsafe { real!("pause", fn() -> c_int)() },
    }
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
