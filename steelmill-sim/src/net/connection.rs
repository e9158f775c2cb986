//! TCP connections: the state machine between two ends, driven by what arrives when.
//!
//! Nothing here is a packet. A handshake is three events (SYN, its answer, the accept); data is one event for each
//! flight that arrives; acknowledgements are implied. What cannot get through stalls and is sent again later, as TCP's
//! retransmission would; see [`link`](super::link) for the times.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;

use super::link::{GIVE_UP, next_retransmission, next_syn};
use super::pipe::Pipe;
use super::{Event, Owner, address};
use crate::digest::Event as Happened;
use crate::executor::WaitsFor;
use crate::hosts::Power;
use crate::run::Run;
use crate::timers::Nanos;
use crate::waker::{Waiter, Waiters};
use crate::world::Place;

/// Names a connection. The generation tells a reused place apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ConnectionId {
    index: u32,
    generation: u32,
}

/// Which end of a connection: the one that connected, or the one that accepted.
pub(crate) type Side = u8;
pub(crate) const CONNECTOR: Side = 0;
pub(crate) const ACCEPTOR: Side = 1;

pub(crate) struct Connection {
    generation: u32,
    in_use: bool,
    /// When the connector began.
    since: Nanos,
    /// Whose backlog it goes to.
    listener: Option<ListenerId>,
    ends: [End; 2],
    /// The pipe of a side carries what that side writes.
    pipes: [Pipe; 2],
}

pub(crate) struct End {
    machine: u32,
    pub(crate) local: SocketAddr,
    pub(crate) peer: SocketAddr,
    pub(crate) state: State,
    /// An error its owner has not seen yet, as Linux's number for it.
    error: Option<i32>,
    /// How many handles own it: a stream, or the two halves of one.
    pub(crate) handles: u8,
    pub(crate) readers: Waiters,
    pub(crate) writers: Waiters,
    pub(crate) options: Options,
}

/// Socket options that a program can set and read back.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Options {
    pub(crate) nodelay: bool,
    pub(crate) zero_linger: bool,
    pub(crate) ttl: u32,
}

impl Default for Options {
    fn default() -> Self {
        Self { nodelay: false, zero_linger: false, ttl: 64 }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// Nothing of this end exists yet.
    Unborn,
    /// The connector has asked.
    SynSent,
    /// The acceptor has answered.
    SynReceived,
    Open,
    /// Reset or given up; its owner still holds it.
    Broken,
    /// Its owner, or its machine, has let go of it.
    Closed,
}

/// How an end is let go of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Farewell {
    /// As the kernel closes a socket: a FIN, or a reset when something was left unread.
    Close,
    Reset,
    /// Without a word: the machine has lost its power.
    Silent,
}

/// Names a listener. The generation tells a reused place apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ListenerId {
    index: u32,
    generation: u32,
}

pub(crate) struct Listener {
    generation: u32,
    in_use: bool,
    machine: u32,
    local: SocketAddr,
    /// Connections that wait to be accepted, and how many more are on the way there.
    backlog: VecDeque<ConnectionId>,
    coming: usize,
    pub(crate) waiters: Waiters,
}

/// How many connections may wait to be accepted: what tokio asks for (Linux would allow 4096).
const BACKLOG: usize = 1024;

/// Looks for a machine that does not exist: Linux gives up asking for its hardware address after three seconds.
const NO_SUCH_HOST: Nanos = 3_000_000_000;

#[derive(Default)]
pub(crate) struct Connections {
    all: Vec<Connection>,
    free: Vec<u32>,
    listeners: Vec<Listener>,
    free_listeners: Vec<u32>,
}

impl End {
    fn new(machine: u32, local: SocketAddr, peer: SocketAddr, state: State) -> Self {
        Self {
            machine,
            local,
            peer,
            state,
            error: None,
            handles: 1,
            readers: Waiters::default(),
            writers: Waiters::default(),
            options: Options::default(),
        }
    }

    /// The error to report, once.
    #[inline]
    fn take_error(&mut self) -> io::Result<()> {
        self.error.take().map_or(Ok(()), |code| Err(address::os_error(code)))
    }
}

impl Connection {
    #[inline]
    pub(crate) fn end(&mut self, side: Side) -> &mut End {
        &mut self.ends[usize::from(side)]
    }

