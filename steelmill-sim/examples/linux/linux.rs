//! Carrying out a program on the Linux that this process runs on, in a network namespace of its own if it may have one.
#![expect(clippy::disallowed_methods, reason = "it waits for the real kernel, in real time")]

use std::net::{Ipv4Addr, Ipv6Addr};
use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering::Relaxed};
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::calls::{self, Errno};
use super::carry_out::{Course, Host, PORTS};
use super::step::Step;
use super::typed::{self, Act};

/// The addresses of the first machine of a simulation that is no scenario.
pub(crate) const OWN: (Ipv4Addr, Ipv6Addr) =
    (Ipv4Addr::new(10, 0, 0, 2), Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 2));

/// How long a step may take to come to rest, before what there is counts. Only what waits for a timer takes as long, as bytes
/// for a closed window do.
const PATIENCE: Duration = Duration::from_millis(250);

/// Enters a network namespace with the machine's interfaces and addresses.
///
/// # Errors
/// `EPERM` without the privilege for it. The text of a command that fails.
pub(crate) fn enter_namespace() -> Result<(), String> {
    calls::unshare_network().map_err(|errno| format!("unshare: {errno}"))?;
    let (v4, v6) = (format!("{}/8", OWN.0), format!("{}/64", OWN.1));
    for arguments in [
        &["link", "set", "lo", "up"][..],
        // The machine's interface to others. Nobody is at the other end of it.
        &["link", "add", "eth0", "index", "2", "type", "veth", "peer", "name", "far", "index", "3"],
        &["link", "set", "eth0", "addrgenmode", "none"],
        &["link", "set", "far", "addrgenmode", "none"],
        &["link", "set", "eth0", "up"],
        &["link", "set", "far", "up"],
        &["-6", "route", "del", "ff00::/8", "dev", "far", "table", "local"],
        &["addr", "add", &v4, "brd", "+", "dev", "eth0"],
        &["addr", "add", &v6, "dev", "eth0", "nodad"],
        &["route", "add", "224.0.0.0/4", "dev", "eth0"],
        &["route", "add", "255.255.255.255", "dev", "eth0"],
    ] {
        let status = Command::new("ip").args(arguments).stdin(Stdio::null()).status();
        match status {
            Ok(status) if status.success() => {}
            other => return Err(format!("ip {}: {other:?}", arguments.join(" "))),
        }
    }
    Ok(())
}

/// The port before the ones of the next program. Each has its own: connections of the one before may still be in TIME_WAIT.
pub(crate) fn next_ports() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    2000 + NEXT.fetch_add(1, Relaxed) % 6000 * (PORTS + 1)
}

/// How long each step rests when Linux is asked again.
const SECOND_LOOK: Duration = Duration::from_millis(15);

/// A little less than the time after which a SYN is sent again.
const SYN_TIMEOUT: Duration = Duration::from_millis(900);

/// The answers of Linux, one for each step. After each call nothing goes on until the network has come to rest, and a little
/// longer if it is patient. There are none of a program that took so long that a SYN was sent again: a full backlog had dropped it.
pub(crate) fn answers(program: &[Step], port: u16, is_patient: bool) -> Option<Vec<String>> {
    let pause = if is_patient { SECOND_LOOK } else { Duration::ZERO };
    let mut course = Course::new(Host { own4: OWN.0, own6: OWN.1, port });
    let mut connecting_since = None;
    let mut answers = Vec::new();
    for step in program {
        let answer = course.call(*step);
        settle(&course);
        if !pause.is_zero() {
            sleep(pause);
        }
        answers.push(format!("{answer}{}", course.changes()));
        if connecting_since.is_none() && course.sockets().any(is_connecting) {
            connecting_since = Some(Instant::now());
        }
        if connecting_since.is_some_and(|since| since.elapsed() > SYN_TIMEOUT) {
            return None;
        }
    }
    Some(answers)
}

/// The answers of tokio's sockets, one for each operation.
pub(crate) fn typed_answers(acts: &[Act], port: u16, is_patient: bool) -> Option<Vec<String>> {
    let moment = Duration::from_millis(if is_patient { 40 } else { 3 });
    let host = Host { own4: OWN.0, own6: OWN.1, port };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let answers = typed::real::answers(&typed::real::Network, acts, host, || tokio::time::sleep(moment));
    Some(runtime.expect("a tokio runtime").block_on(answers))
}

/// Waits until no TCP socket has anything on its way, and nothing changes.
fn settle(course: &Course) {
    let begun = Instant::now();
    let mut before = None;
    let mut same = 0;
    loop {
        let (now, is_busy) = state(course);
        same = if Some(&now) == before.as_ref() && !is_busy { same + 1 } else { 0 };
        if same >= 3 || begun.elapsed() >= PATIENCE {
            return;
        }
        before = Some(now);
        match begun.elapsed() < Duration::from_millis(1) {
            true => std::thread::yield_now(),
            false => sleep(Duration::from_micros(200)),
        }
    }
}

/// What can be seen of all sockets, and whether a TCP socket waits for an answer of its peer's kernel.
fn state(course: &Course) -> (Vec<[i64; 4]>, bool) {
    let ready = calls::readiness(course.sockets());
    let one = |(fd, ready): (&OwnedFd, i16)| {
        let number = |count: Result<i32, Errno>| count.map_or(-1, i64::from);
        let info = calls::get::<libc::tcp_info>(fd, libc::IPPROTO_TCP, libc::TCP_INFO);
        let (state, unacknowledged) = info.map_or((0, 0), |info| (info.tcpi_state, info.tcpi_unacked));
        let counts = [calls::count(fd, libc::FIONREAD), calls::count(fd, libc::TIOCOUTQ)].map(number);
        let seen = [i64::from(ready), counts[0], counts[1], i64::from(state)];
        (seen, is_on_its_way(state) || unacknowledged > 0 && ![LISTEN, SYN_SENT].contains(&state))
    };
    let all: Vec<([i64; 4], bool)> = course.sockets().zip(ready).map(one).collect();
    (all.iter().map(|(seen, _)| *seen).collect(), all.iter().any(|(_, is_busy)| *is_busy))
}

/// Of the states of TCP, as `tcp_states.h` numbers them. A listener's `tcpi_unacked` is the length of its backlog. A connect is
/// answered at once, or its SYN was dropped: then nothing happens for a second.
const LISTEN: u8 = 10;
const SYN_SENT: u8 = 2;

/// Whether a socket has sent a SYN that nothing has answered.
fn is_connecting(fd: &OwnedFd) -> bool {
    let info = calls::get::<libc::tcp_info>(fd, libc::IPPROTO_TCP, libc::TCP_INFO);
    info.is_ok_and(|info| info.tcpi_state == SYN_SENT)
}

fn is_on_its_way(state: u8) -> bool {
    const SYN_RECV: u8 = 3;
    const FIN_WAIT1: u8 = 4;
    const LAST_ACK: u8 = 9;
    const CLOSING: u8 = 11;
    [SYN_RECV, FIN_WAIT1, LAST_ACK, CLOSING].contains(&state)
}
