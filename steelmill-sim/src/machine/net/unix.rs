//! Unix sockets (unix(7)): streams and datagrams within a machine, by path, by abstract name, or in pairs.
//!
//! What a send takes is in the queue of its receiver at once: there is no latency and no loss. The answers are those of Linux's
//! `af_unix.c`. A path is also a name on the machine's disk.

use std::collections::{BTreeMap, VecDeque};
use std::io::IoSlice;
use std::sync::Arc;

use super::udp::truesize;
use crate::kernel::waiter::{Waiter, Waiters};
use crate::machine::cluster::Cluster;
use crate::machine::descriptors::{Buffers, Credentials, Errno, READABLE, Read, Sender, WRITABLE};
use crate::machine::disk::Ino;

/// A path, or an abstract name behind a zero byte. The empty one is that of a socket without a name.
pub(crate) type UnixName = Arc<[u8]>;

/// How much memory of a sender the messages that were not received yet may take: `net.core.wmem_default`.
const SEND_BUFFER: usize = 212_992;

/// How many datagrams wait for a receiver that is not connected to their sender: `net.unix.max_dgram_qlen`.
const DATAGRAMS_MAX: usize = 10;

/// The greatest backlog: `net.core.somaxconn`.
const BACKLOG_MAX: usize = 4096;

/// A socket's index. The generation detects a reused slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct UnixId {
    index: u32,
    generation: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Closed,
    Listening,
    Established,
}

struct Message {
    bytes: Vec<u8>,
    /// How many of them were received.
    read: usize,
    sender: UnixId,
    from: Option<UnixName>,
    /// The memory it takes of the sender.
    size: usize,
    /// Whether it has its sender's credentials.
    has_credentials: bool,
}

struct Unix {
    machine: u32,
    is_stream: bool,
    state: State,
    name: Option<UnixName>,
    /// Where it is among the bound ones.
    key: Option<Key>,
    peer: Option<UnixId>,
    /// The peer's name when it connected: it is told after the peer is gone.
    peer_name: Option<UnixName>,
    /// SO_PASSCRED.
    passes_credentials: bool,
    /// Whether SO_PEERCRED has a process: that of the peer, or of who listens.
    knows_peer_process: bool,
    is_read_shut: bool,
    is_write_shut: bool,
    error: Option<Errno>,
    queue: VecDeque<Message>,
    /// The memory of what it sent and nobody has received.
    sent: usize,
    backlog: VecDeque<UnixId>,
    backlog_max: usize,
    /// Sockets that wait for room in the queue or the backlog.
    blocked: Vec<UnixId>,
    waiters: Waiters,
}

/// What a socket is found by. Names are of a machine.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    /// A path, which is a name on the disk: its inode there.
    Inode(u32, Ino),
    /// An abstract name of streams, or of datagrams.
    Abstract(u32, bool, UnixName),
}

#[derive(Default)]
pub(crate) struct UnixSockets {
    all: Vec<(u32, Option<Unix>)>,
    free: Vec<u32>,
    bound: BTreeMap<Key, UnixId>,
    /// The next name that bind(2) chooses.
    next_name: u32,
}

fn credentials(message: &Message) -> Credentials {
    if message.has_credentials { Credentials::Sender } else { Credentials::Unknown }
}

fn is_path(name: &UnixName) -> bool {
    name.first().is_some_and(|first| *first != 0)
}

impl UnixSockets {
    fn get(&mut self, id: UnixId) -> Option<&mut Unix> {
        let (generation, socket) = self.all.get_mut(id.index as usize)?;
        socket.as_mut().filter(|_| *generation == id.generation)
    }

    pub(super) fn waiters(&mut self) -> impl Iterator<Item = &mut Waiters> {
        self.all.iter_mut().filter_map(|(_, socket)| Some(&mut socket.as_mut()?.waiters))
    }
}

impl Unix {
    fn is_writable(&self) -> bool {
        self.state != State::Listening && self.sent * 4 <= SEND_BUFFER
    }

