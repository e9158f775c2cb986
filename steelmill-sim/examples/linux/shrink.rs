//! The least program of which a difference is left, and its text as a test.

use std::fmt::{Debug, Write as _};

/// Takes out steps as long as `differ` still holds of what is left. It is asked of several candidates at once, which may take
/// no longer than one.
pub(crate) fn shrink<T: Clone>(program: &[T], differ: impl Fn(&[Vec<T>]) -> Vec<bool>) -> Vec<T> {
    let mut least = program.to_vec();
    let mut length = least.len().div_ceil(2);
    while length > 0 {
        let pieces: Vec<&[T]> = least.chunks(length).collect();
        let without = |taken: &dyn Fn(usize) -> bool| -> Vec<T> {
            let left = pieces.iter().enumerate().filter(|(place, _)| !taken(*place));
            left.flat_map(|(_, piece)| piece.iter().cloned()).collect()
        };
        let candidates: Vec<Vec<T>> = (0..pieces.len()).map(|out| without(&|place| place == out)).collect();
        let differ_still = differ(&candidates);
        // What can be left out alone, together; or else half as much of it, from the end on.
        let mut out: Vec<usize> = (0..pieces.len()).filter(|place| differ_still[*place]).collect();
        while out.len() > 1 && differ(&[without(&|place| out.contains(&place))]) != [true] {
            out.drain(..out.len().div_ceil(2));
        }
        match out.is_empty() {
            true => length /= 2,
            false => least = without(&|place| out.contains(&place)),
        }
        length = length.min(least.len());
    }
    least
}

/// A test for `tests/linux`: the steps with the answers that Linux gave, and beside them those of the simulation that differ.
pub(crate) fn as_test<T: Debug>(
    check: &str,
    seed: u64,
    program: &[T],
    linux: &[String],
    simulated: &[String],
) -> String {
    let mut text = format!("#[test]\nfn seed_{seed}() {{\n    {check}(&[\n");
    for (place, step) in program.iter().enumerate() {
        let [linux, simulated] =
            [linux, simulated].map(|all| all.get(place).map_or("nothing", String::as_str));
        let note = if linux == simulated { String::new() } else { format!(" // not: {simulated}") };
        writeln!(text, "        ({step:?}, {linux:?}),{note}").expect("a string takes all");
    }
    text + "    ]);\n}\n"
}
