//! Conformance: listening and connecting.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{LOOPBACK, TRIES, connection, error_kind, has_ipv6, listener, settle, waits};
use crate::{Clock, LISTEN_BACKLOG, Network, Spawn, TcpListener, TcpSocket, TcpStream, World};

pub async fn connect_to_nobody_is_refused<W: World>(world: W) {
    for _ in 0..TRIES {
        let (closed, address) = listener(&world).await;
        drop(closed);
        if let Err(error) = world.network().connect(address).await {
            assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
            return assert!(error.to_string().contains(&address.to_string()), "{error}");
        }
    }
    panic!("somebody always listens");
}

pub async fn port_zero_is_nobodys<W: World>(world: W) {
    let refused = world.network().connect((LOOPBACK.0, 0)).await;
    assert_eq!(error_kind(refused), ErrorKind::ConnectionRefused);
}

/// The host completes the handshake and buffers data until the application accepts.
pub async fn a_connection_is_up_before_it_is_accepted<W: World>(world: W) {
    let (listener, address) = listener(&world).await;
    let mut client = world.network().connect(address).await.unwrap();
    client.write_all(b"early").await.unwrap();
    let (mut server, _) = listener.accept().await.unwrap();
    let mut buffer = [0; 5];
    server.read_exact(&mut buffer).await.unwrap();
    assert_eq!(&buffer, b"early");
}

pub async fn both_ends_agree_on_their_addresses<W: World>(world: W) {
    let (listener, address) = listener(&world).await;
    let client = world.network().connect(address).await.unwrap();
    let (server, peer) = listener.accept().await.unwrap();
    assert_eq!(client.peer_addr().unwrap(), address);
    assert_eq!(server.local_addr().unwrap(), address);
    assert_eq!(client.local_addr().unwrap(), peer);
    assert_eq!(server.peer_addr().unwrap(), peer);
    assert_eq!(peer.ip(), address.ip());
    assert_ne!(peer.port(), address.port());
}

pub async fn port_zero_takes_a_free_port<W: World>(world: W) {
    let mut listeners = Vec::new();
    let mut ports = BTreeSet::new();
    for _ in 0..10 {
        let (listener, address) = listener(&world).await;
        assert_ne!(address.port(), 0);
        ports.insert(address.port());
        listeners.push(listener);
    }
    assert_eq!(ports.len(), 10);
}

pub async fn every_connection_has_its_own_port<W: World>(world: W) {
    let (_listener, address) = listener(&world).await;
    let mut clients = Vec::new();
    let mut ports = BTreeSet::new();
    for _ in 0..10 {
        let client = world.network().connect(address).await.unwrap();
        ports.insert(client.local_addr().unwrap().port());
        clients.push(client);
    }
    assert_eq!(ports.len(), 10);
}

/// The error names the address.
pub async fn an_address_in_use_cannot_be_bound_again<W: World>(world: W) {
    let (_listener, address) = listener(&world).await;
    let error = world.network().bind(address).await.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::AddrInUse);
    assert!(error.to_string().contains(&format!("cannot listen on {address}: ")), "{error}");
}

pub async fn a_foreign_address_cannot_be_bound<W: World>(world: W) {
    let foreign = "192.0.2.1:0";
    assert_eq!(error_kind(world.network().bind(foreign).await), ErrorKind::AddrNotAvailable);
    assert_eq!(error_kind(world.network().bind_udp(foreign).await), ErrorKind::AddrNotAvailable);
}

pub async fn a_dropped_listener_frees_its_address<W: World>(world: W) {
    let (listener, address) = listener(&world).await;
    drop(listener);
    let again = world.network().bind(address).await.unwrap();
    assert_eq!(again.local_addr().unwrap(), address);
}

/// A restarted server can bind while connections of its former incarnation are open or in TIME_WAIT.
pub async fn a_listener_can_return_while_old_connections_live<W: World>(world: W) {
    let (listener, address) = listener(&world).await;
    let _open = world.network().connect(address).await.unwrap();
    let _server = listener.accept().await.unwrap();
    let mut closed = world.network().connect(address).await.unwrap();
    drop(listener.accept().await.unwrap());
    assert_eq!(closed.read(&mut [0]).await.unwrap(), 0);
    drop((listener, closed));
    let again = world.network().bind(address).await.unwrap();
    let client = world.network().connect(address).await.unwrap();
    let (_, peer) = again.accept().await.unwrap();
    assert_eq!(client.local_addr().unwrap(), peer);
}