    fn is_full(&self) -> bool {
        self.queue.len() > DATAGRAMS_MAX
    }
}

impl Cluster {
    pub(crate) fn unix_open(&mut self, machine: u32, is_stream: bool) -> UnixId {
        let socket = Unix {
            machine,
            is_stream,
            state: State::Closed,
            name: None,
            key: None,
            peer: None,
            peer_name: None,
            passes_credentials: false,
            knows_peer_process: false,
            is_read_shut: false,
            is_write_shut: false,
            error: None,
            queue: VecDeque::new(),
            sent: 0,
            backlog: VecDeque::new(),
            backlog_max: 0,
            blocked: Vec::new(),
            waiters: Waiters::default(),
        };
        let sockets = &mut self.net.unix;
        match sockets.free.pop() {
            Some(index) => {
                let (generation, slot) = &mut sockets.all[index as usize];
                *slot = Some(socket);
                UnixId { index, generation: *generation }
            }
            None => {
                sockets.all.push((0, Some(socket)));
                UnixId { index: (sockets.all.len() - 1) as u32, generation: 0 }
            }
        }
    }

    /// socketpair(2).
    pub(crate) fn unix_pair(&mut self, machine: u32, is_stream: bool) -> [UnixId; 2] {
        let ends = [self.unix_open(machine, is_stream), self.unix_open(machine, is_stream)];
        for (own, other) in [(ends[0], ends[1]), (ends[1], ends[0])] {
            if let Some(socket) = self.net.unix.get(own) {
                (socket.peer, socket.state) = (Some(other), State::Established);
                socket.knows_peer_process = true;
            }
        }
        ends
    }

    /// bind(2): an empty name has one chosen.
    pub(crate) fn unix_bind(&mut self, id: UnixId, name: &UnixName) -> Result<(), Errno> {
        let sockets = &mut self.net.unix;
        let socket = sockets.get(id).ok_or(libc::EBADF)?;
        let (machine, is_stream, is_named) = (socket.machine, socket.is_stream, socket.name.is_some());
        let name = match (name.is_empty(), is_named) {
            (true, true) => return Ok(()),
            (false, true) => return Err(libc::EINVAL),
            (false, false) => name.clone(),
            (true, false) => loop {
                let chosen: UnixName = format!("\0{:05x}", sockets.next_name & 0xf_ffff).into_bytes().into();
                sockets.next_name += 1;
                if !sockets.bound.contains_key(&Key::Abstract(machine, is_stream, chosen.clone())) {
                    break chosen;
                }
            },
        };
        let key = if is_path(&name) {
            let now = self.disk_time(machine);
            let made = self.disk(machine).make_socket(&name, now);
            self.tell_watchers(machine);
            let ino = made.map_err(|error| if error == libc::EEXIST { libc::EADDRINUSE } else { error })?;
            Key::Inode(machine, ino)
        } else {
            let key = Key::Abstract(machine, is_stream, name.clone());
            if self.net.unix.bound.contains_key(&key) {
                return Err(libc::EADDRINUSE);
            }
            key
        };
        let sockets = &mut self.net.unix;
        let socket = sockets.get(id).ok_or(libc::EBADF)?;
        (socket.name, socket.key) = (Some(name.clone()), Some(key.clone()));
        let has_sent = socket.sent > 0;
        sockets.bound.insert(key, id);
        if has_sent {
            // What nobody has received yet is told to come from the name that the sender has by then.
            let queues = sockets.all.iter_mut().filter_map(|(_, socket)| Some(&mut socket.as_mut()?.queue));
            let sent = queues.flatten().filter(|message| message.sender == id);
            sent.for_each(|message| message.from = Some(name.clone()));
        }
        Ok(())
    }

