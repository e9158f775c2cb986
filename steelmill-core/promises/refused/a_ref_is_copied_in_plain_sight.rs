//! `share` says that one more holds the daemon; `clone` could be any copy.

use steelmill_core::DaemonRef;

struct Counter;

fn another(counter: &DaemonRef<Counter>) -> DaemonRef<Counter> {
    DaemonRef::clone(counter)
}

fn main() {}
