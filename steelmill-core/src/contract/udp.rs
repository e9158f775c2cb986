//! Conformance: UDP.

use std::collections::BTreeSet;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::{A_WHILE, LOOPBACK, Socket, error_kind, has_ipv6, listener, settle, waits};
use crate::{Clock, Network, Spawn, UdpSocket, World};

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

/// A datagram is truncated to the buffer; its rest is lost.
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

/// ICMP "port unreachable" becomes an error of the next call.
pub async fn a_connected_socket_is_told_that_nobody_listens<W: World>(world: W) {
    let (one, _) = socket(&world).await;
    let (gone, address) = socket(&world).await;
    drop(gone);
    one.connect(address).await.unwrap();
    assert_eq!(one.send(b"anybody there?").await.unwrap(), 14);
    assert_eq!(error_kind(one.recv(&mut [0; 8]).await), ErrorKind::ConnectionRefused);
    // Reported once; the socket remains usable.
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

pub async fn two_waiting_receivers_get_a_datagram_each<W: World>(world: W) {
    let (one, _) = socket(&world).await;
    let (other, address) = socket(&world).await;
    let other = Arc::new(other);
    let receive = || {
        let other = other.clone();
        world.spawner().spawn("receiver", async move {
            let mut byte = [0];
            other.recv(&mut byte).await.unwrap();
            byte[0]
        })
    };
    let (first, second) = (receive(), receive());
    one.send_to(b"a", address).await.unwrap();
    one.send_to(b"b", address).await.unwrap();
    let received = BTreeSet::from([first.await.unwrap(), second.await.unwrap()]);
    assert_eq!(received, BTreeSet::from([b'a', b'b']));
}

pub async fn a_cancelled_recv_loses_nothing<W: World>(world: W) {
    let (one, from) = socket(&world).await;
    let (other, address) = socket(&world).await;
    assert!(waits(&world, other.recv_from(&mut [0; 8])).await);
    one.send_to(b"ping", address).await.unwrap();
    assert_eq!(other.recv_from(&mut [0; 8]).await.unwrap(), (4, from));
}

pub async fn a_datagram_into_no_buffer_is_lost<W: World>(world: W) {
    let (one, from) = socket(&world).await;
    let (other, address) = socket(&world).await;
    one.send_to(b"lost", address).await.unwrap();
    one.send_to(b"kept", address).await.unwrap();
    assert_eq!(other.recv_from(&mut []).await.unwrap(), (0, from));
    assert_eq!(other.recv(&mut [0; 8]).await.unwrap(), 4);
    assert!(waits(&world, other.recv_from(&mut [0; 8])).await);
}

pub async fn peek_from_leaves_the_datagram<W: World>(world: W) {
    let (one, from) = socket(&world).await;
    let (other, address) = socket(&world).await;
    let mut buffer = [0; 4];
    let mut peek = Box::pin(other.peek_from(&mut buffer));
    assert!(waits(&world, &mut peek).await);
    one.send_to(b"datagram", address).await.unwrap();
    assert_eq!(peek.await.unwrap(), (4, from));
    assert_eq!(&buffer, b"data");
    let mut buffer = [0; 16];
    assert_eq!(other.peek_from(&mut buffer).await.unwrap(), (8, from));
    assert_eq!(other.recv_from(&mut buffer).await.unwrap(), (8, from));
    assert_eq!(&buffer[..8], b"datagram");
}

/// The receive buffer is bounded; datagrams beyond it are dropped without an error (udp(7)).
pub async fn a_full_queue_loses_the_newest<W: World>(world: W) {
    let (one, _) = socket(&world).await;
    let (other, address) = socket(&world).await;
    let sent = 10_000_u32;
    for n in 0..sent {
        assert_eq!(one.send_to(&n.to_be_bytes(), address).await.unwrap(), 4);
    }
    settle(&world).await;
    let mut received = 0;
    let mut buffer = [0; 4];
    while let Ok(taken) = world.clock().timeout(A_WHILE, other.recv(&mut buffer)).await {
        assert_eq!(
            (taken.unwrap(), u32::from_be_bytes(buffer)),
            (4, received),
            "the oldest datagrams are kept, in order"
        );
        received += 1;
    }
    assert!(100 < received && received < sent, "{received}");
    // There is room again.
    one.send_to(b"next", address).await.unwrap();
    assert_eq!(other.recv(&mut buffer).await.unwrap(), 4);
    assert_eq!(&buffer, b"next");
}

pub async fn readable_waits_for_a_datagram<W: World>(world: W) {
    let (one, _) = socket(&world).await;
    let (other, address) = socket(&world).await;
    assert_eq!(error_kind(other.try_recv(&mut [0; 8])), ErrorKind::WouldBlock);
    let mut readable = Box::pin(other.readable());
    assert!(waits(&world, &mut readable).await);
    one.writable().await.unwrap();
    assert_eq!(one.try_send_to(b"ping", address).unwrap(), 4);
    readable.await.unwrap();
    other.readable().await.unwrap();
    assert_eq!(other.try_recv(&mut [0; 8]).unwrap(), 4);
}

/// tokio's readiness covers data only; a refusal is returned by receive and send.
pub async fn a_refusal_makes_nothing_readable<W: World>(world: W) {
    let one = refused(&world).await;
    assert!(waits(&world, one.readable()).await);
    assert_eq!(error_kind(one.try_recv(&mut [0; 8])), ErrorKind::WouldBlock);
    assert_eq!(error_kind(one.recv(&mut [0; 8]).await), ErrorKind::ConnectionRefused);
}

pub async fn take_error_takes_the_refusal<W: World>(world: W) {
    let one = refused(&world).await;
    settle(&world).await;
    assert_eq!(one.take_error().unwrap().unwrap().kind(), ErrorKind::ConnectionRefused);
    assert!(one.take_error().unwrap().is_none());
    assert_eq!(one.send(b"again").await.unwrap(), 5);
}

/// A connected socket that has sent to a closed port.
async fn refused<W: World>(world: &W) -> Socket<W> {
    let (one, _) = socket(world).await;
    let (gone, address) = socket(world).await;
    drop(gone);
    one.connect(address).await.unwrap();
    one.writable().await.unwrap();
    assert_eq!(one.try_send(b"anybody there?").unwrap(), 14);
    one
}

/// A refusal is returned before later datagrams.
pub async fn a_refusal_comes_before_datagrams<W: World>(world: W) {
    let one = refused(&world).await;
    settle(&world).await;
    let late = world.network().bind_udp(one.peer_addr().unwrap()).await.unwrap();
    late.send_to(b"here now", one.local_addr().unwrap()).await.unwrap();
    settle(&world).await;
    assert_eq!(error_kind(one.recv(&mut [0; 16]).await), ErrorKind::ConnectionRefused);
    assert_eq!(one.recv(&mut [0; 16]).await.unwrap(), 8);
}

pub async fn a_connected_socket_can_send_elsewhere<W: World>(world: W) {
    let (one, from) = socket(&world).await;
    let (_peer, peer_address) = socket(&world).await;
    let (other, other_address) = socket(&world).await;
    one.connect(peer_address).await.unwrap();
    assert_eq!(one.send_to(b"psst", other_address).await.unwrap(), 4);
    assert_eq!(other.recv_from(&mut [0; 8]).await.unwrap(), (4, from));
    // A refusal by another address is no error of this connected socket.
    drop(other);
    one.send_to(b"psst", other_address).await.unwrap();
    settle(&world).await;
    assert!(one.take_error().unwrap().is_none());
}

pub async fn a_socket_can_connect_anew<W: World>(world: W) {
    let (one, _) = socket(&world).await;
    let (first, first_address) = socket(&world).await;
    let (second, second_address) = socket(&world).await;
    one.connect(first_address).await.unwrap();
    one.connect(second_address).await.unwrap();
    assert_eq!(one.peer_addr().unwrap(), second_address);
    one.send(b"hello").await.unwrap();
    assert_eq!(second.recv(&mut [0; 8]).await.unwrap(), 5);
    first.send_to(b"psst", one.local_addr().unwrap()).await.unwrap();
    assert!(waits(&world, one.recv(&mut [0; 8])).await);
}

/// Connecting filters later datagrams, not those received already.
pub async fn what_came_before_connect_is_received<W: World>(world: W) {
    let (one, address) = socket(&world).await;
    let (stranger, stranger_address) = socket(&world).await;
    let (_peer, peer_address) = socket(&world).await;
    stranger.send_to(b"early", address).await.unwrap();
    settle(&world).await;
    one.connect(peer_address).await.unwrap();
    assert_eq!(one.recv_from(&mut [0; 8]).await.unwrap(), (5, stranger_address));
}

/// Connecting a wildcard socket sets its local address.
pub async fn connecting_picks_the_address<W: World>(world: W) {
    let (_other, address) = socket(&world).await;
    let all = world.network().bind_udp("0.0.0.0:0").await.unwrap();
    all.connect(address).await.unwrap();
    assert_eq!(all.local_addr().unwrap().ip(), address.ip());
}

pub async fn a_port_can_be_held_on_two_addresses_of_a_host<W: World>(world: W) {
    let (one, address) = socket(&world).await;
    let two = world.network().bind_udp(("127.0.0.2", address.port())).await.unwrap();
    one.send_to(b"ping", two.local_addr().unwrap()).await.unwrap();
    assert_eq!(two.recv_from(&mut [0; 8]).await.unwrap(), (4, address));
    let all = world.network().bind_udp(("0.0.0.0", address.port())).await;
    assert_eq!(error_kind(all), ErrorKind::AddrInUse);
}

pub async fn the_unspecified_address_leads_to_this_host<W: World>(world: W) {
    let (one, from) = socket(&world).await;
    let (other, address) = socket(&world).await;
    one.send_to(b"ping", ("0.0.0.0", address.port())).await.unwrap();
    assert_eq!(other.recv_from(&mut [0; 8]).await.unwrap(), (4, from));
}

pub async fn port_zero_cannot_be_sent_to<W: World>(world: W) {
    let (one, address) = socket(&world).await;
    assert_eq!(error_kind(one.send_to(b"ping", (address.ip(), 0)).await), ErrorKind::InvalidInput);
}

/// A socket bound to the loopback cannot send to other hosts.
pub async fn loopback_reaches_nobody_else<W: World>(world: W) {
    let (one, _) = socket(&world).await;
    // A host without a route to other networks reports that first.
    let is_no_way = |kind| matches!(kind, ErrorKind::InvalidInput | ErrorKind::NetworkUnreachable);
    assert!(is_no_way(error_kind(one.send_to(b"ping", "203.0.113.9:9").await)));
    assert!(is_no_way(error_kind(one.connect("203.0.113.9:9").await)));
}

/// Linux's "Address family not supported by protocol".
fn is_wrong_family(outcome: io::Result<impl Sized>) -> bool {
    const EAFNOSUPPORT: i32 = 97;
    let code = outcome.err().expect("an error is expected").raw_os_error();
    code == Some(EAFNOSUPPORT) || cfg!(not(target_os = "linux"))
}

pub async fn an_ipv4_socket_has_no_way_to_ipv6<W: World>(world: W) {
    let (one, _) = socket(&world).await;
    for target in ["[::1]:9", "[::ffff:127.0.0.1]:9"] {
        assert!(is_wrong_family(one.send_to(b"ping", target).await), "{target}");
        assert!(is_wrong_family(one.connect(target).await), "{target}");
    }
}

/// A wildcard socket can send to IPv4; one bound to an IPv6 address cannot.
pub async fn an_ipv6_address_has_no_way_to_ipv4<W: World>(world: W) {
    if !has_ipv6(&world).await {
        return;
    }
    let one = world.network().bind_udp("[::1]:0").await.unwrap();
    for target in ["127.0.0.1:9", "[::ffff:127.0.0.1]:9"] {
        assert_eq!(error_kind(one.send_to(b"ping", target).await), ErrorKind::NetworkUnreachable, "{target}");
    }
    assert!(is_wrong_family(one.connect("127.0.0.1:9").await));
    assert_eq!(error_kind(one.connect("[::ffff:127.0.0.1]:9").await), ErrorKind::NetworkUnreachable);
    let mapped = world.network().bind_udp("[::ffff:127.0.0.1]:0").await.unwrap();
    assert!(is_wrong_family(mapped.send_to(b"ping", "[::1]:9").await));
    assert!(is_wrong_family(mapped.connect("[::1]:9").await));
    mapped.connect("127.0.0.1:9").await.unwrap();
    assert_eq!(mapped.peer_addr().unwrap().to_string(), "[::ffff:127.0.0.1]:9");
}

pub async fn the_longest_datagram_of_ipv6_arrives<W: World>(world: W) {
    if !has_ipv6(&world).await {
        return;
    }
    let one = world.network().bind_udp("[::1]:0").await.unwrap();
    let other = world.network().bind_udp("[::1]:0").await.unwrap();
    let address = other.local_addr().unwrap();
    // 64 KiB less one, less UDP's header (8): that of IPv6 does not count.
    assert_eq!(one.send_to(&vec![7; 65_527], address).await.unwrap(), 65_527);
    assert_eq!(other.recv(&mut vec![0; 70_000]).await.unwrap(), 65_527);
    assert!(one.send_to(&vec![7; 65_528], address).await.is_err());
}

/// Peers appear as `::ffff:a.b.c.d`, which is also valid as a target (ipv6(7)).
pub async fn a_socket_on_all_ipv6_addresses_speaks_ipv4<W: World>(world: W) {
    if !has_ipv6(&world).await {
        return;
    }
    let (one, from) = socket(&world).await;
    let all = world.network().bind_udp("[::]:0").await.unwrap();
    let port = all.local_addr().unwrap().port();
    one.send_to(b"ping", ("127.0.0.1", port)).await.unwrap();
    let (_, shown) = all.recv_from(&mut [0; 8]).await.unwrap();
    assert_eq!(shown.to_string(), format!("[::ffff:127.0.0.1]:{}", from.port()));
    let mut sender = None;
    for target in [shown, from] {
        all.send_to(b"pong", target).await.unwrap();
        let (_, answer) = one.recv_from(&mut [0; 8]).await.unwrap();
        assert_eq!(answer.to_string(), format!("127.0.0.1:{port}"));
        sender = Some(answer);
    }
    assert!(all.send_to(&vec![7; 65_508], shown).await.is_err(), "the limit is that of IPv4");
    all.connect(shown).await.unwrap();
    assert_eq!(all.peer_addr().unwrap(), shown);
    assert_eq!(all.local_addr().unwrap().to_string(), format!("[::ffff:127.0.0.1]:{port}"));
    one.send_to(b"ping", sender.unwrap()).await.unwrap();
    assert_eq!(all.recv_from(&mut [0; 8]).await.unwrap(), (4, shown));
}

pub async fn ttl_is_kept<W: World>(world: W) {
    let (one, _) = socket(&world).await;
    assert_eq!(one.ttl().unwrap(), 64);
    one.set_ttl(7).unwrap();
    assert_eq!(one.ttl().unwrap(), 7);
    assert_eq!(error_kind(one.set_ttl(0)), ErrorKind::InvalidInput);
}
