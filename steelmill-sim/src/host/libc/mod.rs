//! The C library's functions, as guest threads and tasks call them: each decodes its arguments, calls what the machine has for it,
//! and sets errno. One file for a family of calls, one function for a symbol.
//!
//! The linker prefers a definition in the program to the C library's. On other threads each function goes on to the C
//! library's own. A task may not block: where a call would, it fails the run.
#![allow(unsafe_code, reason = "standing in for functions of the C library; the argument stands beside each")]

mod address; // socket addresses
mod c11_threads; // threads.h
mod conditions; // condition variables, barriers
mod control; // cmsg(3)
mod environment; // environ(7)
pub(super) mod directories; // opendir, readdir
mod epoll; // epoll(7), poll(2), eventfd(2)
mod file_locks; // flock, record locks
mod files; // read, write, close, fcntl, pipe
mod fortified; // the same, where C code checks the size of a buffer
pub(crate) mod futex; // futex(2)
mod identity; // CPUs, host name, numbers of processes
mod inotify; // inotify(7)
mod interfaces; // getifaddrs(3), netdevice(7)
mod limits; // getrlimit(2)
mod local_time; // localtime(3)
mod locks; // locks and semaphores of C code
mod netlink; // netlink(7)
mod names; // getaddrinfo(3), getnameinfo(3)
mod mappings; // mmap(2)
pub(super) mod paths; // files by their paths
mod process; // exit, sched_yield, thread names and numbers
pub(super) mod refused; // what a machine does not have
mod select; // select(2)
mod services; // services(5)
mod signals; // signal(7)
mod sockets; // socket(7)
mod status; // stat(2), statfs(2)
mod streams; // stdio(3)
pub(crate) mod symbols; // whether the linker took these
mod temporary; // mkstemp(3)
mod threads; // pthread_create(3) and its kin
mod time; // sleeps and timers
mod transfers; // pread, fsync, truncate, sendfile
mod usage; // what a process has used
mod users; // getuid(2), getpwnam(3)
mod unwinding; // panics that a program hears of itself
mod variadic; // dprintf(3), execl(3)

use std::ffi::c_int;
use std::future::{Future as _, poll_fn};
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use steelmill_core::World as _;

use crate::kernel::waiter::Waiter;
use crate::machine::cluster::{self, Cluster};
use crate::machine::descriptors::{Direction, Errno, FileId};
use crate::machine::runtimes::{caller, may_block, process_of};
use crate::machine::threads::{block_on_interruptible, called_in_vain, current_task, process as guest};
use crate::machine::world::{Process, SimWorld};

/// Whether this thread is a guest.
fn is_guest() -> bool {
    guest().is_some()
}

/// The result of a call: its value, or -1 and errno.
pub(super) fn answer<T: From<i8>>(result: Result<T, Errno>) -> T {
    result.unwrap_or_else(|code| {
        set_errno(code);
        T::from(-1)
    })
}

fn set_errno(code: Errno) {
    // SAFETY: every thread has an errno.
    unsafe { *libc::__errno_location() = code };
}

/// Does something with a descriptor's file, as soon as that is possible. `attempt` gives `None` where it is not yet; then a
/// file that does not block fails with EAGAIN, and so does one whose timeout passes.
fn when_ready<T>(
    process: Process,
    fd: c_int,
    direction: Direction,
    is_nonblocking: bool,
    mut attempt: impl FnMut(&mut Cluster, FileId) -> Result<Option<T>, Errno>,
) -> Result<T, Errno> {
    let attempted = cluster::with(process.run, |run| {
        let (id, file) = run.descriptors.file(process, fd)?;
        let is_nonblocking = is_nonblocking || file.is_nonblocking;
        match attempt(run, id)? {
            None if is_nonblocking => Err(libc::EAGAIN),
            done => Ok(done),
        }
    });
    match attempted {
        Ok(Some(done)) => Ok(done),
        Ok(None) if may_block() => await_ready(process, fd, direction, attempt),
        Ok(None) => Err(libc::EAGAIN),
        Err(code) => {
            if code == libc::EAGAIN {
                called_in_vain();
            }
            Err(code)
        }
    }
}

/// Waits until an attempt at a descriptor's file is possible.
fn await_ready<T>(
    process: Process,
    fd: c_int,
    direction: Direction,
    mut attempt: impl FnMut(&mut Cluster, FileId) -> Result<Option<T>, Errno>,
) -> Result<T, Errno> {
    let task = current_task();
    let timeout = cluster::with(process.run, |run| {
        let (_, file) = run.descriptors.file(process, fd)?;
        Ok::<_, Errno>(file.timeouts[direction as usize])
    })?;
    let mut sleep = timeout.map(|timeout| SimWorld(process).clock().sleep(timeout));
    // signal(7): a call on a socket with a timeout never goes on after a handler.
    let done = block_on_interruptible(
        timeout.is_none(),
        poll_fn(|context| {
            let attempted = cluster::with(process.run, |run| {
                // Another thread may have closed it meanwhile.
                let (id, _) = run.descriptors.file(process, fd)?;
                let done = attempt(run, id)?;
                if done.is_none() {
                    run.await_file(id, || Waiter::Task(task));
                    run.note_wait(id, direction);
                }
                Ok(done)
            });
            match (attempted.transpose(), &mut sleep) {
                (Some(done), _) => Poll::Ready(done),
                (None, Some(sleep)) => Pin::new(sleep).poll(context).map(|()| Err(libc::EAGAIN)),
                (None, None) => Poll::Pending,
            }
        }),
    );
    done.unwrap_or(Err(libc::EINTR))
}

/// A timespec as a duration; an error where it is none.
fn duration_of(time: &libc::timespec) -> Result<Duration, Errno> {
    let nanos = u32::try_from(time.tv_nsec).ok().filter(|nanos| *nanos < 1_000_000_000);
    match (u64::try_from(time.tv_sec), nanos) {
        (Ok(seconds), Some(nanos)) => Ok(Duration::new(seconds, nanos)),
        _ => Err(libc::EINVAL),
    }
}

/// A timeout in milliseconds, negative for none.
fn timeout_of(millis: c_int) -> Option<Duration> {
    u64::try_from(millis).ok().map(Duration::from_millis)
}
