//! `TcpSocket`, `TcpListener` and `TcpStream` with the methods of tokio's: the socket handles over TCP's state machine.

mod halves; // split streams, AsyncRead and AsyncWrite
mod socket; // TcpSocket

use std::fmt;
use std::future::poll_fn;
use std::io::{self, IoSlice, IoSliceMut};
use std::net::SocketAddr;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf, Ready};

pub use halves::{OwnedReadHalf, OwnedWriteHalf, ReadHalf, ReuniteError, WriteHalf};
pub use socket::TcpSocket;

use super::connection::{ACCEPTOR, CONNECTOR, Connection, ConnectionId, End, ListenerId, Side};
use super::options::Options;
use super::{address, poll_of, until};
use crate::kernel::tasks::WaitsFor;
use crate::kernel::waiter::Waiter;
use crate::machine::cluster::{self, Cluster, RunId};
use crate::machine::world::Process;

/// One end of a connection: the id in every handle.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Socket {
    run: RunId,
    id: ConnectionId,
    side: Side,
}

/// Without the run's number, which would differ from process to process.
impl fmt::Debug for Socket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { run: _, id, side } = self;
        f.debug_struct("Socket").field("id", id).field("side", side).finish()
    }
}

#[derive(Clone, Copy)]
enum Direction {
    Read,
    Write,
}

impl Socket {
    fn with<R>(self, access: impl FnOnce(&mut Connection) -> R) -> io::Result<R> {
        cluster::with(self.run, |run| {
            let connection = run.net.tcp.get(self.id).ok_or_else(|| address::os_error(libc::ENOTCONN))?;
            Ok(access(connection))
        })
    }

    fn with_options<R>(self, access: impl FnOnce(&mut Options) -> R) -> io::Result<R> {
        self.with(|connection| access(connection.options(self.side)))
    }

    fn with_end<R>(self, access: impl FnOnce(&mut End) -> R) -> io::Result<R> {
        self.with(|connection| access(connection.end(self.side)))
    }

    /// Tries `attempt`; while it returns `None`, registers `waiter` for `direction`.
    #[inline]
    fn poll<T>(
        self,
        waiter: Waiter,
        direction: Direction,
        attempt: impl FnOnce(&mut Cluster) -> io::Result<Option<T>>,
    ) -> io::Result<Option<T>> {
        cluster::with(self.run, |run| {
            let result = attempt(run);
            if !matches!(result, Ok(None)) {
                run.kernel.discard(Some(waiter));
                return result;
            }
            let redundant = match run.net.tcp.get(self.id).map(|connection| connection.end(self.side)) {
                Some(end) => match direction {
                    Direction::Read => end.readers.add(waiter),
                    Direction::Write => end.writers.add(waiter),
                },
                None => Some(waiter),
            };
            run.kernel.discard(redundant);
            run.kernel.waits_for(match direction {
                Direction::Read => WaitsFor::Read,
                Direction::Write => WaitsFor::Write,
            });
            result
        })
    }

    #[inline]
    fn poll_read(self, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let waiter = Waiter::of(context.waker());
        let read = self.poll(waiter, Direction::Read, |run| {
            run.tcp_read(self.id, self.side, buffer.remaining(), true, |first, second| {
                buffer.put_slice(first);
                if !second.is_empty() {
                    buffer.put_slice(second); // rare: the bytes wrap around in the ring buffer
                }
            })
        });
        poll_of(read.map(|read| read.map(drop)))
    }

    #[inline]
    fn poll_write(self, context: &mut Context<'_>, parts: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let waiter = Waiter::of(context.waker());
        poll_of(self.poll(waiter, Direction::Write, |run| run.tcp_write(self.id, self.side, parts)))
    }

    /// Half-closes the stream. Like tokio's, ignores `ENOTCONN`.
    fn shutdown(self) {
        cluster::with(self.run, |run| run.tcp_shutdown(self.id, self.side));
    }

    fn try_read(self, buffer: &mut [u8]) -> io::Result<usize> {
        would_block(cluster::with(self.run, |run| {
            run.tcp_read(self.id, self.side, buffer.len(), true, copy_to(buffer))
        }))
    }

