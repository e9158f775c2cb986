//! Carrying out a program of epolls with the calls of the thread's world: answers as text.
#![allow(unsafe_code, reason = "these are foreign functions; the argument stands beside each")]

use std::collections::BTreeMap;
use std::ffi::c_int;
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};

use super::super::calls::{self, Errno, last, result};
use super::{Action, Turn};

/// A program in the middle of its calls.
#[derive(Default)]
pub(super) struct Course {
    open: BTreeMap<u8, OwnedFd>,
    /// How many bytes each transfers at once. Of sockets the simulation may transfer a part, but not of one.
    units: BTreeMap<u8, usize>,
}

/// How often epoll_wait(2) is called for one answer.
const WAITS: usize = 12;

/// More than any pipe or socket buffer holds, in pieces.
const PIECES_MAX: usize = 4_096;

impl Course {
    /// Makes a call; what it returned.
    pub(super) fn call(&mut self, turn: Turn) -> String {
        match self.attempt(turn) {
            Some(Ok(value)) => value,
            Some(Err(errno)) => errno.to_string(),
            None => "no descriptor".into(),
        }
    }

    fn attempt(&mut self, turn: Turn) -> Option<Result<String, Errno>> {
        let done = |result: Result<c_int, Errno>| result.map(|_| "ok".to_owned());
        Some(match turn {
            Turn::Pipe { ids } => {
                let mut ends = [0; 2];
                // SAFETY: there is room for two descriptors.
                let made =
                    result(unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_NONBLOCK | libc::O_CLOEXEC) });
                self.keep(ids, 8, made.map(|_| ends.map(owned)))
            }
            Turn::Pair { ids } => self.keep(ids, 1, calls::socketpair(libc::SOCK_STREAM)),
            Turn::Connection { ids } => self.keep(ids, 1, connection()),
            Turn::Event { id, value, is_semaphore } => {
                let flags = libc::EFD_NONBLOCK | libc::EFD_CLOEXEC;
                let flags = if is_semaphore { flags | libc::EFD_SEMAPHORE } else { flags };
                // SAFETY: it takes no pointer.
                self.keep([id], 8, result(unsafe { libc::eventfd(value, flags) }).map(|fd| [owned(fd)]))
            }
            Turn::Timer { id } => {
                let flags = libc::TFD_NONBLOCK | libc::TFD_CLOEXEC;
                // SAFETY: it takes no pointer.
                let made = result(unsafe { libc::timerfd_create(libc::CLOCK_MONOTONIC, flags) });
                self.keep([id], 8, made.map(|fd| [owned(fd)]))
            }
            Turn::Arm { id, is_set, repeats } => {
                let at = libc::timespec { tv_sec: 0, tv_nsec: is_set.into() };
                // A far interval, so that it ends once in a program.
                let interval = libc::timespec { tv_sec: if repeats { 1_000 } else { 0 }, tv_nsec: 0 };
                let value = libc::itimerspec { it_interval: interval, it_value: at };
                let fd = self.fd(id)?;
                // SAFETY: the value is valid for a read; nothing is written.
                done(result(unsafe { libc::timerfd_settime(fd, 0, &raw const value, std::ptr::null_mut()) }))
            }
            Turn::Epoll { id } => {
                // SAFETY: it takes no pointer.
                let made = result(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) });
                self.keep([id], 8, made.map(|fd| [owned(fd)]))
            }
            Turn::Control { epoll, action, id, events } => {
                let action = match action {
                    Action::Add => libc::EPOLL_CTL_ADD,
                    Action::Modify => libc::EPOLL_CTL_MOD,
                    Action::Remove => libc::EPOLL_CTL_DEL,
                };
                let mut event = libc::epoll_event { events, u64: id.into() };
                let (epoll, fd) = (self.fd(epoll)?, self.fd(id)?);
                // SAFETY: the event is valid for a read.
                done(result(unsafe { libc::epoll_ctl(epoll, action, fd, &raw mut event) }))
            }
            Turn::Wait { epoll } => wait(self.fd(epoll)?),
            Turn::Poll { id } => {
                let events = libc::POLLIN | libc::POLLOUT | libc::POLLRDHUP | libc::POLLPRI;
                let normal = libc::POLLRDNORM | libc::POLLRDBAND | libc::POLLWRNORM | libc::POLLWRBAND;
                let events = events | normal;
                let mut one = libc::pollfd { fd: self.fd(id)?, events, revents: 0 };
                // SAFETY: there is one.
                result(unsafe { libc::poll(&raw mut one, 1, 0) }).map(|n| format!("{n} {:#x}", one.revents))
            }
            Turn::Read { id } => read(self.fd(id)?, self.unit(id)).map(|(n, value)| format!("{n} {value}")),
            Turn::Drain { id } => {
                let fd = self.fd(id)?;
                let mut some = "none";
                for _ in 0..PIECES_MAX * 16 {
                    match read(fd, self.unit(id)) {
                        Ok((0, _)) => return Some(Ok(format!("{some} 0"))),
                        Ok(_) => some = "some",
                        Err(errno) => return Some(Ok(format!("{some} {errno}"))),
                    }
                }
                Ok("without end".into())
            }
            Turn::Write { id, value } => {
                let bytes = &value.to_ne_bytes()[..self.unit(id)];
                write(self.fd(id)?, bytes).map(|n| n.to_string())
            }
            Turn::Fill { id } => self.fill(id)?,
            Turn::Shutdown { id, is_read } => {
                let how = if is_read { libc::SHUT_RD } else { libc::SHUT_WR };
                // SAFETY: it takes no pointer.
                done(result(unsafe { libc::shutdown(self.fd(id)?, how) }))
            }
            Turn::Duplicate { id, new } => {
                // SAFETY: it takes no pointer.
                let made = result(unsafe { libc::fcntl(self.fd(id)?, libc::F_DUPFD_CLOEXEC, 0) });
                self.keep([new], self.unit(id), made.map(|fd| [owned(fd)]))
            }
            Turn::Close { id } => {
                drop(self.open.remove(&id)?);
                Ok("ok".into())
            }
        })
    }

    fn unit(&self, id: u8) -> usize {
        self.units.get(&id).copied().unwrap_or(8)
    }

    fn fd(&self, id: u8) -> Option<c_int> {
        self.open.get(&id).map(OwnedFd::as_raw_fd)
    }

    fn keep<const N: usize>(
        &mut self,
        ids: [u8; N],
        unit: usize,
        made: Result<[OwnedFd; N], Errno>,
    ) -> Result<String, Errno> {
        self.open.extend(ids.into_iter().zip(made?));
        self.units.extend(ids.map(|id| (id, unit)));
        Ok("ok".into())
    }

    /// Until nothing more is taken; how much that is differs on purpose. Of an eventfd that would be a number, and no more.
    fn fill(&mut self, id: u8) -> Option<Result<String, Errno>> {
        let fd = self.fd(id)?;
        let bytes = [7; 8_192];
        let mut some = "none";
        for _ in 0..PIECES_MAX {
            match write(fd, &bytes) {
                Ok(8) => return Some(Ok("8".into())),
                Ok(_) => some = "some",
                Err(errno) => return Some(Ok(format!("{some} {errno}"))),
            }
        }
        Some(Ok("without end".into()))
    }
}

