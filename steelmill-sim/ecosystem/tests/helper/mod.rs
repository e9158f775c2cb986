//! What every test of this crate needs.

use std::time::Duration;

use steelmill_core::Result;
use steelmill_sim::{Campaign, Machine, Sim};

pub(crate) const SECOND: Duration = Duration::from_secs(1);

/// Runs a scenario on several seeds.
#[track_caller]
pub(crate) fn each_seed<F: Future<Output = Result> + 'static>(scenario: impl Fn(Sim) -> F + Send + Sync) {
    Campaign::new(scenario).seeds(20).check();
}

/// Waits for the end of a program, which is to be a success.
pub(crate) async fn succeeds(machine: Machine) -> Result {
    let life = machine.ended().await;
    anyhow::ensure!(life.is_success(), "{}: {life}", machine.name());
    Ok(())
}
