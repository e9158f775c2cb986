//! Conformance: addresses and name lookup.

use std::io::ErrorKind;
use std::net::SocketAddr;

use super::{LOOPBACK, error_kind, listener};
use crate::{Network, TcpListener, TcpSocket, TcpStream, UdpSocket, World};

pub async fn a_written_address_is_its_own_answer<W: World>(world: W) {
    let network = world.network();
    for text in ["192.0.2.7:80", "[2001:db8::7]:65535"] {
        let expected: SocketAddr = text.parse().unwrap();
        assert_eq!(network.lookup(text).await.unwrap(), [expected]);
        assert_eq!(network.lookup(expected).await.unwrap(), [expected]);
    }
    let expected: SocketAddr = "192.0.2.7:80".parse().unwrap();
    assert_eq!(network.lookup(("192.0.2.7", 80)).await.unwrap(), [expected]);
}

/// The C library reads other forms of numbers than Rust (inet_aton(3)).
pub async fn a_number_is_an_address_in_each_of_its_forms<W: World>(world: W) {
    let network = world.network();
    for (text, expected) in [
        ("127.1:80", "127.0.0.1:80"),
        ("0x7f000001:80", "127.0.0.1:80"),
        ("2130706433:80", "127.0.0.1:80"),
        ("010.1.2.3:80", "8.1.2.3:80"),
        ("1.2.3:80", "1.2.0.3:80"),
    ] {
        let expected: SocketAddr = expected.parse().unwrap();
        assert_eq!(network.lookup(text).await.unwrap(), [expected], "{text}");
    }
}

pub async fn localhost_is_this_host<W: World>(world: W) {
    let addresses = world.network().lookup("localhost:80").await.unwrap();
    assert!(!addresses.is_empty());
    assert!(
        addresses.iter().all(|address| address.ip().is_loopback() && address.port() == 80),
        "{addresses:?}"
    );
}

/// Too long for a DNS name, so that no real name server is queried.
pub async fn an_unknown_name_is_an_error_that_tells_it<W: World>(world: W) {
    let name = "nobody".repeat(20);
    let network = world.network();
    let lookup = network.lookup((name.as_str(), 80)).await.unwrap_err();
    assert!(lookup.to_string().contains(&name), "{lookup}");
    let connect = network.connect((name.as_str(), 80)).await.err().unwrap();
    assert!(connect.to_string().contains(&name), "{connect}");
    assert!(network.bind((name.as_str(), 80)).await.is_err());
    assert!(network.bind_udp((name.as_str(), 80)).await.is_err());
}

pub async fn an_address_without_a_port_is_malformed<W: World>(world: W) {
    let network = world.network();
    for text in ["127.0.0.1", "localhost", "", "localhost:", "localhost:http"] {
        assert_eq!(error_kind(network.lookup(text).await), ErrorKind::InvalidInput, "{text:?}");
        assert_eq!(error_kind(network.bind(text).await), ErrorKind::InvalidInput, "{text:?}");
        assert_eq!(error_kind(network.bind_udp(text).await), ErrorKind::InvalidInput, "{text:?}");
        assert_eq!(error_kind(network.connect(text).await), ErrorKind::InvalidInput, "{text:?}");
    }
}

pub async fn a_port_beyond_sixteen_bits_is_malformed<W: World>(world: W) {
    for text in ["127.0.0.1:65536", "localhost:65536", "localhost:-1"] {
        assert_eq!(error_kind(world.network().lookup(text).await), ErrorKind::InvalidInput, "{text:?}");
    }
}

pub async fn every_way_to_write_an_address_leads_to_it<W: World>(world: W) {
    let (listener, address) = listener(&world).await;
    let (network, text) = (world.network(), address.to_string());
    let streams = [
        network.connect(address).await,
        network.connect((address.ip(), address.port())).await,
        network.connect(("127.0.0.1", address.port())).await,
        network.connect(text.as_str()).await,
        network.connect(&text).await,
    ];
    for stream in streams {
        assert_eq!(stream.unwrap().peer_addr().unwrap(), address);
        listener.accept().await.unwrap();
    }
}

/// All addresses of a name are tried in turn ("localhost" often has several).
pub async fn connect_finds_a_listener_by_name<W: World>(world: W) {
    let (_listener, address) = listener(&world).await;
    let stream = world.network().connect(("localhost", address.port())).await.unwrap();
    assert_eq!(stream.peer_addr().unwrap(), address);
}

/// Names are case-insensitive (RFC 4343).
pub async fn names_have_no_case<W: World>(world: W) {
    let network = world.network();
    assert_eq!(network.lookup("LocalHost:80").await.unwrap(), network.lookup("localhost:80").await.unwrap());
}

pub async fn bind_takes_a_name<W: World>(world: W) {
    let listener = world.network().bind("localhost:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    assert!(address.ip().is_loopback());
    world.network().connect(address).await.unwrap();
}

pub async fn several_addresses_are_tried_in_turn<W: World>(world: W) {
    let network = world.network();
    let elsewhere: SocketAddr = "192.0.2.7:0".parse().unwrap();
    let here: SocketAddr = super::LOOPBACK.into();
    let open = network.bind([elsewhere, here]).await.unwrap();
    let address = open.local_addr().unwrap();
    assert_eq!(address.ip(), here.ip());
    let (closed, refuses) = listener(&world).await;
    drop(closed);
    for addresses in [vec![refuses, address], vec![address, refuses]] {
        let client = network.connect(&addresses).await.unwrap();
        assert_eq!(client.peer_addr().unwrap(), address);
        open.accept().await.unwrap();
        assert_eq!(network.lookup(&addresses[..]).await.unwrap(), addresses);
    }
    let socket = network.bind_udp([elsewhere, here]).await.unwrap();
    socket.connect([address, refuses]).await.unwrap();
    assert_eq!(socket.peer_addr().unwrap(), address, "a datagram socket is connected at once");
}

pub async fn the_error_of_the_last_address_is_that_of_all<W: World>(world: W) {
    let network = world.network();
    let mut refusing = Vec::new();
    let mut bound = Vec::new(); // so that nobody else listens there
    for _ in 0..3 {
        let socket = network.tcp_socket_v4().unwrap();
        socket.bind(LOOPBACK.into()).unwrap();
        refusing.push(socket.local_addr().unwrap());
        bound.push(socket);
    }
    let error = network.connect(&refusing[..]).await.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
    assert!(error.to_string().contains(&refusing[2].to_string()), "{error}");
    let elsewhere: Vec<SocketAddr> = ["192.0.2.7:1", "192.0.2.8:1"].map(|text| text.parse().unwrap()).into();
    let error = network.bind(&elsewhere).await.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::AddrNotAvailable);
    assert!(error.to_string().contains("192.0.2.8:1"), "{error}");

    let none: [SocketAddr; 0] = [];
    assert_eq!(error_kind(network.bind(none).await), ErrorKind::InvalidInput);
    assert_eq!(error_kind(network.connect(none).await), ErrorKind::InvalidInput);
    let socket = network.bind_udp(super::LOOPBACK).await.unwrap();
    assert_eq!(error_kind(socket.send_to(b"x", none).await), ErrorKind::InvalidInput);
}
