//! `TcpSocket` with the methods of tokio's: a socket to be bound and given options before it listens or connects.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use super::{CONNECTOR, Socket, TcpListener, TcpStream, until};
use crate::machine::cluster::{self, Cluster};
use crate::machine::descriptors::Errno;
use crate::machine::net::address;
use crate::machine::net::options::Protocol;
use crate::machine::net::socket::{self, Name};
use crate::machine::world::Process;

/// A TCP socket on a simulated machine that neither listens nor is connected yet, with the methods of tokio's.
/// [`Network::tcp_socket_v4`](crate::Network::tcp_socket_v4) makes one.
pub struct TcpSocket {
    process: Process,
    /// Its own, until it is handed to a listener or a stream.
    inner: Mutex<socket::Socket>,
}

/// Without the run's number, which would differ from process to process.
impl fmt::Debug for TcpSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let family = if self.lock().is_ipv6 { "IPv6" } else { "IPv4" };
        f.debug_struct("TcpSocket").field("family", &family).finish()
    }
}

impl TcpSocket {
    pub(crate) fn new(process: Process, is_ipv6: bool) -> Self {
        let inner = Mutex::new(socket::Socket::new(process, is_ipv6, Protocol::Tcp));
        Self { process, inner }
    }

    fn lock(&self) -> MutexGuard<'_, socket::Socket> {
        self.inner.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn with<R>(
        &self,
        access: impl FnOnce(&mut Cluster, &mut socket::Socket) -> Result<R, Errno>,
    ) -> io::Result<R> {
        let mut inner = self.lock();
        cluster::with(self.process.run, |run| access(run, &mut inner)).map_err(address::os_error)
    }

    /// What it had is another handle's from now on.
    fn hand_over(&self) {
        let mut inner = self.lock();
        *inner = inner.forgotten();
    }

    /// Binds it to an address of the machine; port 0 takes an ephemeral port.
    ///
    /// # Errors
    /// As bind(2): `EADDRINUSE`, `EADDRNOTAVAIL`, `EAFNOSUPPORT` for an address of the other family, `EINVAL` if it is bound already.
    pub fn bind(&self, address: SocketAddr) -> io::Result<()> {
        self.with(|run, inner| run.bind_socket(inner, &Name::internet(address)))
    }

    /// Opens a connection, from the address that it is bound to.
    ///
    /// # Errors
    /// As connect(2): `ECONNREFUSED`, `ETIMEDOUT` (after 131 s), `EADDRNOTAVAIL` where there is such a connection, `EAFNOSUPPORT` for an
    /// address of the other family.
    ///
    /// # Cancellation
    /// Dropping the future closes the socket.
    pub async fn connect(self, address: SocketAddr) -> io::Result<TcpStream> {
        let id = self.with(|run, inner| {
            run.connect_socket(inner, &Name::internet(address))?;
            run.detach_stream(*inner).ok_or(libc::EISCONN)
        })?;
        self.hand_over();
        let run = self.process.run;
        // Built before the await, so that dropping the future closes the socket.
        let stream = TcpStream(Socket { run, id, side: CONNECTOR });
        until(|waiter| cluster::with(run, |run| run.tcp_connected(id, waiter))).await?;
        Ok(stream)
    }

    /// Listens, at an ephemeral port if it is not bound. So many connections may wait to be accepted, and one more (listen(2)).
    ///
    /// # Errors
    /// As listen(2): `EADDRINUSE` where another socket listens.
    pub fn listen(self, backlog: u32) -> io::Result<TcpListener> {
        let (id, local) = self.with(|run, inner| {
            run.listen_socket(inner, i32::try_from(backlog).unwrap_or(i32::MAX))?;
            run.listener_of(*inner).ok_or(libc::EINVAL)
        })?;
        self.hand_over();
        Ok(TcpListener { run: self.process.run, id, local })
    }

