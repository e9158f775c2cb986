//! Assembling ends with the start, which takes the factory along.

use steelmill_core::{Daemon, Factory, Result};

struct Gateway;

impl Daemon for Gateway {
    fn build(_: &mut Factory) -> Result<Self> {
        Ok(Gateway)
    }
}

async fn late(mut factory: Factory) -> Result {
    factory.start().await?;
    factory.with::<Gateway>()
}

fn main() {}
