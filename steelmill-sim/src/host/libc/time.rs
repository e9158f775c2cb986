//! Sleeps and timers: nanosleep(2), clock_nanosleep(2), usleep(3), sleep(3); timerfd_create(2).

use std::ffi::{c_int, c_uint};
use std::time::Duration;

use libc::{clockid_t, itimerspec, timespec};
use steelmill_core::World as _;

use super::{answer, caller, duration_of, guest, may_block, process_of};
use crate::kernel::internal::internally;
use crate::machine::cluster;
use crate::machine::descriptors::TimerSetting;
use crate::machine::real::real;
use crate::machine::threads::block_on_interruptible;
use crate::machine::world::{Process, SimWorld};

/// Fails the run of a task, which may not sleep; whether this is one.
fn refuse() -> bool {
    cluster::is_simulating() && !may_block()
}

/// Sleeps; what was left when a signal interrupted it.
pub(super) fn pause(process: Process, duration: Duration) -> Result<(), Duration> {
    let clock = SimWorld(process).clock();
    let began = clock.now();
    let slept = block_on_interruptible(false, clock.sleep(duration));
    slept.ok_or_else(|| duration.saturating_sub(clock.now().duration_since(began)))
}

/// Tells a sleeper what was left.
///
/// # Safety
/// `to` is null or valid for a write.
unsafe fn write_left(to: *mut timespec, left: Duration) {
    if !to.is_null() {
        // SAFETY: as the caller says.
        unsafe { to.write(timespec_of(left)) };
    }
}

fn timespec_of(duration: Duration) -> timespec {
    timespec {
        tv_sec: duration.as_secs() as libc::time_t,
        tv_nsec: libc::c_long::from(duration.subsec_nanos() as i32),
    }
}

pub(super) fn timeval_of(duration: Duration) -> libc::timeval {
    libc::timeval {
        tv_sec: duration.as_secs() as libc::time_t,
        tv_usec: libc::suseconds_t::from(duration.subsec_micros() as i32),
    }
}

pub(super) fn now_of(clock: clockid_t) -> Duration {
    let mut now = timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: it is valid for a write. Ours answers; no time passes between what a call does before and after.
    internally(|| unsafe { libc::clock_gettime(clock, &raw mut now) });
    duration_of(&now).unwrap_or_default()
}

/// # Safety
/// As thrd_sleep(3): -1 if a signal interrupts it, another negative number for another error.
#[unsafe(no_mangle)]
unsafe extern "C" fn thrd_sleep(time: *const timespec, left: *mut timespec) -> c_int {
    // SAFETY: as ours.
    match unsafe { clock_nanosleep(libc::CLOCK_REALTIME, 0, time, left) } {
        0 => 0,
        libc::EINTR => -1,
        _ => -2,
    }
}

/// # Safety
/// As nanosleep(2).
#[unsafe(no_mangle)]
unsafe extern "C" fn nanosleep(time: *const timespec, left: *mut timespec) -> c_int {
    match guest() {
        // SAFETY: nanosleep(2): it is valid for a read.
        Some(process) => answer(duration_of(unsafe { &*time }).and_then(|duration| {
            pause(process, duration).map(|()| 0).map_err(|rest| {
                // SAFETY: nanosleep(2): null, or valid for a write.
                unsafe { write_left(left, rest) };
                libc::EINTR
            })
        })),
        None if refuse() => 0,
        // SAFETY: as ours.
        None => unsafe { real!("nanosleep", fn(*const timespec, *mut timespec) -> c_int)(time, left) },
    }
}

/// Returns the error, instead of setting errno.
///
/// # Safety
/// As clock_nanosleep(2).
#[unsafe(no_mangle)]
unsafe extern "C" fn clock_nanosleep(
    clock: clockid_t,
    flags: c_int,
    time: *const timespec,
    left: *mut timespec,
) -> c_int {
    let Some(process) = guest() else {
        if refuse() {
            return 0;
        }
        // SAFETY: as ours.
        return unsafe {
            real!("clock_nanosleep", fn(clockid_t, c_int, *const timespec, *mut timespec) -> c_int)(
                clock, flags, time, left,
            )
        };
    };
    // SAFETY: clock_nanosleep(2): it is valid for a read.
    let mut duration = match duration_of(unsafe { &*time }) {
        Ok(duration) => duration,
        Err(code) => return code,
    };
    if flags & libc::TIMER_ABSTIME != 0 {
        duration = duration.saturating_sub(now_of(clock));
    }
    match pause(process, duration) {
        Ok(()) => 0,
        Err(rest) => {
            if flags & libc::TIMER_ABSTIME == 0 {
                // SAFETY: clock_nanosleep(2): null, or valid for a write.
                unsafe { write_left(left, rest) };
            }
            libc::EINTR
        }
    }
}

