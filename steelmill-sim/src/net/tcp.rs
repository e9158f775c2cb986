//! TCP as a program holds it: listeners, streams and their halves, with tokio's methods.

use std::io::{self, IoSlice};
use std::mem::ManuallyDrop;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::connection::{ACCEPTOR, CONNECTOR, ConnectionId, End, ListenerId, Side};
use super::{address, poll_of, until};
use crate::executor::WaitsFor;
use crate::run::{self, Run, RunId};
use crate::waker::Waiter;
use crate::world::Place;

/// One end of a connection: what every handle to it holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Socket {
    run: RunId,
    id: ConnectionId,
    side: Side,
}

/// Which way a task waits.
#[derive(Clone, Copy)]
enum Direction {
    Read,
    Write,
}

impl Socket {
    fn with_end<R>(self, look: impl FnOnce(&mut End) -> R) -> io::Result<R> {
        run::with(self.run, |run| {
            let connection = run.net.tcp.get(self.id).ok_or_else(|| address::os_error(libc::ENOTCONN))?;
            Ok(look(connection.end(self.side)))
        })
    }

    /// Tries `attempt`; when there is nothing yet, `waiter` will be woken when that may have changed.
    #[inline]
    fn poll<T>(
        self,
        waiter: Waiter,
        direction: Direction,
        attempt: impl FnOnce(&mut Run) -> io::Result<Option<T>>,
    ) -> io::Result<Option<T>> {
        run::with(self.run, |run| {
            let result = attempt(run);
            let unneeded = match (&result, run.net.tcp.get(self.id)) {
                (Ok(None), Some(connection)) => {
                    let end = connection.end(self.side);
                    match direction {
                        Direction::Read => end.readers.add(waiter),
                        Direction::Write => end.writers.add(waiter),
                    }
                }
                _ => Some(waiter),
            };
            run.discard(unneeded);
            if let Ok(None) = result {
                run.waits_for(match direction {
                    Direction::Read => WaitsFor::Read,
                    Direction::Write => WaitsFor::Write,
                });
            }
            result
        })
    }

    #[inline]
    fn poll_read(self, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let waiter = Waiter::of(context.waker());
        let read = self.poll(waiter, Direction::Read, |run| {
            run.tcp_read(self.id, self.side, buffer.remaining(), true, |first, second| {
                buffer.put_slice(first);
                buffer.put_slice(second);
            })
        });
        poll_of(read.map(|read| read.map(drop)))
    }

    #[inline]
    fn poll_write(self, context: &mut Context<'_>, parts: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let waiter = Waiter::of(context.waker());
        poll_of(self.poll(waiter, Direction::Write, |run| run.tcp_write(self.id, self.side, parts)))
    }

    fn shutdown(self) -> io::Result<()> {
        run::with(self.run, |run| run.tcp_finish(self.id, self.side))
    }

    fn try_read(self, buffer: &mut [u8]) -> io::Result<usize> {
        would_block(run::with(self.run, |run| {
            run.tcp_read(self.id, self.side, buffer.len(), true, copy_to(buffer))
        }))
    }

    fn try_write(self, buffer: &[u8]) -> io::Result<usize> {
        would_block(run::with(self.run, |run| run.tcp_write(self.id, self.side, &[IoSlice::new(buffer)])))
    }

    async fn peek(self, buffer: &mut [u8]) -> io::Result<usize> {
        until(|waiter| {
            self.poll(waiter, Direction::Read, |run| {
                run.tcp_read(self.id, self.side, buffer.len(), false, copy_to(buffer))
            })
        })
        .await
    }

    async fn readable(self) -> io::Result<()> {
        until(|waiter| {
            self.poll(waiter, Direction::Read, |run| {
                let connection = run.net.tcp.get(self.id);
                Ok(connection.is_none_or(|connection| connection.is_readable(self.side)).then_some(()))
            })
        })
        .await
    }

    async fn writable(self) -> io::Result<()> {
        until(|waiter| {
            self.poll(waiter, Direction::Write, |run| {
                Ok(run.tcp_is_writable(self.id, self.side).then_some(()))
            })
        })
        .await
    }

    fn local_addr(self) -> io::Result<SocketAddr> {
        self.with_end(|end| end.local)
    }

