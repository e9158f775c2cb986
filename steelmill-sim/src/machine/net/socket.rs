//! Sockets as system calls see them: created, bound, listening or connected, in steps; ready or not.

mod readiness; // which calls would not wait
mod transfer; // reading and writing

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::connection::{ACCEPTOR, CONNECTOR, CloseMode, ConnectionId, ListenerId, Side, State};
use super::options::{Options, Protocol};
use super::udp::{Interface, Member, SocketId};
use super::unix::{UnixId, UnixName};
use crate::kernel::tasks::WaitsFor;
use crate::machine::cluster::Cluster;
use crate::machine::descriptors::{Errno, Sender};
use crate::machine::world::Process;

/// A socket of a process.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Socket {
    process: Process,
    pub(crate) is_ipv6: bool,
    pub(crate) protocol: Protocol,
    /// Whether the program is told to which address a datagram was sent: IP_PKTINFO.
    pub(crate) gives_destination: bool,
    options: Options,
    kind: Kind,
    phase: Phase,
    /// What shutdown(2) was asked for on a socket without a connection.
    is_read_shut: bool,
    is_write_shut: bool,
    /// The error of a connection that it had.
    error: Option<Errno>,
    /// The port that it was bound to before it connected.
    bound: Option<ListenerId>,
    /// A local address that it had. Its program is still told the port; the IP address is kept if it was asked for.
    former: Option<SocketAddr>,
    has_own_port: bool,
    has_own_address: bool,
    /// From its first multicast group on.
    member: Option<Member>,
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    /// Created, and no more.
    Fresh,
    /// A TCP socket that has a port: it listens, if that was asked for.
    Listener(ListenerId),
    Stream(ConnectionId, Side),
    Udp(SocketId),
    Unix(UnixId),
}

/// What connect(2) knows of a TCP socket: Linux's `socket_state`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Unconnected,
    /// A connect was begun, and its end was not told yet.
    Connecting,
    Connected,
    /// It was shut down before that.
    Disconnecting,
}

/// An address as a system call is given it.
#[derive(Debug, Clone)]
pub(crate) struct Name {
    pub(crate) family: NameFamily,
    /// How many bytes it has.
    pub(crate) length: usize,
}

#[derive(Debug, Clone)]
pub(crate) enum NameFamily {
    Internet(SocketAddr),
    Unix(UnixName),
    Netlink {
        port: u32,
        groups: u32,
    },
    /// `AF_UNSPEC`.
    Unspecified,
    Other,
}

/// An address that a system call gives.
#[derive(Debug, Clone)]
pub(crate) enum SocketAddress {
    Internet(SocketAddr),
    Unix(UnixName),
    Netlink { port: u32, groups: u32 },
}

impl From<Sender> for SocketAddress {
    fn from(sender: Sender) -> Self {
        match sender {
            Sender::Internet(address) => SocketAddress::Internet(address),
            Sender::Unix(name) => SocketAddress::Unix(name),
            Sender::Netlink { port, groups } => SocketAddress::Netlink { port, groups },
        }
    }
}

/// The least lengths of addresses, which Linux checks before their family (RFC 2133 had no scope in one of IPv6).
const V4_LENGTH: usize = size_of::<libc::sockaddr_in>();
const V6_LENGTH: usize = 24;

fn errno(error: io::Error) -> Errno {
    error.raw_os_error().unwrap_or(libc::EIO)
}

impl Name {
    /// The name of an address, with all of its bytes.
    pub(crate) fn internet(address: SocketAddr) -> Self {
        let length = if address.is_ipv6() { size_of::<libc::sockaddr_in6>() } else { V4_LENGTH };
        Self { family: NameFamily::Internet(address), length }
    }

    /// The address, if it is of the socket's family.
    fn of_family(&self, is_ipv6: bool) -> Result<SocketAddr, Errno> {
        match self.family {
            _ if self.length < if is_ipv6 { V6_LENGTH } else { V4_LENGTH } => Err(libc::EINVAL),
            NameFamily::Internet(address) if address.is_ipv6() == is_ipv6 => Ok(address),
            _ => Err(libc::EAFNOSUPPORT),
        }
    }

    /// The address, which may be of IPv4 for an IPv6 socket, as UDP has it.
    fn of_udp(&self, is_ipv6: bool) -> Result<SocketAddr, Errno> {
        match self.family {
            NameFamily::Internet(address) if address.is_ipv4() && is_ipv6 => Ok(address),
            _ => self.of_family(is_ipv6),
        }
    }

