//! A stream taken apart, borrowed or owned, and what all handles to an end share: reading and writing.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::ManuallyDrop;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{Socket, TcpStream, until};
use crate::machine::cluster;

impl TcpStream {
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
        cluster::try_with(socket.run, |run| run.tcp_finish(socket.id, socket.side));
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

            /// Copies data without taking it, or is woken when there is some.
            pub fn poll_peek(
                &mut self,
                context: &mut Context<'_>,
                buffer: &mut ReadBuf<'_>,
            ) -> Poll<io::Result<usize>> {
                self.socket().poll_peek(context, buffer)
            }

            /// Waits until a read would not block.
            pub async fn readable(&self) -> io::Result<()> {
                until(|waiter| self.socket().readable(waiter)).await
            }

            /// Reads what is there, or fails with `WouldBlock`.
            pub fn try_read(&self, buffer: &mut [u8]) -> io::Result<usize> {
                self.socket().try_read(buffer)
            }

            /// Reads what is there into one buffer after the other, or fails with `WouldBlock`.
            pub fn try_read_vectored(&self, buffers: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
                self.socket().try_read_vectored(buffers)
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
                until(|waiter| self.socket().writable(waiter)).await
            }

            /// Writes what fits, or fails with `WouldBlock`.
            pub fn try_write(&self, buffer: &[u8]) -> io::Result<usize> {
                self.socket().try_write(&[IoSlice::new(buffer)])
            }

            /// Writes what fits of one slice after the other, or fails with `WouldBlock`.
            pub fn try_write_vectored(&self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
                self.socket().try_write(parts)
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
                self.socket().shutdown();
                Poll::Ready(Ok(()))
            }
        }
    )*};
}

reading_half!(ReadHalf<'_>, OwnedReadHalf);
writing_half!(WriteHalf<'_>, OwnedWriteHalf);
async_read!(TcpStream, ReadHalf<'_>, OwnedReadHalf);
async_write!(TcpStream, WriteHalf<'_>, OwnedWriteHalf);