    fn peer_addr(self) -> io::Result<SocketAddr> {
        self.with_end(|end| end.peer)
    }

    fn set_handles(self, handles: u8) {
        // Where the machine has gone there is nothing to count.
        let _ = run::try_with(self.run, |run| {
            run.net.tcp.get(self.id).map(|connection| connection.end(self.side).handles = handles)
        });
    }

    /// One handle of this end is gone.
    fn release(self) {
        run::try_with(self.run, |run| run.tcp_release(self.id, self.side));
    }
}

fn would_block<T>(result: io::Result<Option<T>>) -> io::Result<T> {
    result?.ok_or_else(|| address::os_error(libc::EAGAIN))
}

fn copy_to(buffer: &mut [u8]) -> impl FnOnce(&[u8], &[u8]) {
    move |first, second| {
        buffer[..first.len()].copy_from_slice(first);
        buffer[first.len()..first.len() + second.len()].copy_from_slice(second);
    }
}

/// Accepts TCP connections on a simulated machine.
#[derive(Debug)]
pub struct TcpListener {
    run: RunId,
    id: ListenerId,
    local: SocketAddr,
}

impl TcpListener {
    pub(super) fn listen(place: Place, address: SocketAddr) -> io::Result<Self> {
        let (id, local) = run::with(place.run, |run| run.tcp_listen(place, address))?;
        Ok(Self { run: place.run, id, local })
    }

    /// The next connection and its peer.
    ///
    /// # Cancellation
    /// Dropping the future loses no connection.
    pub async fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        until(|waiter| self.try_accept(waiter)).await
    }

    /// The next connection; the task is woken when there is one.
    pub fn poll_accept(&self, context: &mut Context<'_>) -> Poll<io::Result<(TcpStream, SocketAddr)>> {
        poll_of(self.try_accept(Waiter::of(context.waker())))
    }

    fn try_accept(&self, waiter: Waiter) -> io::Result<Option<(TcpStream, SocketAddr)>> {
        let accepted = run::with(self.run, |run| {
            let accepted = run.tcp_accept(self.id);
            let unneeded = match (&accepted, run.net.tcp.listener(self.id)) {
                (Ok(None), Some(listener)) => listener.waiters.add(waiter),
                _ => Some(waiter),
            };
            run.discard(unneeded);
            run.waits_for(WaitsFor::Accept);
            accepted
        })?;
        Ok(accepted.map(|(id, peer)| (TcpStream(Socket { run: self.run, id, side: ACCEPTOR }), peer)))
    }

    /// Where it listens.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.local)
    }
}

impl Drop for TcpListener {
    fn drop(&mut self) {
        run::try_with(self.run, |run| run.tcp_unlisten(self.id, true));
    }
}

/// A simulated TCP connection.
#[derive(Debug)]
pub struct TcpStream(Socket);

impl TcpStream {
    pub(super) async fn connect(place: Place, address: SocketAddr) -> io::Result<Self> {
        let id = run::with(place.run, |run| run.tcp_connect(place, address))?;
        // From here on dropping the future closes the socket.
        let stream = Self(Socket { run: place.run, id, side: CONNECTOR });
        until(|waiter| run::with(place.run, |run| run.tcp_connected(id, waiter))).await?;
        Ok(stream)
    }

    /// This end's address.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }

