//! Links: latency, cuts, holds and impairments from one machine to another, and TCP's retransmission timeouts.
//!
//! A link is one direction. It takes memory only while it has rules of its own; while no link has, a message costs one
//! latency draw.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use super::Event;
use super::congestion::DUPLICATES;
use super::impairment::Effect;
use crate::kernel::timers::Nanos;
use crate::machine::cluster::Cluster;
use crate::machine::hosts::SCENARIO;
use crate::schema::decision::Stream;
use crate::schema::event::{DeliveryProblem, EventKind};
use crate::schema::segment::Segment;

/// The greatest packet of a path between machines, and within one, in bytes.
const MTU: u64 = 1_500;
const LOOPBACK_MTU: u64 = 65_536;

/// The least MTU over IPv6 (RFC 8200 §5).
const IPV6_MTU_MIN: u64 = 1_280;

/// The headers of a segment: those of IPv4 or IPv6, and of TCP, with timestamps (RFC 7323).
const IPV4_HEADERS: u64 = 20 + 32;
const IPV6_HEADERS: u64 = 40 + 32;

/// A segment on a path between machines that has no MTU of its own, over IPv6: the smaller one.
pub(crate) const SMALL_SEGMENT: u64 = MTU - IPV6_HEADERS;

/// The headers of each packet that a datagram is sent in, and of the datagram.
const PACKET_HEADER: u64 = 20;
const UDP_HEADER: u64 = 8;

/// The longest part of a flight that arrives at once where bandwidth is limited, unless it is sent within a millisecond.
const PART_MAX: u64 = 64 * 1024;

/// The latency within a machine. Its loopback is never cut and never impaired.
const LOOPBACK: Nanos = 10_000;

const SECOND: Nanos = 1_000_000_000;

/// How much later the rest of a flight arrives that was torn.
const SHORT_MAX: Nanos = SECOND / 50;

/// The queueing delay on a link of limited bandwidth above which datagrams are dropped (`latency` in tc-tbf(8)).
const QUEUE_MAX: Nanos = SECOND / 4;

/// Marks a machine's number in the way of a connection whose address it no longer has: nothing gets through there. While there are such
/// connections, it is among the isolated machines, so that no way is plain.
pub(crate) const STRANDED: u32 = 1 << 31;

pub(crate) struct Links {
    /// Minimum and maximum latency of links without their own.
    pub(crate) latency: (Nanos, Nanos),
    /// By (from, to).
    rules: BTreeMap<(u32, u32), Box<LinkRules>>,
    /// How many times each machine is cut off from all others.
    isolated: BTreeMap<u32, u32>,
    /// How many losses of single segments there were.
    segment_losses: u32,
    pub(crate) in_flight_at_cut: InFlightAtCut,
    pub(crate) syn_schedule: SynSchedule,
}

/// What becomes of messages in flight when a cut begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum InFlightAtCut {
    /// They are lost, as when a cable is cut; TCP sends them again after the heal.
    #[default]
    Lost,
    /// They arrive.
    Arrives,
}

#[derive(Default)]
struct LinkRules {
    latency: Option<(Nanos, Nanos)>,
    cuts: u32,
    holds: u32,
    /// Arrival events of held messages, in the order they were sent.
    held: Vec<Event>,
    impairments: Vec<Effect>,
    effect: Effect,
    segment_losses: Vec<NthSegment>,
    /// When the bandwidth is free again.
    busy_until: Nanos,
}

/// A segment to be lost.
struct NthSegment {
    number: u32,
    segment: Segment,
    /// How many of its kind are sent until it was; 0 from then on.
    left: u32,
}

