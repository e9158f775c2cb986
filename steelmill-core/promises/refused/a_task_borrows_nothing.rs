//! A task may outlive the call that spawned it, so it takes along what it needs.

use std::sync::Arc;

use steelmill_core::{Daemon, Factory, Result, Scope};

struct Counter(u32);

impl Daemon for Counter {
    fn build(_: &mut Factory) -> Result<Self> {
        Ok(Counter(0))
    }

    async fn run(self: &Arc<Self>, scope: &Scope) -> Result {
        let text = self.0.to_string();
        scope.spawn("shout", async { println!("{}", &text) });
        Ok(())
    }
}

fn main() {}