    /// The other end's address.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.0.peer_addr()
    }

    /// Whether small writes are to be sent at once. The sim always sends at once.
    pub fn nodelay(&self) -> io::Result<bool> {
        self.0.with_end(|end| end.options.nodelay)
    }

    /// Asks for small writes to be sent at once.
    pub fn set_nodelay(&self, nodelay: bool) -> io::Result<()> {
        self.0.with_end(|end| end.options.nodelay = nodelay)
    }

    /// Makes closing reset the connection.
    pub fn set_zero_linger(&self) -> io::Result<()> {
        self.0.with_end(|end| end.options.zero_linger = true)
    }

    /// How many hops a packet may take; kept and told, but there are no hops here.
    pub fn ttl(&self) -> io::Result<u32> {
        self.0.with_end(|end| end.options.ttl)
    }

    /// Sets how many hops a packet may take.
    ///
    /// # Errors
    /// `InvalidInput` outside of 1 to 255 (ip(7)).
    pub fn set_ttl(&self, ttl: u32) -> io::Result<()> {
        if !(1..=255).contains(&ttl) {
            return Err(address::os_error(libc::EINVAL));
        }
        self.0.with_end(|end| end.options.ttl = ttl)
    }

    /// Waits for data and copies it without taking it.
    pub async fn peek(&self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.peek(buffer).await
    }

    /// Waits until a read would not block.
    pub async fn readable(&self) -> io::Result<()> {
        self.0.readable().await
    }

    /// Waits until a write would not block.
    pub async fn writable(&self) -> io::Result<()> {
        self.0.writable().await
    }

    /// Reads what is there.
    ///
    /// # Errors
    /// `WouldBlock` when nothing is.
    pub fn try_read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.try_read(buffer)
    }

    /// Writes what fits.
    ///
    /// # Errors
    /// `WouldBlock` when nothing does.
    pub fn try_write(&self, buffer: &[u8]) -> io::Result<usize> {
        self.0.try_write(buffer)
    }

    /// Borrows the two directions at once.
    pub fn split(&mut self) -> (ReadHalf<'_>, WriteHalf<'_>) {
        (ReadHalf(self), WriteHalf(self))
    }

    /// Takes the connection apart into halves that can move to different tasks.
    pub fn into_split(self) -> (OwnedReadHalf, OwnedWriteHalf) {
        let socket = self.0;
        socket.set_handles(2);
        (OwnedReadHalf(ManuallyDrop::new(self)), OwnedWriteHalf(ManuallyDrop::new(TcpStream(socket))))
    }
}

impl Drop for TcpStream {
    fn drop(&mut self) {
        self.0.release();
    }
}

/// The borrowed reading side.
#[derive(Debug)]
pub struct ReadHalf<'a>(&'a TcpStream);

/// The borrowed writing side. Dropping it does not end the stream.
#[derive(Debug)]
pub struct WriteHalf<'a>(&'a TcpStream);

/// The reading side of a connection taken apart. It lets go of its share of the end by itself.
#[derive(Debug)]
pub struct OwnedReadHalf(ManuallyDrop<TcpStream>);

/// The writing side of a connection taken apart; dropping it ends the stream.
#[derive(Debug)]
pub struct OwnedWriteHalf(ManuallyDrop<TcpStream>);

/// Two halves that do not belong together; both come back.
#[derive(Debug, thiserror::Error)]
#[error("the halves are not of one connection")]
pub struct ReuniteError(pub OwnedReadHalf, pub OwnedWriteHalf);

impl OwnedReadHalf {
    /// Puts the two halves of one connection together again.
    ///
    /// # Errors
    /// Halves of different connections come back as they were.
    pub fn reunite(self, other: OwnedWriteHalf) -> Result<TcpStream, ReuniteError> {
        let socket = self.socket();
        if socket != other.socket() {
            return Err(ReuniteError(self, other));
        }
        std::mem::forget((self, other)); // the stream owns the end from here on
        socket.set_handles(1);
        Ok(TcpStream(socket))
    }
}

impl OwnedWriteHalf {
    /// Puts the two halves of one connection together again.
    ///
    /// # Errors
    /// Halves of different connections come back as they were.
    pub fn reunite(self, other: OwnedReadHalf) -> Result<TcpStream, ReuniteError> {
        other.reunite(self)
    }

    /// Drops the half without ending the stream.
    pub fn forget(self) {
        let socket = self.socket();
        std::mem::forget(self);
        socket.release();
    }
}

impl Drop for OwnedReadHalf {
    fn drop(&mut self) {
        self.socket().release();
    }
}

impl Drop for OwnedWriteHalf {
    fn drop(&mut self) {
        // An end that is not open has nothing to finish.
        let socket = self.socket();
        let _ = run::try_with(socket.run, |run| run.tcp_finish(socket.id, socket.side));
        socket.release();
    }
}

impl AsRef<TcpStream> for ReadHalf<'_> {
    fn as_ref(&self) -> &TcpStream {
        self.0
    }
}