impl LinkRules {
    fn is_plain(&self) -> bool {
        let is_whole = self.impairments.is_empty() && self.segment_losses.is_empty();
        self.latency.is_none() && self.cuts == 0 && self.holds == 0 && is_whole
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Delivery {
    Arrives(Nanos),
    /// Dropped by a cut, random loss or a full queue.
    Lost,
    /// Kept until the link is released.
    Held,
}

/// How a sender finds out that a segment was lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FoundBy {
    Timeout,
    /// Acknowledgements of what came behind it.
    Duplicates,
}

/// The delivery of a flight of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FlightDelivery {
    Arrives(Nanos),
    /// The first `bytes`, if any, arrive at `at`, the rest at `rest_at`.
    Torn {
        bytes: u64,
        at: Nanos,
        rest_at: Nanos,
        /// How the sender found out that the rest was lost at first, if it was.
        loss: Option<FoundBy>,
    },
    /// Nothing gets through for now.
    Stalls,
}

impl Links {
    pub(crate) fn new() -> Self {
        Self {
            latency: (500_000, 2_000_000),
            rules: BTreeMap::new(),
            isolated: BTreeMap::new(),
            segment_losses: 0,
            in_flight_at_cut: InFlightAtCut::default(),
            syn_schedule: SynSchedule::default(),
        }
    }

    /// Changes the rules of a link, and frees them when none is left.
    fn change<R>(&mut self, from: u32, to: u32, change: impl FnOnce(&mut LinkRules) -> R) -> R {
        let rules = self.rules.entry((from, to)).or_default();
        let result = change(rules);
        if rules.is_plain() {
            self.rules.remove(&(from, to));
        }
        result
    }

    /// Sets the latency of a link; `None` for the default one.
    pub(crate) fn set_latency(&mut self, from: u32, to: u32, latency: Option<(Nanos, Nanos)>) {
        self.change(from, to, |rules| rules.latency = latency);
    }

    pub(crate) fn cut(&mut self, from: u32, to: u32) {
        self.change(from, to, |rules| rules.cuts += 1);
    }

    pub(crate) fn heal(&mut self, from: u32, to: u32) {
        self.change(from, to, |rules| rules.cuts -= 1);
    }

    /// Cuts a machine off from all others but the scenario, including machines made later.
    pub(crate) fn isolate(&mut self, machine: u32) {
        *self.isolated.entry(machine).or_default() += 1;
    }

    pub(crate) fn rejoin(&mut self, machine: u32) {
        if let Entry::Occupied(mut times) = self.isolated.entry(machine) {
            *times.get_mut() -= 1;
            if *times.get() == 0 {
                times.remove();
            }
        }
    }

    pub(crate) fn hold(&mut self, from: u32, to: u32) {
        self.change(from, to, |rules| rules.holds += 1);
    }

    /// Takes a hold off. The last one returns the held events, in the order they were sent.
    pub(crate) fn release(&mut self, from: u32, to: u32) -> Option<Vec<Event>> {
        self.change(from, to, |rules| {
            rules.holds -= 1;
            (rules.holds == 0).then(|| std::mem::take(&mut rules.held))
        })
    }

    pub(crate) fn hold_event(&mut self, from: u32, to: u32, event: Event) {
        self.change(from, to, |rules| rules.held.push(event));
    }

    pub(crate) fn impair(&mut self, from: u32, to: u32, effect: Effect) {
        self.change(from, to, |rules| {
            rules.impairments.push(effect);
            rules.effect = rules.effect.combined_with(&effect);
        });
    }

    /// Takes one impairment with this effect off.
    pub(crate) fn repair(&mut self, from: u32, to: u32, effect: &Effect) {
        self.change(from, to, |rules| {
            if let Some(index) = rules.impairments.iter().position(|other| other == effect) {
                rules.impairments.remove(index);
                rules.effect =
                    rules.impairments.iter().fold(Effect::default(), |all, one| all.combined_with(one));
            }
        });
    }

    /// Has a link lose the `nth` segment of a kind; the number of that.
    pub(crate) fn lose_segment(&mut self, from: u32, to: u32, segment: Segment, nth: u32) -> u32 {
        self.segment_losses += 1;
        let number = self.segment_losses;
        self.change(from, to, |rules| rules.segment_losses.push(NthSegment { number, segment, left: nth }));
        number
    }

