//! TCP's congestion control (RFC 5681), for a stream that has more in flight than a connection may begin with.
//!
//! Most streams never have: what was written is read before more than the initial window is written. So acknowledgements are
//! counted, each by an event, only while a stream has more than its window beyond what it knows to be read.

use std::collections::VecDeque;

use super::link::{FIRST_RTO, FoundBy};
use crate::kernel::timers::Nanos;

/// The initial window in segments (RFC 6928).
const INITIAL: u64 = 10;

/// That many segments behind a lost one have the sender send it again at once (RFC 5681 §3.2).
pub(crate) const DUPLICATES: u64 = 3;

/// The congestion window of one direction of a connection.
pub(crate) struct Congestion {
    window: u64,
    /// Below it the window doubles in a round trip; above, it grows by a segment.
    threshold: u64,
    /// While acknowledgements are counted: up to where, and which are on their way.
    counted: Option<(u64, VecDeque<(Nanos, u64)>)>,
    last_sent_at: Nanos,
}

pub(crate) fn initial_window(segment: u64) -> u64 {
    INITIAL * segment
}

impl Congestion {
    pub(crate) fn new(segment: u64) -> Self {
        Self { window: initial_window(segment), threshold: u64::MAX, counted: None, last_sent_at: 0 }
    }

    pub(crate) fn window(&self) -> u64 {
        self.window
    }

    pub(crate) fn is_counting(&self) -> bool {
        self.counted.is_some()
    }

    /// Begins to count. Up to `acknowledged` all is; the acknowledgement of what has arrived comes at `pending`. After a pause the
    /// window is the initial one again (RFC 2861).
    pub(crate) fn count(&mut self, acknowledged: u64, pending: (Nanos, u64), now: Nanos, segment: u64) {
        if now > self.last_sent_at + FIRST_RTO {
            self.window = self.window.min(initial_window(segment));
        }
        self.counted = Some((acknowledged, VecDeque::from([pending])));
    }

    /// An acknowledgement was sent, and arrives at `at`.
    pub(crate) fn sends_acknowledgement(&mut self, at: Nanos, upto: u64) {
        if let Some((_, pending)) = &mut self.counted {
            pending.push_back((at, upto));
        }
    }

    /// Takes in the acknowledgements that have arrived, and widens the window.
    pub(crate) fn take_acknowledgements(&mut self, now: Nanos, segment: u64) {
        let Some((acknowledged, pending)) = &mut self.counted else { return };
        while let Some((_, upto)) = pending.pop_front_if(|(at, _)| *at <= now) {
            let new = upto.saturating_sub(*acknowledged);
            *acknowledged += new;
            // The window is one of segments, whole or not.
            self.window += match self.window < self.threshold {
                true => new.next_multiple_of(segment),
                false => segment * new / self.window,
            };
        }
    }

    /// All that has arrived is acknowledged, by a retransmission.
    pub(crate) fn acknowledge_all(&mut self, arrived: u64) {
        if let Some((acknowledged, pending)) = &mut self.counted {
            *acknowledged = arrived.max(*acknowledged);
            pending.clear();
        }
    }

    /// How many bytes may be sent, beyond `sent`.
    pub(crate) fn room(&self, sent: u64) -> u64 {
        let acknowledged = self.counted.as_ref().map_or(sent, |(acknowledged, _)| *acknowledged);
        self.window.saturating_sub(sent.saturating_sub(acknowledged))
    }

    /// A tail loss probe sends the next segment, which the window does not count (RFC 8985 §7.3).
    pub(crate) fn probes(&mut self, segment: u64) {
        self.window += segment;
    }

    pub(crate) fn sends(&mut self, now: Nanos) {
        self.last_sent_at = now;
    }

    /// Stops to count once all that was sent is acknowledged.
    pub(crate) fn rest(&mut self, sent: u64) {
        self.counted.take_if(|(acknowledged, _)| *acknowledged >= sent);
    }

    /// A segment was lost. After a timeout the window is one segment (RFC 5681 §3.1), else half of what it was.
    pub(crate) fn loses(&mut self, found_by: FoundBy, segment: u64) {
        self.threshold = (self.window / 2).max(2 * segment);
        self.window = match found_by {
            FoundBy::Timeout => segment,
            FoundBy::Duplicates => self.threshold,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEGMENT: u64 = 1_000;

    #[test]
    fn the_window_doubles_in_a_round_trip_until_a_loss_and_grows_by_a_segment_then() {
        let mut congestion = Congestion::new(SEGMENT);
        let (mut sent, mut windows) = (0, Vec::new());
        congestion.count(0, (0, 0), 0, SEGMENT);
        for round in 1..=6 {
            sent += congestion.room(sent);
            assert_eq!(congestion.room(sent), 0);
            congestion.sends_acknowledgement(round, sent);
            congestion.take_acknowledgements(round, SEGMENT);
            windows.push(congestion.window() / SEGMENT);
            if round == 3 {
                congestion.loses(FoundBy::Duplicates, SEGMENT);
            }
        }
        assert_eq!(windows, [20, 40, 80, 41, 42, 43]);
        congestion.loses(FoundBy::Timeout, SEGMENT);
        assert_eq!(congestion.window(), SEGMENT);
    }

    #[test]
    fn counting_ends_when_nothing_is_in_flight() {
        let mut congestion = Congestion::new(SEGMENT);
        congestion.count(100, (5, 200), 0, SEGMENT);
        assert_eq!(congestion.room(300), 10 * SEGMENT - 200);
        congestion.take_acknowledgements(5, SEGMENT);
        congestion.rest(300);
        assert!(congestion.is_counting());
        congestion.acknowledge_all(300);
        congestion.rest(300);
        assert!(!congestion.is_counting() && congestion.room(900) >= 10 * SEGMENT);
    }
}
