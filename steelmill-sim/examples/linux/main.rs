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
//! A fifth of the time is for typed sockets: the same methods on tokio's sockets and on the simulated ones ([`typed`]); a fifth for
//! system calls on several hosts, between which a router forwards and drops ([`routed`]), and a fifth for typed sockets there; and a fifth
//! for files, in a real directory of ext4 and on the simulated disk ([`files`]).
//!
//! A difference is shrunk, and printed as a test for `tests/linux`. What differs on purpose is not drawn, or not compared;
//! docs/network.md and docs/disk.md list it.

mod calls; // system calls as safe functions
mod carry_out; // a program in the middle of its steps
mod draw; // the program of a seed
pub(crate) mod epolls; // programs of epolls and what they watch
pub(crate) mod files; // programs of calls on files
pub(crate) mod linux; // answers of Linux
pub(crate) mod routed; // programs on several hosts
mod shrink; // the least program with a difference, as a test
pub(crate) mod simulated; // answers of the simulation
pub(crate) mod step; // what programs consist of
pub(crate) mod typed; // programs of tokio's methods

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Mutex;
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
    /// These kinds of programs alone.
    #[arg(long, value_delimiter = ',')]
    only: Vec<Kind>,
    /// How many programs of a kind to carry out at once: one, or 32 of those that mostly wait.
    #[arg(long)]
    at_once: Option<usize>,
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
    /// System calls on several hosts, with a router between them that drops at times.
    Routed,
    /// Methods of typed sockets on several hosts.
    Trips,
    /// System calls on files.
    Files,
    /// epoll(7) on pipes, sockets, eventfds, timerfds and epolls.
    Epolls,
}

/// A kind of programs, with what both worlds answer to them.
struct Surface<T> {
    kind: Kind,
    /// The function that checks a program in tests/linux.
    check: &'static str,
    draw: fn(u64) -> Vec<T>,
    /// Prepares a thread for programs.
    enter: fn() -> Result<(), String>,
    /// With the port before the program's own, or the number of its directory; patient or not. Nothing, if the machine was too busy
    /// for it.
    linux: fn(&[T], u16, bool) -> Option<Vec<String>>,
    /// With that port, and the seed of the run.
    simulated: fn(&[T], u16, u64) -> Vec<String>,
    /// Whether two answers are one.
    agree: fn(&str, &str) -> bool,
    /// Whether the simulation's answers do not hang on a moment.
    is_steady: fn(&[T], u16, u64) -> bool,
    at_once: usize,
}

const CALLS: Surface<step::Step> = Surface {
    kind: Kind::Calls,
    check: "both_answer",
    draw: draw::draw,
    enter: linux::enter_namespace,
    linux: linux::answers,
    simulated: simulated::answers,
    agree: str::eq,
    is_steady: |_, _, _| true,
    at_once: 1,
};

const TYPED: Surface<typed::Act> = Surface {
    kind: Kind::Typed,
    check: "typed_sockets_answer",
    draw: typed::draw,
    enter: linux::enter_namespace,
    linux: linux::typed_answers,
    simulated: simulated::typed_answers,
    agree: str::eq,
    is_steady: |_, _, _| true,
    at_once: 1,
};

const ROUTED: Surface<routed::Move> = Surface {
    kind: Kind::Routed,
    check: "hosts_answer",
    draw: routed::draw,
    enter: routed::real::enter,
    linux: routed::real::answers,
    simulated: routed::simulated::answers,
    agree: routed::agree,
    is_steady: routed::simulated::is_steady,
    at_once: 32,
};

const TRIPS: Surface<typed::Trip> = Surface {
    kind: Kind::Trips,
    check: "typed_sockets_on_hosts_answer",
    draw: typed::draw_on_hosts,
    enter: routed::real::enter,
    linux: routed::real::typed_answers,
    simulated: routed::simulated::typed_answers,
    agree: str::eq,
    is_steady: routed::simulated::typed_is_steady,
    at_once: 32,
};

const FILES: Surface<files::Call> = Surface {
    kind: Kind::Files,
    check: "files_answer",
    draw: files::draw,
    enter: || Ok(()),
    linux: files::real::answers,
    simulated: files::simulated::answers,
    agree: files::agree,
    is_steady: |_, _, _| true,
    at_once: 1,
};

