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
#[path = "../examples/linux/main.rs"]
mod linux;

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

/// System calls on files.
fn files_answer(transcript: &[(Call, &str)]) {
    use linux::files::{real, simulated};
    // Only of ext4 the answers are known.
    answers_are(transcript, simulated::answers, real::answers, || {
        real::enter(std::path::Path::new(env!("CARGO_TARGET_TMPDIR"))).unwrap()
    });
}

#[test]
fn tcp_options_are_not_udps() {
    both_answer(&[
        (Socket { id: 0, family: V6, kind: Datagram }, "ok 0:out"),
        (Set { id: 0, option: NoDelay, value: 1 }, "ENOPROTOOPT"),
    ]);
}

#[test]
fn fionread_counts_what_can_be_read() {
    both_answer(&[
        (Socket { id: 0, family: V4, kind: Stream }, "ok 0:out+hup"),
        (Listen { id: 0, backlog: 8 }, "ok 0:nothing"),
        (Socket { id: 1, family: V4, kind: Stream }, "ok 1:out+hup"),
        (Connect { id: 1, to: Of(0) }, "EINPROGRESS 0:in 1:out"),
        (Accept { id: 0, new: 2 }, "127.0.0.1 e1 0:nothing 2:out"),
        (Available { id: 2 }, "0"),
    ]);
}

#[test]
fn a_keepalive_interval_of_nothing_is_invalid() {
    both_answer(&[
        (Socket { id: 0, family: V4, kind: Stream }, "ok 0:out+hup"),
        (Set { id: 0, option: KeepInterval, value: 0 }, "EINVAL"),
        (Get { id: 0, option: KeepIdle }, "7200"),
    ]);
}

#[test]
fn datagrams_can_be_connected_to_nobody() {
    both_answer(&[
        (Socket { id: 1, family: V6, kind: Datagram }, "ok 1:out"),
        (Connect { id: 1, to: Unspecified }, "ok"),
    ]);
}

#[test]
fn a_full_backlog_drops_the_syn() {
    both_answer(&[
        (Socket { id: 0, family: V6, kind: Stream }, "ok 0:out+hup"),
        (Bind { id: 0, to: At(Any6, 3) }, "ok"),
        (Listen { id: 0, backlog: 0 }, "ok 0:nothing"),
        (Socket { id: 1, family: V6, kind: Stream }, "ok 1:out+hup"),
        (Connect { id: 1, to: Of(0) }, "EINPROGRESS 0:in 1:out"),
        (Socket { id: 2, family: V6, kind: Stream }, "ok 2:out+hup"),
        (Connect { id: 2, to: At(Any6, 3) }, "EINPROGRESS 2:nothing"),
    ]);
}

#[test]
fn an_option_is_kept_before_there_is_a_connection() {
    both_answer(&[
        (Socket { id: 2, family: V4, kind: Stream }, "ok 2:out+hup"),
        (Set { id: 2, option: ReuseAddress, value: 40000 }, "ok"),
        (Get { id: 2, option: ReuseAddress }, "1"),
        (Set { id: 2, option: SynCount, value: 255 }, "EINVAL"),
        (Set { id: 2, option: Linger, value: 1 }, "ok"),
        (Get { id: 2, option: Linger }, "1 1"),
        (Get { id: 2, option: OnlyV6 }, "EOPNOTSUPP"),
    ]);
}

#[test]
fn one_end_of_a_pair_stays_writable_after_its_own_shutdown() {
    both_answer(&[
        (Pair { ids: [2, 3], kind: Stream }, "ok 2:out 3:out"),
        (Shutdown { id: 3, how: How::Write }, "ok 2:in+out+rdhup"),
    ]);
}

#[test]
fn shutdown_of_reading_is_seen_by_poll() {
    both_answer(&[
        (Socket { id: 0, family: V4, kind: Stream }, "ok 0:out+hup"),
        (Listen { id: 0, backlog: 1 }, "ok 0:nothing"),
        (Socket { id: 1, family: V4, kind: Stream }, "ok 1:out+hup"),
        (Connect { id: 1, to: Of(0) }, "EINPROGRESS 0:in 1:out"),
        (Shutdown { id: 1, how: How::Read }, "ok 1:in+out+rdhup"),
        (Accept { id: 0, new: 3 }, "127.0.0.1 e1 0:nothing 3:out"),
        (Shutdown { id: 1, how: How::Both }, "ok 1:in+out+rdhup+hup 3:in+out+rdhup"),
    ]);
}

#[test]
fn data_for_an_end_that_was_shut_down_both_ways_resets_it() {
    both_answer(&[
        (Socket { id: 0, family: V4, kind: Stream }, "ok 0:out+hup"),
        (Listen { id: 0, backlog: 0 }, "ok 0:nothing"),
        (Socket { id: 1, family: V4, kind: Stream }, "ok 1:out+hup"),
        (Connect { id: 1, to: Of(0) }, "EINPROGRESS 0:in 1:out"),
        (Accept { id: 0, new: 2 }, "127.0.0.1 e1 0:nothing 2:out"),
        (Shutdown { id: 2, how: How::Both }, "ok 1:in+out+rdhup 2:in+out+rdhup+hup"),
        (Send { id: 1, length: 1 }, "1 1:in+out+rdhup+hup+err 2:in+out+rdhup+hup+err"),
    ]);
}

#[test]
fn an_ipv6_socket_takes_no_ipv4_address_to_connect_to() {
    both_answer(&[
        (Socket { id: 0, family: V4, kind: Stream }, "ok 0:out+hup"),
        (Listen { id: 0, backlog: 8 }, "ok 0:nothing"),
        (Socket { id: 1, family: V6, kind: Stream }, "ok 1:out+hup"),
        (Connect { id: 1, to: Of(0) }, "EINVAL"),
        (Bind { id: 1, to: At(Mapped, 1) }, "ok"),
        (Connect { id: 1, to: At(Loop6, 2) }, "EAFNOSUPPORT"),
    ]);
}

#[test]
fn an_ipv6_address_has_no_way_to_ipv4() {
    both_answer(&[
        (Socket { id: 0, family: V6, kind: Stream }, "ok 0:out+hup"),
        (Bind { id: 0, to: At(Mapped, 2) }, "ok"),
        (Listen { id: 0, backlog: 0 }, "ok 0:nothing"),
        (Socket { id: 1, family: V6, kind: Stream }, "ok 1:out+hup"),
        (Bind { id: 1, to: At(Loop6, 0) }, "ok"),
        (Connect { id: 1, to: Of(0) }, "ENETUNREACH"),
    ]);
}

#[test]
fn tcp_ignores_where_a_send_is_to_go() {
    both_answer(&[
        (Socket { id: 0, family: V4, kind: Stream }, "ok 0:out+hup"),
        (SendTo { id: 0, to: Of(0), length: 10 }, "EPIPE"),
    ]);
}

#[test]
fn a_refused_connect_is_told_once_and_leaves_the_socket_as_it_was() {
    both_answer(&[
        (Socket { id: 2, family: V6, kind: Stream }, "ok 2:out+hup"),
        (Connect { id: 2, to: At(Loop6, 3) }, "EINPROGRESS 2:in+out+rdhup+hup+err"),
        (Bind { id: 2, to: At(Loop6, 1) }, "ok"),
    ]);
}

#[test]
fn a_bound_socket_connects_from_its_port() {
    both_answer(&[
        (Socket { id: 0, family: V4, kind: Stream }, "ok 0:out+hup"),
        (Listen { id: 0, backlog: 1 }, "ok 0:nothing"),
        (Socket { id: 1, family: V4, kind: Stream }, "ok 1:out+hup"),
        (Bind { id: 1, to: At(Loop4, 2) }, "ok"),
        (Connect { id: 1, to: Of(0) }, "EINPROGRESS 0:in 1:out"),
        (Accept { id: 0, new: 2 }, "127.0.0.1 p2 0:nothing 2:out"),
    ]);
}

#[test]
fn a_port_is_free_when_its_connections_were_reset() {
    both_answer(&[
        (Socket { id: 0, family: V6, kind: Stream }, "ok 0:out+hup"),
        (Bind { id: 0, to: At(Mapped, 1) }, "ok"),
        (Listen { id: 0, backlog: 8 }, "ok 0:nothing"),
        (Socket { id: 1, family: V6, kind: Stream }, "ok 1:out+hup"),
        (Connect { id: 1, to: Of(0) }, "EINPROGRESS 0:in 1:out"),
        (Socket { id: 2, family: V6, kind: Stream }, "ok 2:out+hup"),
        (Close { id: 0 }, "ok 1:in+out+rdhup+hup+err"),
        (Bind { id: 2, to: At(Mapped, 1) }, "ok"),
    ]);
}

#[test]
fn shutdown_of_unconnected_datagrams_fails_and_is_remembered() {
    both_answer(&[
        (Socket { id: 0, family: V4, kind: Datagram }, "ok 0:out"),
        (Shutdown { id: 0, how: How::Read }, "ENOTCONN 0:in+out+rdhup"),
        (SendTo { id: 0, to: Unspecified, length: 10 }, "EINVAL"),
    ]);
}

#[test]
fn a_peer_at_port_zero_is_none() {
    both_answer(&[
        (Socket { id: 0, family: V6, kind: Datagram }, "ok 0:out"),
        (Socket { id: 1, family: V6, kind: Datagram }, "ok 1:out"),
        (Connect { id: 1, to: Of(0) }, "ok"),
        (Peer { id: 1 }, "ENOTCONN"),
        (Send { id: 1, length: 1 }, "1 1:out+err"),
    ]);
}

