//! Programs with jemalloc as their allocator.
#![expect(
    clippy::disallowed_methods,
    reason = "these are programs as people write them, with threads of their own"
)]

mod scenario;

use tikv_jemalloc_ctl::{epoch, stats};

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

#[test]
fn programs_with_jemalloc_repeat_and_survive_crashes() {
    scenario::holds_on_each_seed(|| {
        // It adds up what it has cached for each thread.
        epoch::advance().expect("statistics");
        assert_ne!(stats::allocated::read().expect("statistics"), 0, "jemalloc allocates");
    });
}
