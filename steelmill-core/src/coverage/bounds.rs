//! Numbers that coverage points compare, and how far they went.

use std::fmt;
use std::time::Duration;

use super::Kind;

/// What the macros for bounds compare: an integer, or a duration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Amount {
    /// An integer.
    Number(i128),
    /// A duration.
    Time(Duration),
}

impl Amount {
    /// Nanoseconds, of a duration.
    fn ordinal(self) -> i128 {
        match self {
            Self::Number(number) => number,
            Self::Time(time) => time.as_nanos() as i128, // less than 2^95
        }
    }
}

/// `97`, `1.5s`
impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => number.fmt(f),
            Self::Time(time) => fmt::Debug::fmt(time, f),
        }
    }
}

/// A value that was compared, and what it was compared with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Reading {
    /// The value.
    pub value: Amount,
    /// Its limit, or the goal of a `sometimes`.
    pub limit: Amount,
}

impl Reading {
    /// How far beyond its limit the value is, in the direction in which a campaign looks for more: up for an upper limit and
    /// for a goal to be reached from below, otherwise down. Negative before the limit. In nanoseconds for durations.
    pub fn excess(&self, kind: Kind) -> i128 {
        let above = self.value.ordinal() - self.limit.ordinal();
        if is_highest_kept(kind) { above } else { -above }
    }

    pub(super) fn holds(&self, kind: Kind) -> bool {
        match kind {
            Kind::SometimesAtLeast | Kind::SometimesAtMost => self.excess(kind) >= 0,
            _ => self.excess(kind) <= 0,
        }
    }

    /// What an assertion that must not fail wanted.
    pub(super) fn wanted(&self, kind: Kind) -> Option<String> {
        match kind {
            Kind::AlwaysAtMost => Some(format!("at most {}", self.limit)),
            Kind::AlwaysAtLeast => Some(format!("at least {}", self.limit)),
            _ => None,
        }
    }

    /// `highest 97, limit 100`
    pub fn describe(&self, kind: Kind) -> String {
        let extreme = if is_highest_kept(kind) { "highest" } else { "lowest" };
        let limit = match kind {
            Kind::AlwaysAtMost | Kind::AlwaysAtLeast => "limit",
            _ => "wanted",
        };
        format!("{extreme} {}, {limit} {}", self.value, self.limit)
    }
}

/// Whether it is the highest value that says how close runs came, and not the lowest.
fn is_highest_kept(kind: Kind) -> bool {
    matches!(kind, Kind::AlwaysAtMost | Kind::SometimesAtLeast)
}

/// What the macros for bounds take: the integers up to 64 bits, and [`Duration`]. A fraction, or what is stored in another type,
/// is converted to one of them.
pub trait Measurable: Copy + private::Sealed {
    /// The same as an [`Amount`].
    fn amount(self) -> Amount;
}

mod private {
    pub trait Sealed {}
}

macro_rules! integers {
    ($($integer:ty),*) => {$(
        impl private::Sealed for $integer {}

        impl Measurable for $integer {
            #[inline]
            fn amount(self) -> Amount {
                Amount::Number(self as i128)
            }
        }
    )*};
}

integers!(u8, u16, u32, u64, usize, i8, i16, i32, i64, isize);

impl private::Sealed for Duration {}

impl Measurable for Duration {
    #[inline]
    fn amount(self) -> Amount {
        Amount::Time(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reading<N: Measurable>(value: N, limit: N) -> Reading {
        Reading { value: value.amount(), limit: limit.amount() }
    }

    #[test]
    fn each_kind_holds_on_its_side_of_the_limit_and_at_it() {
        let holds = |kind| [4, 5, 6].map(|value| reading(value, 5).holds(kind));
        assert_eq!(holds(Kind::AlwaysAtMost), [true, true, false]);
        assert_eq!(holds(Kind::SometimesAtMost), [true, true, false]);
        assert_eq!(holds(Kind::AlwaysAtLeast), [false, true, true]);
        assert_eq!(holds(Kind::SometimesAtLeast), [false, true, true]);
    }

    #[test]
    fn the_extremes_of_all_types_can_be_compared() {
        assert_eq!(reading(u64::MAX, 0).excess(Kind::AlwaysAtMost), i128::from(u64::MAX));
        assert_eq!(reading(i64::MIN, i64::MAX).excess(Kind::AlwaysAtLeast), i128::from(u64::MAX));
        assert!(reading(Duration::MAX, Duration::ZERO).excess(Kind::SometimesAtLeast) > 1 << 93);
    }

    #[test]
    fn a_reading_says_which_way_it_went() {
        assert_eq!(reading(97, 100).describe(Kind::AlwaysAtMost), "highest 97, limit 100");
        let lag = reading(Duration::from_millis(1500), Duration::from_secs(2));
        assert_eq!(lag.describe(Kind::SometimesAtMost), "lowest 1.5s, wanted 2s");
    }
}
