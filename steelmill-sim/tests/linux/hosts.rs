//! Several hosts, with a router between them that drops in silence.

use super::*;

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

#[test]
fn a_closed_socket_gives_up_after_its_user_timeout() {
    hosts_answer(&[
        (On { host: 1, step: Socket { id: 0, family: V6, kind: Stream } }, "ok 0:out+hup"),
        (On { host: 1, step: Listen { id: 0, backlog: 8 } }, "ok 0:nothing"),
        (On { host: 3, step: Socket { id: 5, family: V6, kind: Stream } }, "ok 5:out+hup"),
        (On { host: 3, step: Connect { id: 5, to: Of(0) } }, "EINPROGRESS 0:in 5:out"),
        (On { host: 1, step: Accept { id: 0, new: 6 } }, "fd00::5 e1 0:nothing 6:out"),
        (On { host: 3, step: Set { id: 5, option: UserTimeout, value: 300 } }, "ok"),
        (Cut { from: 3, to: 1 }, "ok"),
        (On { host: 3, step: Close { id: 5 } }, "ok"),
        (Wait { millis: 1100 }, "waited"),
        (Heal { from: 3, to: 1 }, "ok"),
        (Wait { millis: 900 }, "waited"),
    ]);
}

/// Two handshakes are under way at once, and there is room for one.
#[test]
fn a_connector_is_connected_before_there_is_room_in_the_backlog() {
    hosts_answer(&[
        (On { host: 0, step: Socket { id: 0, family: V6, kind: Stream } }, "ok 0:out+hup"),
        (On { host: 0, step: Listen { id: 0, backlog: 0 } }, "ok 0:nothing"),
        (On { host: 3, step: Socket { id: 1, family: V6, kind: Stream } }, "ok 1:out+hup"),
        (On { host: 3, step: Socket { id: 2, family: V6, kind: Stream } }, "ok 2:out+hup"),
        (Cut { from: 0, to: 3 }, "ok"),
        (On { host: 3, step: Connect { id: 1, to: Of(0) } }, "EINPROGRESS 1:nothing"),
        (On { host: 3, step: Connect { id: 2, to: Of(0) } }, "EINPROGRESS 2:nothing"),
        (Heal { from: 0, to: 3 }, "ok"),
        (Wait { millis: 1500 }, "waited 0:in@920 1:out@920"),
        (On { host: 3, step: Send { id: 2, length: 10 } }, "EAGAIN"),
        (Wait { millis: 500 }, "waited"),
        (On { host: 0, step: Accept { id: 0, new: 3 } }, "fd00::5 e1 0:nothing 3:out"),
        (Wait { millis: 1500 }, "waited 0:in@940 2:out@940"),
        (On { host: 0, step: Accept { id: 0, new: 4 } }, "fd00::5 e2 0:nothing 4:out"),
    ]);
}

