//! The contract that every world keeps, over the operating system's loopback.

use std::future::Future;
use std::time::Duration;

use steelmill_runtime::RuntimeWorld;

/// Runs one behaviour as a service would run: on tokio's multi-threaded runtime.
fn check<F: Future<Output = ()> + Send>(behaviour: impl FnOnce(RuntimeWorld) -> F) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.expect("a tokio runtime").block_on(async {
        let limit = Duration::from_secs(60);
        let outcome = tokio::time::timeout(limit, behaviour(RuntimeWorld)).await;
        outcome.expect("the behaviour waits for something that does not happen");
    });
}

steelmill_core::contract_tests!(check);
