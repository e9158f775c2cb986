//! Names, addresses and ports across machines, which the contract cannot test on one host.

use std::io::{Error, ErrorKind, Result as IoResult};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use steelmill_core::Clock as _;
use steelmill_sim::{Machine, Seed, check};

const SECOND: Duration = Duration::from_secs(1);

/// Linux's default `ip_local_port_range` (ip(7)).
const EPHEMERAL: usize = 60_999 - 32_768 + 1;

fn kind<T>(result: IoResult<T>) -> Option<ErrorKind> {
    result.err().as_ref().map(Error::kind)
}

fn ipv6(machine: &Machine) -> IpAddr {
    let IpAddr::V4(address) = machine.address() else { panic!("a machine's own address is IPv4") };
    let [_, _, high, low] = address.octets();
    format!("fd00::{:x}", u16::from_be_bytes([high, low])).parse().expect("an address")
}

#[test]
fn the_addresses_of_a_name_are_tried_in_turn() {
    check(Seed(1), |sim| async move {
        let machines = ["db-1", "db-2", "db-3"].map(|name| sim.client(name));
        let addresses = machines.clone().map(|machine| machine.address());
        sim.set_name("db", &addresses);
        let network = sim.network();
        assert_eq!(network.lookup("db:5432").await?, addresses.map(|ip| SocketAddr::new(ip, 5432)));

        let error = network.connect("db:5432").await.expect_err("no listener");
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
        assert!(error.to_string().contains(&format!("{}:5432", addresses[2])), "the last one: {error}");
        let listener = machines[1].network().bind("0.0.0.0:5432").await?;
        assert_eq!(network.connect("db:5432").await?.peer_addr()?.ip(), addresses[1]);
        let _first = machines[0].network().bind("0.0.0.0:5432").await?;
        assert_eq!(network.connect("DB:5432").await?.peer_addr()?.ip(), addresses[0]);
        drop(listener);

        // Of a name's several addresses, a machine binds its own.
        let own = machines[2].network().bind("db:1").await?.local_addr()?;
        assert_eq!(own.ip(), addresses[2]);
        assert_eq!(machines[2].network().bind_udp("db:1").await?.local_addr()?, own);
        assert_eq!(kind(sim.client("else").network().bind("db:1").await), Some(ErrorKind::AddrNotAvailable));
        Ok(())
    });
}

/// The connect to a machine without power times out before the next address is tried.
#[test]
fn an_address_that_does_not_answer_is_waited_for() {
    check(Seed(2), |sim| async move {
        let (dead, alive, client) = (sim.client("dead"), sim.client("alive"), sim.client("client"));
        sim.set_name("service", &[dead.address(), alive.address()]);
        let _listener = alive.network().bind("0.0.0.0:7").await?;
        dead.power_loss();
        let begun = sim.elapsed();
        let stream = client.network().connect("service:7").await?;
        assert_eq!((stream.peer_addr()?.ip(), (sim.elapsed() - begun).as_secs()), (alive.address(), 131));
        Ok(())
    });
}

#[test]
fn a_name_can_move_and_go() {
    check(Seed(3), |sim| async move {
        let (one, two) = (sim.client("one"), sim.client("Two"));
        let network = sim.network();
        sim.set_name("primary", &[one.address()]);
        sim.set_name("Primary", &[two.address()]);
        assert_eq!(network.lookup("primary:1").await?, [SocketAddr::new(two.address(), 1)]);
        sim.set_name("primary", &[]);
        assert!(network.lookup("primary:1").await.is_err());
        // A machine's own name is case-insensitive.
        sim.set_name("two", &[one.address()]);
        assert_eq!(network.lookup("two:1").await?, [SocketAddr::new(two.address(), 1)]);
        Ok(())
    });
}

#[test]
fn datagrams_go_to_the_first_address_that_will_do() {
    check(Seed(4), |sim| async move {
        let (one, two) = (sim.client("one"), sim.client("two"));
        sim.set_name("both", &[ipv6(&one), two.address()]);
        let inbox = two.network().bind_udp("0.0.0.0:9").await?;
        let socket = one.network().bind_udp("0.0.0.0:0").await?;
        // An IPv4 socket cannot send to the first address. tokio's own `send_to` tries no other.
        assert!(socket.send_to(b"x", "both:9").await.is_err());
        steelmill_core::UdpSocket::send_to(&socket, b"x", "both:9").await?;
        assert_eq!(inbox.recv_from(&mut [0]).await?.1.ip(), one.address());
        socket.connect("both:9").await?;
        assert_eq!(socket.peer_addr()?.ip(), two.address());
        Ok(())
    });
}

