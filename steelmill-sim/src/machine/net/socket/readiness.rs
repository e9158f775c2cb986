//! Readiness of sockets: which calls would not wait (poll(2)), and who waits until they would not.

use super::{Kind, Socket};
use crate::kernel::tasks::WaitsFor;
use crate::kernel::waiter::Waiter;
use crate::machine::cluster::Cluster;
use crate::machine::descriptors::{Direction, READABLE, WRITABLE};
use crate::machine::net::connection::{ConnectionId, End, Side, State};

impl Cluster {
    /// Readiness of a TCP socket without a connection: Linux's `tcp_poll()` in `TCP_CLOSE`.
    fn idle_readiness(socket: &Socket) -> i32 {
        let mut ready = WRITABLE | libc::EPOLLHUP;
        if socket.is_read_shut {
            ready |= READABLE | libc::EPOLLRDHUP;
        }
        if socket.error.is_some() {
            ready |= libc::EPOLLERR;
        }
        ready
    }

    /// As poll(2) and Linux's tcp_poll() say it.
    pub(crate) fn socket_readiness(&mut self, socket: Socket) -> u32 {
        let ready = match socket.kind {
            Kind::Fresh if socket.is_udp() => Self::datagram_readiness(&socket),
            Kind::Fresh => Self::idle_readiness(&socket),
            Kind::Listener(id) => match self.net.tcp.listener(id) {
                Some(listener) if !listener.backlog.is_empty() => READABLE,
                Some(listener) if !listener.is_listening => Self::idle_readiness(&socket),
                Some(_) => 0,
                None => libc::EPOLLHUP,
            },
            Kind::Udp(id) => match self.net.udp.get(id) {
                Ok(udp) => {
                    let readable = if udp.queue.is_empty() { 0 } else { READABLE };
                    let failed = if udp.error.is_some() { libc::EPOLLERR } else { 0 };
                    readable | failed | Self::datagram_readiness(&socket)
                }
                Err(_) => libc::EPOLLERR,
            },
            Kind::Stream(id, side) => return self.stream_readiness(id, side),
            Kind::Unix(id) => self.unix_readiness(id),
        };
        ready as u32
    }

    /// Readiness of a datagram socket without what it has received: Linux's `datagram_poll()`.
    fn datagram_readiness(socket: &Socket) -> i32 {
        let ended = if socket.is_read_shut { READABLE | libc::EPOLLRDHUP } else { 0 };
        let hung_up = if socket.is_read_shut && socket.is_write_shut { libc::EPOLLHUP } else { 0 };
        ended | hung_up | WRITABLE | libc::EPOLLWRBAND
    }

    #[inline]
    pub(crate) fn stream_readiness(&mut self, id: ConnectionId, side: Side) -> u32 {
        let now = self.kernel.now;
        let Some(connection) = self.net.tcp.get(id) else {
            return (READABLE | WRITABLE | libc::EPOLLHUP | libc::EPOLLRDHUP) as u32;
        };
        if connection.end(side).state == State::SynSent {
            return 0;
        }
        let (is_readable, is_writable) = (connection.is_readable(side), connection.is_writable(side, now));
        let is_ended = connection.into(side).has_fin_arrived() || connection.end(side).is_read_shut;
        let is_finished = connection.out(side).is_write_shut();
        let end = connection.end(side);
        let (has_error, is_open) = (end.error.is_some(), end.state == State::Established);
        if !is_writable {
            self.await_window(id, side);
        }
        let when = |holds: bool, event: i32| if holds { event } else { 0 };
        let ready = when(is_readable, READABLE)
            | when(is_ended || !is_open, libc::EPOLLRDHUP)
            | when(is_ended && is_finished || !is_open, libc::EPOLLHUP)
            | when(has_error, libc::EPOLLERR)
            | when(is_writable, WRITABLE);
        ready as u32
    }

    /// Has a waiter woken when the readiness of a socket may have changed.
    pub(crate) fn await_socket(&mut self, socket: Socket, waiter: &dyn Fn() -> Waiter) {
        let unneeded = match socket.kind {
            Kind::Fresh => [None, None],
            Kind::Unix(id) => [self.unix_await(id, waiter()), None],
            Kind::Listener(id) => {
                [self.net.tcp.listener(id).and_then(|listener| listener.waiters.add(waiter())), None]
            }
            Kind::Udp(id) => {
                [self.net.udp.get(id).ok().and_then(|socket| socket.waiters.add(waiter())), None]
            }
            Kind::Stream(id, side) => return self.await_stream(id, side, waiter),
        };
        unneeded.into_iter().for_each(|waiter| self.kernel.discard(waiter));
    }

    #[inline]
    pub(crate) fn await_stream(&mut self, id: ConnectionId, side: Side, waiter: impl Fn() -> Waiter) {
        let Some(connection) = self.net.tcp.get(id) else { return };
        let End { readers, writers, .. } = connection.end(side);
        let (reader, writer) = (readers.add(waiter()), writers.add(waiter()));
        self.kernel.discard(reader);
        self.kernel.discard(writer);
    }

    pub(crate) fn note_socket_wait(&mut self, socket: Socket, direction: Direction) {
        self.kernel.waits_for(match (socket.kind, direction) {
            (Kind::Listener(_), _) => WaitsFor::Accept,
            (Kind::Udp(_), Direction::Read) => WaitsFor::Datagram,
            (Kind::Unix(_), _) => WaitsFor::Bytes,
            (_, Direction::Read) => WaitsFor::Read,
            (_, Direction::Write) => WaitsFor::Write,
        });
    }
}
