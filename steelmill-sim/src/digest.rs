//! The digest: a hash over every event of a run, in order. Equal digests mean equal runs.

/// A running hash. Not cryptographic: it tells accidents apart, not adversaries.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Digest(u64);

/// What happened; the first word folded in for each event.
#[derive(Debug, Clone, Copy)]
#[repr(u64)]
pub(crate) enum Event {
    Draw = 1,
    Poll,
    Time,
    Spawn,
    Deliver,
    Connection,
    Datagram,
    Machine,
    Link,
    Count,
}

const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;

impl Digest {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed ^ 0x5851_f42d_4c95_7f2d)
    }

    /// One multiplication takes in two words; what it would lose where a factor is zero is added beside it.
    #[inline]
    fn fold(&mut self, a: u64, b: u64) {
        let wide = u128::from(self.0 ^ a) * u128::from(b ^ FACTOR);
        self.0 = (wide as u64) ^ ((wide >> 64) as u64) ^ a.rotate_left(32) ^ b;
    }

    #[inline]
    pub(crate) fn event(&mut self, event: Event, a: u64, b: u64) {
        self.fold((event as u64) << 56 ^ a, b);
    }

    /// Folds in what was sent: payloads are most of what a run moves.
    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        let (pairs, rest) = bytes.as_chunks::<16>();
        for pair in pairs {
            self.fold(word(&pair[..8]), word(&pair[8..]));
        }
        self.fold(bytes.len() as u64, 0);
        for rest in rest.chunks(8) {
            self.fold(word(rest), 0);
        }
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
        let message: Vec<u8> = (0..100).collect();
        let whole = of(&message);
        for at in 0..message.len() {
            let mut other = message.clone();
            other[at] ^= 1;
            assert_ne!(of(&other), whole, "byte {at} does not count");
        }
        assert_ne!(of(&message[..99]), whole);
        assert_ne!(of(&[0; 16]), of(&[0; 17]));
    }

    #[test]
    fn order_counts() {
        let run = |events: [(Event, u64); 2]| {
            let mut digest = Digest::new(1);
            for (event, a) in events {
                digest.event(event, a, 0);
            }
            digest.value()
        };
        assert_ne!(run([(Event::Poll, 1), (Event::Poll, 2)]), run([(Event::Poll, 2), (Event::Poll, 1)]));
        assert_ne!(run([(Event::Poll, 1), (Event::Draw, 1)]), run([(Event::Draw, 1), (Event::Poll, 1)]));
    }
}