    pub(crate) fn keep_segments(&mut self, from: u32, to: u32, number: u32) {
        self.change(from, to, |rules| rules.segment_losses.retain(|loss| loss.number != number));
    }

    /// A segment is sent. Whether it is one that a rule loses.
    #[inline]
    pub(crate) fn loses(&mut self, from: u32, to: u32, segment: Segment) -> bool {
        !self.is_plain(from, to) && self.loses_by_rules(from, to, segment)
    }

    #[cold]
    fn loses_by_rules(&mut self, from: u32, to: u32, segment: Segment) -> bool {
        let Some(rules) = self.rules.get_mut(&(from, to)) else { return false };
        let mut is_lost = false;
        for loss in rules.segment_losses.iter_mut().filter(|loss| loss.segment == segment && loss.left > 0) {
            loss.left -= 1;
            is_lost |= loss.left == 0;
        }
        is_lost
    }

    /// A flight of so many segments is sent; the first that a rule loses, if any.
    fn loses_of_flight(
        &mut self,
        from: u32,
        to: u32,
        segments: u64,
        (has_bytes, has_fin): (bool, bool),
    ) -> Option<u64> {
        if self.rules.get(&(from, to)).is_none_or(|rules| rules.segment_losses.is_empty()) {
            return None;
        }
        let mut lost = None;
        for index in 0..segments {
            let is_data_lost = has_bytes && self.loses(from, to, Segment::Data);
            let is_fin_lost = has_fin && index + 1 == segments && self.loses(from, to, Segment::Fin);
            if is_data_lost || is_fin_lost {
                lost = lost.or(Some(index));
            }
        }
        lost
    }

    /// Whether a link has no rules: the fast path.
    #[inline]
    pub(crate) fn is_plain(&self, from: u32, to: u32) -> bool {
        (self.rules.is_empty() && self.isolated.is_empty()) || from == to
    }

    /// Whether messages are neither dropped by a cut nor held.
    #[inline]
    pub(crate) fn is_clear(&self, from: u32, to: u32) -> bool {
        self.is_plain(from, to) || !(self.is_cut(from, to) || self.is_held(from, to))
    }

    /// The minimum latency; `None` if the link is cut or held.
    #[inline]
    pub(crate) fn min_latency_if_clear(&self, from: u32, to: u32) -> Option<Nanos> {
        if from == to {
            Some(LOOPBACK)
        } else if self.is_plain(from, to) {
            Some(self.latency.0)
        } else {
            self.min_latency_by_rules(from, to)
        }
    }

    #[cold]
    fn min_latency_by_rules(&self, from: u32, to: u32) -> Option<Nanos> {
        self.is_clear(from, to).then(|| self.range(from, to).0)
    }

    /// Whether the link is not cut; it may be held.
    #[inline]
    pub(crate) fn is_open(&self, from: u32, to: u32) -> bool {
        self.is_plain(from, to) || !self.is_cut(from, to)
    }

    #[cold]
    fn is_cut(&self, from: u32, to: u32) -> bool {
        if (from | to) & STRANDED != 0 {
            return true;
        }
        let is_isolated = self.isolated.contains_key(&from) || self.isolated.contains_key(&to);
        (is_isolated && from != SCENARIO && to != SCENARIO)
            || self.rules.get(&(from, to)).is_some_and(|rules| rules.cuts > 0)
    }

    fn is_held(&self, from: u32, to: u32) -> bool {
        self.rules.get(&(from, to)).is_some_and(|rules| rules.holds > 0)
    }

    #[inline]
    pub(crate) fn effect(&self, from: u32, to: u32) -> Option<&Effect> {
        if self.is_plain(from, to) { None } else { self.rules.get(&(from, to)).map(|rules| &rules.effect) }
    }

