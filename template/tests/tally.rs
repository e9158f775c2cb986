//! One daemon alone, in the simulation.

use steelmill_core::DaemonRef;
use steelmill_sim::{Seed, check_daemon};
use {{crate_name}}::Tally;

#[test]
fn a_request_that_is_repeated_counts_once() {
    check_daemon(Seed(1), |_| Ok(()), |tally: DaemonRef<Tally>, _sim| async move {
        assert_eq!(tally.add("anna", 1, 5), 5);
        assert_eq!(tally.add("anna", 1, 5), 5);
        assert_eq!(tally.add("bert", 1, 2), 7);
        Ok(())
    });
}