    /// The socket that has a name.
    ///
    /// # Errors
    /// `ECONNREFUSED` without one, `ENOENT` without the path, `EPROTOTYPE` where it is of the other type.
    fn unix_find(&mut self, id: UnixId, name: &UnixName) -> Result<UnixId, Errno> {
        let socket = self.net.unix.get(id).ok_or(libc::EBADF)?;
        let (machine, is_stream) = (socket.machine, socket.is_stream);
        let key = if is_path(name) {
            let disk = self.disk(machine);
            Key::Inode(machine, disk.find(disk.directory(), name, true)?)
        } else {
            Key::Abstract(machine, is_stream, name.clone())
        };
        let found = *self.net.unix.bound.get(&key).ok_or(libc::ECONNREFUSED)?;
        match self.net.unix.get(found) {
            Some(other) if other.is_stream != is_stream => Err(libc::EPROTOTYPE),
            Some(_) => Ok(found),
            None => Err(libc::ECONNREFUSED),
        }
    }

    /// listen(2).
    pub(crate) fn unix_listen(&mut self, id: UnixId, backlog: i32) -> Result<(), Errno> {
        let socket = self.net.unix.get(id).ok_or(libc::EBADF)?;
        if !socket.is_stream {
            return Err(libc::EOPNOTSUPP);
        }
        if socket.name.is_none() || socket.state == State::Established {
            return Err(libc::EINVAL);
        }
        socket.state = State::Listening;
        socket.knows_peer_process = true;
        socket.backlog_max = (backlog as u32 as usize).min(BACKLOG_MAX);
        self.unix_wake(id);
        self.unix_wake_blocked(id);
        Ok(())
    }

    /// connect(2); `None` while the backlog is full.
    pub(crate) fn unix_connect(&mut self, id: UnixId, name: &UnixName) -> Result<Option<()>, Errno> {
        if name.is_empty() {
            return Err(libc::EINVAL);
        }
        self.unix_bind_for_credentials(id)?;
        let other = self.unix_find(id, name)?;
        if self.net.unix.get(id).is_some_and(|socket| !socket.is_stream) {
            return self.unix_connect_datagrams(id, Some(other)).map(Some);
        }
        let listener = self.net.unix.get(other).ok_or(libc::ECONNREFUSED)?;
        if listener.state != State::Listening || listener.is_read_shut {
            return Err(libc::ECONNREFUSED);
        }
        if listener.backlog.len() > listener.backlog_max {
            listener.blocked.push(id);
            return Ok(None);
        }
        let (machine, listener_name) = (listener.machine, listener.name.clone());
        let passes_credentials = listener.passes_credentials;
        let socket = self.net.unix.get(id).ok_or(libc::EBADF)?;
        match socket.state {
            State::Closed => {}
            State::Established => return Err(libc::EISCONN),
            State::Listening => return Err(libc::EINVAL),
        }
        let own_name = socket.name.clone();
        let accepted = self.unix_open(machine, true);
        if let Some(end) = self.net.unix.get(accepted) {
            (end.peer, end.state) = (Some(id), State::Established);
            (end.name, end.peer_name) = (listener_name.clone(), own_name);
            (end.passes_credentials, end.knows_peer_process) = (passes_credentials, true);
        }
        if let Some(end) = self.net.unix.get(id) {
            (end.peer, end.state, end.peer_name) = (Some(accepted), State::Established, listener_name);
            end.knows_peer_process = true;
        }
        if let Some(listener) = self.net.unix.get(other) {
            listener.backlog.push_back(accepted);
        }
        self.unix_wake(other);
        self.unix_wake(id);
        Ok(Some(()))
    }

    /// connect(2) of datagrams, with `AF_UNSPEC` to nobody.
    pub(crate) fn unix_connect_datagrams(&mut self, id: UnixId, other: Option<UnixId>) -> Result<(), Errno> {
        let mut name = None;
        if let Some(other) = other {
            let target = self.net.unix.get(other).ok_or(libc::ECONNREFUSED)?;
            if target.peer.is_some_and(|peer| peer != id) {
                return Err(libc::EPERM);
            }
            target.state = State::Established;
            name.clone_from(&target.name);
        }
        let socket = self.net.unix.get(id).ok_or(libc::EBADF)?;
        let before = std::mem::replace(&mut socket.peer, other);
        socket.peer_name = name;
        socket.state = if other.is_some() { State::Established } else { State::Closed };
        if let Some(before) = before.filter(|_| before != other) {
            self.unix_disconnected(id, before);
        }
        Ok(())
    }

