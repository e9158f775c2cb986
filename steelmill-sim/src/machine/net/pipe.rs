//! One direction of a TCP connection: an ordered byte stream with a window, flights and a FIN.
//!
//! Positions count bytes since the connection began: `read <= arrived <= sent <= written`. A read advances the window
//! one latency later. That takes no event: window updates queue as (time, position), and the next write applies them.

use std::collections::VecDeque;

use super::queue::Queue;
use crate::kernel::timers::Nanos;

/// The window in bytes, ahead of the last read position advertised: the socket buffers of both ends.
pub(crate) const WINDOW: u64 = 256 * 1024;

#[derive(Default)]
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
    window_updates: Queue<(Nanos, u64)>,
    /// Whether a writer waits for window, and whether the event that wakes it is scheduled.
    pub(crate) is_writer_blocked: bool,
    pub(crate) has_window_update: bool,
    /// When data or its acknowledgement stopped getting through.
    pub(crate) stalled_since: Option<Nanos>,
    /// Whether a read could not advance the window, because the link to the writer was cut or held.
    pub(crate) is_window_unadvertised: bool,
    pub(crate) fin_arrived_at: Nanos,
    /// When a retransmission of what has arrived, or a window probe, arrives.
    pub(crate) probe_due: Nanos,
    /// Whether its writer closed it before the other direction had ended (active close).
    pub(crate) is_closed_first: bool,
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
            self.window_updates.pop();
        }
        WINDOW - (self.written - self.advertised_read)
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
        if self.fin == FinState::Open {
            self.fin = FinState::Queued;
        }
    }

    #[inline]
    pub(crate) fn is_write_shut(&self) -> bool {
        self.fin != FinState::Open
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

    /// Sends all unsent bytes, to arrive at `at` but not before earlier flights. Returns when to schedule the arrival;
    /// `None` if it joins an earlier flight.
    #[inline]
    pub(crate) fn send(&mut self, at: Nanos) -> Option<Nanos> {
        let at = at.max(self.last_arrival);
        self.last_arrival = at;
        self.sent = self.written;
        let has_fin = self.fin == FinState::Queued;
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
        self.advertise(now, advertised_at);
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
        assert_eq!(pipe.send(10), Some(10));
        pipe.write(b"cd");
        assert_eq!(pipe.send(5), None, "it may not overtake, so it joins the flight");
        assert!(!pipe.deliver(9));
        assert_eq!(pipe.readable(), 0);
        assert!(pipe.deliver(10));
        assert_eq!(read(&mut pipe, 10), b"abcd");
    }

    #[test]
    fn the_writer_learns_of_a_read_one_latency_later() {
        let mut pipe = Pipe::default();
        pipe.write(&vec![0; WINDOW as usize]);
        pipe.send(1);
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
        pipe.send(1);
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
            pipe.send(now);
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
        pipe.send(5);
        pipe.lose_flights();
        assert!(pipe.has_unsent());
        pipe.send(20);
        assert!(pipe.deliver(20));
        assert!(pipe.has_fin_arrived());
        assert_eq!(read(&mut pipe, 20), b"last");
    }
}
