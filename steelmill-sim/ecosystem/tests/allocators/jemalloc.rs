//! Programs with jemalloc as their allocator.
#![expect(
    clippy::disallowed_methods,
    reason = "these are programs as people write them, with threads of their own"
)]

mod scenario;

use std::path::Path;
use std::process::{self, Command};

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

#[test]
fn without_symbols_an_error_says_what_to_do() {
    let stripped = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("stripped-{}", process::id()));
    let program = std::env::current_exe().expect("this program");
    let strip = Command::new("strip").arg("-o").args([&stripped, &program]).status().expect("strip(1)");
    assert!(strip.success());
    let mut command = Command::new(&stripped);
    command
        .args(["--exact", "programs_with_jemalloc_repeat_and_survive_crashes"])
        .env("STEELMILL_SEEDS", "1");
    let output = command.output();
    std::fs::remove_file(&stripped).expect("it was there");
    let output = output.expect("it starts");
    assert!(!output.status.success());
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("keep its symbols (`strip = \"none\"` in the profile)"), "{text}");
}
