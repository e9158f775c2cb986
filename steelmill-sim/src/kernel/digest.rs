//! The digest: a hash over every event of a run, in order. Equal digests mean equal runs.

use crate::schema::decision::Stream;
use crate::schema::event::{DiskChange, EventKind, MachineChange};

/// A running hash. Not cryptographic: it detects accidental differences, not forged ones.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Digest(u64);

const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;

/// Enough independent lanes to keep a processor's multiplier busy, and the bytes that they hash at once.
const LANES: usize = 8;
const BLOCK: usize = LANES * 16;

impl Digest {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed ^ 0x5851_f42d_4c95_7f2d)
    }

    /// Hashes two words by one multiplication; xors both in as well, because a zero factor would lose the other.
    #[inline]
    fn fold(&mut self, a: u64, b: u64) {
        let wide = u128::from(self.0 ^ a) * u128::from(b ^ FACTOR);
        self.0 = (wide as u64) ^ ((wide >> 64) as u64) ^ a.rotate_left(32) ^ b;
    }

    #[inline]
    pub(crate) fn event(&mut self, Words(kind, a, b): Words) {
        self.fold(kind << 56 ^ a, b);
    }

    /// Hashes a payload: most of what a run hashes.
    #[inline]
    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        let rest = if bytes.len() < BLOCK { bytes } else { self.blocks(bytes) };
        let (pairs, rest) = rest.as_chunks::<16>();
        for pair in pairs {
            self.fold(word(&pair[..8]), word(&pair[8..]));
        }
        self.fold(bytes.len() as u64, 0);
        for rest in rest.chunks(8) {
            self.fold(word(rest), 0);
        }
    }

    /// Hashes whole blocks, and returns the rest. A multiplication depends only on the one before it in its lane, which
    /// makes this five times as fast as pair after pair.
    #[inline(never)]
    fn blocks<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let (blocks, rest) = bytes.as_chunks::<BLOCK>();
        let mut lanes: [u64; LANES] = std::array::from_fn(|lane| self.0 ^ (lane as u64).wrapping_mul(FACTOR));
        for block in blocks {
            let (pairs, _) = block.as_chunks::<16>();
            for (lane, pair) in lanes.iter_mut().zip(pairs) {
                let a = *lane ^ word(&pair[..8]);
                let wide = u128::from(a) * u128::from(word(&pair[8..]) ^ FACTOR);
                *lane = (wide as u64) ^ ((wide >> 64) as u64) ^ a;
            }
        }
        for lane in lanes {
            self.fold(lane, 0);
        }
        rest
    }

    pub(crate) fn value(self) -> u64 {
        self.0
    }
}

/// Up to eight bytes as a number.
#[inline]
fn word(bytes: &[u8]) -> u64 {
    match bytes.first_chunk::<8>() {
        Some(all) => u64::from_le_bytes(*all),
        None => bytes.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte)),
    }
}

/// An event as the digest hashes it: its kind and two words.
pub(crate) struct Words(pub(crate) u64, pub(crate) u64, pub(crate) u64);

