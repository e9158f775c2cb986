//! How bytes go from one end to the other: reading, writing, the window, and what stalls when nothing gets through.

use std::io;
use std::net::SocketAddr;

use super::{ConnectionId, Side, State};
use crate::kernel::timers::Nanos;
use crate::machine::cluster::Cluster;
use crate::machine::hosts::Power;
use crate::machine::net::link::{Fate, GIVE_UP, GIVE_UP_CLOSED, next_retransmission};
use crate::machine::net::{Event, address};
use crate::schema::event::EventKind;

/// Data.
impl Cluster {
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
        let now = self.kernel.now;
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
                let Some(takes) = self.net.links.word_takes(to, from) else {
                    pipe.consume_untold(n);
                    return Ok(Some(n));
                };
                let known_at = now + takes;
                pipe.consume(n, now, known_at);
                if pipe.writer_waits && !pipe.window_event {
                    pipe.window_event = true;
                    self.schedule(known_at, Event::Window(id, 1 - side));
                }
            }
            return Ok(Some(n));
        }
        // Where nothing was asked for there has to be something all the same. Who has read to the end has been told
        // everything, and stays there whatever happens afterwards.
        if pipe.readable() > 0 || pipe.is_ended() {
            return Ok(Some(0));
        }
        let end = connection.end(side);
        end.take_error()?;
        Ok((end.state != State::Open).then_some(0))
    }

    /// Takes as much of `parts` as there is room for; `None` when that is nothing.
    #[inline]
    pub(crate) fn tcp_write(
        &mut self,
        id: ConnectionId,
        side: Side,
        parts: &[io::IoSlice<'_>],
    ) -> io::Result<Option<usize>> {
        let now = self.kernel.now;
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
            self.kernel.digest.bytes(part);
            left -= part.len();
        }
        self.kernel.sent(parts, taken);
        self.transmit(id, side);
        Ok(Some(taken))
    }

    /// Whether a write would not block; if it would, the writers will be woken when that has changed.
    pub(crate) fn tcp_is_writable(&mut self, id: ConnectionId, side: Side) -> bool {
        let now = self.kernel.now;
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
        let (from, to) = connection.way(side);
        let pipe = connection.out(side);
        let (known_at, has_event, is_untold) = (pipe.room_at(), pipe.window_event, pipe.is_untold);
        self.net.tcp.enter_waiting(id, side);
        match known_at {
            Some(_) if has_event => {}
            Some(at) => self.open_window(id, side, at),
            None if !self.is_answered(from, to) => self.stall(id, side),
            // The writer asks whether there is room, and is told.
            None if is_untold => {
                let at = self.kernel.now + self.net.links.range(from, to).0;
                self.tell_window(id, side, at);
            }
            None => {}
        }
    }

    fn open_window(&mut self, id: ConnectionId, side: Side, at: Nanos) {
        let Some(connection) = self.net.tcp.get(id) else {
            return;
        };
        connection.out(side).window_event = true;
        self.schedule(at, Event::Window(id, side));
    }

    /// What the reader has taken while it could not tell is told at `at`, and known one latency later.
    fn tell_window(&mut self, id: ConnectionId, side: Side, at: Nanos) {
        let Some(connection) = self.net.tcp.get(id) else {
            return;
        };
        let (from, to) = connection.way(side);
        let known_at = at + self.net.links.range(to, from).0;
        let pipe = self.net.tcp.get(id).expect("looked at above").out(side);
        pipe.is_untold = false;
        pipe.tell(self.kernel.now, known_at);
        if pipe.writer_waits && !pipe.window_event {
            self.open_window(id, side, known_at);
        }
    }

    /// Whether what a machine sends to another is answered.
    fn is_answered(&self, from: u32, to: u32) -> bool {
        let links = &self.net.links;
        links.is_clear(from, to) && links.is_clear(to, from) && self.hosts[to].power != Power::Off
    }

    /// Ends what `side` writes. Where nothing can be written any more this does nothing.
    pub(crate) fn tcp_finish(&mut self, id: ConnectionId, side: Side) {
        let Some(connection) = self.net.tcp.get(id) else {
            return;
        };
        if connection.end(side).state == State::Open {
            connection.out(side).finish();
            self.transmit(id, side);
        }
    }

    /// The other end's address, as long as there is a connection: one that was reset, or has ended both ways and knows
    /// it, is none.
    pub(crate) fn tcp_peer(&mut self, id: ConnectionId, side: Side) -> io::Result<SocketAddr> {
        let now = self.kernel.now;
        let Some(connection) = self.net.tcp.get(id) else {
            return Err(address::os_error(libc::ENOTCONN));
        };
        let ((from, to), peer) = (connection.way(side), connection.addresses(side).peer);
        let (is_open, is_ended) =
            (connection.end(side).state == State::Open, connection.into(side).is_ended());
        let pipe = connection.out(side);
        let end_told = (pipe.is_ended() && pipe.stalled_since.is_none()).then_some(pipe.ended_at);
        let is_told = end_told.is_some_and(|at| at + self.net.links.range(to, from).0 <= now);
        if is_open && !(is_ended && is_told) { Ok(peer) } else { Err(address::os_error(libc::ENOTCONN)) }
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
            Fate::Lost | Fate::Held => {
                self.flight_stalls(id, side);
                return self.stall(id, side);
            }
        };
        let pipe = self.net.tcp.get(id).expect("looked at above").out(side);
        let flight = pipe.send(at);
        if self.kernel.recorder.is_some() {
            self.note_flight(id, side);
        }
        if let Some(at) = flight {
            self.schedule(at, Event::Deliver(id, side));
        }
    }

    /// Nothing gets through, or nothing comes back: it will be tried again, and given up after a while.
    pub(super) fn stall(&mut self, id: ConnectionId, side: Side) {
        let now = self.kernel.now;
        let Some(connection) = self.net.tcp.get(id) else {
            return;
        };
        let patience = match connection.end(side).state {
            State::Open => GIVE_UP,
            State::Closed => GIVE_UP_CLOSED,
            _ => return,
        };
        let pipe = connection.out(side);
        if pipe.stalled_since.is_none() {
            pipe.stalled_since = Some(now);
            self.net.tcp.enter_stalled(id, side);
            self.schedule(now + patience, Event::GiveUp(id, side, now));
        }
    }

    /// A stalled sender tries again: with what was not sent, or with what was not acknowledged, or it asks for room.
    pub(crate) fn retransmit(&mut self, id: ConnectionId, side: Side) {
        let Some(connection) = self.net.tcp.get(id) else {
            return;
        };
        let (from, to) = connection.way(side);
        let is_sending = matches!(connection.end(side).state, State::Open | State::Closed);
        let pipe = connection.out(side);
        if !is_sending || pipe.stalled_since.is_none() {
            return;
        }
        if pipe.has_unsent() {
            return self.transmit(id, side);
        }
        let not_before = pipe.not_before();
        if let Fate::Arrives(at) = self.message_fate(from, to, 0) {
            self.schedule(at.max(not_before), Event::Deliver(id, side));
        }
    }

    /// What `side` has sent arrives.
    pub(crate) fn delivered(&mut self, id: ConnectionId, side: Side) {
        let now = self.kernel.now;
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
        self.kernel.happened_often(|| EventKind::Deliver { connection: id.index, from, to, readable });
        match state {
            State::Open => {}
            State::SynReceived => self.established(id), // any segment completes a handshake
            State::Closed if !brought_bytes => {}
            _ => return self.refuse(id, side),
        }
        if was_stalled || !self.net.links.is_clear(to, from) {
            self.acknowledge(id, side);
        }
        self.wake_readers(id, 1 - side);
    }

    /// What `side` has sent is acknowledged, if that gets back to it.
    #[cold]
    fn acknowledge(&mut self, id: ConnectionId, side: Side) {
        let Some(connection) = self.net.tcp.get(id) else {
            return;
        };
        let (from, to) = connection.way(side);
        let (writer_waits, is_untold) = (connection.out(side).writer_waits, connection.out(side).is_untold);
        if !self.net.links.is_clear(to, from) {
            return self.stall(id, side);
        }
        self.net.tcp.end_stall(id, side);
        if is_untold {
            self.tell_window(id, side, self.kernel.now);
        } else if writer_waits && !self.is_answered(from, to) {
            self.stall(id, side);
        }
    }

    /// What `side` has sent is for a socket that is gone, and is answered with a reset (RFC 9293 §3.10.7.1).
    #[cold]
    fn refuse(&mut self, id: ConnectionId, side: Side) {
        let now = self.kernel.now;
        let is_on_its_way = self.send_reset(id, 1 - side);
        if self.net.tcp.get(id).is_some_and(|connection| connection.end(1 - side).state == State::Closed) {
            self.close_end(id, 1 - side, State::Gone);
        }
        if is_on_its_way {
            return;
        }
        // The answer is lost, so that what was sent will be sent again.
        self.stall(id, side);
        let stalled_since = self.net.tcp.get(id).and_then(|connection| connection.out(side).stalled_since);
        if let Some(since) = stalled_since {
            self.schedule(next_retransmission(since, now), Event::Retransmit(id, side));
        }
    }

    pub(crate) fn window_opens(&mut self, id: ConnectionId, side: Side) {
        let Some(connection) = self.net.tcp.get(id) else {
            return;
        };
        let (from, to) = connection.way(side);
        let pipe = connection.out(side);
        pipe.window_event = false;
        // It had only asked for room, and has heard of it: from here on its patience begins anew.
        let is_answered = !pipe.has_unsent() && self.net.links.is_clear(to, from);
        if is_answered {
            self.net.tcp.end_stall(id, side);
        }
        self.net.tcp.end_wait(id, side);
        self.wake_writers(id, side);
    }

    /// Something between a machine and another, or all others, may not get through any more: a writer that waits for room
    /// will ask for it in vain (RFC 9293 §3.8.6.1).
    pub(crate) fn tcp_cut(&mut self, machine: u32, other: Option<u32>) {
        for (id, side) in self.net.tcp.waiting(machine, other) {
            let connection = self.net.tcp.get(id).expect("listed just now");
            let (from, to) = connection.way(side);
            if connection.out(side).room_at().is_none() && !self.is_answered(from, to) {
                self.stall(id, side);
            }
        }
    }

    pub(crate) fn give_up(&mut self, id: ConnectionId, side: Side, since: Nanos) {
        let Some(connection) = self.net.tcp.get(id) else {
            return;
        };
        if connection.out(side).stalled_since != Some(since) {
            return;
        }
        match connection.end(side).state {
            State::Open => self.break_end(id, side, libc::ETIMEDOUT),
            State::Closed => self.close_end(id, side, State::Gone), // nobody is left to be told
            _ => {}
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
            if (is_healed(from, to) || is_healed(to, from))
                && let Some(since) = connection.out(side).stalled_since
            {
                self.schedule(next_retransmission(since, self.kernel.now), Event::Retransmit(id, side));
            }
        }
    }

    /// A direction was released: what was written meanwhile goes on its way, and what waits for answers gets them.
    pub(crate) fn tcp_released(&mut self, from: u32, to: u32) {
        for (id, side) in self.net.tcp.stalled(from, Some(to)) {
            let Some(connection) = self.net.tcp.get(id) else { continue };
            if connection.way(side) == (from, to) && connection.out(side).has_unsent() {
                self.transmit(id, side);
            } else {
                self.retransmit(id, side); // for the acknowledgements that were held
            }
        }
    }
}
