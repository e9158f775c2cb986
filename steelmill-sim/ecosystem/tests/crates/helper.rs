//! What every test of this crate needs.

use std::fmt::Debug;
use std::time::Duration;

use steelmill_core::Result;
use steelmill_sim::{Campaign, Machine, Sim, Verify};

pub(crate) const SECOND: Duration = Duration::from_secs(1);

/// Runs a scenario on several seeds, each twice, in two processes.
#[track_caller]
pub(crate) fn each_seed<F: Future<Output = Result> + 'static>(scenario: impl Fn(Sim) -> F + Send + Sync) {
    Campaign::new(scenario).seeds(50).verify(Verify::Twice).check();
}

/// Waits for the end of a program, which is to be a success.
pub(crate) async fn succeeds(machine: Machine) -> Result {
    let life = machine.ended().await;
    anyhow::ensure!(life.is_success(), "{}: {life}", machine.name());
    Ok(())
}

/// Runs a client of a server on another machine, while the cable between them is cut from the third second to the sixth,
/// and the server crashes in the ninth and starts again a second later. At the end it is stopped, by SIGTERM.
pub(crate) async fn through_faults(sim: &Sim, server: Machine, client: Machine) -> Result {
    let (server, client) = (server.start().await?, client.start().await?);
    sim.clock().sleep(3 * SECOND).await;
    let cut = sim.partition(&server, &client);
    sim.clock().sleep(3 * SECOND).await;
    drop(cut);
    sim.clock().sleep(3 * SECOND).await;
    server.power_loss();
    sim.clock().sleep(SECOND).await;
    let server = server.start().await?;
    succeeds(client).await?;
    let life = server.stop().await?;
    anyhow::ensure!(life.is_success(), "{life}");
    Ok(())
}

/// Asks four times a second, for sixteen seconds or more, through [faults](through_faults): the first question is answered,
/// while the server cannot be reached some are not, and the last ones are.
pub(crate) async fn asks<E: Debug>(mut ask: impl AsyncFnMut() -> Result<(), E>) {
    tokio::time::sleep(SECOND).await;
    let mut outcomes = Vec::new();
    for _ in 0..60 {
        outcomes.push(tokio::time::timeout(SECOND, ask()).await);
        tokio::time::sleep(SECOND / 4).await;
    }
    let is_answered = |outcome: &Result<_, _>| matches!(outcome, Ok(Ok(())));
    assert!(is_answered(&outcomes[0]) && is_answered(&outcomes[59]), "{outcomes:?}");
    assert!(!outcomes.iter().all(is_answered), "the server could not be reached all the time");
}