#[test]
fn a_mapped_address_takes_the_unspecified_one_for_its_loopback() {
    both_answer(&[
        (Socket { id: 5, family: V6, kind: Datagram }, "ok 5:out"),
        (Bind { id: 5, to: At(Any6, 2) }, "ok"),
        (Socket { id: 6, family: V6, kind: Datagram }, "ok 6:out"),
        (Bind { id: 6, to: At(Mapped, 0) }, "ok"),
        (SendTo { id: 6, to: Of(5), length: 10 }, "10 5:in+out"),
    ]);
}

#[test]
fn an_accepted_connection_has_the_ttl_of_its_syn_for_multicast() {
    both_answer(&[
        (Socket { id: 0, family: V4, kind: Stream }, "ok 0:out+hup"),
        (Listen { id: 0, backlog: 8 }, "ok 0:nothing"),
        (Socket { id: 1, family: V4, kind: Stream }, "ok 1:out+hup"),
        (Connect { id: 1, to: Of(0) }, "EINPROGRESS 0:in 1:out"),
        (Accept { id: 0, new: 3 }, "127.0.0.1 e1 0:nothing 3:out"),
        (Get { id: 3, option: MulticastTtl }, "64"),
    ]);
}

#[test]
fn unix_datagrams_end_before_they_need_a_peer() {
    both_answer(&[
        (Pair { ids: [0, 1], kind: Datagram }, "ok 0:out 1:out"),
        (Local { id: 0 }, "unnamed"),
        (Get { id: 0, option: Accepting }, "0"),
        (Socket { id: 2, family: Unix, kind: Datagram }, "ok 2:out"),
        (Shutdown { id: 2, how: How::Write }, "ok"),
        (Send { id: 2, length: 1 }, "EPIPE"),
    ]);
}

#[test]
fn unix_streams_take_no_address_to_send_to() {
    both_answer(&[
        (Socket { id: 1, family: Unix, kind: Stream }, "ok 1:out+hup"),
        (SendTo { id: 1, to: At(Loop4, 1), length: 1 }, "EOPNOTSUPP"),
        (Connect { id: 1, to: At(Loop4, 1) }, "EINVAL"),
    ]);
}

#[test]
fn unix_streams_connect_by_an_abstract_name() {
    both_answer(&[
        (Socket { id: 0, family: Unix, kind: Stream }, "ok 0:out+hup"),
        (Bind { id: 0, to: Abstract(2) }, "ok"),
        (Listen { id: 0, backlog: 8 }, "ok 0:nothing"),
        (Socket { id: 1, family: Unix, kind: Stream }, "ok 1:out+hup"),
        (Set { id: 1, option: NoDelay, value: 0 }, "EOPNOTSUPP"),
        (Connect { id: 1, to: Abstract(2) }, "ok 0:in 1:out"),
        (Accept { id: 0, new: 2 }, "unnamed 0:nothing 2:out"),
        (Peer { id: 1 }, "abstract 2"),
        (Send { id: 2, length: 10 }, "10 1:in+out"),
        (Close { id: 1 }, "ok 2:in+out+rdhup+hup+err"),
        (Receive { id: 2, length: 5, peek: false }, "ECONNRESET 2:in+out+rdhup+hup"),
        (Send { id: 2, length: 0 }, "EPIPE"),
    ]);
}

#[test]
fn typed_sockets_are_told_of_a_reset_once() {
    typed_sockets_answer(&[
        (Act::Bind { id: 0, ip: Loop4, port: 0 }, "ok"),
        (Act::Connect { id: 1, to: 0 }, "ok"),
        (Act::Accept { id: 0, new: 2 }, "127.0.0.1 p1"),
        (Act::ZeroLinger { id: 2 }, "ok"),
        (Act::Read { id: 1, length: 10 }, "waits"),
        (Act::Drop { id: 2 }, "ok"),
        (Act::Read { id: 1, length: 10 }, "ConnectionReset Some(104)"),
        (Act::Read { id: 1, length: 10 }, "0 0"),
        (Act::Write { id: 1, length: 10 }, "BrokenPipe Some(32)"),
    ]);
}

#[test]
fn a_socket_can_connect_to_itself() {
    both_answer(&[
        (Socket { id: 5, family: V4, kind: Stream }, "ok 5:out+hup"),
        (Bind { id: 5, to: At(Any4, 2) }, "ok"),
        (Connect { id: 5, to: At(Loop4, 2) }, "EINPROGRESS 5:out"),
        (Send { id: 5, length: 10 }, "10 5:in+out"),
        (Available { id: 5 }, "10"),
        (Peer { id: 5 }, "127.0.0.1 p2"),
    ]);
}

#[test]
fn a_bound_ipv6_address_is_of_ipv6_only() {
    both_answer(&[
        (Socket { id: 2, family: V6, kind: Stream }, "ok 2:out+hup"),
        (Get { id: 2, option: OnlyV6 }, "0"),
        (Bind { id: 2, to: At(Own6, 1) }, "ok"),
        (Get { id: 2, option: OnlyV6 }, "1"),
    ]);
}

#[test]
fn a_peer_at_port_zero_is_a_whole_host() {
    both_answer(&[
        (Socket { id: 0, family: V6, kind: Datagram }, "ok 0:out"),
        (Socket { id: 1, family: V6, kind: Datagram }, "ok 1:out"),
        (Connect { id: 1, to: Of(0) }, "ok"),
        (SendTo { id: 0, to: Of(1), length: 1 }, "1 1:in+out"),
    ]);
}

#[test]
fn a_socket_whose_connection_has_ended_can_be_bound() {
    both_answer(&[
        (Socket { id: 0, family: V6, kind: Stream }, "ok 0:out+hup"),
        (Listen { id: 0, backlog: 8 }, "ok 0:nothing"),
        (Socket { id: 1, family: V6, kind: Stream }, "ok 1:out+hup"),
        (Connect { id: 1, to: Of(0) }, "EINPROGRESS 0:in 1:out"),
        (Accept { id: 0, new: 3 }, "::1 e1 0:nothing 3:out"),
        (Shutdown { id: 3, how: How::Write }, "ok 1:in+out+rdhup"),
        (Shutdown { id: 1, how: How::Both }, "ok 1:in+out+rdhup+hup 3:in+out+rdhup+hup"),
        (Bind { id: 3, to: At(Any6, 1) }, "ok"),
    ]);
}

#[test]
fn what_resets_an_end_is_not_received() {
    both_answer(&[
        (Socket { id: 3, family: V4, kind: Stream }, "ok 3:out+hup"),
        (Listen { id: 3, backlog: 8 }, "ok 3:nothing"),
        (Socket { id: 4, family: V4, kind: Stream }, "ok 4:out+hup"),
        (Connect { id: 4, to: Of(3) }, "EINPROGRESS 3:in 4:out"),
        (Accept { id: 3, new: 5 }, "127.0.0.1 e1 3:nothing 5:out"),
        (Shutdown { id: 5, how: How::Both }, "ok 4:in+out+rdhup 5:in+out+rdhup+hup"),
        (Send { id: 4, length: 5000 }, "5000 4:in+out+rdhup+hup+err 5:in+out+rdhup+hup+err"),
        (Drain { id: 5 }, "none ECONNRESET 5:in+out+rdhup+hup"),
    ]);
}

#[test]
fn a_connect_that_was_shut_down_has_an_error() {
    both_answer(&[
        (Socket { id: 0, family: V4, kind: Stream }, "ok 0:out+hup"),
        (Listen { id: 0, backlog: 0 }, "ok 0:nothing"),
        (Socket { id: 2, family: V4, kind: Stream }, "ok 2:out+hup"),
        (Connect { id: 2, to: Of(0) }, "EINPROGRESS 0:in 2:out"),
        (Socket { id: 3, family: V4, kind: Stream }, "ok 3:out+hup"),
        (Connect { id: 3, to: Of(0) }, "EINPROGRESS 3:nothing"),
        (Shutdown { id: 3, how: How::Both }, "ok 3:out+hup+err"),
        (Receive { id: 3, length: 1, peek: false }, "ECONNRESET 3:out+hup"),
    ]);
}

#[test]
fn a_read_of_nothing_tells_the_sender() {
    both_answer(&[
        (Socket { id: 0, family: Unix, kind: Stream }, "ok 0:out+hup"),
        (Bind { id: 0, to: Unnamed }, "ok"),
        (Listen { id: 0, backlog: 0 }, "ok 0:nothing"),
        (Socket { id: 1, family: Unix, kind: Stream }, "ok 1:out+hup"),
        (Bind { id: 1, to: Unnamed }, "ok"),
        (Connect { id: 1, to: Of(0) }, "ok 0:in 1:out"),
        (Accept { id: 0, new: 2 }, "name 1 0:nothing 2:out"),
        (Send { id: 1, length: 10 }, "10 2:in+out"),
        (Receive { id: 2, length: 0, peek: false }, "0 from name 1"),
    ]);
}

