//! The operating system's network. The sockets are tokio's own types; core implements its traits on them.

use std::io;
use std::net::SocketAddr;

use steelmill_core::{Address, AddressError, Daemon, Factory, Result};

/// Tokio's, untouched.
pub type TcpListener = tokio::net::TcpListener;
/// Tokio's, untouched.
pub type TcpStream = tokio::net::TcpStream;
/// Tokio's, untouched.
pub type UdpSocket = tokio::net::UdpSocket;

/// The host's network. Names are looked up by the operating system (`/etc/hosts`, DNS), as `getaddrinfo` does it.
#[derive(Debug, Clone, Copy, Default)]
pub struct Network;

impl Daemon for Network {
    fn build(_: &mut Factory) -> Result<Self> {
        Ok(Network)
    }
}

impl steelmill_core::Network for Network {
    type TcpListener = TcpListener;
    type TcpStream = TcpStream;
    type UdpSocket = UdpSocket;

    async fn bind<'a>(&self, address: impl Into<Address<'a>> + Send) -> io::Result<TcpListener> {
        let attempt = async |address| {
            let listener = TcpListener::bind(address).await;
            listener.map_err(|error| AddressError::listen(address, error))
        };
        address.into().try_each(attempt).await
    }

    async fn connect<'a>(&self, address: impl Into<Address<'a>> + Send) -> io::Result<TcpStream> {
        let attempt = async |address| {
            let stream = TcpStream::connect(address).await;
            stream.map_err(|error| AddressError::connect(address, error))
        };
        address.into().try_each(attempt).await
    }

    async fn bind_udp<'a>(&self, address: impl Into<Address<'a>> + Send) -> io::Result<UdpSocket> {
        let attempt = async |address| {
            let socket = UdpSocket::bind(address).await;
            socket.map_err(|error| AddressError::listen(address, error))
        };
        address.into().try_each(attempt).await
    }

    async fn lookup<'a>(&self, address: impl Into<Address<'a>> + Send) -> io::Result<Vec<SocketAddr>> {
        Ok(address.into().resolve().await?.collect())
    }
}
