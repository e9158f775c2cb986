//! Sockets as system calls see them: created, bound, listening or connected, in steps; ready or not.

use std::io::{self, IoSlice};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use super::connection::{
    ACCEPTOR, CONNECTOR, CloseMode, ConnectionId, End, ListenerId, Options, Side, State,
};
use super::udp::SocketId;
use crate::kernel::tasks::WaitsFor;
use crate::kernel::waiter::Waiter;
use crate::machine::cluster::Cluster;
use crate::machine::descriptors::{Buffers, Direction, Errno, Read};
use crate::machine::world::Process;

/// A socket of a process.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Socket {
    process: Process,
    pub(crate) is_ipv6: bool,
    pub(crate) is_udp: bool,
    /// Whether the program is told to which address a datagram was sent: IP_PKTINFO.
    pub(crate) gives_destination: bool,
    kind: Kind,
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    /// Created, and no more.
    Fresh,
    /// A TCP socket that has a port: it listens, if that was asked for.
    Listener(ListenerId),
    Stream(ConnectionId, Side),
    Udp(SocketId),
}

fn errno(error: io::Error) -> Errno {
    error.raw_os_error().unwrap_or(libc::EIO)
}

impl Socket {
    pub(crate) fn new(process: Process, is_ipv6: bool, is_udp: bool) -> Self {
        Self { process, is_ipv6, is_udp, gives_destination: false, kind: Kind::Fresh }
    }

    /// The same, of which the network has nothing any more.
    pub(crate) fn forgotten(self) -> Self {
        Self { kind: Kind::Fresh, ..self }
    }

    fn any(self) -> SocketAddr {
        match self.is_ipv6 {
            true => (Ipv6Addr::UNSPECIFIED, 0).into(),
            false => (Ipv4Addr::UNSPECIFIED, 0).into(),
        }
    }
}

impl Cluster {
    /// bind(2).
    pub(crate) fn bind_socket(&mut self, socket: &mut Socket, address: SocketAddr) -> Result<(), Errno> {
        if !matches!(socket.kind, Kind::Fresh) || address.is_ipv6() != socket.is_ipv6 {
            return Err(libc::EINVAL);
        }
        socket.kind = if socket.is_udp {
            Kind::Udp(self.udp_open(socket.process, address).map_err(errno)?)
        } else {
            let (id, _) = self.tcp_listen(socket.process, address).map_err(errno)?;
            self.net.tcp.listener(id).expect("it was just made").is_listening = false;
            Kind::Listener(id)
        };
        Ok(())
    }

    /// A UDP socket that sends takes a port first, if it has none (udp(7)).
    pub(crate) fn bind_before_sending(&mut self, socket: &mut Socket) -> Result<(), Errno> {
        match socket.kind {
            Kind::Fresh if socket.is_udp => self.bind_socket(socket, socket.any()),
            _ => Ok(()),
        }
    }

    /// listen(2).
    pub(crate) fn listen_socket(&mut self, socket: &mut Socket) -> Result<(), Errno> {
        if socket.is_udp {
            return Err(libc::EOPNOTSUPP);
        }
        if let Kind::Fresh = socket.kind {
            self.bind_socket(socket, socket.any())?;
        }
        let Kind::Listener(id) = socket.kind else { return Err(libc::EINVAL) };
        self.net.tcp.listener(id).ok_or(libc::EINVAL)?.is_listening = true;
        Ok(())
    }

    /// accept(2): the connection and its peer; `None` when there is none yet.
    pub(crate) fn accept_socket(&mut self, socket: Socket) -> Result<Option<(Socket, SocketAddr)>, Errno> {
        let Kind::Listener(id) = socket.kind else { return Err(libc::EINVAL) };
        if !self.net.tcp.listener(id).is_some_and(|listener| listener.is_listening) {
            return Err(libc::EINVAL);
        }
        let accepted = self.tcp_accept(id).map_err(errno)?;
        Ok(accepted.map(|(id, peer)| (Socket { kind: Kind::Stream(id, ACCEPTOR), ..socket }, peer)))
    }