#[test]
fn the_loopback_is_every_machines_own() {
    check(Seed(5), |sim| async move {
        let (a, b) = (sim.client("a"), sim.client("b"));
        let _loopback = b.network().bind("127.0.0.1:7").await?;
        let _own = b.network().bind(("b", 8)).await?;
        let from_a = async |port| kind(a.network().connect(("b", port)).await);
        assert_eq!(from_a(7).await, Some(ErrorKind::ConnectionRefused), "reachable only from b");
        assert_eq!(from_a(8).await, None);
        let from_b = async |ip: IpAddr, port| b.network().connect((ip, port)).await;
        let loopback: IpAddr = "127.0.0.1".parse()?;
        assert_eq!(from_b(loopback, 7).await?.local_addr()?.ip(), loopback);
        assert_eq!(from_b(b.address(), 8).await?.local_addr()?.ip(), b.address());
        assert_eq!(kind(from_b(b.address(), 7).await), Some(ErrorKind::ConnectionRefused));
        assert_eq!(kind(from_b(loopback, 8).await), Some(ErrorKind::ConnectionRefused));
        assert_eq!(kind(b.network().bind((a.address(), 9)).await), Some(ErrorKind::AddrNotAvailable));

        let socket = b.network().bind_udp("127.0.0.1:0").await?;
        assert_eq!(kind(socket.send_to(b"x", "a:9").await), Some(ErrorKind::InvalidInput));
        socket.send_to(b"x", (b.address(), 9)).await?;
        let inbox = a.network().bind_udp("[::]:9").await?;
        let socket = b.network().bind_udp("[::1]:0").await?;
        assert_eq!(socket.send_to(b"x", (ipv6(&a), 9)).await?, 1);
        sim.clock().sleep(SECOND).await;
        assert_eq!(kind(inbox.try_recv_from(&mut [0])), Some(ErrorKind::WouldBlock), "no route from ::1");
        Ok(())
    });
}

#[test]
fn machines_have_addresses_of_both_families() {
    check(Seed(6), |sim| async move {
        let (a, b) = (sim.client("a"), sim.client("b"));
        let listener = b.network().bind("[::]:7").await?;
        let over_ipv6 = a.network().connect((ipv6(&b), 7)).await?;
        let (accepted, peer) = listener.accept().await?;
        assert_eq!((peer.ip(), accepted.local_addr()?.ip()), (ipv6(&a), ipv6(&b)));
        assert_eq!(over_ipv6.local_addr()?, peer);
        let over_ipv4 = a.network().connect("b:7").await?;
        let (accepted, peer) = listener.accept().await?;
        assert_eq!(peer.to_string(), format!("[::ffff:{}]:{}", a.address(), over_ipv4.local_addr()?.port()));
        assert_eq!(accepted.local_addr()?.to_string(), format!("[::ffff:{}]:7", b.address()));
        let only_ipv4 = b.network().bind("0.0.0.0:8").await?;
        assert_eq!(kind(a.network().connect((ipv6(&b), 8)).await), Some(ErrorKind::ConnectionRefused));
        drop(only_ipv4);
        Ok(())
    });
}

#[test]
fn a_port_where_nobody_listens_refuses_datagrams_of_other_machines_too() {
    check(Seed(7), |sim| async move {
        let (a, b) = (sim.client("a"), sim.client("b"));
        let socket = a.network().bind_udp("0.0.0.0:0").await?;
        socket.connect("b:9").await?;
        assert_eq!(socket.local_addr()?.ip(), a.address());
        socket.send(b"x").await?;
        assert_eq!(kind(socket.recv(&mut [0]).await), Some(ErrorKind::ConnectionRefused));
        b.power_loss();
        socket.send(b"x").await?;
        sim.clock().sleep(SECOND).await;
        assert!(socket.take_error()?.is_none(), "no error from a machine without power");
        Ok(())
    });
}