    /// The name in the Unix domain.
    fn of_unix(&self) -> Result<&UnixName, Errno> {
        match &self.family {
            NameFamily::Unix(name) => Ok(name),
            _ => Err(libc::EINVAL),
        }
    }
}

impl Socket {
    pub(crate) fn new(process: Process, is_ipv6: bool, protocol: Protocol) -> Self {
        Self {
            process,
            is_ipv6,
            protocol,
            gives_destination: false,
            options: Options::default(),
            kind: Kind::Fresh,
            phase: Phase::Unconnected,
            is_read_shut: false,
            is_write_shut: false,
            error: None,
            bound: None,
            former: None,
            has_own_port: false,
            has_own_address: false,
            member: None,
        }
    }

    fn unix(process: Process, id: UnixId) -> Self {
        Self { kind: Kind::Unix(id), ..Self::new(process, false, Protocol::Unix) }
    }

    /// The same, of which the network has ended what it had.
    pub(crate) fn forgotten(self) -> Self {
        match self.kind {
            Kind::Unix(_) => self,
            _ => Self { kind: Kind::Fresh, bound: None, ..self },
        }
    }

    pub(crate) fn is_udp(&self) -> bool {
        self.protocol == Protocol::Udp
    }

    /// The connection, of a TCP socket that has one. It is read, written and waited for without a copy of the socket, which is long.
    #[inline]
    pub(crate) fn connection(&self) -> Option<(ConnectionId, Side)> {
        match self.kind {
            Kind::Stream(id, side) => Some((id, side)),
            _ => None,
        }
    }

    /// The error of a connection that it had, once: a read or a write of what has none now is told first.
    pub(crate) fn take_idle_error(&mut self) -> Option<Errno> {
        match self.kind {
            Kind::Fresh | Kind::Listener(_) => self.error.take(),
            _ => None,
        }
    }

    /// The IP address of a socket without a port.
    fn kept_address(&self) -> IpAddr {
        let kept = self.former.filter(|_| self.has_own_address);
        kept.map_or(self.any().ip(), |former| former.ip())
    }

    fn any(&self) -> SocketAddr {
        match self.is_ipv6 {
            true => (Ipv6Addr::UNSPECIFIED, 0).into(),
            false => (Ipv4Addr::UNSPECIFIED, 0).into(),
        }
    }

    /// Whether both are the same thing of the network: else whoever waits for one does not wait for the other.
    pub(crate) fn is_as(&self, other: &Self) -> bool {
        match (self.kind, other.kind) {
            (Kind::Fresh, Kind::Fresh) => true,
            (Kind::Listener(one), Kind::Listener(other)) => one == other,
            (Kind::Stream(one, _), Kind::Stream(other, _)) => one == other,
            (Kind::Udp(one), Kind::Udp(other)) => one == other,
            (Kind::Unix(one), Kind::Unix(other)) => one == other,
            _ => false,
        }
    }
}

impl Cluster {
    /// socket(2) of the Unix domain.
    pub(crate) fn unix_socket(&mut self, process: Process, is_stream: bool) -> Socket {
        Socket::unix(process, self.unix_open(process.machine, is_stream))
    }

    /// socketpair(2).
    pub(crate) fn unix_sockets(&mut self, process: Process, is_stream: bool) -> [Socket; 2] {
        self.unix_pair(process.machine, is_stream).map(|id| Socket::unix(process, id))
    }

    /// Whether bytes run together in it, and any part of them may be transferred.
    #[inline]
    pub(crate) fn is_stream_socket(&mut self, socket: Socket) -> bool {
        match socket.kind {
            Kind::Unix(id) => self.unix_is_stream(id),
            _ => socket.protocol == Protocol::Tcp,
        }
    }

    /// bind(2).
    pub(crate) fn bind_socket(&mut self, socket: &mut Socket, name: &Name) -> Result<(), Errno> {
        if let Kind::Unix(id) = socket.kind {
            return self.unix_bind(id, name.of_unix()?);
        }
        let address = match name.family {
            // An old way to say 0.0.0.0.
            NameFamily::Unspecified if !socket.is_ipv6 && name.length >= V4_LENGTH => socket.any(),
            _ => name.of_family(socket.is_ipv6)?,
        };
        self.bind_to(socket, address)
    }

