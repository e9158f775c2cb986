//! Waiting for many descriptors: epoll(7), poll(2); and eventfd(2).

use std::ffi::{c_int, c_uint};
use std::future::{Future as _, poll_fn};
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use libc::{epoll_event, nfds_t, pollfd, timespec};
use steelmill_core::World as _;

use super::{answer, caller, duration_of, may_block, process_of, timeout_of};
use crate::kernel::tasks::WaitsFor;
use crate::kernel::waiter::Waiter;
use crate::machine::cluster::{self, Cluster};
use crate::machine::descriptors::{Errno, EventCounter, Interest, Object};
use crate::machine::real::real;
use crate::machine::runtimes::is_orphan;
use crate::machine::threads::{block_on_interruptible, called_in_vain, current_task};
use crate::machine::world::{Process, SimWorld};

/// Waits until `look` finds something, for so long at most; what it found last.
pub(super) fn wait<T>(
    process: Process,
    timeout: Option<Duration>,
    mut look: impl FnMut(&mut Cluster, bool) -> Result<Option<T>, Errno>,
) -> Result<Option<T>, Errno> {
    let is_patient = timeout != Some(Duration::ZERO);
    let mut sleep = timeout.filter(|_| is_patient).map(|timeout| SimWorld(process).clock().sleep(timeout));
    let found = block_on_interruptible(
        false,
        poll_fn(|context| {
            match cluster::with(process.run, |run| look(run, is_patient)) {
                Ok(None) if is_patient && may_block() => {}
                found => return Poll::Ready(found),
            }
            match &mut sleep {
                Some(sleep) => Pin::new(sleep).poll(context).map(|()| Ok(None)),
                None => Poll::Pending,
            }
        }),
    );
    if !is_patient && matches!(found, Some(Ok(None))) {
        called_in_vain();
    }
    found.unwrap_or(Err(libc::EINTR))
}

/// # Safety
/// As epoll_create1(2).
#[unsafe(no_mangle)]
unsafe extern "C" fn epoll_create1(flags: c_int) -> c_int {
    match caller() {
        Some(process) => answer(cluster::with(process.run, |run| run.open_epoll(process))),
        // SAFETY: as ours.
        None => unsafe { real!("epoll_create1", fn(c_int) -> c_int)(flags) },
    }
}

/// # Safety
/// As epoll_create(2).
#[unsafe(no_mangle)]
unsafe extern "C" fn epoll_create(size: c_int) -> c_int {
    if size <= 0 {
        return answer(Err(libc::EINVAL));
    }
    // SAFETY: as ours.
    unsafe { epoll_create1(0) }
}

/// # Safety
/// As epoll_ctl(2).
#[unsafe(no_mangle)]
unsafe extern "C" fn epoll_ctl(epoll: c_int, operation: c_int, fd: c_int, event: *mut epoll_event) -> c_int {
    let Some(process) = process_of(epoll) else {
        if is_orphan(epoll) {
            return 0;
        }
        // SAFETY: as ours.
        return unsafe {
            real!("epoll_ctl", fn(c_int, c_int, c_int, *mut epoll_event) -> c_int)(
                epoll, operation, fd, event,
            )
        };
    };
    if event.is_null() && operation != libc::EPOLL_CTL_DEL {
        return answer(Err(libc::EFAULT));
    }
    // SAFETY: epoll_ctl(2): it is valid for a read unless a descriptor is removed; it need not be aligned.
    let (events, data) = match operation {
        libc::EPOLL_CTL_DEL => (0, 0),
        _ => unsafe {
            let event = event.read_unaligned();
            (event.events, event.u64)
        },
    };
    let interest = Interest::new(fd, events, data);
    answer(
        cluster::with(process.run, |run| run.epoll_control(process, epoll, operation, interest)).map(|()| 0),
    )
}

/// Waits for events.
///
/// # Safety
/// There is room for `limit` of them at `events`.
unsafe fn await_events(
    process: Process,
    epoll: c_int,
    events: *mut epoll_event,
    limit: c_int,
    timeout: Option<Duration>,
) -> Result<c_int, Errno> {
    if limit <= 0 {
        return Err(libc::EINVAL);
    }
    let task = current_task();
    let found = wait(process, timeout, |run, is_patient| {
        let (id, _) = run.descriptors.file(process, epoll)?;
        let mut place = events;
        let count = run.epoll_events(id, limit as usize, |ready, data| {
            // SAFETY: there is room for `limit` events, and no more are told.
            unsafe {
                place.write_unaligned(epoll_event { events: ready, u64: data });
                place = place.add(1);
            }
        })?;
        if count == 0 && is_patient {
            run.await_epoll(id, Waiter::Task(task))?;
        }
        Ok((count > 0).then_some(count as c_int))
    });
    found.map(Option::unwrap_or_default)
}

/// # Safety
/// As epoll_wait(2).
#[unsafe(no_mangle)]
unsafe extern "C" fn epoll_wait(
    epoll: c_int,
    events: *mut epoll_event,
    limit: c_int,
    timeout: c_int,
) -> c_int {
    match process_of(epoll) {
        // SAFETY: as ours.
        Some(process) => answer(unsafe { await_events(process, epoll, events, limit, timeout_of(timeout)) }),
        // SAFETY: as ours.
        None => unsafe {
            real!("epoll_wait", fn(c_int, *mut epoll_event, c_int, c_int) -> c_int)(
                epoll, events, limit, timeout,
            )
        },
    }
}

