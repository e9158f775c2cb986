//! Carrying out a program on Linux: each host is a network namespace, and so is the router between them.
#![expect(clippy::disallowed_methods, reason = "it waits for the real kernel, in real time")]

use std::cell::{Cell, RefCell};
use std::fs::File;
use std::io::Write as _;
use std::net::IpAddr;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::super::calls::{self, Errno};
use super::super::carry_out::{Book, Course, Host};
use super::super::linux::next_ports;
use super::super::typed::{self, Trip};
use super::course::{Answer, Driver, carry_out};
use super::{HOSTS, MOMENT, Move, TICK, host, hosts, times};

/// The hosts of a thread, and their router.
struct Net {
    hosts: Vec<OwnedFd>,
    /// A socket by which the router is told its rules (rtnetlink(7)).
    rules: OwnedFd,
    /// What is cut now.
    cuts: Vec<(u8, u8)>,
}

/// What a thread has of them; the next thread gets them after it.
#[derive(Default)]
struct Lent(Option<Net>);

static FREE: Mutex<Vec<Net>> = Mutex::new(Vec::new());

thread_local! {
    static NET: RefCell<Lent> = RefCell::default();
}

impl Drop for Lent {
    fn drop(&mut self) {
        FREE.lock().expect("nobody panics here").extend(self.0.take());
    }
}

/// Makes the network namespaces of this thread, if it has none.
///
/// # Errors
/// Without the privilege for it. The text of a command that fails.
pub(crate) fn enter() -> Result<(), String> {
    NET.with_borrow_mut(|net| {
        if net.0.is_none() {
            let free = FREE.lock().expect("nobody panics here").pop();
            net.0 = Some(free.map_or_else(Net::new, Ok)?);
        }
        Ok(())
    })
}

/// How late a call may be on a busy machine. A program with a later one is carried out again.
const LATE: Duration = Duration::from_millis(30);

/// How often that is done.
const ATTEMPTS: usize = 4;

/// How long a call has to take effect at least, however late it was.
const EFFECT: Duration = Duration::from_millis(20);

/// The answers of Linux, one for each move, if the machine is not too busy to make all in time.
pub(crate) fn answers(moves: &[Move], _: u16, _: bool) -> Option<Vec<String>> {
    NET.with_borrow_mut(|net| {
        let net = net.0.as_mut().expect("this thread has entered its namespaces");
        let mut attempts = (0..ATTEMPTS).map(|_| net.carry_out(moves, next_ports()));
        attempts.find(|(_, late)| *late <= LATE).map(|(answers, _)| answers)
    })
}

/// The answers of tokio's sockets, one for each part of a program.
pub(crate) fn typed_answers(trips: &[Trip], _: u16, _: bool) -> Option<Vec<String>> {
    NET.with_borrow_mut(|net| {
        let net = net.0.as_mut().expect("this thread has entered its namespaces");
        let mut attempts = (0..ATTEMPTS).map(|_| net.carry_out_typed(trips, next_ports()));
        attempts.find(|(_, late)| *late <= LATE).map(|(answers, _)| answers)
    })
}