    fn try_read_vectored(self, buffers: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        let limit = buffers.iter().map(|buffer| buffer.len()).sum();
        would_block(cluster::with(self.run, |run| {
            run.tcp_read(self.id, self.side, limit, true, |first, second| {
                let mut bytes = first.iter().chain(second).copied();
                for buffer in buffers.iter_mut() {
                    buffer.iter_mut().zip(&mut bytes).for_each(|(to, from)| *to = from);
                }
            })
        }))
    }

    fn try_write(self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        would_block(cluster::with(self.run, |run| run.tcp_write(self.id, self.side, parts)))
    }

    async fn peek(self, buffer: &mut [u8]) -> io::Result<usize> {
        until(|waiter| {
            self.poll(waiter, Direction::Read, |run| {
                run.tcp_read(self.id, self.side, buffer.len(), false, copy_to(buffer))
            })
        })
        .await
    }

    fn poll_peek(self, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<usize>> {
        let waiter = Waiter::of(context.waker());
        poll_of(self.poll(waiter, Direction::Read, |run| {
            run.tcp_read(self.id, self.side, buffer.remaining(), false, |first, second| {
                buffer.put_slice(first);
                buffer.put_slice(second);
            })
        }))
    }

    fn readable(self, waiter: Waiter) -> io::Result<Option<()>> {
        self.poll(waiter, Direction::Read, |run| {
            let connection = run.net.tcp.get(self.id);
            Ok(connection.is_none_or(|connection| connection.is_readable(self.side)).then_some(()))
        })
    }

    fn writable(self, waiter: Waiter) -> io::Result<Option<()>> {
        self.poll(waiter, Direction::Write, |run| Ok(run.tcp_is_writable(self.id, self.side).then_some(())))
    }

    /// Waits until it is ready for any part of an interest.
    async fn ready(self, interest: Interest) -> io::Result<Ready> {
        poll_fn(|context| {
            let readable = match interest.is_readable() {
                true => self.readable(Waiter::of(context.waker()))?.is_some(),
                false => false,
            };
            let writable = match interest.is_writable() {
                true => self.writable(Waiter::of(context.waker()))?.is_some(),
                false => false,
            };
            let both = [(readable, Ready::READABLE), (writable, Ready::WRITABLE)];
            let ready = both.into_iter().filter(|(holds, _)| *holds);
            let ready = ready.fold(Ready::EMPTY, |all, (_, one)| all | one);
            if ready.is_empty() { Poll::Pending } else { Poll::Ready(Ok(ready)) }
        })
        .await
    }

    fn local_addr(self) -> io::Result<SocketAddr> {
        self.with(|connection| connection.addresses(self.side).local)
    }

    fn peer_addr(self) -> io::Result<SocketAddr> {
        cluster::with(self.run, |run| run.tcp_peer(self.id, self.side))
    }

    fn set_handles(self, handles: u8) {
        // After the run there is nothing to count.
        let _ = cluster::try_with(self.run, |run| {
            run.net.tcp.get(self.id).map(|connection| connection.end(self.side).handles = handles)
        });
    }

    fn release(self) {
        cluster::try_with(self.run, |run| run.tcp_release(self.id, self.side));
    }
}

/// tokio's `WouldBlock` has no number of the operating system.
fn would_block<T>(result: io::Result<Option<T>>) -> io::Result<T> {
    result?.ok_or_else(|| io::ErrorKind::WouldBlock.into())
}

fn copy_to(buffer: &mut [u8]) -> impl FnOnce(&[u8], &[u8]) {
    move |first, second| {
        buffer[..first.len()].copy_from_slice(first);
        buffer[first.len()..first.len() + second.len()].copy_from_slice(second);
    }
}

/// A TCP listener on a simulated machine, with the methods of tokio's.
pub struct TcpListener {
    run: RunId,
    id: ListenerId,
    local: SocketAddr,
}

/// Without the run's number, which would differ from process to process.
impl fmt::Debug for TcpListener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { run: _, id, local } = self;
        f.debug_struct("TcpListener").field("id", id).field("local", local).finish()
    }
}

impl TcpListener {
    pub(super) fn listen(process: Process, address: SocketAddr) -> io::Result<Self> {
        let (id, local) = cluster::with(process.run, |run| {
            // As tokio's `bind`: a listener can return while connections of the one before live.
            let mut options = Options::default();
            options.reuse_address = true;
            let (id, local) = run.tcp_bind(process, address, options)?;
            let listened = run.tcp_listen(id, steelmill_core::LISTEN_BACKLOG as usize);
            listened.inspect_err(|_| run.tcp_unlisten(id, true)).map(|()| (id, local))
        })?;
        Ok(Self { run: process.run, id, local })
    }