#[test]
fn a_bind_that_failed_leaves_an_ipv6_socket_as_it_was() {
    both_answer(&[
        (Socket { id: 1, family: V6, kind: Datagram }, "ok 1:out"),
        (Bind { id: 1, to: At(Own6, 3) }, "ok"),
        (Socket { id: 2, family: V6, kind: Datagram }, "ok 2:out"),
        (Bind { id: 2, to: At(Own6, 3) }, "EADDRINUSE"),
        (Connect { id: 2, to: At(Loop4, 1) }, "ok"),
        (SendTo { id: 1, to: At(Second4, 0), length: 10 }, "ENETUNREACH"),
    ]);
}

#[test]
fn a_refused_socket_has_the_address_that_it_connected_from() {
    both_answer(&[
        (Socket { id: 3, family: V4, kind: Stream }, "ok 3:out+hup"),
        (Socket { id: 4, family: V4, kind: Stream }, "ok 4:out+hup"),
        (Bind { id: 4, to: At(Any4, 3) }, "ok"),
        (Connect { id: 4, to: Of(3) }, "EINPROGRESS 4:in+out+rdhup+hup+err"),
        (Socket { id: 11, family: V4, kind: Stream }, "ok 11:out+hup"),
        (Bind { id: 11, to: At(Own4, 3) }, "ok"),
    ]);
}

#[test]
fn shutdown_of_reading_outlives_a_connect() {
    both_answer(&[
        (Socket { id: 0, family: V4, kind: Stream }, "ok 0:out+hup"),
        (Listen { id: 0, backlog: 8 }, "ok 0:nothing"),
        (Socket { id: 5, family: V4, kind: Stream }, "ok 5:out+hup"),
        (Shutdown { id: 5, how: How::Read }, "ENOTCONN 5:in+out+rdhup+hup"),
        (Connect { id: 5, to: Of(0) }, "EINPROGRESS 0:in 5:in+out+rdhup"),
    ]);
}

#[test]
fn an_accepted_connection_of_both_families_holds_the_port_of_ipv4() {
    both_answer(&[
        (Socket { id: 0, family: V6, kind: Stream }, "ok 0:out+hup"),
        (Bind { id: 0, to: At(Any6, 1) }, "ok"),
        (Listen { id: 0, backlog: 8 }, "ok 0:nothing"),
        (Socket { id: 5, family: V6, kind: Stream }, "ok 5:out+hup"),
        (Connect { id: 5, to: Of(0) }, "EINPROGRESS 0:in 5:out"),
        (Accept { id: 0, new: 6 }, "::1 e1 0:nothing 6:out"),
        (Close { id: 0 }, "ok"),
        (Socket { id: 8, family: V4, kind: Stream }, "ok 8:out+hup"),
        (Bind { id: 8, to: At(Any4, 1) }, "EADDRINUSE"),
    ]);
}

#[test]
fn an_ipv6_socket_sends_nothing_to_port_zero_of_ipv4() {
    both_answer(&[
        (Socket { id: 5, family: V6, kind: Datagram }, "ok 5:out"),
        (Connect { id: 5, to: At(Own4, 0) }, "ok"),
        (Send { id: 5, length: 100 }, "EINVAL"),
    ]);
}

#[test]
fn a_typed_sockets_would_block_has_no_number() {
    typed_sockets_answer(&[
        (Act::Bind { id: 0, ip: Loop4, port: 0 }, "ok"),
        (Act::Connect { id: 1, to: 0 }, "ok"),
        (Act::TryRead { id: 1, length: 100 }, "WouldBlock None"),
    ]);
}

#[test]
fn the_process_at_the_other_end_of_a_unix_socket_is_known() {
    both_answer(&[
        (Pair { ids: [0, 1], kind: Stream }, "ok 0:out 1:out"),
        (PeerProcess { id: 0 }, "own"),
        (Pair { ids: [2, 3], kind: Datagram }, "ok 2:out 3:out"),
        (PeerProcess { id: 3 }, "own"),
        (Socket { id: 4, family: Unix, kind: Stream }, "ok 4:out+hup"),
        (PeerProcess { id: 4 }, "nobody"),
        (Bind { id: 4, to: Abstract(1) }, "ok"),
        (PeerProcess { id: 4 }, "nobody"),
        (Listen { id: 4, backlog: 8 }, "ok 4:nothing"),
        (PeerProcess { id: 4 }, "own"),
        (Socket { id: 5, family: Unix, kind: Stream }, "ok 5:out+hup"),
        (Connect { id: 5, to: Abstract(1) }, "ok 4:in 5:out"),
        (PeerProcess { id: 5 }, "own"),
        (Accept { id: 4, new: 6 }, "unnamed 4:nothing 6:out"),
        (PeerProcess { id: 6 }, "own"),
        (Socket { id: 7, family: V4, kind: Stream }, "ok 7:out+hup"),
        (PeerProcess { id: 7 }, "nobody"),
        (Set { id: 7, option: PassCredentials, value: 1 }, "EOPNOTSUPP"),
        (Get { id: 7, option: PassCredentials }, "EOPNOTSUPP"),
    ]);
}

#[test]
fn credentials_come_with_what_is_sent_after_they_were_asked_for() {
    both_answer(&[
        (Pair { ids: [0, 1], kind: Stream }, "ok 0:out 1:out"),
        (Get { id: 1, option: PassCredentials }, "0"),
        (Send { id: 0, length: 3 }, "3 1:in+out"),
        (Set { id: 1, option: PassCredentials, value: 7 }, "ok"),
        (Get { id: 1, option: PassCredentials }, "1"),
        (Send { id: 0, length: 3 }, "3"),
        (SendCredentials { id: 0, own: true }, "1"),
        (ReceiveMessage { id: 1, length: 100 }, "3 unknown"),
        (ReceiveMessage { id: 1, length: 2 }, "2 own"),
        (ReceiveMessage { id: 1, length: 100 }, "2 own 1:out"),
        (Close { id: 0 }, "ok 1:in+out+rdhup+hup"),
        (ReceiveMessage { id: 1, length: 100 }, "0 none"),
    ]);
}

#[test]
fn a_sender_that_passes_credentials_sends_them_and_has_a_name() {
    both_answer(&[
        (Socket { id: 0, family: Unix, kind: Datagram }, "ok 0:out"),
        (Bind { id: 0, to: Abstract(1) }, "ok"),
        (Socket { id: 1, family: Unix, kind: Datagram }, "ok 1:out"),
        (SendTo { id: 1, to: Abstract(1), length: 1 }, "1 0:in+out"),
        (Local { id: 1 }, "unnamed"),
        (Set { id: 1, option: PassCredentials, value: 1 }, "ok"),
        (SendTo { id: 1, to: Abstract(1), length: 1 }, "1"),
        (Local { id: 1 }, "name 1"),
        (ReceiveMessage { id: 0, length: 9 }, "1 alone"),
        (Set { id: 0, option: PassCredentials, value: 1 }, "ok"),
        (ReceiveMessage { id: 0, length: 9 }, "1 own 0:out"),
        (Socket { id: 2, family: Unix, kind: Stream }, "ok 2:out+hup"),
        (Bind { id: 2, to: Abstract(2) }, "ok"),
        (Set { id: 2, option: PassCredentials, value: 1 }, "ok"),
        (Listen { id: 2, backlog: 8 }, "ok 2:nothing"),
        (Socket { id: 3, family: Unix, kind: Stream }, "ok 3:out+hup"),
        (Set { id: 3, option: PassCredentials, value: 1 }, "ok"),
        (Connect { id: 3, to: Abstract(2) }, "ok 2:in 3:out"),
        (Accept { id: 2, new: 4 }, "name 2 2:nothing 4:out"),
        (Get { id: 4, option: PassCredentials }, "1"),
        (Send { id: 3, length: 5 }, "5 4:in+out"),
        (ReceiveMessage { id: 4, length: 9 }, "5 own 4:out"),
    ]);
}

#[test]
fn buffers_are_kept_as_twice_what_was_set() {
    both_answer(&[
        (Socket { id: 0, family: V4, kind: Stream }, "ok 0:out+hup"),
        (Set { id: 0, option: SendBuffer, value: 10_000 }, "ok"),
        (Get { id: 0, option: SendBuffer }, "20000"),
        (Set { id: 0, option: SendBuffer, value: 0 }, "ok"),
        (Get { id: 0, option: SendBuffer }, "4608"),
        (Set { id: 0, option: ReceiveBuffer, value: 1 }, "ok"),
        (Get { id: 0, option: ReceiveBuffer }, "2304"),
        (Set { id: 0, option: ReceiveBuffer, value: -1 }, "ok"),
        (Get { id: 0, option: ReceiveBuffer }, "8388608"),
    ]);
}

/// Linux answers so to whoever is not root, as which it is asked here.
#[test]
fn a_process_without_privileges_can_only_send_credentials_of_its_own() {
    let steps = [Pair { ids: [0, 1], kind: Datagram }, SendCredentials { id: 0, own: false }];
    let answers = || linux::simulated::answers(&steps, linux::linux::next_ports(), 1);
    let answers = std::thread::scope(|scope| scope.spawn(answers).join().unwrap());
    assert_eq!(answers, ["ok 0:out 1:out", "EPERM"]);
}

#[test]
fn a_connect_to_nobody_is_one_to_the_socket_s_own_address() {
    both_answer(&[
        (Socket { id: 0, family: V4, kind: Stream }, "ok 0:out+hup"),
        (Listen { id: 0, backlog: 8 }, "ok 0:nothing"),
        (Socket { id: 1, family: V4, kind: Stream }, "ok 1:out+hup"),
        (Bind { id: 1, to: At(Second4, 2) }, "ok"),
        (Connect { id: 1, to: Of(0) }, "EINPROGRESS 0:in 1:out"),
        (Peer { id: 1 }, "127.0.0.2 e1"),
    ]);
}

