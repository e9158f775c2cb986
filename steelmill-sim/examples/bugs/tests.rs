//! The planted bugs over a few seeds; `cargo xtask bugs` finds and shrinks all of them.

use steelmill_sim::Seed;

use crate::hard::HARD;
use crate::{BUGS, Version, table};

#[test]
fn each_right_version_tolerates_its_faults() {
    for bug in BUGS.iter().chain(&HARD) {
        bug.campaign(Version::Right).seeds(5).check();
    }
}

#[test]
fn bugs_found_quickly_shrink_to_the_expected_faults() {
    for bug in BUGS.iter().filter(|bug| ["retry", "lock-order", "forgotten-task"].contains(&bug.name)) {
        let row = table::find(bug, Seed(1)).unwrap();
        table::check(bug, &row).unwrap();
    }
}
