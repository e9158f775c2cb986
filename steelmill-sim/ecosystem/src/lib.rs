//! Crates that services are built from, run unmodified in the simulation: see `tests`.
#![forbid(unsafe_code)]
