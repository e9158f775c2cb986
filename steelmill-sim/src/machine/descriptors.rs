//! What the processes of machines have open, by number: sockets, pipes, eventfds, timerfds, epolls.
//!
//! A *descriptor* is a number of a process and names a *file*; several may name one, by dup(2). A file's readiness is
//! computed when somebody asks, from the state of what it is (poll(2)); whoever waits for it to change registers a waiter.

mod content; // files that are only read
mod epoll; // many files at once
mod event; // a counter
mod inotify; // watches on files
mod netlink; // questions to the kernel
mod numbers; // which file a number names
mod pipe; // bytes between threads of a process
mod timer; // a timer that is read

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::time::Duration;

use smallvec::SmallVec;

use super::cluster::Cluster;
use super::disk::{OpenFile, Owner};
use super::net::{Socket, UnixName};
use super::runtimes::NOBODY;
use super::world::Process;
use crate::kernel::tasks::WaitsFor;
use crate::kernel::waiter::Waiter;
pub(crate) use content::Content;
use epoll::Epoll;
pub(crate) use epoll::Interest;
pub(crate) use event::EventCounter;
pub(crate) use inotify::Inotify;
pub(crate) use netlink::Netlink;
use numbers::Numbers;
use pipe::Pipe;
pub(crate) use pipe::PipeEnd;
pub(crate) use timer::Setting as TimerSetting;
use timer::Timer;

/// The error number of a call that failed, as errno(3) has it.
pub(crate) type Errno = i32;

/// What poll(2) says of a file that can be read, and of one that can be written: eventfds and timerfds alone have no normal data.
pub(crate) const READABLE: i32 = libc::EPOLLIN | libc::EPOLLRDNORM;
pub(crate) const WRITABLE: i32 = libc::EPOLLOUT | libc::EPOLLWRNORM;

/// The least descriptor. Below are those of the real process, such as standard output; most programs have few. It is below
/// FD_SETSIZE (1024), so that select(2) may be given ours.
pub(crate) const FIRST: i32 = 600;

/// To how many descriptors a process may raise its limit, as systemd has it for services.
pub(crate) const DESCRIPTORS_MAX: u64 = 1 << 19;

/// Names a file of a run.
pub(crate) type FileId = u32;

/// A file, and what was set for it with fcntl(2) and setsockopt(2).
pub(crate) struct File {
    pub(crate) object: Object,
    /// How many descriptors name it.
    references: u32,
    pub(crate) is_nonblocking: bool,
    /// SO_RCVTIMEO and SO_SNDTIMEO.
    pub(crate) timeouts: [Option<Duration>; 2],
    /// The watches of epolls on it.
    watches: BTreeSet<epoll::Watching>,
}

pub(crate) enum Object {
    Socket(Socket),
    Pipe(PipeEnd),
    Event(EventCounter),
    Timer(Timer),
    Netlink(Netlink),
    Inotify(Inotify),
    Content(Content),
    File(OpenFile),
    Epoll(Epoll),
}

/// What a thread waits to be able to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Direction {
    Read = 0,
    Write = 1,
}

#[derive(Default)]
pub(crate) struct Descriptors {
    numbers: Numbers,
    files: Vec<Option<File>>,
    free: Vec<FileId>,
    pipes: Vec<Option<Pipe>>,
    /// C's streams, by where the C library has them.
    pub(crate) streams: BTreeMap<usize, Stream>,
    /// How many of them there have been.
    streams_made: u64,
}

/// What a stream of C (stdio(3)) is of.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stream {
    process: Process,
    pub(crate) fd: i32,
    /// Later ones have higher numbers, whatever their addresses.
    number: u64,
}

impl Descriptors {
    /// The file of a descriptor.
    #[inline]
    pub(crate) fn file(&mut self, process: Process, fd: i32) -> Result<(FileId, &mut File), Errno> {
        let id = self.numbers.get(process.machine, fd).ok_or(libc::EBADF)?;
        Ok((id, self.get(id)))
    }