    /// What `side` writes.
    #[inline]
    fn out(&mut self, side: Side) -> &mut Pipe {
        &mut self.pipes[usize::from(side)]
    }

    /// What `side` reads.
    #[inline]
    fn into(&mut self, side: Side) -> &mut Pipe {
        &mut self.pipes[usize::from(1 - side)]
    }

    /// The machine of `side`, and that of the other.
    #[inline]
    fn way(&self, side: Side) -> (u32, u32) {
        (self.ends[usize::from(side)].machine, self.ends[usize::from(1 - side)].machine)
    }

    /// Whether a read of `side` would not block.
    pub(crate) fn is_readable(&mut self, side: Side) -> bool {
        self.end(side).state != State::Open || self.into(side).readable() > 0 || self.into(side).is_ended()
    }
}

impl Connections {
    #[inline]
    pub(crate) fn get(&mut self, id: ConnectionId) -> Option<&mut Connection> {
        self.all.get_mut(id.index as usize).filter(|connection| connection.generation == id.generation)
    }

    pub(crate) fn listener(&mut self, id: ListenerId) -> Option<&mut Listener> {
        self.listeners.get_mut(id.index as usize).filter(|listener| listener.generation == id.generation)
    }

    fn insert(&mut self, since: Nanos, ends: [End; 2]) -> ConnectionId {
        let mut connection = Connection {
            generation: 0,
            in_use: true,
            since,
            listener: None,
            ends,
            pipes: Default::default(),
        };
        let index = match self.free.pop() {
            Some(index) => {
                connection.generation = self.all[index as usize].generation;
                self.all[index as usize] = connection;
                index
            }
            None => {
                self.all.push(connection);
                (self.all.len() - 1) as u32
            }
        };
        ConnectionId { index, generation: self.all[index as usize].generation }
    }

    /// Every connection there is.
    fn ids(&self) -> Vec<ConnectionId> {
        let all = self.all.iter().enumerate().filter(|(_, connection)| connection.in_use);
        all.map(|(index, connection)| ConnectionId { index: index as u32, generation: connection.generation })
            .collect()
    }

    /// How many connections and listeners there are: for tests that none is left.
    pub(crate) fn count(&self) -> (usize, usize) {
        (self.all.len() - self.free.len(), self.listeners.len() - self.free_listeners.len())
    }
}

/// Listening.
impl Run {
    pub(crate) fn tcp_listen(
        &mut self,
        place: Place,
        local: SocketAddr,
    ) -> io::Result<(ListenerId, SocketAddr)> {
        if !self.is_alive(place.machine, place.life) {
            return Err(address::os_error(libc::ENETDOWN));
        }
        let connections = &mut self.net.tcp;
        let index = connections.free_listeners.last().copied().unwrap_or(connections.listeners.len() as u32);
        let local = self.net.tcp_ports.bind(place.machine, local, Owner::Listener(index))?;
        let mut listener = Listener {
            generation: 0,
            in_use: true,
            machine: place.machine,
            local,
            backlog: VecDeque::new(),
            coming: 0,
            waiters: Waiters::default(),
        };
        if connections.free_listeners.pop().is_some() {
            listener.generation = connections.listeners[index as usize].generation;
            connections.listeners[index as usize] = listener;
        } else {
            connections.listeners.push(listener);
        }
        Ok((ListenerId { index, generation: connections.listeners[index as usize].generation }, local))
    }

    /// Closes a listener; whoever waits to be accepted is reset, unless the power is gone.
    pub(crate) fn tcp_unlisten(&mut self, id: ListenerId, polite: bool) {
        let Some(listener) = self.net.tcp.listener(id) else {
            return;
        };
        let (machine, local) = (listener.machine, listener.local);
        let waiting = std::mem::take(&mut listener.backlog);
        let waiters = std::mem::take(&mut listener.waiters);
        listener.in_use = false;
        listener.generation = listener.generation.wrapping_add(1);
        self.net.tcp.free_listeners.push(id.index);
        self.net.tcp_ports.release(machine, local, Owner::Listener(id.index));
        self.discard_all(waiters);
        for waiting in waiting {
            self.tcp_let_go(waiting, ACCEPTOR, if polite { Farewell::Reset } else { Farewell::Silent });
        }
    }

