//! Groups, broadcast and addresses of one link.

use super::*;

#[test]
fn membership_is_of_an_interface() {
    both_answer(&[
        (Socket { id: 0, family: V4, kind: Datagram }, "ok 0:out"),
        (Join { id: 0, group: Group4, interface: 1 }, "ok"),
        (Join { id: 0, group: Group4, interface: 2 }, "ok"),
        (Join { id: 0, group: Group4, interface: 0 }, "EADDRINUSE"),
        (Join { id: 0, group: Group4, interface: 7 }, "ENODEV"),
        (Leave { id: 0, group: Group4, interface: 7 }, "EADDRNOTAVAIL"),
        (Leave { id: 0, group: Group4, interface: 0 }, "ok"),
        (Leave { id: 0, group: Group4, interface: 2 }, "EADDRNOTAVAIL"),
        (Leave { id: 0, group: Group4, interface: 1 }, "ok"),
        (Socket { id: 1, family: V6, kind: Datagram }, "ok 1:out"),
        (Join { id: 1, group: LinkGroup(0), interface: 1 }, "ok"),
        (Join { id: 1, group: LinkGroup(0), interface: 0 }, "EADDRINUSE"),
        (Leave { id: 1, group: LinkGroup(0), interface: 2 }, "EADDRNOTAVAIL"),
        (Leave { id: 1, group: LinkGroup(0), interface: 0 }, "ok"),
        (Join { id: 1, group: Own6, interface: 7 }, "EINVAL"),
        (Leave { id: 1, group: Own6, interface: 2 }, "EINVAL"),
    ]);
}

#[test]
fn a_group_is_heard_at_the_interface_by_which_it_is_sent_to() {
    both_answer(&[
        (Socket { id: 0, family: V4, kind: Datagram }, "ok 0:out"),
        (Bind { id: 0, to: At(Group4, 1) }, "ok"),
        (Join { id: 0, group: Group4, interface: 1 }, "ok"),
        (Socket { id: 1, family: V4, kind: Datagram }, "ok 1:out"),
        (SendTo { id: 1, to: At(Group4, 1), length: 1 }, "1"),
        (Socket { id: 2, family: V4, kind: Datagram }, "ok 2:out"),
        (Bind { id: 2, to: At(Loop4, 2) }, "ok"),
        (Set { id: 2, option: MulticastLoop, value: 0 }, "ok"),
        (SendTo { id: 2, to: At(Group4, 1), length: 1 }, "1 0:in+out"),
        (Receive { id: 0, length: 10, peek: false }, "1 00000007 from 127.0.0.1 p2 0:out"),
    ]);
}

#[test]
fn a_connect_chooses_the_address_from_which_a_socket_at_a_group_sends() {
    both_answer(&[
        (Socket { id: 0, family: V4, kind: Datagram }, "ok 0:out"),
        (Bind { id: 0, to: At(Group4, 1) }, "ok"),
        (Connect { id: 0, to: At(Group4, 1) }, "ok"),
        (Connect { id: 0, to: At(Any4, 1) }, "ok"),
        (Peer { id: 0 }, "own4 p1"),
        (Local { id: 0 }, "239.1.2.3 p1"),
    ]);
}

#[test]
fn a_socket_at_a_group_hears_of_no_refusal() {
    both_answer(&[
        (Socket { id: 0, family: V4, kind: Datagram }, "ok 0:out"),
        (Bind { id: 0, to: At(NetBroadcast, 1) }, "ok"),
        (Connect { id: 0, to: At(Any4, 1) }, "ok"),
        (Send { id: 0, length: 10 }, "10"),
        (Socket { id: 1, family: V6, kind: Datagram }, "ok 1:out"),
        (Bind { id: 1, to: At(Group6, 2) }, "ok"),
        (Connect { id: 1, to: At(Any6, 2) }, "ok"),
        (Send { id: 1, length: 10 }, "10"),
    ]);
}

#[test]
fn that_there_is_no_way_comes_before_a_permission() {
    both_answer(&[
        (Socket { id: 0, family: V4, kind: Datagram }, "ok 0:out"),
        (Bind { id: 0, to: At(Loop4, 1) }, "ok"),
        (SendTo { id: 0, to: At(NetBroadcast, 1), length: 10 }, "EINVAL"),
        (SendTo { id: 0, to: At(LimitedBroadcast, 1), length: 10 }, "EACCES"),
        (Socket { id: 1, family: V4, kind: Stream }, "ok 1:out+hup"),
        (Bind { id: 1, to: At(Loop4, 1) }, "ok"),
        (Connect { id: 1, to: At(NetBroadcast, 1) }, "EINVAL"),
        (Connect { id: 1, to: At(LimitedBroadcast, 1) }, "ENETUNREACH"),
    ]);
}

