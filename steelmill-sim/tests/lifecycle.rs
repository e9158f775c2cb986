//! The lifecycle scenario over a few seeds; `cargo xtask sim --scenario lifecycle` runs more.
#![allow(clippy::unwrap_used, reason = "these are tests")]

#[path = "../examples/lifecycle/main.rs"]
mod lifecycle;

#[test]
fn random_factories_keep_the_rules_of_the_lifecycle() {
    let campaign = steelmill_sim::Campaign::new(lifecycle::scenario).name("lifecycle").seeds(300);
    campaign.program("cargo xtask sim --scenario lifecycle").check();
}
