//! The plugin example, in both worlds.
#![allow(clippy::unwrap_used, reason = "these are tests")]

#[path = "../examples/plugins.rs"]
mod plugins;

const TOUR: [&str; 9] = [
    "Hello, Ada! (call 1)",
    "Good evening, Ada! (call 2)",
    "no upgrade: host/greeter did not start: host/greeter: Greeter failed to prepare: it has nothing to say",
    "Good-bye, Ada! (call 3)",
    "host is running",
    "host/greeter is running",
    "host/parting is running",
    "there is no plugin called greeter",
    "host: ended cleanly",
];

#[test]
fn plugins_come_and_go_in_the_runtime() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    assert_eq!(runtime.block_on(plugins::tour(steelmill_runtime::RuntimeWorld)).unwrap(), TOUR);
}

#[test]
fn plugins_come_and_go_in_the_sim_and_leave_nothing() {
    steelmill_sim::Campaign::new(|sim: steelmill_sim::Sim| async move {
        let before = sim.sizes();
        assert_eq!(plugins::tour(sim.world()).await?, TOUR);
        assert_eq!(sim.sizes(), before);
        Ok(())
    })
    .seeds(50)
    .check();
}
