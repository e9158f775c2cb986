//! Core's contract tests, run on the runtime world over the loopback interface.

use std::future::Future;
use std::time::Duration;

use steelmill_runtime::RuntimeWorld;

/// Runs one contract test on tokio's multi-threaded runtime, as a service runs.
fn check<F: Future<Output = ()> + Send>(behaviour: impl FnOnce(RuntimeWorld) -> F) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.expect("a tokio runtime").block_on(async {
        let limit = Duration::from_secs(60);
        let outcome = tokio::time::timeout(limit, behaviour(RuntimeWorld)).await;
        outcome.expect("the behaviour does not end within a minute");
    });
}

steelmill_core::contract_tests!(check);
