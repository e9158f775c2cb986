//! The conformance suite of core, over the loopback network of one simulated machine.

use std::future::Future;

use steelmill_sim::{Seed, SimWorld};

fn check<F: Future<Output = ()> + Send + 'static>(behaviour: impl Fn(SimWorld) -> F + Send + Sync) {
    steelmill_sim::check(Seed(1), |sim| {
        // What the contract panics by itself.
        sim.allow_failure("scenario", "on purpose");
        let kept = behaviour(sim.world());
        async move {
            kept.await;
            Ok(())
        }
    });
}

steelmill_core::contract_tests!(check);