#[test]
fn a_connector_is_connected_although_its_last_ack_finds_the_backlog_full() {
    hosts_answer(&[
        (On { host: 0, step: Socket { id: 0, family: V6, kind: Stream } }, "ok 0:out+hup"),
        (On { host: 0, step: Listen { id: 0, backlog: 2 } }, "ok 0:nothing"),
        (On { host: 3, step: Socket { id: 1, family: V6, kind: Stream } }, "ok 1:out+hup"),
        (On { host: 3, step: Socket { id: 2, family: V6, kind: Stream } }, "ok 2:out+hup"),
        (On { host: 3, step: Socket { id: 3, family: V6, kind: Stream } }, "ok 3:out+hup"),
        (On { host: 3, step: Socket { id: 4, family: V6, kind: Stream } }, "ok 4:out+hup"),
        (On { host: 3, step: Socket { id: 5, family: V6, kind: Stream } }, "ok 5:out+hup"),
        (On { host: 3, step: Connect { id: 1, to: Of(0) } }, "EINPROGRESS 0:in 1:out"),
        (On { host: 3, step: Connect { id: 2, to: Of(0) } }, "EINPROGRESS 2:out"),
        (Cut { from: 0, to: 3 }, "ok"),
        (On { host: 3, step: Connect { id: 3, to: Of(0) } }, "EINPROGRESS 3:nothing"),
        (On { host: 3, step: Connect { id: 4, to: Of(0) } }, "EINPROGRESS 4:nothing"),
        (Heal { from: 0, to: 3 }, "ok"),
        (Wait { millis: 1500 }, "waited 3:out@950 4:out@980"),
        // There was room for three: the acknowledgement of the fourth was dropped.
        (On { host: 0, step: Accept { id: 0, new: 6 } }, "fd00::5 e1 6:out"),
        (On { host: 0, step: Accept { id: 0, new: 7 } }, "fd00::5 e2 7:out"),
        (On { host: 0, step: Accept { id: 0, new: 8 } }, "fd00::5 e3 0:nothing 8:out"),
        (On { host: 0, step: Accept { id: 0, new: 9 } }, "EAGAIN"),
        // Its SYN-ACK is sent again.
        (Wait { millis: 1500 }, "waited 0:in@1330"),
        (On { host: 0, step: Accept { id: 0, new: 9 } }, "fd00::5 e4 0:nothing 9:out"),
    ]);
}

#[test]
fn a_window_that_was_lost_is_sent_again_before_anything_new() {
    hosts_answer(&[
        (On { host: 2, step: Socket { id: 3, family: V4, kind: Stream } }, "ok 3:out+hup"),
        (On { host: 2, step: Listen { id: 3, backlog: 8 } }, "ok 3:nothing"),
        (On { host: 0, step: Socket { id: 6, family: V4, kind: Stream } }, "ok 6:out+hup"),
        (On { host: 0, step: Connect { id: 6, to: Of(3) } }, "EINPROGRESS 3:in 6:out"),
        (On { host: 2, step: Accept { id: 3, new: 7 } }, "10.0.0.2 e1 3:nothing 7:out"),
        (Cut { from: 2, to: 0 }, "ok"),
        (On { host: 2, step: Send { id: 7, length: 20000 } }, "20000"),
        (Heal { from: 2, to: 0 }, "ok"),
        (On { host: 2, step: Send { id: 7, length: 3000 } }, "3000"),
        (On { host: 2, step: Shutdown { id: 7, how: How::Write } }, "ok"),
        (Wait { millis: 500 }, "waited 6:in+out+rdhup@130"),
    ]);
}

#[test]
fn keepalive_ends_with_both_directions() {
    hosts_answer(&[
        (On { host: 0, step: Socket { id: 0, family: V6, kind: Stream } }, "ok 0:out+hup"),
        (On { host: 0, step: Listen { id: 0, backlog: 8 } }, "ok 0:nothing"),
        (On { host: 1, step: Socket { id: 1, family: V6, kind: Stream } }, "ok 1:out+hup"),
        (On { host: 1, step: Set { id: 1, option: KeepInterval, value: 1 } }, "ok"),
        (On { host: 1, step: Set { id: 1, option: KeepAlive, value: 1 } }, "ok"),
        (On { host: 1, step: Set { id: 1, option: KeepCount, value: 1 } }, "ok"),
        (On { host: 1, step: Set { id: 1, option: KeepIdle, value: 1 } }, "ok"),
        (On { host: 1, step: Connect { id: 1, to: Of(0) } }, "EINPROGRESS 0:in 1:out"),
        (On { host: 1, step: Shutdown { id: 1, how: How::Write } }, "ok"),
        (On { host: 0, step: Accept { id: 0, new: 2 } }, "fd00::3 e1 0:nothing 2:in+out+rdhup"),
        (On { host: 0, step: Close { id: 2 } }, "ok 1:in+out+rdhup+hup"),
        (Cut { from: 0, to: 1 }, "ok"),
        (Wait { millis: 1700 }, "waited"),
        (Wait { millis: 700 }, "waited"),
    ]);
}
