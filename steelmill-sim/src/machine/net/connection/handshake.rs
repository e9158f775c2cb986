//! The TCP handshake: listen, SYN, SYN-ACK, ACK and accept, with SYN retransmission and a full backlog.

use std::collections::VecDeque;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use super::{
    ACCEPTOR, Addresses, CONNECTOR, CloseMode, ConnectionId, End, HELD, Listener, ListenerId, Options, Side,
    State,
};
use crate::kernel::tasks::WaitsFor;
use crate::kernel::timers::Nanos;
use crate::kernel::waiter::{Waiter, Waiters};
use crate::machine::cluster::Cluster;
use crate::machine::net::link::{Delivery, next_syn_ack_retransmission, next_syn_retransmission};
use crate::machine::net::ports::Sharing;
use crate::machine::net::{Event, address, scope};
use crate::machine::world::Process;
use crate::schema::event::{DeliveryProblem, EventKind, MessageKind};
use crate::schema::segment::Segment;

/// The greatest backlog: Linux's default `net.core.somaxconn` (listen(2)).
const BACKLOG_MAX: usize = 4096;

/// The earliest time at which a connect fails by `TCP_USER_TIMEOUT`: a tick of Linux's clock (at 250 Hz) after the first SYN is sent again,
/// which may still be answered.
const USER_TIMEOUT_MIN: Nanos = 1_004_000_000;

/// When a connect to an address without a machine fails: Linux's neighbour discovery sends three solicitations, one a
/// second (arp(7)).
const NEIGHBOUR_TIMEOUT: Nanos = 3_000_000_000;

impl Cluster {
    /// Takes a port for a socket that does not listen yet.
    pub(crate) fn tcp_bind(
        &mut self,
        process: Process,
        local: SocketAddr,
        options: Options,
    ) -> io::Result<(ListenerId, SocketAddr)> {
        if !self.is_alive(process.machine, process.incarnation) {
            return Err(address::os_error(libc::ENETDOWN));
        }
        // An IPv6 address is no way to IPv4 (`__inet6_bind()`).
        let mut options = options;
        let ip = local.ip().to_canonical();
        options.only_v6 |= ip.is_ipv6() && !ip.is_unspecified();
        let (place, sharing) = ((process.machine, self.kernel.now), Sharing::of(&options));
        let connections = &mut self.net.tcp;
        let index = connections.free_listeners.last().copied().unwrap_or(connections.listeners.len() as u32);
        let is_ipv6 = local.is_ipv6();
        let checked = self.net.addresses.check_bind(process.machine, local, true, &mut options);
        checked.map_err(address::os_error)?;
        let bound = self.net.tcp_ports.bind(place, address::canonical(local), index, sharing)?;
        let local = if is_ipv6 { address::ipv6_mapped(bound) } else { bound };
        let mut listener = Listener {
            generation: 0,
            machine: process.machine,
            local,
            backlog: VecDeque::new(),
            backlog_max: 0,
            syn_queue_len: 0,
            waiters: Waiters::default(),
            options,
            is_listening: false,
        };
        if connections.free_listeners.pop().is_some() {
            listener.generation = connections.listeners[index as usize].generation;
            connections.listeners[index as usize] = listener;
        } else {
            connections.listeners.push(listener);
        }
        Ok((ListenerId { index, generation: connections.listeners[index as usize].generation }, local))
    }

    /// Has a bound socket listen, or changes its backlog.
    ///
    /// # Errors
    /// `EADDRINUSE` where another one listens at its address.
    pub(crate) fn tcp_listen(&mut self, id: ListenerId, backlog: usize) -> io::Result<()> {
        let Some(listener) = self.net.tcp.listener(id) else {
            return Err(address::os_error(libc::EINVAL));
        };
        listener.backlog_max = backlog.min(BACKLOG_MAX);
        if !listener.is_listening {
            let (place, local) = ((listener.machine, self.kernel.now), listener.local);
            self.net.tcp_ports.listen(place, address::canonical(local), id.index)?;
            self.net.tcp.listener(id).expect("checked above").is_listening = true;
        }
        Ok(())
    }

