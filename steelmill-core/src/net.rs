//! The network: TCP sockets, streams and listeners, UDP sockets, name lookup.
//!
//! The methods carry tokio's names and mean what they mean there, because in the runtime world the types *are*
//! tokio's and a call costs nothing more. The sim answers as Linux does.

use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};

use crate::Daemon;

#[cfg(feature = "tokio-net")]
mod tokio_types; // these traits on tokio's own types

/// Where to listen or connect to: a socket address or several of them, or a name that is looked up first.
///
/// A [`SocketAddr`], an `(IpAddr, u16)`, a `(&str, u16)`, a `"host:port"` and a `[SocketAddr]` all [convert](ToAddress) to one
/// without an allocation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Address<'a> {
    /// An address that needs no lookup.
    Socket(SocketAddr),
    /// A host, by name or written address, and a port.
    Host(&'a str, u16),
    /// An unparsed `host:port`.
    Text(&'a str),
    /// Several addresses, to be tried in this order.
    Several(&'a [SocketAddr]),
}

impl<'a> Address<'a> {
    /// Parses `Text` and written IP addresses, leaving a socket address or a name to look up.
    ///
    /// # Errors
    /// `InvalidInput` when there is no port, or none that fits 16 bits.
    pub fn parse(self) -> io::Result<Address<'a>> {
        let (host, port) = match self {
            Address::Socket(_) | Address::Several(_) => return Ok(self),
            Address::Host(host, port) => (host, port),
            Address::Text(text) => {
                if let Ok(address) = text.parse() {
                    return Ok(Address::Socket(address));
                }
                let (host, port) = text
                    .rsplit_once(':')
                    .ok_or_else(|| invalid(format!("{text:?} has no port; write HOST:PORT")))?;
                let port = port
                    .parse()
                    .map_err(|_| invalid(format!("{port:?} in {text:?} is not a port (0 to 65535)")))?;
                (host, port)
            }
        };
        Ok(match host.parse::<IpAddr>() {
            Ok(ip) => Address::Socket(SocketAddr::new(ip, port)),
            Err(_) => Address::Host(host, port),
        })
    }
}

impl Address<'_> {
    /// Calls `attempt` with each address in turn, until one succeeds.
    ///
    /// # Errors
    /// The error of the last attempt; `InvalidInput` if there is no address.
    pub async fn first_of<T, F>(
        addresses: impl Iterator<Item = SocketAddr> + Send,
        mut attempt: impl FnMut(SocketAddr) -> F + Send,
    ) -> io::Result<T>
    where
        F: Future<Output = io::Result<T>> + Send,
    {
        let mut last = None;
        for address in addresses {
            match attempt(address).await {
                Ok(done) => return Ok(done),
                Err(error) => last = Some(error),
            }
        }
        Err(last.unwrap_or_else(|| invalid("there is no address to try".to_owned())))
    }
}

/// An I/O error with its address: "cannot listen on 127.0.0.1:6379: Address already in use". Worlds wrap the errors of
/// [`Network::bind`], [`bind_udp`](Network::bind_udp) and [`connect`](Network::connect) in it.
#[derive(Debug, thiserror::Error)]
#[error("cannot {attempt} {address}: {cause}")]
pub struct AddressError {
    attempt: &'static str,
    address: SocketAddr,
    cause: io::Error,
}

impl AddressError {
    /// The error of binding a listener or UDP socket.
    pub fn listen(address: SocketAddr, cause: io::Error) -> io::Error {
        AddressError { attempt: "listen on", address, cause }.into()
    }

    /// The error of opening a connection.
    pub fn connect(address: SocketAddr, cause: io::Error) -> io::Error {
        AddressError { attempt: "connect to", address, cause }.into()
    }

    /// The address.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The error of the operating system, or of the sim in its place.
    pub fn cause(&self) -> &io::Error {
        &self.cause
    }
}

impl From<AddressError> for io::Error {
    /// Keeps the kind of the cause.
    fn from(error: AddressError) -> Self {
        io::Error::new(error.cause.kind(), error)
    }
}

fn invalid(message: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, message)
}