impl Net {
    fn new() -> Result<Self, String> {
        let names = |errno: Errno| format!("a network namespace: {errno}");
        let mut hosts = Vec::new();
        for _ in 0..HOSTS {
            hosts.push(namespace().map_err(names)?);
            for (name, value) in [
                ("ipv4/tcp_no_metrics_save", "1"),
                ("ipv4/icmp_ratelimit", "0"),
                ("ipv6/icmp/ratelimit", "0"),
            ] {
                set(name, value)?;
            }
            set("ipv6/conf/default/accept_dad", "0")?;
            set("ipv6/conf/default/router_solicitations", "0")?;
        }
        let router = namespace().map_err(names)?;
        for name in ["ipv4/ip_forward", "ipv6/conf/all/forwarding"] {
            set(name, "1")?;
        }
        set("ipv6/conf/default/accept_dad", "0")?;
        // All hosts see the router at the same addresses, and know where it is.
        let mut commands = String::from("link set lo up\naddr add 10.255.0.1/32 dev lo\n");
        for (number, fd) in hosts.iter().enumerate() {
            let (own, place) =
                (host(number as u8, 0), format!("/proc/{}/fd/{}", std::process::id(), fd.as_raw_fd()));
            commands += &format!(
                "link add v{number} address 02:00:00:00:01:0{number} type veth \
                 peer name eth0 address 02:00:00:00:02:0{number} netns {place}\n\
                 link set v{number} up\n\
                 route add {}/32 dev v{number} src 10.255.0.1\n\
                 route add {}/128 dev v{number}\n\
                 neigh add {} lladdr 02:00:00:00:02:0{number} dev v{number} nud permanent\n\
                 neigh add {} lladdr 02:00:00:00:02:0{number} dev v{number} nud permanent\n",
                own.own4, own.own6, own.own4, own.own6
            );
        }
        ip(&commands)?;
        let rules = calls::socket(libc::AF_NETLINK, libc::SOCK_RAW, libc::NETLINK_ROUTE).map_err(names)?;
        for (number, fd) in hosts.iter().enumerate() {
            calls::enter_network(fd).map_err(names)?;
            let own = host(number as u8, 0);
            ip(&format!(
                "link set lo up\nlink set eth0 up\n\
                 addr add {}/32 dev eth0\naddr add {}/128 dev eth0 nodad\n\
                 neigh add 10.255.0.1 lladdr 02:00:00:00:01:0{number} dev eth0 nud permanent\n\
                 neigh add fe80::1 lladdr 02:00:00:00:01:0{number} dev eth0 nud permanent\n\
                 route add default via 10.255.0.1 dev eth0 onlink\n\
                 route add default via fe80::1 dev eth0 onlink\n",
                own.own4, own.own6
            ))?;
        }
        drop(router);
        Ok(Self { hosts, rules, cuts: Vec::new() })
    }

    /// The answers to all moves, and how late the latest of them was made.
    fn carry_out(&mut self, moves: &[Move], port: u16) -> (Vec<String>, Duration) {
        let answers = Mutex::new(vec![Answer::default(); moves.len()]);
        let book = Arc::<Mutex<Book>>::default();
        let course = |number| (number, Course::beside(host(number, port), book.clone()));
        let mut courses: Vec<(u8, Course)> = (0..hosts(moves)).map(course).collect();
        let mut driver =
            InTime { net: self, begun: Instant::now(), called_at: Duration::ZERO, late: Duration::ZERO };
        carry_out(moves, &times(moves, TICK, 0), &mut courses, &mut driver, &answers);
        let late = driver.late;
        for (from, to) in std::mem::take(&mut self.cuts) {
            self.rule(libc::RTM_DELRULE, from, to);
        }
        let answers = answers.into_inner().expect("no move panics");
        (answers.into_iter().map(Answer::text).collect(), late)
    }

    /// The answers of typed sockets, and how late the latest moment was.
    fn carry_out_typed(&mut self, trips: &[Trip], port: u16) -> (Vec<String>, Duration) {
        let late = Cell::new(Duration::ZERO);
        let moment = |length: Duration| {
            let (until, late) = (Instant::now() + length, &late);
            async move {
                tokio::time::sleep(length).await;
                late.set(late.get().max(Instant::now() - until));
            }
        };
        let hosts: Vec<Host> = (0..HOSTS).map(|number| host(number, port)).collect();
        let networks: Vec<_> = hosts.iter().map(|_| typed::real::Network).collect();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let router = |trip| match trip {
            Trip::On { host, .. } => {
                calls::enter_network(&self.hosts[usize::from(host)]).expect("it was made for this program");
            }
            Trip::Cut { from, to } | Trip::Heal { from, to } => {
                self.set_cut(from, to, matches!(trip, Trip::Cut { .. }));
            }
            Trip::Wait { .. } => {}
        };
        let answers = typed::real::answers_on_hosts(&networks, &hosts, trips, moment, router, MOMENT);
        let answers = runtime.expect("a tokio runtime").block_on(answers);
        for (from, to) in std::mem::take(&mut self.cuts) {
            self.rule(libc::RTM_DELRULE, from, to);
        }
        (answers, late.get())
    }

    fn set_cut(&mut self, from: u8, to: u8, is_cut: bool) {
        let known = self.cuts.iter().position(|cut| *cut == (from, to));
        match known {
            None if is_cut && from != to => {
                self.rule(libc::RTM_NEWRULE, from, to);
                self.cuts.push((from, to));
            }
            Some(place) if !is_cut => {
                self.rule(libc::RTM_DELRULE, from, to);
                self.cuts.swap_remove(place);
            }
            _ => {}
        }
    }