    /// Gives the descriptors of runtimes that one machine has to another, which has none of these numbers.
    pub(super) fn move_all(&mut self, from: u32, to: u32) {
        self.numbers.move_of_runtimes(from, to);
    }

    #[inline]
    pub(crate) fn get(&mut self, id: FileId) -> &mut File {
        self.files[id as usize].as_mut().expect("an open descriptor names a file")
    }

    /// The machine that has a file open.
    fn machine_of(&self, id: FileId) -> u32 {
        self.numbers.machine_of(id).unwrap_or(NOBODY)
    }

    /// How many descriptors are open, over all machines.
    pub(crate) fn count(&self) -> usize {
        self.numbers.count_before(NOBODY)
    }

    fn add_file(&mut self, object: Object, is_nonblocking: bool) -> FileId {
        let file =
            File { object, references: 0, is_nonblocking, timeouts: [None; 2], watches: BTreeSet::new() };
        match self.free.pop() {
            Some(id) => {
                self.files[id as usize] = Some(file);
                id
            }
            None => {
                self.files.push(Some(file));
                (self.files.len() - 1) as FileId
            }
        }
    }

    /// The least free descriptor of some numbers, as POSIX wants it.
    fn name(&mut self, machine: u32, id: FileId, numbers: Range<i32>) -> Result<i32, Errno> {
        let fd = self.numbers.free(machine, numbers).ok_or(libc::EMFILE)?;
        self.numbers.insert(machine, fd, id);
        self.get(id).references += 1;
        Ok(fd)
    }
}

impl Cluster {
    /// Opens a file; its descriptor.
    pub(crate) fn open_file(
        &mut self,
        process: Process,
        object: Object,
        is_nonblocking: bool,
    ) -> Result<i32, Errno> {
        let id = self.descriptors.add_file(object, is_nonblocking);
        let numbers = self.numbers_for(process, FIRST);
        let named = self.descriptors.name(process.machine, id, numbers);
        if named.is_err() {
            self.close_file(id);
        }
        named
    }

    /// Another descriptor for the file of one, `least` or greater.
    pub(crate) fn duplicate(&mut self, process: Process, fd: i32, least: i32) -> Result<i32, Errno> {
        let (id, _) = self.descriptors.file(process, fd)?;
        let numbers = self.numbers_for(process, least.max(FIRST));
        self.descriptors.name(process.machine, id, numbers)
    }

    /// Has a descriptor name the file of another one, whatever it named before (dup2(2)).
    pub(crate) fn duplicate_to(&mut self, process: Process, fd: i32, to: i32) -> Result<i32, Errno> {
        let (id, _) = self.descriptors.file(process, fd)?;
        if fd == to {
            return Ok(fd);
        }
        if !(FIRST..FIRST + self.descriptors_limit(process.machine)).contains(&to) {
            return Err(libc::EBADF); // a number of the real process, or beyond the limit
        }
        // It is kept, should this be its last name.
        self.descriptors.get(id).references += 1;
        let _ = self.close_descriptor(process, to);
        self.descriptors.numbers.insert(process.machine, to, id);
        Ok(to)
    }

    /// What a new descriptor of a process may be, `least` or greater; or of a runtime that is nobody's.
    fn numbers_for(&self, process: Process, least: i32) -> Range<i32> {
        match process.machine {
            NOBODY => self.runtimes.descriptors(),
            machine => least..FIRST + self.descriptors_limit(machine),
        }
    }

    /// Closes all descriptors of a process in a range.
    pub(crate) fn close_descriptors(&mut self, process: Process, first: u32, last: u32) {
        let [first, end] = [first, last.saturating_add(1)].map(|fd| i32::try_from(fd).unwrap_or(i32::MAX));
        for fd in self.descriptors.numbers.open(process.machine, first..end) {
            let _ = self.close_descriptor(process, fd); // it is open
        }
    }