/// Conversion to an [`Address`]: the argument of `bind` and `connect`.
///
/// Not `Into<Address<'a>>`: with a bound that ties a type to a lifetime, the compiler cannot prove that the future of a
/// generic function is `Send`, and then it cannot be spawned.
pub trait ToAddress: Send + Sync {
    /// The address, or name and port.
    fn to_address(&self) -> Address<'_>;
}

impl ToAddress for Address<'_> {
    fn to_address(&self) -> Address<'_> {
        *self
    }
}

impl ToAddress for SocketAddr {
    fn to_address(&self) -> Address<'_> {
        Address::Socket(*self)
    }
}

impl ToAddress for [SocketAddr] {
    fn to_address(&self) -> Address<'_> {
        Address::Several(self)
    }
}

impl<const N: usize> ToAddress for [SocketAddr; N] {
    fn to_address(&self) -> Address<'_> {
        Address::Several(self)
    }
}

impl ToAddress for Vec<SocketAddr> {
    fn to_address(&self) -> Address<'_> {
        Address::Several(self)
    }
}

impl ToAddress for (IpAddr, u16) {
    fn to_address(&self) -> Address<'_> {
        Address::Socket(SocketAddr::from(*self))
    }
}

impl ToAddress for (&str, u16) {
    fn to_address(&self) -> Address<'_> {
        Address::Host(self.0, self.1)
    }
}

impl ToAddress for str {
    fn to_address(&self) -> Address<'_> {
        Address::Text(self)
    }
}

impl ToAddress for String {
    fn to_address(&self) -> Address<'_> {
        Address::Text(self)
    }
}

impl<T: ToAddress + ?Sized> ToAddress for &T {
    fn to_address(&self) -> Address<'_> {
        T::to_address(self)
    }
}

/// The backlog that a listener asks for: how many connections may wait to be accepted.
///
/// Linux admits one more (`listen(2)`), and at most `net.core.somaxconn`, whose default is 4096. While the backlog is
/// full a connect waits, and asks again after a second, then after two, four, ...
pub const LISTEN_BACKLOG: u32 = 1024;

/// A host's network.
pub trait Network: Daemon {
    /// Accepts TCP connections.
    type TcpListener: TcpListener<Stream = Self::TcpStream>;
    /// A TCP connection.
    type TcpStream: TcpStream;
    /// A TCP socket that neither listens nor is connected yet.
    type TcpSocket: TcpSocket<Stream = Self::TcpStream, Listener = Self::TcpListener>;
    /// A UDP socket.
    type UdpSocket: UdpSocket;

    /// Listens for TCP connections, at the first address of several that works; port 0 takes a free one. The backlog is
    /// [`LISTEN_BACKLOG`].
    ///
    /// # Errors
    /// As Linux: `AddrInUse`, `AddrNotAvailable` (both as [`AddressError`]), and those of
    /// [`lookup`](Network::lookup).
    fn bind(&self, address: impl ToAddress) -> impl Future<Output = io::Result<Self::TcpListener>> + Send;

    /// Opens a TCP connection, trying each address of a name, or of several addresses, in turn.
    ///
    /// # Cancellation
    /// Dropping the future abandons the attempt; the other side never accepts it.
    ///
    /// # Errors
    /// As Linux: `ConnectionRefused`, `TimedOut` (both as [`AddressError`]), and those of
    /// [`lookup`](Network::lookup). The last address's error.
    fn connect(&self, address: impl ToAddress) -> impl Future<Output = io::Result<Self::TcpStream>> + Send;

    /// Binds a UDP socket; port 0 takes a free one.
    ///
    /// # Errors
    /// As [`bind`](Network::bind).
    fn bind_udp(&self, address: impl ToAddress) -> impl Future<Output = io::Result<Self::UdpSocket>> + Send;

    /// DNS lookup: the addresses of a name, in the order to try them.
    ///
    /// # Errors
    /// `InvalidInput` for a malformed address; an unknown name is an error that says so.
    fn lookup(&self, address: impl ToAddress) -> impl Future<Output = io::Result<Vec<SocketAddr>>> + Send;

    /// A TCP socket of IPv4, to be bound and given options before it listens or connects.
    ///
    /// # Errors
    /// As Linux: when the process has no descriptor left.
    fn tcp_socket_v4(&self) -> io::Result<Self::TcpSocket>;