    /// The next connection that waits to be accepted.
    pub(crate) fn tcp_accept(&mut self, id: ListenerId) -> io::Result<Option<(ConnectionId, SocketAddr)>> {
        let Some(listener) = self.net.tcp.listener(id) else {
            return Err(address::os_error(libc::EINVAL));
        };
        let Some(accepted) = listener.backlog.pop_front() else {
            return Ok(None);
        };
        let connection = self.net.tcp.get(accepted).expect("a connection in a backlog exists");
        Ok(Some((accepted, connection.end(ACCEPTOR).peer)))
    }
}

/// The handshake.
impl Run {
    pub(crate) fn tcp_connect(&mut self, place: Place, target: SocketAddr) -> io::Result<ConnectionId> {
        if !self.is_alive(place.machine, place.life) {
            return Err(address::os_error(libc::ENETDOWN));
        }
        let target = address::destination(target);
        let Some(machine) = address::machine_of(target.ip(), place.machine) else {
            return Err(address::os_error(libc::ENETUNREACH));
        };
        let source = SocketAddr::new(address::source(target.ip(), place.machine), 0);
        let acceptor = End::new(machine, target, source, State::Unborn);
        let id = self
            .net
            .tcp
            .insert(self.now, [End::new(place.machine, source, target, State::SynSent), acceptor]);
        let Ok(local) = self.net.tcp_ports.bind(place.machine, source, Owner::Connection(id.index)) else {
            self.tcp_forget(id);
            return Err(address::os_error(libc::EADDRNOTAVAIL));
        };
        let connection = self.net.tcp.get(id).expect("made just now");
        connection.end(CONNECTOR).local = local;
        connection.end(ACCEPTOR).peer = local;
        self.happened(Happened::Connection, u64::from(id.index), u64::from(machine));
        if machine as usize >= self.hosts.len() {
            self.schedule(self.now + NO_SUCH_HOST, Event::ConnectFails(id, libc::EHOSTUNREACH));
        } else {
            self.send_syn(id);
        }
        Ok(id)
    }

    pub(crate) fn send_syn(&mut self, id: ConnectionId) {
        let Some(connection) = self.net.tcp.get(id) else {
            return;
        };
        match connection.end(CONNECTOR).state {
            State::SynSent => {}
            State::Closed => return self.forget_unaccepted(id),
            _ => return,
        }
        let (from, to) = connection.way(CONNECTOR);
        self.send_for_handshake(id, from, to, Event::Syn(id));
    }

    /// Sends what opens a connection. If it is lost the connector asks again when its time has come.
    fn send_for_handshake(&mut self, id: ConnectionId, from: u32, to: u32, what: Event) {
        if self.net.links.is_open(from, to) {
            let at = self.now + self.latency(from, to);
            self.schedule(at, what);
        } else {
            self.send_syn_again(id);
        }
    }

    fn send_syn_again(&mut self, id: ConnectionId) {
        let Some(connection) = self.net.tcp.get(id) else {
            return;
        };
        match next_syn(connection.since, self.now) {
            Ok(at) => self.schedule(at, Event::SynAgain(id)),
            Err(at) => self.schedule(at, Event::ConnectFails(id, libc::ETIMEDOUT)),
        }
    }

    pub(crate) fn syn_arrives(&mut self, id: ConnectionId) {
        let Some(connection) = self.net.tcp.get(id) else {
            return;
        };
        let (from, to) = connection.way(CONNECTOR);
        let (target, state) = (connection.end(ACCEPTOR).local, connection.end(ACCEPTOR).state);
        if self.hosts[to].power == Power::Off {
            return self.send_syn_again(id);
        }
        if state == State::Unborn {
            let Some(listener) = self.listening(to, target) else {
                return self.send_for_handshake(id, to, from, Event::ConnectFails(id, libc::ECONNREFUSED));
            };
            let listening = &mut self.net.tcp.listeners[listener.index as usize];
            if listening.backlog.len() + listening.coming >= BACKLOG {
                return self.send_syn_again(id); // Linux drops a SYN that finds the backlog full (listen(2))
            }
            listening.coming += 1;
            let connection = self.net.tcp.get(id).expect("looked at above");
            connection.listener = Some(listener);
            connection.end(ACCEPTOR).state = State::SynReceived;
        }
        // A SYN that comes again is answered again.
        self.send_for_handshake(id, to, from, Event::SynAnswer(id));
    }