const EPOLLS: Surface<epolls::Turn> = Surface {
    kind: Kind::Epolls,
    check: "epolls_answer",
    draw: epolls::draw,
    enter: || Ok(()),
    linux: epolls::worlds::real,
    simulated: epolls::worlds::simulated,
    agree: str::eq,
    is_steady: |_, _, _| true,
    at_once: 2,
};

#[cfg_attr(test, allow(dead_code, reason = "the tests carry out programs of their own"))]
fn main() -> ExitCode {
    let arguments = CommandLine::parse();
    let kinds = match &arguments.only[..] {
        [] => Kind::value_variants(),
        only => only,
    };
    let limit = Duration::from_secs(arguments.seconds) / kinds.len() as u32;
    let mut is_green = true;
    for kind in kinds {
        let done = match kind {
            Kind::Calls => CALLS.run(&arguments, limit),
            Kind::Typed => TYPED.run(&arguments, limit),
            Kind::Routed => ROUTED.run(&arguments, limit),
            Kind::Trips => TRIPS.run(&arguments, limit),
            Kind::Epolls => EPOLLS.run(&arguments, limit),
            Kind::Files => match files::real::enter(&arguments.directory) {
                Ok(true) => FILES.run(&arguments, limit),
                Ok(false) => {
                    println!("skipped, because {} is not of ext4: files", arguments.directory.display());
                    Ok(true)
                }
                Err(problem) => Err(problem),
            },
        };
        match done {
            Ok(is_equal) => is_green &= is_equal,
            Err(problem) => {
                eprintln!("{kind:?} cannot be asked of Linux: {problem}");
                return ExitCode::FAILURE;
            }
        }
    }
    if is_green { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// How far many programs have come.
struct Progress {
    next: u64,
    carried_out: u64,
    /// Those with a difference that did not last, and those that hang on a moment.
    unsteady: u64,
    /// The kinds of differences, each with the first seed that has it.
    found: BTreeMap<String, u64>,
}

impl<T: Debug + Clone + Sync> Surface<T> {
    /// Carries out the program of a seed, or many; true when none differs.
    ///
    /// # Errors
    /// When there is no place for it on this Linux.
    #[expect(clippy::disallowed_methods, reason = "Linux is asked on real threads")]
    fn run(&self, arguments: &CommandLine, limit: Duration) -> Result<bool, String> {
        match arguments.seed {
            // In a thread of its own: it does not leave the namespaces that it enters.
            Some(seed) => std::thread::scope(|scope| {
                scope.spawn(|| (self.enter)().map(|()| self.one(seed))).join().expect("no program panics")
            }),
            None => self.many(arguments, limit),
        }
    }

    /// Prints all answers to one program; true when they are equal.
    fn one(&self, seed: u64) -> bool {
        let program = (self.draw)(seed);
        let Some((linux, simulated)) = self.both(&program, seed, true) else {
            println!("this machine is too busy for it");
            return false;
        };
        for (place, step) in program.iter().enumerate() {
            println!("{step:?}\n    Linux: {}", linux[place]);
            if !self.agree_at(place, &linux, &simulated) {
                println!("    sim:   {}", simulated.get(place).map_or("nothing", String::as_str));
            }
        }
        self.first_difference(&linux, &simulated).is_none()
    }

    fn both(&self, program: &[T], seed: u64, is_patient: bool) -> Option<(Vec<String>, Vec<String>)> {
        let port = linux::next_ports();
        let linux = (self.linux)(program, port, is_patient)?;
        Some((linux, (self.simulated)(program, port, seed)))
    }

    fn agree_at(&self, place: usize, linux: &[String], simulated: &[String]) -> bool {
        match (linux.get(place), simulated.get(place)) {
            (Some(linux), Some(simulated)) => (self.agree)(linux, simulated),
            (linux, simulated) => linux == simulated,
        }
    }

    fn first_difference(&self, linux: &[String], simulated: &[String]) -> Option<usize> {
        (0..linux.len().max(simulated.len())).find(|place| !self.agree_at(*place, linux, simulated))
    }

    /// Carries out programs until a limit; true when none differs.
    #[expect(clippy::disallowed_methods, reason = "its limit is one of real time, and so are its threads")]
    fn many(&self, arguments: &CommandLine, limit: Duration) -> Result<bool, String> {
        let begun = Instant::now();
        let progress = Mutex::new(Progress {
            next: arguments.first,
            carried_out: 0,
            unsteady: 0,
            found: BTreeMap::new(),
        });
        let next = || {
            let mut progress = progress.lock().expect("no program panics");
            let is_enough = progress.carried_out >= arguments.programs
                || progress.found.len() >= arguments.differences
                || begun.elapsed() >= limit;
            (!is_enough).then(|| {
                progress.carried_out += 1;
                progress.next += 1;
                progress.next - 1
            })
        };
        let worker = || -> Result<(), String> {
            (self.enter)()?;
            while let Some(seed) = next() {
                self.compare(seed, &progress);
            }
            Ok(())
        };
        std::thread::scope(|scope| {
            let workers: Vec<_> =
                (0..arguments.at_once.unwrap_or(self.at_once)).map(|_| scope.spawn(worker)).collect();
            workers.into_iter().try_for_each(|worker| worker.join().expect("no program panics"))
        })?;
        let progress = progress.into_inner().expect("no program panics");
        println!(
            "{} programs of {:?}, {} differences, {} that cannot be compared in {:.0} s",
            progress.carried_out,
            self.kind,
            progress.found.len(),
            progress.unsteady,
            begun.elapsed().as_secs_f64()
        );
        Ok(progress.found.is_empty())
    }

    /// Carries out a program, and prints the least one that has its difference, if that is a new one.
    fn compare(&self, seed: u64, progress: &Mutex<Progress>) {
        let program = (self.draw)(seed);
        let both = self.both(&program, seed, false);
        if both.is_some_and(|(linux, simulated)| self.first_difference(&linux, &simulated).is_none()) {
            return;
        }
        let kind = self.difference(&program, seed);
        {
            let mut progress = progress.lock().expect("no program panics");
            let Some(kind) = &kind else {
                progress.unsteady += 1;
                return;
            };
            // Of differences of one kind one is enough.
            if progress.found.contains_key(kind) {
                return;
            }
            progress.found.insert(kind.clone(), seed);
        }
        let least = shrink::shrink(&program, |candidates| self.have_difference(candidates, seed, &kind));
        let (linux, simulated) = self.both(&least, seed, true).unwrap_or_default();
        println!("{}", shrink::as_test(self.check, seed, &least, &linux, &simulated));
    }

    /// Which of some programs have a difference; as many are carried out at once as usually are.
    #[expect(clippy::disallowed_methods, reason = "Linux is asked on real threads")]
    fn have_difference(&self, programs: &[Vec<T>], seed: u64, kind: &Option<String>) -> Vec<bool> {
        let has = |program: &Vec<T>| !program.is_empty() && self.difference(program, seed) == *kind;
        if self.at_once == 1 || programs.len() == 1 {
            return programs.iter().map(has).collect();
        }
        let each = |program| (self.enter)().is_ok() && has(program);
        std::thread::scope(|scope| {
            let all: Vec<_> = programs.iter().map(|program| scope.spawn(move || each(program))).collect();
            all.into_iter().map(|one| one.join().expect("no program panics")).collect()
        })
    }

    /// The first answers that differ, and to what, if they do when Linux is given time.
    fn difference(&self, program: &[T], seed: u64) -> Option<String> {
        let (linux, simulated) = self.both(program, seed, false)?;
        self.first_difference(&linux, &simulated)?;
        if !(self.is_steady)(program, linux::next_ports(), seed) {
            return None;
        }
        let (linux, simulated) = self.both(program, seed, true)?;
        let place = self.first_difference(&linux, &simulated)?;
        let call = program.get(place).map(|call| format!("{call:?}")).unwrap_or_default();
        let call = call.rsplit("act: ").next().and_then(|call| call.rsplit("step: ").next());
        let call = call.and_then(|call| call.split(' ').next()).unwrap_or_default();
        let outlined =
            [linux.get(place), simulated.get(place)].map(|answer| answer.map(|text| outline(text)));
        Some(format!("{call}: {outlined:?}"))
    }
}

/// An answer without numbers of sockets, ports and times.
fn outline(answer: &str) -> String {
    answer.chars().filter(|c| !c.is_ascii_digit()).collect()
}
