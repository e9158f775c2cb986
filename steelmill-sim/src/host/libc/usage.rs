//! What a process has used, and what its machine has: getrusage(2), times(2), clock(3), sysinfo(2), getloadavg(3).
//!
//! Code takes no time in a simulation, so no process has used any of a processor's.

use std::ffi::{c_double, c_int};

use libc::{clock_t, rusage, sysinfo as Information, tms};

use super::time::now_of;
use super::{answer, caller};
use crate::machine::proc::{FREE, MEMORY};
use crate::machine::real::real;

/// # Safety
/// As getrusage(2).
#[unsafe(no_mangle)]
unsafe extern "C" fn getrusage(who: c_int, usage: *mut rusage) -> c_int {
    match caller() {
        Some(_) if matches!(who, libc::RUSAGE_SELF | libc::RUSAGE_CHILDREN | libc::RUSAGE_THREAD) => {
            // SAFETY: getrusage(2): it is valid for a write; zeros are one.
            unsafe { usage.write_bytes(0, 1) };
            0
        }
        Some(_) => answer(Err(libc::EINVAL)),
        // SAFETY: as ours.
        None => unsafe { real!("getrusage", fn(c_int, *mut rusage) -> c_int)(who, usage) },
    }
}

/// # Safety
/// As times(2).
#[unsafe(no_mangle)]
unsafe extern "C" fn times(used: *mut tms) -> clock_t {
    /// What sysconf(_SC_CLK_TCK) gives on Linux.
    const TICK_MILLIS: u128 = 10;
    if caller().is_none() {
        // SAFETY: as ours.
        return unsafe { real!("times", fn(*mut tms) -> clock_t)(used) };
    }
    if !used.is_null() {
        // SAFETY: times(2): it is valid for a write; zeros are one.
        unsafe { used.write_bytes(0, 1) };
    }
    (now_of(libc::CLOCK_MONOTONIC).as_millis() / TICK_MILLIS) as clock_t
}

/// # Safety
/// As clock(3).
#[unsafe(no_mangle)]
unsafe extern "C" fn clock() -> clock_t {
    match caller() {
        Some(_) => 0,
        // SAFETY: as ours.
        None => unsafe { real!("clock", fn() -> clock_t)() },
    }
}

/// # Safety
/// As sysinfo(2).
#[unsafe(no_mangle)]
unsafe extern "C" fn sysinfo(information: *mut Information) -> c_int {
    if caller().is_none() {
        // SAFETY: as ours.
        return unsafe { real!("sysinfo", fn(*mut Information) -> c_int)(information) };
    }
    // SAFETY: sysinfo(2): it is valid for a write; zeros are one.
    let information = unsafe {
        information.write_bytes(0, 1);
        &mut *information
    };
    information.uptime = now_of(libc::CLOCK_MONOTONIC).as_secs() as libc::c_long;
    (information.totalram, information.freeram, information.mem_unit) = (MEMORY, FREE, 1);
    information.procs = 1;
    0
}

/// # Safety
/// As getloadavg(3).
#[unsafe(no_mangle)]
unsafe extern "C" fn getloadavg(loads: *mut c_double, count: c_int) -> c_int {
    if caller().is_none() {
        // SAFETY: as ours.
        return unsafe { real!("getloadavg", fn(*mut c_double, c_int) -> c_int)(loads, count) };
    }
    let count = count.clamp(0, 3);
    // SAFETY: getloadavg(3): so many may be written; zeros are numbers.
    unsafe { loads.write_bytes(0, count as usize) };
    count
}