    /// The most bytes in a segment from one machine to another.
    #[inline]
    pub(crate) fn segment_size(&self, from: u32, to: u32, is_ipv6: bool) -> u64 {
        let mtu = if from == to { LOOPBACK_MTU } else { self.mtu(from, to) };
        if is_ipv6 { mtu.max(IPV6_MTU_MIN) - IPV6_HEADERS } else { mtu - IPV4_HEADERS }
    }

    #[inline]
    fn mtu(&self, from: u32, to: u32) -> u64 {
        self.effect(from, to).and_then(|effect| effect.mtu).unwrap_or(MTU)
    }

    /// How many bytes of a flight arrive at once: what a limited bandwidth lets through in a millisecond, and at least a segment.
    fn part_size(&self, from: u32, to: u32, segment: u64) -> u64 {
        let rate = self.effect(from, to).and_then(|effect| effect.bandwidth);
        rate.map_or(u64::MAX, |rate| {
            let in_a_milli = u64::try_from(rate / 1_000).unwrap_or(u64::MAX);
            in_a_milli.clamp(segment, PART_MAX)
        })
    }

    /// Minimum and maximum latency, with the delay of impairments.
    #[inline]
    pub(crate) fn range(&self, from: u32, to: u32) -> (Nanos, Nanos) {
        if from == to {
            return (LOOPBACK, LOOPBACK);
        }
        if self.rules.is_empty() {
            return self.latency;
        }
        let Some(rules) = self.rules.get(&(from, to)) else { return self.latency };
        let (min, max) = rules.latency.unwrap_or(self.latency);
        (min + rules.effect.delay.0, max + rules.effect.delay.1)
    }

    /// The number of links with rules and of isolated machines, for leak tests.
    pub(crate) fn len(&self) -> usize {
        self.rules.len() + self.isolated.len()
    }
}

impl Cluster {
    #[inline]
    pub(crate) fn latency(&mut self, from: u32, to: u32) -> Nanos {
        let (min, max) = self.net.links.range(from, to);
        if min == max {
            return min;
        }
        min + self.kernel.draw(Stream::Latency, max - min + 1)
    }

    /// When a flight of a TCP stream arrives on a link without rules.
    #[inline]
    pub(crate) fn plain_delivery(&mut self, from: u32, to: u32) -> Nanos {
        self.sends(from);
        self.kernel.now + self.latency(from, to)
    }

    /// The delivery of a flight of a TCP stream in segments of a size, which may end with a FIN, or of its first bytes: how many, and
    /// when. Random loss delays what follows until its retransmission.
    #[inline]
    pub(crate) fn flight_delivery(
        &mut self,
        (from, to): (u32, u32),
        segment: u64,
        bytes: u64,
        has_fin: bool,
    ) -> (u64, FlightDelivery) {
        if self.net.links.is_plain(from, to) {
            return (bytes, FlightDelivery::Arrives(self.plain_delivery(from, to)));
        }
        self.sends(from & !STRANDED);
        let part = bytes.min(self.net.links.part_size(from, to, segment));
        let has_fin = has_fin && part == bytes;
        (part, self.flight_delivery_by_rules((from, to), segment, (part, has_fin), bytes - part))
    }

    /// Of `bytes` of a flight, which has so many more behind them.
    #[cold]
    fn flight_delivery_by_rules(
        &mut self,
        (from, to): (u32, u32),
        segment: u64,
        (bytes, has_fin): (u64, bool),
        behind: u64,
    ) -> FlightDelivery {
        let Delivery::Arrives(at) = self.delivery_by_rules(from, to, bytes, true) else {
            return FlightDelivery::Stalls;
        };
        let Some(effect) = self.net.links.effect(from, to).copied() else {
            return FlightDelivery::Arrives(at);
        };
        let segments = bytes.div_ceil(segment).max(1);
        let lost = (0..segments).find(|_| self.chance(Stream::Loss, effect.loss_ppm));
        let chosen = self.net.links.loses_of_flight(from, to, segments, (bytes > 0, has_fin));
        if let Some(lost) = lost.into_iter().chain(chosen).min() {
            let behind = segments - lost - 1 + behind.div_ceil(segment);
            return self.recovery((from, to), at, lost * segment, behind);
        }
        if bytes > 1 && self.chance(Stream::Short, effect.short_ppm) {
            let bytes = 1 + self.kernel.draw(Stream::Short, bytes - 1);
            let later = self.kernel.draw(Stream::Short, SHORT_MAX + 1);
            return FlightDelivery::Torn { bytes, at, rest_at: at + later, loss: None };
        }
        FlightDelivery::Arrives(at)
    }

