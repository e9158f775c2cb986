//! One direction of a TCP connection: an ordered byte stream with a window, flights and a FIN.
//!
//! Positions count bytes since the connection began: `read <= arrived <= sent <= written`. A read advances the window
//! one latency later. That takes no event: window updates queue as (time, position), and the next write applies them.

use std::collections::VecDeque;

use super::congestion::{Congestion, initial_window};
use super::link::{FIRST_RTO, FoundBy, SMALL_SEGMENT};
use super::queue::Queue;
use crate::kernel::timers::Nanos;

/// The window in bytes that a connection begins with, ahead of the last read position advertised: the socket buffers of both
/// ends.
pub(crate) const WINDOW: u64 = 256 * 1024;

/// To what the window grows for a reader that takes it up in a round trip (`tcp_wmem` in tcp(7)).
const WINDOW_MAX: u64 = 4 * 1024 * 1024;

pub(crate) struct Pipe {
    /// From position `read` to `written`.
    bytes: VecDeque<u8>,
    read: u64,
    arrived: u64,
    sent: u64,
    written: u64,
    flights: Queue<Flight>,
    /// No later flight may arrive before this.
    last_arrival: Nanos,
    fin: FinState,
    advertised_read: u64,
    /// What the writer knows of the window, and what it has grown to.
    window: u64,
    grown_window: u64,
    /// When the last half of a window had been read, and up to where.
    tuned: (Nanos, u64),
    /// From the first time that the initial congestion window was too small.
    congestion: Option<Box<Congestion>>,
    /// When the last bytes arrived.
    arrived_at: Nanos,
    window_updates: Queue<(Nanos, u64)>,
    /// Whether a writer waits for window, and whether the event that wakes it is scheduled.
    pub(crate) is_writer_blocked: bool,
    pub(crate) has_window_update: bool,
    /// When data or its acknowledgement stopped getting through.
    pub(crate) stalled_since: Option<Nanos>,
    /// While it is stalled, the time from which retransmission timeouts count: the first ends `FIRST_RTO` later.
    pub(crate) resends_from: Nanos,
    /// How much it had to send when it stalled last.
    lost: u64,
    /// Whether a read could not advance the window, because the link to the writer was cut or held.
    pub(crate) is_window_unadvertised: bool,
    /// When the FIN that is acknowledged arrived.
    pub(crate) fin_arrived_at: Nanos,
    /// When a retransmission of what has arrived, or a window probe, arrives.
    pub(crate) probe_due: Nanos,
    /// Whether its writer closed it before the other direction had ended (active close).
    pub(crate) is_closed_first: bool,
}

impl Default for Pipe {
    fn default() -> Self {
        Self {
            bytes: VecDeque::new(),
            read: 0,
            arrived: 0,
            sent: 0,
            written: 0,
            flights: Queue::default(),
            last_arrival: 0,
            fin: FinState::Open,
            advertised_read: 0,
            window: WINDOW,
            grown_window: WINDOW,
            tuned: (0, 0),
            congestion: None,
            arrived_at: 0,
            window_updates: Queue::default(),
            is_writer_blocked: false,
            has_window_update: false,
            stalled_since: None,
            lost: 0,
            resends_from: 0,
            is_window_unadvertised: false,
            fin_arrived_at: 0,
            probe_due: 0,
            is_closed_first: false,
        }
    }
}

/// Bytes up to a position, and perhaps the FIN, that arrive together.
struct Flight {
    at: Nanos,
    upto: u64,
    has_fin: bool,
}

/// Bytes written after a position, for a trace.
pub(crate) struct Written {
    pub(crate) bytes: u64,
    /// The position after the last byte.
    pub(crate) upto: u64,
    /// The first bytes, zero-padded.
    pub(crate) start: [u8; 16],
    /// Whether a FIN follows that has not arrived.
    pub(crate) is_fin_pending: bool,
}

#[derive(Default, Clone, Copy, PartialEq, Eq)]
enum FinState {
    #[default]
    Open,
    /// Its writer was shut down before there was a connection: it may not write, and no FIN is sent for that.
    Barred,
    Queued,
    Sent,
    Arrived,
}