#[test]
fn an_interface_is_kept_where_a_bind_fails() {
    both_answer(&[
        (Socket { id: 0, family: V6, kind: Datagram }, "ok 0:out"),
        (Bind { id: 0, to: At(LinkLocal(1), 1) }, "EADDRNOTAVAIL"),
        (SendTo { id: 0, to: At(LinkGroup(0), 1), length: 10 }, "ENETUNREACH"),
        (Set { id: 0, option: MulticastInterfaceV6, value: 2 }, "EINVAL"),
        (Socket { id: 1, family: V6, kind: Datagram }, "ok 1:out"),
        (Bind { id: 1, to: At(LinkGroup(7), 1) }, "ENODEV"),
        (Connect { id: 1, to: At(MappedGroup, 1) }, "ENODEV"),
        (Connect { id: 1, to: Unspecified }, "ok"),
        (Connect { id: 1, to: At(MappedGroup, 1) }, "ok"),
        (Socket { id: 2, family: V6, kind: Stream }, "ok 2:out+hup"),
        (Bind { id: 2, to: At(LinkLocal(2), 1) }, "EADDRNOTAVAIL"),
        (Connect { id: 2, to: At(Any6, 1) }, "ENETUNREACH"),
    ]);
}

#[test]
fn a_socket_receives_at_its_interface_alone() {
    both_answer(&[
        (Socket { id: 0, family: V6, kind: Datagram }, "ok 0:out"),
        (Bind { id: 0, to: At(Any6, 1) }, "ok"),
        (Socket { id: 1, family: V4, kind: Datagram }, "ok 1:out"),
        (Connect { id: 0, to: At(LinkLocal(1), 1) }, "ENETUNREACH"),
        (SendTo { id: 1, to: At(Own4, 1), length: 1 }, "1"),
        (SendTo { id: 1, to: At(Loop4, 1), length: 1 }, "1 0:in+out"),
    ]);
}

#[test]
fn sockets_at_two_interfaces_may_have_one_port() {
    both_answer(&[
        (Socket { id: 0, family: V6, kind: Datagram }, "ok 0:out"),
        (Bind { id: 0, to: At(LinkGroup(1), 1) }, "ok"),
        (Socket { id: 1, family: V6, kind: Datagram }, "ok 1:out"),
        (Bind { id: 1, to: At(LinkGroup(2), 1) }, "ok"),
        (Socket { id: 2, family: V6, kind: Datagram }, "ok 2:out"),
        (Bind { id: 2, to: At(LinkGroup(2), 1) }, "EADDRINUSE"),
    ]);
}

#[test]
fn a_connect_that_binds_to_an_interface_shares_the_port_too() {
    both_answer(&[
        (Socket { id: 0, family: V6, kind: Datagram }, "ok 0:out"),
        (Bind { id: 0, to: At(Any6, 1) }, "ok"),
        (Connect { id: 0, to: At(LinkGroup(1), 1) }, "ENETUNREACH"),
        (Socket { id: 1, family: V6, kind: Datagram }, "ok 1:out"),
        (Bind { id: 1, to: At(LinkGroup(2), 1) }, "ok"),
        (Connect { id: 0, to: Unspecified }, "ok"),
        (Socket { id: 2, family: V6, kind: Datagram }, "ok 2:out"),
        (Bind { id: 2, to: At(LinkGroup(1), 1) }, "EADDRINUSE"),
    ]);
}

#[test]
fn an_address_that_is_no_source_is_found_before_an_interface_that_is_none() {
    both_answer(&[
        (Socket { id: 0, family: V6, kind: Datagram }, "ok 0:out"),
        (Bind { id: 0, to: At(MappedBroadcast, 1) }, "ok"),
        (Connect { id: 0, to: At(LinkGroup(7), 1) }, "ENETUNREACH"),
        (SendTo { id: 0, to: At(MappedBroadcast, 1), length: 1 }, "EINVAL"),
    ]);
}

#[test]
fn nobody_refuses_a_connection_from_loopback_to_the_machines_own_address() {
    both_answer(&[
        (Socket { id: 0, family: V6, kind: Stream }, "ok 0:out+hup"),
        (Bind { id: 0, to: At(Loop6, 1) }, "ok"),
        (Connect { id: 0, to: At(Own6, 0) }, "EINPROGRESS 0:nothing"),
    ]);
}