impl AsRef<TcpStream> for WriteHalf<'_> {
    fn as_ref(&self) -> &TcpStream {
        self.0
    }
}

impl AsRef<TcpStream> for OwnedReadHalf {
    fn as_ref(&self) -> &TcpStream {
        &self.0
    }
}

impl AsRef<TcpStream> for OwnedWriteHalf {
    fn as_ref(&self) -> &TcpStream {
        &self.0
    }
}

/// Where every handle keeps its socket.
trait Handle {
    fn socket(&self) -> Socket;
}

impl Handle for TcpStream {
    #[inline]
    fn socket(&self) -> Socket {
        self.0
    }
}

impl Handle for ReadHalf<'_> {
    #[inline]
    fn socket(&self) -> Socket {
        self.0.0
    }
}

impl Handle for WriteHalf<'_> {
    #[inline]
    fn socket(&self) -> Socket {
        self.0.0
    }
}

impl Handle for OwnedReadHalf {
    #[inline]
    fn socket(&self) -> Socket {
        self.0.0
    }
}

impl Handle for OwnedWriteHalf {
    #[inline]
    fn socket(&self) -> Socket {
        self.0.0
    }
}

/// What tokio's reading halves can do beside reading.
macro_rules! reading_half {
    ($($half:ty),*) => {$(
        impl $half {
            /// This end's address.
            pub fn local_addr(&self) -> io::Result<SocketAddr> {
                self.socket().local_addr()
            }

            /// The other end's address.
            pub fn peer_addr(&self) -> io::Result<SocketAddr> {
                self.socket().peer_addr()
            }

            /// Waits for data and copies it without taking it.
            pub async fn peek(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
                self.socket().peek(buffer).await
            }

            /// Waits until a read would not block.
            pub async fn readable(&self) -> io::Result<()> {
                self.socket().readable().await
            }

            /// Reads what is there, or fails with `WouldBlock`.
            pub fn try_read(&self, buffer: &mut [u8]) -> io::Result<usize> {
                self.socket().try_read(buffer)
            }
        }
    )*};
}

/// What tokio's writing halves can do beside writing.
macro_rules! writing_half {
    ($($half:ty),*) => {$(
        impl $half {
            /// This end's address.
            pub fn local_addr(&self) -> io::Result<SocketAddr> {
                self.socket().local_addr()
            }

            /// The other end's address.
            pub fn peer_addr(&self) -> io::Result<SocketAddr> {
                self.socket().peer_addr()
            }

            /// Waits until a write would not block.
            pub async fn writable(&self) -> io::Result<()> {
                self.socket().writable().await
            }

            /// Writes what fits, or fails with `WouldBlock`.
            pub fn try_write(&self, buffer: &[u8]) -> io::Result<usize> {
                self.socket().try_write(buffer)
            }
        }
    )*};
}

macro_rules! async_read {
    ($($reader:ty),*) => {$(
        impl AsyncRead for $reader {
            #[inline]
            fn poll_read(
                self: Pin<&mut Self>,
                context: &mut Context<'_>,
                buffer: &mut ReadBuf<'_>,
            ) -> Poll<io::Result<()>> {
                self.socket().poll_read(context, buffer)
            }
        }
    )*};
}

macro_rules! async_write {
    ($($writer:ty),*) => {$(
        impl AsyncWrite for $writer {
            #[inline]
            fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
                self.socket().poll_write(context, &[IoSlice::new(bytes)])
            }

            fn poll_write_vectored(
                self: Pin<&mut Self>,
                context: &mut Context<'_>,
                parts: &[IoSlice<'_>],
            ) -> Poll<io::Result<usize>> {
                self.socket().poll_write(context, parts)
            }

            fn is_write_vectored(&self) -> bool {
                true
            }

            fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
                Poll::Ready(Ok(()))
            }

            fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
                Poll::Ready(self.socket().shutdown())
            }
        }
    )*};
}

reading_half!(ReadHalf<'_>, OwnedReadHalf);
writing_half!(WriteHalf<'_>, OwnedWriteHalf);
async_read!(TcpStream, ReadHalf<'_>, OwnedReadHalf);
async_write!(TcpStream, WriteHalf<'_>, OwnedWriteHalf);

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