    fn bind_to(&mut self, socket: &mut Socket, address: SocketAddr) -> Result<(), Errno> {
        let is_taken = match socket.kind {
            Kind::Fresh => false,
            Kind::Udp(id) => !self.udp_is_portless(id),
            Kind::Listener(_) | Kind::Unix(_) => true,
            // The port of a connection that has ended is free for another bind, unless it was asked for.
            Kind::Stream(id, side) => {
                socket.bound.is_some() && socket.has_own_port || !self.has_connection_ended(id, side)
            }
        };
        let canonical = super::address::canonical(address);
        if socket.is_ipv6 && (is_taken || socket.options.only_v6 && canonical.is_ipv4()) {
            return Err(libc::EINVAL);
        }
        let (machine, is_stream) = (socket.process.machine, !socket.is_udp());
        self.net.addresses.check_bind(machine, address, is_stream, &mut socket.options)?;
        if is_taken {
            return Err(libc::EINVAL);
        }
        socket.has_own_port = address.port() != 0;
        // An IPv6 address is no way to IPv4 (`__inet6_bind()`).
        let is_any = canonical.ip().is_unspecified();
        let mut options = socket.options;
        options.only_v6 |= canonical.is_ipv6() && !is_any;
        if let Kind::Udp(id) = socket.kind {
            self.udp_bind_again(id, address, options).map_err(errno)?;
            socket.options = options;
            return Ok(());
        }
        if socket.is_udp() {
            let id = self.udp_open(socket.process, address, options).map_err(errno)?;
            socket.options = options;
            let udp = self.net.udp.get(id).map_err(errno)?;
            (udp.is_write_shut, udp.member) = (socket.is_write_shut, socket.member);
            socket.kind = Kind::Udp(id);
            return Ok(());
        }
        if let Kind::Stream(id, side) = socket.kind {
            // What the connection had, which has ended, is free.
            socket.bound.take().into_iter().for_each(|former| self.tcp_unlisten(former, true));
            self.tcp_release_port_of_ended(id, side);
        }
        let bound = match self.tcp_bind(socket.process, address, options) {
            Err(error)
                if error.raw_os_error() == Some(libc::EADDRINUSE)
                    && self.tcp_release_ports_of_ended(socket.process.machine) =>
            {
                self.tcp_bind(socket.process, address, options)
            }
            bound => bound,
        };
        let (id, _) = bound.map_err(errno)?;
        (socket.options, socket.has_own_address) = (options, !is_any);
        match socket.kind {
            // A chosen port stays, too: there is no connection left that could give it back.
            Kind::Stream(..) => (socket.bound, socket.has_own_port) = (Some(id), true),
            _ => socket.kind = Kind::Listener(id),
        }
        Ok(())
    }

    /// Whether Linux has no connection left (`TCP_CLOSE`): it failed, or both directions have ended.
    fn has_connection_ended(&mut self, id: ConnectionId, side: Side) -> bool {
        let has_failed = self.net.tcp.get(id).is_some_and(|one| one.end(side).state == State::Failed);
        has_failed || self.tcp_is_over(id, side)
    }

    /// A UDP socket that sends takes a port first, if it has none (udp(7)).
    pub(crate) fn bind_before_sending(&mut self, socket: &mut Socket) -> Result<(), Errno> {
        match socket.kind {
            Kind::Fresh if socket.is_udp() => self.bind_to(socket, socket.any()),
            Kind::Udp(id) if self.udp_is_portless(id) => self.bind_to(socket, socket.any()),
            _ => Ok(()),
        }
    }

    /// listen(2).
    pub(crate) fn listen_socket(&mut self, socket: &mut Socket, backlog: i32) -> Result<(), Errno> {
        if let Kind::Unix(id) = socket.kind {
            return self.unix_listen(id, backlog);
        }
        if socket.is_udp() {
            return Err(libc::EOPNOTSUPP);
        }
        if socket.phase != Phase::Unconnected {
            return Err(libc::EINVAL);
        }
        if let Kind::Fresh = socket.kind {
            self.bind_to(socket, SocketAddr::new(socket.kept_address(), 0))?;
        }
        let Kind::Listener(id) = socket.kind else { return Err(libc::EINVAL) };
        // A negative backlog is a very long one.
        self.tcp_listen(id, backlog as u32 as usize).map_err(errno)?;
        Ok(())
    }

