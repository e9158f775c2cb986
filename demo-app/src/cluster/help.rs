//! The committed text of `cargo xtask sim --help`, which is printed without a build, matches the program.

use clap::CommandFactory as _;

use super::CommandLine;

const COMMITTED: &str = include_str!("../../../xtask/src/sim-help.txt");
const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../xtask/src/sim-help.txt");

#[test]
fn the_help_that_xtask_prints_is_this_programs() {
    let program = CommandLine::command().term_width(100);
    let help = program.try_get_matches_from(["sim", "--help"]).expect_err("it only prints").to_string();
    if help != COMMITTED {
        std::fs::write(FILE, help).expect("the committed text can be rewritten");
        panic!("xtask/src/sim-help.txt differed from this program's --help and is rewritten now: commit it");
    }
}
