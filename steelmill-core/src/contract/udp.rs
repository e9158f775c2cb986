//! How datagrams travel, in every world.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::Duration;

use super::{A_WHILE, LOOPBACK, Socket, error_kind, listener, waits};
use crate::{Clock, Network, UdpSocket, World};

/// A socket on a free port, and its address.
async fn socket<W: World>(world: &W) -> (Socket<W>, SocketAddr) {
    let socket = world.network().bind_udp(LOOPBACK).await.unwrap();
    let address = socket.local_addr().unwrap();
    (socket, address)
}

pub async fn a_datagram_arrives_with_its_sender<W: World>(world: W) {
    let (one, one_address) = socket(&world).await;
    let (other, other_address) = socket(&world).await;
    assert_ne!(one_address, other_address);
    let mut buffer = [0; 8];
    assert_eq!(one.send_to(b"ping", other_address).await.unwrap(), 4);
    assert_eq!(other.recv_from(&mut buffer).await.unwrap(), (4, one_address));
    assert_eq!(&buffer[..4], b"ping");
    other.send_to(b"pong!", one_address).await.unwrap();
    assert_eq!(one.recv_from(&mut buffer).await.unwrap(), (5, other_address));
    assert_eq!(&buffer[..5], b"pong!");
}

pub async fn datagrams_keep_their_bounds<W: World>(world: W) {
    let (one, _) = socket(&world).await;
    let (other, address) = socket(&world).await;
    for part in ["a", "bc", "def"] {
        one.send_to(part.as_bytes(), address).await.unwrap();
    }
    let mut received = BTreeSet::new();
    for _ in 0..3 {
        let mut buffer = [0; 8];
        let (length, _) = other.recv_from(&mut buffer).await.unwrap();
        received.insert(buffer[..length].to_vec());
    }
    assert_eq!(received, ["a", "bc", "def"].map(|part| part.as_bytes().to_vec()).into());
}

pub async fn an_empty_datagram_is_one<W: World>(world: W) {
    let (one, from) = socket(&world).await;
    let (other, address) = socket(&world).await;
    assert_eq!(one.send_to(b"", address).await.unwrap(), 0);
    assert_eq!(other.recv_from(&mut [0; 8]).await.unwrap(), (0, from));
}

pub async fn the_longest_datagram_arrives<W: World>(world: W) {
    let (one, _) = socket(&world).await;
    let (other, address) = socket(&world).await;
    // 64 KiB less one, less the headers of UDP (8) and IPv4 (20).
    let longest = vec![7; 65_507];
    assert_eq!(one.send_to(&longest, address).await.unwrap(), longest.len());
    let mut buffer = vec![0; 70_000];
    let (length, _) = other.recv_from(&mut buffer).await.unwrap();
    assert!(buffer[..length] == longest);
}

pub async fn a_datagram_too_long_to_send_is_an_error<W: World>(world: W) {
    const EMSGSIZE: i32 = 90;
    let (one, _) = socket(&world).await;
    let (other, address) = socket(&world).await;
    let error = one.send_to(&vec![7; 65_508], address).await.unwrap_err();
    if cfg!(target_os = "linux") {
        assert_eq!(error.raw_os_error(), Some(EMSGSIZE), "{error}");
    }
    assert!(waits(&world, other.recv_from(&mut [0; 8])).await);
}

/// What does not fit is lost; the next datagram starts afresh.
pub async fn a_datagram_too_long_for_the_buffer_is_clipped<W: World>(world: W) {
    let (one, from) = socket(&world).await;
    let (other, address) = socket(&world).await;
    let mut buffer = [0; 4];
    one.send_to(b"too long", address).await.unwrap();
    assert_eq!(other.recv_from(&mut buffer).await.unwrap(), (4, from));
    assert_eq!(&buffer, b"too ");
    one.send_to(b"next", address).await.unwrap();
    assert_eq!(other.recv_from(&mut buffer).await.unwrap(), (4, from));
    assert_eq!(&buffer, b"next");
}

pub async fn a_connected_socket_knows_its_peer<W: World>(world: W) {
    let (one, one_address) = socket(&world).await;
    let (other, other_address) = socket(&world).await;
    one.connect(other_address).await.unwrap();
    other.connect(one_address).await.unwrap();
    assert_eq!(one.peer_addr().unwrap(), other_address);
    let mut buffer = [0; 8];
    assert_eq!(one.send(b"ping").await.unwrap(), 4);
    assert_eq!(other.recv(&mut buffer).await.unwrap(), 4);
    assert_eq!(&buffer[..4], b"ping");
}

pub async fn a_connected_socket_hears_only_its_peer<W: World>(world: W) {
    let (one, address) = socket(&world).await;
    let (peer, peer_address) = socket(&world).await;
    let (stranger, _) = socket(&world).await;
    one.connect(peer_address).await.unwrap();
    stranger.send_to(b"psst", address).await.unwrap();
    world.clock().sleep(A_WHILE).await;
    peer.send_to(b"hello", address).await.unwrap();
    let mut buffer = [0; 8];
    assert_eq!(one.recv_from(&mut buffer).await.unwrap(), (5, peer_address));
    assert_eq!(&buffer[..5], b"hello");
    assert!(waits(&world, one.recv(&mut buffer)).await);
}

