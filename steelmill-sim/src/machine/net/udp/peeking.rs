//! tokio's peek family of a UDP socket, and its readiness by interest.

use std::io;
use std::net::SocketAddr;
use std::task::{Context, Poll};

use tokio::io::{Interest, ReadBuf, Ready};

use super::UdpSocket;
use crate::kernel::waiter::Waiter;
use crate::machine::net::{poll_of, until};

impl UdpSocket {
    /// Waits for a datagram and copies it; it stays in the receive buffer. Bytes beyond the buffer are left out.
    ///
    /// # Cancellation
    /// Dropping the future changes nothing.
    pub async fn peek(&self, buffer: &mut [u8]) -> io::Result<usize> {
        self.peek_from(buffer).await.map(|(n, _)| n)
    }

    /// Copies a datagram, which stays in the receive buffer, without waiting.
    ///
    /// # Errors
    /// `WouldBlock` when there is none.
    pub fn try_peek(&self, buffer: &mut [u8]) -> io::Result<usize> {
        self.try_peek_from(buffer).map(|(n, _)| n)
    }

    /// Waits for a datagram, which stays in the receive buffer, and returns its sender.
    pub async fn peek_sender(&self) -> io::Result<SocketAddr> {
        self.peek_from(&mut []).await.map(|(_, sender)| sender)
    }

    /// The sender of the next datagram, without waiting.
    ///
    /// # Errors
    /// `WouldBlock` when there is none.
    pub fn try_peek_sender(&self) -> io::Result<SocketAddr> {
        self.try_peek_from(&mut []).map(|(_, sender)| sender)
    }

    /// Copies a datagram, which stays in the receive buffer, or registers the waker.
    pub fn poll_peek(&self, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.poll_peek_from(context, buffer).map_ok(drop)
    }

    /// Copies a datagram, which stays in the receive buffer, and returns its sender; or registers the waker.
    pub fn poll_peek_from(
        &self,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<SocketAddr>> {
        self.poll_receive(context, buffer, true)
    }

    /// The sender of the next datagram; or registers the waker.
    pub fn poll_peek_sender(&self, context: &mut Context<'_>) -> Poll<io::Result<SocketAddr>> {
        self.poll_peek_from(context, &mut ReadBuf::new(&mut []))
    }

    /// Receives a datagram from the connected peer, or registers the waker.
    pub fn poll_recv(&self, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.poll_receive(context, buffer, false).map_ok(drop)
    }

    pub(super) fn poll_receive(
        &self,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
        peek: bool,
    ) -> Poll<io::Result<SocketAddr>> {
        let waiter = Waiter::of(context.waker());
        let received = self.receive(waiter, buffer.initialize_unfilled(), peek);
        poll_of(received.map(|received| {
            received.map(|(n, source)| {
                buffer.advance(n);
                source
            })
        }))
    }

    /// Waits until the socket is ready for any part of an interest; for what it is ready. It is always ready to send.
    ///
    /// # Cancellation
    /// Dropping the future changes nothing.
    pub async fn ready(&self, interest: Interest) -> io::Result<Ready> {
        let mut ready = Ready::EMPTY;
        if interest.is_writable() {
            ready |= Ready::WRITABLE;
        } else if interest.is_readable() {
            until(|waiter| self.is_readable(waiter)).await?;
        }
        if interest.is_readable() && self.try_peek_sender().is_ok() {
            ready |= Ready::READABLE;
        }
        Ok(ready)
    }

    /// Calls `operation`, which uses the socket without waiting.
    ///
    /// # Errors
    /// Those of `operation`; `WouldBlock` when it has nothing to do.
    pub fn try_io<R>(&self, _: Interest, operation: impl FnOnce() -> io::Result<R>) -> io::Result<R> {
        operation()
    }

    /// Calls `operation` each time that the socket is ready, until it returns anything but `WouldBlock`.
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
}
