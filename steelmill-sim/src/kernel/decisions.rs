//! The random number generator of a run: every draw goes through one function, which records and replays it.
//!
//! Randomness is split by purpose into [`Stream`]s, each a counter-based generator of its own: draw `i` of a stream is
//! a hash of (seed, stream, i). So one more draw in one stream changes no other stream. A draw is identified by its stream
//! and index, enters the digest and the trace, and can be recorded and replayed.

use std::collections::BTreeMap;

use crate::schema::decision::{Decision, Reseed, Stream};
use crate::schema::plan::Choice;

pub(crate) struct Decisions {
    seed: u64,
    schedule: Counter,
    latency: Counter,
    fault: Counter,
    /// The rarely used streams.
    others: BTreeMap<Stream, Counter>,
    /// The number of entropy draws of each machine.
    entropy: Vec<u64>,
    /// Whether draws are recorded, replayed or ordered by a plan: the slow path.
    is_intercepted: bool,
    recorded: Option<Vec<Decision>>,
    replayed: Option<BTreeMap<Stream, Vec<Option<u64>>>>,
    /// The schedule's draws that are not 0, if the plan has an order.
    order: Option<BTreeMap<u64, u64>>,
}

/// A counter-based generator (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011).
struct Counter {
    key: u64,
    next: u64,
}

impl Counter {
    fn new(seed: u64, stream: Stream) -> Self {
        Self { key: key(seed, stream), next: 0 }
    }
}

fn key(seed: u64, stream: Stream) -> u64 {
    let purpose = match stream {
        Stream::Schedule => 1,
        Stream::Latency => 2,
        Stream::Fault => 3,
        Stream::Loss => 4,
        Stream::Duplication => 5,
        Stream::Reordering => 6,
        Stream::Tail => 7,
        Stream::Slowness => 8,
        Stream::Speed => 9,
        Stream::Disk => 10,
        Stream::Survival => 11,
        Stream::Short => 12,
        Stream::Corruption => 13,
        Stream::Lookup => 14,
        Stream::Plan(family) => 1 << 16 | family as u64,
        Stream::Buggify(place) => 2 << 32 | u64::from(place),
        Stream::Entropy(machine) => 1 << 32 | u64::from(machine),
    };
    mix(mix(seed ^ 0x6a09_e667_f3bc_c909) ^ purpose)
}