    /// accept(2): the connection and its peer; `None` when there is none yet.
    pub(crate) fn accept_socket(&mut self, socket: Socket) -> Result<Option<(Socket, SocketAddress)>, Errno> {
        if let Kind::Unix(id) = socket.kind {
            let accepted = self.unix_accept(id)?;
            return Ok(
                accepted.map(|(id, peer)| (Socket::unix(socket.process, id), SocketAddress::Unix(peer)))
            );
        }
        if socket.is_udp() {
            return Err(libc::EOPNOTSUPP);
        }
        let Kind::Listener(id) = socket.kind else { return Err(libc::EINVAL) };
        if !self.net.tcp.listener(id).is_some_and(|listener| listener.is_listening) {
            return Err(libc::EINVAL);
        }
        let Some((id, peer)) = self.tcp_accept(id).map_err(errno)? else { return Ok(None) };
        let options = *self.net.tcp.get(id).expect("it was just accepted").options(ACCEPTOR);
        let new = Socket::new(socket.process, socket.is_ipv6, Protocol::Tcp);
        let (kind, has_own_address) = (Kind::Stream(id, ACCEPTOR), socket.has_own_address);
        let accepted = Socket { options, kind, phase: Phase::Connected, has_own_address, ..new };
        Ok(Some((accepted, SocketAddress::Internet(peer))))
    }

    /// connect(2) without waiting: `true` when it is done, `false` while it goes on.
    ///
    /// # Errors
    /// As Linux's `__inet_stream_connect()`: the call after the end of a connect tells how it went.
    pub(crate) fn connect_socket(&mut self, socket: &mut Socket, name: &Name) -> Result<bool, Errno> {
        if let Kind::Unix(id) = socket.kind {
            return match name.family {
                NameFamily::Unspecified if !self.unix_is_stream(id) => {
                    self.unix_connect_datagrams(id, None).map(|()| true)
                }
                _ => self.unix_connect(id, name.of_unix()?).map(|connected| connected.is_some()),
            };
        }
        if let NameFamily::Unspecified = name.family {
            self.disconnect_socket(socket)?;
            return Ok(true);
        }
        if socket.is_udp() {
            self.bind_before_sending(socket)?;
            let address = name.of_udp(socket.is_ipv6)?;
            let Kind::Udp(id) = socket.kind else { return Err(libc::EINVAL) };
            let connected = self.udp_connect(id, address).map_err(errno);
            socket.options.interface = self.net.udp.get(id).map_err(errno)?.options.interface;
            return connected.map(|()| true);
        }
        match (socket.phase, socket.kind) {
            (Phase::Disconnecting, _) => Err(libc::EINVAL),
            (Phase::Connected, _) => Err(libc::EISCONN),
            (Phase::Connecting, Kind::Stream(id, side)) => {
                match self.net.tcp.get(id).map(|connection| connection.end(side).state) {
                    Some(State::SynSent) => Err(libc::EALREADY),
                    _ => self.finish_connect(socket).map(|()| true),
                }
            }
            (_, Kind::Listener(id)) if self.net.tcp.listener(id).is_some_and(|one| one.is_listening) => {
                Err(libc::EISCONN)
            }
            _ => {
                let address = name.of_family(socket.is_ipv6)?;
                if !address.ip().is_multicast() {
                    socket.options.connect_to_interface(address)?;
                }
                if let (Kind::Fresh, true) = (socket.kind, socket.has_own_address) {
                    self.bind_to(socket, SocketAddr::new(socket.kept_address(), 0))?;
                }
                let (from, bound) = match socket.kind {
                    Kind::Listener(id) => (self.net.tcp.listener(id).map(|one| one.local), Some(id)),
                    _ => (None, None),
                };
                let (process, is_ipv6, options) = (socket.process, socket.is_ipv6, socket.options);
                let id = self.tcp_connect(process, is_ipv6, from, address, options).map_err(errno)?;
                (socket.kind, socket.bound) = (Kind::Stream(id, CONNECTOR), bound);
                if let Some(connection) = self.net.tcp.get(id) {
                    connection.end(CONNECTOR).is_read_shut = socket.is_read_shut;
                    if socket.is_write_shut {
                        connection.out(CONNECTOR).bar();
                    }
                    let local = connection.addresses(CONNECTOR).local;
                    bound.into_iter().for_each(|bound| self.tcp_relocate(bound, local.ip()));
                }
                socket.phase = Phase::Connecting;
                Ok(false)
            }
        }
    }