    /// A datagram socket has left its peer: what it has not received is lost, and a peer that is connected to it is told so.
    fn unix_disconnected(&mut self, id: UnixId, from: UnixId) {
        let Some(socket) = self.net.unix.get(id) else { return };
        let lost = std::mem::take(&mut socket.queue);
        if lost.is_empty() {
            return;
        }
        lost.into_iter().for_each(|message| self.unix_received(message.sender, message.size));
        if let Some(peer) = self.net.unix.get(from)
            && peer.peer == Some(id)
        {
            peer.error = Some(libc::ECONNRESET);
            self.unix_wake(from);
        }
    }

    /// accept(2): the connection, and its peer's name.
    pub(crate) fn unix_accept(&mut self, id: UnixId) -> Result<Option<(UnixId, UnixName)>, Errno> {
        let listener = self.net.unix.get(id).ok_or(libc::EBADF)?;
        if !listener.is_stream {
            return Err(libc::EOPNOTSUPP);
        }
        if listener.state != State::Listening {
            return Err(libc::EINVAL);
        }
        let Some(accepted) = listener.backlog.pop_front() else { return Ok(None) };
        self.unix_wake_blocked(id);
        let peer = self.unix_peer(accepted).unwrap_or_default();
        Ok(Some((accepted, peer)))
    }

