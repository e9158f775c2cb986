//! Minimization by trial runs: a number by bisection, a set by delta debugging (ddmin; Zeller and Hildebrandt,
//! "Simplifying and isolating failure-inducing input", IEEE TSE 2002).

/// The result of several trial runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TrialResult {
    /// The index of the first that fails.
    Fails(usize),
    Passes,
    /// The search stopped before all were run; no further trials are allowed.
    Stopped,
}

/// The smallest failing number from `floor` to `enough`, by bisection; `enough` is known to fail.
pub(super) fn least(floor: u64, enough: u64, try_all: &mut dyn FnMut(&[u64]) -> TrialResult) -> u64 {
    let (mut too_few, mut enough) = (floor, enough);
    if floor >= enough {
        return enough;
    }
    match try_all(&[floor]) {
        TrialResult::Fails(_) => return floor,
        TrialResult::Passes => {}
        TrialResult::Stopped => return enough,
    }
    while enough - too_few > 1 {
        let distance = enough - too_few;
        let mut tries: Vec<u64> = (1..4).map(|part| too_few + (distance as u128 * part / 4) as u64).collect();
        tries.retain(|number| (too_few + 1..enough).contains(number));
        tries.dedup();
        match (try_all(&tries), tries.last()) {
            (TrialResult::Fails(place), _) => {
                enough = tries[place];
                too_few = if place == 0 { too_few } else { tries[place - 1] };
            }
            (TrialResult::Passes, Some(last)) => too_few = *last,
            (TrialResult::Passes, None) | (TrialResult::Stopped, _) => break,
        }
    }
    enough
}

/// Tries a number of sets, given a function that makes the nth of them.
type TrySets<'a, T> = &'a mut dyn FnMut(usize, &dyn Fn(usize) -> Vec<T>) -> TrialResult;

/// A subset of the items that fails; 1-minimal (no single item can be left out), unless the search was stopped.
pub(super) fn fewest<T: Clone>(mut items: Vec<T>, try_all: TrySets<'_, T>) -> Vec<T> {
    match try_all(1, &|_| Vec::new()) {
        TrialResult::Fails(_) => return Vec::new(),
        TrialResult::Passes => {}
        TrialResult::Stopped => return items,
    }
    let mut parts = 2;
    while items.len() >= 2 {
        let size = items.len().div_ceil(parts);
        let sets = items.len().div_ceil(size);
        let range = |nth: usize| nth * size..items.len().min((nth + 1) * size);
        let only = |nth: usize| items[range(nth)].to_vec();
        let without = |nth: usize| [&items[..range(nth).start], &items[range(nth).end..]].concat();
        match try_all(sets, &only) {
            TrialResult::Fails(nth) => {
                (items, parts) = (only(nth), 2);
                continue;
            }
            TrialResult::Passes => {}
            TrialResult::Stopped => break,
        }
        // With two sets, each is the complement of the other, and both were tried.
        match if sets > 2 { try_all(sets, &without) } else { TrialResult::Passes } {
            TrialResult::Fails(nth) => (items, parts) = (without(nth), (sets - 1).max(2)),
            TrialResult::Passes if size > 1 => parts = (2 * parts).min(items.len()),
            TrialResult::Passes | TrialResult::Stopped => break,
        }
    }
    items
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Minimizes `0..of`, which fails if all numbers of `needed` are present; counts the trials.
    fn needs(needed: &[u32], of: u32) -> (Vec<u32>, usize) {
        let mut trials = 0;
        let found = fewest((0..of).collect(), &mut |sets, nth| {
            trials += sets;
            let fails = |set: &usize| needed.iter().all(|number| nth(*set).contains(number));
            (0..sets).find(fails).map_or(TrialResult::Passes, TrialResult::Fails)
        });
        (found, trials)
    }

    #[test]
    fn the_needed_items_are_found_wherever_they_are() {
        for needed in [&[][..], &[0], &[63], &[0, 63], &[5, 6, 7], &[0, 20, 21, 40, 63]] {
            let (found, trials) = needs(needed, 64);
            assert_eq!(found, needed);
            assert!(trials < 300, "{trials} runs for {needed:?}");
        }
        let all: Vec<u32> = (0..9).collect();
        assert_eq!(needs(&all, 9).0, all);
    }

    #[test]
    fn a_stopped_search_makes_no_more_trials() {
        for most in 1..100 {
            let mut tries = 0;
            let found = fewest((0..1_000).collect(), &mut |sets, _| {
                assert!(tries < most, "it was stopped");
                tries += sets;
                if tries < most { TrialResult::Passes } else { TrialResult::Stopped }
            });
            assert_eq!(found.len(), 1_000, "the best so far");
        }
        for most in 1..10 {
            let mut trials = 0;
            let enough = least(0, 1 << 60, &mut |_| {
                trials += 1;
                if trials < most { TrialResult::Passes } else { TrialResult::Stopped }
            });
            assert_eq!((trials, enough), (most, 1 << 60));
        }
    }
}