    fn listening(&self, machine: u32, target: SocketAddr) -> Option<ListenerId> {
        match self.net.tcp_ports.find(machine, target.ip(), target.port(), Owner::is_listener)? {
            Owner::Listener(index) => {
                Some(ListenerId { index, generation: self.net.tcp.listeners[index as usize].generation })
            }
            Owner::Connection(_) => None,
        }
    }

    pub(crate) fn syn_answer_arrives(&mut self, id: ConnectionId) {
        let Some(connection) = self.net.tcp.get(id) else {
            return;
        };
        let (from, to) = connection.way(CONNECTOR);
        match connection.end(CONNECTOR).state {
            State::SynSent => {
                connection.end(CONNECTOR).state = State::Open;
                self.wake_end(id, CONNECTOR);
                // Data the connector sends may not arrive before the connection is there to be accepted.
                let at = self.now + self.latency(from, to);
                self.net.tcp.get(id).expect("looked at above").out(CONNECTOR).hold_until(at);
                self.schedule(at, Event::Established(id));
            }
            // The connector gave up meanwhile: its host answers with a reset, and the acceptor never hears of it.
            State::Closed => self.forget_unaccepted(id),
            _ => {}
        }
    }

    /// The handshake is complete at the acceptor: the connection waits to be accepted.
    pub(crate) fn established(&mut self, id: ConnectionId) {
        let Some(connection) = self.net.tcp.get(id) else {
            return;
        };
        if connection.end(ACCEPTOR).state != State::SynReceived {
            return;
        }
        let (machine, _) = connection.way(ACCEPTOR);
        self.leave_handshake(id);
        if self.hosts[machine].power == Power::Off {
            return self.close_end(id, ACCEPTOR);
        }
        let connection = self.net.tcp.get(id).expect("looked at above");
        connection.end(ACCEPTOR).state = State::Open;
        let Some(listener) = connection.listener.and_then(|listener| self.net.tcp.listener(listener)) else {
            return self.tcp_let_go(id, ACCEPTOR, Farewell::Reset);
        };
        listener.backlog.push_back(id);
        let waiters = listener.waiters.take();
        self.wake_all(waiters);
    }

    fn leave_handshake(&mut self, id: ConnectionId) {
        let listener = self.net.tcp.get(id).and_then(|connection| connection.listener);
        if let Some(listener) = listener.and_then(|listener| self.net.tcp.listener(listener)) {
            listener.coming -= 1;
        }
    }

    fn forget_unaccepted(&mut self, id: ConnectionId) {
        let Some(connection) = self.net.tcp.get(id) else {
            return;
        };
        if connection.end(ACCEPTOR).state == State::SynReceived {
            self.leave_handshake(id);
        }
        self.close_end(id, ACCEPTOR);
    }

    pub(crate) fn connect_fails(&mut self, id: ConnectionId, code: i32) {
        let Some(connection) = self.net.tcp.get(id) else {
            return;
        };
        if connection.end(CONNECTOR).state == State::SynSent {
            self.break_end(id, CONNECTOR, code);
        }
        self.forget_unaccepted(id);
    }

    /// Whether a connect has come to its end; until then `waiter` will be woken by it.
    pub(crate) fn tcp_connected(&mut self, id: ConnectionId, waiter: Waiter) -> io::Result<Option<()>> {
        let Some(connection) = self.net.tcp.get(id) else {
            self.discard(Some(waiter));
            return Err(address::os_error(libc::ENOTCONN));
        };
        let end = connection.end(CONNECTOR);
        if end.state == State::SynSent {
            let unneeded = end.writers.add(waiter);
            self.discard(unneeded);
            self.waits_for(WaitsFor::Connection);
            return Ok(None);
        }
        let ended = end.take_error();
        self.discard(Some(waiter));
        ended.map(Some)
    }
}

