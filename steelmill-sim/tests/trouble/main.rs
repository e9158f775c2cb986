//! Trouble with one machine or one segment, and what becomes of sockets in it.

mod address_change; // another address, as by DHCP
mod lookups; // names that are found late, or not
mod lost_segments; // the nth segment of a kind
mod suspension; // a host that sleeps

use std::time::Duration;

use steelmill_core::Result;
use steelmill_sim::{Machine, Sim, TcpListener};

const MILLI: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

/// Two machines with a latency of one millisecond, and a listener on the second.
async fn two(sim: Sim) -> Result<(Machine, Machine, TcpListener)> {
    sim.set_latency(MILLI..=MILLI);
    let (a, b) = (sim.client("a"), sim.client("b"));
    let listener = b.network().bind("0.0.0.0:7").await?;
    Ok((a, b, listener))
}
