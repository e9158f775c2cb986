//! Coverage points: assertions that are judged over all runs of a campaign, and rare branches.
//!
//! One run shows that nothing went wrong in it. Whether a test ever reached the states in which something could have gone
//! wrong shows only over the seeds of a campaign. So each use of [`assert_always!`](crate::assert_always),
//! [`assert_sometimes!`](crate::assert_sometimes), [`assert_reachable!`](crate::assert_reachable),
//! [`assert_unreachable!`](crate::assert_unreachable) and [`buggify!`](crate::buggify) is a coverage [`Point`], listed
//! also when no run reaches it. The names are those of Antithesis's SDK and of FoundationDB.
//!
//! # Bounds
//! A condition is true or false, but a number also comes close: a queue of 97 with room for 100. For numbers and durations
//! there are [`assert_always_at_most!`](crate::assert_always_at_most),
//! [`assert_always_at_least!`](crate::assert_always_at_least), [`assert_sometimes_at_least!`](crate::assert_sometimes_at_least)
//! and [`assert_sometimes_at_most!`](crate::assert_sometimes_at_most). A campaign also tells how far each value went, and
//! which seed took it there.
//!
//! # Cost
//! Without the feature `coverage`, which only steelmill-sim turns on, a use compiles to nothing: its arguments are
//! type-checked and never evaluated. Where cargo builds both worlds together, so that the feature is on, a use outside a
//! simulation reads a thread-local variable: two instructions.
//!
//! # Registration
//! Every use in a linked crate is registered through a section of the binary
//! ([`linkme`](https://docs.rs/linkme)), also in functions that nothing calls. All instances of a generic function share
//! one point. The macros work in crates that forbid unsafe code.

mod bounds; // what numbers are compared, and how close they came
mod macros; // how a point is written

#[cfg(feature = "coverage")]
mod enabled; // all points, and the observer of a thread
#[cfg(feature = "coverage")]
use enabled::observer;
#[cfg(feature = "coverage")]
pub use enabled::{Observing, all, observe};
#[cfg(feature = "coverage")]
#[doc(hidden)]
pub use enabled::{POINTS, linkme};

use std::fmt;

pub use bounds::{Amount, Measurable, Reading};

/// A coverage point: one use of one of the macros.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub struct Point {
    file: &'static str,
    line: u32,
    column: u32,
    module: &'static str,
    kind: Kind,
    message: &'static str,
    rate_ppm: u32,
}

/// What a coverage point claims.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Kind {
    /// The condition holds whenever the point is reached.
    Always,
    /// The condition holds at least once, in some run.
    Sometimes,
    /// The point is reached at least once, in some run.
    Reachable,
    /// The point is never reached.
    Unreachable,
    /// Nothing: a branch that is rare in production and less so in a simulation.
    Buggify,
    /// The value is at most its limit whenever the point is reached.
    AlwaysAtMost,
    /// The value is at least its limit whenever the point is reached.
    AlwaysAtLeast,
    /// The value is at most its limit at least once, in some run.
    SometimesAtMost,
    /// The value is at least its limit at least once, in some run.
    SometimesAtLeast,
}

impl Kind {
    /// All kinds.
    pub const ALL: [Self; 9] = [
        Self::Always,
        Self::Sometimes,
        Self::Reachable,
        Self::Unreachable,
        Self::Buggify,
        Self::AlwaysAtMost,
        Self::AlwaysAtLeast,
        Self::SometimesAtMost,
        Self::SometimesAtLeast,
    ];