/// As epoll_pwait2(2), whose mask is not looked at either.
///
/// # Safety
/// As epoll_pwait2(2).
#[unsafe(no_mangle)]
unsafe extern "C" fn epoll_pwait2(
    epoll: c_int,
    events: *mut epoll_event,
    limit: c_int,
    timeout: *const timespec,
    mask: *const libc::sigset_t,
) -> c_int {
    let Some(process) = process_of(epoll) else {
        // SAFETY: as ours.
        return unsafe {
            real!(
                "epoll_pwait2",
                fn(c_int, *mut epoll_event, c_int, *const timespec, *const libc::sigset_t) -> c_int
            )(epoll, events, limit, timeout, mask)
        };
    };
    // SAFETY: epoll_pwait2(2): null, or valid for a read.
    let timeout = unsafe { timeout.as_ref() }.map(duration_of).transpose();
    // SAFETY: as ours.
    answer(timeout.and_then(|timeout| unsafe { await_events(process, epoll, events, limit, timeout) }))
}

/// # Safety
/// As epoll_pwait(2). Its mask is not looked at: a signal that the thread blocks does not interrupt the call.
#[unsafe(no_mangle)]
unsafe extern "C" fn epoll_pwait(
    epoll: c_int,
    events: *mut epoll_event,
    limit: c_int,
    timeout: c_int,
    mask: *const libc::sigset_t,
) -> c_int {
    match process_of(epoll) {
        // SAFETY: as ours.
        Some(_) => unsafe { epoll_wait(epoll, events, limit, timeout) },
        // SAFETY: as ours.
        None => unsafe {
            real!("epoll_pwait", fn(c_int, *mut epoll_event, c_int, c_int, *const libc::sigset_t) -> c_int)(
                epoll, events, limit, timeout, mask,
            )
        },
    }
}

/// # Safety
/// As eventfd(2).
#[unsafe(no_mangle)]
unsafe extern "C" fn eventfd(count: c_uint, flags: c_int) -> c_int {
    let Some(process) = caller() else {
        // SAFETY: as ours.
        return unsafe { real!("eventfd", fn(c_uint, c_int) -> c_int)(count, flags) };
    };
    let event = EventCounter::new(count.into(), flags & libc::EFD_SEMAPHORE != 0);
    let is_nonblocking = flags & libc::EFD_NONBLOCK != 0;
    answer(cluster::with(process.run, |run| run.open_file(process, Object::Event(event), is_nonblocking)))
}

/// # Safety
/// As eventfd_read(3).
#[unsafe(no_mangle)]
unsafe extern "C" fn eventfd_read(fd: c_int, count: *mut u64) -> c_int {
    // SAFETY: as ours.
    let read = unsafe { libc::read(fd, count.cast(), size_of::<u64>()) };
    if read == size_of::<u64>() as isize { 0 } else { -1 }
}

/// # Safety
/// As eventfd_write(3).
#[unsafe(no_mangle)]
unsafe extern "C" fn eventfd_write(fd: c_int, count: u64) -> c_int {
    // SAFETY: the number is valid for a read.
    let written = unsafe { libc::write(fd, (&raw const count).cast(), size_of::<u64>()) };
    if written == size_of::<u64>() as isize { 0 } else { -1 }
}

/// Waits for descriptors; how many are ready.
///
/// # Safety
/// `descriptors` is valid for reads and writes of `count`.
unsafe fn await_polled(
    process: Process,
    descriptors: *mut pollfd,
    count: nfds_t,
    timeout: Option<Duration>,
) -> Result<c_int, Errno> {
    // SAFETY: as the caller says; none may have a null pointer.
    let polled: &mut [pollfd] = match count {
        0 => &mut [],
        _ => unsafe { std::slice::from_raw_parts_mut(descriptors, count as usize) },
    };
    let task = current_task();
    let found = wait(process, timeout, |run, is_patient| {
        let mut hits = 0;
        for one in polled.iter_mut() {
            one.revents = match run.descriptors.file(process, one.fd).map(|(id, _)| id) {
                _ if one.fd < 0 => 0,
                Ok(id) => {
                    if is_patient {
                        run.await_file(id, || Waiter::Task(task));
                    }
                    let always = libc::POLLERR | libc::POLLHUP;
                    run.readiness(id) as i16 & (one.events | always)
                }
                Err(_) => libc::POLLNVAL,
            };
            hits += c_int::from(one.revents != 0);
        }
        if is_patient {
            run.kernel.waits_for(WaitsFor::Epoll);
        }
        Ok((hits > 0).then_some(hits))
    });
    found.map(Option::unwrap_or_default)
}

/// # Safety
/// As poll(2).
#[unsafe(no_mangle)]
unsafe extern "C" fn poll(descriptors: *mut pollfd, count: nfds_t, timeout: c_int) -> c_int {
    match caller() {
        // SAFETY: as ours.
        Some(process) => answer(unsafe { await_polled(process, descriptors, count, timeout_of(timeout)) }),
        // SAFETY: as ours.
        None => unsafe {
            real!("poll", fn(*mut pollfd, nfds_t, c_int) -> c_int)(descriptors, count, timeout)
        },
    }
}

/// As ppoll(2), whose mask is not looked at.
///
/// # Safety
/// As ppoll(2).
#[unsafe(no_mangle)]
unsafe extern "C" fn ppoll(
    descriptors: *mut pollfd,
    count: nfds_t,
    timeout: *const timespec,
    mask: *const libc::sigset_t,
) -> c_int {
    let Some(process) = caller() else {
        // SAFETY: as ours.
        return unsafe {
            real!("ppoll", fn(*mut pollfd, nfds_t, *const timespec, *const libc::sigset_t) -> c_int)(
                descriptors,
                count,
                timeout,
                mask,
            )
        };
    };
    // SAFETY: ppoll(2): null, or valid for a read.
    let timeout = unsafe { timeout.as_ref() }.map(duration_of).transpose();
    // SAFETY: as ours.
    answer(timeout.and_then(|timeout| unsafe { await_polled(process, descriptors, count, timeout) }))
}
