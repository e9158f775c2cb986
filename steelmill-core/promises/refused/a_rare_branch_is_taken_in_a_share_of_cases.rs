//! Nothing can happen more often than always.
use steelmill_core::buggify;

fn main() {
    if buggify!(25.0) {
        println!("a quarter was meant");
    }
}
