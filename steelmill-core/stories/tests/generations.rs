//! The example of generations, in both worlds.
#![allow(clippy::unwrap_used, reason = "these are tests")]

#[path = "../examples/generations.rs"]
mod generations;

const TOUR: [&str; 6] = [
    "Bread: open",
    "Cake: open",
    "Cake: shop/generation-3 did not start: shop/generation-3: Counter failed to prepare: there is no room for 50 shelves",
    "shop: the new Shop is refused, and generation 3 stays: a shop needs a sign",
    "Tea: open",
    "shop: ended cleanly",
];

#[test]
fn generations_follow_each_other_in_the_runtime() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    assert_eq!(runtime.block_on(generations::tour(steelmill_runtime::RuntimeWorld)).unwrap(), TOUR);
}

#[test]
fn generations_follow_each_other_in_the_sim_and_leave_nothing() {
    steelmill_sim::Campaign::new(|sim: steelmill_sim::Sim| async move {
        let before = sim.sizes();
        assert_eq!(generations::tour(sim.world()).await?, TOUR);
        assert_eq!(sim.sizes(), before);
        Ok(())
    })
    .seeds(50)
    .check();
}
