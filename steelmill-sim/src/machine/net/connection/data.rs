//! TCP data transfer: read, write, flow control by the window, half-close, retransmission and its timeout.

use std::io;
use std::net::SocketAddr;

use super::{Connection, ConnectionId, Side, State};
use crate::kernel::timers::Nanos;
use crate::machine::cluster::Cluster;
use crate::machine::net::link::{
    Delivery, FIRST_RTO, FlightDelivery, FoundBy, InFlightAtCut, ORPHAN_RETRIES_TIMEOUT, RETRIES_TIMEOUT,
    next_retransmission,
};
use crate::machine::net::{Event, address};
use crate::schema::decision::Stream;
use crate::schema::event::{DeliveryProblem, EventKind};
use crate::schema::segment::Segment;

impl Connection {
    /// Whether data for an end is answered with a reset: both its directions were shut down, the own one first (RFC 1122
    /// §4.2.2.13).
    #[inline]
    fn is_deaf(&mut self, side: Side) -> bool {
        let end = self.end(side);
        end.is_read_shut && end.state == State::Established && self.out(side).is_closed_first
    }

    /// When a stalled end gives up. `TCP_USER_TIMEOUT` counts from its first timeout (`retransmits_timed_out()` of Linux).
    fn gives_up_at(&mut self, side: Side) -> Option<Nanos> {
        let (state, user_timeout) = (self.end(side).state, self.options(side).user_timeout());
        let pipe = self.out(side);
        let since = pipe.stalled_since?;
        match (state, user_timeout) {
            (State::Established | State::Orphaned, Some(timeout)) => {
                Some(pipe.resends_from + FIRST_RTO + timeout)
            }
            (State::Established, None) => Some(since + RETRIES_TIMEOUT),
            (State::Orphaned, None) => Some(since + ORPHAN_RETRIES_TIMEOUT),
            _ => None,
        }
    }
}

