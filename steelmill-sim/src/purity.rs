//! What would leak the real world into a run: the system's clock and its entropy.
//!
//! On Linux with glibc the calls that std, `rand` and most crates make are defined here, in the program itself, which
//! the linker prefers to the C library's. On a thread that simulates they answer from the seed and from the virtual
//! clock of the machine whose task runs; on every other thread they go to the C library untouched.
//!
//! std draws the keys of its hash maps once for a thread, and `rand::rng()` its state. Those outlive a run, so a
//! campaign runs every seed on a thread of its own.
#![allow(unsafe_code, reason = "standing in for functions of the C library; the argument stands beside each")]

/// Whether, on this platform, the system's clock and entropy answer from the seed in a simulation.
pub const fn is_pure() -> bool {
    cfg!(all(target_os = "linux", target_env = "gnu"))
}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
mod linux {
    use std::ffi::{CStr, c_int, c_uint, c_void};
    use std::sync::atomic::{AtomicPtr, Ordering};
    use std::time::{Duration, SystemTime};

    use crate::hosts::SCENARIO;
    use crate::run::{self, Run};

    /// The C library's own function of a name.
    fn real(cache: &AtomicPtr<c_void>, name: &CStr) -> *mut c_void {
        let known = cache.load(Ordering::Relaxed);
        if !known.is_null() {
            return known;
        }
        // SAFETY: `name` ends with a zero; RTLD_NEXT looks behind this program, so it does not find our stand-in.
        let found = unsafe { libc::dlsym(libc::RTLD_NEXT, name.as_ptr()) };
        assert!(!found.is_null(), "the C library has no {name:?}");
        cache.store(found, Ordering::Relaxed);
        found
    }

    fn machine(run: &Run) -> u32 {
        run.tasks.current_machine().unwrap_or(SCENARIO)
    }

    /// Stands in for getrandom(2).
    ///
    /// # Safety
    /// As getrandom(2): `buffer` is valid for a write of `length` bytes.
    #[unsafe(no_mangle)]
    unsafe extern "C" fn getrandom(buffer: *mut c_void, length: usize, flags: c_uint) -> isize {
        if run::is_simulating() && !buffer.is_null() {
            // SAFETY: the caller says that so many bytes may be written; once written they may be borrowed.
            let bytes = unsafe {
                buffer.cast::<u8>().write_bytes(0, length);
                std::slice::from_raw_parts_mut(buffer.cast::<u8>(), length)
            };
            let filled = run::with_current(|run| match run.hosts.len() {
                0 => run.fill_before_machines(bytes),
                _ => run.fill(machine(run), bytes),
            });
            if filled.is_some() {
                return length as isize;
            }
        }
        static REAL: AtomicPtr<c_void> = AtomicPtr::new(std::ptr::null_mut());
        // SAFETY: the C library's function of this name has this type, and the caller kept its contract.
        unsafe {
            let real: unsafe extern "C" fn(*mut c_void, usize, c_uint) -> isize =
                std::mem::transmute(real(&REAL, c"getrandom"));
            real(buffer, length, flags)
        }
    }

    /// Stands in for clock_gettime(2).
    ///
    /// # Safety
    /// As clock_gettime(2): `time` is valid for a write.
    #[unsafe(no_mangle)]
    unsafe extern "C" fn clock_gettime(clock: libc::clockid_t, time: *mut libc::timespec) -> c_int {
        if run::is_simulating()
            && let Some(now) = simulated(clock)
        {
            let now = libc::timespec {
                tv_sec: now.as_secs() as libc::time_t,
                tv_nsec: libc::c_long::from(now.subsec_nanos() as i32),
            };
            // SAFETY: the caller says that it may be written.
            unsafe { time.write(now) };
            return 0;
        }
        static REAL: AtomicPtr<c_void> = AtomicPtr::new(std::ptr::null_mut());
        // SAFETY: the C library's function of this name has this type, and the caller kept its contract.
        unsafe {
            let real: unsafe extern "C" fn(libc::clockid_t, *mut libc::timespec) -> c_int =
                std::mem::transmute(real(&REAL, c"clock_gettime"));
            real(clock, time)
        }
    }

    /// What a machine's monotonic clock shows when a run begins: as if it had been up for a day, so that a program
    /// can subtract from it.
    const UPTIME: Duration = Duration::from_secs(24 * 3600);

    fn simulated(clock: libc::clockid_t) -> Option<Duration> {
        match clock {
            libc::CLOCK_MONOTONIC
            | libc::CLOCK_MONOTONIC_COARSE
            | libc::CLOCK_MONOTONIC_RAW
            | libc::CLOCK_BOOTTIME => {
                // Before the run has a machine its clock shows zero.
                let passed = run::with_current(|run| match run.hosts.len() {
                    0 => 0,
                    _ => run.local_now(machine(run)),
                });
                Some(UPTIME + Duration::from_nanos(passed.unwrap_or(0)))
            }
            libc::CLOCK_REALTIME | libc::CLOCK_REALTIME_COARSE => {
                run::with_current(|run| run.wall(machine(run)))?.duration_since(SystemTime::UNIX_EPOCH).ok()
            }
            _ => None, // CPU time is real, and nobody's business
        }
    }
}