pub async fn a_listener_on_all_addresses_accepts_on_one_of_them<W: World>(world: W) {
    let listener = world.network().bind("0.0.0.0:0").await.unwrap();
    let bound = listener.local_addr().unwrap();
    assert!(bound.ip().is_unspecified());
    let client = world.network().connect(("127.0.0.1", bound.port())).await.unwrap();
    let (server, peer) = listener.accept().await.unwrap();
    assert_eq!(client.local_addr().unwrap(), peer);
    assert_eq!(client.peer_addr().unwrap(), server.local_addr().unwrap());
    assert!(!server.local_addr().unwrap().ip().is_unspecified());
}

pub async fn all_addresses_and_one_of_them_collide<W: World>(world: W) {
    let network = world.network();
    let (_one, address) = listener(&world).await;
    let all = network.bind(("0.0.0.0", address.port())).await;
    assert_eq!(error_kind(all), ErrorKind::AddrInUse);
    let all = network.bind("0.0.0.0:0").await.unwrap();
    let one = network.bind((LOOPBACK.0, all.local_addr().unwrap().port())).await;
    assert_eq!(error_kind(one), ErrorKind::AddrInUse);
}

pub async fn connections_are_accepted_in_their_order<W: World>(world: W) {
    let (listener, address) = listener(&world).await;
    let mut clients = Vec::new();
    for _ in 0..10 {
        clients.push(world.network().connect(address).await.unwrap());
    }
    for client in clients {
        let (_, peer) = listener.accept().await.unwrap();
        assert_eq!(client.local_addr().unwrap(), peer);
    }
}

pub async fn a_waiting_accept_is_woken_by_a_connection<W: World>(world: W) {
    let (listener, address) = listener(&world).await;
    let mut accept = Box::pin(listener.accept());
    assert!(waits(&world, &mut accept).await);
    let client = world.network().connect(address).await.unwrap();
    let (_, peer) = accept.await.unwrap();
    assert_eq!(client.local_addr().unwrap(), peer);
}

pub async fn two_waiting_accepts_get_a_connection_each<W: World>(world: W) {
    let (listener, address) = listener(&world).await;
    let listener = Arc::new(listener);
    let accept = || {
        let listener = listener.clone();
        world.spawner().spawn("acceptor", async move { listener.accept().await.unwrap().1 })
    };
    let (one, other) = (accept(), accept());
    let first = world.network().connect(address).await.unwrap();
    let second = world.network().connect(address).await.unwrap();
    let accepted = BTreeSet::from([one.await.unwrap(), other.await.unwrap()]);
    let connected = BTreeSet::from([first.local_addr().unwrap(), second.local_addr().unwrap()]);
    assert_eq!(accepted, connected);
}

pub async fn a_cancelled_accept_loses_no_connection<W: World>(world: W) {
    let (listener, address) = listener(&world).await;
    assert!(waits(&world, listener.accept()).await);
    let client = world.network().connect(address).await.unwrap();
    let (_, peer) = listener.accept().await.unwrap();
    assert_eq!(client.local_addr().unwrap(), peer);
}

pub async fn an_accepted_connection_outlives_its_listener<W: World>(world: W) {
    // The helper drops its listener when it returns.
    let (mut client, mut server) = connection(&world).await;
    server.write_all(b"still here").await.unwrap();
    let mut buffer = [0; 10];
    client.read_exact(&mut buffer).await.unwrap();
    assert_eq!(&buffer, b"still here");
}

pub async fn a_connection_nobody_accepted_is_reset_with_the_listener<W: World>(world: W) {
    let (listener, address) = listener(&world).await;
    let mut client = world.network().connect(address).await.unwrap();
    drop(listener);
    assert_eq!(error_kind(client.read(&mut [0]).await), ErrorKind::ConnectionReset);
}

/// A connection closed before accept is accepted at its end of stream (accept(2)).
pub async fn a_connection_closed_early_is_accepted_with_what_it_sent<W: World>(world: W) {
    let (listener, address) = listener(&world).await;
    let mut client = world.network().connect(address).await.unwrap();
    let local = client.local_addr().unwrap();
    client.write_all(b"gone already").await.unwrap();
    drop(client);
    settle(&world).await;
    let (mut server, peer) = listener.accept().await.unwrap();
    assert_eq!((peer, server.peer_addr().unwrap()), (local, local));
    let mut received = String::new();
    server.read_to_string(&mut received).await.unwrap();
    assert_eq!(received, "gone already");
}