/// # Safety
/// As usleep(3).
#[unsafe(no_mangle)]
unsafe extern "C" fn usleep(micros: c_uint) -> c_int {
    match guest() {
        Some(process) => {
            answer(pause(process, Duration::from_micros(micros.into())).map(|()| 0).map_err(|_| libc::EINTR))
        }
        None if refuse() => 0,
        // SAFETY: as ours.
        None => unsafe { real!("usleep", fn(c_uint) -> c_int)(micros) },
    }
}

/// # Safety
/// As sleep(3).
#[unsafe(no_mangle)]
unsafe extern "C" fn sleep(seconds: c_uint) -> c_uint {
    match guest() {
        Some(process) => {
            let left = pause(process, Duration::from_secs(seconds.into())).err().unwrap_or_default();
            left.as_secs() as c_uint
        }
        None if refuse() => 0,
        // SAFETY: as ours.
        None => unsafe { real!("sleep", fn(c_uint) -> c_uint)(seconds) },
    }
}

/// # Safety
/// As timerfd_create(2).
#[unsafe(no_mangle)]
unsafe extern "C" fn timerfd_create(clock: c_int, flags: c_int) -> c_int {
    match caller() {
        Some(process) => answer(match clock {
            libc::CLOCK_MONOTONIC | libc::CLOCK_BOOTTIME | libc::CLOCK_REALTIME => {
                cluster::with(process.run, |run| {
                    run.open_timer(process, clock, flags & libc::TFD_NONBLOCK != 0)
                })
            }
            _ => Err(libc::EINVAL),
        }),
        // SAFETY: as ours.
        None => unsafe { real!("timerfd_create", fn(c_int, c_int) -> c_int)(clock, flags) },
    }
}

fn itimerspec_of(setting: TimerSetting) -> itimerspec {
    itimerspec { it_interval: timespec_of(setting.interval), it_value: timespec_of(setting.left) }
}

/// # Safety
/// As timerfd_settime(2).
#[unsafe(no_mangle)]
unsafe extern "C" fn timerfd_settime(
    fd: c_int,
    flags: c_int,
    new: *const itimerspec,
    old: *mut itimerspec,
) -> c_int {
    let Some(process) = process_of(fd) else {
        // SAFETY: as ours.
        return unsafe {
            real!("timerfd_settime", fn(c_int, c_int, *const itimerspec, *mut itimerspec) -> c_int)(
                fd, flags, new, old,
            )
        };
    };
    // SAFETY: timerfd_settime(2): it is valid for a read.
    let new = unsafe { &*new };
    answer(duration_of(&new.it_value).and_then(|value| {
        let interval = duration_of(&new.it_interval)?;
        let left = match flags & libc::TFD_TIMER_ABSTIME {
            0 => value,
            _ => {
                value.saturating_sub(now_of(cluster::with(process.run, |run| run.timer_clock(process, fd))?))
            }
        };
        // A value of zero disarms it.
        let new = (value != Duration::ZERO).then_some(TimerSetting { left, interval });
        let before = cluster::with(process.run, |run| run.set_timer(process, fd, new))?;
        if !old.is_null() {
            // SAFETY: timerfd_settime(2): null, or valid for a write.
            unsafe { old.write(itimerspec_of(before)) };
        }
        Ok(0)
    }))
}

/// # Safety
/// As timerfd_gettime(2).
#[unsafe(no_mangle)]
unsafe extern "C" fn timerfd_gettime(fd: c_int, setting: *mut itimerspec) -> c_int {
    match process_of(fd) {
        Some(process) => {
            answer(cluster::with(process.run, |run| run.timer_setting(process, fd)).map(|found| {
                // SAFETY: timerfd_gettime(2): it is valid for a write.
                unsafe { setting.write(itimerspec_of(found)) };
                0
            }))
        }
        // SAFETY: as ours.
        None => unsafe { real!("timerfd_gettime", fn(c_int, *mut itimerspec) -> c_int)(fd, setting) },
    }
}
