//! Stacks of panics and broken assertions, which `RUST_BACKTRACE` asks for.
//!
//! That also has errors capture theirs ([`Backtrace::capture`], which anyhow calls for each error). In a run such a stack would make
//! what a program prints and sends depend on the real environment, and it costs a fifth of a seed where errors are
//! common. So std is told that errors have none, unless `RUST_LIB_BACKTRACE` says otherwise. It asks once per process.

use std::backtrace::Backtrace;
use std::cell::Cell;
#[cfg(all(target_os = "linux", target_env = "gnu"))]
use std::ffi::CStr;
use std::sync::OnceLock;

use super::internal::internally;

/// The variable that decides on errors alone.
const OF_ERRORS: &str = "RUST_LIB_BACKTRACE";

/// Whether panics have a stack.
static WANTED: OnceLock<bool> = OnceLock::new();

thread_local! {
    static IS_STD_ASKING: Cell<bool> = const { Cell::new(false) };
}

/// Has std decide on the stacks of errors, and reads what is wanted of panics.
pub(crate) fn decide() {
    let is_on = |name| std::env::var_os(name).map(|value| value != "0");
    let of_errors = is_on(OF_ERRORS);
    WANTED.get_or_init(|| of_errors.or(is_on("RUST_BACKTRACE")).unwrap_or(false));
    IS_STD_ASKING.set(of_errors.is_none());
    let _ = Backtrace::capture();
    IS_STD_ASKING.set(false);
}

/// The answer of getenv(3) to std while it decides; `None` to all other questions.
#[cfg(all(target_os = "linux", target_env = "gnu"))] // where getenv(3) is ours
pub(crate) fn answer(name: &CStr) -> Option<&'static CStr> {
    (IS_STD_ASKING.get() && name.to_bytes() == OF_ERRORS.as_bytes()).then_some(c"0")
}

/// The stack of this thread, if it is wanted, without the frames of the panic hook.
pub(crate) fn capture() -> Option<String> {
    let is_wanted = WANTED.get().copied().unwrap_or(false);
    is_wanted.then(|| internally(|| without_hook(&Backtrace::force_capture().to_string()).to_owned()))
}

/// From the frame on with which a panic begins.
fn without_hook(stack: &str) -> &str {
    let panic =
        stack.find("rust_begin_unwind").map(|name| stack[..name].rfind('\n').map_or(0, |end| end + 1));
    &stack[panic.unwrap_or(0)..]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stack_begins_where_the_panic_does() {
        let stack =
            "   0: hook\n             at hook.rs:1\n   1: __rustc::rust_begin_unwind\n   2: service\n";
        assert_eq!(without_hook(stack), "   1: __rustc::rust_begin_unwind\n   2: service\n");
        assert_eq!(without_hook("   0: service\n"), "   0: service\n");
    }
}