    /// As [`tcp_socket_v4`](Network::tcp_socket_v4), of IPv6.
    ///
    /// # Errors
    /// As there.
    fn tcp_socket_v6(&self) -> io::Result<Self::TcpSocket>;
}

/// A TCP socket before it listens or connects. Its errors are those of the operating system, without the address.
pub trait TcpSocket: Send + Sync + Unpin + 'static {
    /// What it becomes by listening.
    type Listener;
    /// What it becomes by connecting.
    type Stream;

    /// Binds it to an address of this host; port 0 takes a free one.
    ///
    /// # Errors
    /// As Linux: `AddrInUse`, `AddrNotAvailable`, `InvalidInput` if it is bound already, and `EAFNOSUPPORT` for an address of the
    /// other family.
    fn bind(&self, address: SocketAddr) -> io::Result<()>;
    /// Opens a connection, from the address that it is bound to.
    ///
    /// # Cancellation
    /// Dropping the future closes the socket.
    ///
    /// # Errors
    /// As Linux: `ConnectionRefused`, `TimedOut`, `AddrNotAvailable` where there is such a connection.
    fn connect(self, address: SocketAddr) -> impl Future<Output = io::Result<Self::Stream>> + Send;
    /// Listens; so many connections may wait to be accepted.
    ///
    /// # Errors
    /// As Linux: `AddrInUse` where another socket listens.
    fn listen(self, backlog: u32) -> io::Result<Self::Listener>;

    /// The address that it is bound to; unspecified before.
    fn local_addr(&self) -> io::Result<SocketAddr>;
    /// Takes the pending error (`SO_ERROR`).
    fn take_error(&self) -> io::Result<Option<io::Error>>;

    /// Whether its address can be bound while former connections of it are in TIME_WAIT (`SO_REUSEADDR`).
    fn reuseaddr(&self) -> io::Result<bool>;
    /// Sets `SO_REUSEADDR`.
    fn set_reuseaddr(&self, reuseaddr: bool) -> io::Result<()>;
    /// Whether several sockets that all say so may listen at its address (`SO_REUSEPORT`).
    ///
    /// # Errors
    /// `Unsupported` where the operating system does not have it.
    fn reuseport(&self) -> io::Result<bool>;
    /// Sets `SO_REUSEPORT`.
    ///
    /// # Errors
    /// As [`reuseport`](TcpSocket::reuseport).
    fn set_reuseport(&self, reuseport: bool) -> io::Result<()>;
    /// Whether an idle connection is probed (`SO_KEEPALIVE`).
    fn keepalive(&self) -> io::Result<bool>;
    /// Sets `SO_KEEPALIVE`.
    fn set_keepalive(&self, keepalive: bool) -> io::Result<()>;
    /// Whether Nagle's algorithm is off (`TCP_NODELAY`).
    fn nodelay(&self) -> io::Result<bool>;
    /// Turns Nagle's algorithm off (`TCP_NODELAY`).
    fn set_nodelay(&self, nodelay: bool) -> io::Result<()>;
    /// Makes closing reset the connection (`SO_LINGER` with zero seconds).
    fn set_zero_linger(&self) -> io::Result<()>;
    /// How long closing lingers (`SO_LINGER`).
    fn linger(&self) -> io::Result<Option<Duration>>;
    /// The size of the send buffer in bytes (`SO_SNDBUF`); Linux shows twice what was set.
    fn send_buffer_size(&self) -> io::Result<u32>;
    /// Sets `SO_SNDBUF`.
    fn set_send_buffer_size(&self, size: u32) -> io::Result<()>;
    /// The size of the receive buffer in bytes (`SO_RCVBUF`); Linux shows twice what was set.
    fn recv_buffer_size(&self) -> io::Result<u32>;
    /// Sets `SO_RCVBUF`.
    fn set_recv_buffer_size(&self, size: u32) -> io::Result<()>;
}

/// Accepts TCP connections.
pub trait TcpListener: Send + Sync + Unpin + 'static {
    /// What it accepts.
    type Stream;

    /// Accepts the next connection; returns it with the address of its peer.
    ///
    /// # Cancellation
    /// Dropping the future loses no connection.
    fn accept(&self) -> impl Future<Output = io::Result<(Self::Stream, SocketAddr)>> + Send;

    /// Where it listens.
    fn local_addr(&self) -> io::Result<SocketAddr>;
}

