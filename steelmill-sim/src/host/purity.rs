//! Interposition of libc: the system's clocks and entropy are virtual inside a run.
//!
//! On Linux with glibc the functions that std, `rand` and most crates call are defined here, in the program itself, which
//! the linker prefers to the C library's. On a simulating thread, entropy comes from the seed, and clocks from the machine
//! whose task runs. On every other thread they call the C library. Sockets, threads and the rest are in
//! [`libc`](crate::host::libc). An [audit](crate::host::audit) records each call.
//!
//! Not interposed: the instruction `rdrand`; `rdtsc` but for [programs](crate::host::counter) in a process of their own; and `futures::select!`, whose random
//! generator is seeded by a counter in a `static`. clippy bans the last, and verification finds any that matter.
//!
//! std draws the keys of its hash maps, and `rand::rng()` its state, once per thread: each seed needs a fresh thread.
#![allow(unsafe_code, reason = "standing in for functions of the C library; the argument stands beside each")]

/// Whether a simulation is isolated from the system's clocks and entropy on this platform: on Linux with glibc.
pub const fn is_pure() -> bool {
    cfg!(all(target_os = "linux", target_env = "gnu"))
}

/// Makes std draw this thread's hash keys now, from the seed, and not at a time that depends on the run's code.
#[expect(clippy::disallowed_types, reason = "so that others may be made later and repeat")]
pub(crate) fn draw_hash_keys() {
    std::hint::black_box(std::hash::RandomState::new());
}

#[cfg(all(target_os = "linux", target_env = "gnu", target_arch = "x86_64"))]
pub(crate) use linux::monotonic_nanos;

#[cfg(all(target_os = "linux", target_env = "gnu"))]
mod linux {
    use std::arch::naked_asm;
    use std::ffi::{c_int, c_long, c_uint, c_void};
    use std::time::SystemTime;

    use crate::host::audit;
    use crate::host::libc as calls;
    use crate::kernel::internal::is_internal;
    use crate::machine::cluster::{self, Cluster};
    use crate::machine::hosts::SCENARIO;
    use crate::machine::real::real;
    use crate::machine::threads;
    use crate::schema::system_use::SystemCall;

    fn machine(run: &Cluster) -> u32 {
        run.kernel.tasks.current_machine().unwrap_or(SCENARIO)
    }

    /// Fills a buffer from the seed; `false` outside of a run.
    ///
    /// # Safety
    /// `buffer` is valid for a write of `length` bytes.
    unsafe fn fill(buffer: *mut c_void, length: usize) -> bool {
        if !cluster::is_simulating() || buffer.is_null() {
            return false;
        }
        audit::note(SystemCall::Entropy);
        // SAFETY: the caller guarantees that `length` bytes may be written; once written they may be borrowed.
        let bytes = unsafe {
            buffer.cast::<u8>().write_bytes(0, length);
            std::slice::from_raw_parts_mut(buffer.cast::<u8>(), length)
        };
        let filled = cluster::with_current(|run| match run.hosts.len() {
            0 => run.fill_before_machines(bytes),
            _ => run.fill(machine(run), bytes),
        });
        filled.is_some()
    }

    /// Replaces getrandom(2).
    ///
    /// # Safety
    /// As getrandom(2): `buffer` is valid for a write of `length` bytes.
    #[unsafe(no_mangle)]
    unsafe extern "C" fn getrandom(buffer: *mut c_void, length: usize, flags: c_uint) -> isize {
        // SAFETY: as ours.
        if unsafe { fill(buffer, length) } {
            return length as isize;
        }
        // SAFETY: as ours.
        unsafe { real!("getrandom", fn(*mut c_void, usize, c_uint) -> isize)(buffer, length, flags) }
    }

    /// Replaces getentropy(3).
    ///
    /// # Safety
    /// As getentropy(3): `buffer` is valid for a write of `length` bytes.
    #[unsafe(no_mangle)]
    unsafe extern "C" fn getentropy(buffer: *mut c_void, length: usize) -> c_int {
        // SAFETY: as ours.
        if unsafe { fill(buffer, length) } {
            return 0;
        }
        // SAFETY: as ours.
        unsafe { real!("getentropy", fn(*mut c_void, usize) -> c_int)(buffer, length) }
    }

    /// Replaces arc4random(3), which asks the kernel past getrandom(2).
    #[unsafe(no_mangle)]
    extern "C" fn arc4random() -> u32 {
        let mut number = 0u32;
        // SAFETY: it is valid for a write of its size.
        unsafe { arc4random_buf((&raw mut number).cast(), size_of::<u32>()) };
        number
    }

