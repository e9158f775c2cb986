//! The operating system's network. The sockets are tokio's own types; core implements its traits on them.

use std::io;
use std::net::SocketAddr;

use steelmill_core::{AddressError, Daemon, Factory, Result, ToAddress};

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

    async fn bind(&self, address: impl ToAddress) -> io::Result<TcpListener> {
        let attempt = async |address| {
            let listener = TcpListener::bind(address).await;
            listener.map_err(|error| AddressError::listen(address, error))
        };
        address.to_address().try_each(attempt).await
    }

    async fn connect(&self, address: impl ToAddress) -> io::Result<TcpStream> {
        let attempt = async |address| {
            let stream = TcpStream::connect(address).await;
            stream.map_err(|error| AddressError::connect(address, error))
        };
        address.to_address().try_each(attempt).await
    }

    async fn bind_udp(&self, address: impl ToAddress) -> io::Result<UdpSocket> {
        let attempt = async |address| {
            let socket = UdpSocket::bind(address).await;
            socket.map_err(|error| AddressError::listen(address, error))
        };
        address.to_address().try_each(attempt).await
    }

    async fn lookup(&self, address: impl ToAddress) -> io::Result<Vec<SocketAddr>> {
        Ok(address.to_address().resolve().await?.collect())
    }
}
