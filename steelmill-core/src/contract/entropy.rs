//! Conformance: randomness.

use std::collections::BTreeSet;

use rand_core::Rng;

use crate::{Entropy, Spawn, World};

pub async fn draws_differ<W: World>(world: W) {
    let mut rng = world.entropy().rng();
    let draws: BTreeSet<u64> = (0..1000).map(|_| rng.next_u64()).collect();
    assert_eq!(draws.len(), 1000);
}

pub async fn draws_cover_the_whole_range<W: World>(world: W) {
    let mut rng = world.entropy().rng();
    let (mut lowest, mut highest) = ([0_u32; 16], [0_u32; 16]);
    for _ in 0..1000 {
        let (long, short) = (rng.next_u64(), rng.next_u32());
        lowest[(long & 15) as usize] += 1;
        highest[(long >> 60) as usize] += 1;
        lowest[(short & 15) as usize] += 1;
        highest[(short >> 28) as usize] += 1;
    }
    // 125 are expected in each; a fair source leaves these bounds less than once in a million million runs.
    for count in lowest.into_iter().chain(highest) {
        assert!((45..=220).contains(&count), "{lowest:?} {highest:?}");
    }
}

pub async fn ones_and_zeros_are_equally_likely<W: World>(world: W) {
    let mut rng = world.entropy().rng();
    let ones: u32 = (0..1000).map(|_| rng.next_u64().count_ones()).sum();
    // Eight standard deviations.
    assert!(ones.abs_diff(32_000) < 1012, "{ones} ones in 64000 bits");
}

pub async fn buffers_of_any_length_are_filled<W: World>(world: W) {
    let mut rng = world.entropy().rng();
    for length in 0..=40 {
        let mut seen = vec![0_u8; length];
        for _ in 0..16 {
            let mut buffer = vec![0; length];
            rng.fill_bytes(&mut buffer);
            seen.iter_mut().zip(buffer).for_each(|(seen, byte)| *seen |= byte);
        }
        assert!(seen.iter().all(|byte| *byte != 0), "bytes of {length} were left zero: {seen:?}");
    }
}

/// Two handles share a sequence: a value drawn from one is not drawn again from the other.
pub async fn handles_share_one_sequence<W: World>(world: W) {
    let entropy = world.entropy();
    let (mut one, mut other) = (entropy.rng(), entropy.rng());
    let mut draws = BTreeSet::new();
    for _ in 0..500 {
        draws.insert(one.next_u64());
        draws.insert(other.next_u64());
        draws.insert(entropy.rng().next_u64());
    }
    assert_eq!(draws.len(), 1500);
}

pub async fn a_handle_can_move_to_another_task<W: World>(world: W) {
    let mut rng = world.entropy().rng();
    let here = rng.next_u64();
    let there = world.spawner().spawn("drawer", async move { rng.next_u64() });
    assert_ne!(there.await.unwrap(), here);
}