/// Data.
impl Run {
    /// Copies out what can be read, `limit` bytes at most; `None` when there is nothing yet. Without `consume` it is
    /// only looked at.
    #[inline]
    pub(crate) fn tcp_read(
        &mut self,
        id: ConnectionId,
        side: Side,
        limit: usize,
        consume: bool,
        copy: impl FnOnce(&[u8], &[u8]),
    ) -> io::Result<Option<usize>> {
        let now = self.now;
        let Some(connection) = self.net.tcp.get(id) else {
            return Err(address::os_error(libc::ENOTCONN));
        };
        let (to, from) = connection.way(side);
        let pipe = connection.into(side);
        let (first, second) = pipe.front(limit);
        let n = first.len() + second.len();
        if n > 0 {
            copy(first, second);
            if consume {
                let known_at = now + self.net.links.range(to, from).0;
                let pipe = self.net.tcp.get(id).expect("looked at above").into(side);
                pipe.consume(n, now, known_at);
                if pipe.writer_waits && !pipe.window_event {
                    pipe.window_event = true;
                    self.schedule(known_at, Event::Window(id, 1 - side));
                }
            }
            return Ok(Some(n));
        }
        if limit == 0 {
            return Ok(Some(0));
        }
        let is_ended = pipe.is_ended();
        let end = connection.end(side);
        end.take_error()?;
        Ok((is_ended || end.state != State::Open).then_some(0))
    }

