//! The least of something with which something fails, by asking: a number by halving, a set by delta debugging (Zeller and
//! Hildebrandt, "Simplifying and isolating failure-inducing input", IEEE TSE 2002).

/// What came of several tries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tried {
    /// This is the first of them that fails.
    Fails(usize),
    /// None fails.
    Passes,
    /// They were not all made, and no others will be.
    Over,
}

/// The least number from `floor` on with which it fails as far as halving tells: it does not with one less. It fails with
/// `enough`.
pub(super) fn least(floor: u64, enough: u64, tried: &mut dyn FnMut(&[u64]) -> Tried) -> u64 {
    let (mut too_few, mut enough) = (floor, enough);
    if floor >= enough {
        return enough;
    }
    match tried(&[floor]) {
        Tried::Fails(_) => return floor,
        Tried::Passes => {}
        Tried::Over => return enough,
    }
    while enough - too_few > 1 {
        let distance = enough - too_few;
        let mut tries: Vec<u64> = (1..4).map(|part| too_few + (distance as u128 * part / 4) as u64).collect();
        tries.retain(|number| (too_few + 1..enough).contains(number));
        tries.dedup();
        match (tried(&tries), tries.last()) {
            (Tried::Fails(place), _) => {
                enough = tries[place];
                too_few = if place == 0 { too_few } else { tries[place - 1] };
            }
            (Tried::Passes, Some(last)) => too_few = *last,
            (Tried::Passes, None) | (Tried::Over, _) => break,
        }
    }
    enough
}

/// Tells what comes of so many sets, given what makes one of them.
type TrySets<'a, T> = &'a mut dyn FnMut(usize, &dyn Fn(usize) -> Vec<T>) -> Tried;

/// Some of the items with which it fails; none of them can be left out, unless the search ended before that was known.
pub(super) fn fewest<T: Clone>(mut items: Vec<T>, tried: TrySets<'_, T>) -> Vec<T> {
    match tried(1, &|_| Vec::new()) {
        Tried::Fails(_) => return Vec::new(),
        Tried::Passes => {}
        Tried::Over => return items,
    }
    let mut parts = 2;
    while items.len() >= 2 {
        let size = items.len().div_ceil(parts);
        let sets = items.len().div_ceil(size);
        let range = |nth: usize| nth * size..items.len().min((nth + 1) * size);
        let only = |nth: usize| items[range(nth)].to_vec();
        let without = |nth: usize| [&items[..range(nth).start], &items[range(nth).end..]].concat();
        match tried(sets, &only) {
            Tried::Fails(nth) => {
                (items, parts) = (only(nth), 2);
                continue;
            }
            Tried::Passes => {}
            Tried::Over => break,
        }
        // Of two sets, what is without the one is the other.
        match if sets > 2 { tried(sets, &without) } else { Tried::Passes } {
            Tried::Fails(nth) => (items, parts) = (without(nth), (sets - 1).max(2)),
            Tried::Passes if size > 1 => parts = (2 * parts).min(items.len()),
            Tried::Passes | Tried::Over => break,
        }
    }
    items
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Fails when all of some numbers are there; counts how often it is asked.
    fn needs(needed: &[u32], of: u32) -> (Vec<u32>, usize) {
        let mut asked = 0;
        let found = fewest((0..of).collect(), &mut |sets, nth| {
            asked += sets;
            let fails = |set: &usize| needed.iter().all(|number| nth(*set).contains(number));
            (0..sets).find(fails).map_or(Tried::Passes, Tried::Fails)
        });
        (found, asked)
    }

    #[test]
    fn what_it_takes_is_found_wherever_it_stands() {
        for needed in [&[][..], &[0], &[63], &[0, 63], &[5, 6, 7], &[0, 20, 21, 40, 63]] {
            let (found, asked) = needs(needed, 64);
            assert_eq!(found, needed);
            assert!(asked < 300, "{asked} runs for {needed:?}");
        }
        let all: Vec<u32> = (0..9).collect();
        assert_eq!(needs(&all, 9).0, all);
    }

    #[test]
    fn a_search_that_is_over_makes_nothing_more() {
        for most in 1..100 {
            let mut tries = 0;
            let found = fewest((0..1_000).collect(), &mut |sets, _| {
                assert!(tries < most, "it was over");
                tries += sets;
                if tries < most { Tried::Passes } else { Tried::Over }
            });
            assert_eq!(found.len(), 1_000, "the best so far");
        }
        for most in 1..10 {
            let mut asked = 0;
            let enough = least(0, 1 << 60, &mut |_| {
                asked += 1;
                if asked < most { Tried::Passes } else { Tried::Over }
            });
            assert_eq!((asked, enough), (most, 1 << 60));
        }
    }
}