    /// The end of a connect, which is told once.
    fn finish_connect(&mut self, socket: &mut Socket) -> Result<(), Errno> {
        let Kind::Stream(id, side) = socket.kind else { return Ok(()) };
        let connection = self.net.tcp.get(id).ok_or(libc::ECONNABORTED)?;
        let end = connection.end(side);
        if end.state != State::Failed {
            socket.phase = Phase::Connected;
            return Ok(());
        }
        let code = end.error.take().unwrap_or(libc::ECONNABORTED);
        self.leave_connection(socket);
        Err(code)
    }

    /// Whether a connect that was begun has come to its end; `None` until then.
    pub(crate) fn socket_connected(&mut self, socket: &mut Socket) -> Result<Option<()>, Errno> {
        let Kind::Stream(id, side) = socket.kind else { return Ok(Some(())) };
        let connection = self.net.tcp.get(id).ok_or(libc::ENOTCONN)?;
        if connection.end(side).state == State::SynSent {
            self.kernel.waits_for(WaitsFor::Connection);
            return Ok(None);
        }
        self.finish_connect(socket).map(Some)
    }

    /// Gives up a connection; what is left is as it was before the connect.
    fn leave_connection(&mut self, socket: &mut Socket) {
        if let Kind::Stream(id, side) = socket.kind {
            socket.former = self.net.tcp.get(id).map(|connection| connection.addresses(side).local);
            self.tcp_close(id, side, CloseMode::Reset);
        }
        if let (Some(bound), false) = (socket.bound, socket.has_own_address) {
            self.tcp_relocate(bound, socket.any().ip());
        }
        socket.kind = socket.bound.take().map_or(Kind::Fresh, Kind::Listener);
        socket.phase = Phase::Unconnected;
        (socket.is_read_shut, socket.is_write_shut) = (false, false);
        self.release_chosen_port(socket);
    }

    /// A port that was not asked for is given back.
    fn release_chosen_port(&mut self, socket: &mut Socket) {
        if let (Kind::Listener(id), false) = (socket.kind, socket.has_own_port) {
            socket.former = self.net.tcp.listener(id).map(|listener| listener.local);
            self.tcp_unlisten(id, true);
            socket.kind = Kind::Fresh;
        }
    }

    /// connect(2) with `AF_UNSPEC`: `tcp_disconnect()` and `udp_disconnect()` of Linux.
    fn disconnect_socket(&mut self, socket: &mut Socket) -> Result<(), Errno> {
        match socket.kind {
            Kind::Fresh if socket.is_udp() => socket.options.interface = None,
            Kind::Fresh | Kind::Unix(_) => (socket.is_read_shut, socket.is_write_shut) = (false, false),
            Kind::Udp(id) => {
                self.udp_disconnect(id).map_err(errno)?;
                socket.options.interface = None;
            }
            Kind::Listener(id) => {
                let listened = self.socket_listens(*socket);
                self.tcp_stop_listening(id);
                (socket.is_read_shut, socket.is_write_shut) = (false, false);
                if listened {
                    self.release_chosen_port(socket);
                }
            }
            Kind::Stream(id, side) => {
                let state = self.net.tcp.get(id).map(|connection| connection.end(side).state);
                let is_over = self.tcp_is_over(id, side);
                if !is_over && matches!(state, Some(State::Established | State::SynSent)) {
                    socket.error = Some(libc::ECONNRESET);
                } else if let Some(connection) = self.net.tcp.get(id) {
                    socket.error = connection.end(side).error.take();
                }
                self.leave_connection(socket);
            }
        }
        Ok(())
    }

    pub(crate) fn socket_local(&mut self, socket: Socket) -> Result<SocketAddress, Errno> {
        Ok(SocketAddress::Internet(match socket.kind {
            Kind::Unix(id) => return Ok(SocketAddress::Unix(self.unix_local(id))),
            Kind::Fresh => {
                SocketAddr::new(socket.kept_address(), socket.former.map_or(0, |former| former.port()))
            }
            Kind::Listener(id) => self.net.tcp.listener(id).ok_or(libc::EINVAL)?.local,
            // A socket whose connect failed may have been bound anew since.
            Kind::Stream(id, side) => match socket.bound.and_then(|bound| self.net.tcp.listener(bound)) {
                Some(bound) => bound.local,
                None => self.net.tcp.get(id).ok_or(libc::EINVAL)?.addresses(side).local,
            },
            Kind::Udp(id) => self.net.udp.get(id).map_err(errno)?.shown_local(),
        }))
    }

