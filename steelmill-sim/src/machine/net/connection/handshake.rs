//! How a connection begins: listening, the three steps of a handshake, and what goes wrong on the way.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;

use super::{
    ACCEPTOR, Addresses, CONNECTOR, CloseMode, ConnectionId, End, Listener, ListenerId, Options, State,
};
use crate::kernel::tasks::WaitsFor;
use crate::kernel::timers::Nanos;
use crate::kernel::waiter::{Waiter, Waiters};
use crate::machine::cluster::Cluster;
use crate::machine::hosts::Power;
use crate::machine::net::link::{FORGET_SYN, Fate, next_syn};
use crate::machine::net::{Event, address};
use crate::machine::world::Process;
use crate::schema::event::{MessageKind, What, Why};

/// How many connections may wait to be accepted: one more than a listener asks for, as Linux counts (listen(2)).
const BACKLOG: usize = steelmill_core::LISTEN_BACKLOG as usize + 1;

/// Looks for a machine that does not exist: Linux gives up asking for its hardware address after three seconds.
const NO_SUCH_HOST: Nanos = 3_000_000_000;

/// Listening.
impl Cluster {
    pub(crate) fn tcp_listen(
        &mut self,
        place: Process,
        local: SocketAddr,
    ) -> io::Result<(ListenerId, SocketAddr)> {
        if !self.is_alive(place.machine, place.incarnation) {
            return Err(address::os_error(libc::ENETDOWN));
        }
        let connections = &mut self.net.tcp;
        let index = connections.free_listeners.last().copied().unwrap_or(connections.listeners.len() as u32);
        let is_ipv6 = local.is_ipv6();
        let bound = self.net.tcp_ports.bind(place.machine, address::plain(local), index)?;
        let local = if is_ipv6 { address::as_ipv6(bound) } else { bound };
        let mut listener = Listener {
            generation: 0,
            machine: place.machine,
            local,
            backlog: VecDeque::new(),
            coming: 0,
            waiters: Waiters::default(),
            options: Options::default(),
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
        listener.generation = listener.generation.wrapping_add(1);
        self.net.tcp.free_listeners.push(id.index);
        self.net.tcp_ports.release(machine, address::plain(local), id.index);
        self.kernel.discard_all(waiters);
        for waiting in waiting {
            self.tcp_let_go(waiting, ACCEPTOR, if polite { CloseMode::Reset } else { CloseMode::Silent });
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
        Ok(Some((accepted, connection.addresses(ACCEPTOR).peer)))
    }
}

/// The handshake.
impl Cluster {
    pub(crate) fn tcp_connect(&mut self, place: Process, target: SocketAddr) -> io::Result<ConnectionId> {
        if !self.is_alive(place.machine, place.incarnation) {
            return Err(address::os_error(libc::ENETDOWN));
        }
        let is_ipv6 = target.is_ipv6();
        let target = address::destination(address::plain(target));
        let Some(machine) = address::machine_of(target.ip(), place.machine) else {
            return Err(address::os_error(libc::ENETUNREACH));
        };
        let source = address::source(target.ip(), place.machine);
        let local = self.net.tcp_ports.open(place.machine, source, target)?;
        let ends = [End::new(place.machine, State::SynSent), End::new(machine, State::Unborn)];
        let mut connector = Addresses { local, peer: target };
        if is_ipv6 {
            connector.show_as_ipv6();
        }
        let addresses = [connector, Addresses { local: target, peer: local }];
        let id = self.net.tcp.insert(self.kernel.now, ends, addresses, self.hosts.len());
        self.kernel.happened(What::Connect { connection: id.index, to: machine });
        if machine as usize >= self.hosts.len() {
            self.leaves(MessageKind::Syn, Some(id.number()), place.machine, machine, &[]);
            self.leaves_in_vain(Why::Nobody, false);
            self.schedule(self.kernel.now + NO_SUCH_HOST, Event::ConnectFails(id, libc::EHOSTUNREACH));
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
            State::Gone => return self.forget_unaccepted(id),
            _ => return,
        }
        let (from, to) = connection.way(CONNECTOR);
        self.leaves(MessageKind::Syn, Some(id.number()), from, to, &[]);
        self.send_for_handshake(id, from, to, Event::Syn(id));
    }

    /// Sends what opens a connection. If it is lost the connector asks again when its time has come. Whether it gets
    /// there now.
    fn send_for_handshake(&mut self, id: ConnectionId, from: u32, to: u32, what: Event) -> bool {
        match self.message_fate(from, to, 0) {
            Fate::Arrives(at) => {
                self.schedule(at, what);
                return true;
            }
            Fate::Held => self.keep(from, to, what),
            Fate::Lost => {}
        }
        self.send_syn_again(id);
        false
    }

    fn send_syn_again(&mut self, id: ConnectionId) {
        let Some(connection) = self.net.tcp.get(id) else {
            return;
        };
        match next_syn(connection.since, self.kernel.now) {
            Ok(at) => self.schedule(at, Event::SynAgain(id)),
            Err(at) => self.schedule(at, Event::ConnectFails(id, libc::ETIMEDOUT)),
        }
    }

    pub(crate) fn syn_arrives(&mut self, id: ConnectionId) {
        let Some(connection) = self.net.tcp.get(id) else {
            return;
        };
        let (from, to) = connection.way(CONNECTOR);
        let (target, state) =
            (address::plain(connection.addresses(ACCEPTOR).local), connection.end(ACCEPTOR).state);
        if self.hosts[to].power == Power::Off {
            return self.send_syn_again(id);
        }
        if state == State::Unborn {
            let Some(listener) = self.listening(to, target) else {
                self.leaves(MessageKind::Refused, Some(id.number()), to, from, &[]);
                self.send_for_handshake(id, to, from, Event::ConnectFails(id, libc::ECONNREFUSED));
                return;
            };
            let listening = &mut self.net.tcp.listeners[listener.index as usize];
            if listening.backlog.len() + listening.coming >= BACKLOG {
                return self.send_syn_again(id); // Linux drops a SYN that finds the backlog full
            }
            listening.coming += 1;
            let (is_ipv6, options) = (listening.local.is_ipv6(), listening.options);
            let connection = self.net.tcp.get(id).expect("looked at above");
            connection.listener = Some(listener);
            let end = connection.end(ACCEPTOR);
            (end.state, end.options) = (State::SynReceived, options);
            let addresses = connection.addresses(ACCEPTOR);
            *addresses = Addresses { local: target, peer: address::plain(addresses.peer) };
            if is_ipv6 {
                addresses.show_as_ipv6();
            }
        }
        // A SYN that comes again is answered again, and an answer that gets lost is repeated without being asked for.
        self.leaves(MessageKind::SynAck, Some(id.number()), to, from, &[]);
        let gets_there = self.send_for_handshake(id, to, from, Event::SynAnswer(id));
        if !gets_there && state == State::Unborn {
            self.answer_syn_later(id);
        }
    }

    fn listening(&self, machine: u32, target: SocketAddr) -> Option<ListenerId> {
        let index = self.net.tcp_ports.find(machine, target.ip(), target.port(), |_| true)?;
        Some(ListenerId { index, generation: self.net.tcp.listeners[index as usize].generation })
    }

    pub(crate) fn syn_answer_arrives(&mut self, id: ConnectionId) {
        let Some(connection) = self.net.tcp.get(id) else {
            return;
        };
        let is_unheard = connection.end(ACCEPTOR).state == State::SynReceived;
        match connection.end(CONNECTOR).state {
            State::SynSent => {
                connection.end(CONNECTOR).state = State::Open;
                self.wake_end(id, CONNECTOR);
                self.finish_handshake(id);
            }
            State::Open | State::Closed if is_unheard => self.finish_handshake(id),
            // The connector gave up meanwhile: its host answers with a reset, and the acceptor never hears of it.
            State::Gone => self.forget_unaccepted(id),
            _ => {}
        }
    }

    /// The connector sends the last part of the handshake.
    fn finish_handshake(&mut self, id: ConnectionId) {
        let Some(connection) = self.net.tcp.get(id) else {
            return;
        };
        let (from, to) = connection.way(CONNECTOR);
        self.leaves(MessageKind::Ack, Some(id.number()), from, to, &[]);
        match self.message_fate(from, to, 0) {
            Fate::Arrives(at) => {
                // Data the connector sends may not arrive before the connection is there to be accepted.
                self.net.tcp.get(id).expect("looked at above").out(CONNECTOR).hold_until(at);
                self.schedule(at, Event::Established(id));
            }
            Fate::Held => self.keep(from, to, Event::Established(id)),
            Fate::Lost => self.answer_syn_later(id),
        }
    }

    /// The acceptor does not hear the end of the handshake, and will answer the SYN again.
    fn answer_syn_later(&mut self, id: ConnectionId) {
        let Some(connection) = self.net.tcp.get(id) else {
            return;
        };
        if let Ok(at) = next_syn(connection.since, self.kernel.now) {
            self.schedule(at, Event::SynAnswerAgain(id));
        } else {
            self.forget_unaccepted(id);
        }
    }

    pub(crate) fn answer_syn_again(&mut self, id: ConnectionId) {
        let Some(connection) = self.net.tcp.get(id) else {
            return;
        };
        let (from, to) = connection.way(ACCEPTOR);
        if connection.end(ACCEPTOR).state != State::SynReceived {
            return;
        }
        if self.kernel.now >= connection.since + FORGET_SYN {
            return self.forget_unaccepted(id);
        }
        self.leaves(MessageKind::SynAck, Some(id.number()), from, to, &[]);
        match self.message_fate(from, to, 0) {
            Fate::Arrives(at) => self.schedule(at, Event::SynAnswer(id)),
            Fate::Held | Fate::Lost => {
                self.leaves_in_vain(Why::Held, false);
                self.answer_syn_later(id)
            }
        }
    }

    /// The handshake is complete at the acceptor: the connection waits to be accepted.
    pub(crate) fn established(&mut self, id: ConnectionId) {
        let Some(connection) = self.net.tcp.get(id) else {
            return;
        };
        let (machine, _) = connection.way(ACCEPTOR);
        match connection.end(ACCEPTOR).state {
            _ if self.hosts[machine].power == Power::Off => return,
            State::SynReceived => {}
            // It has been forgotten, as by a process that ended: the host knows no such connection.
            State::Unborn | State::Gone => {
                self.send_reset(id, ACCEPTOR);
                return;
            }
            _ => return,
        }
        self.leave_handshake(id);
        let connection = self.net.tcp.get(id).expect("looked at above");
        connection.end(ACCEPTOR).state = State::Open;
        let Some(listener) = connection.listener.and_then(|listener| self.net.tcp.listener(listener)) else {
            return self.tcp_let_go(id, ACCEPTOR, CloseMode::Reset);
        };
        listener.backlog.push_back(id);
        let waiters = listener.waiters.take();
        self.kernel.wake_all(waiters);
    }

    pub(super) fn leave_handshake(&mut self, id: ConnectionId) {
        let listener = self.net.tcp.get(id).and_then(|connection| connection.listener);
        if let Some(listener) = listener.and_then(|listener| self.net.tcp.listener(listener)) {
            listener.coming -= 1;
        }
    }

    /// The acceptor's host forgets a handshake that was not completed.
    pub(super) fn forget_unaccepted(&mut self, id: ConnectionId) {
        let Some(connection) = self.net.tcp.get(id) else {
            return;
        };
        match connection.end(ACCEPTOR).state {
            State::SynReceived => self.leave_handshake(id),
            State::Unborn => {}
            _ => return,
        }
        self.close_end(id, ACCEPTOR, State::Unborn);
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
            self.kernel.discard(Some(waiter));
            return Err(address::os_error(libc::ENOTCONN));
        };
        let end = connection.end(CONNECTOR);
        if end.state == State::SynSent {
            let unneeded = end.writers.add(waiter);
            self.kernel.discard(unneeded);
            self.kernel.waits_for(WaitsFor::Connection);
            return Ok(None);
        }
        let ended = end.take_error();
        self.kernel.discard(Some(waiter));
        ended.map(Some)
    }
}