/// A TCP connection: a reliable, ordered pipe of bytes each way.
pub trait TcpStream: AsyncRead + AsyncWrite + Send + Sync + Unpin + 'static {
    /// The read half after [`into_split`](TcpStream::into_split).
    type OwnedReadHalf: AsyncRead + Send + Sync + Unpin + 'static;
    /// The write half; dropping it shuts down writing.
    type OwnedWriteHalf: AsyncWrite + Send + Sync + Unpin + 'static;

    /// This end's address.
    fn local_addr(&self) -> io::Result<SocketAddr>;
    /// The other end's address.
    ///
    /// # Errors
    /// `NotConnected` once the connection was reset, or has ended both ways.
    fn peer_addr(&self) -> io::Result<SocketAddr>;
    /// Whether Nagle's algorithm is off (`TCP_NODELAY`).
    fn nodelay(&self) -> io::Result<bool>;
    /// Turns Nagle's algorithm off: small writes are sent at once (`TCP_NODELAY`).
    fn set_nodelay(&self, nodelay: bool) -> io::Result<()>;
    /// Makes closing reset the connection, discarding unsent data (`SO_LINGER` with zero seconds).
    fn set_zero_linger(&self) -> io::Result<()>;
    /// How long closing lingers (`SO_LINGER`): `None` until [`set_zero_linger`](TcpStream::set_zero_linger), then zero.
    fn linger(&self) -> io::Result<Option<Duration>>;
    /// The time to live of packets, in hops (`IP_TTL`).
    fn ttl(&self) -> io::Result<u32>;
    /// Sets the time to live of packets, in hops (`IP_TTL`).
    ///
    /// # Errors
    /// `InvalidInput` outside of 1 to 255.
    fn set_ttl(&self, ttl: u32) -> io::Result<()>;
    /// Takes the error that the next read or write would fail with (`SO_ERROR`).
    fn take_error(&self) -> io::Result<Option<io::Error>>;

    /// Splits the connection into owned halves that can move to different tasks.
    fn into_split(self) -> (Self::OwnedReadHalf, Self::OwnedWriteHalf);
    /// Reunites the two halves of a connection.
    ///
    /// # Errors
    /// Returns both when they are halves of different connections.
    fn reunite(
        read: Self::OwnedReadHalf,
        write: Self::OwnedWriteHalf,
    ) -> Result<Self, (Self::OwnedReadHalf, Self::OwnedWriteHalf)>
    where
        Self: Sized;
    /// Borrows the two directions at once.
    fn split(
        &mut self,
    ) -> (impl AsyncRead + Send + Sync + Unpin + '_, impl AsyncWrite + Send + Sync + Unpin + '_);

    /// Waits for data and copies it without consuming it (`MSG_PEEK`).
    ///
    /// # Cancellation
    /// Loses nothing.
    fn peek(&self, buffer: &mut [u8]) -> impl Future<Output = io::Result<usize>> + Send;
    /// Waits until a read would not block: data, end of stream or an error.
    fn readable(&self) -> impl Future<Output = io::Result<()>> + Send;
    /// Waits until a write would not block.
    fn writable(&self) -> impl Future<Output = io::Result<()>> + Send;
    /// Reads available data without waiting.
    ///
    /// # Errors
    /// `WouldBlock` when there is none.
    fn try_read(&self, buffer: &mut [u8]) -> io::Result<usize>;
    /// Writes without waiting.
    ///
    /// # Errors
    /// `WouldBlock` when the buffer is full.
    fn try_write(&self, buffer: &[u8]) -> io::Result<usize>;
}