    pub(crate) fn socket_peer(&mut self, socket: Socket) -> Result<SocketAddress, Errno> {
        Ok(SocketAddress::Internet(match socket.kind {
            Kind::Unix(id) => return self.unix_peer(id).map(SocketAddress::Unix),
            Kind::Stream(id, side) => self.tcp_peer(id, side).map_err(errno)?,
            Kind::Udp(id) => {
                let socket = self.net.udp.get(id).map_err(errno)?;
                socket.shown_peer().filter(|peer| peer.port() != 0).ok_or(libc::ENOTCONN)?
            }
            Kind::Fresh | Kind::Listener(_) => return Err(libc::ENOTCONN),
        }))
    }

    /// Whether it listens: SO_ACCEPTCONN.
    pub(crate) fn socket_listens(&mut self, socket: Socket) -> bool {
        match socket.kind {
            Kind::Listener(id) => self.net.tcp.listener(id).is_some_and(|one| one.is_listening),
            Kind::Unix(id) => self.unix_listens(id),
            _ => false,
        }
    }

    /// The error that a socket has for its program, once: SO_ERROR.
    pub(crate) fn socket_error(&mut self, socket: &mut Socket) -> Errno {
        let taken = match socket.kind {
            Kind::Stream(id, side) => {
                self.net.tcp.get(id).and_then(|connection| connection.end(side).error.take())
            }
            Kind::Udp(id) => self.net.udp.get(id).ok().and_then(|socket| socket.error.take()),
            Kind::Unix(id) => self.unix_error(id),
            Kind::Fresh | Kind::Listener(_) => socket.error.take(),
        };
        taken.unwrap_or(0)
    }

    pub(crate) fn socket_options(&mut self, socket: &Socket) -> Options {
        let options = match socket.kind {
            Kind::Stream(id, side) => self.net.tcp.get(id).map(|connection| *connection.options(side)),
            _ => None,
        };
        options.unwrap_or(socket.options)
    }

    /// Changes options, where the network has them, too.
    pub(crate) fn set_socket_options(&mut self, socket: &mut Socket, options: Options) {
        socket.options = options;
        match socket.kind {
            Kind::Fresh | Kind::Unix(_) => {}
            Kind::Listener(id) => self.tcp_set_options(id, options),
            Kind::Udp(id) => self.udp_set_options(id, options),
            Kind::Stream(id, side) => {
                if let Some(connection) = self.net.tcp.get(id) {
                    let before = std::mem::replace(connection.options(side), options);
                    if before.user_timeout() != options.user_timeout() {
                        self.tcp_user_timeout_changed(id, side, before.user_timeout());
                    }
                    self.keepalive_options_changed(id, side, &before);
                }
            }
        }
    }

    /// Whether it has a port by bind(2) or by what needs one: then its family of addresses is decided.
    pub(crate) fn is_socket_bound(&mut self, socket: &Socket) -> bool {
        match socket.kind {
            Kind::Fresh => false,
            Kind::Udp(id) => !self.udp_is_portless(id),
            // A port that was chosen goes with the connection.
            Kind::Stream(id, side) => {
                socket.bound.is_some() && socket.has_own_port || !self.has_connection_ended(id, side)
            }
            _ => true,
        }
    }

