//! Split TCP streams: borrowed and owned read and write halves, and `AsyncRead` and `AsyncWrite` for all handles.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::ManuallyDrop;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf, Ready};

use super::{Socket, TcpStream, until};
use crate::machine::cluster;

impl TcpStream {
    /// Splits into borrowed halves.
    pub fn split(&mut self) -> (ReadHalf<'_>, WriteHalf<'_>) {
        (ReadHalf(self), WriteHalf(self))
    }

    /// Splits into owned halves, which can move to different tasks.
    pub fn into_split(self) -> (OwnedReadHalf, OwnedWriteHalf) {
        let socket = self.0;
        socket.set_handles(2);
        (OwnedReadHalf(ManuallyDrop::new(self)), OwnedWriteHalf(ManuallyDrop::new(TcpStream(socket))))
    }
}

/// The borrowed read half.
#[derive(Debug)]
pub struct ReadHalf<'a>(&'a TcpStream);

/// The borrowed write half. Dropping it does not half-close the stream.
#[derive(Debug)]
pub struct WriteHalf<'a>(&'a TcpStream);

/// The owned read half. The connection closes when both halves are dropped.
#[derive(Debug)]
pub struct OwnedReadHalf(ManuallyDrop<TcpStream>);

/// The owned write half. Dropping it half-closes the stream (`SHUT_WR`).
#[derive(Debug)]
pub struct OwnedWriteHalf(ManuallyDrop<TcpStream>);

/// The error of reuniting halves of different connections; it returns both.
#[derive(Debug, thiserror::Error)]
#[error("the halves are not of one connection")]
pub struct ReuniteError(pub OwnedReadHalf, pub OwnedWriteHalf);

impl OwnedReadHalf {
    /// Joins the two halves of one connection.
    ///
    /// # Errors
    /// Returns halves of different connections unchanged.
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
    /// Joins the two halves of one connection.
    ///
    /// # Errors
    /// Returns halves of different connections unchanged.
    pub fn reunite(self, other: OwnedReadHalf) -> Result<TcpStream, ReuniteError> {
        other.reunite(self)
    }

    /// Drops the half without half-closing the stream.
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
        let socket = self.socket();
        cluster::try_with(socket.run, |run| run.tcp_shutdown(socket.id, socket.side));
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

/// Methods of tokio's read halves beside `AsyncRead`.
macro_rules! reading_half {
    ($($half:ty),*) => {$(
        impl $half {
            /// The local address.
            pub fn local_addr(&self) -> io::Result<SocketAddr> {
                self.socket().local_addr()
            }

            /// The peer's address.
            pub fn peer_addr(&self) -> io::Result<SocketAddr> {
                self.socket().peer_addr()
            }

            /// Waits for data and copies it; it stays in the receive buffer.
            pub async fn peek(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
                self.socket().peek(buffer).await
            }

            /// Copies data, which stays in the receive buffer, or registers the waker.
            pub fn poll_peek(
                &mut self,
                context: &mut Context<'_>,
                buffer: &mut ReadBuf<'_>,
            ) -> Poll<io::Result<usize>> {
                self.socket().poll_peek(context, buffer)
            }

            /// Waits until the stream is ready for any part of an interest; for what it is ready.
            pub async fn ready(&self, interest: Interest) -> io::Result<Ready> {
                self.socket().ready(interest).await
            }

            /// Waits until a read would not block.
            pub async fn readable(&self) -> io::Result<()> {
                until(|waiter| self.socket().readable(waiter)).await
            }

            /// Reads available bytes, or fails with `WouldBlock`.
            pub fn try_read(&self, buffer: &mut [u8]) -> io::Result<usize> {
                self.socket().try_read(buffer)
            }

            /// Reads available bytes into several buffers, or fails with `WouldBlock`.
            pub fn try_read_vectored(&self, buffers: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
                self.socket().try_read_vectored(buffers)
            }
        }
    )*};
}

/// Methods of tokio's write halves beside `AsyncWrite`.
macro_rules! writing_half {
    ($($half:ty),*) => {$(
        impl $half {
            /// The local address.
            pub fn local_addr(&self) -> io::Result<SocketAddr> {
                self.socket().local_addr()
            }

            /// The peer's address.
            pub fn peer_addr(&self) -> io::Result<SocketAddr> {
                self.socket().peer_addr()
            }

            /// Waits until the stream is ready for any part of an interest; for what it is ready.
            pub async fn ready(&self, interest: Interest) -> io::Result<Ready> {
                self.socket().ready(interest).await
            }

            /// Waits until a write would not block.
            pub async fn writable(&self) -> io::Result<()> {
                until(|waiter| self.socket().writable(waiter)).await
            }

            /// Writes as many bytes as the window permits, or fails with `WouldBlock`.
            pub fn try_write(&self, buffer: &[u8]) -> io::Result<usize> {
                self.socket().try_write(&[IoSlice::new(buffer)])
            }

            /// Writes as many bytes of several slices as the window permits, or fails with `WouldBlock`.
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