    /// Takes as much of `parts` as there is room for; `None` when that is nothing.
    #[inline]
    pub(crate) fn tcp_write(
        &mut self,
        id: ConnectionId,
        side: Side,
        parts: &[io::IoSlice<'_>],
    ) -> io::Result<Option<usize>> {
        let now = self.now;
        let Some(connection) = self.net.tcp.get(id) else {
            return Err(address::os_error(libc::EPIPE));
        };
        let end = connection.end(side);
        end.take_error()?;
        let is_open = end.state == State::Open;
        let pipe = connection.out(side);
        if !is_open || pipe.is_finished() {
            return Err(address::os_error(libc::EPIPE));
        }
        let wanted: usize = parts.iter().map(|part| part.len()).sum();
        let taken = (pipe.room(now) as usize).min(wanted);
        if taken == 0 {
            if wanted == 0 {
                return Ok(Some(0));
            }
            self.await_room(id, side);
            return Ok(None);
        }
        let mut left = taken;
        for part in parts {
            let part = &part[..part.len().min(left)];
            pipe.write(part);
            self.digest.bytes(part);
            left -= part.len();
        }
        self.transmit(id, side);
        Ok(Some(taken))
    }

    /// Whether a write would not block; if it would, the writers will be woken when that has changed.
    pub(crate) fn tcp_is_writable(&mut self, id: ConnectionId, side: Side) -> bool {
        let now = self.now;
        let Some(connection) = self.net.tcp.get(id) else {
            return true;
        };
        let fails = connection.end(side).state != State::Open || connection.out(side).is_finished();
        if fails || connection.out(side).room(now) > 0 {
            return true;
        }
        self.await_room(id, side);
        false
    }

    /// Sees to it that the writers of a full pipe are woken as soon as they learn that something was read.
    fn await_room(&mut self, id: ConnectionId, side: Side) {
        let Some(connection) = self.net.tcp.get(id) else {
            return;
        };
        let pipe = connection.out(side);
        pipe.writer_waits = true;
        if let Some(at) = pipe.room_at().filter(|_| !pipe.window_event) {
            pipe.window_event = true;
            self.schedule(at, Event::Window(id, side));
        }
    }

    /// Ends what `side` writes.
    pub(crate) fn tcp_finish(&mut self, id: ConnectionId, side: Side) -> io::Result<()> {
        let Some(connection) = self.net.tcp.get(id) else {
            return Err(address::os_error(libc::ENOTCONN));
        };
        if connection.end(side).state != State::Open {
            return Err(address::os_error(libc::ENOTCONN));
        }
        connection.out(side).finish();
        self.transmit(id, side);
        Ok(())
    }

    /// Puts what has not been sent on its way, if there is one.
    #[inline]
    pub(crate) fn transmit(&mut self, id: ConnectionId, side: Side) {
        let Some(connection) = self.net.tcp.get(id) else {
            return;
        };
        let (from, to) = connection.way(side);
        if !connection.out(side).has_unsent() {
            return;
        }
        if !self.net.links.is_open(from, to) {
            return self.stall(id, side);
        }
        let at = self.now + self.latency(from, to);
        let pipe = self.net.tcp.get(id).expect("looked at above").out(side);
        if let Some(at) = pipe.send(at) {
            self.schedule(at, Event::Deliver(id, side));
        }
    }

    /// Nothing gets through: it will be tried again, and given up after a while.
    fn stall(&mut self, id: ConnectionId, side: Side) {
        let now = self.now;
        let Some(connection) = self.net.tcp.get(id) else {
            return;
        };
        let pipe = connection.out(side);
        if pipe.stalled_since.is_none() {
            pipe.stalled_since = Some(now);
            self.schedule(now + GIVE_UP, Event::GiveUp(id, side, now));
        }
    }

    /// What `side` has sent arrives.
    pub(crate) fn delivered(&mut self, id: ConnectionId, side: Side) {
        let now = self.now;
        let Some(connection) = self.net.tcp.get(id) else {
            return;
        };
        let (_, to) = connection.way(side);
        if self.hosts[to].power == Power::Off {
            connection.out(side).lose_flights();
            return self.stall(id, side);
        }
        let pipe = connection.out(side);
        pipe.stalled_since = None;
        let brought_bytes = pipe.deliver(now);
        let readable = pipe.readable();
        let state = connection.end(1 - side).state;
        self.happened(Happened::Deliver, u64::from(id.index) << 1 | u64::from(side), readable);
        match state {
            State::Open | State::SynReceived => self.wake_readers(id, 1 - side),
            // Data for a socket that is gone is answered with a reset (RFC 9293 §3.10.7.1).
            State::Closed if brought_bytes => self.send_reset(id, 1 - side),
            _ => {}
        }
    }

    pub(crate) fn window_opens(&mut self, id: ConnectionId, side: Side) {
        let Some(connection) = self.net.tcp.get(id) else {
            return;
        };
        connection.out(side).window_event = false;
        connection.out(side).writer_waits = false;
        self.wake_writers(id, side);
    }

    pub(crate) fn give_up(&mut self, id: ConnectionId, side: Side, since: Nanos) {
        let Some(connection) = self.net.tcp.get(id) else {
            return;
        };
        if connection.out(side).stalled_since == Some(since) && connection.end(side).state == State::Open {
            self.break_end(id, side, libc::ETIMEDOUT);
        }
    }

    /// Ways are open again: what stalled on them is sent again when its sender next tries.
    pub(crate) fn tcp_healed(&mut self, is_healed: impl Fn(u32, u32) -> bool) {
        for id in self.net.tcp.ids() {
            for side in [CONNECTOR, ACCEPTOR] {
                let connection = self.net.tcp.get(id).expect("listed just now");
                let (from, to) = connection.way(side);
                if is_healed(from, to)
                    && let Some(since) = connection.out(side).stalled_since
                {
                    self.schedule(next_retransmission(since, self.now), Event::Retransmit(id, side));
                }
            }
        }
    }
}

/// Endings.
impl Run {
    /// One handle fewer; the last one closes the end.
    pub(crate) fn tcp_release(&mut self, id: ConnectionId, side: Side) {
        let Some(connection) = self.net.tcp.get(id) else {
            return;
        };
        let end = connection.end(side);
        end.handles = end.handles.saturating_sub(1);
        if end.handles == 0 && end.state != State::Closed {
            self.tcp_let_go(id, side, Farewell::Close);
        }
    }

    pub(crate) fn tcp_let_go(&mut self, id: ConnectionId, side: Side, farewell: Farewell) {
        let Some(connection) = self.net.tcp.get(id) else {
            return;
        };
        let is_unread = connection.into(side).readable() > 0;
        let end = connection.end(side);
        match (end.state, farewell) {
            (State::Open, Farewell::Reset) => self.send_reset(id, side),
            (State::Open, Farewell::Close) if is_unread || end.options.zero_linger => {
                self.send_reset(id, side)
            }
            (State::Open, Farewell::Close) => {
                connection.out(side).finish();
                self.transmit(id, side);
            }
            (State::SynReceived, _) => {
                self.leave_handshake(id);
                if farewell != Farewell::Silent {
                    self.send_reset(id, side);
                }
            }
            _ => {}
        }
        self.close_end(id, side);
    }

