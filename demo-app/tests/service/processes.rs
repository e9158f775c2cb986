//! Daemons in several processes: connecting, failover, restart.

use std::sync::atomic::{AtomicI64, Ordering::SeqCst};
use std::time::{Duration, Instant};

use redis::Commands as _;

use crate::process::{self, Demo, Raw, TIMEOUT};

/// A store and a lease daemon in one process, and their addresses.
fn back_end() -> (Demo, [String; 2]) {
    let demo = Demo::start(&[
        "--daemons",
        "store,lease",
        "--listen",
        "store=127.0.0.1:0",
        "--listen",
        "lease=127.0.0.1:0",
        "--lease-ttl",
        "500ms",
    ]);
    let addresses = ["store", "lease"].map(|name| format!("{name}={}", demo.address(name)));
    (demo, addresses)
}

fn gateway(addresses: &[String; 2]) -> Demo {
    process::gateway(addresses, "500ms")
}

/// A store in a process of its own, and its address.
fn store(address: &str) -> (Demo, String) {
    let store = Demo::start(&["--daemons", "store", "--listen", &format!("store={address}")]);
    let address = store.address("store").to_string();
    (store, address)
}

/// A lease daemon in a process of its own, and its address.
fn lease(address: &str) -> (Demo, String) {
    let listen = format!("lease={address}");
    let lease = Demo::start(&["--daemons", "lease", "--listen", &listen, "--lease-ttl", "500ms"]);
    let address = lease.address("lease").to_string();
    (lease, address)
}

