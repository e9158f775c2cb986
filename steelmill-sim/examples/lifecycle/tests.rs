//! The lifecycle scenario over a few seeds; `cargo xtask sim --scenario lifecycle` runs more.

use steelmill_sim::Campaign;

#[test]
fn random_factories_keep_the_rules_of_the_lifecycle() {
    let campaign = Campaign::new(crate::scenario).name("lifecycle").seeds(300);
    campaign.program("cargo xtask sim --scenario lifecycle").check();
}