#[test]
fn a_port_that_was_not_asked_for_is_given_back_by_a_connect_that_fails() {
    both_answer(&[
        (Socket { id: 3, family: V4, kind: Stream }, "ok 3:out+hup"),
        (Bind { id: 3, to: At(Any4, 0) }, "ok"),
        (Connect { id: 3, to: At(Own4, 2) }, "EINPROGRESS 3:in+out+rdhup+hup+err"),
        (Bind { id: 3, to: At(Any4, 1) }, "ok"),
    ]);
}

#[test]
fn a_socket_that_was_bound_after_a_refusal_has_that_address() {
    both_answer(&[
        (Socket { id: 1, family: V4, kind: Stream }, "ok 1:out+hup"),
        (Socket { id: 2, family: V4, kind: Stream }, "ok 2:out+hup"),
        (Connect { id: 2, to: Of(1) }, "EINPROGRESS 2:in+out+rdhup+hup+err"),
        (Bind { id: 2, to: At(Loop4, 2) }, "ok"),
        (Local { id: 2 }, "127.0.0.1 p2"),
    ]);
}

#[test]
fn a_bound_socket_that_is_connected_to_nothing_stays_bound() {
    both_answer(&[
        (Socket { id: 1, family: V6, kind: Stream }, "ok 1:out+hup"),
        (Bind { id: 1, to: At(Mapped, 0) }, "ok"),
        (Connect { id: 1, to: Unspecified }, "ok"),
        (Local { id: 1 }, "::ffff:127.0.0.1 e1"),
    ]);
}

#[test]
fn a_socket_that_was_shut_down_connects_to_itself_and_ends() {
    both_answer(&[
        (Socket { id: 0, family: V4, kind: Stream }, "ok 0:out+hup"),
        (Bind { id: 0, to: At(Loop4, 0) }, "ok"),
        (Shutdown { id: 0, how: How::Write }, "ENOTCONN"),
        (Connect { id: 0, to: Of(0) }, "EINPROGRESS 0:in+out+rdhup+hup"),
    ]);
}

const NEW: Flags = Flags(libc::O_RDWR | libc::O_CREAT);

#[test]
fn the_flags_of_an_open_file_are_told_but_for_those_of_its_making() {
    files_answer(&[
        (Call::Open { id: 0, path: "a", flags: NEW | Flags::NONBLOCK | Flags::NO_FOLLOW, mode: 0o644 }, "ok"),
        (Call::GetFlags { id: 0 }, "Flags::LARGE | Flags::READ_WRITE | Flags::NO_FOLLOW | Flags::NONBLOCK"),
        (Call::Open { id: 1, path: ".", flags: Flags::TMPFILE | Flags::READ_WRITE, mode: 0o644 }, "ok"),
        (Call::GetFlags { id: 1 }, "Flags::LARGE | Flags::TMPFILE | Flags::READ_WRITE"),
        (Call::Open { id: 2, path: "a", flags: Flags::PATH | Flags::WRITE | Flags::TRUNCATE, mode: 0 }, "ok"),
        (Call::GetFlags { id: 2 }, "Flags::PATH"),
        (Call::LockWhole { id: 2, kind: Lock::Shared }, "EBADF"),
        (Call::SetModeOpen { id: 2, mode: 0o600 }, "EBADF"),
        (Call::Open { id: 3, path: "d", flags: Flags::CREATE | Flags::DIRECTORY, mode: 0o644 }, "EINVAL"),
        (Call::Open { id: 3, path: "a", flags: Flags::TRUNCATE, mode: 0 }, "ok"),
    ]);
}

#[test]
fn a_file_without_a_name_is_given_one_unless_it_had_one_before() {
    files_answer(&[
        (Call::Open { id: 0, path: ".", flags: Flags::TMPFILE | Flags::READ_WRITE, mode: 0o644 }, "ok"),
        (Call::LinkOpen { id: 0, to: "a" }, "ok"),
        (Call::LinkOpen { id: 0, to: "b" }, "ok"),
        (Call::Unlink { path: "a" }, "ok"),
        (Call::Unlink { path: "b" }, "ok"),
        (Call::LinkOpen { id: 0, to: "a" }, "ENOENT"),
        (
            Call::Open {
                id: 1,
                path: ".",
                flags: Flags::TMPFILE | Flags::READ_WRITE | Flags::EXCLUSIVE,
                mode: 0o644,
            },
            "ok",
        ),
        (Call::LinkOpen { id: 1, to: "b" }, "ENOENT"),
        (Call::Open { id: 2, path: "c", flags: NEW, mode: 0o644 }, "ok"),
        (Call::Unlink { path: "c" }, "ok"),
        (Call::LinkOpen { id: 2, to: "c" }, "ENOENT"),
    ]);
}

#[test]
fn what_is_reserved_takes_room_and_is_a_hole() {
    files_answer(&[
        (Call::Open { id: 0, path: "a", flags: NEW, mode: 0o644 }, "ok"),
        (Call::Allocate { id: 0, mode: Allocation::Grow, at: 0, length: 50_000 }, "ok"),
        (Call::WriteAt { id: 0, at: 8192, length: 100 }, "100"),
        (Call::StatusOpen { id: 0 }, "100644 1 links 50000 bytes 104 blocks"),
        (Call::Seek { id: 0, to: 0, whence: Whence::Data }, "8192"),
        (Call::Seek { id: 0, to: 8192, whence: Whence::Hole }, "12288"),
        (Call::Allocate { id: 0, mode: Allocation::Punch, at: 0, length: 100_000 }, "ok"),
        (Call::Seek { id: 0, to: 0, whence: Whence::Data }, "ENXIO"),
        (Call::Open { id: 1, path: "b", flags: NEW, mode: 0o644 }, "ok"),
        (Call::Allocate { id: 1, mode: Allocation::KeepSize, at: 4096, length: 8192 }, "ok"),
        (Call::StatusOpen { id: 1 }, "100644 1 links 0 bytes"),
        (Call::Truncate { id: 1, length: 0 }, "ok"),
    ]);
}

#[test]
fn ranges_are_taken_out_of_files_and_put_into_them() {
    files_answer(&[
        (Call::Open { id: 0, path: "a", flags: NEW, mode: 0o644 }, "ok"),
        (Call::Write { id: 0, length: 10_000 }, "10000"),
        (Call::Allocate { id: 0, mode: Allocation::Insert, at: 4096, length: 8192 }, "ok"),
        (Call::Allocate { id: 0, mode: Allocation::Insert, at: 40_960, length: 4096 }, "EINVAL"),
        (Call::Allocate { id: 0, mode: Allocation::Collapse, at: 0, length: 100 }, "EINVAL"),
        (Call::Allocate { id: 0, mode: Allocation::Collapse, at: 0, length: 4096 }, "ok"),
        (Call::StatusOpen { id: 0 }, "100644 1 links 14096 bytes 16 blocks"),
    ]);
}

#[test]
fn permissions_of_directories_count() {
    files_answer(&[
        (Call::MakeDirectory { path: "d", mode: 0o755 }, "ok"),
        (Call::MakeDirectory { path: "d/e", mode: 0o755 }, "ok"),
        (Call::SetMode { path: "d", mode: 0o555 }, "ok"),
        (Call::MakeDirectory { path: "d/e", mode: 0o755 }, "EEXIST"),
        (Call::MakeDirectory { path: "d/f", mode: 0o755 }, "EACCES"),
        (Call::RemoveDirectory { path: "d/e" }, "EACCES"),
        (Call::Rename { from: "d/e", to: "e", how: Renaming::Plain }, "EACCES"),
        (Call::SetMode { path: "d", mode: 0o600 }, "ok"),
        (Call::Status { path: "d/e", follows: true }, "EACCES"),
        (Call::SetMode { path: "d", mode: 0o300 }, "ok"),
        (Call::List { path: "d" }, "EACCES"),
        (Call::Status { path: "d/e", follows: true }, "40755 2 links 4096 bytes 8 blocks"),
    ]);
}

#[test]
fn renames_fail_in_the_order_of_linux() {
    files_answer(&[
        (Call::Symlink { target: "d/e", path: "t" }, "ok"),
        (Call::Rename { from: "no", to: "t", how: Renaming::Both }, "EINVAL"),
        (Call::Rename { from: "no", to: "t", how: Renaming::NoReplace }, "ENOENT"),
        (Call::Rename { from: "t/", to: "no", how: Renaming::Exchange }, "ENOENT"),
        (Call::MakeDirectory { path: "d", mode: 0o755 }, "ok"),
        (Call::Rename { from: "t/", to: "d", how: Renaming::Exchange }, "ENOTDIR"),
        (Call::Rename { from: "d", to: "d/e", how: Renaming::Plain }, "EINVAL"),
        (Call::Rename { from: "t", to: "d", how: Renaming::Exchange }, "ok"),
        (Call::Rename { from: ".", to: "no", how: Renaming::Plain }, "EBUSY"),
        (Call::Rename { from: "t", to: "..", how: Renaming::NoReplace }, "EEXIST"),
    ]);
}

