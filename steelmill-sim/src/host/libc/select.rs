//! Waiting for many descriptors: select(2).

use std::ffi::{c_int, c_ulong};
use std::time::Duration;

use libc::{fd_set, timespec, timeval};

use super::epoll::wait;
use super::time::{now_of, timeval_of};
use super::{answer, caller, duration_of};
use crate::kernel::tasks::WaitsFor;
use crate::kernel::waiter::Waiter;
use crate::machine::descriptors::Errno;
use crate::machine::real::real;
use crate::machine::threads::current_task;
use crate::machine::world::Process;

/// What makes a descriptor ready for each of the three sets (the notes of select(2) on poll's).
const READY: [c_int; 3] = [
    libc::EPOLLIN | libc::EPOLLRDNORM | libc::EPOLLRDBAND | libc::EPOLLHUP | libc::EPOLLERR,
    libc::EPOLLOUT | libc::EPOLLWRNORM | libc::EPOLLWRBAND | libc::EPOLLERR,
    libc::EPOLLPRI,
];

/// A set has a bit for each descriptor, in words of so many.
const WORD: usize = c_ulong::BITS as usize;

/// The three sets of a call, for reading, writing and exceptions. Each is null or as long as `end` descriptors take.
struct Sets {
    all: [*mut c_ulong; 3],
    end: usize,
}

/// A descriptor, and in which sets it is.
#[derive(Clone, Copy)]
struct Watched {
    fd: usize,
    is_in: [bool; 3],
}

impl Sets {
    fn new(end: c_int, all: [*mut fd_set; 3]) -> Result<Self, Errno> {
        let end = usize::try_from(end).map_err(|_| libc::EINVAL)?;
        Ok(Self { all: all.map(<*mut fd_set>::cast), end })
    }

    /// What is in any of them.
    ///
    /// # Safety
    /// The sets are valid for reads.
    unsafe fn watched(&self) -> Vec<Watched> {
        // SAFETY: as the caller says: the descriptor is below the end.
        let has = |set: *mut c_ulong, fd: usize| unsafe {
            !set.is_null() && *set.add(fd / WORD) & 1 << (fd % WORD) != 0
        };
        let all = (0..self.end).map(|fd| Watched { fd, is_in: self.all.map(|set| has(set, fd)) });
        all.filter(|watched| watched.is_in != [false; 3]).collect()
    }

    /// Replaces what they hold.
    ///
    /// # Safety
    /// The sets are valid for writes.
    unsafe fn set(&self, ready: &[Watched]) {
        for (at, set) in self.all.into_iter().enumerate().filter(|(_, set)| !set.is_null()) {
            // SAFETY: as the caller says: both are within the words of what is below the end.
            unsafe {
                set.write_bytes(0, self.end.div_ceil(WORD));
                for one in ready.iter().filter(|one| one.is_in[at]) {
                    *set.add(one.fd / WORD) |= 1 << (one.fd % WORD);
                }
            }
        }
    }
}

/// Waits until a descriptor is ready; how often one of them is.
///
/// # Safety
/// The sets are valid for reads and writes.
unsafe fn await_selected(process: Process, sets: &Sets, timeout: Option<Duration>) -> Result<c_int, Errno> {
    // SAFETY: as the caller says.
    let watched = unsafe { sets.watched() };
    let task = current_task();
    let found = wait(process, timeout, |run, is_patient| {
        let mut ready = Vec::new();
        for Watched { fd, is_in } in watched.iter().copied() {
            let (id, _) = run.descriptors.file(process, fd as c_int)?;
            if is_patient {
                run.await_file(id, || Waiter::Task(task));
            }
            let readiness = run.readiness(id);
            let mut is_ready = is_in;
            for (is_ready, by) in is_ready.iter_mut().zip(READY) {
                *is_ready &= readiness & by as u32 != 0;
            }
            ready.push(Watched { fd, is_in: is_ready });
        }
        if is_patient {
            run.kernel.waits_for(WaitsFor::Epoll);
        }
        let is_any = ready.iter().any(|one| one.is_in != [false; 3]);
        Ok(is_any.then_some(ready))
    });
    let ready = found?.unwrap_or_default();
    // SAFETY: as the caller says.
    unsafe { sets.set(&ready) };
    Ok(ready.iter().flat_map(|one| one.is_in).filter(|is_in| *is_in).count() as c_int)
}

/// # Safety
/// As select(2).
#[unsafe(no_mangle)]
unsafe extern "C" fn select(
    end: c_int,
    reads: *mut fd_set,
    writes: *mut fd_set,
    exceptions: *mut fd_set,
    timeout: *mut timeval,
) -> c_int {
    let Some(process) = caller() else {
        // SAFETY: as ours.
        return unsafe {
            real!("select", fn(c_int, *mut fd_set, *mut fd_set, *mut fd_set, *mut timeval) -> c_int)(
                end, reads, writes, exceptions, timeout,
            )
        };
    };
    let began = now_of(libc::CLOCK_MONOTONIC);
    // SAFETY: select(2): null, or valid for a read.
    let limit = unsafe { timeout.as_ref() }.map(duration_of_timeval).transpose();
    let selected = limit.and_then(|limit| {
        let sets = Sets::new(end, [reads, writes, exceptions])?;
        // SAFETY: as ours.
        let selected = unsafe { await_selected(process, &sets, limit) };
        if let Some(limit) = limit {
            let left = limit.saturating_sub(now_of(libc::CLOCK_MONOTONIC).saturating_sub(began));
            // SAFETY: select(2): it is valid for a write, and Linux writes what was left.
            unsafe { timeout.write(timeval_of(left)) };
        }
        selected
    });
    answer(selected)
}

/// As pselect(2), whose mask is not looked at.
///
/// # Safety
/// As pselect(2).
#[unsafe(no_mangle)]
unsafe extern "C" fn pselect(
    end: c_int,
    reads: *mut fd_set,
    writes: *mut fd_set,
    exceptions: *mut fd_set,
    timeout: *const timespec,
    mask: *const libc::sigset_t,
) -> c_int {
    let Some(process) = caller() else {
        type Select = unsafe extern "C" fn(
            c_int,
            *mut fd_set,
            *mut fd_set,
            *mut fd_set,
            *const timespec,
            *const libc::sigset_t,
        ) -> c_int;
        // SAFETY: as ours.
        return unsafe { real!(@ "pselect", Select)(end, reads, writes, exceptions, timeout, mask) };
    };
    // SAFETY: pselect(2): null, or valid for a read.
    let limit = unsafe { timeout.as_ref() }.map(duration_of).transpose();
    let selected = limit.and_then(|limit| {
        let sets = Sets::new(end, [reads, writes, exceptions])?;
        // SAFETY: as ours.
        unsafe { await_selected(process, &sets, limit) }
    });
    answer(selected)
}

/// A timeval as a duration; an error where it is none. Microseconds above a second count as well.
fn duration_of_timeval(time: &timeval) -> Result<Duration, Errno> {
    match (u64::try_from(time.tv_sec), u64::try_from(time.tv_usec)) {
        (Ok(seconds), Ok(micros)) => Ok(Duration::from_secs(seconds) + Duration::from_micros(micros)),
        _ => Err(libc::EINVAL),
    }
}
