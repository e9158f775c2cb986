//! Shutdown by signals.

use std::time::{Duration, Instant};

use crate::process::Demo;

#[test]
fn one_signal_stops_it_cleanly() {
    for signal in ["INT", "TERM"] {
        let mut demo = Demo::serving();
        let mut idle = demo.connect();
        assert_eq!(idle.ask(b"PING\r\n"), "+PONG");
        let mut half = demo.connect();
        half.send(b"*2\r\n$3\r\nGET\r\n$1");
        let asked = Instant::now();
        demo.signal(signal);
        assert_eq!(demo.wait_for_exit().code(), Some(0), "{}", demo.log());
        assert!(asked.elapsed() < Duration::from_secs(5), "took {:?}", asked.elapsed());
        assert_eq!(idle.rest(), "", "clients see an end, not a reset");
        demo.wait_for_line("no longer holds the lease");
    }
}

#[test]
fn a_client_that_never_reads_does_not_delay_the_stop() {
    let mut demo = Demo::serving();
    let mut raw = demo.connect();
    raw.send(&[b"*3\r\n$3\r\nSET\r\n$5\r\nlarge\r\n$1000000\r\n", &[b'x'; 1_000_000][..], b"\r\n"].concat());
    raw.expect(b"+OK\r\n");
    raw.send(&b"GET large\r\n".repeat(100));
    std::thread::sleep(Duration::from_millis(300));
    let asked = Instant::now();
    demo.signal("INT");
    assert_eq!(demo.wait_for_exit().code(), Some(0), "{}", demo.log());
    assert!(asked.elapsed() < Duration::from_secs(5), "took {:?}", asked.elapsed());
}

#[test]
fn a_second_interrupt_ends_it_at_once() {
    let mut demo = Demo::serving();
    // A client that delays the graceful stop.
    let mut raw = demo.connect();
    raw.send(&[b"*3\r\n$3\r\nSET\r\n$5\r\nlarge\r\n$1000000\r\n", &[b'x'; 1_000_000][..], b"\r\n"].concat());
    raw.expect(b"+OK\r\n");
    raw.send(&b"GET large\r\n".repeat(100));
    std::thread::sleep(Duration::from_millis(300));
    demo.signal("INT");
    std::thread::sleep(Duration::from_millis(300));
    let asked = Instant::now();
    demo.signal("INT");
    assert_ne!(demo.wait_for_exit().code(), Some(0));
    assert!(asked.elapsed() < Duration::from_secs(1), "took {:?}", asked.elapsed());
}
