//! What only one thread may touch cannot be in a daemon.

use std::cell::Cell;

use steelmill_core::{Daemon, Factory, Result};

struct Counter {
    count: Cell<u32>,
}

impl Daemon for Counter {
    fn build(_: &mut Factory) -> Result<Self> {
        Ok(Counter { count: Cell::new(0) })
    }
}

fn main() {}