/// Repeats a command until the reply is `expected`.
fn ask_until(raw: &mut Raw, command: &[u8], expected: &str) {
    let deadline = Instant::now() + TIMEOUT;
    loop {
        let answer = raw.ask(command);
        if answer == expected {
            return;
        }
        assert!(answer.starts_with("-NOTLEADER") || answer.starts_with("-UNAVAILABLE"), "{answer}");
        assert!(Instant::now() < deadline, "still {answer}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_second_gateway_takes_over_when_the_first_dies() {
    let (back, addresses) = back_end();
    let mut first = gateway(&addresses);
    first.wait_for_line("holds the lease, token");
    let mut client = first.connect();
    ask_until(&mut client, b"SET key value\r\n", "+OK");

    let second = gateway(&addresses);
    let mut other = second.connect();
    let hint = format!("-NOTLEADER this gateway does not hold the lease; try {}", first.address("gateway"));
    ask_until(&mut other, b"GET key\r\n", &hint);

    first.signal("KILL");
    first.wait_for_exit();
    ask_until(&mut other, b"GET key\r\n", "$5");
    other.expect(b"value\r\n");
    drop(back);
}

#[test]
fn a_gateway_that_stops_hands_the_lease_over_at_once() {
    let (_back, addresses) = back_end();
    let mut first = gateway(&addresses);
    first.wait_for_line("holds the lease, token");
    let second = gateway(&addresses);
    first.signal("TERM");
    assert_eq!(first.wait_for_exit().code(), Some(0), "{}", first.log());
    second.wait_for_line("holds the lease, token");
}

#[test]
fn a_gateway_without_its_store_says_so_and_comes_back() {
    let (mut first_store, store_address) = store("127.0.0.1:0");
    let (_lease, lease_address) = lease("127.0.0.1:0");
    let addresses = [format!("store={store_address}"), format!("lease={lease_address}")];
    let gateway = gateway(&addresses);
    gateway.wait_for_line("holds the lease, token");
    let mut client = gateway.connect();
    ask_until(&mut client, b"SET key value\r\n", "+OK");
    first_store.signal("KILL");
    first_store.wait_for_exit();
    let answer = client.ask(b"SET key other\r\n");
    let clear = ["-NOTLEADER", "-UNAVAILABLE", "-UNKNOWN"];
    assert!(clear.iter().any(|code| answer.starts_with(code)), "{answer}");
    let (_second_store, _) = store(&store_address);
    ask_until(&mut client, b"SET key again\r\n", "+OK");
}

#[test]
fn a_store_that_is_restarted_at_once_has_lost_its_keys_and_the_cache_does_not_hide_it() {
    let (_lease, lease_address) = lease("127.0.0.1:0");
    let (mut first, store_address) = store("127.0.0.1:0");
    let gateway = gateway(&[format!("store={store_address}"), format!("lease={lease_address}")]);
    gateway.wait_for_line("holds the lease, token");
    let mut client = gateway.connect();
    for number in 0..100 {
        let set = format!("SET key old{number}\r\n");
        assert_eq!(client.ask(set.as_bytes()), "+OK", "so that versions are far above the new store's first");
    }
    ask_until(&mut client, b"SET other old\r\n", "+OK");
    for _ in 0..3 {
        first.signal("KILL");
        first.wait_for_exit();
        first = store(&store_address).0;
        ask_until(&mut client, b"SET key new\r\n", "+OK");
        assert_eq!(client.ask(b"GET key\r\n"), "$3", "the write that was acknowledged");
        client.expect(b"new\r\n");
        assert_eq!(client.ask(b"GET other\r\n"), "$-1", "it went with the store");
    }
    gateway.wait_for_line("no longer holds the lease");
}

#[test]
fn a_restarted_lease_daemon_grants_nothing_while_an_earlier_lease_may_be_held() {
    let (mut first_lease, lease_address) = lease("127.0.0.1:0");
    let (_store, store_address) = store("127.0.0.1:0");
    let addresses = [format!("store={store_address}"), format!("lease={lease_address}")];
    let first = gateway(&addresses);
    first.wait_for_line("holds the lease, token");
    let mut client = first.connect();
    ask_until(&mut client, b"SET key value\r\n", "+OK");
    first_lease.signal("KILL");
    first_lease.wait_for_exit();
    // It cannot hear of the restart, and goes on where it was.
    first.signal("STOP");
    let restarted = Instant::now();
    let (second_lease, _) = lease(&lease_address);
    second_lease.wait_for_line("grants no lease for 500ms");
    let second = gateway(&addresses);
    second.wait_for_line("holds the lease, token");
    assert!(restarted.elapsed() >= Duration::from_millis(500), "{:?}", restarted.elapsed());
    first.signal("CONT");
    assert!(client.ask(b"GET key\r\n").starts_with("-NOTLEADER"));
}

#[test]
fn a_wrong_server_is_named_at_once() {
    let (_back, [store, lease]) = back_end();
    let swapped = [store.replace("store=", "lease="), lease.replace("lease=", "store=")];
    let gateway = gateway(&[swapped[1].clone(), swapped[0].clone()]);
    let at = |address: &str| address.split_once('=').expect("a named address").1.to_owned();
    let (store_at, lease_at) = (at(&store), at(&lease));
    gateway.wait_for_line(&format!(
        "the server at {lease_at} is no store of this version: it is a lease; check --connect store={lease_at}"
    ));
    gateway.wait_for_line(&format!("the server at {store_at} is no lease of this version: it is a store"));
}

#[test]
fn a_server_of_another_protocol_is_named_by_what_it_answers() {
    let (_back, [_, lease]) = back_end();
    let other = Demo::serving();
    let gateway = gateway(&[format!("store={}", other.address("gateway")), lease]);
    gateway.wait_for_line("it speaks another protocol: its first bytes are '-ERR Protocol error");
}

#[test]
fn a_read_is_never_older_than_an_acknowledged_write() {
    let (_back, addresses) = back_end();
    let remote = gateway(&addresses);
    remote.wait_for_line("holds the lease, token");
    for demo in [Demo::serving(), remote] {
        let acknowledged = AtomicI64::new(0);
        let deadline = Instant::now() + Duration::from_millis(500);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut writer = demo.redis();
                while Instant::now() < deadline {
                    let number = redis::cmd("INCR").arg("count").query(&mut writer).expect("served");
                    acknowledged.store(number, SeqCst);
                }
            });
            for _ in 0..4 {
                scope.spawn(|| {
                    let mut reader = demo.redis();
                    let mut last = 0;
                    while Instant::now() < deadline {
                        let least = acknowledged.load(SeqCst).max(last);
                        last = reader.get::<_, Option<i64>>("count").expect("served").unwrap_or(0);
                        assert!(last >= least, "read {last} after {least}");
                    }
                });
            }
        });
        assert!(acknowledged.load(SeqCst) > 0);
    }
}

#[test]
fn malformed_bytes_close_a_stores_connection_and_are_logged() {
    let (back, addresses) = back_end();
    let gateway = gateway(&addresses);
    gateway.wait_for_line("holds the lease, token");
    for bytes in
        [&b"GET / HTTP/1.1\r\n\r\n"[..], b"\xff\xff\xff\xff", b"\x00\x00\x00\x01\x77", b"\x00\x00\x00\x00"]
    {
        let mut raw = Raw::open(back.address("store"));
        raw.send(bytes);
        // Unread bytes make the system reset the connection; either way it is closed.
        let mut rest = Vec::new();
        let _ = std::io::Read::read_to_end(&mut raw.0, &mut rest);
        let rest = String::from_utf8_lossy(&rest);
        assert!(rest.is_empty() || rest.contains("store"), "it says what it is, and nothing else: {rest:?}");
    }
    back.wait_for_line("store closed the connection of");
    back.wait_for_line(r"it speaks another protocol: its first bytes are 'GET / HTTP/1.1\r\n\r\n'");
    assert_eq!(gateway.connect().ask(b"SET key value\r\n"), "+OK");
}
