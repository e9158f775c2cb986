//! Programs with jemalloc as their allocator.
#![expect(
    clippy::disallowed_methods,
    unsafe_code,
    reason = "these are programs as people write them; jemalloc's statistics are asked for in C"
)]

mod scenario;

use std::ffi::c_void;
use std::path::{Path, PathBuf};
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

/// A file in a folder for such, which is removed in the end.
struct Temporary(PathBuf);

impl Temporary {
    fn named(name: &str) -> Self {
        Self(Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{}-{name}", process::id())))
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// What the first test prints in a process of its own, in which it fails.
fn failure(program: &Path, preloaded: &Path) -> String {
    let mut command = Command::new(program);
    command.args(["--exact", "programs_with_jemalloc_repeat_and_survive_crashes"]);
    let output =
        command.env("STEELMILL_SEEDS", "1").env("LD_PRELOAD", preloaded).output().expect("it starts");
    assert!(!output.status.success());
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn without_symbols_an_error_says_what_to_do() {
    let (program, stripped) = (std::env::current_exe().expect("this program"), Temporary::named("stripped"));
    let strip = Command::new("strip").arg("-o").args([&stripped.0, &program]).status();
    assert!(strip.expect("strip(1)").success());
    let text = failure(&stripped.0, Path::new(""));
    assert!(text.contains("keep its symbols (`strip = \"none\"` in the profile)"), "{text}");
}

#[test]
fn an_allocator_in_a_shared_library_is_an_error() {
    let (source, library) = (Temporary::named("allocator.c"), Temporary::named("allocator.so"));
    std::fs::write(&source.0, "void mi_malloc(void) {}").expect("a file");
    let compiler = Command::new("cc").args(["-shared", "-fPIC", "-o"]).args([&library.0, &source.0]).status();
    assert!(compiler.expect("a C compiler").success());
    let text = failure(&std::env::current_exe().expect("this program"), &library.0);
    assert!(text.contains("an allocator in a shared library, which has mi_malloc"), "{text}");
}
