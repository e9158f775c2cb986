//! The methods of typed sockets.

use super::*;

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
fn a_typed_sockets_would_block_has_no_number() {
    typed_sockets_answer(&[
        (Act::Bind { id: 0, ip: Loop4, port: 0 }, "ok"),
        (Act::Connect { id: 1, to: 0 }, "ok"),
        (Act::TryRead { id: 1, length: 100 }, "WouldBlock None"),
    ]);
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
