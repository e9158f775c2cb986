//! Crates that services are built from, run unmodified in the simulation: see `tests`. And the listings of README and book, which
//! use them.
#![forbid(unsafe_code)]

/// The README's examples are tests.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
struct Readme;

/// So are the book's.
#[cfg(doctest)]
mod book {
    #[doc = include_str!("../../../docs/book/src/first-service.md")]
    struct FirstService;
    #[doc = include_str!("../../../docs/book/src/axum.md")]
    struct Axum;
    #[doc = include_str!("../../../docs/book/src/scenarios.md")]
    struct Scenarios;
    #[doc = include_str!("../../../docs/book/src/faults.md")]
    struct Faults;
    #[doc = include_str!("../../../docs/book/src/determinism.md")]
    struct Determinism;
    #[doc = include_str!("../../../docs/book/src/lifecycle.md")]
    struct Lifecycle;
    #[doc = include_str!("../../../docs/book/src/coming-from.md")]
    struct ComingFrom;
}
