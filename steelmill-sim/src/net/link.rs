//! Links: how long a message is on its way from one machine to another, and whether it gets there.
//!
//! A pair of machines costs memory only while a rule of its own applies to it.

use std::collections::BTreeMap;

use crate::decisions::Stream;
use crate::run::Run;
use crate::timers::Nanos;

/// The way within a machine: a fixed 10 µs, never cut.
const LOOPBACK: Nanos = 10_000;

const SECOND: Nanos = 1_000_000_000;

pub(crate) struct Links {
    /// Least and greatest latency of a link without a rule.
    pub(crate) latency: (Nanos, Nanos),
    rules: BTreeMap<(u32, u32), (Nanos, Nanos)>,
    /// How many cuts are on a direction.
    cuts: BTreeMap<(u32, u32), u32>,
}

impl Links {
    pub(crate) fn new() -> Self {
        Self { latency: (500_000, 2_000_000), rules: BTreeMap::new(), cuts: BTreeMap::new() }
    }

    pub(crate) fn set(&mut self, from: u32, to: u32, latency: (Nanos, Nanos)) {
        self.rules.insert((from, to), latency);
    }

    pub(crate) fn reset(&mut self, from: u32, to: u32) {
        self.rules.remove(&(from, to));
    }

    pub(crate) fn cut(&mut self, from: u32, to: u32) {
        *self.cuts.entry((from, to)).or_default() += 1;
    }

    pub(crate) fn heal(&mut self, from: u32, to: u32) {
        if let Some(cuts) = self.cuts.get_mut(&(from, to)) {
            *cuts -= 1;
            if *cuts == 0 {
                self.cuts.remove(&(from, to));
            }
        }
    }

    #[inline]
    pub(crate) fn is_open(&self, from: u32, to: u32) -> bool {
        self.cuts.is_empty() || from == to || !self.cuts.contains_key(&(from, to))
    }

    /// Least and greatest latency.
    #[inline]
    pub(crate) fn range(&self, from: u32, to: u32) -> (Nanos, Nanos) {
        if from == to {
            return (LOOPBACK, LOOPBACK);
        }
        if self.rules.is_empty() {
            return self.latency;
        }
        self.rules.get(&(from, to)).copied().unwrap_or(self.latency)
    }
}

impl Run {
    /// How long the next message takes.
    #[inline]
    pub(crate) fn latency(&mut self, from: u32, to: u32) -> Nanos {
        let (least, greatest) = self.net.links.range(from, to);
        if least == greatest {
            return least;
        }
        least + self.draw(Stream::Latency, greatest - least + 1)
    }
}

/// When a sender that has been trying in vain since `since` tries again after `now`: first after 200 ms, then doubling
/// up to two minutes (RFC 6298 §5.5, with Linux's bounds).
pub(crate) fn next_retransmission(since: Nanos, now: Nanos) -> Nanos {
    let (mut at, mut pause) = (since, SECOND / 5);
    while at <= now {
        at += pause;
        pause = (pause * 2).min(120 * SECOND);
    }
    at
}

/// How long unacknowledged data is sent again before the connection fails: Linux's `tcp_retries2` of 15 amounts to
/// 924.6 s (ip-sysctl documentation).
pub(crate) const GIVE_UP: Nanos = 924_600_000_000;

/// When a connect that began at `since` sends its next SYN after `now`: 1, 3, 7, ... 63 s. After the last, the time at
/// which it fails: 127 s. Linux's `tcp_syn_retries` of 6 (tcp(7)).
pub(crate) fn next_syn(since: Nanos, now: Nanos) -> Result<Nanos, Nanos> {
    let tries = (1..=6).map(|attempt| since + ((1 << attempt) - 1) * SECOND);
    tries.into_iter().find(|at| *at > now).ok_or(since + 127 * SECOND)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retransmissions_double_and_then_keep_two_minutes() {
        let times: Vec<Nanos> =
            std::iter::successors(Some(0), |at| Some(next_retransmission(0, *at))).skip(1).take(12).collect();
        let pauses: Vec<Nanos> = times.windows(2).map(|pair| (pair[1] - pair[0]) / 100_000_000).collect();
        assert_eq!(times[0], 200_000_000);
        assert_eq!(pauses, [4, 8, 16, 32, 64, 128, 256, 512, 1024, 1200, 1200]);
    }

    #[test]
    fn a_connect_tries_seven_times_in_127_seconds() {
        let mut at = 5 * SECOND;
        let mut tries = vec![];
        let end = loop {
            match next_syn(5 * SECOND, at) {
                Ok(next) => {
                    at = next;
                    tries.push(next / SECOND - 5);
                }
                Err(end) => break end,
            }
        };
        assert_eq!(tries, [1, 3, 7, 15, 31, 63]);
        assert_eq!(end / SECOND, 132);
    }

    #[test]
    fn two_cuts_on_a_link_need_two_heals() {
        let mut links = Links::new();
        links.cut(1, 2);
        links.cut(1, 2);
        links.heal(1, 2);
        assert!(!links.is_open(1, 2));
        assert!(links.is_open(2, 1), "one way only");
        links.heal(1, 2);
        assert!(links.is_open(1, 2));
    }
}