    /// A segment of a flight is lost, behind so many bytes, with so many segments behind it. What comes before it arrives; the others do
    /// when it was sent again: after a round trip if enough came behind it, else after the retransmission timeout.
    fn recovery(&mut self, (from, to): (u32, u32), at: Nanos, bytes: u64, behind: u64) -> FlightDelivery {
        let ppm = self.net.links.effect(from, to).map_or(0, |effect| effect.loss_ppm);
        let is_fast = behind >= DUPLICATES && self.net.links.is_clear(to, from);
        let round_trip = self.net.links.range(from, to).0 + self.net.links.range(to, from).0;
        let mut after = if is_fast { round_trip } else { FIRST_RTO };
        let mut found_by = if is_fast { FoundBy::Duplicates } else { FoundBy::Timeout };
        while self.chance(Stream::Loss, ppm) {
            after = next_retransmission(0, after.max(FIRST_RTO));
            found_by = FoundBy::Timeout;
            if after >= RETRIES_TIMEOUT {
                self.trace_loss(DeliveryProblem::Loss, true);
                return FlightDelivery::Stalls;
            }
        }
        self.trace_delay(after, DeliveryProblem::Loss, true);
        FlightDelivery::Torn { bytes, at, rest_at: at + after, loss: Some(found_by) }
    }

    /// The delivery of a segment without bytes: one of a handshake, or a reset.
    pub(crate) fn segment_delivery(&mut self, from: u32, to: u32, segment: Segment) -> Delivery {
        if self.net.links.loses(from, to, segment) {
            self.sends(from & !STRANDED);
            self.trace_loss(DeliveryProblem::Loss, false);
            return Delivery::Lost;
        }
        self.message_delivery(from, to, 0)
    }

    #[inline]
    pub(crate) fn message_delivery(&mut self, from: u32, to: u32, bytes: u64) -> Delivery {
        self.sends(from & !STRANDED);
        if self.net.links.is_plain(from, to) {
            return Delivery::Arrives(self.kernel.now + self.latency(from, to));
        }
        self.delivery_by_rules(from, to, bytes, false)
    }

    #[cold]
    fn delivery_by_rules(&mut self, from: u32, to: u32, bytes: u64, is_flight: bool) -> Delivery {
        if self.net.links.is_cut(from, to) {
            self.trace_loss(DeliveryProblem::Cut, is_flight);
            return Delivery::Lost;
        }
        if self.net.links.is_held(from, to) {
            if is_flight {
                self.trace_loss(DeliveryProblem::Held, true);
            }
            return Delivery::Held;
        }
        let mut at = self.kernel.now + self.latency(from, to);
        let Some(effect) = self.net.links.effect(from, to).copied() else {
            return Delivery::Arrives(at);
        };
        // A datagram is lost with each of its packets. What a flight loses is sent again.
        let packets = if is_flight {
            0
        } else {
            (bytes + UDP_HEADER).div_ceil(self.net.links.mtu(from, to) - PACKET_HEADER)
        };
        if (0..packets).any(|_| self.chance(Stream::Loss, effect.loss_ppm)) {
            self.trace_loss(DeliveryProblem::Loss, false);
            return Delivery::Lost;
        }
        if self.chance(Stream::Tail, effect.tail_ppm) {
            let tail = self.kernel.draw(Stream::Tail, effect.tail + 1);
            self.trace_delay(tail, DeliveryProblem::Tail, is_flight);
            at += tail;
        }
        if let (Some(rate), Some(rules)) = (effect.bandwidth, self.net.links.rules.get_mut(&(from, to))) {
            let queued = rules.busy_until.saturating_sub(self.kernel.now);
            if !is_flight && queued > QUEUE_MAX {
                self.trace_loss(DeliveryProblem::Narrow, is_flight);
                return Delivery::Lost;
            }
            let delay = queued
                + Nanos::try_from(u128::from(bytes) * u128::from(SECOND) / rate).unwrap_or(RETRIES_TIMEOUT);
            rules.busy_until = self.kernel.now + delay;
            self.trace_delay(delay, DeliveryProblem::Narrow, is_flight);
            at += delay;
        }
        Delivery::Arrives(at)
    }

