//! The contract that every world keeps, over the loopback network of one simulated machine.

use std::future::Future;
use std::sync::Mutex;

use steelmill_sim::{Seed, SimWorld};

/// Runs one behaviour on one seed.
fn check<F: Future<Output = ()> + Send + 'static>(behaviour: impl FnOnce(SimWorld) -> F + Send) {
    let behaviour = Mutex::new(Some(behaviour));
    steelmill_sim::check(Seed(1), |sim| {
        let behaviour = behaviour.lock().expect("one run").take().expect("one run");
        let kept = behaviour(sim.world());
        async move {
            kept.await;
            Ok(())
        }
    });
}

steelmill_core::contract_tests!(check);