    /// Replaces arc4random_buf(3).
    ///
    /// # Safety
    /// As arc4random_buf(3): `buffer` is valid for a write of `length` bytes.
    #[unsafe(no_mangle)]
    unsafe extern "C" fn arc4random_buf(buffer: *mut c_void, length: usize) {
        let mut filled = 0;
        while filled < length {
            // SAFETY: it is within the buffer; outside of a simulation, too, ours is asked, which asks the kernel.
            let more = unsafe { getrandom(buffer.byte_add(filled), length - filled, 0) };
            filled += usize::try_from(more).unwrap_or(0); // interrupted by a signal
        }
    }

    /// Replaces arc4random_uniform(3).
    #[unsafe(no_mangle)]
    extern "C" fn arc4random_uniform(below: u32) -> u32 {
        // Each value has as many numbers as the others below this.
        let end = u64::from(u32::MAX) + 1;
        let even = end - end % u64::from(below.max(1));
        loop {
            let number = arc4random();
            if u64::from(number) < even {
                return number % below.max(1);
            }
        }
    }

    /// Replaces syscall(2), by which getrandom 0.2 reads entropy; `call` does the work.
    ///
    /// The C library's function is variadic, which a Rust function cannot be. But on these processors integer arguments
    /// are passed alike to variadic and other functions, however many the callee reads: six or eight in registers, the
    /// rest in order on the stack (System V ABI for AMD64 §3.2.3; AAPCS64 §6.4). So this jumps to a function of seven,
    /// which finds its arguments in place; those that were not passed are arbitrary, and the kernel ignores them.
    ///
    /// # Safety
    /// As syscall(2): the arguments are what the call of that number takes.
    #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
    #[unsafe(no_mangle)]
    #[unsafe(naked)]
    unsafe extern "C" fn syscall() -> c_long {
        #[cfg(target_arch = "x86_64")]
        naked_asm!("jmp {call}", call = sym call);
        #[cfg(target_arch = "aarch64")]
        naked_asm!("b {call}", call = sym call);
    }

    /// # Safety
    /// As syscall(2).
    #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
    unsafe extern "C" fn call(
        number: c_long,
        a: c_long,
        b: c_long,
        c: c_long,
        d: c_long,
        e: c_long,
        f: c_long,
    ) -> c_long {
        type Call = unsafe extern "C" fn(c_long, ...) -> c_long;
        // SAFETY: getrandom(2)'s arguments are these; the caller kept its contract.
        if number == libc::SYS_getrandom && unsafe { fill(a as *mut c_void, b as usize) } {
            return b;
        }
        if number == libc::SYS_clock_gettime {
            // SAFETY: as above, for clock_gettime(2).
            return unsafe { clock_gettime(a as libc::clockid_t, b as *mut libc::timespec) }.into();
        }
        // A lock of the simulation's own is one of real threads, those of other seeds.
        let is_of_program = number == libc::SYS_futex && !cluster::is_borrowed() && !is_internal();
        if is_of_program && let Some(process) = threads::process() {
            let word = std::ptr::with_exposed_provenance(a as usize);
            let other = std::ptr::with_exposed_provenance(e as usize);
            if !calls::futex::has_process(process) && calls::futex::is_wake(b as c_int) {
                // SAFETY: as ours. Real threads may wait there, too, if it is a static's.
                unsafe { real!(@ "syscall", Call)(number, a, b, c, d, e, f) };
            }
            // SAFETY: futex(2)'s arguments are these; the caller kept its contract.
            return calls::answer(unsafe {
                calls::futex::futex(process, word, b as c_int, c as u32, d as usize, other, f as u32)
            });
        }
        if is_of_program && cluster::is_simulating() {
            calls::futex::wake_guests(a as usize, b as c_int, c as usize, f as u32);
        }
        if cluster::is_simulating() {
            if let Some(code) = calls::refused::refusal(number) {
                return calls::answer(Err(code));
            }
            // The calls of guests' own code, by their numbers: as those past the C library.
            #[cfg(target_arch = "x86_64")]
            if threads::process().is_some() && number != libc::SYS_futex {
                let arguments = [a, b, c, d, e, f].map(|argument| argument as usize);
                // SAFETY: as ours.
                let result = unsafe { crate::host::raw_calls::answer(number, arguments) };
                return calls::answer(if result < 0 { Err(-result as c_int) } else { Ok(result as c_long) });
            }
        }
        // SAFETY: as ours; it takes up to six arguments beside the number.
        unsafe { real!(@ "syscall", Call)(number, a, b, c, d, e, f) }
    }

    /// Replaces clock_gettime(2).
    ///
    /// # Safety
    /// As clock_gettime(2): `time` is valid for a write.
    #[unsafe(no_mangle)]
    unsafe extern "C" fn clock_gettime(clock: libc::clockid_t, time: *mut libc::timespec) -> c_int {
        if cluster::is_simulating()
            && let Some(now) = read(clock)
        {
            let now = libc::timespec {
                tv_sec: (now / SECOND) as libc::time_t,
                tv_nsec: (now % SECOND) as libc::c_long,
            };
            // SAFETY: the caller guarantees that it may be written.
            unsafe { time.write(now) };
            return 0;
        }
        // SAFETY: as ours.
        unsafe { real!("clock_gettime", fn(libc::clockid_t, *mut libc::timespec) -> c_int)(clock, time) }
    }