impl Pipe {
    /// The usable window at `now`, in bytes (RFC 9293 §3.8.6).
    #[inline]
    pub(crate) fn usable_window(&mut self, now: Nanos) -> u64 {
        while let Some((at, read)) = self.window_updates.front().copied() {
            if at > now {
                break;
            }
            self.advertised_read = read;
            self.window = self.grown_window;
            self.window_updates.pop();
        }
        self.window - (self.written - self.advertised_read)
    }

    pub(crate) fn next_window_update_at(&self) -> Option<Nanos> {
        self.window_updates.front().map(|(at, _)| *at)
    }

    #[inline]
    pub(crate) fn write(&mut self, bytes: &[u8]) {
        self.bytes.extend(bytes);
        self.written += bytes.len() as u64;
    }

    /// Half-closes the stream: a FIN follows the written bytes.
    pub(crate) fn queue_fin(&mut self) {
        if !self.has_fin() {
            self.fin = FinState::Queued;
        }
    }

    /// Ends writing without a FIN.
    pub(crate) fn bar(&mut self) {
        self.fin = FinState::Barred;
    }

    #[inline]
    pub(crate) fn is_write_shut(&self) -> bool {
        self.fin != FinState::Open
    }

    /// Whether a FIN ends it, which may be still to be sent.
    pub(crate) fn has_fin(&self) -> bool {
        !matches!(self.fin, FinState::Open | FinState::Barred)
    }

    /// Whether a FIN is to be sent after what is unsent.
    pub(crate) fn is_fin_queued(&self) -> bool {
        self.fin == FinState::Queued
    }

    #[inline]
    pub(crate) fn has_fin_arrived(&self) -> bool {
        self.fin == FinState::Arrived
    }

    /// Whether bytes or the FIN have not been sent.
    #[inline]
    pub(crate) fn has_unsent(&self) -> bool {
        self.sent < self.written || self.fin == FinState::Queued
    }

    #[inline]
    pub(crate) fn unsent(&self) -> u64 {
        self.written - self.sent
    }

    /// Bytes written after `position`, or after the last one that arrived.
    pub(crate) fn written_after(&self, position: Option<u64>) -> Written {
        let from = position.unwrap_or(self.arrived);
        let mut start = [0; 16];
        let bytes = self.bytes.range((from - self.read) as usize..);
        start.iter_mut().zip(bytes).for_each(|(to, byte)| *to = *byte);
        let is_fin_pending = matches!(self.fin, FinState::Queued | FinState::Sent);
        Written { bytes: self.written - from, upto: self.written, start, is_fin_pending }
    }

    /// Whether all that is unsent fits into the least initial window, whatever was acknowledged: the fast path.
    #[inline]
    pub(crate) fn is_small(&self) -> bool {
        self.written - self.advertised_read <= initial_window(SMALL_SEGMENT) && self.congestion.is_none()
    }

    fn congestion_window(&self, segment: u64) -> u64 {
        self.congestion.as_ref().map_or(initial_window(segment), |congestion| congestion.window())
    }

    /// How many bytes congestion control lets it send; `segment` is the size of one. The second is when the acknowledgement of
    /// what has arrived comes that was not counted so far: then whoever sends less has to look again.
    #[inline]
    pub(crate) fn room(&mut self, now: Nanos, segment: u64, latency_back: Nanos) -> (u64, Option<Nanos>) {
        match self.written - self.advertised_read <= self.congestion_window(segment) {
            true => (u64::MAX, None),
            false => self.counted_room(now, segment, latency_back),
        }
    }

    #[cold]
    fn counted_room(&mut self, now: Nanos, segment: u64, latency_back: Nanos) -> (u64, Option<Nanos>) {
        let congestion = self.congestion.get_or_insert_with(|| Box::new(Congestion::new(segment)));
        let mut pending = None;
        if !congestion.is_counting() {
            let at = self.arrived_at + latency_back;
            pending = (at > now).then_some(at);
            congestion.count(self.advertised_read, (at, self.arrived), now, segment);
        }
        congestion.take_acknowledgements(now, segment);
        congestion.sends(now);
        (congestion.room(self.sent), pending)
    }

