//! How bytes go from one end to the other: reading, writing, the window, and what stalls when nothing gets through.

use std::io;

use super::{ConnectionId, Side, State};
use crate::hosts::Power;
use crate::net::link::{Fate, GIVE_UP, next_retransmission};
use crate::net::{Event, address};
use crate::run::Run;
use crate::timers::Nanos;
use crate::trace::What;

/// Data.
impl Run {
    /// Copies out what can be read, `limit` bytes at most; `None` when there is nothing yet. Without `consume` it is
    /// only looked at.
    #[inline]
    pub(crate) fn tcp_read(
        &mut self,
        id: ConnectionId,
        side: Side,
        limit: usize,
        consume: bool,
        copy: impl FnOnce(&[u8], &[u8]),
    ) -> io::Result<Option<usize>> {
        let now = self.now;
        let Some(connection) = self.net.tcp.get(id) else {
            return Err(address::os_error(libc::ENOTCONN));
        };
        let (to, from) = connection.way(side);
        let pipe = connection.into(side);
        let (first, second) = pipe.front(limit);
        let n = first.len() + second.len();
        if n > 0 {
            copy(first, second);
            if consume {
                let known_at = now + self.net.links.range(to, from).0;
                let pipe = self.net.tcp.get(id).expect("looked at above").into(side);
                pipe.consume(n, now, known_at);
                if pipe.writer_waits && !pipe.window_event {
                    pipe.window_event = true;
                    self.schedule(known_at, Event::Window(id, 1 - side));
                }
            }
            return Ok(Some(n));
        }
        if limit == 0 {
            return Ok(Some(0));
        }
        let is_ended = pipe.is_ended();
        let end = connection.end(side);
        end.take_error()?;
        Ok((is_ended || end.state != State::Open).then_some(0))
    }

