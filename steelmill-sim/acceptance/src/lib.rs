//! Browser tests of the pictures of simulated runs, in a headless Chromium.
//!
//! `cargo xtask acceptance` runs them, and names what to install if Chromium or chromedriver is missing.
#![forbid(unsafe_code)]

mod browser; // a page in headless Chromium
mod runs; // simulated runs to make pictures of
mod screenshot; // compressing a screenshot

pub use browser::{Page, with_page};
pub use runs::{beside, broken, burst, chatty, hostile, leases, lonely, outage, picture, story, wide};
pub use screenshot::compress;
