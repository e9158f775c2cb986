//! Core's socket traits on tokio's own types, for the runtime world.
//!
//! Here because of the orphan rule: to the runtime crate both traits and types are foreign. Each method calls tokio's of
//! the same name (Rust prefers inherent methods, so `self.peek(..)` below does not call itself).

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf, ReuniteError};

use super::{Address, TcpListener, TcpSocket, TcpStream, ToAddress, UdpSocket};

impl Address<'_> {
    /// Resolves the address by the operating system, in the order to try. A written address needs no allocation.
    ///
    /// # Errors
    /// `InvalidInput` for a malformed address; an unknown name is an error that says so.
    pub async fn resolve(self) -> io::Result<impl Iterator<Item = SocketAddr> + Send> {
        let (written, several, looked_up) = match self.parse()? {
            Address::Socket(address) => (Some(address), &[][..], None),
            Address::Several(several) => (None, several, None),
            Address::Host(host, port) => (None, &[][..], Some(lookup_host(host, port).await?)),
            Address::Text(text) => unreachable!("{text:?} was taken apart"),
        };
        let given = written.into_iter().chain(several.iter().copied());
        Ok(given.chain(looked_up.into_iter().flatten()))
    }

    /// Calls `attempt` with each address in turn, until one succeeds.
    ///
    /// # Errors
    /// Those of [`resolve`](Address::resolve), and of the attempt with the last address.
    pub async fn try_each<T, F>(self, attempt: impl FnMut(SocketAddr) -> F + Send) -> io::Result<T>
    where
        F: Future<Output = io::Result<T>> + Send,
    {
        Address::first_of(self.resolve().await?, attempt).await
    }
}

async fn lookup_host(host: &str, port: u16) -> io::Result<impl Iterator<Item = SocketAddr> + Send> {
    net::lookup_host((host, port)).await.map_err(|error| {
        let text = format!("cannot find the address of {host:?}: {error}");
        io::Error::new(error.kind(), text)
    })
}

impl TcpListener for net::TcpListener {
    type Stream = net::TcpStream;

    async fn accept(&self) -> io::Result<(net::TcpStream, SocketAddr)> {
        self.accept().await
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.local_addr()
    }
}

impl TcpSocket for net::TcpSocket {
    type Listener = net::TcpListener;
    type Stream = net::TcpStream;

    fn bind(&self, address: SocketAddr) -> io::Result<()> {
        self.bind(address)
    }

    async fn connect(self, address: SocketAddr) -> io::Result<net::TcpStream> {
        self.connect(address).await
    }

    fn listen(self, backlog: u32) -> io::Result<net::TcpListener> {
        self.listen(backlog)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.local_addr()
    }

    fn take_error(&self) -> io::Result<Option<io::Error>> {
        self.take_error()
    }

    #[cfg(unix)]
    fn reuseport(&self) -> io::Result<bool> {
        self.reuseport()
    }

    #[cfg(unix)]
    fn set_reuseport(&self, reuseport: bool) -> io::Result<()> {
        self.set_reuseport(reuseport)
    }

    #[cfg(not(unix))]
    fn reuseport(&self) -> io::Result<bool> {
        Err(io::ErrorKind::Unsupported.into())
    }

    #[cfg(not(unix))]
    fn set_reuseport(&self, _: bool) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn set_zero_linger(&self) -> io::Result<()> {
        self.set_zero_linger()
    }

    fn linger(&self) -> io::Result<Option<Duration>> {
        self.linger()
    }

    fn reuseaddr(&self) -> io::Result<bool> {
        self.reuseaddr()
    }

    fn set_reuseaddr(&self, reuseaddr: bool) -> io::Result<()> {
        self.set_reuseaddr(reuseaddr)
    }

    fn keepalive(&self) -> io::Result<bool> {
        self.keepalive()
    }

    fn set_keepalive(&self, keepalive: bool) -> io::Result<()> {
        self.set_keepalive(keepalive)
    }

    fn nodelay(&self) -> io::Result<bool> {
        self.nodelay()
    }

    fn set_nodelay(&self, nodelay: bool) -> io::Result<()> {
        self.set_nodelay(nodelay)
    }

    fn send_buffer_size(&self) -> io::Result<u32> {
        self.send_buffer_size()
    }

