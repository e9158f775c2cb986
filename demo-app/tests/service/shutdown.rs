//! Shutdown by signals.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use crate::process::{ALL, Demo, program};

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
    raw.0.peek(&mut [0]).expect("it answers");
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
    raw.0.peek(&mut [0]).expect("it answers");
    std::thread::sleep(Duration::from_millis(300));
    demo.signal("INT");
    demo.wait_for_line("SIGINT: stopping");
    std::thread::sleep(Duration::from_millis(300)); // signals of one moment count as one
    let asked = Instant::now();
    demo.signal("INT");
    assert_ne!(demo.wait_for_exit().code(), Some(0));
    assert!(asked.elapsed() < Duration::from_secs(1), "took {:?}", asked.elapsed());
}

/// sd_notify(3), by which systemd knows a service of `Type=notify`.
#[cfg(target_os = "linux")]
#[test]
fn its_service_manager_is_told_when_it_serves_and_when_it_stops() {
    use std::os::unix::net::UnixDatagram;

    let path = std::env::temp_dir().join(format!("demo-notify-{}.sock", std::process::id()));
    let _ = std::fs::remove_file(&path);
    let manager = UnixDatagram::bind(&path).expect("a socket");
    manager.set_read_timeout(Some(Duration::from_secs(30))).expect("an option");
    let until = |part: &str| {
        let mut message = [0; 4096];
        loop {
            let length = manager.recv(&mut message).unwrap_or_else(|error| panic!("no {part}: {error}"));
            if String::from_utf8_lossy(&message[..length]).lines().any(|line| line == part) {
                return;
            }
        }
    };
    let mut command = program(&ALL);
    command.env("NOTIFY_SOCKET", &path);
    let mut demo = Demo::run(command);
    until("READY=1");
    demo.signal("TERM");
    until("STOPPING=1");
    assert_eq!(demo.wait_for_exit().code(), Some(0), "{}", demo.log());
    let _ = std::fs::remove_file(&path);
}

/// Asks over HTTP; returns the status and the body.
fn probe(address: SocketAddr, path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).expect("the probes are answered");
    write!(stream, "GET {path} HTTP/1.1\r\nHost: demo\r\n\r\n").expect("it listens");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
    (status, answer.split_once("\r\n\r\n").expect("a head").1.to_owned())
}

#[test]
fn a_signal_withdraws_readiness_and_serves_on_until_the_next_one() {
    let mut demo = Demo::start(&[
        "--daemons",
        "lease,store,gateway",
        "--listen",
        "gateway=127.0.0.1:0",
        "--probes",
        "127.0.0.1:0",
        "--drain",
        "3600s",
    ]);
    let line = demo.wait_for_line("answers probes on");
    let address = line.rsplit(' ').next().expect("an address").parse().expect("an address");
    let until = |status| {
        let body = (0..600).find_map(|_| {
            let (is, body) = probe(address, "/readyz?verbose");
            std::thread::sleep(Duration::from_millis(50));
            (is == status).then_some(body)
        });
        body.unwrap_or_else(|| panic!("it is never {status}"))
    };
    let ready = until(200);
    assert!(ready.contains("[+]demo: Gateway ok\n") && ready.contains("[+]demo: Store ok\n"), "{ready}");
    assert!(probe(address, "/metrics").1.contains("steelmill_ready{factory=\"demo\"} 1\n"));
    let mut client = demo.connect();
    demo.signal("TERM");
    assert!(until(503).starts_with("[-]demo draining\n"));
    client.send(b"*1\r\n$4\r\nPING\r\n");
    client.expect(b"+PONG\r\n");
    std::thread::sleep(Duration::from_millis(200)); // longer than a burst of signals that counts as one
    demo.signal("TERM");
    assert_eq!(demo.wait_for_exit().code(), Some(0), "{}", demo.log());
}