    /// Draws whether one of `length` bytes is changed on the way: which, and the bits of it that are inverted.
    pub(crate) fn corruption(&mut self, (from, to): (u32, u32), ppm: u32, length: u64) -> Option<(u64, u8)> {
        if length == 0 || !self.chance(Stream::Corruption, ppm) {
            return None;
        }
        let offset = self.kernel.draw(Stream::Corruption, length);
        let change = 1 + self.kernel.draw(Stream::Corruption, 255) as u8;
        self.kernel.note(EventKind::Corrupted { from, to, offset });
        Some((offset, change))
    }

    /// Draws an event with a probability of `ppm` in a million.
    pub(crate) fn chance(&mut self, stream: Stream, ppm: u32) -> bool {
        ppm > 0 && self.kernel.draw(stream, 1_000_000) < u64::from(ppm)
    }
}

/// The first retransmission after `now` of a sender that stalled at `since`. The RTO is 200 ms at first and doubles up
/// to two minutes (RFC 6298 §5.5, with Linux's bounds).
pub(crate) fn next_retransmission(since: Nanos, now: Nanos) -> Nanos {
    let (mut at, mut rto) = (since, FIRST_RTO);
    while at <= now {
        at += rto;
        rto = (rto * 2).min(120 * SECOND);
    }
    at
}

/// The first retransmission timeout on a path of a few milliseconds: Linux's `TCP_RTO_MIN`. After it the congestion window is one
/// segment (RFC 5681 §3.1), so nothing new is sent until an acknowledgement arrives.
pub(crate) const FIRST_RTO: Nanos = SECOND / 5;

/// How long unacknowledged data is retransmitted before `ETIMEDOUT`: 924.6 s, from Linux's `tcp_retries2` of 15
/// (ip-sysctl documentation).
pub(crate) const RETRIES_TIMEOUT: Nanos = 924_600_000_000;

/// The same for an orphaned socket: `tcp_orphan_retries`, 8 by default.
pub(crate) const ORPHAN_RETRIES_TIMEOUT: Nanos = 102_200_000_000;

/// The schedule on which a connect that gets no answer sends its SYN again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SynSchedule {
    /// Linux since 6.5: after 1, 2, 3, 4, 5, 7, 11, 19, 35 and 67 s, with `ETIMEDOUT` after 131 s (`tcp_syn_linear_timeouts` of 4
    /// in the ip-sysctl documentation).
    #[default]
    Linear,
    /// Linux before that: after 1, 3, 7, 15, 31 and 63 s, with `ETIMEDOUT` after 127 s (tcp(7)).
    Exponential,
}

