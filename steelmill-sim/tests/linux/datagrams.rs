//! UDP sockets of one host.

use super::*;

#[test]
fn tcp_options_are_not_udps() {
    both_answer(&[
        (Socket { id: 0, family: V6, kind: Datagram }, "ok 0:out"),
        (Set { id: 0, option: NoDelay, value: 1 }, "ENOPROTOOPT"),
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
fn a_peer_at_port_zero_is_a_whole_host() {
    both_answer(&[
        (Socket { id: 0, family: V6, kind: Datagram }, "ok 0:out"),
        (Socket { id: 1, family: V6, kind: Datagram }, "ok 1:out"),
        (Connect { id: 1, to: Of(0) }, "ok"),
        (SendTo { id: 0, to: Of(1), length: 1 }, "1 1:in+out"),
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
fn an_ipv6_socket_sends_nothing_to_port_zero_of_ipv4() {
    both_answer(&[
        (Socket { id: 5, family: V6, kind: Datagram }, "ok 5:out"),
        (Connect { id: 5, to: At(Own4, 0) }, "ok"),
        (Send { id: 5, length: 100 }, "EINVAL"),
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
fn no_address_is_no_way_to_an_ipv4_peer_of_an_ipv6_socket() {
    both_answer(&[
        (Socket { id: 0, family: V6, kind: Datagram }, "ok 0:out"),
        (Connect { id: 0, to: At(Loop4, 1) }, "ok"),
        (SendTo { id: 0, to: Unspecified, length: 1 }, "ENETUNREACH"),
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
fn a_socket_bound_to_all_of_ipv4_in_ipv6_leaves_the_wildcard_when_it_connects() {
    both_answer(&[
        (Socket { id: 3, family: V6, kind: Datagram }, "ok 3:out"),
        (Bind { id: 3, to: At(MappedAny, 1) }, "ok"),
        (Connect { id: 3, to: Of(3) }, "ok"),
        (Send { id: 3, length: 10 }, "10 3:in+out"),
        (Close { id: 3 }, "ok"),
        (Socket { id: 4, family: V6, kind: Datagram }, "ok 4:out"),
        (Bind { id: 4, to: At(MappedAny, 3) }, "ok"),
        (Socket { id: 5, family: V6, kind: Datagram }, "ok 5:out"),
        (Bind { id: 5, to: At(Mapped, 2) }, "ok"),
        (SendTo { id: 4, to: Of(5), length: 10 }, "10 5:in+out"),
        (Receive { id: 5, length: 100, peek: false }, "10 f59b63e3 from ::ffff:127.0.0.1 p3 5:out"),
    ]);
}