    fn set_send_buffer_size(&self, size: u32) -> io::Result<()> {
        self.set_send_buffer_size(size)
    }

    fn recv_buffer_size(&self) -> io::Result<u32> {
        self.recv_buffer_size()
    }

    fn set_recv_buffer_size(&self, size: u32) -> io::Result<()> {
        self.set_recv_buffer_size(size)
    }
}

impl TcpStream for net::TcpStream {
    type OwnedReadHalf = OwnedReadHalf;
    type OwnedWriteHalf = OwnedWriteHalf;

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.local_addr()
    }

    fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.peer_addr()
    }

    fn nodelay(&self) -> io::Result<bool> {
        self.nodelay()
    }

    fn set_nodelay(&self, nodelay: bool) -> io::Result<()> {
        self.set_nodelay(nodelay)
    }

    fn set_zero_linger(&self) -> io::Result<()> {
        self.set_zero_linger()
    }

    fn linger(&self) -> io::Result<Option<Duration>> {
        self.linger()
    }

    fn ttl(&self) -> io::Result<u32> {
        self.ttl()
    }

    fn set_ttl(&self, ttl: u32) -> io::Result<()> {
        self.set_ttl(ttl)
    }

    fn take_error(&self) -> io::Result<Option<io::Error>> {
        self.take_error()
    }

    fn into_split(self) -> (OwnedReadHalf, OwnedWriteHalf) {
        self.into_split()
    }

    fn reunite(read: OwnedReadHalf, write: OwnedWriteHalf) -> Result<Self, (OwnedReadHalf, OwnedWriteHalf)> {
        read.reunite(write).map_err(|ReuniteError(read, write)| (read, write))
    }

    fn split(
        &mut self,
    ) -> (impl AsyncRead + Send + Sync + Unpin + '_, impl AsyncWrite + Send + Sync + Unpin + '_) {
        self.split()
    }

    async fn peek(&self, buffer: &mut [u8]) -> io::Result<usize> {
        self.peek(buffer).await
    }

    async fn readable(&self) -> io::Result<()> {
        self.readable().await
    }

    async fn writable(&self) -> io::Result<()> {
        self.writable().await
    }

    fn try_read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        self.try_read(buffer)
    }

    fn try_write(&self, buffer: &[u8]) -> io::Result<usize> {
        self.try_write(buffer)
    }
}

impl UdpSocket for net::UdpSocket {
    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.local_addr()
    }

    fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.peer_addr()
    }

    async fn connect(&self, address: impl ToAddress) -> io::Result<()> {
        let address = address.to_address();
        address.try_each(|address| self.connect(address)).await
    }

    async fn send_to(&self, buffer: &[u8], target: impl ToAddress) -> io::Result<usize> {
        let target = target.to_address();
        target.try_each(|target| self.send_to(buffer, target)).await
    }

    async fn recv_from(&self, buffer: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        self.recv_from(buffer).await
    }

    async fn send(&self, buffer: &[u8]) -> io::Result<usize> {
        self.send(buffer).await
    }

    async fn recv(&self, buffer: &mut [u8]) -> io::Result<usize> {
        self.recv(buffer).await
    }

    async fn peek_from(&self, buffer: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        self.peek_from(buffer).await
    }

    async fn readable(&self) -> io::Result<()> {
        self.readable().await
    }

    async fn writable(&self) -> io::Result<()> {
        self.writable().await
    }

    fn try_send_to(&self, buffer: &[u8], target: SocketAddr) -> io::Result<usize> {
        self.try_send_to(buffer, target)
    }

    fn try_send(&self, buffer: &[u8]) -> io::Result<usize> {
        self.try_send(buffer)
    }

    fn try_recv_from(&self, buffer: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        self.try_recv_from(buffer)
    }

    fn try_recv(&self, buffer: &mut [u8]) -> io::Result<usize> {
        self.try_recv(buffer)
    }

    fn ttl(&self) -> io::Result<u32> {
        self.ttl()
    }

    fn set_ttl(&self, ttl: u32) -> io::Result<()> {
        self.set_ttl(ttl)
    }

    fn take_error(&self) -> io::Result<Option<io::Error>> {
        self.take_error()
    }
}
