//! TCP, UDP and name resolution of the host. The sockets are tokio's own types; core implements its traits on them.

use std::io;
use std::net::SocketAddr;

use steelmill_core::{AddressError, Daemon, Factory, LISTEN_BACKLOG, Result, ToAddress};

pub use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf, ReadHalf, ReuniteError, WriteHalf};
pub use tokio::net::{TcpListener, TcpSocket, TcpStream, UdpSocket};

/// The host's network. The operating system resolves names (`getaddrinfo`: `/etc/hosts`, DNS).
#[derive(Debug, Clone, Copy, Default)]
pub struct Network;

impl Network {
    /// Binds a TCP listener, at the first address of several that works; port 0 picks a free port. The address of a closed listener
    /// can be bound again at once (`SO_REUSEADDR`). The backlog is [`LISTEN_BACKLOG`]; tokio's own `bind` asks for 128.
    ///
    /// # Errors
    /// An [`AddressError`], or that of [`lookup`](Network::lookup).
    pub async fn bind(&self, address: impl ToAddress) -> io::Result<TcpListener> {
        let attempt = async |address| listen(address).map_err(|error| AddressError::listen(address, error));
        address.to_address().try_each(attempt).await
    }

    /// Opens a TCP connection, trying each address of a name, or of several addresses, in turn.
    ///
    /// # Errors
    /// An [`AddressError`], or that of [`lookup`](Network::lookup).
    pub async fn connect(&self, address: impl ToAddress) -> io::Result<TcpStream> {
        let attempt = async |address| {
            let stream = TcpStream::connect(address).await;
            stream.map_err(|error| AddressError::connect(address, error))
        };
        address.to_address().try_each(attempt).await
    }

    /// Binds a UDP socket; port 0 picks a free port.
    ///
    /// # Errors
    /// An [`AddressError`], or that of [`lookup`](Network::lookup).
    pub async fn bind_udp(&self, address: impl ToAddress) -> io::Result<UdpSocket> {
        let attempt = async |address| {
            let socket = UdpSocket::bind(address).await;
            socket.map_err(|error| AddressError::listen(address, error))
        };
        address.to_address().try_each(attempt).await
    }

    /// A TCP socket of IPv4, to be bound and given options before it listens or connects: `TcpSocket::new_v4`.
    ///
    /// # Errors
    /// When the process has no descriptor left.
    pub fn tcp_socket_v4(&self) -> io::Result<TcpSocket> {
        TcpSocket::new_v4()
    }

    /// As [`tcp_socket_v4`](Network::tcp_socket_v4), of IPv6.
    ///
    /// # Errors
    /// As there; on a host without IPv6.
    pub fn tcp_socket_v6(&self) -> io::Result<TcpSocket> {
        TcpSocket::new_v6()
    }

    /// Resolves a name to its addresses, in the order to try them.
    ///
    /// # Errors
    /// `InvalidInput` for a malformed address; the resolver's error for an unknown name.
    pub async fn lookup(&self, address: impl ToAddress) -> io::Result<Vec<SocketAddr>> {
        Ok(address.to_address().resolve().await?.collect())
    }
}

/// As `TcpListener::bind`, with our backlog.
fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // On Windows it would let two programs listen on one address.
    #[cfg(not(windows))]
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(LISTEN_BACKLOG)
}

impl Daemon for Network {
    fn build(_: &mut Factory) -> Result<Self> {
        Ok(Network)
    }
}

impl steelmill_core::Network for Network {
    type TcpListener = TcpListener;
    type TcpStream = TcpStream;
    type TcpSocket = TcpSocket;
    type UdpSocket = UdpSocket;

    async fn bind(&self, address: impl ToAddress) -> io::Result<TcpListener> {
        self.bind(address).await
    }

    async fn connect(&self, address: impl ToAddress) -> io::Result<TcpStream> {
        self.connect(address).await
    }

    async fn bind_udp(&self, address: impl ToAddress) -> io::Result<UdpSocket> {
        self.bind_udp(address).await
    }

    async fn lookup(&self, address: impl ToAddress) -> io::Result<Vec<SocketAddr>> {
        self.lookup(address).await
    }

    fn tcp_socket_v4(&self) -> io::Result<TcpSocket> {
        self.tcp_socket_v4()
    }

    fn tcp_socket_v6(&self) -> io::Result<TcpSocket> {
        self.tcp_socket_v6()
    }
}
