//! The panic hook: records panics on simulating threads, and passes all others on to the previous hook.

use std::cell::RefCell;
use std::io::Write as _;
use std::panic::PanicHookInfo;
use std::sync::{Once, OnceLock};

use steelmill_core::panic_message;

use crate::kernel::backtraces;
use crate::machine::cluster;
use crate::machine::panic_log;
use crate::schema::outcome::Panicked;

thread_local! {
    /// The last two panics: the first may still be unwinding when the second is raised.
    static LAST: RefCell<[String; 2]> = const { RefCell::new([String::new(), String::new()]) };
}

/// The panic messages with which the standard library aborts the process: a destructor panicked while another panic unwound
/// through it, or a panic reached a function that cannot unwind.
const ABORTS: [&str; 2] = ["panic in a destructor during cleanup", "panic in a function that cannot unwind"];

/// The hook before ours.
static PREVIOUS: OnceLock<Hook> = OnceLock::new();

type Hook = Box<dyn Fn(&PanicHookInfo<'_>) + Send + Sync>;

/// Installs the hook, once per process. It prints simulated panics only before an abort: else the run reports them.
pub(crate) fn install_hook() {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| {
        backtraces::decide(); // now, and not when a program asks, whose environment is another
        let before = std::panic::take_hook();
        PREVIOUS.get_or_init(|| before);
        // It has no data: each program that starts has a copy, which is freed when it sets another.
        std::panic::set_hook(Box::new(|info| {
            let previous = |info| PREVIOUS.get().into_iter().for_each(|previous| previous(info));
            if !cluster::is_simulating() {
                return previous(info);
            }
            let message = panic_message(info.payload());
            if ABORTS.contains(&message) {
                print_before_abort(message);
                return previous(info);
            }
            let place = info.location().map(|place| format!(" at {place}")).unwrap_or_default();
            let mut text = format!("the last panic of the run{place}: {message}");
            if let Some(backtrace) = backtraces::capture() {
                text.push_str(&format!("\n{backtrace}"));
            }
            LAST.with_borrow_mut(|[first, last]| {
                *first = std::mem::replace(last, format!("{message}{place}"));
            });
            let place = info.location().map(|place| format!("{}:{}", place.file(), place.line()));
            panic_log::record(Panicked { message: message.to_owned(), place, text });
        }));
    });
}

/// Prints the last panics before the process aborts: not by `eprintln!`, which a test harness captures.
fn print_before_abort(message: &str) {
    let panics = LAST.with_borrow(|last| last.join("\n  "));
    let thread = std::thread::current();
    let seed = thread.name().unwrap_or("a seed");
    let _ = writeln!(
        std::io::stderr(),
        "{seed}: {message}, so the process is aborted. Its last panics:\n  {panics}\nReplay the seed with STEELMILL_SEED or \
         --seed."
    );
}