    /// The congestion window, if acknowledgements are counted now.
    #[inline]
    pub(crate) fn counting(&mut self) -> Option<&mut Congestion> {
        self.congestion.as_deref_mut().filter(|congestion| congestion.is_counting())
    }

    /// Something sent was lost.
    #[cold]
    pub(crate) fn loses_segment(&mut self, found_by: FoundBy, segment: u64) {
        let congestion = self.congestion.get_or_insert_with(|| Box::new(Congestion::new(segment)));
        congestion.loses(found_by, segment);
    }

    /// Acknowledges what has arrived, whatever acknowledgements were lost.
    pub(crate) fn acknowledge_all(&mut self) {
        let arrived = self.arrived;
        if let Some(congestion) = self.counting() {
            congestion.acknowledge_all(arrived);
        }
    }

    pub(crate) fn arrived(&self) -> u64 {
        self.arrived
    }

    pub(crate) fn arrived_at(&self) -> Nanos {
        self.arrived_at
    }

    pub(crate) fn sent(&self) -> u64 {
        self.sent
    }

    /// Sends the next `bytes`, to arrive at `at` but not before earlier flights, and a FIN with the last. Returns when to schedule
    /// the arrival; `None` if it joins an earlier flight.
    #[inline]
    pub(crate) fn send(&mut self, bytes: u64, at: Nanos) -> Option<Nanos> {
        let at = at.max(self.last_arrival);
        self.last_arrival = at;
        self.sent += bytes;
        let has_fin = self.fin == FinState::Queued && self.sent == self.written;
        if has_fin {
            self.fin = FinState::Sent;
        }
        match self.flights.back_mut() {
            Some(flight) if flight.at == at => {
                flight.upto = self.sent;
                flight.has_fin |= has_fin;
                None
            }
            _ => {
                self.flights.push(Flight { at, upto: self.sent, has_fin });
                Some(at)
            }
        }
    }

    /// Begins a stall, or has what was sent now take part in one. A segment that is alone on its way is sent again after
    /// `FIRST_RTO` as a tail loss probe (RFC 8985 §7), and the timeouts count from there; of several the probe is sent at once.
    pub(crate) fn stall(&mut self, now: Nanos, unacknowledged: u64, segment: u64) {
        self.lost = unacknowledged;
        self.resends_from = match self.stalled_since {
            // The rest of a short write is of the same segment.
            Some(since) if now == since => self.resends_from,
            Some(_) => self.resends_from.min(now),
            None if unacknowledged <= segment => now + FIRST_RTO,
            None => now,
        };
        self.stalled_since.get_or_insert(now);
    }

    /// Whether what was lost when it stalled fills the congestion window.
    pub(crate) fn is_window_lost(&self, segment: u64) -> bool {
        self.lost >= self.congestion_window(segment)
    }

    /// Whether a retransmission timeout has ended since it stalled: then nothing new is sent.
    #[inline]
    pub(crate) fn has_timed_out(&self, now: Nanos) -> bool {
        self.stalled_since.is_some() && now >= self.resends_from + FIRST_RTO
    }

    /// The earliest arrival of the next flight.
    pub(crate) fn not_before(&self) -> Nanos {
        self.last_arrival
    }

    /// Delays later flights until `at`.
    pub(crate) fn hold_until(&mut self, at: Nanos) {
        self.last_arrival = self.last_arrival.max(at);
    }

    /// Takes in the flights due by `now`. Whether they had bytes.
    #[inline]
    pub(crate) fn deliver(&mut self, now: Nanos) -> bool {
        let before = self.arrived;
        self.arrived_at = now;
        while let Some(flight) = self.flights.front() {
            if flight.at > now {
                break;
            }
            self.arrived = flight.upto;
            if flight.has_fin {
                self.fin = FinState::Arrived;
                self.fin_arrived_at = now;
            }
            self.flights.pop();
        }
        self.arrived > before
    }