    /// Accepts the next connection; returns it with its peer's address.
    ///
    /// # Cancellation
    /// Dropping the future loses no connection.
    pub async fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        until(|waiter| self.try_accept(waiter)).await
    }

    /// Accepts the next connection, or registers the waker.
    pub fn poll_accept(&self, context: &mut Context<'_>) -> Poll<io::Result<(TcpStream, SocketAddr)>> {
        poll_of(self.try_accept(Waiter::of(context.waker())))
    }

    fn try_accept(&self, waiter: Waiter) -> io::Result<Option<(TcpStream, SocketAddr)>> {
        let accepted = cluster::with(self.run, |run| {
            let accepted = run.tcp_accept(self.id);
            let redundant = match (&accepted, run.net.tcp.listener(self.id)) {
                (Ok(None), Some(listener)) => listener.waiters.add(waiter),
                _ => Some(waiter),
            };
            run.kernel.discard(redundant);
            run.kernel.waits_for(WaitsFor::Accept);
            accepted
        })?;
        Ok(accepted.map(|(id, peer)| (TcpStream(Socket { run: self.run, id, side: ACCEPTOR }), peer)))
    }

    /// The address it listens on.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.local)
    }

    fn with_options<R>(&self, access: impl FnOnce(&mut Options) -> R) -> io::Result<R> {
        cluster::with(self.run, |run| {
            let listener = run.net.tcp.listener(self.id).ok_or_else(|| address::os_error(libc::EINVAL))?;
            Ok(access(&mut listener.options))
        })
    }

    /// The time to live (`IP_TTL`) of accepted connections.
    pub fn ttl(&self) -> io::Result<u32> {
        self.with_options(|options| options.ttl)
    }

    /// Sets the time to live (`IP_TTL`) of connections whose SYN arrives from now on.
    ///
    /// # Errors
    /// `InvalidInput` outside of 1 to 255 (ip(7)).
    pub fn set_ttl(&self, ttl: u32) -> io::Result<()> {
        let ttl = address::check_ttl(ttl)?;
        self.with_options(|options| options.ttl = ttl)
    }
}

impl Drop for TcpListener {
    fn drop(&mut self) {
        cluster::try_with(self.run, |run| run.tcp_unlisten(self.id, true));
    }
}

/// A TCP connection on a simulated machine, with the methods of tokio's.
#[derive(Debug)]
pub struct TcpStream(Socket);

impl TcpStream {
    pub(super) async fn connect(process: Process, address: SocketAddr) -> io::Result<Self> {
        let id = cluster::with(process.run, |run| {
            run.tcp_connect(process, address.is_ipv6(), None, address, Options::default())
        })?;
        // Built before the await, so that dropping the future closes the socket.
        let stream = Self(Socket { run: process.run, id, side: CONNECTOR });
        until(|waiter| cluster::with(process.run, |run| run.tcp_connected(id, waiter))).await?;
        Ok(stream)
    }

    /// The local address.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }

