//! Reading from sockets and writing to them.

use std::io::IoSlice;

use super::{Kind, Name, NameFamily, Socket, SocketAddress, V4_LENGTH, errno};
use crate::machine::cluster::Cluster;
use crate::machine::descriptors::{Buffers, Errno, Read, Sender};
use crate::machine::net::connection::{ConnectionId, Side};
use crate::machine::net::options::Protocol;
use crate::machine::net::unix::UnixName;

impl Cluster {
    /// How many bytes can be read: ioctl(2) with `FIONREAD`.
    pub(crate) fn socket_available(&mut self, socket: Socket) -> Result<usize, Errno> {
        match socket.kind {
            Kind::Listener(id) if self.net.tcp.listener(id).is_some_and(|one| one.is_listening) => {
                Err(libc::EINVAL)
            }
            Kind::Fresh | Kind::Listener(_) => Ok(0),
            Kind::Stream(id, side) => {
                Ok(self.net.tcp.get(id).map_or(0, |connection| connection.into(side).readable() as usize))
            }
            Kind::Udp(id) => self.net.udp.get(id).map(|socket| socket.next_length()).map_err(errno),
            Kind::Unix(id) => self.unix_available(id),
        }
    }

    /// Reads from a TCP socket that has a connection.
    #[inline]
    pub(crate) fn read_stream(
        &mut self,
        id: ConnectionId,
        side: Side,
        buffers: &mut Buffers<'_>,
        peek: bool,
    ) -> Result<Option<Read>, Errno> {
        let limit = buffers.room();
        let read = self.tcp_read(id, side, limit, !peek, |first, second| {
            buffers.put(0, first);
            buffers.put(first.len(), second);
        });
        match read.map_err(errno)? {
            None if self.net.tcp.get(id).is_some_and(|one| one.end(side).is_read_shut) => {
                Ok(Some(Read::of(0)))
            }
            read => Ok(read.map(Read::of)),
        }
    }

    pub(crate) fn read_socket(
        &mut self,
        socket: Socket,
        buffers: &mut Buffers<'_>,
        peek: bool,
    ) -> Result<Option<Read>, Errno> {
        match socket.kind {
            Kind::Stream(id, side) => self.read_stream(id, side, buffers, peek),
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
                Ok(received.map(|(_, from)| Read {
                    bytes: whole.min(room),
                    whole,
                    from: Some(Sender::Internet(from)),
                    credentials: None,
                }))
            }
            Kind::Unix(id) => self.unix_receive(id, buffers, peek),
            Kind::Fresh if socket.is_udp() => Ok(None),
            Kind::Listener(_) if self.socket_listens(socket) => Err(libc::ENOTCONN),
            Kind::Fresh | Kind::Listener(_) if socket.is_read_shut => Ok(Some(Read::of(0))),
            Kind::Fresh | Kind::Listener(_) => Err(libc::ENOTCONN),
        }
    }

    /// sendto(2): where a datagram goes. TCP ignores the address.
    ///
    /// # Errors
    /// As `udp_sendmsg()`, `udpv6_sendmsg()` and `unix_dgram_sendmsg()` of Linux.
    pub(crate) fn target_of(&mut self, socket: &Socket, name: &Name) -> Result<Option<SocketAddress>, Errno> {
        match &name.family {
            _ if socket.protocol == Protocol::Tcp => Ok(None),
            NameFamily::Unix(name) if socket.protocol == Protocol::Unix => {
                Ok(Some(SocketAddress::Unix(name.clone())))
            }
            // No name is right for a stream, so that is said first.
            _ if socket.protocol == Protocol::Unix => Ok(Some(SocketAddress::Unix(UnixName::default()))),
            // That is the peer, but over IPv6, where no way leads to an IPv4 address.
            NameFamily::Unspecified if socket.is_ipv6 && self.has_ipv4_peer(socket) => Err(libc::ENETUNREACH),
            NameFamily::Unspecified if socket.is_ipv6 => Ok(None),
            NameFamily::Other | NameFamily::Unix(_) if socket.is_ipv6 => Err(libc::EINVAL),
            NameFamily::Unspecified if name.length >= V4_LENGTH => Err(libc::EINVAL), // its port is 0
            _ => name.of_udp(socket.is_ipv6).map(|address| Some(SocketAddress::Internet(address))),
        }
    }

    fn has_ipv4_peer(&mut self, socket: &Socket) -> bool {
        let Kind::Udp(id) = socket.kind else { return false };
        self.net.udp.get(id).is_ok_and(|udp| udp.peer.is_some_and(|peer| peer.is_ipv4()))
    }

    /// As [`write_socket`](Cluster::write_socket), with the sender's credentials, which only Unix sockets pass on.
    pub(crate) fn write_with_credentials(
        &mut self,
        socket: Socket,
        parts: &[IoSlice<'_>],
        to: Option<&SocketAddress>,
    ) -> Result<Option<usize>, Errno> {
        match (socket.kind, to) {
            (Kind::Unix(id), Some(SocketAddress::Unix(name))) => self.unix_send(id, parts, Some(name), true),
            (Kind::Unix(id), None) => self.unix_send(id, parts, None, true),
            _ => self.write_socket(socket, parts, to),
        }
    }

    /// Whether it receives credentials: SO_PASSCRED.
    ///
    /// # Errors
    /// `EOPNOTSUPP` unless it is a Unix socket.
    pub(crate) fn passes_credentials(&mut self, socket: Socket) -> Result<bool, Errno> {
        match socket.kind {
            Kind::Unix(id) => Ok(self.unix_passes_credentials(id)),
            _ => Err(libc::EOPNOTSUPP),
        }
    }

    /// Sets SO_PASSCRED.
    ///
    /// # Errors
    /// As [`passes_credentials`](Cluster::passes_credentials).
    pub(crate) fn set_passes_credentials(&mut self, socket: Socket, passes: bool) -> Result<(), Errno> {
        let Kind::Unix(id) = socket.kind else { return Err(libc::EOPNOTSUPP) };
        self.unix_set_passes_credentials(id, passes);
        Ok(())
    }

    /// Whether the process at the other end is known: SO_PEERCRED.
    pub(crate) fn knows_peer_process(&mut self, socket: Socket) -> bool {
        match socket.kind {
            Kind::Unix(id) => self.unix_knows_peer_process(id),
            _ => false,
        }
    }

    /// Writes to a TCP socket that has a connection.
    #[inline]
    pub(crate) fn write_stream(
        &mut self,
        id: ConnectionId,
        side: Side,
        parts: &[IoSlice<'_>],
    ) -> Result<Option<usize>, Errno> {
        self.tcp_write(id, side, parts).map_err(errno)
    }

    pub(crate) fn write_socket(
        &mut self,
        socket: Socket,
        parts: &[IoSlice<'_>],
        to: Option<&SocketAddress>,
    ) -> Result<Option<usize>, Errno> {
        let (to, unix) = match to {
            Some(SocketAddress::Internet(address)) => (Some(*address), None),
            Some(SocketAddress::Unix(name)) => (None, Some(name)),
            Some(SocketAddress::Netlink { .. }) | None => (None, None),
        };
        match socket.kind {
            Kind::Unix(id) => self.unix_send(id, parts, unix, false),
            Kind::Stream(id, side) => self.write_stream(id, side, parts),
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
            Kind::Fresh if socket.is_udp() => Err(libc::EDESTADDRREQ),
            Kind::Fresh | Kind::Listener(_) => Err(libc::EPIPE),
        }
    }
}