    /// Inverts bits of a byte that has arrived and was not read.
    pub(crate) fn change_arrived(&mut self, position: u64, change: u8) {
        if let Some(byte) = self.bytes.get_mut((position - self.read) as usize) {
            *byte ^= change;
        }
    }

    /// Whether a flight is due by `now`.
    #[inline]
    pub(crate) fn is_due(&self, now: Nanos) -> bool {
        self.flights.front().is_some_and(|flight| flight.at <= now)
    }

    /// Whether a flight with bytes is due by `now`.
    pub(crate) fn has_due_bytes(&self, now: Nanos) -> bool {
        self.flights.front().is_some_and(|flight| flight.at <= now && flight.upto > self.arrived)
    }

    pub(crate) fn has_flights(&self) -> bool {
        self.flights.front().is_some()
    }

    /// Drops the flights; their bytes and FIN count as unsent again.
    pub(crate) fn lose_flights(&mut self) {
        self.flights.clear();
        self.sent = self.arrived;
        if self.fin == FinState::Sent {
            self.fin = FinState::Queued;
        }
    }

    /// Drops the flights that arrive after `at`.
    pub(crate) fn lose_flights_after(&mut self, at: Nanos) {
        let mut kept = Queue::default();
        self.sent = self.arrived;
        if self.fin == FinState::Sent {
            self.fin = FinState::Queued;
        }
        while let Some(flight) = self.flights.pop().filter(|flight| flight.at <= at) {
            self.sent = flight.upto;
            if flight.has_fin {
                self.fin = FinState::Sent;
            }
            kept.push(flight);
        }
        self.flights = kept;
    }

    #[inline]
    pub(crate) fn readable(&self) -> u64 {
        self.arrived - self.read
    }

    /// The first readable bytes, up to `limit`, as the two slices of a ring buffer.
    #[inline]
    pub(crate) fn front(&self, limit: usize) -> (&[u8], &[u8]) {
        let limit = limit.min(self.readable() as usize);
        let (first, second) = self.bytes.as_slices();
        let first = &first[..first.len().min(limit)];
        (first, &second[..limit - first.len()])
    }

    /// Takes bytes out, and advances the window at `advertised_at`.
    #[inline]
    pub(crate) fn consume(&mut self, n: usize, now: Nanos, advertised_at: Nanos) {
        self.bytes.drain(..n);
        self.read += n as u64;
        if self.read - self.tuned.1 >= self.grown_window / 2 {
            self.tune(now, 2 * (advertised_at - now));
        }
        self.advertise(now, advertised_at);
    }

    /// Half a window was read: if that took a round trip or two, a greater window would not be too much (dynamic right-sizing, as
    /// Linux's `tcp_rcv_space_adjust`).
    #[cold]
    fn tune(&mut self, now: Nanos, round_trip: Nanos) {
        if now - self.tuned.0 <= 2 * round_trip {
            self.grown_window = (2 * self.grown_window).min(WINDOW_MAX);
        }
        self.tuned = (now, self.read);
    }

    #[cold]
    pub(crate) fn consume_unadvertised(&mut self, n: usize) {
        self.bytes.drain(..n);
        self.read += n as u64;
        self.is_window_unadvertised = true;
    }

