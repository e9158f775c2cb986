//! What only one thread may touch cannot be held across an await in `run`.

use std::rc::Rc;
use std::sync::Arc;

use steelmill_core::{Daemon, Factory, Result, Scope};

struct Counter;

impl Daemon for Counter {
    fn build(_: &mut Factory) -> Result<Self> {
        Ok(Counter)
    }

    async fn run(self: &Arc<Self>, scope: &Scope) -> Result {
        let count = Rc::new(0);
        scope.stopping().await;
        drop(count);
        Ok(())
    }
}

fn main() {}
