//! Programs with mimalloc as their allocator.
#![expect(
    clippy::disallowed_methods,
    reason = "these are programs as people write them, with threads of their own"
)]

mod scenario;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[test]
fn programs_with_mimalloc_repeat_and_survive_crashes() {
    scenario::holds_on_each_seed(|| {});
}