    /// Closes a descriptor, and its file with the last one.
    pub(crate) fn close_descriptor(&mut self, process: Process, fd: i32) -> Result<(), Errno> {
        let id = self.descriptors.numbers.remove(process.machine, fd).ok_or(libc::EBADF)?;
        self.descriptor_unlocks(id);
        let file = self.descriptors.get(id);
        file.references -= 1;
        if file.references == 0 {
            self.close_file(id);
        }
        Ok(())
    }

    fn close_file(&mut self, id: FileId) {
        self.stop_watching(id);
        let file = self.descriptors.files[id as usize].take().expect("a file is closed once");
        self.descriptors.free.push(id);
        match file.object {
            Object::Socket(socket) => self.close_socket(socket),
            Object::Pipe(end) => self.close_pipe(end),
            Object::Event(event) => self.kernel.discard_all(event.waiters),
            Object::Timer(timer) => self.kernel.discard_all(timer.waiters),
            Object::Netlink(netlink) => self.kernel.discard_all(netlink.waiters),
            Object::Inotify(inotify) => {
                self.watcher_gone(inotify.machine, id);
                self.kernel.discard_all(inotify.waiters);
            }
            Object::Epoll(epoll) => self.close_epoll(id, epoll),
            Object::Content(_) => {}
            Object::File(open) => {
                self.unlock_all(open.machine, open.ino, Owner::File(id));
                self.close_on_disk(open);
            }
        }
    }

    /// All that a process had open is closed; its sockets are for the network to end.
    pub(crate) fn descriptors_gone(&mut self, machine: u32) {
        self.descriptors.streams.retain(|_, stream| stream.process.machine != machine);
        for id in self.descriptors.numbers.take_all(machine) {
            self.descriptor_unlocks(id);
            let file = self.descriptors.get(id);
            file.references -= 1;
            if file.references == 0 {
                if let Object::Socket(socket) = &mut file.object {
                    *socket = socket.forgotten();
                }
                self.close_file(id);
            }
        }
    }

    /// A stream of a process is made, at an address.
    pub(crate) fn stream_made(&mut self, process: Process, fd: i32, address: usize) {
        let number = self.descriptors.streams_made;
        self.descriptors.streams_made += 1;
        self.descriptors.streams.insert(address, Stream { process, fd, number });
    }

    /// Where the streams of a process are, in the order in which they were made.
    pub(crate) fn streams_of(&self, process: Process) -> Vec<usize> {
        let streams = self.descriptors.streams.iter();
        let is_of =
            |other: Process| (other.machine, other.incarnation) == (process.machine, process.incarnation);
        let mut found: Vec<_> = streams
            .filter(|(_, stream)| is_of(stream.process))
            .map(|(address, stream)| (stream.number, *address))
            .collect();
        found.sort_unstable();
        found.into_iter().map(|(_, address)| address).collect()
    }

    /// What can be done with a file now, as poll(2) says it.
    pub(crate) fn readiness(&mut self, id: FileId) -> u32 {
        match &self.descriptors.get(id).object {
            Object::Socket(socket) => {
                if let Some((id, side)) = socket.connection() {
                    return self.stream_readiness(id, side);
                }
                let socket = *socket;
                self.socket_readiness(socket)
            }
            Object::Pipe(end) => {
                let end = *end;
                self.pipe_readiness(end)
            }
            Object::Event(event) => event.readiness(),
            Object::Timer(_) => self.timer_readiness(id),
            Object::Netlink(netlink) => netlink.readiness(),
            Object::Inotify(inotify) => inotify.readiness(),
            Object::Content(_) | Object::File(_) => (READABLE | WRITABLE) as u32,
            Object::Epoll(_) => self.epoll_readiness(id),
        }
    }

    /// How many bytes a read would give now: ioctl(2) with `FIONREAD`.
    pub(crate) fn available(&mut self, id: FileId) -> Result<usize, Errno> {
        match &self.descriptors.get(id).object {
            Object::Socket(socket) => {
                let socket = *socket;
                self.socket_available(socket)
            }
            Object::Pipe(end) => {
                let end = *end;
                Ok(self.pipe_available(end))
            }
            Object::Netlink(netlink) => Ok(netlink.available()),
            Object::Inotify(inotify) => Ok(inotify.available()),
            _ => Err(libc::ENOTTY),
        }
    }

