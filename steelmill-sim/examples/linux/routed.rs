//! Programs on several hosts, between which a router forwards, and now and then drops what goes from one to another: on Linux hosts
//! in network namespaces of their own, in the simulation machines.
//!
//! All moves have their times, the same in both worlds. A call has [`TICK`] to take effect; what a program waits for, and when it
//! comes, is observed in its [`Move::Wait`]s. Retransmission timers are those of Linux to within its clock ticks, and a busy
//! machine is late, so times agree when they differ by a little ([`agree`]). A program in which a timer ends about when a wait
//! does has no one answer: it is not compared ([`simulated::is_steady`]).

mod course; // the part of a program on some of the hosts
mod draw; // the program of a seed
pub(crate) mod real; // answers of Linux
pub(crate) mod simulated; // answers of the simulation

use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::Duration;

pub(crate) use draw::draw;

use super::carry_out::Host;
use super::step::Step;

/// What a program on several hosts consists of. Sockets have numbers of their own on all hosts together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Move<S = Step> {
    /// A call on a host, or an operation.
    On { host: u8, step: S },
    /// From now on the router drops what goes from one host to another.
    Cut { from: u8, to: u8 },
    /// No longer.
    Heal { from: u8, to: u8 },
    /// Nothing is done for so long.
    Wait { millis: u16 },
}

/// The most hosts that a program has.
pub(crate) const HOSTS: u8 = 4;

/// How long a call has to take effect.
pub(crate) const TICK: Duration = Duration::from_millis(30);

/// How long an operation on typed sockets may wait, and what it has sent has to arrive.
pub(crate) const MOMENT: Duration = Duration::from_millis(40);

/// When each move begins, and when the last one ends. Calls have a tick each, and waits are so many milliseconds longer.
fn times(moves: &[Move], tick: Duration, longer: i64) -> Vec<Duration> {
    let mut at = tick;
    let mut times = vec![at];
    for one in moves {
        at += match one {
            Move::Wait { millis } => Duration::from_millis(u64::from(*millis).saturating_add_signed(longer)),
            _ => tick,
        };
        times.push(at);
    }
    times
}

/// How many hosts a program names.
fn hosts(moves: &[Move]) -> u8 {
    let named = moves.iter().map(|one| match one {
        Move::On { host, .. } => host + 1,
        Move::Cut { from, to } | Move::Heal { from, to } => from.max(to) + 1,
        Move::Wait { .. } => 1,
    });
    named.max().unwrap_or(1)
}

/// The addresses of a host: those of the machines of a simulation, in their order.
pub(crate) fn host(number: u8, port: u16) -> Host {
    let last = number + 2;
    Host {
        own4: Ipv4Addr::new(10, 0, 0, last),
        own6: Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, last.into()),
        port,
    }
}

/// By how many milliseconds a time of Linux may be less, and more: its timers end at ticks, those of a second up to 32 ms later each
/// (its timer wheel, at 250 Hz), and each retransmission counts from the one before.
const EARLIER: u64 = 60;
const LATER: u64 = 180;

/// Whether two answers are the same but for times (`@millis`) that differ by a little.
pub(crate) fn agree(linux: &str, simulated: &str) -> bool {
    agree_within(linux, simulated, EARLIER, LATER)
}

/// Whether two answers are the same, but times of the first one may be so much earlier or later.
fn agree_within(one: &str, other: &str, earlier: u64, later: u64) -> bool {
    let (mut one, mut other) = (one.split(' '), other.split(' '));
    loop {
        match (one.next(), other.next()) {
            (None, None) => return true,
            (Some(word), Some(other_word)) if word == other_word => {}
            (Some(word), Some(other_word)) => match (timed(word), timed(other_word)) {
                (Some((what, at)), Some((other_what, other_at)))
                    if what == other_what
                        && (other_at.saturating_sub(earlier)..=other_at + later).contains(&at) => {}
                _ => return false,
            },
            _ => return false,
        }
    }
}

/// What happens, and when.
fn timed(word: &str) -> Option<(&str, u64)> {
    let (what, at) = word.split_once('@')?;
    Some((what, at.parse().ok()?))
}
