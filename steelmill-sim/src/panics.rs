//! Where a panic was raised: recorded for threads that simulate, passed on for all others.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::cell::RefCell;
use std::sync::Once;

use steelmill_core::panic_message;

use crate::run;

thread_local! {
    static LAST: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Installs the hook, once for the process. A simulated panic prints nothing: the run's failure tells of it.
pub(crate) fn install_hook() {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| {
        let previous = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if !run::is_simulating() {
                return previous(info);
            }
            let message = panic_message(info.payload());
            let place = info.location().map(|place| format!(" at {place}")).unwrap_or_default();
            let mut text = format!("the last panic of the run{place}: {message}");
            let backtrace = Backtrace::capture();
            if backtrace.status() == BacktraceStatus::Captured {
                text.push_str(&format!("\n{backtrace}"));
            }
            LAST.set(Some(text));
        }));
    });
}

/// The last panic of this thread since this was last asked.
pub(crate) fn take_last() -> Option<String> {
    LAST.take()
}
