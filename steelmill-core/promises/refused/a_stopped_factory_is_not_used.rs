//! A stop takes the handle with it.

use steelmill_core::{Result, RunningFactory};

async fn stop(running: RunningFactory) -> Result {
    running.stop().await;
    running.child("too late")?;
    Ok(())
}

fn main() {}