    /// shutdown(2), as Linux's `inet_shutdown()`.
    pub(crate) fn shutdown_socket(
        &mut self,
        socket: &mut Socket,
        reads: bool,
        writes: bool,
    ) -> Result<(), Errno> {
        match socket.kind {
            Kind::Unix(id) => {
                self.unix_shutdown(id, reads, writes);
                Ok(())
            }
            Kind::Stream(id, side) => {
                let state = self.net.tcp.get(id).map(|connection| connection.end(side).state);
                if state == Some(State::SynSent) {
                    socket.error = Some(libc::ECONNRESET);
                    self.leave_connection(socket);
                    return Ok(());
                }
                let is_over = state != Some(State::Established) || self.tcp_is_over(id, side);
                if socket.phase == Phase::Connecting {
                    socket.phase = if is_over { Phase::Disconnecting } else { Phase::Connected };
                }
                if let (true, Some(connection)) = (reads, self.net.tcp.get(id)) {
                    connection.end(side).is_read_shut = true;
                    self.tcp_wake(id, side);
                }
                if is_over {
                    self.tcp_wake(id, side); // whoever watches an edge is told of it again (`inet_shutdown()`)
                    return Err(libc::ENOTCONN);
                }
                if writes {
                    self.tcp_shutdown(id, side);
                    self.tcp_wake(id, side);
                }
                Ok(())
            }
            Kind::Listener(id) if self.socket_listens(*socket) => {
                if reads {
                    self.tcp_stop_listening(id);
                    (socket.is_read_shut, socket.is_write_shut) = (false, false);
                    self.release_chosen_port(socket);
                }
                Ok(())
            }
            Kind::Udp(id) => {
                let udp = self.net.udp.get(id).map_err(errno)?;
                let (is_connected, waiters) = (udp.peer.is_some(), udp.waiters.take());
                udp.is_write_shut |= writes;
                socket.is_read_shut |= reads;
                socket.is_write_shut |= writes;
                self.kernel.wake_all(waiters);
                if is_connected { Ok(()) } else { Err(libc::ENOTCONN) }
            }
            Kind::Fresh | Kind::Listener(_) => {
                socket.is_read_shut |= reads;
                socket.is_write_shut |= writes;
                Err(libc::ENOTCONN)
            }
        }
    }

    /// Joins a multicast group, or leaves it.
    pub(crate) fn change_group(
        &mut self,
        socket: &mut Socket,
        (group, at): (IpAddr, Interface),
        joins: bool,
    ) -> Result<(), Errno> {
        if !socket.is_udp() {
            return Err(libc::EPROTO);
        }
        if group.is_ipv6() && !socket.is_ipv6 {
            return Err(libc::ENOPROTOOPT);
        }
        self.change_groups(socket.process.machine, (group, at), joins, &mut socket.member)?;
        if let Kind::Udp(id) = socket.kind {
            self.net.udp.get(id).map_err(errno)?.member = socket.member;
        }
        Ok(())
    }

    /// Chooses the interface by which a socket sends to groups (`IP_MULTICAST_IF`).
    pub(crate) fn set_multicast_interface(
        &mut self,
        socket: &mut Socket,
        at: Option<(Interface, u32)>,
    ) -> Result<(), Errno> {
        match socket.protocol {
            Protocol::Unix => return Err(libc::EOPNOTSUPP),
            Protocol::Tcp => return Err(libc::EINVAL),
            Protocol::Udp => {}
        }
        let (at, source) = at.ok_or(libc::EINVAL)?;
        let interface = self.multicast_interface(socket.process.machine, at)?;
        let mut options = self.socket_options(socket);
        if interface != 0 && options.interface.is_some_and(|bound| bound != interface) {
            return Err(libc::EINVAL);
        }
        options.set_multicast_interface(interface, source);
        self.set_socket_options(socket, options);
        Ok(())
    }

    /// The connection of a socket whose connect was begun. The port that it was bound to is the connection's from now on.
    pub(super) fn detach_stream(&mut self, socket: Socket) -> Option<ConnectionId> {
        let Kind::Stream(id, _) = socket.kind else { return None };
        self.net.tcp.get(id)?.bound = socket.bound;
        Some(id)
    }

    /// What a socket listens with, and where.
    pub(super) fn listener_of(&mut self, socket: Socket) -> Option<(ListenerId, SocketAddr)> {
        let Kind::Listener(id) = socket.kind else { return None };
        self.net.tcp.listener(id).map(|listener| (id, listener.local))
    }

    /// The local address of a TCP socket.
    pub(super) fn tcp_socket_local(&mut self, socket: Socket) -> Result<SocketAddr, Errno> {
        match self.socket_local(socket)? {
            SocketAddress::Internet(address) => Ok(address),
            SocketAddress::Unix(_) | SocketAddress::Netlink { .. } => Err(libc::EINVAL),
        }
    }

    pub(crate) fn close_socket(&mut self, socket: Socket) {
        self.net.udp.groups.leave_all(socket.member);
        if let Some(id) = socket.bound {
            self.tcp_unlisten(id, true);
        }
        match socket.kind {
            Kind::Fresh => {}
            Kind::Listener(id) => self.tcp_unlisten(id, true),
            Kind::Stream(id, side) => self.tcp_close(id, side, CloseMode::Close),
            Kind::Udp(id) => self.udp_close(id),
            Kind::Unix(id) => self.unix_close(id),
        }
    }
}