    /// Sends to a name, or to the peer; `None` when there is no room.
    pub(crate) fn unix_send(
        &mut self,
        id: UnixId,
        parts: &[IoSlice<'_>],
        to: Option<&UnixName>,
        with_credentials: bool,
    ) -> Result<Option<usize>, Errno> {
        let socket = self.net.unix.get(id).ok_or(libc::EBADF)?;
        let bytes: Vec<u8> = parts.iter().flat_map(|part| part.iter().copied()).collect();
        if !socket.is_stream {
            return self.unix_send_datagram(id, bytes, to, with_credentials);
        }
        if to.is_some() {
            return Err(if socket.state == State::Established { libc::EISCONN } else { libc::EOPNOTSUPP });
        }
        let peer = socket.peer.ok_or(libc::ENOTCONN)?;
        if socket.is_write_shut {
            return Err(libc::EPIPE);
        }
        let is_asked = self.net.unix.get(peer).is_some_and(|peer| peer.passes_credentials);
        let mut taken = 0;
        while taken < bytes.len() {
            let Some(socket) = self.net.unix.get(id) else { break };
            if let (0, Some(code)) = (taken, socket.error.take()) {
                return Err(code);
            }
            if socket.sent >= SEND_BUFFER {
                return Ok((taken > 0).then_some(taken));
            }
            let chunk = &bytes[taken..bytes.len().min(taken + SEND_BUFFER / 2 - 64)];
            let size = truesize(chunk);
            let from = socket.name.clone();
            socket.sent += size;
            let has_credentials = with_credentials || is_asked || socket.passes_credentials;
            let message = Message { bytes: chunk.to_vec(), read: 0, sender: id, from, size, has_credentials };
            taken += chunk.len();
            match self.net.unix.get(peer) {
                Some(peer) => peer.queue.push_back(message),
                None => return Err(libc::EPIPE),
            }
        }
        if taken > 0 {
            self.unix_wake(peer);
        }
        Ok(Some(taken))
    }

    fn unix_send_datagram(
        &mut self,
        id: UnixId,
        bytes: Vec<u8>,
        to: Option<&UnixName>,
        with_credentials: bool,
    ) -> Result<Option<usize>, Errno> {
        if to.is_some_and(|name| name.is_empty()) {
            return Err(libc::EINVAL);
        }
        self.unix_bind_for_credentials(id)?;
        let socket = self.net.unix.get(id).ok_or(libc::EBADF)?;
        let peer = socket.peer;
        if bytes.len() > SEND_BUFFER - 32 {
            return Err(libc::EMSGSIZE);
        }
        if let Some(code) = socket.error.take() {
            return Err(code);
        }
        if socket.is_write_shut {
            return Err(libc::EPIPE);
        }
        if socket.sent >= SEND_BUFFER {
            return Ok(None);
        }
        let (from, passes_credentials) = (socket.name.clone(), socket.passes_credentials);
        let target = match to {
            Some(name) => self.unix_find(id, name)?,
            None => peer.ok_or(libc::ENOTCONN)?,
        };
        let Some(other) = self.net.unix.get(target) else {
            // The peer is gone, and so is the connection to it.
            self.unix_connect_datagrams(id, None)?;
            return Err(libc::ECONNREFUSED);
        };
        if other.peer.is_some_and(|peer| peer != id) {
            return Err(libc::EPERM);
        }
        if other.is_read_shut {
            return Err(libc::EPIPE);
        }
        if target != id && other.peer != Some(id) && other.is_full() {
            other.blocked.push(id);
            return Ok(None);
        }
        let (length, size) = (bytes.len(), truesize(&bytes));
        let has_credentials = with_credentials || passes_credentials || other.passes_credentials;
        other.queue.push_back(Message { bytes, read: 0, sender: id, from, size, has_credentials });
        if let Some(socket) = self.net.unix.get(id) {
            socket.sent += size;
        }
        self.unix_wake(target);
        Ok(Some(length))
    }

    /// Receives bytes of a stream, or a datagram; `None` when there is none.
    pub(crate) fn unix_receive(
        &mut self,
        id: UnixId,
        buffers: &mut Buffers<'_>,
        peek: bool,
    ) -> Result<Option<Read>, Errno> {
        let socket = self.net.unix.get(id).ok_or(libc::EBADF)?;
        if socket.is_stream && socket.state != State::Established {
            return Err(libc::EINVAL);
        }
        if socket.is_stream {
            return self.unix_read(id, buffers, peek);
        }
        if let Some(code) = socket.error.take() {
            return Err(code);
        }
        let Some(message) = socket.queue.front() else { return Ok(None) };
        let (whole, bytes) = (message.bytes.len(), message.bytes.len().min(buffers.room()));
        buffers.put(0, &message.bytes[..bytes]);
        let from = message.from.clone().map(Sender::Unix);
        let credentials = socket.passes_credentials.then(|| credentials(message));
        if !peek && let Some(message) = socket.queue.pop_front() {
            self.unix_received(message.sender, message.size);
            self.unix_wake_blocked(id);
        }
        Ok(Some(Read { bytes, whole, from, credentials }))
    }

    fn unix_read(
        &mut self,
        id: UnixId,
        buffers: &mut Buffers<'_>,
        peek: bool,
    ) -> Result<Option<Read>, Errno> {
        let Some(socket) = self.net.unix.get(id) else { return Err(libc::EBADF) };
        if socket.queue.is_empty() {
            return match socket.error.take() {
                Some(code) => Err(code),
                None => {
                    let credentials = socket.passes_credentials.then_some(Credentials::End);
                    Ok(socket.is_read_shut.then(|| Read { credentials, ..Read::of(0) }))
                }
            };
        }
        let (room, mut taken) = (buffers.room(), 0);
        let passes_credentials = socket.passes_credentials;
        let Some(first) = socket.queue.front() else { return Ok(None) };
        let (from, credentials) = (first.from.clone(), credentials(first));
        for message in &mut socket.queue {
            // Bytes of different senders do not run together where these are told.
            if taken == room || passes_credentials && self::credentials(message) != credentials {
                break;
            }
            let rest = &message.bytes[message.read..];
            let n = rest.len().min(room - taken);
            buffers.put(taken, &rest[..n]);
            taken += n;
            if !peek {
                message.read += n;
            }
        }
        let mut received = Vec::new();
        while socket.queue.front().is_some_and(|message| message.read == message.bytes.len()) {
            received.extend(socket.queue.pop_front());
        }
        received.into_iter().for_each(|message| self.unix_received(message.sender, message.size));
        let credentials = passes_credentials.then_some(credentials);
        Ok(Some(Read { bytes: taken, whole: taken, from: from.map(Sender::Unix), credentials }))
    }

    /// A socket that passes credentials has a name before it sends: `unix_autobind()`.
    fn unix_bind_for_credentials(&mut self, id: UnixId) -> Result<(), Errno> {
        let socket = self.net.unix.get(id).ok_or(libc::EBADF)?;
        match socket.passes_credentials && socket.name.is_none() {
            true => self.unix_bind(id, &UnixName::default()),
            false => Ok(()),
        }
    }

    pub(super) fn unix_passes_credentials(&mut self, id: UnixId) -> bool {
        self.net.unix.get(id).is_some_and(|socket| socket.passes_credentials)
    }

    pub(super) fn unix_set_passes_credentials(&mut self, id: UnixId, passes: bool) {
        if let Some(socket) = self.net.unix.get(id) {
            socket.passes_credentials = passes;
        }
    }

    pub(super) fn unix_knows_peer_process(&mut self, id: UnixId) -> bool {
        self.net.unix.get(id).is_some_and(|socket| socket.knows_peer_process)
    }

    /// A message is received or lost: its sender has its memory again.
    fn unix_received(&mut self, sender: UnixId, size: usize) {
        if let Some(sender_socket) = self.net.unix.get(sender) {
            sender_socket.sent -= size;
            self.unix_wake(sender);
        }
    }

    /// shutdown(2): of a stream, the peer's directions end with it.
    pub(crate) fn unix_shutdown(&mut self, id: UnixId, reads: bool, writes: bool) {
        let Some(socket) = self.net.unix.get(id) else { return };
        socket.is_read_shut |= reads;
        socket.is_write_shut |= writes;
        let peer = socket.peer.filter(|_| socket.is_stream);
        if let Some(peer) = peer.and_then(|peer| self.net.unix.get(peer)) {
            peer.is_write_shut |= reads;
            peer.is_read_shut |= writes;
        }
        self.unix_wake(id);
        self.unix_wake_blocked(id);
        peer.into_iter().for_each(|peer| self.unix_wake(peer));
    }

    pub(crate) fn unix_close(&mut self, id: UnixId) {
        let Some((generation, slot)) = self.net.unix.all.get_mut(id.index as usize) else { return };
        let Some(socket) = slot.take_if(|_| *generation == id.generation) else { return };
        *generation = generation.wrapping_add(1);
        self.net.unix.free.push(id.index);
        self.kernel.discard_all(socket.waiters);
        // An inode that was unlinked may be another's by now.
        if let Some(key) = socket.key.filter(|key| self.net.unix.bound.get(key) == Some(&id)) {
            self.net.unix.bound.remove(&key);
        }
        if let Some(peer_id) = socket.peer
            && let Some(peer) = self.net.unix.get(peer_id)
        {
            if peer.peer == Some(id) && peer.peer_name.is_none() {
                peer.peer_name.clone_from(&socket.name);
            }
            if socket.is_stream {
                (peer.is_read_shut, peer.is_write_shut) = (true, true);
                if !socket.queue.is_empty() {
                    peer.error = Some(libc::ECONNRESET);
                }
            }
            self.unix_wake(peer_id);
        }
        for accepted in socket.backlog {
            // Whoever connected is told that nobody has read it.
            let peer = self.net.unix.get(accepted).and_then(|end| end.peer);
            self.unix_close(accepted);
            if let Some(peer) = peer.and_then(|peer| self.net.unix.get(peer)) {
                peer.error = Some(libc::ECONNRESET);
            }
        }
        socket.queue.into_iter().for_each(|message| self.unix_received(message.sender, message.size));
        for blocked in socket.blocked {
            self.unix_wake(blocked);
        }
    }

    /// As poll(2) and Linux's `unix_poll()` and `unix_dgram_poll()` say it.
    pub(crate) fn unix_readiness(&mut self, id: UnixId) -> i32 {
        let Some(socket) = self.net.unix.get(id) else { return libc::EPOLLHUP };
        let mut is_writable = socket.is_writable();
        let mut ready = 0;
        let has_input = !socket.queue.is_empty() || !socket.backlog.is_empty();
        let is_unconnected = socket.is_stream && socket.state == State::Closed;
        for (holds, event) in [
            (socket.error.is_some(), libc::EPOLLERR),
            (socket.is_read_shut && socket.is_write_shut || is_unconnected, libc::EPOLLHUP),
            (socket.is_read_shut, libc::EPOLLRDHUP),
            (socket.is_read_shut || has_input, READABLE),
        ] {
            if holds {
                ready |= event;
            }
        }
        if let (false, Some(peer)) = (socket.is_stream, socket.peer)
            && let Some(other) = self.net.unix.get(peer)
            && other.peer != Some(id)
            && other.is_full()
        {
            other.blocked.push(id);
            is_writable = false;
        }
        ready | if is_writable { WRITABLE | libc::EPOLLWRBAND } else { 0 }
    }

    pub(crate) fn unix_await(&mut self, id: UnixId, waiter: Waiter) -> Option<Waiter> {
        self.net.unix.get(id).and_then(|socket| socket.waiters.add(waiter))
    }

    fn unix_wake(&mut self, id: UnixId) {
        if let Some(socket) = self.net.unix.get(id) {
            let waiters = socket.waiters.take();
            self.kernel.wake_all(waiters);
        }
    }

    fn unix_wake_blocked(&mut self, id: UnixId) {
        let blocked = self.net.unix.get(id).map(|socket| std::mem::take(&mut socket.blocked));
        blocked.into_iter().flatten().for_each(|blocked| self.unix_wake(blocked));
    }

    /// The own name; empty without one.
    pub(crate) fn unix_local(&mut self, id: UnixId) -> UnixName {
        self.net.unix.get(id).and_then(|socket| socket.name.clone()).unwrap_or_default()
    }

    /// The peer's name; empty without one.
    pub(crate) fn unix_peer(&mut self, id: UnixId) -> Result<UnixName, Errno> {
        let socket = self.net.unix.get(id).ok_or(libc::EBADF)?;
        let peer = socket.peer.ok_or(libc::ENOTCONN)?;
        let known = socket.peer_name.clone();
        let name = self.net.unix.get(peer).and_then(|peer| peer.name.clone());
        Ok(name.or(known).unwrap_or_default())
    }

    pub(crate) fn unix_error(&mut self, id: UnixId) -> Option<Errno> {
        self.net.unix.get(id).and_then(|socket| socket.error.take())
    }

    pub(crate) fn unix_is_stream(&mut self, id: UnixId) -> bool {
        self.net.unix.get(id).is_some_and(|socket| socket.is_stream)
    }

    pub(crate) fn unix_listens(&mut self, id: UnixId) -> bool {
        self.net.unix.get(id).is_some_and(|socket| socket.state == State::Listening)
    }

    /// How many bytes a read would give: those of all messages of a stream, or of the next datagram.
    pub(crate) fn unix_available(&mut self, id: UnixId) -> Result<usize, Errno> {
        let socket = self.net.unix.get(id).ok_or(libc::EBADF)?;
        if socket.state == State::Listening {
            return Err(libc::EINVAL);
        }
        let mut lengths = socket.queue.iter().map(|message| message.bytes.len() - message.read);
        Ok(if socket.is_stream { lengths.sum() } else { lengths.next().unwrap_or(0) })
    }
}