    /// Queues a window update with the current read position, to arrive at `advertised_at`.
    #[inline]
    pub(crate) fn advertise(&mut self, now: Nanos, advertised_at: Nanos) {
        match self.window_updates.back_mut() {
            Some((at, read)) if *at >= advertised_at => *read = self.read,
            _ => {
                self.usable_window(now); // drops applied updates, so that the queue stays short
                self.window_updates.push((advertised_at, self.read));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pipe: &mut Pipe, now: Nanos) -> Vec<u8> {
        let (a, b) = pipe.front(usize::MAX);
        let bytes = [a, b].concat();
        pipe.consume(bytes.len(), now, now + 10);
        bytes
    }

    #[test]
    fn bytes_come_out_in_order_once_they_have_arrived() {
        let mut pipe = Pipe::default();
        pipe.write(b"ab");
        assert_eq!(pipe.send(2, 10), Some(10));
        pipe.write(b"cd");
        assert_eq!(pipe.send(2, 5), None, "it may not overtake, so it joins the flight");
        assert!(!pipe.deliver(9));
        assert_eq!(pipe.readable(), 0);
        assert!(pipe.deliver(10));
        assert_eq!(read(&mut pipe, 10), b"abcd");
    }

    #[test]
    fn the_writer_learns_of_a_read_one_latency_later() {
        let mut pipe = Pipe::default();
        pipe.write(&vec![0; WINDOW as usize]);
        pipe.send(WINDOW, 1);
        pipe.deliver(1);
        assert_eq!(pipe.usable_window(1), 0);
        assert_eq!(pipe.next_window_update_at(), None);
        pipe.consume(100, 1, 11);
        assert_eq!((pipe.usable_window(10), pipe.next_window_update_at()), (0, Some(11)));
        assert_eq!(pipe.usable_window(11), 100);
    }

    #[test]
    fn a_window_update_can_be_advertised_late() {
        let mut pipe = Pipe::default();
        pipe.write(&vec![0; WINDOW as usize]);
        pipe.send(WINDOW, 1);
        pipe.deliver(1);
        pipe.consume_unadvertised(100);
        assert_eq!(
            (pipe.usable_window(1_000), pipe.next_window_update_at(), pipe.is_window_unadvertised),
            (0, None, true)
        );
        pipe.advertise(1_000, 1_010);
        assert_eq!((pipe.usable_window(1_009), pipe.usable_window(1_010)), (0, 100));
    }

    #[test]
    fn the_queue_of_window_updates_stays_short() {
        let mut pipe = Pipe::default();
        for now in 0..10_000 {
            pipe.write(b"x");
            pipe.send(1, now);
            pipe.deliver(now);
            pipe.consume(1, now, now + 10);
        }
        assert!(pipe.window_updates.len() <= 11, "{}", pipe.window_updates.len());
    }

    #[test]
    fn the_end_comes_after_the_bytes_and_is_sent_again_when_lost() {
        let mut pipe = Pipe::default();
        pipe.write(b"last");
        pipe.queue_fin();
        pipe.send(4, 5);
        pipe.lose_flights();
        assert!(pipe.has_unsent());
        pipe.send(4, 20);
        assert!(pipe.deliver(20));
        assert!(pipe.has_fin_arrived());
        assert_eq!(read(&mut pipe, 20), b"last");
    }

    #[test]
    fn later_flights_can_be_lost_alone() {
        let mut pipe = Pipe::default();
        pipe.write(b"two parts");
        pipe.queue_fin();
        pipe.send(3, 5);
        pipe.send(6, 9);
        pipe.lose_flights_after(8);
        assert!(pipe.has_unsent() && pipe.unsent() == 6);
        assert!(pipe.deliver(9) && !pipe.has_fin_arrived());
        assert_eq!(read(&mut pipe, 9), b"two");
    }

    #[test]
    fn the_end_goes_with_the_last_byte() {
        let mut pipe = Pipe::default();
        pipe.write(b"two parts");
        pipe.queue_fin();
        pipe.send(3, 5);
        pipe.send(6, 9);
        assert!(pipe.deliver(5) && !pipe.has_fin_arrived());
        assert_eq!(read(&mut pipe, 5), b"two");
        assert!(pipe.deliver(9) && pipe.has_fin_arrived());
        assert_eq!(read(&mut pipe, 9), b" parts");
    }

    #[test]
    fn the_window_grows_for_a_reader_that_takes_it_up() {
        let mut pipe = Pipe::default();
        let run = |pipe: &mut Pipe, half: Nanos, from: Nanos| {
            for number in 1..=4 {
                let now = from + number * half;
                pipe.write(&vec![0; 128 * 1024]);
                pipe.send(128 * 1024, now);
                pipe.deliver(now);
                pipe.consume(128 * 1024, now, now + 10);
            }
            pipe.usable_window(from + 5 * half)
        };
        assert_eq!(run(&mut pipe, 1_000, 0), WINDOW, "a slow reader");
        assert!(run(&mut pipe, 20, 10_000) > WINDOW);
    }
}