    /// connect(2): begins it; whether it is done at once, as it is for UDP.
    pub(crate) fn connect_socket(&mut self, socket: &mut Socket, address: SocketAddr) -> Result<bool, Errno> {
        if address.is_ipv6() && !socket.is_ipv6 {
            return Err(libc::EAFNOSUPPORT);
        }
        match socket.kind {
            Kind::Udp(id) => self.udp_connect(id, address).map(|()| true).map_err(errno),
            Kind::Fresh if socket.is_udp => {
                let id = self.udp_open(socket.process, socket.any()).map_err(errno)?;
                socket.kind = Kind::Udp(id);
                self.udp_connect(id, address).map(|()| true).map_err(errno)
            }
            Kind::Fresh => {
                socket.kind =
                    Kind::Stream(self.tcp_connect(socket.process, address).map_err(errno)?, CONNECTOR);
                Ok(false)
            }
            Kind::Listener(id) => {
                if self.net.tcp.listener(id).is_some_and(|listener| listener.is_listening) {
                    return Err(libc::EISCONN);
                }
                // Its port is given back: the connection takes one of its own.
                self.tcp_unlisten(id, true);
                socket.kind =
                    Kind::Stream(self.tcp_connect(socket.process, address).map_err(errno)?, CONNECTOR);
                Ok(false)
            }
            Kind::Stream(id, _) => {
                match self.net.tcp.get(id).map(|connection| connection.end(CONNECTOR).state) {
                    Some(State::SynSent) => Err(libc::EALREADY),
                    _ => Err(libc::EISCONN),
                }
            }
        }
    }

    /// Whether a connect that was begun has come to its end; `None` until then.
    pub(crate) fn socket_connected(&mut self, socket: Socket) -> Result<Option<()>, Errno> {
        let Kind::Stream(id, side) = socket.kind else { return Ok(Some(())) };
        let connection = self.net.tcp.get(id).ok_or(libc::ENOTCONN)?;
        let end = connection.end(side);
        if end.state == State::SynSent {
            self.kernel.waits_for(WaitsFor::Connection);
            return Ok(None);
        }
        end.take_error().map_err(errno)?;
        Ok(Some(()))
    }

    pub(crate) fn socket_local(&mut self, socket: Socket) -> Result<SocketAddr, Errno> {
        match socket.kind {
            Kind::Fresh => Ok(socket.any()),
            Kind::Listener(id) => {
                self.net.tcp.listener(id).map(|listener| listener.local).ok_or(libc::EINVAL)
            }
            Kind::Stream(id, side) => {
                self.net.tcp.get(id).map(|connection| connection.addresses(side).local).ok_or(libc::EINVAL)
            }
            Kind::Udp(id) => self.net.udp.get(id).map(|socket| socket.local).map_err(errno),
        }
    }

    pub(crate) fn socket_peer(&mut self, socket: Socket) -> Result<SocketAddr, Errno> {
        match socket.kind {
            Kind::Stream(id, side) => self.tcp_peer(id, side).map_err(errno),
            Kind::Udp(id) => {
                let socket = self.net.udp.get(id).map_err(errno)?;
                socket.peer.map(|peer| socket.in_family(peer)).ok_or(libc::ENOTCONN)
            }
            Kind::Fresh | Kind::Listener(_) => Err(libc::ENOTCONN),
        }
    }

    /// Whether it listens: SO_ACCEPTCONN.
    pub(crate) fn socket_listens(&mut self, socket: Socket) -> bool {
        matches!(socket.kind, Kind::Listener(id) if self.net.tcp.listener(id).is_some_and(|one| one.is_listening))
    }

    /// The error that a socket has for its program, once: SO_ERROR.
    pub(crate) fn socket_error(&mut self, socket: Socket) -> Errno {
        let taken = match socket.kind {
            Kind::Stream(id, side) => {
                self.net.tcp.get(id).and_then(|connection| connection.end(side).error.take())
            }
            Kind::Udp(id) => self.net.udp.get(id).ok().and_then(|socket| socket.error.take()),
            Kind::Fresh | Kind::Listener(_) => None,
        };
        taken.unwrap_or(0)
    }