    /// Has a waiter woken when a file may have become ready for either direction.
    pub(crate) fn await_file(&mut self, id: FileId, waiter: impl Fn() -> Waiter) {
        let unneeded = match &mut self.descriptors.get(id).object {
            Object::Socket(socket) => {
                if let Some((id, side)) = socket.connection() {
                    return self.await_stream(id, side, waiter);
                }
                let socket = *socket;
                self.await_socket(socket, &waiter);
                None
            }
            Object::Pipe(end) => {
                let end = *end;
                self.await_pipe(end, waiter())
            }
            Object::Event(event) => event.waiters.add(waiter()),
            Object::Netlink(netlink) => netlink.waiters.add(waiter()),
            Object::Inotify(inotify) => inotify.waiters.add(waiter()),
            Object::Timer(timer) => {
                let unneeded = timer.waiters.add(waiter());
                self.await_timer(id);
                unneeded
            }
            Object::Content(_) | Object::File(_) => None, // it is always ready
            Object::Epoll(epoll) => {
                let group = epoll.group;
                self.kernel.watches.wait(group, waiter())
            }
        };
        self.kernel.discard(unneeded);
    }

    /// Takes note of what the task being polled waits for.
    pub(crate) fn note_wait(&mut self, id: FileId, direction: Direction) {
        match &self.descriptors.get(id).object {
            Object::Socket(socket) => {
                let socket = *socket;
                self.note_socket_wait(socket, direction);
            }
            Object::Pipe(_)
            | Object::Event(_)
            | Object::Netlink(_)
            | Object::Inotify(_)
            | Object::Content(_)
            | Object::File(_) => {
                self.kernel.waits_for(WaitsFor::Bytes);
            }
            Object::Timer(_) => self.kernel.waits_for(WaitsFor::Clock),
            Object::Epoll(_) => self.kernel.waits_for(WaitsFor::Epoll),
        }
    }

    /// Reads from a file; `None` when there is nothing yet.
    pub(crate) fn read_file(
        &mut self,
        id: FileId,
        buffers: &mut Buffers<'_>,
        peek: bool,
    ) -> Result<Option<Read>, Errno> {
        match &mut self.descriptors.get(id).object {
            Object::Socket(socket) => {
                if let Some((id, side)) = socket.connection() {
                    return self.read_stream(id, side, buffers, peek);
                }
                if let Some(code) = socket.take_idle_error() {
                    return Err(code);
                }
                let socket = *socket;
                self.read_socket(socket, buffers, peek)
            }
            Object::Pipe(end) => {
                let end = *end;
                self.read_pipe(end, buffers)
            }
            Object::Event(event) => {
                let read = event.read(buffers)?;
                if read.is_some() {
                    let waiters = event.waiters.take();
                    self.kernel.wake_all(waiters);
                }
                Ok(read.map(Read::of))
            }
            Object::Timer(_) => Ok(self.read_timer(id, buffers)?.map(Read::of)),
            Object::Netlink(netlink) => Ok(netlink.read(buffers, peek)),
            Object::Inotify(inotify) => Ok(inotify.read(buffers)?.map(Read::of)),
            Object::Content(_) => self.read_content(id, buffers, None).map(|n| Some(Read::of(n))),
            Object::File(_) => self.read_disk(id, buffers, None).map(|n| Some(Read::of(n))),
            Object::Epoll(_) => Err(libc::EINVAL),
        }
    }