#[test]
fn copies_within_the_kernel_check_what_they_are_given() {
    files_answer(&[
        (Call::Open { id: 0, path: "a", flags: NEW, mode: 0o644 }, "ok"),
        (Call::Write { id: 0, length: 76 }, "76"),
        (Call::CopyRange { from: 0, at: 0, to: 0, to_at: 20_000, length: 8_000 }, "76 76 20076"),
        (Call::CopyRange { from: 0, at: 0, to: 0, to_at: 10, length: 100 }, "EINVAL"),
        (Call::Open { id: 1, path: "b", flags: NEW | Flags::APPEND, mode: 0o644 }, "ok"),
        (Call::CopyRange { from: 0, at: 0, to: 1, to_at: -1, length: 10 }, "EBADF"),
        (Call::SendFile { from: 0, at: 0, to: 1, length: 10 }, "EINVAL"),
        (Call::SendFile { from: 1, at: (1 << 44) - 4096, to: 0, length: 10 }, "EOVERFLOW"),
        (Call::ReadAt { id: 0, at: i64::MAX, length: 10 }, "EINVAL"),
        (Call::WriteAt { id: 0, at: i64::MAX, length: 10 }, "EINVAL"),
    ]);
}

#[test]
fn locks_of_open_files_and_of_the_process_see_each_other() {
    let lock = |id, is_of_file, kind| Call::LockRange {
        id,
        is_of_file,
        kind,
        at: 0,
        length: 10,
        whence: Whence::Start,
    };
    let in_the_way = |id, is_of_file, kind| Call::LockInTheWay { id, is_of_file, kind, at: 5, length: 10 };
    files_answer(&[
        (Call::Open { id: 0, path: "a", flags: NEW, mode: 0o644 }, "ok"),
        (Call::Open { id: 1, path: "a", flags: NEW, mode: 0o644 }, "ok"),
        (lock(0, false, Lock::Exclusive), "ok"),
        (lock(1, true, Lock::Shared), "EAGAIN"),
        (in_the_way(1, true, Lock::Shared), "exclusive 0 0 10 own"),
        (in_the_way(0, false, Lock::Unlock), "EINVAL"),
        (Call::Close { id: 1 }, "ok"),
        (Call::Open { id: 1, path: "a", flags: NEW, mode: 0o644 }, "ok"),
        // The process has lost its lock with the other descriptor.
        (lock(1, true, Lock::Exclusive), "ok"),
        (in_the_way(1, true, Lock::Unlock), "exclusive 0 0 10 a file's"),
        (in_the_way(0, false, Lock::Exclusive), "exclusive 0 0 10 a file's"),
    ]);
}

#[test]
fn a_socket_whose_connect_was_given_up_still_tells_its_port() {
    both_answer(&[
        (Socket { id: 0, family: V6, kind: Stream }, "ok 0:out+hup"),
        (Listen { id: 0, backlog: 0 }, "ok 0:nothing"),
        (Socket { id: 1, family: V6, kind: Stream }, "ok 1:out+hup"),
        (Connect { id: 1, to: Of(0) }, "EINPROGRESS 0:in 1:out"),
        (Socket { id: 2, family: V6, kind: Stream }, "ok 2:out+hup"),
        (Connect { id: 2, to: Of(0) }, "EINPROGRESS 2:nothing"),
        (Shutdown { id: 2, how: How::Write }, "ok 2:out+hup+err"),
        (Local { id: 2 }, ":: e1"),
    ]);
}

#[test]
fn a_listener_that_ends_forgets_that_it_was_shut_down_before() {
    both_answer(&[
        (Socket { id: 0, family: V4, kind: Stream }, "ok 0:out+hup"),
        (Shutdown { id: 0, how: How::Both }, "ENOTCONN 0:in+out+rdhup+hup"),
        (Listen { id: 0, backlog: 0 }, "ok 0:nothing"),
        (Shutdown { id: 0, how: How::Both }, "ok 0:out+hup"),
    ]);
}

#[test]
fn a_sender_that_was_bound_since_is_told_by_its_name() {
    both_answer(&[
        (Pair { ids: [0, 1], kind: Stream }, "ok 0:out 1:out"),
        (Send { id: 0, length: 10 }, "10 1:in+out"),
        (Bind { id: 0, to: Abstract(1) }, "ok"),
        (Receive { id: 1, length: 100, peek: false }, "10 44db1823 from abstract 1 1:out"),
    ]);
}

#[test]
fn the_interface_for_groups_is_kept_where_there_is_one() {
    const LOOPBACK: i32 = i32::from_ne_bytes([127, 0, 0, 1]);
    const NOBODY: i32 = i32::from_ne_bytes([10, 9, 9, 9]);
    let shown = LOOPBACK.to_string();
    let shown = shown.as_str();
    both_answer(&[
        (Socket { id: 0, family: V4, kind: Datagram }, "ok 0:out"),
        (Get { id: 0, option: MulticastInterface }, "0"),
        (Set { id: 0, option: MulticastInterface, value: LOOPBACK }, "ok"),
        (Get { id: 0, option: MulticastInterface }, shown),
        (Set { id: 0, option: MulticastInterface, value: NOBODY }, "EADDRNOTAVAIL"),
        (Get { id: 0, option: MulticastAll }, "1"),
        (Set { id: 0, option: MulticastAll, value: 0 }, "ok"),
        (Set { id: 0, option: MulticastAll, value: 7 }, "EINVAL"),
        (Get { id: 0, option: MulticastAll }, "0"),
        (Socket { id: 1, family: V4, kind: Stream }, "ok 1:out+hup"),
        (Set { id: 1, option: MulticastInterface, value: 0 }, "EINVAL"),
        (Socket { id: 2, family: V6, kind: Datagram }, "ok 2:out"),
        (Set { id: 2, option: MulticastInterfaceV6, value: 1 }, "ok"),
        (Get { id: 2, option: MulticastInterfaceV6 }, "1"),
        (Set { id: 2, option: MulticastInterfaceV6, value: 77 }, "ENODEV"),
        (Set { id: 2, option: MulticastAllV6, value: 0 }, "ok"),
        (Get { id: 2, option: MulticastAllV6 }, "0"),
    ]);
}

#[test]
fn the_port_of_an_accepted_connection_is_free_for_its_own_socket_when_both_have_closed() {
    both_answer(&[
        (Socket { id: 0, family: V4, kind: Stream }, "ok 0:out+hup"),
        (Bind { id: 0, to: At(Loop4, 1) }, "ok"),
        (Listen { id: 0, backlog: 8 }, "ok 0:nothing"),
        (Socket { id: 1, family: V4, kind: Stream }, "ok 1:out+hup"),
        (Connect { id: 1, to: Of(0) }, "EINPROGRESS 0:in 1:out"),
        (Accept { id: 0, new: 2 }, "127.0.0.1 e1 0:nothing 2:out"),
        (Close { id: 1 }, "ok 2:in+out+rdhup"),
        (Close { id: 0 }, "ok"),
        (Shutdown { id: 2, how: How::Both }, "ok 2:in+out+rdhup+hup"),
        (Bind { id: 2, to: At(Any4, 1) }, "ok"),
    ]);
}

#[test]
fn what_a_mapping_stores_behind_the_end_is_not_of_the_file() {
    files_answer(&[
        (Call::Open { id: 0, path: "b", flags: NEW, mode: 0o644 }, "ok"),
        (Call::Write { id: 0, length: 4096 }, "4096"),
        (Call::Map { id: 0, map: 0, is_shared: true, is_writable: true, at: 0, length: 10_000 }, "ok"),
        (Call::WriteAt { id: 0, at: 4096, length: 31 }, "31"),
        (Call::Store { map: 0, at: 5628, length: 5211 }, "2564"),
        (Call::Truncate { id: 0, length: 27_928 }, "ok"),
        (Call::ReadAt { id: 0, at: 5628, length: 4 }, "4 00000000"),
    ]);
}

#[test]
fn a_user_timeout_ends_a_connect_that_gets_no_answer() {
    a_listener_and_a_socket_answer(&[
        (On { host: 1, step: Set { id: 1, option: UserTimeout, value: 1700 } }, "ok"),
        (Cut { from: 0, to: 1 }, "ok"),
        (On { host: 1, step: Connect { id: 1, to: Of(0) } }, "EINPROGRESS 1:nothing"),
        (Wait { millis: 2000 }, "waited 1:in+out+rdhup+hup+err@1670"),
        (On { host: 1, step: Get { id: 1, option: Error } }, "ETIMEDOUT 1:in+out+rdhup+hup"),
    ]);
}

/// The timeout counts from the first retransmission after the tail loss probe.
#[test]
fn a_user_timeout_ends_a_connection_whose_data_is_not_acknowledged() {
    a_listener_and_a_socket_answer(&[
        (On { host: 1, step: Connect { id: 1, to: Of(0) } }, "EINPROGRESS 0:in 1:out"),
        (On { host: 1, step: Set { id: 1, option: UserTimeout, value: 1000 } }, "ok"),
        (Cut { from: 1, to: 0 }, "ok"),
        (On { host: 1, step: Send { id: 1, length: 10 } }, "10"),
        (Wait { millis: 1700 }, "waited 1:in+out+rdhup+hup+err@1370"),
        (On { host: 1, step: Receive { id: 1, length: 10, peek: false } }, "ETIMEDOUT 1:in+out+rdhup+hup"),
    ]);
}

