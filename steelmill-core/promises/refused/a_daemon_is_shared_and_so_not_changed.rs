//! Others hold it too, and call it from other threads.

use steelmill_core::DaemonRef;

struct Counter {
    count: u32,
}

fn count(counter: &mut DaemonRef<Counter>) {
    counter.count += 1;
}

fn main() {}