/// The first SYN retransmission after `now` of a connect that began at `since`. It gives up as if SYNs were sent `count` times
/// (`TCP_SYNCNT`) on the exponential schedule, when a timer of its own ends after that (`retransmits_timed_out()`).
///
/// # Errors
/// After the last, the time of `ETIMEDOUT`.
pub(crate) fn next_syn_retransmission(
    schedule: SynSchedule,
    count: u8,
    since: Nanos,
    now: Nanos,
) -> Result<Nanos, Nanos> {
    let linear = match schedule {
        SynSchedule::Linear => 4,
        SynSchedule::Exponential => 0,
    };
    let doubled = count.min(6);
    let end = since + SECOND * ((2 << doubled) - 1 + 120 * Nanos::from(count - doubled));
    let (mut at, mut timeout) = (since, SECOND);
    for sent in 0.. {
        at += timeout;
        if at >= end {
            break;
        }
        if at > now {
            return Ok(at);
        }
        if sent >= linear {
            timeout = (timeout * 2).min(120 * SECOND);
        }
    }
    Err(at)
}

/// The first SYN-ACK retransmission after `now` of a handshake whose SYN arrived at `since`: after 1, 3, 7, 15 and 31 s, as
/// Linux's `tcp_synack_retries` is 5 (tcp(7)).
///
/// # Errors
/// After the last, the time at which the handshake is dropped.
pub(crate) fn next_syn_ack_retransmission(since: Nanos, now: Nanos) -> Result<Nanos, Nanos> {
    let times = (1..=5).map(|attempt| since + ((1 << attempt) - 1) * SECOND);
    times.into_iter().find(|at| *at > now).ok_or(since + 63 * SECOND)
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
    fn a_connect_tries_as_the_kernel_has_it() {
        for (schedule, times, end) in [
            (SynSchedule::Linear, &[1, 2, 3, 4, 5, 7, 11, 19, 35, 67][..], 131),
            (SynSchedule::Exponential, &[1, 3, 7, 15, 31, 63], 127),
        ] {
            let mut at = 5 * SECOND;
            let mut tries = vec![];
            let ends = loop {
                match next_syn_retransmission(schedule, 6, 5 * SECOND, at) {
                    Ok(next) => {
                        at = next;
                        tries.push(next / SECOND - 5);
                    }
                    Err(ends) => break ends,
                }
            };
            assert_eq!((&tries[..], ends / SECOND), (times, end + 5));
        }
    }

    #[test]
    fn a_connect_of_few_syns_gives_up_when_a_timer_ends_after_those() {
        let end = |schedule, count| next_syn_retransmission(schedule, count, 0, 10_000 * SECOND);
        let ends =
            |schedule| [1, 2, 3, 6, 7].map(|count| end(schedule, count).expect_err("long ago") / SECOND);
        assert_eq!(ends(SynSchedule::Linear), [3, 7, 19, 131, 251]);
        assert_eq!(ends(SynSchedule::Exponential), [3, 7, 15, 127, 247]);
    }

    #[test]
    fn two_cuts_on_a_link_need_two_heals() {
        let mut links = Links::new();
        links.cut(1, 2);
        links.cut(1, 2);
        links.heal(1, 2);
        assert!(!links.is_open(1, 2));
        assert!(links.is_open(2, 1), "one direction only");
        links.heal(1, 2);
        assert!(links.is_open(1, 2));
    }

    #[test]
    fn a_direction_without_rules_takes_no_memory() {
        let effect = Effect { loss_ppm: 5, ..Effect::default() };
        let mut links = Links::new();
        links.cut(1, 2);
        links.hold(1, 2);
        links.impair(1, 2, effect);
        links.impair(1, 2, effect);
        links.isolate(3);
        assert_eq!(links.len(), 2);
        links.heal(1, 2);
        links.repair(1, 2, &effect);
        assert_eq!(links.effect(1, 2).expect("one is left").loss_ppm, 5);
        links.repair(1, 2, &effect);
        assert!(links.release(1, 2).expect("the last hold").is_empty());
        links.rejoin(3);
        assert_eq!(links.len(), 0);
    }

    #[test]
    fn an_isolated_machine_is_cut_off_from_all_but_the_scenario() {
        let mut links = Links::new();
        links.isolate(3);
        assert!(!links.is_open(3, 4) && !links.is_open(4, 3));
        assert!(links.is_open(4, 5) && links.is_open(SCENARIO, 3) && links.is_open(3, 3));
    }
}