    /// The address that it is bound to; unspecified before.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.with(|run, inner| run.tcp_socket_local(*inner))
    }

    /// Takes the pending error (`SO_ERROR`).
    pub fn take_error(&self) -> io::Result<Option<io::Error>> {
        let code = self.with(|run, inner| Ok(run.socket_error(inner)))?;
        Ok((code != 0).then(|| address::os_error(code)))
    }

    fn option(&self, level: i32, name: i32) -> io::Result<i32> {
        self.with(|run, inner| run.socket_options(inner).get((Protocol::Tcp, inner.is_ipv6), level, name))
    }

    fn set_option(&self, level: i32, name: i32, value: i32) -> io::Result<()> {
        self.with(|run, inner| {
            let mut options = run.socket_options(inner);
            options.set((Protocol::Tcp, inner.is_ipv6), level, name, value)?;
            run.set_socket_options(inner, options);
            Ok(())
        })
    }

    /// Whether its address can be bound while connections of it are in TIME_WAIT (`SO_REUSEADDR`).
    pub fn reuseaddr(&self) -> io::Result<bool> {
        Ok(self.option(libc::SOL_SOCKET, libc::SO_REUSEADDR)? != 0)
    }

    /// Sets `SO_REUSEADDR`.
    pub fn set_reuseaddr(&self, reuseaddr: bool) -> io::Result<()> {
        self.set_option(libc::SOL_SOCKET, libc::SO_REUSEADDR, reuseaddr.into())
    }

    /// Whether several sockets that all say so may listen at its address (`SO_REUSEPORT`).
    pub fn reuseport(&self) -> io::Result<bool> {
        Ok(self.option(libc::SOL_SOCKET, libc::SO_REUSEPORT)? != 0)
    }

    /// Sets `SO_REUSEPORT`.
    pub fn set_reuseport(&self, reuseport: bool) -> io::Result<()> {
        self.set_option(libc::SOL_SOCKET, libc::SO_REUSEPORT, reuseport.into())
    }

    /// `SO_KEEPALIVE`. It is stored only: no connection is idle for two hours.
    pub fn keepalive(&self) -> io::Result<bool> {
        Ok(self.option(libc::SOL_SOCKET, libc::SO_KEEPALIVE)? != 0)
    }

    /// Sets `SO_KEEPALIVE`.
    pub fn set_keepalive(&self, keepalive: bool) -> io::Result<()> {
        self.set_option(libc::SOL_SOCKET, libc::SO_KEEPALIVE, keepalive.into())
    }

    /// `TCP_NODELAY`. It is stored only: the sim has no Nagle delay.
    pub fn nodelay(&self) -> io::Result<bool> {
        Ok(self.option(libc::IPPROTO_TCP, libc::TCP_NODELAY)? != 0)
    }

    /// Sets `TCP_NODELAY`.
    pub fn set_nodelay(&self, nodelay: bool) -> io::Result<()> {
        self.set_option(libc::IPPROTO_TCP, libc::TCP_NODELAY, nodelay.into())
    }

    /// Sets `SO_LINGER` to zero: closing sends a RST instead of a FIN.
    pub fn set_zero_linger(&self) -> io::Result<()> {
        self.with(|run, inner| {
            let mut options = run.socket_options(inner);
            (options.lingers, options.linger_seconds) = (true, 0);
            run.set_socket_options(inner, options);
            Ok(())
        })
    }

    /// `SO_LINGER`: `None` until [`set_zero_linger`](TcpSocket::set_zero_linger), then zero.
    pub fn linger(&self) -> io::Result<Option<Duration>> {
        self.with(|run, inner| {
            let options = run.socket_options(inner);
            Ok(options.lingers.then_some(Duration::from_secs(options.linger_seconds.max(0) as u64)))
        })
    }

    /// The size of the send buffer (`SO_SNDBUF`): twice what was set, as Linux has it. It is stored only: the buffers of the sim have
    /// one size.
    pub fn send_buffer_size(&self) -> io::Result<u32> {
        self.option(libc::SOL_SOCKET, libc::SO_SNDBUF).map(|size| size as u32)
    }

    /// Sets `SO_SNDBUF`.
    pub fn set_send_buffer_size(&self, size: u32) -> io::Result<()> {
        self.set_option(libc::SOL_SOCKET, libc::SO_SNDBUF, size as i32)
    }

    /// The size of the receive buffer (`SO_RCVBUF`): twice what was set, as Linux has it. It is stored only.
    pub fn recv_buffer_size(&self) -> io::Result<u32> {
        self.option(libc::SOL_SOCKET, libc::SO_RCVBUF).map(|size| size as u32)
    }

    /// Sets `SO_RCVBUF`.
    pub fn set_recv_buffer_size(&self, size: u32) -> io::Result<()> {
        self.set_option(libc::SOL_SOCKET, libc::SO_RCVBUF, size as i32)
    }

    /// The type of service of IPv4 (`IP_TOS`). It is stored only.
    pub fn tos_v4(&self) -> io::Result<u32> {
        self.option(libc::IPPROTO_IP, libc::IP_TOS).map(|tos| tos as u32)
    }

    /// Sets `IP_TOS`.
    pub fn set_tos_v4(&self, tos: u32) -> io::Result<()> {
        self.set_option(libc::IPPROTO_IP, libc::IP_TOS, tos as i32)
    }

    /// The traffic class of IPv6 (`IPV6_TCLASS`). It is stored only.
    ///
    /// # Errors
    /// `EOPNOTSUPP` of an IPv4 socket.
    pub fn tclass_v6(&self) -> io::Result<u32> {
        self.option(libc::IPPROTO_IPV6, libc::IPV6_TCLASS).map(|class| class as u32)
    }

    /// Sets `IPV6_TCLASS`.
    ///
    /// # Errors
    /// `ENOPROTOOPT` of an IPv4 socket, `EINVAL` above 255.
    pub fn set_tclass_v6(&self, class: u32) -> io::Result<()> {
        self.set_option(libc::IPPROTO_IPV6, libc::IPV6_TCLASS, class as i32)
    }
}

impl Drop for TcpSocket {
    fn drop(&mut self) {
        let inner = *self.lock();
        cluster::try_with(self.process.run, |run| run.close_socket(inner));
    }
}

impl steelmill_core::TcpSocket for TcpSocket {
    type Listener = TcpListener;
    type Stream = TcpStream;

    fn bind(&self, address: SocketAddr) -> io::Result<()> {
        self.bind(address)
    }

    async fn connect(self, address: SocketAddr) -> io::Result<TcpStream> {
        self.connect(address).await
    }

    fn listen(self, backlog: u32) -> io::Result<TcpListener> {
        self.listen(backlog)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.local_addr()
    }

    fn take_error(&self) -> io::Result<Option<io::Error>> {
        self.take_error()
    }

    fn reuseaddr(&self) -> io::Result<bool> {
        self.reuseaddr()
    }

    fn set_reuseaddr(&self, reuseaddr: bool) -> io::Result<()> {
        self.set_reuseaddr(reuseaddr)
    }

    fn reuseport(&self) -> io::Result<bool> {
        self.reuseport()
    }

    fn set_reuseport(&self, reuseport: bool) -> io::Result<()> {
        self.set_reuseport(reuseport)
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

    fn set_zero_linger(&self) -> io::Result<()> {
        self.set_zero_linger()
    }

    fn linger(&self) -> io::Result<Option<Duration>> {
        self.linger()
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