/// On Linux accept returns it; other systems report ECONNABORTED.
pub async fn a_connection_reset_early_is_accepted_and_tells<W: World>(world: W) {
    let (listener, address) = listener(&world).await;
    let mut client = world.network().connect(address).await.unwrap();
    let local = client.local_addr().unwrap();
    client.write_all(b"gone").await.unwrap();
    settle(&world).await;
    client.set_zero_linger().unwrap();
    drop(client);
    settle(&world).await;
    let (mut server, peer) = listener.accept().await.unwrap();
    assert_eq!(peer, local);
    assert_eq!(error_kind(server.peer_addr()), ErrorKind::NotConnected);
    let mut received = [0; 4];
    server.read_exact(&mut received).await.unwrap();
    assert_eq!(&received, b"gone");
    assert_eq!(error_kind(server.read(&mut received).await), ErrorKind::ConnectionReset);
}

/// Connects until connects are no longer answered: the size of the backlog. Connections closed in the backlog count.
async fn fill_backlog<W: World>(world: &W, address: SocketAddr) -> usize {
    let network = world.network();
    for queued in 0..10_000 {
        match world.clock().timeout(Duration::from_millis(500), network.connect(address)).await {
            Ok(stream) => drop(stream.unwrap()),
            Err(_) => return queued,
        }
    }
    panic!("the backlog is unbounded");
}

/// When the backlog is full a connect waits, and is not refused (listen(2)).
pub async fn a_full_backlog_makes_connects_wait<W: World>(world: W) {
    let (listener, address) = listener(&world).await;
    let queued = fill_backlog(&world, address).await;
    let expected = LISTEN_BACKLOG as usize + 1;
    assert_eq!(queued, expected, "if it is fewer: does this host allow more (sysctl net.core.somaxconn)?");
    let network = world.network();
    let mut connect = Box::pin(network.connect(address));
    assert!(waits(&world, &mut connect).await);
    for _ in 0..queued {
        listener.accept().await.unwrap();
    }
    let late = connect.await.unwrap();
    assert_eq!(listener.accept().await.unwrap().1, late.local_addr().unwrap());
}

/// A connect that is dropped before the answer leaves nothing to accept.
pub async fn an_abandoned_connect_never_surfaces<W: World>(world: W) {
    let (listener, address) = listener(&world).await;
    let queued = fill_backlog(&world, address).await; // its last attempt was abandoned
    let network = world.network();
    for _ in 0..3 {
        assert!(waits(&world, network.connect(address)).await);
    }
    for _ in 0..queued {
        listener.accept().await.unwrap();
    }
    // The host would have retransmitted its SYN after a second.
    world.clock().sleep(Duration::from_millis(1200)).await;
    assert!(waits(&world, listener.accept()).await);
    let stream = network.connect(address).await.unwrap();
    assert_eq!(listener.accept().await.unwrap().1, stream.local_addr().unwrap());
}

pub async fn the_port_of_a_connection_cannot_be_listened_on<W: World>(world: W) {
    for _ in 0..TRIES {
        let (listener, address) = listener(&world).await;
        // Of a port that a connect chooses, another connection may have a state for a minute (TIME_WAIT).
        let client = world.network().tcp_socket_v4().unwrap();
        client.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let client = client.connect(address).await.unwrap();
        let (server, _) = listener.accept().await.unwrap();
        drop(listener);
        let local = client.local_addr().unwrap();
        assert_eq!(error_kind(world.network().bind(local).await), ErrorKind::AddrInUse);
        drop(server);
        settle(&world).await;
        // The end that closes last leaves no state; the one that closes first may, for a minute (TIME_WAIT).
        drop(client);
        settle(&world).await;
        if let Ok(listener) = world.network().bind(local).await {
            return assert_eq!(listener.local_addr().unwrap(), local);
        }
    }
    panic!("the port never becomes free");
}

pub async fn a_port_can_be_held_on_two_addresses_of_a_host<W: World>(world: W) {
    let network = world.network();
    let one = network.bind("127.0.0.1:0").await.unwrap();
    let port = one.local_addr().unwrap().port();
    let refused = network.connect(("127.0.0.2", port)).await;
    assert_eq!(error_kind(refused), ErrorKind::ConnectionRefused, "no listener on the other address yet");
    let two = network.bind(("127.0.0.2", port)).await.unwrap();
    let client = network.connect(("127.0.0.2", port)).await.unwrap();
    let (server, peer) = two.accept().await.unwrap();
    assert_eq!(server.local_addr().unwrap(), two.local_addr().unwrap());
    assert_eq!(client.peer_addr().unwrap(), two.local_addr().unwrap());
    assert!(waits(&world, one.accept()).await);
    // All of 127.0.0.0/8 is this host, whose source address is 127.0.0.1.
    assert_eq!(peer.ip().to_string(), "127.0.0.1");
}

