//! Hostile clients: each gets an error or a closed connection, and other clients are not affected.

use std::io::{ErrorKind, Read as _, Write as _};
use std::time::{Duration, Instant};

use crate::process::{Demo, Raw, TIMEOUT};

/// Checks that another client is served, and in time.
#[track_caller]
fn others_are_unharmed(demo: &Demo) {
    let mut raw = demo.connect();
    let asked = Instant::now();
    assert_eq!(raw.ask(b"SET other fine\r\n"), "+OK");
    assert_eq!(raw.ask(b"GET other\r\n"), "$4");
    raw.expect(b"fine\r\n");
    assert!(asked.elapsed() < Duration::from_secs(2), "served after {:?}", asked.elapsed());
}

#[test]
fn a_gigabyte_is_refused_before_it_is_sent() {
    let demo = Demo::serving();
    let mut raw = demo.connect();
    raw.send(b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$1073741824\r\n");
    assert_eq!(
        raw.rest(),
        "-ERR Protocol error: invalid bulk length: 1073741824 bytes, at most 1048576 are allowed\r\n"
    );
    others_are_unharmed(&demo);
}

#[test]
fn the_error_arrives_even_when_the_client_goes_on_sending() {
    let demo = Demo::serving();
    let mut raw = demo.connect();
    raw.send(b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$1073741824\r\n");
    // In flight when the server closes. Closing at once would reset the connection.
    raw.send(&vec![b'x'; 2 << 20]);
    assert!(raw.rest().starts_with("-ERR Protocol error: invalid bulk length"));
    others_are_unharmed(&demo);
}

#[test]
fn garbage_is_answered_and_closed() {
    let demo = Demo::serving();
    for (garbage, answer) in [
        (
            &b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[..],
            "a command starts with '*' or a letter, not '\\x16'",
        ),
        (b"*1000000000\r\n", "invalid multibulk length: 1000000000 arguments, at most 1024 are allowed"),
        (b"*2\r\n*1\r\n$4\r\nPING\r\n", "expected '$', got '*'"),
        (b"*1\r\n$4\r\nPINGPONG\r\n", "expected a line end after an argument"),
        (b"*x\r\n", "invalid length 'x'"),
        (b"POST / HTTP/1.1\r\nHost: localhost\r\n\r\n", "this is not an HTTP server"),
        (b"$5\r\nhello\r\n", "a command starts with '*' or a letter, not '$'"),
    ] {
        let mut raw = demo.connect();
        raw.send(garbage);
        assert_eq!(raw.rest(), format!("-ERR Protocol error: {answer}\r\n"));
    }
    others_are_unharmed(&demo);
}

#[test]
fn a_line_without_an_end_is_refused() {
    let demo = Demo::serving();
    let mut raw = demo.connect();
    raw.send(&[b'a'; 20_000]);
    assert_eq!(raw.rest(), "-ERR Protocol error: too big inline request\r\n");
    others_are_unharmed(&demo);
}

#[test]
fn commands_before_the_garbage_are_answered() {
    let demo = Demo::serving();
    let mut raw = demo.connect();
    raw.send(b"PING\r\n\x00\x00");
    assert_eq!(
        raw.rest(),
        "+PONG\r\n-ERR Protocol error: a command starts with '*' or a letter, not '\\x00'\r\n"
    );
}

#[test]
fn a_client_that_never_reads_is_not_read_from_and_then_disconnected() {
    let demo = Demo::serving();
    let mut raw = demo.connect();
    raw.send(&[b"*3\r\n$3\r\nSET\r\n$5\r\nlarge\r\n$1000000\r\n", &[b'x'; 1_000_000][..], b"\r\n"].concat());
    raw.expect(b"+OK\r\n");
    let before = demo.resident();
    let asked = Instant::now();
    raw.0.set_write_timeout(Some(Duration::from_millis(200))).expect("a socket");
    let mut blocked = false;
    let closed = loop {
        match raw.0.write(&b"GET large\r\n".repeat(1_000)) {
            Ok(_) => {}
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                if !blocked {
                    blocked = true;
                    others_are_unharmed(&demo);
                }
            }
            Err(error) => break error,
        }
        assert!(asked.elapsed() < TIMEOUT, "it is never disconnected");
        let grown = demo.resident().saturating_sub(before);
        assert!(grown < 64, "{grown} MiB for unread replies");
    };
    assert!(blocked, "it was read from without end: {closed}");
    others_are_unharmed(&demo);
}

#[test]
fn a_reply_above_the_limit_is_an_error() {
    let demo = Demo::serving();
    let mut raw = demo.connect();
    raw.send(&[b"*3\r\n$3\r\nSET\r\n$5\r\nlarge\r\n$1000000\r\n", &[b'x'; 1_000_000][..], b"\r\n"].concat());
    raw.expect(b"+OK\r\n");
    let thousand = format!("*1001\r\n$4\r\nMGET\r\n{}", "$5\r\nlarge\r\n".repeat(1_000));
    assert_eq!(raw.ask(thousand.as_bytes()), "-ERR the reply is longer than 16777216 bytes");
    assert_eq!(raw.ask(b"PING\r\n"), "+PONG");
    assert!(demo.resident() < 200, "{} MiB", demo.resident());
}

#[test]
fn incomplete_large_commands_share_one_memory_limit() {
    let demo = Demo::serving();
    let address = demo.address("gateway");
    let half = [b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$1000000\r\n", &[b'x'; 990_000][..]].concat();
    let (mut served, mut refused) = (Vec::new(), Vec::new());
    for _ in 0..500 {
        let mut raw = Raw::open(address);
        // It may be refused while it sends: with an error reply, or by a closed connection.
        let sent = raw.0.write_all(&half);
        raw.0.set_nonblocking(true).expect("a socket");
        served.push((raw, sent));
    }
    let is_refused = |(raw, sent): &mut (Raw, std::io::Result<()>)| {
        let mut answer = [0; 64];
        match raw.0.read(&mut answer) {
            Ok(length) => {
                let answer = String::from_utf8_lossy(&answer[..length]);
                assert!(answer.is_empty() || answer.starts_with("-ERR all clients together"), "{answer}");
                true
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                assert!(sent.is_ok());
                false
            }
            Err(_) => true,
        }
    };
    let deadline = Instant::now() + TIMEOUT;
    while refused.len() <= 100 {
        assert!(Instant::now() < deadline, "only {} of 500 were refused", refused.len());
        std::thread::sleep(Duration::from_millis(20));
        refused.extend(served.extract_if(.., is_refused));
    }
    let resident = demo.resident();
    assert!(resident < 450, "{resident} MiB for incomplete commands");
    drop((served, refused));
    others_are_unharmed(&demo);
}

#[test]
fn memory_does_not_grow_with_the_number_of_past_clients() {
    let demo = Demo::serving();
    let address = demo.address("gateway");
    let round = || {
        for number in 0..500 {
            let mut raw = Raw::open(address);
            raw.send(if number % 2 == 0 { b"*2\r\n$3\r\nGET\r\n$100\r\nhalf" } else { b"\x00\x01" });
        }
        others_are_unharmed(&demo);
    };
    round();
    let before = demo.resident();
    (0..5).for_each(|_| round());
    let grown = demo.resident().saturating_sub(before);
    assert!(grown < 16, "{grown} MiB more than before");
}
