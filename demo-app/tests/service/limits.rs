//! Limits that many connections share: memory, and the file descriptors of the process.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::process::{Demo, Raw, TIMEOUT};

/// Bytes that a gateway may buffer for all clients, and for its cache, in MiB.
const GATEWAY_MEMORY: u64 = 256 + 64;

/// Bytes that a store may buffer for all gateways, in MiB.
const STORE_MEMORY: u64 = 128;

/// What a process needs beside its buffers, and what the allocator does not give back, in MiB.
const SPARE: u64 = 64;

#[test]
fn sixty_clients_that_never_read_stay_within_the_memory_of_a_gateway() {
    let demo = Demo::serving();
    let mut raw = demo.connect();
    for number in 0..15 {
        let head = format!("*3\r\n$3\r\nSET\r\n$2\r\nk{number:x}\r\n$1000000\r\n");
        raw.send(&[head.as_bytes(), &[b'x'; 1_000_000], b"\r\n"].concat());
        raw.expect(b"+OK\r\n");
    }
    let before = demo.resident();
    let keys: String = (0..15).map(|number| format!(" k{number:x}")).collect();
    let many = format!("MGET{keys}\r\n").repeat(20);
    let clients: Vec<Raw> = (0..60)
        .map(|_| {
            let mut raw = demo.connect();
            raw.send(many.as_bytes());
            raw
        })
        .collect();
    let mut most = 0;
    let asked = Instant::now();
    // For longer, if the machine is so busy that little has arrived. It is 240 otherwise.
    while asked.elapsed() < Duration::from_secs(5) || most <= SPARE && asked.elapsed() < TIMEOUT {
        most = most.max(demo.resident().saturating_sub(before));
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(most > SPARE, "only {most} MiB are buffered: this tests nothing");
    assert!(most < GATEWAY_MEMORY + SPARE, "{most} MiB for replies that nobody reads");
    assert_eq!(raw.ask(b"SET other fine\r\n"), "+OK");
    drop(clients);
}

#[test]
fn many_peers_that_never_finish_a_frame_stay_within_the_memory_of_a_store() {
    let store = Demo::start(&["--daemons", "store", "--listen", "store=127.0.0.1:0"]);
    let address = store.address("store");
    let mut hello = Vec::new();
    let mut greeting = Raw::open(address);
    // The store's own hello, from which a client's differs in nothing that matters.
    let mut prefix = [0; 4];
    greeting.0.read_exact(&mut prefix).expect("it says hello");
    let mut body = vec![0; u32::from_be_bytes(prefix) as usize];
    greeting.0.read_exact(&mut body).expect("a whole hello");
    hello.extend_from_slice(&prefix);
    hello.extend_from_slice(&body);
    let before = store.resident();
    let begun = [&hello[..], &(4_u32 << 20).to_be_bytes(), &vec![0; (4 << 20) - 1]].concat();
    let mut peers: Vec<TcpStream> = Vec::new();
    let mut most = 0;
    for _ in 0..150 {
        let mut peer = Raw::open(address).0;
        // It may be disconnected while it sends.
        let _ = peer.write_all(&begun);
        peers.push(peer);
        most = most.max(store.resident().saturating_sub(before));
    }
    let sent = Instant::now();
    while most <= 60 && sent.elapsed() < Duration::from_secs(5) {
        std::thread::sleep(Duration::from_millis(20));
        most = most.max(store.resident().saturating_sub(before));
    }
    assert!(most > 60, "only {most} MiB are buffered: this tests nothing");
    assert!(most < STORE_MEMORY + SPARE, "{most} MiB for frames that nobody finishes");
    store.wait_for_line("all clients together have more than 134217728 bytes buffered");
    // Those that were not disconnected at once are when their time is over.
    store.wait_for_line("the rest of a frame did not arrive within 10s");
    drop(peers);
}

#[test]
fn clients_beyond_the_limit_of_open_files_are_told_and_it_is_logged_once() {
    let mut command = Command::new("sh");
    let program = env!("CARGO_BIN_EXE_demo-app");
    let arguments = crate::process::ALL.join(" ");
    command.args(["-c", &format!("ulimit -n 64; exec {program} {arguments}")]);
    command.env_remove("RUST_LOG").env("NO_COLOR", "1").stdin(Stdio::null());
    let demo = Demo::run(command);
    demo.wait_for_line("holds the lease, token");
    let mut clients: Vec<Raw> = (0..80).map(|_| demo.connect()).collect();
    for client in clients.iter_mut().skip(24) {
        // Nothing is sent to it, so that the reason for the close is not lost.
        let mut text = Vec::new();
        client.0.read_to_end(&mut text).expect("it is told in time");
        let text = String::from_utf8_lossy(&text);
        assert!(text.starts_with("-ERR max number of clients reached: 24 are open"), "{text:?}");
        assert!(text.contains("limit of 64 open files"), "{text:?}");
    }
    for client in clients.iter_mut().take(24) {
        assert_eq!(client.ask(b"PING\r\n"), "+PONG");
    }
    demo.wait_for_line("open files");
    std::thread::sleep(Duration::from_millis(500)); // for more of them
    let log = demo.log();
    assert_eq!(log.matches("open files").count(), 1, "{log}");
    assert!(!log.contains("cannot accept"), "{log}");
    drop(clients);
    let deadline = Instant::now() + TIMEOUT;
    while demo.connect().ask(b"PING\r\n") != "+PONG" {
        assert!(Instant::now() < deadline, "a closed connection does not count");
    }
}
