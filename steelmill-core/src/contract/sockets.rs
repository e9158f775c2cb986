//! Conformance: TCP sockets that are bound and given options before they listen or connect.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{A_WHILE, LOOPBACK, TRIES, error_kind, has_ipv6, listener, settle, waits};
use crate::{Clock, Network, TcpListener, TcpSocket, TcpStream, World};

type Fresh<W> = <<W as World>::Network as Network>::TcpSocket;

fn loopback() -> SocketAddr {
    LOOPBACK.into()
}

/// A socket that is bound to a free port.
fn bound<W: World>(world: &W) -> (Fresh<W>, SocketAddr) {
    let socket = world.network().tcp_socket_v4().unwrap();
    socket.bind(loopback()).unwrap();
    let address = socket.local_addr().unwrap();
    (socket, address)
}

pub async fn a_bound_socket_connects_from_where_it_is_bound<W: World>(world: W) {
    let (listener, address) = listener(&world).await;
    let (socket, own) = bound(&world);
    assert_eq!(own.ip(), LOOPBACK.0);
    assert_ne!(own.port(), 0);
    let mut client = socket.connect(address).await.unwrap();
    let (mut server, peer) = listener.accept().await.unwrap();
    assert_eq!((client.local_addr().unwrap(), peer), (own, own));
    client.write_all(b"hello").await.unwrap();
    let mut word = [0; 5];
    server.read_exact(&mut word).await.unwrap();
    assert_eq!(&word, b"hello");
}

pub async fn an_unbound_socket_is_nowhere_and_connects_from_a_free_port<W: World>(world: W) {
    let (listener, address) = listener(&world).await;
    let socket = world.network().tcp_socket_v4().unwrap();
    assert_eq!(socket.local_addr().unwrap(), SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)));
    let client = socket.connect(address).await.unwrap();
    let (_server, peer) = listener.accept().await.unwrap();
    assert_eq!(client.local_addr().unwrap(), peer);
    assert_ne!(peer.port(), 0);
}

pub async fn a_socket_is_bound_once<W: World>(world: W) {
    let (socket, address) = bound(&world);
    assert_eq!(error_kind(socket.bind(loopback())), ErrorKind::InvalidInput);
    assert_eq!(socket.local_addr().unwrap(), address);
    let foreign = world.network().tcp_socket_v4().unwrap();
    let elsewhere = SocketAddr::from((Ipv4Addr::new(192, 0, 2, 7), 0));
    assert_eq!(error_kind(foreign.bind(elsewhere)), ErrorKind::AddrNotAvailable);
    assert!(foreign.bind("[::1]:0".parse().unwrap()).is_err(), "an address of the other family");
    foreign.bind(loopback()).unwrap();
}

pub async fn a_bound_socket_holds_its_port_until_it_is_dropped<W: World>(world: W) {
    let (socket, address) = bound(&world);
    let other = world.network().tcp_socket_v4().unwrap();
    assert_eq!(error_kind(other.bind(address)), ErrorKind::AddrInUse);
    let refused = world.network().connect(address).await;
    assert_eq!(error_kind(refused), ErrorKind::ConnectionRefused, "it does not listen");
    drop(socket);
    other.bind(address).unwrap();
}

pub async fn the_port_of_a_bound_connection_is_free_when_it_is_reset<W: World>(world: W) {
    let (listener, address) = listener(&world).await;
    let (socket, own) = bound(&world);
    socket.set_zero_linger().unwrap();
    let client = socket.connect(address).await.unwrap();
    let (mut server, _) = listener.accept().await.unwrap();
    let other = world.network().tcp_socket_v4().unwrap();
    assert_eq!(error_kind(other.bind(own)), ErrorKind::AddrInUse);
    drop(client);
    assert_eq!(error_kind(server.read(&mut [0; 1]).await), ErrorKind::ConnectionReset, "by zero linger");
    other.bind(own).unwrap();
    other.connect(address).await.unwrap();
}

pub async fn a_socket_listens_with_the_backlog_that_it_is_given<W: World>(world: W) {
    let (socket, address) = bound(&world);
    let listener = socket.listen(1).unwrap();
    assert_eq!(listener.local_addr().unwrap(), address);
    // Linux admits one more.
    let _first = world.network().connect(address).await.unwrap();
    let _second = world.network().connect(address).await.unwrap();
    settle(&world).await;
    assert!(waits(&world, world.network().connect(address)).await, "the third is too many");
    let (accepted, _) = listener.accept().await.unwrap();
    drop(accepted);
}

pub async fn an_unbound_socket_listens_at_a_free_port<W: World>(world: W) {
    let listener = world.network().tcp_socket_v4().unwrap().listen(8).unwrap();
    let address = listener.local_addr().unwrap();
    assert!(address.ip().is_unspecified() && address.port() != 0, "{address}");
    let client = world.network().connect((LOOPBACK.0, address.port())).await.unwrap();
    let (_server, peer) = listener.accept().await.unwrap();
    assert_eq!(client.local_addr().unwrap(), peer);
}

