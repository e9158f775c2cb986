//! Whether a thread that simulates does something for the simulation itself.

use std::cell::Cell;

thread_local! {
    static INTERNAL: Cell<bool> = const { Cell::new(false) };
}

/// Does something for the simulation itself, such as reading debug information: with the real file system, whatever the run
/// answers to the program that is being polled.
pub(crate) fn internally<T>(action: impl FnOnce() -> T) -> T {
    let before = INTERNAL.replace(true);
    let result = action();
    INTERNAL.set(before);
    result
}

pub(crate) fn is_internal() -> bool {
    INTERNAL.get()
}
