//! A differential fuzzer: programs drawn from a seed are carried out on Linux and in the simulation, and every answer is
//! compared: values, errno, and which sockets become ready.
//!
//! ```text
//! cargo xtask acceptance linux                                        # for a minute
//! cargo run -p steelmill-sim --example linux -- --programs 1000       # by hand
//! cargo run -p steelmill-sim --example linux -- --seed 17             # one program, with both answers
//! ```
//!
//! Each program is a list of steps ([`step`]), mostly system calls on nonblocking sockets. A world makes one call, waits until
//! nothing is on its way any more, and notes what the call returned and what poll(2) says of every socket. On Linux that takes
//! place on loopback, in a network namespace of its own, which takes root. A busy machine may be late: a program with a
//! difference is carried out again, with pauses, and counts only if Linux then answers the same.
//!
//! A difference is shrunk, and printed as a test for `tests/linux.rs`. What differs on purpose is not drawn, or not compared;
//! docs/network.md lists it.

mod calls; // system calls as safe functions
mod carry_out; // a program in the middle of its steps
mod draw; // the program of a seed
pub(crate) mod linux; // answers of Linux
mod shrink; // the least program with a difference, as a test
pub(crate) mod simulated; // answers of the simulation
pub(crate) mod step; // what programs consist of

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Parser;

use step::Step;

/// Compares the answers of Linux and of the simulation to random programs.
#[derive(Debug, Parser)]
#[command(version)]
struct CommandLine {
    /// How many programs to carry out.
    #[arg(long, default_value_t = u64::MAX, hide_default_value = true)]
    programs: u64,
    /// For how long, in seconds.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// The seed of the first program; those that follow have the next ones.
    #[arg(long, default_value_t = 1)]
    first: u64,
    /// Carries out the program of one seed, and prints all answers.
    #[arg(long)]
    seed: Option<u64>,
    /// Leaves programs with Unix sockets out.
    #[arg(long)]
    internet: bool,
    /// How many differences to shrink before it ends.
    #[arg(long, default_value_t = 5)]
    differences: usize,
}

/// How long each step rests when Linux is asked again.
const SECOND_LOOK: Duration = Duration::from_millis(15);

#[cfg_attr(test, allow(dead_code, reason = "the tests carry out programs of their own"))]
fn main() -> ExitCode {
    let arguments = CommandLine::parse();
    if let Err(problem) = linux::enter_namespace() {
        eprintln!("there is no network namespace for Linux's part: {problem}");
        return ExitCode::FAILURE;
    }
    match arguments.seed {
        Some(seed) => one(seed),
        None => many(&arguments),
    }
}

fn one(seed: u64) -> ExitCode {
    let program = draw::draw(seed);
    let (linux, simulated) = both(&program, seed, SECOND_LOOK);
    for (place, step) in program.iter().enumerate() {
        println!("{step:?}\n    Linux: {}", linux[place]);
        if simulated.get(place) != Some(&linux[place]) {
            println!("    sim:   {}", simulated.get(place).map_or("nothing", String::as_str));
        }
    }
    if linux == simulated { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn both(program: &[Step], seed: u64, pause: Duration) -> (Vec<String>, Vec<String>) {
    let port = linux::next_ports();
    (linux::answers(program, port, pause), simulated::answers(program, port, seed))
}

#[expect(clippy::disallowed_methods, reason = "its limit is one of real time")]
fn many(arguments: &CommandLine) -> ExitCode {
    let begun = Instant::now();
    let limit = Duration::from_secs(arguments.seconds);
    let mut carried_out = 0;
    let mut unsteady = 0;
    let mut found = BTreeMap::new();
    for seed in arguments.first..=u64::MAX {
        if carried_out >= arguments.programs
            || begun.elapsed() >= limit
            || found.len() >= arguments.differences
        {
            break;
        }
        let program = draw::draw(seed);
        if arguments.internet && format!("{program:?}").contains("Unix") {
            continue;
        }
        carried_out += 1;
        let (linux, simulated) = both(&program, seed, Duration::ZERO);
        if linux == simulated {
            continue;
        }
        let Some(kind) = difference(&program, seed) else {
            unsteady += 1;
            continue;
        };
        // Of differences of one kind one is enough.
        if found.insert(kind.clone(), seed).is_some() {
            continue;
        }
        let least = shrink::shrink(&program, |fewer| difference(fewer, seed).as_ref() == Some(&kind));
        let (linux, simulated) = both(&least, seed, SECOND_LOOK);
        println!("{}", shrink::as_test(&format!("seed_{seed}"), &least, &linux, &simulated));
    }
    println!(
        "{carried_out} programs, {} differences, {unsteady} for which Linux answered anew in {:.0} s",
        found.len(),
        begun.elapsed().as_secs_f64()
    );
    if found.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// The first answers that differ, and to which call, if they do when Linux is given time.
fn difference(program: &[Step], seed: u64) -> Option<String> {
    let (linux, simulated) = both(program, seed, Duration::ZERO);
    if linux == simulated {
        return None;
    }
    let (linux, simulated) = both(program, seed, SECOND_LOOK);
    let place = (0..linux.len()).find(|place| simulated.get(*place) != Some(&linux[*place]))?;
    let call = format!("{:?}", program[place]);
    let call = call.split(' ').next().unwrap_or_default();
    Some(format!(
        "{call}: {} / {:?}",
        outline(&linux[place]),
        simulated.get(place).map(|answer| outline(answer))
    ))
}

/// An answer without numbers of sockets and ports.
fn outline(answer: &str) -> String {
    answer.chars().filter(|c| !c.is_ascii_digit()).collect()
}