impl Cluster {
    /// Copies up to `limit` readable bytes; `None` when a read would block. Without `consume` it peeks.
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
                let Some(latency) = self.net.links.min_latency_if_clear(to, from) else {
                    pipe.consume_unadvertised(n);
                    return Ok(Some(n));
                };
                let advertised_at = now + latency;
                pipe.consume(n, now, advertised_at);
                if pipe.is_writer_blocked && !pipe.has_window_update {
                    pipe.has_window_update = true;
                    let writer = connection.other(side);
                    self.schedule(advertised_at, Event::WindowUpdate(id, writer));
                }
            }
            return Ok(Some(n));
        }
        // A read of zero bytes blocks too unless data has arrived. After the FIN a reader gets EOF for good, even if
        // the connection is reset later.
        if pipe.readable() > 0 || pipe.has_fin_arrived() {
            return Ok(Some(0));
        }
        let end = connection.end(side);
        end.take_error()?;
        // A connection that is being made has nothing yet.
        Ok((!matches!(end.state, State::Established | State::SynSent)).then_some(0))
    }

    /// Writes as much of `parts` as the window permits; `None` when a write would block.
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
        let (from, to) = connection.way(side);
        let end = connection.end(side);
        end.take_error()?;
        let state = end.state;
        let pipe = connection.out(side);
        if state == State::SynSent {
            return Ok(None);
        }
        if state != State::Established || pipe.is_write_shut() {
            return Err(address::os_error(libc::EPIPE));
        }
        let wanted: usize = parts.iter().map(|part| part.len()).sum();
        let mut taken = (pipe.usable_window(now) as usize).min(wanted);
        if taken == 0 {
            if wanted == 0 {
                return Ok(Some(0));
            }
            self.await_window(id, side);
            return Ok(None);
        }
        let pipe = if self.net.links.is_plain(from, to) {
            pipe
        } else {
            taken = self.short_write(from, to, taken);
            self.net.tcp.get(id).expect("checked above").out(side)
        };
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

    /// How many bytes a write takes on a link with rules.
    #[cold]
    fn short_write(&mut self, from: u32, to: u32, taken: usize) -> usize {
        let ppm = self.net.links.effect(from, to).map_or(0, |effect| effect.short_ppm);
        match self.chance(Stream::Short, ppm) {
            true => 1 + self.kernel.draw(Stream::Short, taken as u64) as usize,
            false => taken,
        }
    }

    /// Whether a write would not block. If it would, schedules the event that wakes the writers.
    pub(crate) fn tcp_is_writable(&mut self, id: ConnectionId, side: Side) -> bool {
        let now = self.kernel.now;
        let Some(connection) = self.net.tcp.get(id) else {
            return true;
        };
        let is_writable = connection.is_writable(side, now);
        if !is_writable {
            self.await_window(id, side);
        }
        is_writable
    }

    /// Marks the writer of a full pipe as blocked, and schedules the window update that wakes it.
    pub(crate) fn await_window(&mut self, id: ConnectionId, side: Side) {
        let Some(connection) = self.net.tcp.get(id) else {
            return;
        };
        let (from, to) = connection.way(side);
        let pipe = connection.out(side);
        let (advertised_at, has_window_update, is_window_unadvertised) =
            (pipe.next_window_update_at(), pipe.has_window_update, pipe.is_window_unadvertised);
        self.net.tcp.mark_writer_blocked(id, side);
        match advertised_at {
            Some(_) if has_window_update => {}
            Some(at) => self.schedule_window_update(id, side, at),
            None if !self.has_round_trip(from, to) => self.stall(id, side),
            // A window probe, which the reader answers.
            None if is_window_unadvertised => {
                let at = self.kernel.now + self.net.links.range(from, to).0;
                self.advertise_window(id, side, at);
            }
            None => {}
        }
    }

    fn schedule_window_update(&mut self, id: ConnectionId, side: Side, at: Nanos) {
        let Some(connection) = self.net.tcp.get(id) else {
            return;
        };
        connection.out(side).has_window_update = true;
        self.schedule(at, Event::WindowUpdate(id, side));
    }

    /// Sends at `at` the window update that a cut kept back; it arrives one latency later.
    fn advertise_window(&mut self, id: ConnectionId, side: Side, at: Nanos) {
        let Some(connection) = self.net.tcp.get(id) else {
            return;
        };
        let (from, to) = connection.link(side);
        let advertised_at = at + self.net.links.range(to, from).0;
        let pipe = self.net.tcp.get(id).expect("checked above").out(side);
        pipe.is_window_unadvertised = false;
        pipe.advertise(self.kernel.now, advertised_at);
        if pipe.is_writer_blocked && !pipe.has_window_update {
            self.schedule_window_update(id, side, advertised_at);
        }
    }

    /// Whether both directions are clear and the peer has power, so that an acknowledgement would return.
    pub(super) fn has_round_trip(&self, from: u32, to: u32) -> bool {
        let links = &self.net.links;
        links.is_clear(from, to) && links.is_clear(to, from) && self.hosts.silence(to).is_none()
    }

    /// Half-closes the stream that `side` writes (`SHUT_WR`). Does nothing unless the end is established.
    pub(crate) fn tcp_shutdown(&mut self, id: ConnectionId, side: Side) {
        let Some(connection) = self.net.tcp.get(id) else {
            return;
        };
        // A FIN that is to be sent again waits for its timer.
        if connection.end(side).state == State::Established && connection.queue_fin(side) {
            self.transmit(id, side);
        }
    }

    /// Whether both FINs have arrived, and the own one is acknowledged: then Linux has no connection left (`TCP_CLOSE`).
    pub(crate) fn tcp_is_over(&mut self, id: ConnectionId, side: Side) -> bool {
        let now = self.kernel.now;
        let Some(connection) = self.net.tcp.get(id) else {
            return true;
        };
        let (from, to) = connection.link(side);
        let has_fin_arrived = connection.into(side).has_fin_arrived();
        let pipe = connection.out(side);
        let is_acknowledged = pipe.has_fin_arrived() && pipe.stalled_since.is_none();
        let arrived_at = pipe.fin_arrived_at;
        has_fin_arrived && is_acknowledged && arrived_at + self.net.links.range(to, from).0 <= now
    }

    /// The peer's address (getpeername(2)).
    ///
    /// # Errors
    /// `ENOTCONN` before the handshake is done, after a reset, or once both FINs have arrived and the own one is acknowledged.
    pub(crate) fn tcp_peer(&mut self, id: ConnectionId, side: Side) -> io::Result<SocketAddr> {
        let is_over = self.tcp_is_over(id, side);
        match self.net.tcp.get(id) {
            Some(connection) if !is_over => match connection.end(side).state {
                State::Established => Ok(connection.addresses(side).peer),
                _ => Err(address::os_error(libc::ENOTCONN)),
            },
            _ => Err(address::os_error(libc::ENOTCONN)),
        }
    }

    /// Wakes everybody who waits for an end.
    pub(crate) fn tcp_wake(&mut self, id: ConnectionId, side: Side) {
        self.wake_end(id, side);
    }

    /// Sends unsent bytes and a queued FIN as one flight, or stalls. After the first retransmission timeout of a stall nothing
    /// new is sent until it ends.
    #[inline]
    pub(crate) fn transmit(&mut self, id: ConnectionId, side: Side) {
        let now = self.kernel.now;
        let Some(connection) = self.net.tcp.get(id) else {
            return;
        };
        if connection.out(side).stalled_since.is_some() && self.holds_new_data(id, side, now) {
            return;
        }
        self.transmit_unsent(id, side);
    }

    /// Whether nothing new is sent during a stall: after its first retransmission timeout, or as what was lost fills the congestion
    /// window.
    #[cold]
    fn holds_new_data(&mut self, id: ConnectionId, side: Side, now: Nanos) -> bool {
        let Some(connection) = self.net.tcp.get(id) else {
            return true;
        };
        let (from, to) = connection.way(side);
        let segment = self.net.links.segment_size(from, to, connection.is_ipv6);
        let pipe = connection.out(side);
        pipe.has_timed_out(now) || pipe.is_window_lost(segment)
    }

    /// As [`transmit`](Cluster::transmit), whatever timeouts there were.
    #[inline]
    fn transmit_unsent(&mut self, id: ConnectionId, side: Side) {
        let Some(connection) = self.net.tcp.get(id) else {
            return;
        };
        let (from, to) = connection.way(side);
        let pipe = connection.out(side);
        if !pipe.has_unsent() {
            return;
        }
        if !pipe.is_small() || !self.net.links.is_plain(from, to) {
            return self.transmit_in_parts(id, side);
        }
        let unsent = pipe.unsent();
        let at = self.plain_delivery(from, to);
        self.send(id, side, unsent, at);
    }

    /// As much as congestion control lets, in parts if the link has it so.
    #[cold]
    fn transmit_in_parts(&mut self, id: ConnectionId, side: Side) {
        let Some(connection) = self.net.tcp.get(id) else {
            return;
        };
        let (from, to) = connection.way(side);
        let segment = self.net.links.segment_size(from, to, connection.is_ipv6);
        let pipe = connection.out(side);
        let (unsent, is_fin_queued) = (pipe.unsent(), pipe.is_fin_queued());
        let latency_back = self.net.links.range(to, from).0;
        let (room, pending) = pipe.room(self.kernel.now, segment, latency_back);
        if let Some(at) = pending {
            self.schedule(at, Event::Acknowledged(id, side));
        }
        let mut left = match room >= unsent {
            true => unsent,
            // Full segments only, while more is to come.
            false => room - room % segment,
        };
        if left == 0 && unsent > 0 {
            return; // an acknowledgement is on its way
        }
        let has_fin = is_fin_queued && left == unsent;
        loop {
            let (bytes, delivery) = self.flight_delivery((from, to), segment, left, has_fin);
            match delivery {
                FlightDelivery::Arrives(at) => self.send(id, side, bytes, at),
                FlightDelivery::Torn { bytes: first, at, rest_at, loss } => {
                    if first > 0 {
                        self.send(id, side, first, at);
                    }
                    self.send(id, side, bytes - first, rest_at);
                    if let Some(found_by) = loss {
                        let pipe = self.net.tcp.get(id).expect("checked above").out(side);
                        pipe.loses_segment(found_by, segment);
                    }
                }
                FlightDelivery::Stalls => {
                    self.trace_stalled_flight(id, side);
                    return self.stall(id, side);
                }
            }
            left -= bytes;
            if left == 0 {
                return;
            }
        }
    }

    /// Sends the next bytes of a stream, and its FIN with the last.
    #[inline]
    fn send(&mut self, id: ConnectionId, side: Side, bytes: u64, at: Nanos) {
        let Some(connection) = self.net.tcp.get(id) else {
            return;
        };
        let flight = connection.out(side).send(bytes, at);
        if self.kernel.recorder.is_some() {
            self.trace_flight(id, side);
        }
        if let Some(at) = flight {
            self.schedule(at, Event::Deliver(id, side));
        }
    }

    /// An acknowledgement of what `side` has sent arrives, while they are counted.
    pub(crate) fn acknowledgement_arrives(&mut self, id: ConnectionId, side: Side) {
        let now = self.kernel.now;
        let Some(connection) = self.net.tcp.get(id) else {
            return;
        };
        let (from, to) = connection.link(side);
        if !matches!(connection.end(side).state, State::Established | State::Orphaned) {
            return;
        }
        let segment = self.net.links.segment_size(from, to, connection.is_ipv6);
        if let Some(congestion) = connection.out(side).counting() {
            congestion.take_acknowledgements(now, segment);
            self.transmit(id, side);
        }
        let Some(connection) = self.net.tcp.get(id) else {
            return;
        };
        let pipe = connection.out(side);
        let (sent, has_unsent) = (pipe.sent(), pipe.has_unsent());
        if let Some(congestion) = pipe.counting().filter(|_| !has_unsent) {
            congestion.rest(sent);
        }
    }

    /// Something of `side` has arrived while acknowledgements are counted.
    #[cold]
    fn count_acknowledgement(&mut self, id: ConnectionId, side: Side) {
        let Some(connection) = self.net.tcp.get(id) else {
            return;
        };
        let (from, to) = connection.way(side);
        // One that does not get through has the sender stall.
        let Some(latency) = self.net.links.min_latency_if_clear(to, from) else { return };
        let at = self.kernel.now + latency;
        let pipe = connection.out(side);
        let arrived = pipe.arrived();
        if let Some(congestion) = pipe.counting() {
            congestion.sends_acknowledgement(at, arrived);
            self.schedule(at, Event::Acknowledged(id, side));
        }
    }

    /// Marks `side` as stalled, since what is unsent was lost.
    pub(super) fn stall(&mut self, id: ConnectionId, side: Side) {
        let unsent = self.net.tcp.get(id).map_or(0, |connection| connection.out(side).unsent());
        self.stall_with(id, side, unsent);
    }

    /// Marks `side` as stalled with so many unacknowledged bytes, and schedules when it gives up.
    fn stall_with(&mut self, id: ConnectionId, side: Side, unacknowledged: u64) {
        let now = self.kernel.now;
        let Some(connection) = self.net.tcp.get(id) else {
            return;
        };
        if !matches!(connection.end(side).state, State::Established | State::Orphaned) {
            return;
        }
        let (from, to) = connection.way(side);
        let has_user_timeout = connection.options(side).user_timeout().is_some();
        let segment = self.net.links.segment_size(from, to, connection.is_ipv6);
        let pipe = connection.out(side);
        let is_new = pipe.stalled_since.is_none();
        pipe.stall(now, unacknowledged, segment);
        if is_new {
            self.net.tcp.mark_stalled(id, side);
        }
        if is_new || has_user_timeout {
            self.schedule_giving_up(id, side, now);
        }
    }

    /// Schedules when a stalled end gives up, at `not_before` or later.
    fn schedule_giving_up(&mut self, id: ConnectionId, side: Side, not_before: Nanos) {
        let Some(connection) = self.net.tcp.get(id) else {
            return;
        };
        if let (Some(since), Some(at)) = (connection.out(side).stalled_since, connection.gives_up_at(side)) {
            self.schedule(at.max(not_before), Event::RetriesExhausted(id, side, since));
        }
    }

    /// `TCP_USER_TIMEOUT` was changed. A timer that runs already ends as it would have, and the new value counts then.
    pub(crate) fn tcp_user_timeout_changed(&mut self, id: ConnectionId, side: Side, before: Option<Nanos>) {
        let now = self.kernel.now;
        let Some(connection) = self.net.tcp.get(id) else {
            return;
        };
        let resends_from = connection.out(side).resends_from;
        let ended_before = before.map(|timeout| resends_from + FIRST_RTO + timeout).filter(|end| *end > now);
        let timer_ends = next_retransmission(resends_from, now).min(ended_before.unwrap_or(Nanos::MAX));
        self.schedule_giving_up(id, side, timer_ends);
    }

    /// Retransmits from a stalled end: unsent data, unacknowledged data or a window probe.
    pub(crate) fn retransmit(&mut self, id: ConnectionId, side: Side) {
        let Some(connection) = self.net.tcp.get(id) else {
            return;
        };
        let (from, to) = connection.way(side);
        let is_sending = matches!(connection.end(side).state, State::Established | State::Orphaned);
        let pipe = connection.out(side);
        if !is_sending || pipe.stalled_since.is_none() {
            return;
        }
        if pipe.has_unsent() {
            pipe.acknowledge_all();
            return self.transmit_unsent(id, side);
        }
        let not_before = pipe.not_before();
        if let Delivery::Arrives(at) = self.message_delivery(from, to, 0) {
            let at = at.max(not_before);
            self.net.tcp.get(id).expect("checked above").out(side).probe_due = at;
            self.schedule(at, Event::Deliver(id, side));
        }
    }

    /// A cut begins between `machine` and `other`, or any other machine: what is in flight in a direction that `is_cut` holds of
    /// is lost.
    pub(crate) fn tcp_lose_in_flight(
        &mut self,
        machine: u32,
        other: Option<u32>,
        is_cut: impl Fn(u32, u32) -> bool,
    ) {
        if self.net.links.in_flight_at_cut == InFlightAtCut::Arrives {
            return;
        }
        for (id, own) in self.net.tcp.ends_of(machine) {
            for side in [own, 1 - own] {
                let Some(connection) = self.net.tcp.get(id) else { continue };
                let (from, to) = connection.link(side);
                let is_of_link = other.is_none_or(|other| [from, to].contains(&other)) && from != to;
                if !is_of_link || !is_cut(from, to) || self.net.links.is_open(from, to) {
                    continue;
                }
                self.lose_handshake_segment(id, side);
                let Some(connection) = self.net.tcp.get(id) else { continue };
                if connection.out(side).has_flights() {
                    connection.out(side).lose_flights();
                    self.trace_flights_lost(id, side, DeliveryProblem::Cut);
                    self.stall(id, side);
                }
            }
        }
    }

    /// Data or FIN of `side` arrives at its peer.
    pub(crate) fn segment_arrives(&mut self, id: ConnectionId, side: Side) {
        let now = self.kernel.now;
        let Some(connection) = self.net.tcp.get(id) else {
            return;
        };
        let (from, to) = connection.link(side);
        let way = connection.way(side);
        if self.hosts.silence(to).is_some() {
            connection.out(side).lose_flights();
            return self.stall(id, side);
        }
        let reader = connection.other(side);
        let (state, is_deaf) = (connection.end(reader).state, connection.is_deaf(reader));
        let pipe = connection.out(side);
        // Its flight was lost meanwhile, or another event has delivered it.
        if !pipe.is_due(now) && pipe.probe_due != now {
            return;
        }
        if is_deaf && pipe.has_due_bytes(now) {
            self.fail_end(id, reader, libc::ECONNRESET);
            return self.answer_with_reset(id, side);
        }
        if state == State::Failed {
            let readable = pipe.readable();
            pipe.lose_flights();
            self.kernel.happened_often(|| EventKind::Deliver { connection: id.index, from, to, readable });
            return self.answer_with_reset(id, side);
        }
        // Any segment completes a handshake, if there is room in the backlog.
        if state == State::SynReceived && self.is_backlog_full(id) {
            self.net.tcp.get(id).expect("checked above").out(side).lose_flights();
            self.trace_flights_lost(id, side, DeliveryProblem::Full);
            return self.retransmit_later(id, side);
        }
        let pipe = self.net.tcp.get(id).expect("checked above").out(side);
        let arrived_before = pipe.arrived();
        let has_new_bytes = pipe.deliver(now);
        let pipe = match has_new_bytes && !self.net.links.is_plain(from, to) {
            true => {
                self.corrupt_stream(id, side, arrived_before);
                self.net.tcp.get(id).expect("checked above").out(side)
            }
            false => pipe,
        };
        let (readable, was_stalled) = (pipe.readable(), pipe.stalled_since.is_some());
        let has_fin_come = pipe.has_fin_arrived() && pipe.fin_arrived_at == now;
        if pipe.counting().is_some() {
            self.count_acknowledgement(id, side);
        }
        self.kernel.happened_often(|| EventKind::Deliver { connection: id.index, from, to, readable });
        match state {
            State::Established => {}
            State::SynReceived => self.established(id),
            State::Orphaned if !has_new_bytes => {}
            _ => return self.answer_with_reset(id, side),
        }
        if has_fin_come && !self.net.links.is_plain(to, from) {
            self.lose_last_ack(id, side);
        }
        if was_stalled || !self.net.links.is_clear(way.1, way.0) {
            self.acknowledge(id, side, arrived_before);
        }
        self.wake_readers(id, reader);
    }

    /// The FIN of `side` has arrived. If it is the second, its acknowledgement is the last of the connection; lost, it comes when the FIN
    /// was sent again.
    #[cold]
    fn lose_last_ack(&mut self, id: ConnectionId, side: Side) {
        let Some(connection) = self.net.tcp.get(id) else {
            return;
        };
        let ((from, to), reader) = (connection.link(side), connection.other(side));
        if connection.out(reader).has_fin_arrived() && self.net.links.loses(to, from, Segment::LastAck) {
            self.net.tcp.get(id).expect("checked above").out(side).fin_arrived_at += FIRST_RTO;
        }
    }

    /// Perhaps changes a byte of what has arrived since a position. That is done here, not where it is sent, because what is lost is
    /// sent again as it was.
    #[cold]
    fn corrupt_stream(&mut self, id: ConnectionId, side: Side, since: u64) {
        let Some(connection) = self.net.tcp.get(id) else {
            return;
        };
        let (link, length) = (connection.link(side), connection.out(side).arrived() - since);
        let ppm = self.net.links.effect(link.0, link.1).map_or(0, |effect| effect.stream_corruption_ppm);
        if let Some((offset, change)) = self.corruption(link, ppm, length) {
            self.net.tcp.get(id).expect("checked above").out(side).change_arrived(since + offset, change);
        }
    }

    /// Acknowledges what `side` has sent, or stalls it if the reverse direction is not clear. Before the arrival just now so many
    /// bytes had arrived.
    #[cold]
    fn acknowledge(&mut self, id: ConnectionId, side: Side, arrived_before: u64) {
        let Some(connection) = self.net.tcp.get(id) else {
            return;
        };
        let (from, to) = connection.way(side);
        let (is_writer_blocked, is_window_unadvertised) =
            (connection.out(side).is_writer_blocked, connection.out(side).is_window_unadvertised);
        if !self.net.links.is_clear(to, from) {
            let pipe = connection.out(side);
            let (arrived, was_stalled) = (pipe.arrived() - arrived_before, pipe.stalled_since.is_some());
            self.stall_with(id, side, arrived);
            if !was_stalled {
                self.probe_for_loss(id, side);
            }
            return;
        }
        if connection.out(side).has_timed_out(self.kernel.now) {
            let segment = self.net.links.segment_size(from, to, connection.is_ipv6);
            let pipe = self.net.tcp.get(id).expect("checked above").out(side);
            pipe.acknowledge_all();
            pipe.loses_segment(FoundBy::Timeout, segment);
        }
        self.net.tcp.clear_stalled(id, side);
        self.transmit(id, side); // what was kept back since the first timeout
        if is_window_unadvertised {
            self.advertise_window(id, side, self.kernel.now);
        } else if is_writer_blocked && !self.has_round_trip(from, to) {
            self.stall(id, side);
        }
    }

    /// Sends a segment that congestion control held back as a tail loss probe.
    fn probe_for_loss(&mut self, id: ConnectionId, side: Side) {
        let Some(connection) = self.net.tcp.get(id) else {
            return;
        };
        let (from, to) = connection.way(side);
        let segment = self.net.links.segment_size(from, to, connection.is_ipv6);
        let pipe = connection.out(side);
        if !pipe.has_unsent() {
            return;
        }
        if let Some(congestion) = pipe.counting() {
            congestion.probes(segment);
            self.transmit(id, side);
        }
    }

    /// Answers a segment of `side` for a closed socket with a RST (RFC 9293 §3.10.7.1).
    #[cold]
    fn answer_with_reset(&mut self, id: ConnectionId, side: Side) {
        let Some(connection) = self.net.tcp.get(id) else {
            return;
        };
        let reader = connection.other(side);
        let is_orphaned = connection.end(reader).state == State::Orphaned;
        let is_sent = !connection.is_answered_by_nobody(reader) && self.send_reset(id, reader);
        if is_orphaned {
            self.close_end(id, reader, State::Closed);
        }
        if is_sent {
            return;
        }
        // The RST is lost, so the sender retransmits.
        self.retransmit_later(id, side);
    }

    /// What `side` has sent was dropped by the peer's host, and is to be sent again.
    fn retransmit_later(&mut self, id: ConnectionId, side: Side) {
        let now = self.kernel.now;
        self.stall(id, side);
        let Some(connection) = self.net.tcp.get(id) else { return };
        let pipe = connection.out(side);
        if pipe.stalled_since.is_some() {
            let at = next_retransmission(pipe.resends_from, now);
            self.schedule(at, Event::Retransmit(id, side));
        }
    }

    pub(crate) fn window_update_arrives(&mut self, id: ConnectionId, side: Side) {
        let Some(connection) = self.net.tcp.get(id) else {
            return;
        };
        let (from, to) = connection.way(side);
        let pipe = connection.out(side);
        pipe.has_window_update = false;
        // A window probe was answered, so the next stall starts a new timeout.
        let is_probe_answered = !pipe.has_unsent() && self.net.links.is_clear(to, from);
        if is_probe_answered {
            self.net.tcp.clear_stalled(id, side);
        }
        self.net.tcp.clear_writer_blocked(id, side);
        self.wake_writers(id, side);
    }

    /// A cut, hold or power loss between `machine` and `other`, or any other machine: blocked writers stall, because
    /// their window probes get no answer (RFC 9293 §3.8.6.1), and idle ends are watched.
    pub(crate) fn tcp_link_blocked(&mut self, machine: u32, other: Option<u32>) {
        for (id, side) in self.net.tcp.blocked_writers(machine, other) {
            let connection = self.net.tcp.get(id).expect("listed just now");
            let (from, to) = connection.way(side);
            if connection.out(side).next_window_update_at().is_none() && !self.has_round_trip(from, to) {
                self.stall(id, side);
            }
        }
        self.watch_ends(machine, other);
    }

    pub(crate) fn retries_exhausted(&mut self, id: ConnectionId, side: Side, since: Nanos) {
        let Some(connection) = self.net.tcp.get(id) else {
            return;
        };
        if connection.out(side).stalled_since != Some(since) {
            return;
        }
        // Perhaps a user timeout was set or taken back meanwhile.
        let is_early = connection.gives_up_at(side).is_some_and(|at| at > self.kernel.now);
        match connection.end(side).state {
            State::Established if is_early => {}
            State::Established => self.fail_end(id, side, libc::ETIMEDOUT),
            State::Orphaned => self.close_end(id, side, State::Closed),
            _ => {}
        }
    }

    /// Schedules retransmission for stalled ends between `machine` and `other`, or any other machine, if `is_healed`
    /// holds for either direction.
    pub(crate) fn tcp_healed(
        &mut self,
        machine: u32,
        other: Option<u32>,
        is_healed: impl Fn(u32, u32) -> bool,
    ) {
        for (id, side) in self.net.tcp.stalled(machine, other) {
            let connection = self.net.tcp.get(id).expect("listed just now");
            let (from, to) = connection.link(side);
            if (is_healed(from, to) || is_healed(to, from)) && connection.out(side).stalled_since.is_some() {
                let at = next_retransmission(connection.out(side).resends_from, self.kernel.now);
                self.schedule(at, Event::Retransmit(id, side));
            }
        }
    }

    /// A held direction was released: sends what was written during the hold, without waiting for the RTO.
    pub(crate) fn tcp_released(&mut self, from: u32, to: u32) {
        for (id, side) in self.net.tcp.stalled(from, Some(to)) {
            let Some(connection) = self.net.tcp.get(id) else { continue };
            if connection.link(side) == (from, to) && connection.out(side).has_unsent() {
                self.transmit_unsent(id, side);
            } else {
                self.retransmit(id, side); // provokes the acknowledgements that were held
            }
        }
    }
}