pub async fn a_port_is_shared_by_listeners_that_all_reuse_it<W: World>(world: W) {
    let network = world.network();
    let socket = || {
        let socket = network.tcp_socket_v4().unwrap();
        socket.set_reuseport(true).unwrap();
        assert!(socket.reuseport().unwrap() && !socket.reuseaddr().unwrap());
        socket
    };
    let first = socket();
    first.bind(loopback()).unwrap();
    let address = first.local_addr().unwrap();
    let second = socket();
    second.bind(address).unwrap();
    let alone = network.tcp_socket_v4().unwrap();
    assert_eq!(error_kind(alone.bind(address)), ErrorKind::AddrInUse);
    let (first, second) = (first.listen(8).unwrap(), second.listen(8).unwrap());
    let _client = network.connect(address).await.unwrap();
    let is_first = world.clock().timeout(A_WHILE, first.accept()).await.is_ok();
    let is_second = world.clock().timeout(A_WHILE, second.accept()).await.is_ok();
    assert!(is_first != is_second, "one of them has the connection");
}

/// The rest of a connection, in TIME_WAIT, keeps its address, except for those who reuse it.
pub async fn an_address_in_time_wait_is_bound_by_those_who_reuse_it<W: World>(world: W) {
    // On a shared host a new connection may take over what is in TIME_WAIT, hence the retries.
    for _ in 0..TRIES {
        let (listening, address) = bound(&world);
        listening.set_reuseaddr(true).unwrap();
        let listener = listening.listen(8).unwrap();
        let mut client = world.network().connect(address).await.unwrap();
        let (server, _) = listener.accept().await.unwrap();
        drop(server); // first, so that this end is left in TIME_WAIT
        assert_eq!(client.read(&mut [0; 1]).await.unwrap(), 0);
        drop((client, listener));
        settle(&world).await;
        let again = world.network().tcp_socket_v4().unwrap();
        let Err(error) = again.bind(address) else { continue };
        assert_eq!(error.kind(), ErrorKind::AddrInUse);
        again.set_reuseaddr(true).unwrap();
        assert!(again.reuseaddr().unwrap());
        again.bind(address).unwrap();
        again.listen(8).unwrap();
        return;
    }
    panic!("nothing is ever left in TIME_WAIT");
}

pub async fn options_of_a_socket_are_kept_and_inherited<W: World>(world: W) {
    let (socket, address) = bound(&world);
    assert!(!socket.nodelay().unwrap() && !socket.keepalive().unwrap());
    assert!(!socket.reuseaddr().unwrap() && !socket.reuseport().unwrap());
    assert_eq!(socket.linger().unwrap(), None);
    socket.set_nodelay(true).unwrap();
    socket.set_keepalive(true).unwrap();
    socket.set_zero_linger().unwrap();
    assert!(socket.nodelay().unwrap() && socket.keepalive().unwrap());
    assert_eq!(socket.linger().unwrap(), Some(Duration::ZERO));
    assert!(socket.take_error().unwrap().is_none());
    let listener = socket.listen(8).unwrap();

    let socket = world.network().tcp_socket_v4().unwrap();
    socket.set_nodelay(true).unwrap();
    let client = socket.connect(address).await.unwrap();
    let (server, _) = listener.accept().await.unwrap();
    assert!(client.nodelay().unwrap() && server.nodelay().unwrap());
    assert_eq!((client.linger().unwrap(), server.linger().unwrap()), (None, Some(Duration::ZERO)));
}

/// socket(7): the kernel doubles the value, and has a least one.
pub async fn buffers_are_twice_as_large_as_they_are_set<W: World>(world: W) {
    let socket = world.network().tcp_socket_v4().unwrap();
    for (size, sends, receives) in [(20_000, 40_000, 40_000), (1, 4_608, 2_304)] {
        socket.set_send_buffer_size(size).unwrap();
        socket.set_recv_buffer_size(size).unwrap();
        assert_eq!(
            (socket.send_buffer_size().unwrap(), socket.recv_buffer_size().unwrap()),
            (sends, receives)
        );
    }
}

pub async fn a_connect_of_a_socket_to_nobody_is_refused<W: World>(world: W) {
    for _ in 0..TRIES {
        let (closed, address) = listener(&world).await;
        drop(closed);
        let (socket, own) = bound(&world);
        if let Err(error) = socket.connect(address).await {
            assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
            assert!(error.raw_os_error().is_some(), "it is the system's own: {error:?}");
            return world.network().tcp_socket_v4().unwrap().bind(own).unwrap();
        }
    }
    panic!("somebody always listens");
}

pub async fn a_socket_of_ipv6_connects_over_ipv6<W: World>(world: W) {
    if !has_ipv6(&world).await {
        return;
    }
    let network = world.network();
    let socket = network.tcp_socket_v6().unwrap();
    socket.bind("[::1]:0".parse().unwrap()).unwrap();
    let listener = socket.listen(8).unwrap();
    let address = listener.local_addr().unwrap();
    let client = network.tcp_socket_v6().unwrap().connect(address).await.unwrap();
    assert!(listener.accept().await.unwrap().1.is_ipv6());
    assert_eq!(client.peer_addr().unwrap(), address);
    assert!(
        network.tcp_socket_v4().unwrap().connect(address).await.is_err(),
        "an address of the other family"
    );
}
