//! Fencing tokens: each grant has a higher one than all before.
//!
//! A lease daemon begins with the microseconds since 1970, so that tokens mostly grow across restarts, too.

use std::time::SystemTime;

/// How far a token may be ahead of what is known: some 140 years, so that a clock that begins in 1970 is none too far
/// behind.
const AHEAD_MAX: u64 = 1 << 52;

/// Whether no lease daemon can have granted `token`, if `known` is a token that one has granted or the wall clock's
/// time. Such a token comes from garbage or from another protocol, and no later one would be higher.
pub fn is_absurd(token: u64, known: u64) -> bool {
    token == 0 || token > known.saturating_add(AHEAD_MAX)
}

/// The wall clock's time in microseconds since 1970; 0 before.
pub fn micros_since_1970(wall: SystemTime) -> u64 {
    let since = wall.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn tokens_of_any_clock_that_runs_today_are_fine_and_garbage_is_not() {
        let in_2026 = micros_since_1970(SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000));
        assert!(!is_absurd(in_2026, 0));
        assert!(!is_absurd(1, in_2026));
        assert!(!is_absurd(2 * in_2026, in_2026));
        for absurd in [0, u64::MAX, u64::from_be_bytes(*b"GET / HT")] {
            assert!(is_absurd(absurd, in_2026), "{absurd}");
        }
        assert!(is_absurd(0, u64::MAX) && !is_absurd(u64::MAX, u64::MAX));
    }
}