    /// Writes to a file; `None` when there is no room.
    pub(crate) fn write_file(
        &mut self,
        id: FileId,
        parts: &[std::io::IoSlice<'_>],
    ) -> Result<Option<usize>, Errno> {
        match &mut self.descriptors.get(id).object {
            Object::Socket(socket) => {
                if let Some((id, side)) = socket.connection() {
                    return self.write_stream(id, side, parts);
                }
                if let Some(code) = socket.take_idle_error() {
                    return Err(code);
                }
                let socket = *socket;
                self.write_socket(socket, parts, None)
            }
            Object::Pipe(end) => {
                let end = *end;
                self.write_pipe(end, parts)
            }
            Object::Event(event) => {
                let written = event.write(parts)?;
                if written.is_some() {
                    let waiters = event.waiters.take();
                    self.kernel.wake_all(waiters);
                }
                Ok(written)
            }
            Object::Content(Content::Device(device)) => Ok(Some(Self::write_device(*device, parts))),
            // They are open for reading alone.
            Object::Content(Content::Bytes { .. }) | Object::Inotify(_) => Err(libc::EBADF),
            Object::File(_) => self.write_disk(id, parts, None).map(Some),
            Object::Netlink(_) => self.write_netlink(id, parts).map(Some),
            Object::Timer(_) | Object::Epoll(_) => Err(libc::EINVAL),
        }
    }
}

/// Where a read puts its bytes: one buffer after the other.
pub(crate) struct Buffers<'a> {
    pub(crate) parts: SmallVec<[&'a mut [u8]; 2]>,
    /// Of all parts: it is asked for at each look whether there is something to read.
    room: usize,
}

impl<'a> FromIterator<&'a mut [u8]> for Buffers<'a> {
    fn from_iter<I: IntoIterator<Item = &'a mut [u8]>>(parts: I) -> Self {
        let parts: SmallVec<[&'a mut [u8]; 2]> = parts.into_iter().collect();
        let room = parts.iter().map(|part| part.len()).sum();
        Self { parts, room }
    }
}

impl<'a> Buffers<'a> {
    /// One, which may be empty.
    #[inline]
    pub(crate) fn one(buffer: &'a mut [u8]) -> Self {
        let room = buffer.len();
        Self { parts: SmallVec::from_buf_and_len([buffer, &mut []], usize::from(room > 0)), room }
    }

    #[inline]
    pub(crate) fn room(&self) -> usize {
        self.room
    }

    /// Leaves room for so many bytes at most.
    pub(crate) fn truncate(&mut self, length: usize) {
        self.room = self.room.min(length);
        let mut left = self.room;
        for part in &mut self.parts {
            let n = part.len().min(left);
            *part = &mut std::mem::take(part)[..n];
            left -= n;
        }
    }

    /// Copies bytes to `at` and behind.
    pub(crate) fn put(&mut self, mut at: usize, mut bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        for part in &mut self.parts {
            if at >= part.len() {
                at -= part.len();
                continue;
            }
            let n = bytes.len().min(part.len() - at);
            part[at..at + n].copy_from_slice(&bytes[..n]);
            (at, bytes) = (0, &bytes[n..]);
            if bytes.is_empty() {
                return;
            }
        }
    }
}

/// Who sent what was read.
#[derive(Debug, Clone)]
pub(crate) enum Sender {
    Internet(std::net::SocketAddr),
    Unix(UnixName),
    Netlink { port: u32, groups: u32 },
}

/// What was read.
#[derive(Debug, Clone)]
pub(crate) struct Read {
    pub(crate) bytes: usize,
    /// How long the datagram was.
    pub(crate) whole: usize,
    pub(crate) from: Option<Sender>,
    /// Of a Unix socket with SO_PASSCRED.
    pub(crate) credentials: Option<Credentials>,
}

/// Whose process, user and group come with what a Unix socket receives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Credentials {
    /// Those of the sender, who is of the same process: there is one for each machine.
    Sender,
    /// Nobody asked for them when it was sent.
    Unknown,
    /// The end of a stream has none.
    End,
}

impl Read {
    pub(crate) fn of(bytes: usize) -> Self {
        Self { bytes, whole: bytes, from: None, credentials: None }
    }
}