pub async fn the_unspecified_address_leads_to_this_host<W: World>(world: W) {
    let (listener, address) = listener(&world).await;
    let client = world.network().connect(("0.0.0.0", address.port())).await.unwrap();
    assert_eq!(client.peer_addr().unwrap(), address);
    assert_eq!(listener.accept().await.unwrap().1, client.local_addr().unwrap());
}

pub async fn an_unreachable_address_fails_at_once<W: World>(world: W) {
    let error = world.network().connect("255.255.255.255:80").await.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::NetworkUnreachable);
}

pub async fn ipv6_has_a_loopback_too<W: World>(world: W) {
    if !has_ipv6(&world).await {
        return;
    }
    let network = world.network();
    let listener = network.bind("[::1]:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let client = network.connect(address).await.unwrap();
    let (server, peer) = listener.accept().await.unwrap();
    assert_eq!((client.local_addr().unwrap(), client.peer_addr().unwrap()), (peer, address));
    assert_eq!((server.local_addr().unwrap(), server.peer_addr().unwrap()), (address, peer));
    assert!(peer.ip().is_loopback() && peer.is_ipv6());
}

/// The other family's loopback is another address.
pub async fn an_ipv6_loopback_leaves_the_port_of_the_other_family_free<W: World>(world: W) {
    if !has_ipv6(&world).await {
        return;
    }
    let network = world.network();
    for _ in 0..TRIES {
        let listener = network.bind("[::1]:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let other = network.tcp_socket_v4().unwrap();
        if other.bind((LOOPBACK.0, port).into()).is_err() {
            continue;
        }
        let refused = network.connect((LOOPBACK.0, port)).await;
        assert_eq!(error_kind(refused), ErrorKind::ConnectionRefused);
        drop(other);
        if network.bind(("0.0.0.0", port)).await.is_ok() {
            return;
        }
    }
    panic!("the port is never free");
}

/// Dual stack: an IPv6 wildcard socket accepts IPv4, and shows such peers as `::ffff:a.b.c.d` (ipv6(7)).
pub async fn a_listener_on_all_ipv6_addresses_takes_ipv4<W: World>(world: W) {
    if !has_ipv6(&world).await {
        return;
    }
    let network = world.network();
    let listener = network.bind("[::]:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    for taken in ["0.0.0.0", "127.0.0.1", "::1"] {
        assert_eq!(error_kind(network.bind((taken, port)).await), ErrorKind::AddrInUse, "{taken}");
    }
    let client = network.connect(("127.0.0.1", port)).await.unwrap();
    let (server, peer) = listener.accept().await.unwrap();
    let (near, far) = (client.local_addr().unwrap(), client.peer_addr().unwrap());
    assert!(near.is_ipv4() && far.is_ipv4());
    assert_eq!(peer, mapped(near));
    assert_eq!((server.peer_addr().unwrap(), server.local_addr().unwrap()), (mapped(near), mapped(far)));
    // The address shown is a valid target, and an IPv6 socket shows it the same way.
    let back = network.connect(server.local_addr().unwrap()).await.unwrap();
    let (_, peer) = listener.accept().await.unwrap();
    assert_eq!((back.peer_addr().unwrap(), back.local_addr().unwrap()), (mapped(far), peer));
    // IPv6 peers are shown unchanged.
    let client = network.connect(("::1", port)).await.unwrap();
    assert_eq!(listener.accept().await.unwrap().1, client.local_addr().unwrap());
}

/// An IPv4 listener is reachable by its IPv4-mapped address, and sees an IPv4 peer.
pub async fn a_mapped_address_leads_to_ipv4<W: World>(world: W) {
    if !has_ipv6(&world).await {
        return;
    }
    let (listener, address) = listener(&world).await;
    let client = world.network().connect(mapped(address)).await.unwrap();
    let (_, peer) = listener.accept().await.unwrap();
    assert!(peer.is_ipv4());
    assert_eq!((client.local_addr().unwrap(), client.peer_addr().unwrap()), (mapped(peer), mapped(address)));
    let listener = world.network().bind("[::ffff:127.0.0.1]:0").await.unwrap();
    let local = listener.local_addr().unwrap();
    let client = world.network().connect(("127.0.0.1", local.port())).await.unwrap();
    assert_eq!(mapped(client.peer_addr().unwrap()), local);
    assert_eq!(listener.accept().await.unwrap().1, mapped(client.local_addr().unwrap()));
}

/// The IPv4-mapped IPv6 address.
fn mapped(address: SocketAddr) -> SocketAddr {
    match address.ip() {
        IpAddr::V4(ip) => SocketAddr::new(ip.to_ipv6_mapped().into(), address.port()),
        IpAddr::V6(_) => panic!("{address} is IPv6 already"),
    }
}
