//! Links: how long a message is on its way from one machine to another, and whether it gets there.
//!
//! A direction between two machines costs memory only while something of its own applies to it. While nothing applies
//! anywhere, a message costs one draw of its latency.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use super::Event;
use super::impairment::Effect;
use crate::kernel::timers::Nanos;
use crate::machine::cluster::Cluster;
use crate::machine::hosts::SCENARIO;
use crate::schema::decision::Stream;
use crate::schema::event::DeliveryProblem;

/// The way within a machine: a fixed 10 µs, never cut and never impaired.
const LOOPBACK: Nanos = 10_000;

const SECOND: Nanos = 1_000_000_000;

/// How long datagrams may queue for a link of limited bandwidth before more are dropped: the depth that tc-tbf(8)
/// calls its latency.
const QUEUE_MAX: Nanos = SECOND / 4;

pub(crate) struct Links {
    /// Least and greatest latency of a link without a rule.
    pub(crate) latency: (Nanos, Nanos),
    /// Directions with something of their own.
    ways: BTreeMap<(u32, u32), Box<Way>>,
    /// How many times each machine is cut off from all others.
    isolated: BTreeMap<u32, u32>,
}

/// What applies to one direction.
#[derive(Default)]
struct Way {
    latency: Option<(Nanos, Nanos)>,
    cuts: u32,
    holds: u32,
    /// What was sent while it was held, in that order.
    held: Vec<Event>,
    impairments: Vec<Effect>,
    /// All of them together.
    effect: Effect,
    /// Until when earlier messages take up its bandwidth.
    busy_until: Nanos,
}

impl Way {
    fn is_plain(&self) -> bool {
        self.latency.is_none() && self.cuts == 0 && self.holds == 0 && self.impairments.is_empty()
    }
}

/// What becomes of a message that is sent now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    Arrives(Nanos),
    /// The way is cut, or this message was unlucky.
    Lost,
    /// It waits until the way is released.
    Held,
}

impl Links {
    pub(crate) fn new() -> Self {
        Self { latency: (500_000, 2_000_000), ways: BTreeMap::new(), isolated: BTreeMap::new() }
    }

    /// Changes what applies to a direction, and forgets it when that is nothing any more.
    fn change<R>(&mut self, from: u32, to: u32, change: impl FnOnce(&mut Way) -> R) -> R {
        let way = self.ways.entry((from, to)).or_default();
        let result = change(way);
        if way.is_plain() {
            self.ways.remove(&(from, to));
        }
        result
    }

    /// Sets the latency of a direction; `None` for the common one.
    pub(crate) fn set_latency(&mut self, from: u32, to: u32, latency: Option<(Nanos, Nanos)>) {
        self.change(from, to, |way| way.latency = latency);
    }

    pub(crate) fn cut(&mut self, from: u32, to: u32) {
        self.change(from, to, |way| way.cuts += 1);
    }

    pub(crate) fn heal(&mut self, from: u32, to: u32) {
        self.change(from, to, |way| way.cuts -= 1);
    }

    /// Cuts a machine off from all others but the scenario, those included that are made later.
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
        self.change(from, to, |way| way.holds += 1);
    }

    /// Takes a hold off. When it was the last, what was held comes back, in the order it was sent.
    pub(crate) fn release(&mut self, from: u32, to: u32) -> Option<Vec<Event>> {
        self.change(from, to, |way| {
            way.holds -= 1;
            (way.holds == 0).then(|| std::mem::take(&mut way.held))
        })
    }

    /// Keeps what was sent on a held direction.
    pub(crate) fn keep(&mut self, from: u32, to: u32, event: Event) {
        self.change(from, to, |way| way.held.push(event));
    }

    pub(crate) fn impair(&mut self, from: u32, to: u32, effect: Effect) {
        self.change(from, to, |way| {
            way.impairments.push(effect);
            way.effect = way.effect.and(&effect);
        });
    }

    /// Takes one of its impairments off.
    pub(crate) fn repair(&mut self, from: u32, to: u32, effect: &Effect) {
        self.change(from, to, |way| {
            if let Some(place) = way.impairments.iter().position(|other| other == effect) {
                way.impairments.remove(place);
                way.effect = way.impairments.iter().fold(Effect::default(), |all, one| all.and(one));
            }
        });
    }

    /// Whether nothing applies to a direction but the common latency: nearly always.
    #[inline]
    fn is_plain(&self, from: u32, to: u32) -> bool {
        (self.ways.is_empty() && self.isolated.is_empty()) || from == to
    }

    /// Whether messages get through now.
    #[inline]
    pub(crate) fn is_clear(&self, from: u32, to: u32) -> bool {
        self.is_plain(from, to) || !(self.is_cut(from, to) || self.is_held(from, to))
    }

    /// How long word of something takes at least; `None` when it does not get there.
    #[inline]
    pub(crate) fn word_takes(&self, from: u32, to: u32) -> Option<Nanos> {
        if from == to {
            Some(LOOPBACK)
        } else if self.is_plain(from, to) {
            Some(self.latency.0)
        } else {
            self.word_takes_by_rules(from, to)
        }
    }

    #[cold]
    fn word_takes_by_rules(&self, from: u32, to: u32) -> Option<Nanos> {
        self.is_clear(from, to).then(|| self.range(from, to).0)
    }

    /// Whether messages get through, now or once they are released.
    #[inline]
    pub(crate) fn is_open(&self, from: u32, to: u32) -> bool {
        self.is_plain(from, to) || !self.is_cut(from, to)
    }

    #[cold]
    fn is_cut(&self, from: u32, to: u32) -> bool {
        let is_isolated = self.isolated.contains_key(&from) || self.isolated.contains_key(&to);
        (is_isolated && from != SCENARIO && to != SCENARIO)
            || self.ways.get(&(from, to)).is_some_and(|way| way.cuts > 0)
    }

    fn is_held(&self, from: u32, to: u32) -> bool {
        self.ways.get(&(from, to)).is_some_and(|way| way.holds > 0)
    }

    /// What impairs a direction.
    #[inline]
    pub(crate) fn effect(&self, from: u32, to: u32) -> Option<&Effect> {
        if self.is_plain(from, to) { None } else { self.ways.get(&(from, to)).map(|way| &way.effect) }
    }

    /// Least and greatest latency.
    #[inline]
    pub(crate) fn range(&self, from: u32, to: u32) -> (Nanos, Nanos) {
        if from == to {
            return (LOOPBACK, LOOPBACK);
        }
        if self.ways.is_empty() {
            return self.latency;
        }
        let Some(way) = self.ways.get(&(from, to)) else { return self.latency };
        let (least, greatest) = way.latency.unwrap_or(self.latency);
        (least + way.effect.delay.0, greatest + way.effect.delay.1)
    }

    /// How many rules there are: for tests that none is left.
    pub(crate) fn len(&self) -> usize {
        self.ways.len() + self.isolated.len()
    }
}

