//! Panics of programs that have set a panic hook of their own, which ours then does not hear of: they are seen when they
//! unwind.

use std::ffi::{c_int, c_void};

use super::is_guest;
use crate::machine::cluster;
use crate::machine::panic_log;
use crate::machine::real::real;
use crate::schema::outcome::Panicked;

/// # Safety
/// As the unwinder's (Itanium C++ ABI: Exception Handling, §1.3).
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn _Unwind_RaiseException(exception: *mut c_void) -> c_int {
    if is_guest() && !panic_log::unwinds() && cluster::with_current(|run| run.has_own_hook()) == Some(true) {
        let message = "a panic, whose message went to the panic hook that the program has set".to_owned();
        panic_log::record(Panicked {
            text: format!("the last panic of the run: {message}"),
            message,
            place: None,
        });
        panic_log::unwinds();
    }
    type Raise = unsafe extern "C-unwind" fn(*mut c_void) -> c_int;
    // SAFETY: as ours.
    unsafe { real!(@ "_Unwind_RaiseException", Raise)(exception) }
}