/// The host that has no such port says so, and the socket tells it when it is next used.
pub async fn a_connected_socket_is_told_that_nobody_listens<W: World>(world: W) {
    let (one, _) = socket(&world).await;
    let (gone, address) = socket(&world).await;
    drop(gone);
    one.connect(address).await.unwrap();
    assert_eq!(one.send(b"anybody there?").await.unwrap(), 14);
    assert_eq!(error_kind(one.recv(&mut [0; 8]).await), ErrorKind::ConnectionRefused);
    // Told once: the socket goes on.
    assert!(waits(&world, one.recv(&mut [0; 8])).await);
    one.send(b"and now?").await.unwrap();
    let error = loop {
        world.clock().sleep(Duration::from_millis(1)).await;
        if let Err(error) = one.send(b"and now?").await {
            break error.kind();
        }
    };
    assert_eq!(error, ErrorKind::ConnectionRefused);
}

pub async fn an_unconnected_socket_has_no_peer<W: World>(world: W) {
    let (one, _) = socket(&world).await;
    assert_eq!(error_kind(one.peer_addr()), ErrorKind::NotConnected);
    assert!(one.send(b"to whom?").await.is_err());
}

pub async fn a_datagram_to_nobody_is_swallowed<W: World>(world: W) {
    let (one, _) = socket(&world).await;
    let (gone, address) = socket(&world).await;
    drop(gone);
    for _ in 0..3 {
        assert_eq!(one.send_to(b"anybody there?", address).await.unwrap(), 14);
    }
    assert!(waits(&world, one.recv_from(&mut [0; 8])).await);
}

pub async fn a_datagram_finds_its_target_by_name<W: World>(world: W) {
    let (one, from) = socket(&world).await;
    let (other, address) = socket(&world).await;
    one.send_to(b"ping", ("localhost", address.port())).await.unwrap();
    assert_eq!(other.recv_from(&mut [0; 8]).await.unwrap(), (4, from));
    one.connect(("localhost", address.port())).await.unwrap();
    assert_eq!(one.peer_addr().unwrap(), address);
}

pub async fn a_socket_on_all_addresses_receives_on_one_of_them<W: World>(world: W) {
    let (one, from) = socket(&world).await;
    let all = world.network().bind_udp("0.0.0.0:0").await.unwrap();
    let bound = all.local_addr().unwrap();
    assert!(bound.ip().is_unspecified());
    one.send_to(b"ping", ("127.0.0.1", bound.port())).await.unwrap();
    assert_eq!(all.recv_from(&mut [0; 8]).await.unwrap(), (4, from));
}

pub async fn a_socket_can_send_to_itself<W: World>(world: W) {
    let (one, address) = socket(&world).await;
    one.send_to(b"note to self", address).await.unwrap();
    assert_eq!(one.recv_from(&mut [0; 16]).await.unwrap(), (12, address));
}

pub async fn a_port_in_use_cannot_be_bound_again<W: World>(world: W) {
    let (_one, address) = socket(&world).await;
    let error = world.network().bind_udp(address).await.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::AddrInUse);
    assert!(error.to_string().contains(&format!("cannot listen on {address}: ")), "{error}");
}

pub async fn a_dropped_socket_frees_its_port<W: World>(world: W) {
    let (one, address) = socket(&world).await;
    drop(one);
    let again = world.network().bind_udp(address).await.unwrap();
    assert_eq!(again.local_addr().unwrap(), address);
}

pub async fn udp_and_tcp_have_their_own_ports<W: World>(world: W) {
    let (_listener, address) = listener(&world).await;
    let socket = world.network().bind_udp(address).await.unwrap();
    assert_eq!(socket.local_addr().unwrap(), address);
}

pub async fn try_recv_would_block_where_nothing_is<W: World>(world: W) {
    let (one, from) = socket(&world).await;
    let (other, address) = socket(&world).await;
    let mut buffer = [0; 8];
    assert_eq!(error_kind(other.try_recv_from(&mut buffer)), ErrorKind::WouldBlock);
    one.send_to(b"ping", address).await.unwrap();
    let received = loop {
        world.clock().sleep(Duration::from_millis(1)).await;
        match other.try_recv_from(&mut buffer) {
            Ok(received) => break received,
            Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
        }
    };
    assert_eq!(received, (4, from));
    assert_eq!(error_kind(other.try_recv_from(&mut buffer)), ErrorKind::WouldBlock);
}

pub async fn a_waiting_recv_is_woken_by_a_datagram<W: World>(world: W) {
    let (one, from) = socket(&world).await;
    let (other, address) = socket(&world).await;
    let mut buffer = [0; 8];
    let mut recv = Box::pin(other.recv_from(&mut buffer));
    assert!(waits(&world, &mut recv).await);
    one.send_to(b"ping", address).await.unwrap();
    assert_eq!(recv.await.unwrap(), (4, from));
}

pub async fn a_cancelled_recv_loses_nothing<W: World>(world: W) {
    let (one, from) = socket(&world).await;
    let (other, address) = socket(&world).await;
    assert!(waits(&world, other.recv_from(&mut [0; 8])).await);
    one.send_to(b"ping", address).await.unwrap();
    assert_eq!(other.recv_from(&mut [0; 8]).await.unwrap(), (4, from));
}