    /// The peer's address.
    ///
    /// # Errors
    /// `NotConnected` after a reset, or once both directions have ended.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.0.peer_addr()
    }

    /// `TCP_NODELAY`. It is stored only: the sim has no Nagle delay.
    pub fn nodelay(&self) -> io::Result<bool> {
        self.0.with_options(|options| options.nodelay)
    }

    /// Sets `TCP_NODELAY`.
    pub fn set_nodelay(&self, nodelay: bool) -> io::Result<()> {
        self.0.with_options(|options| options.nodelay = nodelay)
    }

    /// `TCP_QUICKACK`. It is stored only: acknowledgements are never delayed.
    pub fn quickack(&self) -> io::Result<bool> {
        self.0.with_options(|options| options.quickack)
    }

    /// Sets `TCP_QUICKACK`.
    pub fn set_quickack(&self, quickack: bool) -> io::Result<()> {
        self.0.with_options(|options| options.quickack = quickack)
    }

    /// Waits until the stream is ready for any part of an interest; for what it is ready.
    ///
    /// # Cancellation
    /// Dropping the future changes nothing.
    pub async fn ready(&self, interest: Interest) -> io::Result<Ready> {
        self.0.ready(interest).await
    }

    /// Calls `operation`, which uses the stream without waiting.
    ///
    /// # Errors
    /// Those of `operation`; `WouldBlock` when it has nothing to do.
    pub fn try_io<R>(&self, _: Interest, operation: impl FnOnce() -> io::Result<R>) -> io::Result<R> {
        operation()
    }

    /// Calls `operation` each time that the stream is ready, until it returns anything but `WouldBlock`.
    pub async fn async_io<R>(
        &self,
        interest: Interest,
        mut operation: impl FnMut() -> io::Result<R>,
    ) -> io::Result<R> {
        loop {
            self.ready(interest).await?;
            match operation() {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                result => return result,
            }
        }
    }

    /// Sets `SO_LINGER` to zero: closing sends a RST instead of a FIN.
    pub fn set_zero_linger(&self) -> io::Result<()> {
        self.0.with_options(|options| (options.lingers, options.linger_seconds) = (true, 0))
    }

    /// `SO_LINGER`: `None` until [`set_zero_linger`](TcpStream::set_zero_linger), then zero.
    pub fn linger(&self) -> io::Result<Option<Duration>> {
        self.0.with_options(|options| {
            options.lingers.then_some(Duration::from_secs(options.linger_seconds.max(0) as u64))
        })
    }

    /// Takes the pending error (`SO_ERROR`).
    pub fn take_error(&self) -> io::Result<Option<io::Error>> {
        self.0.with_end(|end| end.take_error().err())
    }

    /// The time to live (`IP_TTL`). It is stored only: the network has no hops.
    pub fn ttl(&self) -> io::Result<u32> {
        self.0.with_options(|options| options.ttl)
    }

    /// Sets the time to live (`IP_TTL`).
    ///
    /// # Errors
    /// `InvalidInput` outside of 1 to 255 (ip(7)).
    pub fn set_ttl(&self, ttl: u32) -> io::Result<()> {
        let ttl = address::check_ttl(ttl)?;
        self.0.with_options(|options| options.ttl = ttl)
    }

    /// Waits for data and copies it; it stays in the receive buffer.
    pub async fn peek(&self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.peek(buffer).await
    }

    /// Copies data, which stays in the receive buffer, or registers the waker.
    pub fn poll_peek(&self, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<usize>> {
        self.0.poll_peek(context, buffer)
    }

    /// Waits until a read would not block.
    pub async fn readable(&self) -> io::Result<()> {
        until(|waiter| self.0.readable(waiter)).await
    }

    /// Whether a read would not block; if it would, registers the waker.
    pub fn poll_read_ready(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        poll_of(self.0.readable(Waiter::of(context.waker())))
    }

    /// Waits until a write would not block.
    pub async fn writable(&self) -> io::Result<()> {
        until(|waiter| self.0.writable(waiter)).await
    }

    /// Whether a write would not block; if it would, registers the waker.
    pub fn poll_write_ready(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        poll_of(self.0.writable(Waiter::of(context.waker())))
    }

    /// Reads available bytes, without waiting.
    ///
    /// # Errors
    /// `WouldBlock` when there are none.
    pub fn try_read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.try_read(buffer)
    }

    /// Reads available bytes into several buffers, without waiting.
    ///
    /// # Errors
    /// `WouldBlock` when there are none.
    pub fn try_read_vectored(&self, buffers: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        self.0.try_read_vectored(buffers)
    }

    /// Writes as many bytes as the window permits, without waiting.
    ///
    /// # Errors
    /// `WouldBlock` when the window is full.
    pub fn try_write(&self, buffer: &[u8]) -> io::Result<usize> {
        self.0.try_write(&[IoSlice::new(buffer)])
    }

    /// Writes as many bytes of several slices as the window permits, without waiting.
    ///
    /// # Errors
    /// `WouldBlock` when the window is full.
    pub fn try_write_vectored(&self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        self.0.try_write(parts)
    }
}

impl Drop for TcpStream {
    fn drop(&mut self) {
        self.0.release();
    }
}

impl steelmill_core::TcpListener for TcpListener {
    type Stream = TcpStream;

    async fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        self.accept().await
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.local_addr()
    }
}

impl steelmill_core::TcpStream for TcpStream {
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