/// Sent again after 0.2 s as a tail loss probe, then after timeouts of 0.2, 0.4 and 0.8 s: at 1.6 s.
#[test]
fn a_segment_that_is_alone_is_probed_for_before_its_timeouts() {
    a_listener_and_a_socket_answer(&[
        (On { host: 1, step: Connect { id: 1, to: Of(0) } }, "EINPROGRESS 0:in 1:out"),
        (On { host: 0, step: Accept { id: 0, new: 2 } }, "10.0.0.3 e1 0:nothing 2:out"),
        (Cut { from: 1, to: 0 }, "ok"),
        (On { host: 1, step: Send { id: 1, length: 10 } }, "10"),
        (Wait { millis: 1000 }, "waited"),
        (Heal { from: 1, to: 0 }, "ok"),
        (Wait { millis: 900 }, "waited 2:in+out@540"),
    ]);
}

/// The probe for the last of several segments comes at once, and the timeouts of 0.2, 0.4 and 0.8 s then: at 1.4 s.
#[test]
fn of_several_segments_the_timeouts_count_from_the_last() {
    a_listener_and_a_socket_answer(&[
        (On { host: 1, step: Connect { id: 1, to: Of(0) } }, "EINPROGRESS 0:in 1:out"),
        (On { host: 0, step: Accept { id: 0, new: 2 } }, "10.0.0.3 e1 0:nothing 2:out"),
        (Cut { from: 1, to: 0 }, "ok"),
        (On { host: 1, step: Send { id: 1, length: 5000 } }, "5000"),
        (Wait { millis: 1000 }, "waited"),
        (Heal { from: 1, to: 0 }, "ok"),
        (Wait { millis: 900 }, "waited 2:in+out@340"),
    ]);
}

/// Ten segments are the initial window, and a tail loss probe is one more.
#[test]
fn a_probe_sends_the_segment_after_the_window() {
    a_listener_and_a_socket_answer(&[
        (On { host: 1, step: Connect { id: 1, to: Of(0) } }, "EINPROGRESS 0:in 1:out"),
        (On { host: 0, step: Accept { id: 0, new: 2 } }, "10.0.0.3 e1 0:nothing 2:out"),
        (Cut { from: 0, to: 1 }, "ok"),
        (On { host: 1, step: Send { id: 1, length: 30_000 } }, "30000 2:in+out"),
        (On { host: 0, step: Available { id: 2 } }, "15928"),
    ]);
}

#[test]
fn a_user_timeout_of_less_than_a_second_leaves_a_connect_its_second_syn() {
    a_listener_and_a_socket_answer(&[
        (On { host: 1, step: Set { id: 1, option: UserTimeout, value: 300 } }, "ok"),
        (Cut { from: 1, to: 0 }, "ok"),
        (On { host: 1, step: Connect { id: 1, to: Of(0) } }, "EINPROGRESS 1:nothing"),
        (Wait { millis: 600 }, "waited"),
        (Heal { from: 1, to: 0 }, "ok"),
        (Wait { millis: 700 }, "waited 0:in@340 1:out@340"),
    ]);
}

#[test]
fn a_user_timeout_counts_whenever_it_is_set() {
    a_listener_and_a_socket_answer(&[
        (On { host: 1, step: Connect { id: 1, to: Of(0) } }, "EINPROGRESS 0:in 1:out"),
        (Cut { from: 1, to: 0 }, "ok"),
        (On { host: 1, step: Send { id: 1, length: 10 } }, "10"),
        (On { host: 1, step: Set { id: 1, option: UserTimeout, value: 1000 } }, "ok"),
        (Wait { millis: 1700 }, "waited 1:in+out+rdhup+hup+err@1340"),
    ]);
}

#[test]
fn one_syn_more_is_three_seconds() {
    a_listener_and_a_socket_answer(&[
        (On { host: 1, step: Set { id: 1, option: SynCount, value: 1 } }, "ok"),
        (Cut { from: 1, to: 0 }, "ok"),
        (On { host: 1, step: Connect { id: 1, to: Of(0) } }, "EINPROGRESS 1:nothing"),
        (Wait { millis: 2500 }, "waited"),
        (Wait { millis: 900 }, "waited 1:in+out+rdhup+hup+err@470"),
    ]);
}

#[test]
fn a_refusal_reaches_a_socket_that_is_connected_to_port_0() {
    both_answer(&[
        (Socket { id: 0, family: V6, kind: Datagram }, "ok 0:out"),
        (Socket { id: 1, family: V6, kind: Datagram }, "ok 1:out"),
        (Connect { id: 1, to: Of(0) }, "ok"),
        (SendTo { id: 1, to: At(Any6, 2), length: 1 }, "1 1:out+err"),
    ]);
}

#[test]
fn a_listener_that_was_not_bound_still_tells_its_port_and_keeps_its_address() {
    both_answer(&[
        (Socket { id: 0, family: V4, kind: Stream }, "ok 0:out+hup"),
        (Listen { id: 0, backlog: 0 }, "ok 0:nothing"),
        (Shutdown { id: 0, how: How::Both }, "ok 0:out+hup"),
        (Local { id: 0 }, "0.0.0.0 e1"),
        (Socket { id: 1, family: V4, kind: Stream }, "ok 1:out+hup"),
        (Bind { id: 1, to: At(Loop4, 0) }, "ok"),
        (Listen { id: 1, backlog: 0 }, "ok 1:nothing"),
        (Shutdown { id: 1, how: How::Both }, "ok 1:out+hup"),
        (Local { id: 1 }, "127.0.0.1 e2"),
        (Listen { id: 1, backlog: 0 }, "ok 1:nothing"),
        (Local { id: 1 }, "127.0.0.1 e3"),
    ]);
}

#[test]
fn a_datagram_socket_goes_from_an_ipv6_peer_to_an_ipv4_one() {
    both_answer(&[
        (Socket { id: 0, family: V6, kind: Datagram }, "ok 0:out"),
        (Bind { id: 0, to: At(Loop6, 1) }, "ok"),
        (Socket { id: 1, family: V4, kind: Datagram }, "ok 1:out"),
        (Bind { id: 1, to: At(Loop4, 2) }, "ok"),
        (Socket { id: 2, family: V6, kind: Datagram }, "ok 2:out"),
        (Connect { id: 2, to: Of(0) }, "ok"),
        (Connect { id: 2, to: Of(1) }, "ok"),
        (Local { id: 2 }, "::1 e1"),
        (Peer { id: 2 }, "::ffff:127.0.0.1 p2"),
        (Send { id: 2, length: 10 }, "10 1:in+out"),
        (Close { id: 1 }, "ok"),
        // Over IPv4 nothing reaches it, a refusal neither.
        (Send { id: 2, length: 10 }, "10"),
    ]);
}

#[test]
fn what_has_arrived_stays_when_a_datagram_socket_is_disconnected() {
    both_answer(&[
        (Socket { id: 0, family: V4, kind: Datagram }, "ok 0:out"),
        (Bind { id: 0, to: At(Any4, 0) }, "ok"),
        (Socket { id: 1, family: V4, kind: Datagram }, "ok 1:out"),
        (SendTo { id: 1, to: Of(0), length: 10 }, "10 0:in+out"),
        (Connect { id: 0, to: Unspecified }, "ok"),
        (Local { id: 0 }, "0.0.0.0 0"),
        (Receive { id: 0, length: 100, peek: false }, "10 44db1823 from 127.0.0.1 e1 0:out"),
        (Bind { id: 0, to: At(Any4, 2) }, "ok"),
        (SendTo { id: 1, to: At(Loop4, 2), length: 10 }, "10 0:in+out"),
    ]);
}

#[test]
fn a_socket_that_was_shut_for_writing_before_it_connects_hangs_up_when_it_is_shut_for_reading() {
    both_answer(&[
        (Socket { id: 0, family: V4, kind: Stream }, "ok 0:out+hup"),
        (Listen { id: 0, backlog: 8 }, "ok 0:nothing"),
        (Socket { id: 3, family: V4, kind: Stream }, "ok 3:out+hup"),
        (Shutdown { id: 3, how: How::Write }, "ENOTCONN"),
        (Connect { id: 3, to: Of(0) }, "EINPROGRESS 0:in 3:out"),
        (Accept { id: 0, new: 4 }, "127.0.0.1 e1 0:nothing 4:out"),
        (Send { id: 3, length: 1 }, "EPIPE"),
        (Shutdown { id: 3, how: How::Read }, "ok 3:in+out+rdhup+hup"),
        // There was no FIN until now.
        (Shutdown { id: 3, how: How::Write }, "ok 4:in+out+rdhup"),
    ]);
}

#[test]
fn no_address_is_no_way_to_an_ipv4_peer_of_an_ipv6_socket() {
    both_answer(&[
        (Socket { id: 0, family: V6, kind: Datagram }, "ok 0:out"),
        (Connect { id: 0, to: At(Loop4, 1) }, "ok"),
        (SendTo { id: 0, to: Unspecified, length: 1 }, "ENETUNREACH"),
    ]);
}