    /// Options of a TCP socket; `None` where it has none yet.
    pub(crate) fn socket_options(&mut self, socket: Socket) -> Option<&mut Options> {
        match socket.kind {
            Kind::Stream(id, side) => {
                self.net.tcp.get(id).map(|connection| &mut connection.end(side).options)
            }
            Kind::Listener(id) => self.net.tcp.listener(id).map(|listener| &mut listener.options),
            Kind::Fresh | Kind::Udp(_) => None,
        }
    }

    /// shutdown(2).
    pub(crate) fn shutdown_socket(&mut self, socket: Socket, reads: bool, writes: bool) -> Result<(), Errno> {
        match socket.kind {
            Kind::Stream(id, side) => {
                let connection = self.net.tcp.get(id).ok_or(libc::ENOTCONN)?;
                if connection.end(side).state != State::Established {
                    return Err(libc::ENOTCONN);
                }
                if writes {
                    self.tcp_shutdown(id, side);
                }
                let _ = reads; // Linux lets what arrives be read all the same
                Ok(())
            }
            Kind::Listener(id) => {
                self.net.tcp.listener(id).ok_or(libc::EINVAL)?.is_listening = false;
                Ok(())
            }
            Kind::Fresh | Kind::Udp(_) => Err(libc::ENOTCONN),
        }
    }

    pub(crate) fn close_socket(&mut self, socket: Socket) {
        match socket.kind {
            Kind::Fresh => {}
            Kind::Listener(id) => self.tcp_unlisten(id, true),
            Kind::Stream(id, side) => self.tcp_close(id, side, CloseMode::Close),
            Kind::Udp(id) => self.udp_close(id),
        }
    }

    /// As poll(2) and Linux's tcp_poll() say it.
    pub(crate) fn socket_readiness(&mut self, socket: Socket) -> u32 {
        let ready = match socket.kind {
            Kind::Fresh if socket.is_udp => libc::EPOLLOUT,
            Kind::Fresh => libc::EPOLLOUT | libc::EPOLLHUP,
            Kind::Listener(id) => match self.net.tcp.listener(id) {
                Some(listener) if !listener.backlog.is_empty() => libc::EPOLLIN,
                Some(listener) if !listener.is_listening => libc::EPOLLOUT | libc::EPOLLHUP,
                Some(_) => 0,
                None => libc::EPOLLHUP,
            },
            Kind::Udp(id) => match self.net.udp.get(id) {
                Ok(socket) => {
                    let readable = if socket.queue.is_empty() { 0 } else { libc::EPOLLIN };
                    let failed = if socket.error.is_some() { libc::EPOLLERR | libc::EPOLLIN } else { 0 };
                    readable | failed | libc::EPOLLOUT
                }
                Err(_) => libc::EPOLLERR,
            },
            Kind::Stream(id, side) => self.stream_readiness(id, side),
        };
        ready as u32
    }

    fn stream_readiness(&mut self, id: ConnectionId, side: Side) -> i32 {
        let Some(connection) = self.net.tcp.get(id) else {
            return libc::EPOLLIN | libc::EPOLLOUT | libc::EPOLLHUP | libc::EPOLLRDHUP;
        };
        if connection.end(side).state == State::SynSent {
            return 0;
        }
        let is_readable = connection.is_readable(side);
        let is_ended = connection.into(side).has_fin_arrived();
        let is_finished = connection.out(side).is_write_shut();
        let end = connection.end(side);
        let (has_error, is_open) = (end.error.is_some(), end.state == State::Established);
        let mut ready = 0;
        for (holds, event) in [
            (is_readable, libc::EPOLLIN),
            (is_ended || !is_open, libc::EPOLLRDHUP),
            (is_ended && is_finished || !is_open, libc::EPOLLHUP),
            (has_error, libc::EPOLLERR),
        ] {
            if holds {
                ready |= event;
            }
        }
        if self.tcp_is_writable(id, side) {
            ready |= libc::EPOLLOUT;
        }
        ready
    }

