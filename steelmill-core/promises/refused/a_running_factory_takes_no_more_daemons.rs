//! What runs has no way to be added to.

use steelmill_core::{Daemon, Factory, Result, RunningFactory};

struct Gateway;

impl Daemon for Gateway {
    fn build(_: &mut Factory) -> Result<Self> {
        Ok(Gateway)
    }
}

fn late(demo: &RunningFactory) -> Result {
    demo.provide(Gateway)
}

fn main() {}
