//! What it means to listen and to connect, in every world.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{LOOPBACK, connection, error_kind, listener, waits};
use crate::{Network, Spawn, TcpListener, TcpStream, World};

pub async fn connect_to_nobody_is_refused<W: World>(world: W) {
    let (listener, address) = listener(&world).await;
    drop(listener);
    let error = world.network().connect(address).await.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
    assert!(error.to_string().contains(&address.to_string()), "{error}");
}

/// The host completes the connection and keeps what is sent until the application accepts.
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

/// The error tells the address: a service listens in more than one place.
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

/// A restarted server must not wait for the connections of its former life, open or closed.
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
    // The helper's listener is gone when it returns.
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
