//! Where a panic was raised: recorded for threads that simulate, passed on for all others.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::cell::RefCell;
use std::sync::Once;

use steelmill_core::panic_message;

use crate::machine::cluster;
use crate::schema::outcome::Panicked;

thread_local! {
    static LAST: RefCell<Option<Panicked>> = const { RefCell::new(None) };
}

/// Installs the hook, once for the process. A simulated panic prints nothing: the run's failure tells of it.
pub(crate) fn install_hook() {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| {
        let previous = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if !cluster::is_simulating() {
                return previous(info);
            }
            let message = panic_message(info.payload());
            let place = info.location().map(|place| format!(" at {place}")).unwrap_or_default();
            let mut text = format!("the last panic of the run{place}: {message}");
            let backtrace = Backtrace::capture();
            if backtrace.status() == BacktraceStatus::Captured {
                text.push_str(&format!("\n{backtrace}"));
            }
            let place = info.location().map(|place| format!("{}:{}", place.file(), place.line()));
            LAST.set(Some(Panicked { message: message.to_owned(), place, text }));
        }));
    });
}

/// The last panic of this thread since this was last asked.
pub(crate) fn take_last() -> Option<Panicked> {
    LAST.take()
}