impl Cluster {
    /// How long the next message takes.
    #[inline]
    pub(crate) fn latency(&mut self, from: u32, to: u32) -> Nanos {
        let (least, greatest) = self.net.links.range(from, to);
        if least == greatest {
            return least;
        }
        least + self.kernel.draw(Stream::Latency, greatest - least + 1)
    }

    /// What becomes of a flight of a stream's bytes. It is never lost but to a cut: losing it makes it late.
    #[inline]
    pub(crate) fn flight_fate(&mut self, from: u32, to: u32, bytes: u64) -> Fate {
        if self.net.links.is_plain(from, to) {
            return Fate::Arrives(self.kernel.now + self.latency(from, to));
        }
        self.fate_by_rules(from, to, bytes, true)
    }

    /// What becomes of a single message.
    #[inline]
    pub(crate) fn message_fate(&mut self, from: u32, to: u32, bytes: u64) -> Fate {
        if self.net.links.is_plain(from, to) {
            return Fate::Arrives(self.kernel.now + self.latency(from, to));
        }
        self.fate_by_rules(from, to, bytes, false)
    }

    #[cold]
    fn fate_by_rules(&mut self, from: u32, to: u32, bytes: u64, is_flight: bool) -> Fate {
        if self.net.links.is_cut(from, to) {
            self.leaves_in_vain(DeliveryProblem::Cut, is_flight);
            return Fate::Lost;
        }
        if self.net.links.is_held(from, to) {
            if is_flight {
                self.leaves_in_vain(DeliveryProblem::Held, true);
            }
            return Fate::Held;
        }
        let mut at = self.kernel.now + self.latency(from, to);
        let Some(effect) = self.net.links.effect(from, to).copied() else {
            return Fate::Arrives(at);
        };
        let mut since_sent = 0;
        while self.chance(Stream::Loss, effect.loss_ppm) {
            since_sent = next_retransmission(0, since_sent);
            if !is_flight || since_sent >= GIVE_UP {
                self.leaves_in_vain(DeliveryProblem::Loss, is_flight);
                return Fate::Lost;
            }
        }
        self.leaves_late(since_sent, DeliveryProblem::Loss, is_flight);
        at += since_sent;
        if self.chance(Stream::Tail, effect.tail_ppm) {
            let tail = self.kernel.draw(Stream::Tail, effect.tail + 1);
            self.leaves_late(tail, DeliveryProblem::Tail, is_flight);
            at += tail;
        }
        if let (Some(rate), Some(way)) = (effect.bandwidth, self.net.links.ways.get_mut(&(from, to))) {
            let queued = way.busy_until.saturating_sub(self.kernel.now);
            if !is_flight && queued > QUEUE_MAX {
                self.leaves_in_vain(DeliveryProblem::Narrow, is_flight);
                return Fate::Lost;
            }
            let takes =
                queued + Nanos::try_from(u128::from(bytes) * u128::from(SECOND) / rate).unwrap_or(GIVE_UP);
            way.busy_until = self.kernel.now + takes;
            self.leaves_late(takes, DeliveryProblem::Narrow, is_flight);
            at += takes;
        }
        Fate::Arrives(at)
    }

    /// Draws whether something happens that does so that many times in a million.
    pub(crate) fn chance(&mut self, stream: Stream, ppm: u32) -> bool {
        ppm > 0 && self.kernel.draw(stream, 1_000_000) < u64::from(ppm)
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

/// The same for a connection that its program has closed: `tcp_orphan_retries`, 8 by default.
pub(crate) const GIVE_UP_CLOSED: Nanos = 102_200_000_000;

/// For how long a listener's host answers a SYN before it forgets it: Linux's `tcp_synack_retries` of 5 (tcp(7)).
pub(crate) const FORGET_SYN: Nanos = 63 * SECOND;

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