fn owned(fd: c_int) -> OwnedFd {
    // SAFETY: the call that returned it has just opened it.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

fn connection() -> Result<[OwnedFd; 2], Errno> {
    let made = || -> std::io::Result<[OwnedFd; 2]> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let near = TcpStream::connect(listener.local_addr()?)?;
        let far = listener.accept()?.0;
        for end in [&near, &far] {
            end.set_nodelay(true)?; // Nagle's algorithm is left out on purpose
            end.set_nonblocking(true)?;
        }
        Ok([near.into(), far.into()])
    };
    made().map_err(|error| Errno(error.raw_os_error().unwrap_or(0)))
}

/// All that some calls give: each entry with the events that it had at least once.
fn wait(epoll: c_int) -> Result<String, Errno> {
    let mut all: BTreeMap<u64, u32> = BTreeMap::new();
    for _ in 0..WAITS {
        let mut events = [libc::epoll_event { events: 0, u64: 0 }; 32];
        // SAFETY: there is room for so many.
        let n = result(unsafe { libc::epoll_wait(epoll, events.as_mut_ptr(), 32, 0) })?;
        for event in &events[..n as usize] {
            *all.entry(event.u64).or_default() |= event.events;
        }
    }
    let all: Vec<String> = all.iter().map(|(id, events)| format!("{id}:{events:#x}")).collect();
    Ok(all.join(" "))
}

/// As a number, which has zeros in place of bytes that were not read.
fn read(fd: c_int, unit: usize) -> Result<(isize, u64), Errno> {
    let mut bytes = [0; 8];
    // SAFETY: there is room for so many bytes.
    let n = unsafe { libc::read(fd, bytes.as_mut_ptr().cast(), unit) };
    if n < 0 { Err(last()) } else { Ok((n, u64::from_ne_bytes(bytes))) }
}

fn write(fd: c_int, bytes: &[u8]) -> Result<isize, Errno> {
    // SAFETY: there are so many bytes.
    let n = unsafe { libc::write(fd, bytes.as_ptr().cast(), bytes.len()) };
    if n < 0 { Err(last()) } else { Ok(n) }
}
