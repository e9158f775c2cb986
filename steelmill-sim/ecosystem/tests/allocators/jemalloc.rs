//! Programs with jemalloc as their allocator.
#![expect(
    clippy::disallowed_methods,
    unsafe_code,
    reason = "these are programs as people write them; jemalloc's statistics are asked for in C"
)]

mod scenario;

use std::ffi::c_void;
use std::path::Path;
use std::process::{self, Command};
use std::ptr::null_mut;

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

#[test]
fn programs_with_jemalloc_repeat_and_survive_crashes() {
    scenario::holds_on_each_seed(|| {
        // It goes through what it caches for each thread.
        let mut epoch = 1_u64;
        let value: *mut c_void = (&raw mut epoch).cast();
        // SAFETY: mallctl of jemalloc(3): `epoch` is a uint64_t, which is read here, and nothing else.
        let result =
            unsafe { tikv_jemalloc_sys::mallctl(c"epoch".as_ptr(), null_mut(), null_mut(), value, 8) };
        assert_eq!(result, 0);
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