    /// Has a waiter woken when the readiness of a socket may have changed.
    pub(crate) fn await_socket(&mut self, socket: Socket, waiter: &dyn Fn() -> Waiter) {
        let unneeded = match socket.kind {
            Kind::Fresh => [None, None],
            Kind::Listener(id) => {
                [self.net.tcp.listener(id).and_then(|listener| listener.waiters.add(waiter())), None]
            }
            Kind::Udp(id) => {
                [self.net.udp.get(id).ok().and_then(|socket| socket.waiters.add(waiter())), None]
            }
            Kind::Stream(id, side) => match self.net.tcp.get(id).map(|connection| connection.end(side)) {
                Some(End { readers, writers, .. }) => [readers.add(waiter()), writers.add(waiter())],
                None => [None, None],
            },
        };
        unneeded.into_iter().for_each(|waiter| self.kernel.discard(waiter));
    }

    pub(crate) fn note_socket_wait(&mut self, socket: Socket, direction: Direction) {
        self.kernel.waits_for(match (socket.kind, direction) {
            (Kind::Listener(_), _) => WaitsFor::Accept,
            (Kind::Udp(_), Direction::Read) => WaitsFor::Datagram,
            (_, Direction::Read) => WaitsFor::Read,
            (_, Direction::Write) => WaitsFor::Write,
        });
    }

    pub(crate) fn read_socket(
        &mut self,
        socket: Socket,
        buffers: &mut Buffers<'_>,
        peek: bool,
    ) -> Result<Option<Read>, Errno> {
        match socket.kind {
            Kind::Stream(id, side) => {
                if self.net.tcp.get(id).is_some_and(|connection| connection.end(side).state == State::SynSent)
                {
                    return Ok(None);
                }
                let limit = buffers.room();
                let read = self.tcp_read(id, side, limit, !peek, |first, second| {
                    buffers.put(0, first);
                    buffers.put(first.len(), second);
                });
                Ok(read.map_err(errno)?.map(Read::of))
            }
            Kind::Udp(id) => {
                let whole = self.net.udp.get(id).map_err(errno)?.next_length();
                // Nearly always there is one buffer.
                let received = match &mut buffers.parts[..] {
                    [only] => self.udp_receive(id, only, peek).map_err(errno)?,
                    _ => {
                        let mut joined = vec![0; whole];
                        let received = self.udp_receive(id, &mut joined, peek).map_err(errno)?;
                        buffers.put(0, &joined[..whole.min(buffers.room())]);
                        received
                    }
                };
                let room = buffers.room();
                Ok(received.map(|(_, from)| Read { bytes: whole.min(room), whole, from: Some(from) }))
            }
            Kind::Fresh if socket.is_udp => Ok(None),
            Kind::Fresh | Kind::Listener(_) => Err(libc::ENOTCONN),
        }
    }

    pub(crate) fn write_socket(
        &mut self,
        socket: Socket,
        parts: &[IoSlice<'_>],
        to: Option<SocketAddr>,
    ) -> Result<Option<usize>, Errno> {
        match socket.kind {
            Kind::Stream(id, side) => {
                if self.net.tcp.get(id).is_some_and(|connection| connection.end(side).state == State::SynSent)
                {
                    return Ok(None);
                }
                self.tcp_write(id, side, parts).map_err(errno)
            }
            Kind::Udp(id) => {
                let sent = match parts {
                    [only] => self.udp_send(id, only, to),
                    _ => {
                        let joined: Vec<u8> = parts.iter().flat_map(|part| part.iter().copied()).collect();
                        self.udp_send(id, &joined, to)
                    }
                };
                sent.map(Some).map_err(errno)
            }
            Kind::Fresh if socket.is_udp => Err(libc::EDESTADDRREQ),
            Kind::Fresh | Kind::Listener(_) => Err(libc::EPIPE),
        }
    }
}