#[test]
fn a_listener_does_not_begin_again_beside_its_connections() {
    both_answer(&[
        (Socket { id: 1, family: V4, kind: Stream }, "ok 1:out+hup"),
        (Bind { id: 1, to: At(Any4, 2) }, "ok"),
        (Listen { id: 1, backlog: 8 }, "ok 1:nothing"),
        (Socket { id: 2, family: V4, kind: Stream }, "ok 2:out+hup"),
        (Connect { id: 2, to: Of(1) }, "EINPROGRESS 1:in 2:out"),
        (Accept { id: 1, new: 3 }, "127.0.0.1 e1 1:nothing 3:out"),
        (Shutdown { id: 1, how: How::Read }, "ok 1:out+hup"),
        (Listen { id: 1, backlog: -1 }, "EADDRINUSE"),
    ]);
}

#[test]
fn the_port_of_a_connection_that_both_have_closed_is_free_while_its_socket_is_open() {
    both_answer(&[
        (Socket { id: 0, family: V4, kind: Stream }, "ok 0:out+hup"),
        (Bind { id: 0, to: At(Second4, 1) }, "ok"),
        (Listen { id: 0, backlog: 8 }, "ok 0:nothing"),
        (Socket { id: 1, family: V4, kind: Stream }, "ok 1:out+hup"),
        (Connect { id: 1, to: At(Second4, 1) }, "EINPROGRESS 0:in 1:out"),
        (Accept { id: 0, new: 2 }, "127.0.0.1 e1 0:nothing 2:out"),
        (Close { id: 0 }, "ok"),
        (Close { id: 1 }, "ok 2:in+out+rdhup"),
        (Shutdown { id: 2, how: How::Write }, "ok 2:in+out+rdhup+hup"),
        (Socket { id: 5, family: V4, kind: Stream }, "ok 5:out+hup"),
        (Bind { id: 5, to: At(Second4, 1) }, "ok"),
    ]);
}

/// Ten segments of the MTU less 72 bytes, and a tail loss probe.
#[test]
fn a_segment_over_ipv6_has_less_room() {
    hosts_answer(&[
        (On { host: 1, step: Socket { id: 0, family: V6, kind: Stream } }, "ok 0:out+hup"),
        (On { host: 1, step: Listen { id: 0, backlog: 8 } }, "ok 0:nothing"),
        (On { host: 0, step: Socket { id: 1, family: V6, kind: Stream } }, "ok 1:out+hup"),
        (On { host: 0, step: Connect { id: 1, to: Of(0) } }, "EINPROGRESS 0:in 1:out"),
        (Cut { from: 1, to: 0 }, "ok"),
        (On { host: 1, step: Accept { id: 0, new: 3 } }, "fd00::2 e1 0:nothing 3:out"),
        (On { host: 0, step: Send { id: 1, length: 30_000 } }, "30000 3:in+out"),
        (On { host: 1, step: Available { id: 3 } }, "15708"),
    ]);
}

/// Timeouts end 0.4, 0.8 and 1.6 s after the FIN. The second one has begun when the user timeout is set.
#[test]
fn a_user_timeout_that_is_set_late_counts_at_the_end_of_the_next_timeout() {
    a_listener_and_a_socket_answer(&[
        (On { host: 1, step: Connect { id: 1, to: Of(0) } }, "EINPROGRESS 0:in 1:out"),
        (Cut { from: 1, to: 0 }, "ok"),
        (On { host: 1, step: Shutdown { id: 1, how: How::Write } }, "ok"),
        (Wait { millis: 900 }, "waited"),
        (On { host: 1, step: Set { id: 1, option: UserTimeout, value: 1000 } }, "ok"),
        (Wait { millis: 1000 }, "waited 1:in+out+rdhup+hup+err@640"),
    ]);
}

#[test]
fn a_user_timeout_counts_after_a_reset_that_was_lost() {
    a_listener_and_a_socket_answer(&[
        (On { host: 1, step: Connect { id: 1, to: Of(0) } }, "EINPROGRESS 0:in 1:out"),
        (On { host: 1, step: Shutdown { id: 1, how: How::Both } }, "ok 1:in+out+rdhup+hup"),
        (Cut { from: 1, to: 0 }, "ok"),
        (On { host: 0, step: Accept { id: 0, new: 2 } }, "10.0.0.3 e1 0:nothing 2:in+out+rdhup"),
        (On { host: 0, step: Set { id: 2, option: UserTimeout, value: 300 } }, "ok"),
        (On { host: 0, step: Send { id: 2, length: 100 } }, "100 1:in+out+rdhup+hup+err"),
        (Wait { millis: 1700 }, "waited 2:in+out+rdhup+hup+err@670"),
    ]);
}

/// Its peer has sent a FIN all the while, and sends it again after the heal.
#[test]
fn nothing_arrives_at_a_socket_that_has_timed_out() {
    a_listener_and_a_socket_answer(&[
        (On { host: 1, step: Set { id: 1, option: UserTimeout, value: 300 } }, "ok"),
        (On { host: 1, step: Connect { id: 1, to: Of(0) } }, "EINPROGRESS 0:in 1:out"),
        (On { host: 0, step: Accept { id: 0, new: 2 } }, "10.0.0.3 e1 0:nothing 2:out"),
        (Cut { from: 0, to: 1 }, "ok"),
        (On { host: 1, step: Shutdown { id: 1, how: How::Write } }, "ok 2:in+out+rdhup"),
        (On { host: 0, step: Shutdown { id: 2, how: How::Both } }, "ok 2:in+out+rdhup+hup"),
        (Wait { millis: 1100 }, "waited 1:in+out+rdhup+hup+err@650"),
        (Heal { from: 0, to: 1 }, "ok"),
        (Wait { millis: 900 }, "waited 2:in+out+rdhup+hup+err@480"),
        (On { host: 1, step: Receive { id: 1, length: 10, peek: false } }, "ETIMEDOUT 1:in+out+rdhup+hup"),
    ]);
}

#[test]
fn a_handshake_ends_with_its_listener() {
    a_listener_and_a_socket_answer(&[
        (Cut { from: 0, to: 1 }, "ok"),
        (On { host: 1, step: Connect { id: 1, to: Of(0) } }, "EINPROGRESS 1:nothing"),
        (On { host: 0, step: Close { id: 0 } }, "ok"),
        (Heal { from: 0, to: 1 }, "ok"),
        (Wait { millis: 1200 }, "waited 1:in+out+rdhup+hup+err@910"),
        (On { host: 1, step: Get { id: 1, option: Error } }, "ECONNREFUSED 1:in+out+rdhup+hup"),
    ]);
}

/// It is sent again after 0.2, 0.4, 0.8 and 1.6 s; the calls after the first one send nothing.
#[test]
fn a_fin_that_was_lost_waits_for_its_timer() {
    a_listener_and_a_socket_answer(&[
        (On { host: 1, step: Connect { id: 1, to: Of(0) } }, "EINPROGRESS 0:in 1:out"),
        (On { host: 0, step: Accept { id: 0, new: 2 } }, "10.0.0.3 e1 0:nothing 2:out"),
        (Cut { from: 1, to: 0 }, "ok"),
        (On { host: 1, step: Shutdown { id: 1, how: How::Write } }, "ok"),
        (On { host: 1, step: Shutdown { id: 1, how: How::Write } }, "ok"),
        (On { host: 1, step: Close { id: 1 } }, "ok"),
        (Wait { millis: 900 }, "waited"),
        (Heal { from: 1, to: 0 }, "ok"),
        (Wait { millis: 900 }, "waited 2:in+out+rdhup@580"),
    ]);
}

#[test]
fn shutting_down_a_datagram_socket_outlasts_its_connection() {
    both_answer(&[
        (Socket { id: 0, family: V6, kind: Datagram }, "ok 0:out"),
        (Shutdown { id: 0, how: How::Read }, "ENOTCONN 0:in+out+rdhup"),
        (Connect { id: 0, to: Unspecified }, "ok"),
    ]);
}

#[test]
fn a_port_that_was_chosen_after_a_failed_connect_stays() {
    both_answer(&[
        (Socket { id: 1, family: V6, kind: Stream }, "ok 1:out+hup"),
        (Connect { id: 1, to: At(Loop6, 0) }, "EINPROGRESS 1:in+out+rdhup+hup+err"),
        (Bind { id: 1, to: At(Loop6, 0) }, "ok"),
        (Bind { id: 1, to: At(Own6, 2) }, "EINVAL"),
    ]);
}

/// 5,000 bytes are four segments, so the window is one of 14, and a tail loss probe is one more.
#[test]
fn the_window_grows_by_segments_whole_or_not() {
    a_listener_and_a_socket_answer(&[
        (On { host: 1, step: Connect { id: 1, to: Of(0) } }, "EINPROGRESS 0:in 1:out"),
        (On { host: 0, step: Accept { id: 0, new: 2 } }, "10.0.0.3 e1 0:nothing 2:out"),
        (On { host: 1, step: Send { id: 1, length: 5000 } }, "5000 2:in+out"),
        (Cut { from: 0, to: 1 }, "ok"),
        (On { host: 1, step: Send { id: 1, length: 30_000 } }, "30000"),
        (On { host: 0, step: Available { id: 2 } }, "26720"),
    ]);
}