    /// The macro of this kind: `assert_sometimes!`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Always => "assert_always!",
            Self::Sometimes => "assert_sometimes!",
            Self::Reachable => "assert_reachable!",
            Self::Unreachable => "assert_unreachable!",
            Self::Buggify => "buggify!",
            Self::AlwaysAtMost => "assert_always_at_most!",
            Self::AlwaysAtLeast => "assert_always_at_least!",
            Self::SometimesAtMost => "assert_sometimes_at_most!",
            Self::SometimesAtLeast => "assert_sometimes_at_least!",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Point {
    /// For the macros.
    #[doc(hidden)]
    pub const fn new(
        kind: Kind,
        message: &'static str,
        rate_ppm: u32,
        module: &'static str,
        file: &'static str,
        (line, column): (u32, u32),
    ) -> Self {
        Self { file, line, column, module, kind, message, rate_ppm }
    }

    /// What it claims.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The message given to the macro; empty for [`buggify!`](crate::buggify).
    pub fn message(&self) -> &'static str {
        self.message
    }

    /// The module it is in: `demo_app::store::data`.
    pub fn module(&self) -> &'static str {
        self.module
    }

    /// The source file, as the compiler names it.
    pub fn file(&self) -> &'static str {
        self.file
    }

    /// The line, from 1.
    pub fn line(&self) -> u32 {
        self.line
    }

    /// The column, from 1.
    pub fn column(&self) -> u32 {
        self.column
    }

    /// How often an active [`buggify!`](crate::buggify) fires, in parts per million of the times it is reached.
    pub fn rate_ppm(&self) -> u32 {
        self.rate_ppm
    }
}

/// `src/store.rs:12:9`
impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file, self.line, self.column)
    }
}

/// What a world does when a thread of its reaches a coverage point; installed with `observe` (feature `coverage`).
pub trait Observer: Sync {
    /// An assertion was reached. `holds` is the value of its condition, or `true` if it has none.
    fn reached(&self, point: &'static Point, holds: bool);

    /// An assertion about a number was reached; called before [`reached`](Observer::reached).
    fn measured(&self, point: &'static Point, reading: Reading);

    /// An assertion failed that must not; called after [`reached`](Observer::reached). `details` is the formatted
    /// message.
    fn violated(&self, point: &'static Point, details: String);

    /// Whether this `buggify!` takes its branch.
    fn fires(&self, point: &'static Point) -> bool;
}

/// Without the feature there is no observer, and the compiler knows.
#[cfg(not(feature = "coverage"))]
const fn observer() -> Option<&'static dyn Observer> {
    None
}

#[doc(hidden)]
#[inline(always)]
pub fn always(point: &'static Point, holds: impl FnOnce() -> bool, details: impl FnOnce() -> String) {
    if let Some(observer) = observer() {
        let holds = holds();
        observer.reached(point, holds);
        if !holds {
            observer.violated(point, details());
        }
    }
}

#[doc(hidden)]
#[inline(always)]
pub fn sometimes(point: &'static Point, holds: impl FnOnce() -> bool) {
    if let Some(observer) = observer() {
        observer.reached(point, holds());
    }
}

#[doc(hidden)]
#[inline(always)]
pub fn bound<N: Measurable>(
    point: &'static Point,
    numbers: impl FnOnce() -> (N, N),
    details: impl FnOnce() -> String,
) {
    if let Some(observer) = observer() {
        let (value, limit) = numbers();
        let reading = Reading { value: value.amount(), limit: limit.amount() };
        let holds = reading.holds(point.kind);
        observer.measured(point, reading);
        observer.reached(point, holds);
        if !holds && let Some(wanted) = reading.wanted(point.kind) {
            observer.violated(point, format!("{}: {}, {wanted}", details(), reading.value));
        }
    }
}

#[doc(hidden)]
#[inline(always)]
pub fn fires(point: &'static Point) -> bool {
    observer().is_some_and(|observer| observer.fires(point))
}

/// A rate in parts per million, for the macros.
#[doc(hidden)]
pub const fn ppm(rate: f64) -> u32 {
    assert!(rate >= 0.0 && rate <= 1.0, "the rate of a buggify! is a share, from 0.0 to 1.0");
    (rate * 1e6 + 0.5) as u32
}

#[cfg(test)]
mod tests {
    #[test]
    #[should_panic(expected = "the rate of a buggify! is a share, from 0.0 to 1.0")]
    fn a_rate_that_is_no_share_is_an_error_that_says_so() {
        super::ppm(25.0);
    }
}
