//! futex(2), which has no function of its own in the C library: it comes by syscall(2).

use std::ffi::{c_int, c_long};
use std::sync::atomic::{AtomicU32, Ordering};

use libc::timespec;

use super::duration_of;
use super::time::now_of;
use crate::machine::cluster::{self, Isolation};
use crate::machine::descriptors::Errno;
use crate::machine::futex::{self, WaitEnd};
use crate::machine::threads;
use crate::machine::world::Process;

/// Whether nothing but the run of a process happens in the real one.
pub(in crate::host) fn has_process(process: Process) -> bool {
    cluster::with(process.run, |run| run.isolation == Isolation::Own)
}

pub(in crate::host) fn is_wake(operation: c_int) -> bool {
    matches!(command_of(operation), libc::FUTEX_WAKE | libc::FUTEX_WAKE_BITSET)
}

fn command_of(operation: c_int) -> c_int {
    operation & !(libc::FUTEX_PRIVATE_FLAG | libc::FUTEX_CLOCK_REALTIME)
}

/// A task wakes guest threads of its machine, besides what real threads its call wakes.
pub(in crate::host) fn wake_guests(word: usize, operation: c_int, count: usize, bits: u32) {
    let bits = match command_of(operation) {
        libc::FUTEX_WAKE => u32::MAX,
        libc::FUTEX_WAKE_BITSET => bits,
        _ => return,
    };
    if let Some(process) = super::caller() {
        cluster::with(process.run, |run| run.wake_futex(process.machine, word, bits, count));
    }
}

/// What a guest's call of futex(2) gives.
///
/// # Safety
/// The arguments are those of futex(2).
pub(in crate::host) unsafe fn futex(
    process: Process,
    word: *const u32,
    operation: c_int,
    value: u32,
    argument: usize,
    other: *const u32,
    bits: u32,
) -> Result<c_long, Errno> {
    let clock = if operation & libc::FUTEX_CLOCK_REALTIME != 0 {
        libc::CLOCK_REALTIME
    } else {
        libc::CLOCK_MONOTONIC
    };
    let command = command_of(operation);
    let machine = process.machine;
    match command {
        libc::FUTEX_WAIT | libc::FUTEX_WAIT_BITSET => {
            let time: *const timespec = std::ptr::with_exposed_provenance(argument);
            // SAFETY: futex(2): null, or valid for a read.
            let time = unsafe { time.as_ref() }.map(duration_of).transpose()?;
            // FUTEX_WAIT's timeout is relative, FUTEX_WAIT_BITSET's a point on its clock.
            let timeout = match (command, time) {
                (libc::FUTEX_WAIT_BITSET, Some(point)) => Some(point.saturating_sub(now_of(clock))),
                (_, time) => time,
            };
            // SAFETY: futex(2): the word is valid, and only ever used atomically.
            if unsafe { AtomicU32::from_ptr(word.cast_mut()) }.load(Ordering::SeqCst) != value {
                return Err(libc::EAGAIN);
            }
            if threads::wakes_spuriously(process) {
                return Ok(0);
            }
            let bits = if command == libc::FUTEX_WAIT { u32::MAX } else { bits };
            match futex::wait(process, word.expose_provenance(), value, bits, timeout) {
                WaitEnd::Woken => Ok(0),
                WaitEnd::TimedOut => Err(libc::ETIMEDOUT),
                WaitEnd::Interrupted => Err(libc::EINTR),
            }
        }
        libc::FUTEX_WAKE | libc::FUTEX_WAKE_BITSET => {
            let bits = if command == libc::FUTEX_WAKE { u32::MAX } else { bits };
            Ok(cluster::with(process.run, |run| run.wake_futex(machine, word.addr(), bits, value as usize))
                as c_long)
        }
        libc::FUTEX_REQUEUE | libc::FUTEX_CMP_REQUEUE => {
            // SAFETY: as above.
            let found = unsafe { AtomicU32::from_ptr(word.cast_mut()) }.load(Ordering::SeqCst);
            if command == libc::FUTEX_CMP_REQUEUE && found != bits {
                return Err(libc::EAGAIN);
            }
            Ok(cluster::with(process.run, |run| {
                run.requeue_futex(machine, word.addr(), other.addr(), value as usize, argument)
            }) as c_long)
        }
        _ => Err(libc::ENOSYS),
    }
}

/// Wakes whoever waits at a word, as a lock of std does it.
#[cfg(test)]
pub(crate) fn wake_at(word: &AtomicU32) -> c_long {
    let operation = libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG;
    // SAFETY: futex(2): the word is valid.
    unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), operation, 1) }
}
