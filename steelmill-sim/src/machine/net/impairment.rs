//! What may be wrong with a link that is not cut.

use std::num::NonZeroU64;
use std::time::Duration;

use crate::kernel::timers::{Nanos, nanos};

/// What is wrong with a link: each message may be late, lost, doubled or overtaken, and all of them share what bandwidth
/// there is. Several impairments of one link add up.
///
/// Rates are in parts per million of messages. A message is a datagram, or what one write puts on its way; a lost one of
/// a TCP stream is sent again, at first after 200 ms and then after twice that (RFC 6298), so that to a stream loss is
/// delay. Doubled and overtaken are datagrams only.
///
/// ```
/// use std::time::Duration;
/// use steelmill_sim::Impairment;
///
/// let mobile = Impairment {
///     delay_min: Duration::from_millis(30),
///     delay_max: Duration::from_millis(90),
///     loss_ppm: 20_000,
///     ..Impairment::default()
/// };
/// assert_eq!(mobile.bandwidth, None, "unlimited");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Impairment {
    /// What is added to the latency of every message, drawn anew for each: at least this,
    pub delay_min: Duration,
    /// and at most this.
    pub delay_max: Duration,
    /// How many messages are late beyond that,
    pub tail_ppm: u32,
    /// and by how much at most.
    pub tail_max: Duration,
    /// How many messages are lost.
    pub loss_ppm: u32,
    /// How many datagrams arrive twice, the copy with a latency of its own.
    pub duplication_ppm: u32,
    /// How many datagrams are kept back for up to 20 ms, so that later ones overtake them.
    pub reordering_ppm: u32,
    /// How many bytes of payload get through in a second. A datagram that would wait for its turn for more than 250 ms is
    /// dropped; a stream waits.
    pub bandwidth: Option<NonZeroU64>,
}

impl Impairment {
    /// What it does to a message.
    ///
    /// # Panics
    /// When a delay's least is above its greatest, or a rate above a million.
    pub(crate) fn effect(&self) -> Effect {
        assert!(self.delay_min <= self.delay_max, "a range of delays begins with the least: {self:?}");
        let rates = [self.tail_ppm, self.loss_ppm, self.duplication_ppm, self.reordering_ppm];
        assert!(rates.iter().all(|ppm| *ppm <= MILLION), "more than a million in a million: {self:?}");
        Effect {
            delay: (nanos(self.delay_min), nanos(self.delay_max)),
            tail_ppm: self.tail_ppm,
            tail: nanos(self.tail_max),
            loss_ppm: self.loss_ppm,
            duplication_ppm: self.duplication_ppm,
            reordering_ppm: self.reordering_ppm,
            bandwidth: self.bandwidth.map(|rate| u128::from(rate.get())),
        }
    }
}

const MILLION: u32 = 1_000_000;

/// The same in the units a run counts in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Effect {
    pub(crate) delay: (Nanos, Nanos),
    pub(crate) tail_ppm: u32,
    pub(crate) tail: Nanos,
    pub(crate) loss_ppm: u32,
    pub(crate) duplication_ppm: u32,
    pub(crate) reordering_ppm: u32,
    pub(crate) bandwidth: Option<u128>,
}

impl Effect {
    /// Both at once, independent of each other.
    pub(crate) fn and(&self, other: &Self) -> Self {
        Self {
            delay: (self.delay.0 + other.delay.0, self.delay.1 + other.delay.1),
            tail_ppm: either(self.tail_ppm, other.tail_ppm),
            tail: self.tail.max(other.tail),
            loss_ppm: either(self.loss_ppm, other.loss_ppm),
            duplication_ppm: either(self.duplication_ppm, other.duplication_ppm),
            reordering_ppm: either(self.reordering_ppm, other.reordering_ppm),
            bandwidth: self.bandwidth.into_iter().chain(other.bandwidth).min(),
        }
    }
}

/// How often at least one of two independent things happens.
fn either(a: u32, b: u32) -> u32 {
    let (a, b, million) = (u64::from(a), u64::from(b), u64::from(MILLION));
    (a + b - a * b / million) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_impairments_add_up() {
        let slow = Effect { delay: (1, 5), loss_ppm: 500_000, bandwidth: Some(100), ..Effect::default() };
        let both = slow.and(&Effect { delay: (2, 2), loss_ppm: 500_000, bandwidth: Some(70), ..slow });
        assert_eq!((both.delay, both.loss_ppm, both.bandwidth), ((3, 7), 750_000, Some(70)));
        assert_eq!(slow.and(&Effect::default()), slow);
    }
}
