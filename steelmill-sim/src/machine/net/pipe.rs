//! One direction of a TCP connection: a reliable, ordered pipe of bytes with a window.
//!
//! Positions count bytes since the connection began: `read <= arrived <= sent <= written`. What the reader has taken
//! becomes known to the writer one latency later; that needs no event of its own but a short ledger of (time,
//! position), looked at when the writer writes again.

use std::collections::VecDeque;

use super::queue::Queue;
use crate::kernel::timers::Nanos;

/// How far a writer may be ahead of what it knows to have been read: both ends' socket buffers.
pub(crate) const WINDOW: u64 = 256 * 1024;

#[derive(Default)]
pub(crate) struct Pipe {
    /// The bytes from `read` to `written`.
    bytes: VecDeque<u8>,
    read: u64,
    arrived: u64,
    sent: u64,
    written: u64,
    /// What is on its way.
    flights: Queue<Flight>,
    /// Nothing may arrive before this.
    last_arrival: Nanos,
    end: End,
    known_read: u64,
    ledger: Queue<(Nanos, u64)>,
    /// A writer waits for room, and an event that will wake it is on its way.
    pub(crate) writer_waits: bool,
    pub(crate) window_event: bool,
    /// Since when nothing gets through, or nothing comes back.
    pub(crate) stalled_since: Option<Nanos>,
    /// Whether something was read of which the writer could not be told.
    pub(crate) is_untold: bool,
    /// When the end of the stream arrived.
    pub(crate) ended_at: Nanos,
}

/// When something arrives, up to which position, and whether the end of the stream comes with it.
struct Flight {
    at: Nanos,
    upto: u64,
    end: bool,
}

/// What was written after some position.
pub(crate) struct Written {
    pub(crate) bytes: u64,
    /// The position after the last of them.
    pub(crate) upto: u64,
    /// The first of them; zeros where there are fewer.
    pub(crate) start: [u8; 16],
    /// Whether the end of the stream comes after them, and has not arrived.
    pub(crate) is_ending: bool,
}

/// How far the end of the stream has come.
#[derive(Default, Clone, Copy, PartialEq, Eq)]
enum End {
    #[default]
    Open,
    Asked,
    Sent,
    Arrived,
}

impl Pipe {
    /// How much more may be written at `now`.
    #[inline]
    pub(crate) fn room(&mut self, now: Nanos) -> u64 {
        while let Some((at, read)) = self.ledger.front().copied() {
            if at > now {
                break;
            }
            self.known_read = read;
            self.ledger.pop();
        }
        WINDOW - (self.written - self.known_read)
    }

    /// When the writer will next learn of something read.
    pub(crate) fn room_at(&self) -> Option<Nanos> {
        self.ledger.front().map(|(at, _)| *at)
    }

    #[inline]
    pub(crate) fn write(&mut self, bytes: &[u8]) {
        self.bytes.extend(bytes);
        self.written += bytes.len() as u64;
    }

    /// Ends the stream after what has been written.
    pub(crate) fn finish(&mut self) {
        if self.end == End::Open {
            self.end = End::Asked;
        }
    }

    /// Whether the writer has ended the stream.
    #[inline]
    pub(crate) fn is_finished(&self) -> bool {
        self.end != End::Open
    }

    /// Whether the end of the stream has arrived.
    #[inline]
    pub(crate) fn is_ended(&self) -> bool {
        self.end == End::Arrived
    }

    /// Whether there is something that has not been sent.
    #[inline]
    pub(crate) fn has_unsent(&self) -> bool {
        self.sent < self.written || self.end == End::Asked
    }

    /// How many bytes have not been sent.
    #[inline]
    pub(crate) fn unsent(&self) -> u64 {
        self.written - self.sent
    }

    /// What was written after `position`, or else after what has arrived: for a trace.
    pub(crate) fn written_after(&self, position: Option<u64>) -> Written {
        let from = position.unwrap_or(self.arrived);
        let mut start = [0; 16];
        let bytes = self.bytes.range((from - self.read) as usize..);
        start.iter_mut().zip(bytes).for_each(|(to, byte)| *to = *byte);
        let is_ending = matches!(self.end, End::Asked | End::Sent);
        Written { bytes: self.written - from, upto: self.written, start, is_ending }
    }

