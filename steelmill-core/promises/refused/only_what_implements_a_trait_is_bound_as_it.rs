//! A binding is checked where it is written.

use steelmill_core::{Daemon, Factory, Result};

trait Store: Send + Sync {}

struct Gateway;

impl Daemon for Gateway {
    fn build(_: &mut Factory) -> Result<Self> {
        Ok(Gateway)
    }
}

fn setup(factory: &mut Factory) -> Result {
    factory.bind::<dyn Store, Gateway>(|daemon| daemon)
}

fn main() {}
