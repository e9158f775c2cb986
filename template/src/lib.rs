//! A service that counts. Two daemons: [`Tally`] keeps the total, [`Server`] takes requests from clients over TCP.
#![forbid(unsafe_code)]

mod server; // the protocol
mod tally; // the total

pub use server::{Listen, Server};
pub use tally::Tally;