    /// Has a listener keep its port, but listen no more: its backlog is reset.
    pub(crate) fn tcp_stop_listening(&mut self, id: ListenerId) {
        let Some(listener) = self.net.tcp.listener(id) else {
            return;
        };
        listener.is_listening = false;
        let (machine, local, options) = (listener.machine, listener.local, listener.options);
        let waiting = std::mem::take(&mut listener.backlog);
        let waiters = listener.waiters.take();
        self.net.tcp_ports.share(machine, address::canonical(local), id.index, Sharing::of(&options));
        self.kernel.wake_all(waiters);
        for waiting in waiting {
            self.tcp_close(waiting, ACCEPTOR, CloseMode::Reset);
        }
    }

    /// Moves a bound socket to another local address, at its port: that of its connection, or back.
    pub(crate) fn tcp_relocate(&mut self, id: ListenerId, ip: std::net::IpAddr) {
        let Some(listener) = self.net.tcp.listener(id) else {
            return;
        };
        let (machine, from) = (listener.machine, address::canonical(listener.local));
        listener.local.set_ip(ip);
        self.net.tcp_ports.relocate(machine, from, id.index, ip.to_canonical());
    }

    /// Changes the options of a socket that has a port.
    pub(crate) fn tcp_set_options(&mut self, id: ListenerId, options: Options) {
        let Some(listener) = self.net.tcp.listener(id) else {
            return;
        };
        listener.options = options;
        let (machine, local) = (listener.machine, address::canonical(listener.local));
        let sharing = Sharing::of(&options).listening(listener.is_listening);
        self.net.tcp_ports.share(machine, local, id.index, sharing);
    }

