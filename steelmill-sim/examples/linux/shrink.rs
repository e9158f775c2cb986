//! The least program of which a difference is left, and its text as a test.

use std::fmt::{Debug, Write as _};

/// Takes out steps as long as `differs` still holds of what is left.
pub(crate) fn shrink<T: Clone>(program: &[T], differs: impl Fn(&[T]) -> bool) -> Vec<T> {
    let mut least = program.to_vec();
    let mut length = least.len().div_ceil(2);
    while length > 0 {
        let mut place = 0;
        while place < least.len() {
            let end = (place + length).min(least.len());
            let fewer = [&least[..place], &least[end..]].concat();
            if !fewer.is_empty() && differs(&fewer) {
                least = fewer;
            } else {
                place += length;
            }
        }
        length /= 2;
    }
    least
}

/// A test for `tests/linux.rs`: the steps with the answers that Linux gave, and beside them those of the simulation that differ.
pub(crate) fn as_test<T: Debug>(
    check: &str,
    seed: u64,
    program: &[T],
    linux: &[String],
    simulated: &[String],
) -> String {
    let mut text = format!("#[test]\nfn seed_{seed}() {{\n    {check}(&[\n");
    for (place, step) in program.iter().enumerate() {
        let (linux, simulated) = (&linux[place], simulated.get(place).map_or("nothing", String::as_str));
        let note = if linux == simulated { String::new() } else { format!(" // not: {simulated}") };
        writeln!(text, "        ({step:?}, {linux:?}),{note}").expect("a string takes all");
    }
    text + "    ]);\n}\n"
}