/// Has socket 1 on host 1 probe for its peer after a second, and give up after `count` probes.
fn probing(count: i32) -> [(Move, &'static str); 4] {
    let set = |option, value| (On { host: 1, step: Set { id: 1, option, value } }, "ok");
    [set(KeepAlive, 1), set(KeepIdle, 1), set(KeepInterval, 1), set(KeepCount, count)]
}

/// A probe one second after the handshake, and the end a second after that.
#[test]
fn a_peer_that_vanished_in_silence_is_found_by_probes() {
    let begin = [(On { host: 1, step: Connect { id: 1, to: Of(0) } }, "EINPROGRESS 0:in 1:out")];
    let end = [
        (Cut { from: 0, to: 1 }, "ok"),
        (Wait { millis: 2500 }, "waited 1:in+out+rdhup+hup+err@1820"),
        (On { host: 1, step: Receive { id: 1, length: 10, peek: false } }, "ETIMEDOUT 1:in+out+rdhup+hup"),
    ];
    a_listener_and_a_socket_answer(&[&begin[..], &probing(1), &end].concat());
}

/// The first probe, one second after the handshake, is lost; the second one is answered.
#[test]
fn a_probe_that_is_answered_keeps_a_connection() {
    let begin = [(On { host: 1, step: Connect { id: 1, to: Of(0) } }, "EINPROGRESS 0:in 1:out")];
    let end = [
        (Cut { from: 1, to: 0 }, "ok"),
        (Wait { millis: 1500 }, "waited"),
        (Heal { from: 1, to: 0 }, "ok"),
        (Wait { millis: 2500 }, "waited"),
        (On { host: 1, step: Send { id: 1, length: 10 } }, "10"),
    ];
    a_listener_and_a_socket_answer(&[&begin[..], &probing(2), &end].concat());
}

/// The reset of a closing peer was lost, and so it answers the probe one second after the handshake with another.
#[test]
fn a_peer_without_the_connection_answers_a_probe_with_a_reset() {
    let begin = [
        (On { host: 1, step: Connect { id: 1, to: Of(0) } }, "EINPROGRESS 0:in 1:out"),
        (On { host: 0, step: Accept { id: 0, new: 2 } }, "10.0.0.3 e1 0:nothing 2:out"),
        (On { host: 0, step: Set { id: 2, option: Linger, value: 0 } }, "ok"),
    ];
    let end = [
        (Cut { from: 0, to: 1 }, "ok"),
        (On { host: 0, step: Close { id: 2 } }, "ok"),
        (Heal { from: 0, to: 1 }, "ok"),
        (Wait { millis: 1500 }, "waited 1:in+out+rdhup+hup+err@700"),
        (On { host: 1, step: Receive { id: 1, length: 10, peek: false } }, "ECONNRESET 1:in+out+rdhup+hup"),
    ];
    a_listener_and_a_socket_answer(&[&begin[..], &probing(9), &end].concat());
}

/// In place of a number of probes, and after one at least.
#[test]
fn a_user_timeout_ends_probes() {
    let begin = [
        (On { host: 1, step: Set { id: 1, option: UserTimeout, value: 1500 } }, "ok"),
        (On { host: 1, step: Connect { id: 1, to: Of(0) } }, "EINPROGRESS 0:in 1:out"),
    ];
    let end = [
        (Cut { from: 0, to: 1 }, "ok"),
        (Wait { millis: 2500 }, "waited 1:in+out+rdhup+hup+err@1820"),
        (On { host: 1, step: Get { id: 1, option: Error } }, "ETIMEDOUT 1:in+out+rdhup+hup"),
    ];
    a_listener_and_a_socket_answer(&[&begin[..], &probing(9), &end].concat());
}

/// The idle time counts from then on when SO_KEEPALIVE is set, and from the last sign of the peer when it is changed: the probe is sent
/// at once then.
#[test]
fn probes_begin_when_the_option_is_set() {
    let set = |option, value| (On { host: 1, step: Set { id: 1, option, value } }, "ok");
    let connect = (On { host: 1, step: Connect { id: 1, to: Of(0) } }, "EINPROGRESS 0:in 1:out");
    let (cut, wait) = ((Cut { from: 0, to: 1 }, "ok"), (Wait { millis: 1500 }, "waited"));
    let counts = [set(KeepInterval, 1), set(KeepCount, 1)];
    let late = [connect, set(KeepIdle, 1), cut, wait, set(KeepAlive, 1)];
    let end = [(Wait { millis: 2500 }, "waited 1:in+out+rdhup+hup+err@1970")];
    a_listener_and_a_socket_answer(&[&counts[..], &late, &end].concat());
    let changed = [set(KeepAlive, 1), connect, cut, wait, set(KeepIdle, 1)];
    let end = [(Wait { millis: 2500 }, "waited 1:in+out+rdhup+hup+err@970")];
    a_listener_and_a_socket_answer(&[&counts[..], &changed, &end].concat());
}

#[test]
fn an_accepted_connection_keeps_its_address_when_it_is_dissolved_if_its_listener_was_given_one() {
    both_answer(&[
        (Socket { id: 3, family: V4, kind: Stream }, "ok 3:out+hup"),
        (Bind { id: 3, to: At(Own4, 1) }, "ok"),
        (Listen { id: 3, backlog: 8 }, "ok 3:nothing"),
        (Socket { id: 4, family: V4, kind: Stream }, "ok 4:out+hup"),
        (Connect { id: 4, to: Of(3) }, "EINPROGRESS 3:in 4:out"),
        (Accept { id: 3, new: 5 }, "own4 e1 3:nothing 5:out"),
        (Connect { id: 5, to: Unspecified }, "ok 4:in+out+rdhup+hup+err 5:out+hup+err"),
        (Local { id: 5 }, "own4 p1"),
    ]);
}

#[test]
fn a_port_that_was_chosen_goes_with_a_connect_that_fails() {
    both_answer(&[
        (Socket { id: 0, family: V6, kind: Stream }, "ok 0:out+hup"),
        (Socket { id: 5, family: V6, kind: Stream }, "ok 5:out+hup"),
        (Bind { id: 5, to: At(Loop6, 0) }, "ok"),
        (Connect { id: 5, to: Of(0) }, "EINPROGRESS 5:in+out+rdhup+hup+err"),
        (Set { id: 5, option: OnlyV6, value: 1 }, "ok"),
    ]);
}

#[test]
fn a_connection_that_was_closed_first_keeps_its_port_from_its_own_socket() {
    both_answer(&[
        (Socket { id: 1, family: V4, kind: Stream }, "ok 1:out+hup"),
        (Bind { id: 1, to: At(Any4, 1) }, "ok"),
        (Listen { id: 1, backlog: 1 }, "ok 1:nothing"),
        (Socket { id: 2, family: V4, kind: Stream }, "ok 2:out+hup"),
        (Connect { id: 2, to: Of(1) }, "EINPROGRESS 1:in 2:out"),
        (Accept { id: 1, new: 3 }, "127.0.0.1 e1 1:nothing 3:out"),
        (Close { id: 1 }, "ok"),
        (Shutdown { id: 3, how: How::Write }, "ok 2:in+out+rdhup"),
        (Close { id: 2 }, "ok 3:in+out+rdhup+hup"),
        (Bind { id: 3, to: At(Loop4, 1) }, "EADDRINUSE"),
    ]);
}

/// The way is open again when the timer of the only probe ends, but no other is sent. Its reset arrives.
#[test]
fn the_last_probe_counts_though_another_would_be_answered() {
    let begin = [
        (On { host: 1, step: Connect { id: 1, to: Of(0) } }, "EINPROGRESS 0:in 1:out"),
        (On { host: 0, step: Accept { id: 0, new: 2 } }, "10.0.0.3 e1 0:nothing 2:out"),
    ];
    let end = [
        (Cut { from: 1, to: 0 }, "ok"),
        (Wait { millis: 1300 }, "waited"),
        (Heal { from: 1, to: 0 }, "ok"),
        (Wait { millis: 1200 }, "waited 1:in+out+rdhup+hup+err@460 2:in+out+rdhup+hup+err@460"),
        (On { host: 0, step: Get { id: 2, option: Error } }, "ECONNRESET 2:in+out+rdhup+hup"),
    ];
    a_listener_and_a_socket_answer(&[&begin[..], &probing(1), &end].concat());
}

/// Typed sockets on several hosts.
fn typed_sockets_on_hosts_answer(transcript: &[(Trip, &str)]) {
    use linux::routed::{real, simulated};
    answers_are(transcript, simulated::typed_answers, real::typed_answers, || {
        real::enter().unwrap();
        true
    });
}

#[test]
fn typed_sockets_behind_a_cut_wait_until_it_heals() {
    let on = |host, step| Trip::On { host, step };
    let (cut, heal) = (Trip::Cut { from: 1, to: 0 }, Trip::Heal { from: 1, to: 0 });
    typed_sockets_on_hosts_answer(&[
        (on(0, Act::Bind { id: 0, ip: Any4, port: 0 }), "ok"),
        (on(1, Act::Connect { id: 1, to: 0 }), "ok"),
        (on(0, Act::Accept { id: 0, new: 2 }), "10.0.0.3 p1"),
        (cut, "ok"),
        (on(1, Act::Write { id: 1, length: 100 }), "100"),
        (on(0, Act::Read { id: 2, length: 1000 }), "waits"),
        (heal, "ok"),
        (Trip::Wait { millis: 900 }, "waited"),
        (on(0, Act::Read { id: 2, length: 1000 }), "100 18953"),
        (on(0, Act::ZeroLinger { id: 2 }), "ok"),
        (on(0, Act::Drop { id: 2 }), "ok"),
        (on(1, Act::Read { id: 1, length: 1000 }), "ConnectionReset Some(104)"),
    ]);
}
