//! Crates that services are built from, run unmodified in the simulation: see `tests`.
#![forbid(unsafe_code)]

/// The README's examples are tests.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
struct Readme;
