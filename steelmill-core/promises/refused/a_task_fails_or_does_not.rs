//! Nobody takes what a task returns, unless it is an error.

use steelmill_core::Scope;

fn count(scope: &Scope) {
    scope.spawn("count", async { 7 });
}

fn main() {}
