//! Places in the code that are looked at across runs: assertions that must always, or sometimes, or never come about, and
//! rare branches.
//!
//! The names are those of Antithesis's SDK and of FoundationDB. One run shows that nothing went wrong in it; whether a
//! test ever came to where something could have gone wrong is seen across the seeds of a campaign. So each use of
//! [`assert_always!`](crate::assert_always), [`assert_sometimes!`](crate::assert_sometimes),
//! [`assert_reachable!`](crate::assert_reachable), [`assert_unreachable!`](crate::assert_unreachable) and
//! [`buggify!`](crate::buggify) is a [`Place`] that is known from the beginning, whether it is come to or not.
//!
//! # What it costs
//! Without the feature `places`, which only steelmill-sim asks for, a use is nothing: what it was given is checked by the
//! compiler and never evaluated, and no simulator is linked. Where cargo builds both worlds together, so that the feature
//! is on, a use outside a simulation looks at a variable of its thread and goes on: two instructions.
//!
//! # What is known
//! Every use in a crate that is linked into the program is a place, by way of a section of the binary that the linker
//! puts together ([`linkme`](https://docs.rs/linkme)): also one in a function that nothing calls. All instances of a
//! generic function share the one that is written in it. The macros can be used in crates that forbid unsafe code.

mod macros; // how a place is written

#[cfg(feature = "places")]
mod on; // in a program that simulates
#[cfg(feature = "places")]
use on::observer;
#[cfg(feature = "places")]
pub use on::{Observing, all, observe};
#[cfg(feature = "places")]
#[doc(hidden)]
pub use on::{PLACES, linkme};

use std::fmt;

/// A use of one of the macros.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    file: &'static str,
    line: u32,
    column: u32,
    module: &'static str,
    kind: Kind,
    message: &'static str,
    rate_ppm: u32,
}

/// What is claimed of a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Its condition holds whenever it is come to.
    Always,
    /// Its condition holds at least once, in some run.
    Sometimes,
    /// It is come to at least once, in some run.
    Reachable,
    /// It is never come to.
    Unreachable,
    /// Nothing: a branch that is rare outside and less so in a simulation.
    Buggify,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::Always, Self::Sometimes, Self::Reachable, Self::Unreachable, Self::Buggify];

    /// The macro that makes a place of this kind: `assert_sometimes!`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Always => "assert_always!",
            Self::Sometimes => "assert_sometimes!",
            Self::Reachable => "assert_reachable!",
            Self::Unreachable => "assert_unreachable!",
            Self::Buggify => "buggify!",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Place {
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

    /// What is claimed of it.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// What it was called where it is written; empty for [`buggify!`](crate::buggify).
    pub fn message(&self) -> &'static str {
        self.message
    }

    /// The module it is written in: `demo_app::store::data`.
    pub fn module(&self) -> &'static str {
        self.module
    }

    /// Where it is written, as the compiler names the file.
    pub fn file(&self) -> &'static str {
        self.file
    }

    /// The line there, from 1.
    pub fn line(&self) -> u32 {
        self.line
    }

    /// The column there, from 1.
    pub fn column(&self) -> u32 {
        self.column
    }

    /// How often a [`buggify!`](crate::buggify) that is active fires, in parts per million of the times it is come to.
    pub fn rate_ppm(&self) -> u32 {
        self.rate_ppm
    }
}

/// `src/store.rs:12:9`
impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file, self.line, self.column)
    }
}

/// What a world does with the places that a thread comes to, once it observes them: `observe`, with the feature `places`.
pub trait Observer: Sync {
    /// A place that claims something was come to; `holds` is what its condition said, and `true` where it has none.
    fn seen(&self, place: &'static Place, holds: bool);

    /// What must not be has come about, after it was [`seen`](Observer::seen) with `false`; `details` is the message with
    /// what was to be said in it.
    fn broken(&self, place: &'static Place, details: String);

    /// Whether a rare branch is taken.
    fn fires(&self, place: &'static Place) -> bool;
}

/// Nobody observes a program that does not simulate, and the compiler knows.
#[cfg(not(feature = "places"))]
const fn observer() -> Option<&'static dyn Observer> {
    None
}

#[doc(hidden)]
#[inline(always)]
pub fn always(place: &'static Place, holds: impl FnOnce() -> bool, details: impl FnOnce() -> String) {
    if let Some(observer) = observer() {
        let holds = holds();
        observer.seen(place, holds);
        if !holds {
            observer.broken(place, details());
        }
    }
}

#[doc(hidden)]
#[inline(always)]
pub fn sometimes(place: &'static Place, holds: impl FnOnce() -> bool) {
    if let Some(observer) = observer() {
        observer.seen(place, holds());
    }
}

#[doc(hidden)]
#[inline(always)]
pub fn fires(place: &'static Place) -> bool {
    observer().is_some_and(|observer| observer.fires(place))
}

/// A share in parts per million, for the macros.
#[doc(hidden)]
pub const fn ppm(rate: f64) -> u32 {
    assert!(rate >= 0.0 && rate <= 1.0, "the rate of a buggify! is a share, from 0.0 to 1.0");
    (rate * 1e6 + 0.5) as u32
}