    /// Has the router begin or end to drop what goes from one host to another, without a word to anybody.
    fn rule(&self, kind: u16, from: u8, to: u8) {
        let (from, to) = (host(from, 0), host(to, 0));
        for (from, to) in
            [(from.own4.into(), to.own4.into()), (IpAddr::from(from.own6), IpAddr::from(to.own6))]
        {
            calls::send(&self.rules, &rule_message(kind, from, to), None).expect("the kernel takes messages");
            let mut reply = [0; 64];
            calls::receive(&self.rules, &mut reply, 0).expect("it answers at once");
            let errno = i32::from_ne_bytes(reply[16..20].try_into().expect("four bytes"));
            assert_eq!(errno, 0, "a rule of the router: {}", Errno(-errno));
        }
    }
}

/// Of linux/fib_rules.h; the crate libc has no names for these.
const FRA_DST: u16 = 1;
const FRA_SRC: u16 = 2;
const FRA_PRIORITY: u16 = 6;
const FR_ACT_BLACKHOLE: u8 = 6;

/// A message of rtnetlink(7) about a rule that drops: a header, a `fib_rule_hdr`, and attributes.
fn rule_message(kind: u16, from: IpAddr, to: IpAddr) -> Vec<u8> {
    let bytes = |ip: IpAddr| match ip {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    };
    let (from, to) = (bytes(from), bytes(to));
    let bits = (from.len() * 8) as u8;
    let family = if from.len() == 4 { libc::AF_INET } else { libc::AF_INET6 };
    let mut flags = libc::NLM_F_REQUEST | libc::NLM_F_ACK;
    if kind == libc::RTM_NEWRULE {
        flags |= libc::NLM_F_CREATE | libc::NLM_F_EXCL;
    }
    let mut rest = vec![family as u8, bits, bits, 0, 0, 0, 0, FR_ACT_BLACKHOLE];
    rest.extend(0_u32.to_ne_bytes());
    for (name, value) in [(FRA_DST, &to), (FRA_SRC, &from), (FRA_PRIORITY, &100_u32.to_ne_bytes().to_vec())] {
        rest.extend((4 + value.len() as u16).to_ne_bytes());
        rest.extend(name.to_ne_bytes());
        rest.extend(value);
    }
    let mut message = (16 + rest.len() as u32).to_ne_bytes().to_vec();
    message.extend(kind.to_ne_bytes());
    message.extend((flags as u16).to_ne_bytes());
    message.extend([0; 8]);
    message.extend(rest);
    message
}

/// A network namespace, in which this thread is then.
fn namespace() -> Result<OwnedFd, Errno> {
    calls::unshare_network()?;
    File::open("/proc/thread-self/ns/net").map(OwnedFd::from).map_err(|_| calls::last())
}

/// Sets a variable of this thread's network namespace.
fn set(name: &str, value: &str) -> Result<(), String> {
    let path = format!("/proc/sys/net/{name}");
    std::fs::write(&path, value).map_err(|error| format!("{path}: {error}"))
}

/// Has ip(8) carry out commands in this thread's network namespace.
fn ip(commands: &str) -> Result<(), String> {
    let failed = |problem: String| format!("ip -batch: {problem}, of:\n{commands}");
    let child = Command::new("ip").args(["-batch", "-"]).stdin(Stdio::piped()).spawn();
    let mut child = child.map_err(|error| failed(error.to_string()))?;
    let written = child.stdin.take().expect("it is piped").write_all(commands.as_bytes());
    let status = child.wait().map_err(|error| failed(error.to_string()))?;
    match written {
        Ok(()) if status.success() => Ok(()),
        other => Err(failed(format!("{status}, {other:?}"))),
    }
}

/// A thread's hosts at a program's times.
struct InTime<'a> {
    net: &'a mut Net,
    begun: Instant,
    called_at: Duration,
    late: Duration,
}

impl Driver for InTime<'_> {
    fn until(&mut self, at: Duration) {
        sleep(at.max(self.called_at + EFFECT).saturating_sub(self.begun.elapsed()));
        self.late = self.late.max(self.begun.elapsed().saturating_sub(at));
    }

    fn enter(&mut self, host: u8) {
        calls::enter_network(&self.net.hosts[usize::from(host)]).expect("it was made for this program");
        self.called_at = self.begun.elapsed();
    }

    fn set_cut(&mut self, from: u8, to: u8, is_cut: bool) {
        self.net.set_cut(from, to, is_cut);
    }
}
