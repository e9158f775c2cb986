//! A thread of its own for each run.
#![allow(
    unsafe_code,
    reason = "a thread that borrows, and may be left behind; the argument stands beside it"
)]

use std::sync::mpsc;

use steelmill_core::{Error, Panic};
use tracing::{Dispatch, dispatcher};

use crate::kernel::watchdog;
use crate::machine::panic_log;
use crate::schema::outcome::Outcome;
use crate::schema::settings::Seed;

/// Stack size in bytes, for a scenario's deepest poll. Unused pages take no memory.
const STACK: usize = 16 << 20;

/// Calls `run` on a new thread, whose thread-locals hold no hash keys of std and no state of `rand::rng()` yet. Starting a
/// thread takes some 50 µs. Its name is what std prints if it overflows its stack. It logs to where this thread does.
///
/// If a poll does not return, the watchdog may stop the thread. It stays for as long as the process, with all that it holds.
pub(super) fn on_a_fresh_thread(
    seed: Seed,
    may_be_stopped: bool,
    run: impl FnOnce() -> Outcome + Send,
) -> Outcome {
    let logs = dispatcher::get_default(Dispatch::clone);
    let (stopped, has_stopped) = mpsc::channel();
    let thread = std::thread::Builder::new().name(format!("seed {seed}")).stack_size(STACK);
    let all = move || {
        if may_be_stopped {
            watchdog::may_stop_this_thread(stopped);
        }
        logging_to(&logs, run)
    };
    // SAFETY: this function returns when the thread has ended, or when it was stopped: then it never executes again, so it uses
    // nothing that it borrows.
    let thread = unsafe { thread.spawn_unchecked(all) }.expect("a thread can be started");
    // Nobody can tell of a stop any more when the run has ended.
    if let Ok(report) = has_stopped.recv() {
        return Outcome::without_run(seed, Error::msg(report));
    }
    thread.join().unwrap_or_else(|payload| {
        let panic = Panic::of(payload.as_ref());
        panic_log::drop_payload(payload);
        Outcome::panicked(seed, &panic)
    })
}

/// Calls `run` with the log of another thread.
pub(super) fn logging_to<T>(logs: &Dispatch, run: impl FnOnce() -> T) -> T {
    dispatcher::with_default(logs, run)
}