    /// Replaces timespec_get(3), which reads the clock past clock_gettime(2).
    ///
    /// # Safety
    /// As timespec_get(3): `time` is valid for a write.
    #[unsafe(no_mangle)]
    unsafe extern "C" fn timespec_get(time: *mut libc::timespec, base: c_int) -> c_int {
        const TIME_UTC: c_int = 1;
        // SAFETY: as ours.
        let is_read = base == TIME_UTC && unsafe { libc::clock_gettime(libc::CLOCK_REALTIME, time) } == 0;
        if is_read { base } else { 0 }
    }

    /// Replaces gettimeofday(2).
    ///
    /// # Safety
    /// As gettimeofday(2): `time` is null or valid for a write.
    #[unsafe(no_mangle)]
    unsafe extern "C" fn gettimeofday(time: *mut libc::timeval, zone: *mut c_void) -> c_int {
        if cluster::is_simulating()
            && !time.is_null()
            && let Some(now) = read(libc::CLOCK_REALTIME)
        {
            let now = libc::timeval {
                tv_sec: (now / SECOND) as libc::time_t,
                tv_usec: (now % SECOND / 1000) as libc::suseconds_t,
            };
            // SAFETY: the caller guarantees that it may be written.
            unsafe { time.write(now) };
            return 0;
        }
        // SAFETY: as ours.
        unsafe { real!("gettimeofday", fn(*mut libc::timeval, *mut c_void) -> c_int)(time, zone) }
    }

    /// Replaces time(2).
    ///
    /// # Safety
    /// As time(2): `time` is null or valid for a write.
    #[unsafe(no_mangle)]
    unsafe extern "C" fn time(time: *mut libc::time_t) -> libc::time_t {
        if cluster::is_simulating()
            && let Some(now) = read(libc::CLOCK_REALTIME)
        {
            let now = (now / SECOND) as libc::time_t;
            if !time.is_null() {
                // SAFETY: the caller guarantees that it may be written.
                unsafe { time.write(now) };
            }
            return now;
        }
        // SAFETY: as ours.
        unsafe { real!("time", fn(*mut libc::time_t) -> libc::time_t)(time) }
    }

    /// A machine's monotonic clock at the beginning of a run, in nanoseconds: a day of uptime, so that a program can subtract from it.
    const UPTIME: u64 = 24 * 3600 * SECOND;

    /// In nanoseconds.
    const SECOND: u64 = 1_000_000_000;

    /// A machine's monotonic clock, as a number of nanoseconds.
    #[cfg(target_arch = "x86_64")]
    pub(crate) fn monotonic_nanos() -> u64 {
        simulated(libc::CLOCK_MONOTONIC).unwrap_or_default()
    }

    /// A program reads a clock: nanoseconds.
    #[inline]
    fn read(clock: libc::clockid_t) -> Option<u64> {
        threads::clock_is_read();
        simulated(clock)
    }

    #[inline(always)]
    fn simulated(clock: libc::clockid_t) -> Option<u64> {
        match clock {
            libc::CLOCK_MONOTONIC
            | libc::CLOCK_MONOTONIC_COARSE
            | libc::CLOCK_MONOTONIC_RAW
            | libc::CLOCK_BOOTTIME => {
                audit::note(SystemCall::MonotonicClock);
                let passed = match threads::current() {
                    Some(guest) if clock != libc::CLOCK_BOOTTIME => guest.now(),
                    _ => passed(clock),
                };
                Some(UPTIME + passed)
            }
            // A kernel that nobody told of leap seconds has no offset of TAI.
            libc::CLOCK_REALTIME | libc::CLOCK_REALTIME_COARSE | libc::CLOCK_TAI => {
                audit::note(SystemCall::WallClock);
                let now = cluster::with_current(|run| run.wall(machine(run)))?;
                u64::try_from(now.duration_since(SystemTime::UNIX_EPOCH).ok()?.as_nanos()).ok()
            }
            // Code takes no time.
            libc::CLOCK_PROCESS_CPUTIME_ID | libc::CLOCK_THREAD_CPUTIME_ID => Some(0),
            _ => None,
        }
    }

    /// How much a machine's clock has passed since the run began, in nanoseconds: nothing, before there is a machine.
    fn passed(clock: libc::clockid_t) -> u64 {
        let passed = cluster::with_current(|run| match run.hosts.len() {
            // A clock of a runtime that is nobody's yet begins before all others.
            _ if run.runtimes.is_changing() => 0,
            0 => 0,
            _ if clock == libc::CLOCK_BOOTTIME => run.boot_now(machine(run)),
            _ => run.local_now(machine(run)),
        });
        passed.unwrap_or(0)
    }
}