    /// Sends all there is, to arrive at `at`, or later if that would overtake. Says when an event is needed; what
    /// joins an earlier flight needs none.
    #[inline]
    pub(crate) fn send(&mut self, at: Nanos) -> Option<Nanos> {
        let at = at.max(self.last_arrival);
        self.last_arrival = at;
        self.sent = self.written;
        let end = self.end == End::Asked;
        if end {
            self.end = End::Sent;
        }
        match self.flights.back_mut() {
            Some(flight) if flight.at == at => {
                flight.upto = self.sent;
                flight.end |= end;
                None
            }
            _ => {
                self.flights.push(Flight { at, upto: self.sent, end });
                Some(at)
            }
        }
    }

    /// The earliest time at which something sent now would not overtake.
    pub(crate) fn not_before(&self) -> Nanos {
        self.last_arrival
    }

    /// Lets nothing arrive before `at`.
    pub(crate) fn hold_until(&mut self, at: Nanos) {
        self.last_arrival = self.last_arrival.max(at);
    }

    /// Takes in what has arrived by `now`. Whether it brought bytes.
    #[inline]
    pub(crate) fn deliver(&mut self, now: Nanos) -> bool {
        let before = self.arrived;
        while let Some(flight) = self.flights.front() {
            if flight.at > now {
                break;
            }
            self.arrived = flight.upto;
            if flight.end {
                self.end = End::Arrived;
                self.ended_at = now;
            }
            self.flights.pop();
        }
        self.arrived > before
    }

    /// What was on its way is lost and has to be sent again.
    pub(crate) fn lose_flights(&mut self) {
        self.flights.clear();
        self.sent = self.arrived;
        if self.end == End::Sent {
            self.end = End::Asked;
        }
    }

    /// How many bytes can be read.
    #[inline]
    pub(crate) fn readable(&self) -> u64 {
        self.arrived - self.read
    }

    /// The first bytes to read, in up to two pieces, `limit` at most.
    #[inline]
    pub(crate) fn front(&self, limit: usize) -> (&[u8], &[u8]) {
        let limit = limit.min(self.readable() as usize);
        let (first, second) = self.bytes.as_slices();
        let first = &first[..first.len().min(limit)];
        (first, &second[..limit - first.len()])
    }

    /// Takes bytes out; the writer knows of it at `known_at`.
    #[inline]
    pub(crate) fn consume(&mut self, n: usize, now: Nanos, known_at: Nanos) {
        self.bytes.drain(..n);
        self.read += n as u64;
        self.tell(now, known_at);
    }

    /// Takes bytes out of which the writer cannot be told for now.
    #[cold]
    pub(crate) fn consume_untold(&mut self, n: usize) {
        self.bytes.drain(..n);
        self.read += n as u64;
        self.is_untold = true;
    }

    /// Lets the writer know at `known_at` what has been read by `now`.
    #[inline]
    pub(crate) fn tell(&mut self, now: Nanos, known_at: Nanos) {
        match self.ledger.back_mut() {
            Some((at, read)) if *at >= known_at => *read = self.read,
            _ => {
                self.room(now); // forgets what is known already, so that the ledger stays short
                self.ledger.push((known_at, self.read));
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
        assert_eq!(pipe.send(5), None, "it may not overtake, so it joins");
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
        assert_eq!(pipe.room(1), 0);
        assert_eq!(pipe.room_at(), None);
        pipe.consume(100, 1, 11);
        assert_eq!((pipe.room(10), pipe.room_at()), (0, Some(11)));
        assert_eq!(pipe.room(11), 100);
    }

    #[test]
    fn the_writer_can_be_told_late_of_a_read() {
        let mut pipe = Pipe::default();
        pipe.write(&vec![0; WINDOW as usize]);
        pipe.send(1);
        pipe.deliver(1);
        pipe.consume_untold(100);
        assert_eq!((pipe.room(1_000), pipe.room_at(), pipe.is_untold), (0, None, true));
        pipe.tell(1_000, 1_010);
        assert_eq!((pipe.room(1_009), pipe.room(1_010)), (0, 100));
    }

    #[test]
    fn the_ledger_stays_short() {
        let mut pipe = Pipe::default();
        for now in 0..10_000 {
            pipe.write(b"x");
            pipe.send(now);
            pipe.deliver(now);
            pipe.consume(1, now, now + 10);
        }
        assert!(pipe.ledger.len() <= 11, "{}", pipe.ledger.len());
    }

    #[test]
    fn the_end_comes_after_the_bytes_and_is_sent_again_when_lost() {
        let mut pipe = Pipe::default();
        pipe.write(b"last");
        pipe.finish();
        pipe.send(5);
        pipe.lose_flights();
        assert!(pipe.has_unsent());
        pipe.send(20);
        assert!(pipe.deliver(20));
        assert!(pipe.is_ended());
        assert_eq!(read(&mut pipe, 20), b"last");
    }
}
