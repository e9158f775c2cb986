//! How a connection begins: listening, the three steps of a handshake, and what goes wrong on the way.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;

use super::{ACCEPTOR, CONNECTOR, ConnectionId, End, Farewell, Listener, ListenerId, State};
use crate::executor::WaitsFor;
use crate::hosts::Power;
use crate::net::link::{Fate, next_syn};
use crate::net::{Event, Owner, address};
use crate::run::Run;
use crate::timers::Nanos;
use crate::trace::What;
use crate::waker::{Waiter, Waiters};
use crate::world::Place;

/// How many connections may wait to be accepted: what tokio asks for (Linux would allow 4096).
const BACKLOG: usize = 1024;

/// Looks for a machine that does not exist: Linux gives up asking for its hardware address after three seconds.
const NO_SUCH_HOST: Nanos = 3_000_000_000;

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
        let connector = End::new(place.machine, source, target, State::SynSent);
        let id = self.net.tcp.insert(self.now, [connector, acceptor], self.hosts.len());
        let Ok(local) = self.net.tcp_ports.bind(place.machine, source, Owner::Connection(id.index)) else {
            self.tcp_forget(id);
            return Err(address::os_error(libc::EADDRNOTAVAIL));
        };
        let connection = self.net.tcp.get(id).expect("made just now");
        connection.end(CONNECTOR).local = local;
        connection.end(ACCEPTOR).peer = local;
        self.happened(What::Connect { connection: id.index, to: machine });
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
        match self.message_fate(from, to, 0) {
            Fate::Arrives(at) => self.schedule(at, what),
            Fate::Held => {
                self.net.links.keep(from, to, what);
                self.send_syn_again(id);
            }
            Fate::Lost => self.send_syn_again(id),
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
                match self.message_fate(from, to, 0) {
                    Fate::Held => self.net.links.keep(from, to, Event::Established(id)),
                    fate => {
                        let at = match fate {
                            Fate::Arrives(at) => at,
                            _ => self.now + self.latency(from, to),
                        };
                        self.net.tcp.get(id).expect("looked at above").out(CONNECTOR).hold_until(at);
                        self.schedule(at, Event::Established(id));
                    }
                }
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

    pub(super) fn leave_handshake(&mut self, id: ConnectionId) {
        let listener = self.net.tcp.get(id).and_then(|connection| connection.listener);
        if let Some(listener) = listener.and_then(|listener| self.net.tcp.listener(listener)) {
            listener.coming -= 1;
        }
    }

    pub(super) fn forget_unaccepted(&mut self, id: ConnectionId) {
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
        match connection.end(CONNECTOR).state {
            State::Open => return, // what had been held came through after all
            State::SynSent => self.break_end(id, CONNECTOR, code),
            _ => {}
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