impl EventKind {
    /// The words to hash; `None` for an event that is not in the digest.
    #[inline(always)]
    pub(crate) fn words(self) -> Option<Words> {
        let pair = |a: u32, b: u32| u64::from(a) << 32 | u64::from(b);
        Some(match self {
            // A draw of the schedule is covered by the poll that it decides; one of the plan by the faults that strike, so
            // that the same plan from a file gives the same digest; sent bytes are hashed by `Digest::bytes`.
            EventKind::Draw { stream: Stream::Schedule | Stream::Plan(_), .. }
            | EventKind::End { .. }
            | EventKind::Send { .. }
            | EventKind::Wake { .. }
            | EventKind::Timer { .. }
            | EventKind::Message { .. }
            | EventKind::Delayed { .. }
            | EventKind::Arrive { .. }
            | EventKind::Lost { .. }
            | EventKind::Corrupted { .. }
            | EventKind::State { .. }
            | EventKind::Health { .. }
            | EventKind::Log { .. }
            | EventKind::Invoke { .. }
            | EventKind::Return { .. }
            | EventKind::Blame { .. }
            | EventKind::Fail => return None,
            EventKind::Draw { index, value, .. } => Words(1, index, value),
            EventKind::Poll { task, place } => Words(2, task.0, place),
            EventKind::Time { to } => Words(3, to, 0),
            EventKind::Spawn { task, machine } => Words(4, task.0, u64::from(machine)),
            EventKind::Deliver { connection, from, to, readable } => {
                Words(5, pair(connection, from) ^ u64::from(to) << 16, readable)
            }
            EventKind::Connect { connection, to } => Words(6, u64::from(connection), u64::from(to)),
            EventKind::Datagram { to, bytes } => Words(7, u64::from(to), bytes),
            EventKind::Machine { machine, change } => {
                let (change, by) = match change {
                    MachineChange::Made => (0, 0),
                    MachineChange::Started => (1, 0),
                    MachineChange::Exited => (2, 0),
                    MachineChange::PowerLost => (3, 0),
                    MachineChange::Drift(ppm) => (4, ppm as u64),
                    MachineChange::WallOffset(nanos) => (5, nanos as u64),
                    MachineChange::Paused => (6, 0),
                    MachineChange::Resumed => (7, 0),
                    MachineChange::Slowness(nanos) => (8, nanos),
                    MachineChange::LookupTrouble(begins) => (9, u64::from(begins)),
                    MachineChange::Suspended => (10, 0),
                    MachineChange::Woken => (11, 0),
                    MachineChange::Address { ip, is_first } => {
                        (12, u64::from(ip.to_bits()) << 1 | u64::from(is_first))
                    }
                };
                Words(8, u64::from(machine) << 8 | change, by)
            }
            EventKind::Disk { machine, change } => {
                let (change, file, a, b) = match change {
                    DiskChange::Written { file, offset, bytes } => (0, file, offset, bytes),
                    DiskChange::Synced { file, pages } => (1, file, pages, 0),
                    DiskChange::SyncFailed { file } => (2, file, 0, 0),
                };
                Words(12, pair(machine << 2 | change, file) & ((1 << 56) - 1), a ^ b.rotate_left(40))
            }
            EventKind::Link { from, to, change } => Words(9, pair(from, to), change as u64),
            EventKind::Fault { fault, step } => Words(11, u64::from(fault), step as u64),
            EventKind::Count { more, total, .. } => Words(10, total, more),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(bytes: &[u8]) -> u64 {
        let mut digest = Digest::new(7);
        digest.bytes(bytes);
        digest.value()
    }

    #[test]
    fn every_byte_and_the_length_count() {
        for length in [100, 3 * BLOCK + 100] {
            let message: Vec<u8> = (0..length).map(|at| at as u8).collect();
            let whole = of(&message);
            for at in 0..message.len() {
                for bit in 0..8 {
                    let mut other = message.clone();
                    other[at] ^= 1 << bit;
                    assert_ne!(of(&other), whole, "bit {bit} of byte {at} does not count");
                }
            }
            assert_ne!(of(&message[..length - 1]), whole);
        }
        assert_ne!(of(&[0; 16]), of(&[0; 17]));
        assert_ne!(of(&[0; BLOCK]), of(&[0; 2 * BLOCK]));
    }

    #[test]
    fn the_order_of_a_payloads_words_counts() {
        let words: Vec<u64> = (1..=2 * BLOCK as u64 / 8).collect();
        let of_words =
            |words: &[u64]| of(&words.iter().flat_map(|word| word.to_le_bytes()).collect::<Vec<u8>>());
        let whole = of_words(&words);
        for (a, b) in (0..words.len()).flat_map(|a| (0..a).map(move |b| (a, b))) {
            let mut other = words.clone();
            other.swap(a, b);
            assert_ne!(of_words(&other), whole, "words {a} and {b} may change places");
        }
    }

    #[test]
    fn order_counts() {
        let run = |events: [(u64, u64); 2]| {
            let mut digest = Digest::new(1);
            for (kind, a) in events {
                digest.event(Words(kind, a, 0));
            }
            digest.value()
        };
        assert_ne!(run([(2, 1), (2, 2)]), run([(2, 2), (2, 1)]));
        assert_ne!(run([(2, 1), (1, 1)]), run([(1, 1), (2, 1)]));
    }
}