    /// Closes a listener, and resets its backlog unless the machine has lost power.
    pub(crate) fn tcp_unlisten(&mut self, id: ListenerId, has_power: bool) {
        let Some(listener) = self.net.tcp.listener(id) else {
            return;
        };
        let (machine, local) = (listener.machine, listener.local);
        let waiting = std::mem::take(&mut listener.backlog);
        let waiters = std::mem::take(&mut listener.waiters);
        listener.generation = listener.generation.wrapping_add(1);
        self.net.tcp.free_listeners.push(id.index);
        self.net.tcp_ports.release(machine, address::canonical(local), id.index);
        self.kernel.discard_all(waiters);
        for waiting in waiting {
            self.tcp_close(waiting, ACCEPTOR, if has_power { CloseMode::Reset } else { CloseMode::Silent });
        }
    }

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

impl Cluster {
    /// Begins a connection, from a local address or from one that is chosen.
    ///
    /// # Errors
    /// As `tcp_v4_connect()` and `tcp_v6_connect()` of Linux have them: `ENETUNREACH` without a route, `EADDRNOTAVAIL` without a
    /// port, or where such a connection exists.
    pub(crate) fn tcp_connect(
        &mut self,
        process: Process,
        is_ipv6: bool,
        from: Option<SocketAddr>,
        target: SocketAddr,
        mut options: Options,
    ) -> io::Result<ConnectionId> {
        if !self.is_alive(process.machine, process.incarnation) {
            return Err(address::os_error(libc::ENETDOWN));
        }
        let from = from.map(|from| match address::canonical(from) {
            // Connections come from the machine's own address (`inet_saddr` of Linux).
            from if address::is_of_many(from.ip()) && !is_ipv6 => {
                SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), from.port())
            }
            from => from,
        });
        if target.is_ipv6() && target.ip().is_multicast() {
            return Err(address::os_error(libc::ENETUNREACH));
        }
        options.connect_to_interface(target).map_err(address::os_error)?;
        options.check_way(target).map_err(address::os_error)?;
        let target = address::connect_target(from, target, options.only_v6)?;
        if let Some(code) = from.and_then(|from| address::no_source(from.ip())) {
            return Err(address::os_error(code));
        }
        if address::is_of_many(target.ip()) {
            let is_elsewhere = target.ip() == address::NET_BROADCAST;
            let is_loopback = from.is_some_and(|from| from.ip().is_loopback());
            let code = if is_elsewhere && is_loopback { libc::EINVAL } else { libc::ENETUNREACH };
            return Err(address::os_error(code));
        }
        let Some(machine) = self.net.addresses.machine_of(target.ip(), process.machine) else {
            return Err(address::os_error(libc::ENETUNREACH));
        };
        let source = self.net.addresses.source(target.ip(), process.machine);
        let (place, sharing) = ((process.machine, self.kernel.now), Sharing::of(&options));
        let local = match from {
            Some(from) => {
                let ip = if from.ip().is_unspecified() { source } else { from.ip() };
                if ip.is_ipv4() && !self.net.addresses.is_local(ip, process.machine) {
                    return Err(address::os_error(libc::ENETUNREACH));
                }
                if ip.is_loopback() && machine != process.machine {
                    return Err(address::os_error(libc::EINVAL));
                }
                let local = SocketAddr::new(ip, from.port());
                self.net.tcp_ports.enter(place, local, target, sharing)?;
                local
            }
            None => self.net.tcp_ports.open(place, source, target, sharing)?,
        };
        let ends = [End::new(process.machine, State::SynSent), End::new(machine, State::NotCreated)];
        let mut connector = Addresses { local, peer: target };
        if is_ipv6 {
            connector.map_to_ipv6();
        }
        let addresses = [connector, Addresses { local: target, peer: local }];
        let id = self.net.tcp.insert(self.kernel.now, ends, addresses, options, self.hosts.len());
        // Over IPv6 a socket at an address that the machine no longer has sends, and nothing comes back.
        let is_stranded = !self.net.addresses.is_local(local.ip(), process.machine);
        self.net.tcp.get(id).expect("just made").set_stranded(CONNECTOR, is_stranded);
        self.kernel.happened(EventKind::Connect { connection: id.index, to: machine });
        if machine as usize >= self.hosts.len() {
            self.trace_message(MessageKind::Syn, Some(id.number()), process.machine, machine, &[]);
            self.trace_loss(DeliveryProblem::NoReceiver, false);
            self.schedule(self.kernel.now + NEIGHBOUR_TIMEOUT, Event::ConnectFails(id, libc::EHOSTUNREACH));
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
            State::Closed => return self.drop_handshake(id),
            _ => return,
        }
        let (from, to) = connection.link(CONNECTOR);
        self.trace_message(MessageKind::Syn, Some(id.number()), from, to, &[]);
        self.send_handshake_segment(id, from, to, Event::Syn(id));
    }

    /// Sends a segment of the handshake. If it is lost or held, schedules the next SYN. Whether it is in flight.
    fn send_handshake_segment(&mut self, id: ConnectionId, from: u32, to: u32, event: Event) -> bool {
        let (side, segment) = match event {
            Event::Syn(_) => (CONNECTOR, Segment::Syn),
            Event::SynAck(_) => (ACCEPTOR, Segment::SynAck),
            _ => (ACCEPTOR, Segment::Reset),
        };
        let delivery = self.send_segment(id, (from, to), segment);
        self.expect_handshake_segment(id, side, delivery);
        match delivery {
            Delivery::Arrives(at) => {
                self.schedule(at, event);
                return true;
            }
            Delivery::Held => self.hold_event(from, to, event),
            Delivery::Lost => {}
        }
        self.schedule_syn_retransmission(id);
        false
    }

    /// Notes when a segment of the handshake arrives.
    fn expect_handshake_segment(&mut self, id: ConnectionId, side: Side, delivery: Delivery) {
        if let Some(connection) = self.net.tcp.get(id) {
            connection.handshake_due[usize::from(side)] = match delivery {
                Delivery::Arrives(at) => at,
                Delivery::Held | Delivery::Lost => HELD,
            };
        }
    }

    /// Whether a segment of the handshake that arrives now was lost on its way.
    pub(crate) fn is_handshake_segment_lost(&mut self, id: ConnectionId, side: Side) -> bool {
        let now = self.kernel.now;
        let due = self.net.tcp.get(id).map(|connection| connection.handshake_due[usize::from(side)]);
        due.is_some_and(|due| due != HELD && due != now)
    }

    /// A cut begins: the segment of the handshake that `side` has in flight is lost.
    pub(super) fn lose_handshake_segment(&mut self, id: ConnectionId, side: Side) {
        let now = self.kernel.now;
        let Some(connection) = self.net.tcp.get(id) else {
            return;
        };
        let due = &mut connection.handshake_due[usize::from(side)];
        if *due == HELD || *due <= now {
            return;
        }
        *due = 0;
        self.trace_loss(DeliveryProblem::Cut, false);
        self.handshake_segment_unheard(id);
    }

    /// A segment of the handshake was lost: both ends send theirs again.
    pub(crate) fn handshake_segment_unheard(&mut self, id: ConnectionId) {
        let Some(connection) = self.net.tcp.get(id) else {
            return;
        };
        let is_connecting = connection.end(CONNECTOR).state == State::SynSent;
        let awaits_ack = connection.end(ACCEPTOR).state == State::SynReceived;
        if is_connecting {
            self.schedule_syn_retransmission(id);
        }
        if awaits_ack {
            self.schedule_syn_ack_retransmission(id);
        }
    }

    fn schedule_syn_retransmission(&mut self, id: ConnectionId) {
        let schedule = self.net.links.syn_schedule;
        let Some(connection) = self.net.tcp.get(id) else {
            return;
        };
        let (since, options) = (connection.connect_started_at, connection.options(CONNECTOR));
        // It is looked at when a timer ends, from the second one on.
        let give_up_at = options.user_timeout().map(|timeout| since + timeout.max(USER_TIMEOUT_MIN));
        let next = next_syn_retransmission(schedule, options.syn_count(), since, self.kernel.now);
        match (next, give_up_at) {
            (Ok(at), None) => self.schedule(at, Event::RetransmitSyn(id)),
            (Ok(at), Some(end)) if at <= end => self.schedule(at, Event::RetransmitSyn(id)),
            (Ok(at) | Err(at), end) => {
                let at = end.map_or(at, |end| end.clamp(self.kernel.now, at));
                self.schedule(at, Event::ConnectFails(id, libc::ETIMEDOUT));
            }
        }
    }

    pub(crate) fn syn_arrives(&mut self, id: ConnectionId) {
        let Some(connection) = self.net.tcp.get(id) else {
            return;
        };
        let (from, to) = connection.link(CONNECTOR);
        let target = address::canonical(connection.addresses(ACCEPTOR).local);
        if self.hosts.silence(to).is_some() {
            return self.schedule_syn_retransmission(id);
        }
        self.drop_handshake_without_listener(id);
        let Some(connection) = self.net.tcp.get(id) else {
            return;
        };
        let state = connection.end(ACCEPTOR).state;
        let now = self.kernel.now;
        if state == State::NotCreated {
            let Addresses { local, peer } = *connection.addresses(CONNECTOR);
            if local == peer {
                return self.connect_to_itself(id);
            }
            let is_answered_by_nobody = connection.is_answered_by_nobody(ACCEPTOR);
            let Some(listener) = self.find_listener(to, target) else {
                if is_answered_by_nobody {
                    return self.schedule_syn_retransmission(id);
                }
                self.trace_message(MessageKind::Refused, Some(id.number()), to, from, &[]);
                self.send_handshake_segment(id, to, from, Event::ConnectFails(id, libc::ECONNREFUSED));
                return;
            };
            let accepting = &mut self.net.tcp.listeners[listener.index as usize];
            if accepting.is_full() {
                return self.schedule_syn_retransmission(id);
            }
            // One that finds the queue full is answered by a SYN cookie (RFC 4987 §3.6), as `tcp_syncookies` is 1.
            let has_cookie = accepting.syn_queue_len > accepting.backlog_max;
            accepting.syn_queue_len += usize::from(!has_cookie);
            let (is_ipv6, mut options) = (accepting.local.is_ipv6(), accepting.options);
            let connection = self.net.tcp.get(id).expect("checked above");
            if target.is_ipv4() {
                options.multicast_ttl = connection.options(CONNECTOR).ttl as u8;
            }
            (connection.listener, connection.has_cookie) = (Some(listener), has_cookie);
            connection.syn_arrived_at = now;
            connection.end(ACCEPTOR).state = State::SynReceived;
            *connection.options(ACCEPTOR) = options;
            let addresses = connection.addresses(ACCEPTOR);
            *addresses = Addresses { local: target, peer: address::canonical(addresses.peer) };
            let (local, peer) = (addresses.local, addresses.peer);
            if is_ipv6 {
                addresses.map_to_ipv6();
            }
            let place = (to, self.kernel.now);
            let is_entered = self.net.tcp_ports.enter(place, local, peer, Sharing::of(&options)).is_ok();
            let connection = self.net.tcp.get(id).expect("checked above");
            connection.has_port[usize::from(ACCEPTOR)] = is_entered;
        } else if state == State::SynReceived && self.has_cookie(id) && self.is_backlog_full(id) {
            return self.schedule_syn_retransmission(id);
        }
        // A retransmitted SYN gets another SYN-ACK; a lost SYN-ACK is retransmitted by timer, too.
        self.trace_message(MessageKind::SynAck, Some(id.number()), to, from, &[]);
        let is_in_flight = self.send_handshake_segment(id, to, from, Event::SynAck(id));
        if !is_in_flight && state == State::NotCreated {
            self.schedule_syn_ack_retransmission(id);
        }
    }

    /// A socket's SYN finds itself: a simultaneous open with one end (RFC 9293 §3.5).
    fn connect_to_itself(&mut self, id: ConnectionId) {
        let Some(connection) = self.net.tcp.get(id) else {
            return;
        };
        if connection.end(CONNECTOR).state == State::SynSent {
            connection.is_self = true;
            connection.end(CONNECTOR).state = State::Established;
            // A simultaneous open ends with a FIN, if the socket was shut down for writing before.
            if connection.out(CONNECTOR).is_write_shut() {
                self.tcp_shutdown(id, CONNECTOR);
            }
            self.wake_end(id, CONNECTOR);
        }
    }

    fn find_listener(&self, machine: u32, target: SocketAddr) -> Option<ListenerId> {
        let is_listening = |index: u32| {
            let listener = &self.net.tcp.listeners[index as usize];
            let bound = listener.options.interface;
            let is_there = bound.is_none_or(|bound| bound == scope::interface_of(target.ip()));
            (listener.is_listening && is_there).then_some(0)
        };
        let index = self.net.tcp_ports.find(machine, target.ip(), target.port(), is_listening)?;
        Some(ListenerId { index, generation: self.net.tcp.listeners[index as usize].generation })
    }

    pub(crate) fn syn_ack_arrives(&mut self, id: ConnectionId) {
        let Some(connection) = self.net.tcp.get(id) else {
            return;
        };
        let awaits_ack = connection.end(ACCEPTOR).state == State::SynReceived;
        match connection.end(CONNECTOR).state {
            State::SynSent => {
                connection.end(CONNECTOR).state = State::Established;
                self.keepalive_begins(id, CONNECTOR);
                self.wake_end(id, CONNECTOR);
                self.send_handshake_ack(id);
            }
            State::Established | State::Orphaned if awaits_ack => self.send_handshake_ack(id),
            // The connect was dropped: its host answers with a RST, which ends the handshake before `accept`.
            State::Closed => self.drop_handshake(id),
            _ => {}
        }
    }

    fn send_handshake_ack(&mut self, id: ConnectionId) {
        let Some(connection) = self.net.tcp.get(id) else {
            return;
        };
        let (from, to) = connection.link(CONNECTOR);
        self.trace_message(MessageKind::Ack, Some(id.number()), from, to, &[]);
        let delivery = self.send_segment(id, (from, to), Segment::Ack);
        self.expect_handshake_segment(id, CONNECTOR, delivery);
        match delivery {
            Delivery::Arrives(at) => {
                // Data of the connector must not arrive before the connection is in the backlog.
                self.net.tcp.get(id).expect("checked above").out(CONNECTOR).hold_until(at);
                self.schedule(at, Event::Established(id));
            }
            Delivery::Held => self.hold_event(from, to, Event::Established(id)),
            Delivery::Lost => self.schedule_syn_ack_retransmission(id),
        }
    }

    /// Schedules the next SYN-ACK for a handshake without an ACK, or drops the handshake after the last. With a cookie there is
    /// none.
    fn schedule_syn_ack_retransmission(&mut self, id: ConnectionId) {
        let Some(connection) = self.net.tcp.get(id).filter(|connection| !connection.has_cookie) else {
            return;
        };
        // The last one is followed by the end of the handshake.
        let (Ok(at) | Err(at)) = next_syn_ack_retransmission(connection.syn_arrived_at, self.kernel.now);
        if at > self.kernel.now {
            self.schedule(at, Event::RetransmitSynAck(id));
        } else {
            self.drop_handshake(id);
        }
    }

    pub(crate) fn retransmit_syn_ack(&mut self, id: ConnectionId) {
        let Some(connection) = self.net.tcp.get(id) else {
            return;
        };
        let (from, to) = connection.link(ACCEPTOR);
        if connection.end(ACCEPTOR).state != State::SynReceived || self.drop_handshake_without_listener(id) {
            return;
        }
        let Some(connection) = self.net.tcp.get(id) else {
            return;
        };
        connection.is_ack_dropped = false;
        // It was arranged for a time after the last one.
        let (now, since) = (self.kernel.now, connection.syn_arrived_at);
        if next_syn_ack_retransmission(since, now).is_err_and(|end| now >= end) {
            return self.drop_handshake(id);
        }
        self.trace_message(MessageKind::SynAck, Some(id.number()), from, to, &[]);
        let delivery = self.send_segment(id, (from, to), Segment::SynAck);
        self.expect_handshake_segment(id, ACCEPTOR, delivery);
        match delivery {
            Delivery::Arrives(at) => self.schedule(at, Event::SynAck(id)),
            Delivery::Held | Delivery::Lost => {
                self.trace_loss(DeliveryProblem::Held, false);
                self.schedule_syn_ack_retransmission(id)
            }
        }
    }

    /// The ACK arrives: the connection moves to the backlog. If that is full, the ACK is dropped, and the SYN-ACK sent again
    /// (`tcp_v4_syn_recv_sock()`): so long the connector's end is established, and its peer's not.
    pub(crate) fn established(&mut self, id: ConnectionId) {
        let Some(connection) = self.net.tcp.get(id) else {
            return;
        };
        let (machine, _) = connection.link(ACCEPTOR);
        match connection.end(ACCEPTOR).state {
            _ if self.hosts.silence(machine).is_some() => return,
            State::SynReceived => {}
            // The acceptor's process has ended meanwhile, and its host has no such connection.
            State::NotCreated | State::Closed => {
                self.send_reset(id, ACCEPTOR);
                return;
            }
            _ => return,
        }
        if self.is_backlog_full(id) {
            let connection = self.net.tcp.get(id).expect("checked above");
            if !std::mem::replace(&mut connection.is_ack_dropped, true) {
                self.schedule_syn_ack_retransmission(id);
            }
            return;
        }
        self.leave_syn_queue(id);
        let connection = self.net.tcp.get(id).expect("checked above");
        connection.end(ACCEPTOR).state = State::Established;
        self.keepalive_begins(id, ACCEPTOR);
        let connection = self.net.tcp.get(id).expect("checked above");
        let listener = connection.listener.and_then(|listener| self.net.tcp.listener(listener));
        let Some(listener) = listener.filter(|listener| listener.is_listening) else {
            return self.tcp_close(id, ACCEPTOR, CloseMode::Reset);
        };
        listener.backlog.push_back(id);
        let waiters = listener.waiters.take();
        self.kernel.wake_all(waiters);
    }

    pub(super) fn leave_syn_queue(&mut self, id: ConnectionId) {
        let Some(connection) = self.net.tcp.get(id) else { return };
        let (has_cookie, listener) = (connection.has_cookie, connection.listener);
        if let Some(listener) = listener.and_then(|listener| self.net.tcp.listener(listener)) {
            listener.syn_queue_len -= usize::from(!has_cookie);
        }
    }

    fn has_cookie(&mut self, id: ConnectionId) -> bool {
        self.net.tcp.get(id).is_some_and(|connection| connection.has_cookie)
    }

    /// Whether the listener of a handshake takes no more connections for now.
    pub(super) fn is_backlog_full(&mut self, id: ConnectionId) -> bool {
        let listener = self.net.tcp.get(id).and_then(|connection| connection.listener);
        listener
            .and_then(|listener| self.net.tcp.listener(listener))
            .is_some_and(|listener| listener.is_full())
    }

    /// Drops a half-open connection whose listener has ended: its SYN-ACK is not sent again, and another SYN is a new one. Whether it was
    /// one.
    fn drop_handshake_without_listener(&mut self, id: ConnectionId) -> bool {
        let Some(connection) = self.net.tcp.get(id) else {
            return false;
        };
        if connection.end(ACCEPTOR).state != State::SynReceived {
            return false;
        }
        let listener = connection.listener.and_then(|listener| self.net.tcp.listener(listener));
        let has_listener = listener.is_some_and(|listener| listener.is_listening);
        if !has_listener {
            self.drop_handshake(id);
        }
        !has_listener
    }

    /// Drops a half-open connection at the acceptor's host.
    pub(super) fn drop_handshake(&mut self, id: ConnectionId) {
        let Some(connection) = self.net.tcp.get(id) else {
            return;
        };
        match connection.end(ACCEPTOR).state {
            State::SynReceived => self.leave_syn_queue(id),
            State::NotCreated => {}
            _ => return,
        }
        self.release_port(id, ACCEPTOR);
        self.close_end(id, ACCEPTOR, State::NotCreated);
    }

    pub(crate) fn connect_fails(&mut self, id: ConnectionId, code: i32) {
        let Some(connection) = self.net.tcp.get(id) else {
            return;
        };
        if connection.end(CONNECTOR).state == State::SynSent {
            self.fail_end(id, CONNECTOR, code);
        }
        self.drop_handshake(id);
    }

    /// The result of a connect; while there is none, registers `waiter`.
    pub(crate) fn tcp_connected(&mut self, id: ConnectionId, waiter: Waiter) -> io::Result<Option<()>> {
        let Some(connection) = self.net.tcp.get(id) else {
            self.kernel.discard(Some(waiter));
            return Err(address::os_error(libc::ENOTCONN));
        };
        let end = connection.end(CONNECTOR);
        if end.state == State::SynSent {
            let redundant = end.writers.add(waiter);
            self.kernel.discard(redundant);
            self.kernel.waits_for(WaitsFor::Connection);
            return Ok(None);
        }
        let result = end.take_error();
        self.kernel.discard(Some(waiter));
        result.map(Some)
    }
}
