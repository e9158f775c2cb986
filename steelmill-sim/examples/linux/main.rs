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
//! A third of the time is for typed sockets: the same methods on tokio's sockets and on the simulated ones ([`typed`]); and a third
//! for files, in a real directory of ext4 and on the simulated disk ([`files`]).
//!
//! A difference is shrunk, and printed as a test for `tests/linux.rs`. What differs on purpose is not drawn, or not compared;
//! docs/network.md and docs/disk.md list it.

mod calls; // system calls as safe functions
mod carry_out; // a program in the middle of its steps
mod draw; // the program of a seed
pub(crate) mod files; // programs of calls on files
pub(crate) mod linux; // answers of Linux
mod shrink; // the least program with a difference, as a test
pub(crate) mod simulated; // answers of the simulation
pub(crate) mod step; // what programs consist of
pub(crate) mod typed; // programs of tokio's methods

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::{Parser, ValueEnum};

/// Compares the answers of Linux and of the simulation to random programs.
#[derive(Debug, Parser)]
#[command(version)]
struct CommandLine {
    /// How many programs of each kind to carry out.
    #[arg(long, default_value_t = u64::MAX, hide_default_value = true)]
    programs: u64,
    /// For how long altogether, in seconds.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// The seed of the first program; those that follow have the next ones.
    #[arg(long, default_value_t = 1)]
    first: u64,
    /// One kind of programs alone.
    #[arg(long)]
    only: Option<Kind>,
    /// Carries out the program of one seed, and prints all answers.
    #[arg(long)]
    seed: Option<u64>,
    /// How many differences of a kind to shrink before it ends.
    #[arg(long, default_value_t = 5)]
    differences: usize,
    /// Where the programs on files have their directories: it has to be of ext4.
    #[arg(long, default_value = "target/tmp/linux")]
    directory: PathBuf,
}

/// What programs consist of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Kind {
    /// System calls, through the C library.
    Calls,
    /// Methods of typed sockets.
    Typed,
    /// System calls on files.
    Files,
}

/// A kind of programs, with what both worlds answer to them.
struct Surface<T> {
    kind: Kind,
    /// The function that checks a program in tests/linux.rs.
    check: &'static str,
    draw: fn(u64) -> Vec<T>,
    /// With the port before the program's own, or the number of its directory; patient or not.
    linux: fn(&[T], u16, bool) -> Vec<String>,
    /// With that port, and the seed of the run.
    simulated: fn(&[T], u16, u64) -> Vec<String>,
}

const CALLS: Surface<step::Step> = Surface {
    kind: Kind::Calls,
    check: "both_answer",
    draw: draw::draw,
    linux: linux::answers,
    simulated: simulated::answers,
};

const TYPED: Surface<typed::Act> = Surface {
    kind: Kind::Typed,
    check: "typed_sockets_answer",
    draw: typed::draw,
    linux: linux::typed_answers,
    simulated: simulated::typed_answers,
};

const FILES: Surface<files::Call> = Surface {
    kind: Kind::Files,
    check: "files_answer",
    draw: files::draw,
    linux: files::real::answers,
    simulated: files::simulated::answers,
};