/// A UDP socket: datagrams that may be lost, repeated and reordered.
pub trait UdpSocket: Send + Sync + Unpin + 'static {
    /// This end's address.
    fn local_addr(&self) -> io::Result<SocketAddr>;
    /// The address it was connected to.
    ///
    /// # Errors
    /// `NotConnected` before [`connect`](UdpSocket::connect).
    fn peer_addr(&self) -> io::Result<SocketAddr>;
    /// Connects to a peer: [`send`](UdpSocket::send) goes to it, and datagrams of others are dropped.
    fn connect(&self, address: impl ToAddress) -> impl Future<Output = io::Result<()>> + Send;
    /// Sends one datagram.
    ///
    /// # Errors
    /// As Linux: `EMSGSIZE` when it is too long for a datagram.
    fn send_to(
        &self,
        buffer: &[u8],
        target: impl ToAddress,
    ) -> impl Future<Output = io::Result<usize>> + Send;
    /// Receives one datagram, truncated to the buffer.
    fn recv_from(&self, buffer: &mut [u8]) -> impl Future<Output = io::Result<(usize, SocketAddr)>> + Send;
    /// Sends one datagram to the connected peer.
    ///
    /// # Errors
    /// `NotConnected` (on Linux, `EDESTADDRREQ`) before [`connect`](UdpSocket::connect); `ConnectionRefused` when the
    /// peer has no socket on that port.
    fn send(&self, buffer: &[u8]) -> impl Future<Output = io::Result<usize>> + Send;
    /// Receives one datagram of the connected peer.
    fn recv(&self, buffer: &mut [u8]) -> impl Future<Output = io::Result<usize>> + Send;
    /// Waits for a datagram and copies it without consuming it (`MSG_PEEK`).
    ///
    /// # Cancellation
    /// Loses nothing.
    fn peek_from(&self, buffer: &mut [u8]) -> impl Future<Output = io::Result<(usize, SocketAddr)>> + Send;
    /// Waits until a datagram can be received. A pending error alone wakes only receivers.
    fn readable(&self) -> impl Future<Output = io::Result<()>> + Send;
    /// Waits until a datagram can be sent.
    fn writable(&self) -> impl Future<Output = io::Result<()>> + Send;
    /// Sends one datagram without waiting.
    ///
    /// # Errors
    /// As [`send_to`](UdpSocket::send_to); `WouldBlock` when there is no room for it.
    fn try_send_to(&self, buffer: &[u8], target: SocketAddr) -> io::Result<usize>;
    /// Sends one datagram to the connected peer without waiting.
    ///
    /// # Errors
    /// As [`send`](UdpSocket::send); `WouldBlock` when there is no room for it.
    fn try_send(&self, buffer: &[u8]) -> io::Result<usize>;
    /// Receives one datagram without waiting.
    ///
    /// # Errors
    /// `WouldBlock` when there is none.
    fn try_recv_from(&self, buffer: &mut [u8]) -> io::Result<(usize, SocketAddr)>;
    /// Receives one datagram of the connected peer without waiting.
    ///
    /// # Errors
    /// `WouldBlock` when there is none.
    fn try_recv(&self, buffer: &mut [u8]) -> io::Result<usize>;
    /// The time to live of packets, in hops (`IP_TTL`).
    fn ttl(&self) -> io::Result<u32>;
    /// Sets the time to live of packets, in hops (`IP_TTL`).
    ///
    /// # Errors
    /// `InvalidInput` outside of 1 to 255.
    fn set_ttl(&self, ttl: u32) -> io::Result<()>;
    /// Takes the error that the next call would fail with (`SO_ERROR`).
    fn take_error(&self) -> io::Result<Option<io::Error>>;
}

#[cfg(test)]
mod tests {
    use std::future;

    use futures::FutureExt as _;

    use super::*;

    fn first_of(ports: &[u16], works: fn(u16) -> bool) -> (Vec<u16>, Result<u16, String>) {
        let mut tried = Vec::new();
        let addresses = ports.iter().map(|port| SocketAddr::from(([127, 0, 0, 1], *port)));
        let attempt = |address: SocketAddr| {
            let port = address.port();
            tried.push(port);
            future::ready(if works(port) { Ok(port) } else { Err(io::Error::other(port.to_string())) })
        };
        let outcome = Address::first_of(addresses, attempt).now_or_never().expect("nothing waits here");
        (tried, outcome.map_err(|error| error.to_string()))
    }

    #[test]
    fn addresses_are_tried_in_turn_until_one_works() {
        assert_eq!(first_of(&[1, 2, 3], |port| port == 2), (vec![1, 2], Ok(2)));
        assert_eq!(first_of(&[1, 2, 3], |_| false), (vec![1, 2, 3], Err("3".into())));
        assert_eq!(first_of(&[], |_| true).0, []);
        assert!(first_of(&[], |_| true).1.is_err());
    }
}
