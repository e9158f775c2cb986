//! Unix sockets.

use super::*;

#[test]
fn one_end_of_a_pair_stays_writable_after_its_own_shutdown() {
    both_answer(&[
        (Pair { ids: [2, 3], kind: Stream }, "ok 2:out 3:out"),
        (Shutdown { id: 3, how: How::Write }, "ok 2:in+out+rdhup"),
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

/// Linux answers so to whoever is not root, as which it is asked here.
#[test]
fn a_process_without_privileges_can_only_send_credentials_of_its_own() {
    let steps = [Pair { ids: [0, 1], kind: Datagram }, SendCredentials { id: 0, own: false }];
    let answers = || linux::simulated::answers(&steps, linux::linux::next_ports(), 1);
    let answers = std::thread::scope(|scope| scope.spawn(answers).join().unwrap());
    assert_eq!(answers, ["ok 0:out 1:out", "EPERM"]);
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