#[cfg_attr(test, allow(dead_code, reason = "the tests carry out programs of their own"))]
fn main() -> ExitCode {
    let arguments = CommandLine::parse();
    let is_wanted = |kind| arguments.only.is_none_or(|only| only == kind);
    let limit = Duration::from_secs(arguments.seconds) / if arguments.only.is_none() { 3 } else { 1 };
    let mut is_green = true;
    // Before the network namespace, in which this thread stays.
    if is_wanted(Kind::Files) {
        match files::real::enter(&arguments.directory) {
            Ok(true) => is_green &= FILES.run(&arguments, limit),
            Ok(false) => println!("skipped, because {} is not of ext4: files", arguments.directory.display()),
            Err(problem) => return failed(&problem),
        }
    }
    if is_wanted(Kind::Calls) || is_wanted(Kind::Typed) {
        if let Err(problem) = linux::enter_namespace() {
            return failed(&format!("there is no network namespace for Linux's part: {problem}"));
        }
        is_green &= !is_wanted(Kind::Calls) || CALLS.run(&arguments, limit);
        is_green &= !is_wanted(Kind::Typed) || TYPED.run(&arguments, limit);
    }
    if is_green { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn failed(problem: &str) -> ExitCode {
    eprintln!("{problem}");
    ExitCode::FAILURE
}

impl<T: Debug + Clone> Surface<T> {
    fn run(&self, arguments: &CommandLine, limit: Duration) -> bool {
        match arguments.seed {
            Some(seed) => self.one(seed),
            None => self.many(arguments, limit),
        }
    }

    /// Prints all answers to one program; true when they are equal.
    fn one(&self, seed: u64) -> bool {
        let program = (self.draw)(seed);
        let (linux, simulated) = self.both(&program, seed, true);
        for (place, step) in program.iter().enumerate() {
            println!("{step:?}\n    Linux: {}", linux[place]);
            if simulated.get(place) != Some(&linux[place]) {
                println!("    sim:   {}", simulated.get(place).map_or("nothing", String::as_str));
            }
        }
        linux == simulated
    }

    fn both(&self, program: &[T], seed: u64, is_patient: bool) -> (Vec<String>, Vec<String>) {
        let port = linux::next_ports();
        ((self.linux)(program, port, is_patient), (self.simulated)(program, port, seed))
    }

    /// Carries out programs until a limit; true when none differs.
    #[expect(clippy::disallowed_methods, reason = "its limit is one of real time")]
    fn many(&self, arguments: &CommandLine, limit: Duration) -> bool {
        let begun = Instant::now();
        let (mut carried_out, mut unsteady) = (0, 0);
        let mut found = BTreeMap::new();
        for seed in arguments.first..=u64::MAX {
            let is_enough = carried_out >= arguments.programs || found.len() >= arguments.differences;
            if is_enough || begun.elapsed() >= limit {
                break;
            }
            carried_out += 1;
            let program = (self.draw)(seed);
            let (linux, simulated) = self.both(&program, seed, false);
            if linux == simulated {
                continue;
            }
            let Some(kind) = self.difference(&program, seed) else {
                unsteady += 1;
                continue;
            };
            // Of differences of one kind one is enough.
            if found.insert(kind.clone(), seed).is_some() {
                continue;
            }
            let least =
                shrink::shrink(&program, |fewer| self.difference(fewer, seed).as_ref() == Some(&kind));
            let (linux, simulated) = self.both(&least, seed, true);
            println!("{}", shrink::as_test(self.check, seed, &least, &linux, &simulated));
        }
        println!(
            "{carried_out} programs of {:?}, {} differences, {unsteady} for which Linux answered anew in {:.0} s",
            self.kind,
            found.len(),
            begun.elapsed().as_secs_f64()
        );
        found.is_empty()
    }

    /// The first answers that differ, and to what, if they do when Linux is given time.
    fn difference(&self, program: &[T], seed: u64) -> Option<String> {
        let (linux, simulated) = self.both(program, seed, false);
        if linux == simulated {
            return None;
        }
        let (linux, simulated) = self.both(program, seed, true);
        let place = (0..linux.len()).find(|place| simulated.get(*place) != Some(&linux[*place]))?;
        let call = format!("{:?}", program[place]);
        let call = call.split(' ').next().unwrap_or_default();
        let simulated = simulated.get(place).map(|answer| outline(answer));
        Some(format!("{call}: {} / {simulated:?}", outline(&linux[place])))
    }
}

/// An answer without numbers of sockets and ports.
fn outline(answer: &str) -> String {
    answer.chars().filter(|c| !c.is_ascii_digit()).collect()
}
