//! What Linux answers to programs of system calls on sockets, as the differential fuzzer (`examples/linux`) found and shrunk
//! them. The simulation has to answer the same.
//!
//! With `ASK_LINUX` set, Linux is asked as well; `cargo xtask acceptance` does so. The answers are those of Linux 6.18.
#![cfg(all(target_os = "linux", target_env = "gnu"))]
#![allow(clippy::unwrap_used, reason = "these are tests")]
#![expect(
    clippy::disallowed_methods,
    reason = "a run needs a thread of its own, and tests have none to spare"
)]

#[allow(dead_code, reason = "the tests have programs of their own")]
#[path = "../../examples/linux/main.rs"]
mod linux;

mod datagrams;
mod epolls;
mod files;
mod groups;
mod hosts;
mod streams;
mod typed;
mod unix;

use std::fmt::Debug;
use std::marker;

use linux::files::{Allocation, Call, Flags, Lock, Renaming, Whence};
use linux::routed::Move::{self, *};
use linux::step::{Family::*, How, Ip::*, Kind::*, Opt::*, Place::*, Step, Step::*};
use linux::typed::{Act, Trip};

/// Checks the answers of the simulation, and of Linux if that is wanted.
fn answers_are<T: Copy + Debug + marker::Send + Sync>(
    transcript: &[(T, &str)],
    simulated: fn(&[T], u16, u64) -> Vec<String>,
    linux: fn(&[T], u16, bool) -> Option<Vec<String>>,
    may_ask: fn() -> bool,
) {
    compare(transcript, str::eq, simulated, linux, may_ask);
}

fn compare<T: Copy + Debug + marker::Send + Sync>(
    transcript: &[(T, &str)],
    agree: fn(&str, &str) -> bool,
    simulated: fn(&[T], u16, u64) -> Vec<String>,
    linux: fn(&[T], u16, bool) -> Option<Vec<String>>,
    may_ask: fn() -> bool,
) {
    let steps: Vec<T> = transcript.iter().map(|(step, _)| *step).collect();
    let port = linux::linux::next_ports();
    let compare = |world: &str, answers: &[String]| {
        for (place, (step, expected)) in transcript.iter().enumerate() {
            let answer = answers.get(place).map_or("nothing", String::as_str);
            let is_expected = agree(answer, expected);
            assert!(is_expected, "{world} at step {place}: {step:?}: {answer}, not {expected}\n{answers:#?}");
        }
        assert_eq!(answers.len(), transcript.len(), "{world}: {answers:#?}");
    };
    std::thread::scope(|scope| {
        scope.spawn(|| (0..4).for_each(|seed| compare("the simulation", &simulated(&steps, port, seed))));
    });
    if std::env::var_os("ASK_LINUX").is_some() && may_ask() {
        compare("Linux", &linux(&steps, port, true).expect("this machine is too busy to be asked"));
    }
}

/// Enters a network namespace; whether Linux can be asked there.
fn has_namespace() -> bool {
    linux::linux::enter_namespace().unwrap();
    true
}

/// System calls.
fn both_answer(transcript: &[(Step, &str)]) {
    answers_are(transcript, linux::simulated::answers, linux::linux::answers, has_namespace);
}

/// System calls on several hosts. Their times are those of the simulation, from which Linux's differ by a little.
fn hosts_answer(transcript: &[(Move, &str)]) {
    use linux::routed;
    compare(transcript, routed::agree, routed::simulated::answers, routed::real::answers, || {
        routed::real::enter().unwrap();
        true
    });
}

/// Of a listener on the first host, socket 0, and a stream socket on the second, socket 1.
fn a_listener_and_a_socket_answer(transcript: &[(Move, &str)]) {
    let made = [
        (On { host: 0, step: Socket { id: 0, family: V4, kind: Stream } }, "ok 0:out+hup"),
        (On { host: 0, step: Listen { id: 0, backlog: 8 } }, "ok 0:nothing"),
        (On { host: 1, step: Socket { id: 1, family: V4, kind: Stream } }, "ok 1:out+hup"),
    ];
    hosts_answer(&[&made, transcript].concat());
}

/// Methods of typed sockets.
fn typed_sockets_answer(transcript: &[(Act, &str)]) {
    answers_are(transcript, linux::simulated::typed_answers, linux::linux::typed_answers, has_namespace);
}

/// Epolls and what they watch.
fn epolls_answer(transcript: &[(linux::epolls::Turn, &str)]) {
    use linux::epolls::worlds;
    answers_are(transcript, worlds::simulated, worlds::real, || true);
}

/// System calls on files.
fn files_answer(transcript: &[(Call, &str)]) {
    use linux::files::{real, simulated};
    // Only of ext4 the answers are known.
    answers_are(transcript, simulated::answers, real::answers, || {
        real::enter(std::path::Path::new(env!("CARGO_TARGET_TMPDIR"))).unwrap()
    });
}

/// Typed sockets on several hosts.
fn typed_sockets_on_hosts_answer(transcript: &[(Trip, &str)]) {
    use linux::routed::{real, simulated};
    answers_are(transcript, simulated::typed_answers, real::typed_answers, || {
        real::enter().unwrap();
        true
    });
}