    /// Takes as much of `parts` as there is room for; `None` when that is nothing.
    #[inline]
    pub(crate) fn tcp_write(
        &mut self,
        id: ConnectionId,
        side: Side,
        parts: &[io::IoSlice<'_>],
    ) -> io::Result<Option<usize>> {
        let now = self.now;
        let Some(connection) = self.net.tcp.get(id) else {
            return Err(address::os_error(libc::EPIPE));
        };
        let end = connection.end(side);
        end.take_error()?;
        let is_open = end.state == State::Open;
        let pipe = connection.out(side);
        if !is_open || pipe.is_finished() {
            return Err(address::os_error(libc::EPIPE));
        }
        let wanted: usize = parts.iter().map(|part| part.len()).sum();
        let taken = (pipe.room(now) as usize).min(wanted);
        if taken == 0 {
            if wanted == 0 {
                return Ok(Some(0));
            }
            self.await_room(id, side);
            return Ok(None);
        }
        let mut left = taken;
        for part in parts {
            let part = &part[..part.len().min(left)];
            pipe.write(part);
            self.digest.bytes(part);
            left -= part.len();
        }
        self.sent(parts, taken);
        self.transmit(id, side);
        Ok(Some(taken))
    }

    /// Whether a write would not block; if it would, the writers will be woken when that has changed.
    pub(crate) fn tcp_is_writable(&mut self, id: ConnectionId, side: Side) -> bool {
        let now = self.now;
        let Some(connection) = self.net.tcp.get(id) else {
            return true;
        };
        let fails = connection.end(side).state != State::Open || connection.out(side).is_finished();
        if fails || connection.out(side).room(now) > 0 {
            return true;
        }
        self.await_room(id, side);
        false
    }

    /// Sees to it that the writers of a full pipe are woken as soon as they learn that something was read.
    fn await_room(&mut self, id: ConnectionId, side: Side) {
        let Some(connection) = self.net.tcp.get(id) else {
            return;
        };
        let pipe = connection.out(side);
        pipe.writer_waits = true;
        if let Some(at) = pipe.room_at().filter(|_| !pipe.window_event) {
            pipe.window_event = true;
            self.schedule(at, Event::Window(id, side));
        }
    }

    /// Ends what `side` writes.
    pub(crate) fn tcp_finish(&mut self, id: ConnectionId, side: Side) -> io::Result<()> {
        let Some(connection) = self.net.tcp.get(id) else {
            return Err(address::os_error(libc::ENOTCONN));
        };
        if connection.end(side).state != State::Open {
            return Err(address::os_error(libc::ENOTCONN));
        }
        connection.out(side).finish();
        self.transmit(id, side);
        Ok(())
    }

    /// Puts what has not been sent on its way, if there is one.
    #[inline]
    pub(crate) fn transmit(&mut self, id: ConnectionId, side: Side) {
        let Some(connection) = self.net.tcp.get(id) else {
            return;
        };
        let (from, to) = connection.way(side);
        let pipe = connection.out(side);
        if !pipe.has_unsent() {
            return;
        }
        let unsent = pipe.unsent();
        let at = match self.flight_fate(from, to, unsent) {
            Fate::Arrives(at) => at,
            Fate::Lost | Fate::Held => return self.stall(id, side),
        };
        let pipe = self.net.tcp.get(id).expect("looked at above").out(side);
        if let Some(at) = pipe.send(at) {
            self.schedule(at, Event::Deliver(id, side));
        }
    }

    /// Nothing gets through: it will be tried again, and given up after a while.
    pub(super) fn stall(&mut self, id: ConnectionId, side: Side) {
        let now = self.now;
        let Some(connection) = self.net.tcp.get(id) else {
            return;
        };
        let pipe = connection.out(side);
        if pipe.stalled_since.is_none() {
            pipe.stalled_since = Some(now);
            self.net.tcp.enter_stalled(id, side);
            self.schedule(now + GIVE_UP, Event::GiveUp(id, side, now));
        }
    }

    /// What `side` has sent arrives.
    pub(crate) fn delivered(&mut self, id: ConnectionId, side: Side) {
        let now = self.now;
        let Some(connection) = self.net.tcp.get(id) else {
            return;
        };
        let (from, to) = connection.way(side);
        if self.hosts[to].power == Power::Off {
            connection.out(side).lose_flights();
            return self.stall(id, side);
        }
        let pipe = connection.out(side);
        let brought_bytes = pipe.deliver(now);
        let (readable, was_stalled) = (pipe.readable(), pipe.stalled_since.is_some());
        let state = connection.end(1 - side).state;
        if was_stalled {
            self.net.tcp.end_stall(id, side);
        }
        self.happened(What::Deliver { connection: id.index, from, to, readable });
        match state {
            State::Open | State::SynReceived => self.wake_readers(id, 1 - side),
            // Data for a socket that is gone is answered with a reset (RFC 9293 §3.10.7.1).
            State::Closed if brought_bytes => self.send_reset(id, 1 - side),
            _ => {}
        }
    }

    pub(crate) fn window_opens(&mut self, id: ConnectionId, side: Side) {
        let Some(connection) = self.net.tcp.get(id) else {
            return;
        };
        connection.out(side).window_event = false;
        connection.out(side).writer_waits = false;
        self.wake_writers(id, side);
    }

    pub(crate) fn give_up(&mut self, id: ConnectionId, side: Side, since: Nanos) {
        let Some(connection) = self.net.tcp.get(id) else {
            return;
        };
        if connection.out(side).stalled_since == Some(since) && connection.end(side).state == State::Open {
            self.break_end(id, side, libc::ETIMEDOUT);
        }
    }

    /// Ways are open again: what stalled on them is sent again when its sender next tries.
    /// These are some of the ways between a machine and another, or all others.
    pub(crate) fn tcp_healed(
        &mut self,
        machine: u32,
        other: Option<u32>,
        is_healed: impl Fn(u32, u32) -> bool,
    ) {
        for (id, side) in self.net.tcp.stalled(machine, other) {
            let connection = self.net.tcp.get(id).expect("listed just now");
            let (from, to) = connection.way(side);
            if is_healed(from, to)
                && let Some(since) = connection.out(side).stalled_since
            {
                self.schedule(next_retransmission(since, self.now), Event::Retransmit(id, side));
            }
        }
    }

    /// A direction was released: what was written meanwhile goes on its way.
    pub(crate) fn tcp_released(&mut self, from: u32, to: u32) {
        for (id, side) in self.net.tcp.stalled(from, Some(to)) {
            if self.net.tcp.get(id).is_some_and(|connection| connection.way(side) == (from, to)) {
                self.transmit(id, side);
            }
        }
    }
}