/// The finalizer of splitmix64 (Steele, Lea, Flood 2014).
#[inline]
fn scramble(word: u64) -> u64 {
    let word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

/// [`scramble`] for words that may be zero, which it maps to zero.
pub(crate) fn mix(word: u64) -> u64 {
    scramble(word.wrapping_add(0x9e37_79b9_7f4a_7c15))
}

impl Decisions {
    pub(crate) fn new(seed: u64, record: bool, replay: Option<&[Decision]>) -> Self {
        let replayed = replay.map(by_stream);
        Self {
            seed,
            schedule: Counter::new(seed, Stream::Schedule),
            latency: Counter::new(seed, Stream::Latency),
            fault: Counter::new(seed, Stream::Fault),
            others: BTreeMap::new(),
            entropy: Vec::new(),
            is_intercepted: record || replayed.is_some(),
            recorded: record.then(Vec::new),
            replayed,
            order: None,
        }
    }

    /// Replaces the schedule's stream by these choices, and 0 for all others.
    pub(crate) fn set_order(&mut self, order: &[Choice]) {
        self.order = Some(order.iter().map(|choice| (choice.nth, choice.place)).collect());
        self.is_intercepted = true;
    }

    /// Draws a number below `below`. A replay past its end gives 0: the oldest task, the least latency, the first choice.
    #[inline(always)]
    pub(crate) fn draw(&mut self, stream: Stream, below: u64) -> Decision {
        let counter = match stream {
            Stream::Schedule => &mut self.schedule,
            Stream::Latency => &mut self.latency,
            Stream::Fault => &mut self.fault,
            Stream::Entropy(_) => unreachable!("a machine's entropy has its own generator"),
            _ => self.others.entry(stream).or_insert_with(|| Counter::new(self.seed, stream)),
        };
        let index = counter.next;
        counter.next += 1;
        let hash = scramble(counter.key ^ index.wrapping_mul(0xd134_2543_de82_ef95));
        let value = ((u128::from(hash) * u128::from(below)) >> 64) as u64;
        self.decide(Decision { stream, index, value }, below, 0)
    }

    /// Records a draw of a machine's own generator; a replay may replace its value.
    pub(crate) fn draw_entropy(&mut self, machine: u32, value: u64) -> Decision {
        let at = machine as usize;
        if self.entropy.len() <= at {
            self.entropy.resize(at + 1, 0);
        }
        let index = self.entropy[at];
        self.entropy[at] += 1;
        self.decide(Decision { stream: Stream::Entropy(machine), index, value }, u64::MAX, value)
    }

    #[inline(always)]
    fn decide(&mut self, drawn: Decision, below: u64, default: u64) -> Decision {
        let Decision { stream, index, mut value } = drawn;
        if self.is_intercepted {
            value = self.intercept(Decision { stream, index, value }, below, default);
        }
        Decision { stream, index, value }
    }

    #[cold]
    fn intercept(&mut self, mut drawn: Decision, below: u64, default: u64) -> u64 {
        if let Some(streams) = &self.replayed {
            let given = usize::try_from(drawn.index)
                .ok()
                .and_then(|index| streams.get(&drawn.stream)?.get(index).copied().flatten());
            // An edited list may exceed the bound.
            drawn.value = given.map_or(default, |value| value.min(below.saturating_sub(1)));
        }
        if let Some(order) = self.order.as_ref().filter(|_| drawn.stream == Stream::Schedule) {
            drawn.value = order.get(&drawn.index).copied().unwrap_or(0).min(below.saturating_sub(1));
        }
        if let Some(recorded) = &mut self.recorded {
            recorded.push(drawn);
        }
        drawn.value
    }

    pub(crate) fn entropy_key(&self, machine: u32) -> u64 {
        key(self.seed, Stream::Entropy(machine))
    }

    pub(crate) fn reseed(&mut self, reseed: Reseed) {
        let applies = |stream| reseed.stream.is_none_or(|only| only == stream);
        for (stream, counter) in [
            (Stream::Schedule, &mut self.schedule),
            (Stream::Latency, &mut self.latency),
            (Stream::Fault, &mut self.fault),
        ] {
            if applies(stream) {
                counter.key = key(reseed.seed, stream);
            }
        }
        if applies(Stream::Schedule) {
            self.order = None;
        }
        for (stream, counter) in self.others.iter_mut().filter(|(stream, _)| applies(**stream)) {
            counter.key = key(reseed.seed, *stream);
        }
        if reseed.stream.is_none() {
            self.seed = reseed.seed;
        }
    }

    pub(crate) fn take_recorded(&mut self) -> Vec<Decision> {
        self.recorded.take().unwrap_or_default()
    }
}

fn by_stream(decisions: &[Decision]) -> BTreeMap<Stream, Vec<Option<u64>>> {
    let mut streams = BTreeMap::<Stream, Vec<Option<u64>>>::new();
    for decision in decisions {
        let values = streams.entry(decision.stream).or_default();
        let index = usize::try_from(decision.index).expect("an index that was recorded fits");
        if values.len() <= index {
            values.resize(index + 1, None);
        }
        values[index] = Some(decision.value);
    }
    streams
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn draws(decisions: &mut Decisions, stream: Stream, n: usize) -> Vec<u64> {
        (0..n).map(|_| decisions.draw(stream, 1000).value).collect()
    }

    #[test]
    fn streams_do_not_disturb_each_other() {
        let mut alone = Decisions::new(7, false, None);
        let mut beside = Decisions::new(7, false, None);
        draws(&mut beside, Stream::Latency, 5);
        assert_eq!(draws(&mut alone, Stream::Schedule, 20), draws(&mut beside, Stream::Schedule, 20));
    }

    #[test]
    fn a_recording_gives_the_same_draws_again_and_defaults_past_its_end() {
        let mut first = Decisions::new(7, true, None);
        let drawn = draws(&mut first, Stream::Fault, 3);
        let list = first.take_recorded();
        let mut again = Decisions::new(8, false, Some(&list));
        assert_eq!(draws(&mut again, Stream::Fault, 5), [drawn, vec![0, 0]].concat());
    }

    #[test]
    fn a_reseeded_stream_leaves_its_past_and_the_others_alone() {
        let mut plain = Decisions::new(7, false, None);
        let mut reseeded = Decisions::new(7, false, None);
        assert_eq!(draws(&mut plain, Stream::Fault, 3), draws(&mut reseeded, Stream::Fault, 3));
        reseeded.reseed(Reseed { at: Duration::ZERO, stream: Some(Stream::Fault), seed: 8 });
        assert_ne!(draws(&mut plain, Stream::Fault, 8), draws(&mut reseeded, Stream::Fault, 8));
        assert_eq!(draws(&mut plain, Stream::Schedule, 8), draws(&mut reseeded, Stream::Schedule, 8));
    }

    #[test]
    fn draws_spread_over_their_range() {
        let mut decisions = Decisions::new(1, false, None);
        let mut seen = [0u32; 10];
        for _ in 0..10_000 {
            seen[decisions.draw(Stream::Schedule, 10).value as usize] += 1;
        }
        assert!(seen.iter().all(|n| (800..1200).contains(n)), "{seen:?}");
    }
}