#[test]
fn ephemeral_ports_run_out_for_one_peer_and_are_all_given_back() {
    check(Seed(8), |sim| async move {
        let (a, b, c) = (sim.client("a"), sim.client("b"), sim.client("c"));
        let listener = b.network().bind("0.0.0.0:7").await?;
        let other = c.network().bind("0.0.0.0:7").await?;
        let network = a.network();
        let mut held = Vec::new();
        let mut ports = Vec::new();
        for _ in 0..EPHEMERAL {
            let stream = network.connect("b:7").await?;
            ports.push(stream.local_addr()?.port());
            held.push((stream, listener.accept().await?));
        }
        ports.sort_unstable();
        ports.dedup();
        assert_eq!((ports.len(), ports[0], ports[EPHEMERAL - 1]), (EPHEMERAL, 32_768, 60_999));
        assert_eq!(kind(network.connect("b:7").await), Some(ErrorKind::AddrNotAvailable));
        assert_eq!(kind(network.bind("0.0.0.0:0").await), Some(ErrorKind::AddrInUse));
        let shared = network.connect("c:7").await?;
        assert!(ports.contains(&shared.local_addr()?.port()), "a port serves several peers");
        network.bind_udp("0.0.0.0:0").await?;
        held.pop();
        assert_eq!(kind(network.connect("b:7").await), Some(ErrorKind::AddrNotAvailable), "TIME_WAIT");
        sim.clock().sleep(61 * SECOND).await;
        network.connect("b:7").await?;
        drop((held, shared, listener, other));
        sim.clock().sleep(SECOND).await;
        let sizes = sim.sizes();
        assert_eq!((sizes.connections, sizes.ports), (0, 0), "{sizes:?}");
        Ok(())
    });
}

#[test]
fn connects_that_fail_or_are_given_up_leave_no_port() {
    check(Seed(9), |sim| async move {
        let (a, b) = (sim.client("a"), sim.client("b"));
        let listener = b.network().bind("0.0.0.0:7").await?;
        let (network, before) = (a.network(), sim.sizes());
        for _ in 0..100 {
            assert!(network.connect("b:8").await.is_err());
            let abandoned = network.connect("b:7");
            assert!(sim.clock().timeout(SECOND / 2000, abandoned).await.is_err());
            assert!(network.connect("192.0.2.1:7").await.is_err());
        }
        sim.clock().sleep(SECOND).await;
        let after = sim.sizes();
        assert_eq!(
            (after.connections, after.ports, after.timers),
            (before.connections, before.ports, before.timers)
        );
        assert!(sim.clock().timeout(SECOND, listener.accept()).await.is_err(), "none of them is accepted");
        Ok(())
    });
}

/// A log line with a socket in it is the same in every process: a run's number in its process is no part of it.
#[test]
fn a_sockets_debug_form_is_the_same_in_every_run() {
    let shown = || {
        let kept = std::sync::Arc::new(std::sync::Mutex::new(String::new()));
        let given = kept.clone();
        check(Seed(9), move |sim| {
            let given = given.clone();
            async move {
                let network = sim.network();
                let listener = network.bind("127.0.0.1:7").await?;
                let socket = network.bind_udp("127.0.0.1:7").await?;
                *given.lock().expect("not poisoned") = format!("{listener:?} {socket:?} {network:?}");
                Ok(())
            }
        });
        std::mem::take(&mut *kept.lock().expect("not poisoned"))
    };
    assert_eq!(shown(), shown());
}

/// Without SO_BROADCAST a send to all is refused; with it nobody is told whether somebody received it.
#[test]
fn broadcast_takes_a_permission() {
    check(Seed(10), |sim| async move {
        let socket = sim.client("host").network().bind_udp("0.0.0.0:0").await?;
        for target in ["255.255.255.255:9", "10.255.255.255:9"] {
            let refused = socket.send_to(b"all", target).await.expect_err("no permission");
            assert_eq!(refused.raw_os_error(), Some(13), "EACCES");
        }
        socket.set_broadcast(true)?;
        assert_eq!(socket.send_to(b"all", "255.255.255.255:9").await?, 3);
        assert_eq!(socket.send_to(b"group", "224.0.0.251:5353").await?, 5);
        Ok(())
    });
}
