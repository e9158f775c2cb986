//! Network impairment: delay, loss, duplication, reordering, corruption and bandwidth of a link.

use std::num::{NonZeroU16, NonZeroU64};
use std::time::Duration;

use crate::kernel::timers::{Nanos, nanos};

/// Impairment of a link: extra delay, loss, duplication, reordering and limited bandwidth, like tc-netem(8). Several
/// impairments of one link add up.
///
/// Rates are in parts per million (ppm) of messages. A message is a datagram, or what a stream sends at once. Loss is that of
/// packets: of each part of a datagram, and of each segment of a stream. TCP sends a lost segment again: after a round trip if
/// three more came behind it, else after 200 ms, with backoff (RFC 5681, RFC 6298); so loss delays a stream. Only datagrams are duplicated and
/// reordered.
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
    /// The minimum extra latency, drawn anew for each message.
    pub delay_min: Duration,
    /// The maximum extra latency.
    pub delay_max: Duration,
    /// The rate of messages with tail latency, in ppm.
    pub tail_ppm: u32,
    /// The maximum tail latency, on top of the delay.
    pub tail_max: Duration,
    /// The rate of lost packets, in ppm.
    pub loss_ppm: u32,
    /// The rate of datagrams that arrive twice, in ppm. Each copy draws its own latency.
    pub duplication_ppm: u32,
    /// The rate of reordered datagrams, in ppm: delayed by up to 20 ms, so that later ones overtake them.
    pub reordering_ppm: u32,
    /// The bandwidth in bytes of payload per second; `None` is unlimited. A datagram that would queue for more than
    /// 250 ms is dropped; a stream waits.
    pub bandwidth: Option<NonZeroU64>,
    /// The rate of short transfers of a stream, in ppm: of writes that take only some of the bytes, and of flights that arrive in
    /// two parts, torn at any byte, so that a read ends inside a message.
    pub short_ppm: u32,
    /// The rate of datagrams of which one byte is changed on the way, in ppm, though UDP's checksum fits: what a broken switch does,
    /// and what a sender without checksums gets.
    pub corruption_ppm: u32,
    /// The rate of flights of a stream of which one byte is changed on the way, in ppm, where no checksum sees it. That hardly ever
    /// happens, and most programs rely on that.
    pub stream_corruption_ppm: u32,
    /// The greatest packet in bytes (maximum transmission unit), with its IP header; `None` is 1,500. Of several the least counts. Segments of a stream have 52
    /// bytes less. A longer datagram is sent in several packets, and is lost with any of them.
    pub mtu: Option<NonZeroU16>,
}

impl Impairment {
    /// The impairment in nanoseconds.
    ///
    /// # Panics
    /// When `delay_min` is above `delay_max`, a rate above 1,000,000 ppm, or `mtu` below 68, which all IPv4 networks carry (RFC 791).
    pub(crate) fn effect(&self) -> Effect {
        assert!(self.delay_min <= self.delay_max, "delay_min is above delay_max: {self:?}");
        let rates = [
            self.tail_ppm,
            self.loss_ppm,
            self.duplication_ppm,
            self.reordering_ppm,
            self.short_ppm,
            self.corruption_ppm,
            self.stream_corruption_ppm,
        ];
        assert!(rates.iter().all(|ppm| *ppm <= MILLION), "a rate is above 1,000,000 ppm: {self:?}");
        let mtu = self.mtu.map(|mtu| u64::from(mtu.get()));
        assert!(mtu.is_none_or(|mtu| mtu >= MTU_MIN), "mtu is below {MTU_MIN}: {self:?}");
        Effect {
            delay: (nanos(self.delay_min), nanos(self.delay_max)),
            tail_ppm: self.tail_ppm,
            tail: nanos(self.tail_max),
            loss_ppm: self.loss_ppm,
            duplication_ppm: self.duplication_ppm,
            reordering_ppm: self.reordering_ppm,
            bandwidth: self.bandwidth.map(|rate| u128::from(rate.get())),
            short_ppm: self.short_ppm,
            corruption_ppm: self.corruption_ppm,
            stream_corruption_ppm: self.stream_corruption_ppm,
            mtu,
        }
    }
}

const MILLION: u32 = 1_000_000;

const MTU_MIN: u64 = 68;

/// An [`Impairment`] in nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Effect {
    pub(crate) delay: (Nanos, Nanos),
    pub(crate) tail_ppm: u32,
    pub(crate) tail: Nanos,
    pub(crate) loss_ppm: u32,
    pub(crate) duplication_ppm: u32,
    pub(crate) reordering_ppm: u32,
    pub(crate) bandwidth: Option<u128>,
    pub(crate) short_ppm: u32,
    pub(crate) corruption_ppm: u32,
    pub(crate) stream_corruption_ppm: u32,
    pub(crate) mtu: Option<u64>,
}

impl Effect {
    pub(crate) fn combined_with(&self, other: &Self) -> Self {
        Self {
            delay: (self.delay.0 + other.delay.0, self.delay.1 + other.delay.1),
            tail_ppm: either_ppm(self.tail_ppm, other.tail_ppm),
            tail: self.tail.max(other.tail),
            loss_ppm: either_ppm(self.loss_ppm, other.loss_ppm),
            duplication_ppm: either_ppm(self.duplication_ppm, other.duplication_ppm),
            reordering_ppm: either_ppm(self.reordering_ppm, other.reordering_ppm),
            bandwidth: self.bandwidth.into_iter().chain(other.bandwidth).min(),
            short_ppm: either_ppm(self.short_ppm, other.short_ppm),
            corruption_ppm: either_ppm(self.corruption_ppm, other.corruption_ppm),
            stream_corruption_ppm: either_ppm(self.stream_corruption_ppm, other.stream_corruption_ppm),
            mtu: self.mtu.into_iter().chain(other.mtu).min(),
        }
    }
}

/// The rate at which at least one of two independent events happens, in ppm.
pub(crate) fn either_ppm(a: u32, b: u32) -> u32 {
    let (a, b, million) = (u64::from(a), u64::from(b), u64::from(MILLION));
    (a + b - a * b / million) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_impairments_add_up() {
        let slow = Effect { delay: (1, 5), loss_ppm: 500_000, bandwidth: Some(100), ..Effect::default() };
        let both =
            slow.combined_with(&Effect { delay: (2, 2), loss_ppm: 500_000, bandwidth: Some(70), ..slow });
        assert_eq!((both.delay, both.loss_ppm, both.bandwidth), ((3, 7), 750_000, Some(70)));
        assert_eq!(slow.combined_with(&Effect::default()), slow);
    }
}
