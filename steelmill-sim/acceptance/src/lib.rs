//! What needs a browser: runs of the sim, their pictures, and a real headless Chromium that opens and uses them.
//!
//! `cargo xtask acceptance` runs the tests of this crate, and says what to install where a program is missing.
#![forbid(unsafe_code)]

mod browser; // a page in a real browser
mod runs; // runs that make good pictures
mod shot; // what a window looks like, small

pub use browser::{Page, with_page};
pub use runs::{burst, chatty, hostile, leases, lonely, picture, story, wide};
pub use shot::packed;
