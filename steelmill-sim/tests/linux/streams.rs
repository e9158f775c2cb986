//! TCP sockets of one host.

use super::*;

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

#[test]
fn a_port_that_was_chosen_after_a_failed_connect_stays() {
    both_answer(&[
        (Socket { id: 1, family: V6, kind: Stream }, "ok 1:out+hup"),
        (Connect { id: 1, to: At(Loop6, 0) }, "EINPROGRESS 1:in+out+rdhup+hup+err"),
        (Bind { id: 1, to: At(Loop6, 0) }, "ok"),
        (Bind { id: 1, to: At(Own6, 2) }, "EINVAL"),
    ]);
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

#[test]
fn a_connection_to_itself_leaves_its_port_in_time_wait_in_both_families() {
    for (family, any, to) in [(V4, Any4, Loop4), (V6, Any6, Mapped)] {
        both_answer(&[
            (Socket { id: 1, family, kind: Stream }, "ok 1:out+hup"),
            (Bind { id: 1, to: At(any, 1) }, "ok"),
            (Connect { id: 1, to: At(to, 1) }, "EINPROGRESS 1:out"),
            (Close { id: 1 }, "ok"),
            (Socket { id: 5, family: V4, kind: Stream }, "ok 5:out+hup"),
            (Bind { id: 5, to: At(Loop4, 1) }, "EADDRINUSE"),
        ]);
    }
}
