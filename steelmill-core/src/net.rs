//! The network: TCP streams and listeners, UDP sockets, name lookup.
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

/// Where to listen or connect to: a socket address, or a name that is looked up first.
///
/// A [`SocketAddr`], an `(IpAddr, u16)`, a `(&str, u16)` and a `"host:port"` all stand [for one](ToAddress); reading them
/// as such allocates nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Address<'a> {
    /// An address that needs no lookup.
    Socket(SocketAddr),
    /// A host, by name or written address, and a port.
    Host(&'a str, u16),
    /// `host:port` as a person writes it, not yet taken apart.
    Text(&'a str),
}

impl<'a> Address<'a> {
    /// Takes written addresses apart, so that what is left is a socket address or a name to look up.
    ///
    /// # Errors
    /// `InvalidInput` when there is no port, or none that fits 16 bits.
    pub fn parse(self) -> io::Result<Address<'a>> {
        let (host, port) = match self {
            Address::Socket(_) => return Ok(self),
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
    /// Makes `attempt` with one address after the other, until one succeeds.
    ///
    /// # Errors
    /// That of the attempt with the last address.
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
        Err(last.unwrap_or_else(|| io::Error::new(io::ErrorKind::NotFound, "the name has no address")))
    }
}

/// What was attempted, and at which address: "cannot listen on 127.0.0.1:6379: Address already in use". Worlds wrap the
/// errors of [`Network::bind`], [`bind_udp`](Network::bind_udp) and [`connect`](Network::connect) in it, because a bare
/// "Address already in use" helps nobody who listens in three places.
#[derive(Debug, thiserror::Error)]
#[error("cannot {attempt} {address}: {cause}")]
pub struct AddressError {
    attempt: &'static str,
    address: SocketAddr,
    cause: io::Error,
}

impl AddressError {
    /// Of listening for connections or datagrams.
    pub fn listen(address: SocketAddr, cause: io::Error) -> io::Error {
        AddressError { attempt: "listen on", address, cause }.into()
    }

    /// Of opening a connection.
    pub fn connect(address: SocketAddr, cause: io::Error) -> io::Error {
        AddressError { attempt: "connect to", address, cause }.into()
    }

    /// The address.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What the operating system, or the sim in its place, answered.
    pub fn cause(&self) -> &io::Error {
        &self.cause
    }
}

impl From<AddressError> for io::Error {
    /// Keeps the cause's kind, so that `error.kind()` means what it would without the wrapping.
    fn from(error: AddressError) -> Self {
        io::Error::new(error.cause.kind(), error)
    }
}

fn invalid(message: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, message)
}

/// What can be read as an [`Address`]: the argument of `bind` and `connect`.
///
/// A trait of its own rather than `Into<Address<'a>>`: a bound that ties a type to a lifetime keeps the compiler from
/// proving that a future of a generic function is `Send`, and such a future could not be spawned.
pub trait ToAddress: Send + Sync {
    /// The address, or name and port, it stands for.
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

/// A host's network.
pub trait Network: Daemon {
    /// Accepts TCP connections.
    type TcpListener: TcpListener<Stream = Self::TcpStream>;
    /// A TCP connection.
    type TcpStream: TcpStream;
    /// A UDP socket.
    type UdpSocket: UdpSocket;

    /// Listens for TCP connections; port 0 takes a free one.
    ///
    /// # Errors
    /// As Linux: `AddrInUse`, `AddrNotAvailable` (both as [`AddressError`]), and those of
    /// [`lookup`](Network::lookup).
    fn bind(&self, address: impl ToAddress) -> impl Future<Output = io::Result<Self::TcpListener>> + Send;

    /// Opens a TCP connection, trying each address of a name in turn.
    ///
    /// # Cancellation
    /// Dropping the future gives the attempt up; the other side never accepts it.
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

    /// The addresses of a name, in the order they are to be tried.
    ///
    /// # Errors
    /// `InvalidInput` for a malformed address; an unknown name is an error that says so.
    fn lookup(&self, address: impl ToAddress) -> impl Future<Output = io::Result<Vec<SocketAddr>>> + Send;
}

/// Accepts TCP connections.
pub trait TcpListener: Send + Sync + Unpin + 'static {
    /// What it accepts.
    type Stream;

    /// The next connection and its peer.
    ///
    /// # Cancellation
    /// Dropping the future loses no connection.
    fn accept(&self) -> impl Future<Output = io::Result<(Self::Stream, SocketAddr)>> + Send;

    /// Where it listens.
    fn local_addr(&self) -> io::Result<SocketAddr>;
}