    /// `side` tells the other that there is no such connection.
    fn send_reset(&mut self, id: ConnectionId, side: Side) {
        let Some(connection) = self.net.tcp.get(id) else {
            return;
        };
        let (from, to) = connection.way(side);
        let not_before = connection.out(side).not_before();
        if self.net.links.is_open(from, to) {
            let at = self.now + self.latency(from, to);
            self.schedule(at.max(not_before), Event::Reset(id, 1 - side));
        }
    }

    pub(crate) fn reset_arrives(&mut self, id: ConnectionId, side: Side) {
        let Some(connection) = self.net.tcp.get(id) else {
            return;
        };
        let (machine, _) = connection.way(side);
        if self.hosts[machine].power == Power::Off {
            return;
        }
        // As Linux's tcp_reset(): where the peer had finished before, it is a broken pipe.
        let is_half_closed = connection.into(side).is_ended() && !connection.out(side).is_finished();
        match connection.end(side).state {
            State::SynSent => self.break_end(id, side, libc::ECONNREFUSED),
            State::Open if is_half_closed => self.break_end(id, side, libc::EPIPE),
            State::Open => self.break_end(id, side, libc::ECONNRESET),
            State::SynReceived => self.forget_unaccepted(id),
            State::Unborn | State::Broken | State::Closed => {}
        }
    }

    /// An end can be used no more; its owner has still to learn why. What had arrived can still be read.
    fn break_end(&mut self, id: ConnectionId, side: Side, code: i32) {
        let Some(connection) = self.net.tcp.get(id) else {
            return;
        };
        connection.end(side).state = State::Broken;
        connection.end(side).error = Some(code);
        connection.into(side).lose_flights();
        connection.out(side).stalled_since = None;
        self.wake_end(id, side);
    }

    fn close_end(&mut self, id: ConnectionId, side: Side) {
        let Some(connection) = self.net.tcp.get(id) else {
            return;
        };
        let end = connection.end(side);
        end.state = State::Closed;
        end.error = None;
        let (readers, writers) = (std::mem::take(&mut end.readers), std::mem::take(&mut end.writers));
        let is_over = connection.ends.iter().all(|end| matches!(end.state, State::Closed | State::Unborn));
        self.discard_all(readers);
        self.discard_all(writers);
        if is_over {
            self.tcp_forget(id);
        }
    }

    /// Both ends are gone: the place and the port are free again.
    fn tcp_forget(&mut self, id: ConnectionId) {
        let Some(connection) = self.net.tcp.get(id) else {
            return;
        };
        let (machine, local) = (connection.end(CONNECTOR).machine, connection.end(CONNECTOR).local);
        connection.generation = connection.generation.wrapping_add(1);
        connection.in_use = false;
        connection.pipes = Default::default();
        self.net.tcp.free.push(id.index);
        self.net.tcp_ports.release(machine, local, Owner::Connection(id.index));
    }

    /// A machine's process has ended: its kernel closes what it held. Or its power is gone, and nothing is said.
    pub(crate) fn tcp_machine_gone(&mut self, machine: u32, farewell: Farewell) {
        for index in 0..self.net.tcp.listeners.len() {
            let Listener { in_use, machine: on, generation, .. } = self.net.tcp.listeners[index];
            if in_use && on == machine {
                let id = ListenerId { index: index as u32, generation };
                self.tcp_unlisten(id, farewell != Farewell::Silent);
            }
        }
        for id in self.net.tcp.ids() {
            for side in [CONNECTOR, ACCEPTOR] {
                let Some(connection) = self.net.tcp.get(id) else {
                    break;
                };
                let end = connection.end(side);
                if end.machine == machine && !matches!(end.state, State::Unborn | State::Closed) {
                    self.tcp_let_go(id, side, farewell);
                }
            }
        }
    }

    fn wake_end(&mut self, id: ConnectionId, side: Side) {
        self.wake_readers(id, side);
        self.wake_writers(id, side);
    }

    #[inline]
    fn wake_readers(&mut self, id: ConnectionId, side: Side) {
        if let Some(connection) = self.net.tcp.get(id) {
            let readers = connection.end(side).readers.take();
            self.wake_all(readers);
        }
    }

    fn wake_writers(&mut self, id: ConnectionId, side: Side) {
        if let Some(connection) = self.net.tcp.get(id) {
            let writers = connection.end(side).writers.take();
            self.wake_all(writers);
        }
    }
}