/// A TCP connection: a reliable, ordered pipe of bytes each way.
pub trait TcpStream: AsyncRead + AsyncWrite + Send + Sync + Unpin + 'static {
    /// The reading side of a connection taken apart.
    type OwnedReadHalf: AsyncRead + Send + Sync + Unpin + 'static;
    /// The writing side of a connection taken apart; dropping it shuts writing down.
    type OwnedWriteHalf: AsyncWrite + Send + Sync + Unpin + 'static;

    /// This end's address.
    fn local_addr(&self) -> io::Result<SocketAddr>;
    /// The other end's address.
    ///
    /// # Errors
    /// `NotConnected` once the connection was reset, or has ended both ways.
    fn peer_addr(&self) -> io::Result<SocketAddr>;
    /// Whether small writes are sent at once.
    fn nodelay(&self) -> io::Result<bool>;
    /// Sends small writes at once instead of gathering them.
    fn set_nodelay(&self, nodelay: bool) -> io::Result<()>;
    /// Makes closing reset the connection, dropping what was not sent (`SO_LINGER` with zero seconds).
    fn set_zero_linger(&self) -> io::Result<()>;
    /// For how long closing lingers: `None` until [`set_zero_linger`](TcpStream::set_zero_linger), then zero.
    fn linger(&self) -> io::Result<Option<Duration>>;
    /// How many hops a packet may take.
    fn ttl(&self) -> io::Result<u32>;
    /// Sets how many hops a packet may take.
    ///
    /// # Errors
    /// `InvalidInput` outside of 1 to 255.
    fn set_ttl(&self, ttl: u32) -> io::Result<()>;
    /// Takes the error that the next read or write would fail with (`SO_ERROR`).
    fn take_error(&self) -> io::Result<Option<io::Error>>;

    /// Takes the connection apart into halves that can move to different tasks.
    fn into_split(self) -> (Self::OwnedReadHalf, Self::OwnedWriteHalf);
    /// Puts the two halves of one connection together again.
    ///
    /// # Errors
    /// Halves of different connections come back as they were.
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

    /// Waits for data and copies it without taking it.
    ///
    /// # Cancellation
    /// Loses nothing.
    fn peek(&self, buffer: &mut [u8]) -> impl Future<Output = io::Result<usize>> + Send;
    /// Waits until a read would not block: data, end of stream or an error.
    fn readable(&self) -> impl Future<Output = io::Result<()>> + Send;
    /// Waits until a write would not block.
    fn writable(&self) -> impl Future<Output = io::Result<()>> + Send;
    /// Reads what is there.
    ///
    /// # Errors
    /// `WouldBlock` when nothing is.
    fn try_read(&self, buffer: &mut [u8]) -> io::Result<usize>;
    /// Writes what fits.
    ///
    /// # Errors
    /// `WouldBlock` when nothing does.
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
    /// Fixes the peer: [`send`](UdpSocket::send) goes to it, and datagrams of others are dropped.
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
    /// Receives one datagram; what does not fit the buffer is lost.
    fn recv_from(&self, buffer: &mut [u8]) -> impl Future<Output = io::Result<(usize, SocketAddr)>> + Send;
    /// Sends one datagram to the connected peer.
    ///
    /// # Errors
    /// `NotConnected` (on Linux, `EDESTADDRREQ`) before [`connect`](UdpSocket::connect); `ConnectionRefused` when the
    /// peer said that nobody listens there.
    fn send(&self, buffer: &[u8]) -> impl Future<Output = io::Result<usize>> + Send;
    /// Receives one datagram of the connected peer.
    fn recv(&self, buffer: &mut [u8]) -> impl Future<Output = io::Result<usize>> + Send;
    /// Waits for a datagram and copies it without taking it.
    ///
    /// # Cancellation
    /// Loses nothing.
    fn peek_from(&self, buffer: &mut [u8]) -> impl Future<Output = io::Result<(usize, SocketAddr)>> + Send;
    /// Waits until a datagram is there to be received. An error alone wakes nobody here, only who receives.
    fn readable(&self) -> impl Future<Output = io::Result<()>> + Send;
    /// Waits until a datagram can be sent.
    fn writable(&self) -> impl Future<Output = io::Result<()>> + Send;
    /// Sends one datagram at once.
    ///
    /// # Errors
    /// As [`send_to`](UdpSocket::send_to); `WouldBlock` when there is no room for it.
    fn try_send_to(&self, buffer: &[u8], target: SocketAddr) -> io::Result<usize>;
    /// Sends one datagram to the connected peer at once.
    ///
    /// # Errors
    /// As [`send`](UdpSocket::send); `WouldBlock` when there is no room for it.
    fn try_send(&self, buffer: &[u8]) -> io::Result<usize>;
    /// Receives a datagram that is already there.
    ///
    /// # Errors
    /// `WouldBlock` when there is none.
    fn try_recv_from(&self, buffer: &mut [u8]) -> io::Result<(usize, SocketAddr)>;
    /// Receives a datagram of the connected peer that is already there.
    ///
    /// # Errors
    /// `WouldBlock` when there is none.
    fn try_recv(&self, buffer: &mut [u8]) -> io::Result<usize>;
    /// How many hops a packet may take.
    fn ttl(&self) -> io::Result<u32>;
    /// Sets how many hops a packet may take.
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
