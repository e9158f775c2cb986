//! Datagrams to many: multicast groups and broadcast, with typed sockets and in a program as it is.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use steelmill_core::Result;
use steelmill_sim::{Impairment, Machine, Seed, Sim, UdpSocket, check};

const GROUP: Ipv4Addr = Ipv4Addr::new(239, 1, 2, 3);
const ANY: Ipv4Addr = Ipv4Addr::UNSPECIFIED;
const TO_GROUP: &str = "239.1.2.3:9";

async fn member(machine: &Machine) -> Result<UdpSocket> {
    let socket = machine.network().bind_udp("0.0.0.0:9").await?;
    socket.join_multicast_v4(GROUP, ANY)?;
    Ok(socket)
}

/// What is in a socket's receive buffer after a while, with the senders.
async fn received(sim: Sim, socket: &UdpSocket) -> Vec<(String, SocketAddr)> {
    sim.clock().sleep(Duration::from_millis(100)).await;
    let (mut all, mut buffer) = (Vec::new(), [0; 100]);
    while let Ok((n, from)) = socket.try_recv_from(&mut buffer) {
        all.push((String::from_utf8_lossy(&buffer[..n]).into_owned(), from));
    }
    all
}

async fn texts(sim: Sim, socket: &UdpSocket) -> Vec<String> {
    received(sim, socket).await.into_iter().map(|(text, _)| text).collect()
}

#[test]
fn members_alone_receive_what_is_sent_to_their_group() {
    check(Seed(1), |sim| async move {
        let [a, b, c] = ["a", "b", "c"].map(|name| sim.client(name));
        let (one, other) = (member(&a).await?, member(&b).await?);
        let none = c.network().bind_udp("0.0.0.0:9").await?;
        none.send_to(b"from none", TO_GROUP).await?;
        one.send_to(b"from one", TO_GROUP).await?;
        let (at_one, at_other) = (received(sim, &one).await, texts(sim, &other).await);
        assert_eq!(at_one.len(), 2, "its own, too: {at_one:?}");
        assert!(at_one.iter().any(|(_, from)| *from == SocketAddr::new(c.address(), 9)), "{at_one:?}");
        assert_eq!(at_other.len(), 2, "{at_other:?}");
        assert_eq!(texts(sim, &none).await, [""; 0]);

        one.set_multicast_loop_v4(false)?;
        other.leave_multicast_v4(GROUP, ANY)?;
        one.send_to(b"to nobody", TO_GROUP).await?;
        assert_eq!((texts(sim, &one).await.len(), texts(sim, &other).await.len()), (0, 0));
        Ok(())
    });
}

#[test]
fn joining_and_leaving_have_linuxs_errors() {
    check(Seed(2), |sim| async move {
        let a = sim.client("a");
        let socket = member(&a).await?;
        let code = |result: std::io::Result<()>| result.expect_err("it is refused").raw_os_error();
        assert_eq!(code(socket.join_multicast_v4(GROUP, ANY)), Some(libc::EADDRINUSE));
        assert_eq!(code(socket.join_multicast_v4(Ipv4Addr::new(10, 0, 0, 1), ANY)), Some(libc::EINVAL));
        assert_eq!(code(socket.join_multicast_v4(GROUP, Ipv4Addr::new(9, 9, 9, 9))), Some(libc::ENODEV));
        let v6 = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0xfb);
        assert_eq!(code(socket.join_multicast_v6(&v6, 0)), Some(libc::ENOPROTOOPT));
        socket.leave_multicast_v4(GROUP, ANY)?;
        assert_eq!(code(socket.leave_multicast_v4(GROUP, ANY)), Some(libc::EADDRNOTAVAIL));
        for last in 0..20 {
            socket.join_multicast_v4(Ipv4Addr::new(239, 0, 0, last), ANY)?;
        }
        assert_eq!(code(socket.join_multicast_v4(GROUP, ANY)), Some(libc::ENOBUFS));
        Ok(())
    });
}

#[test]
fn a_group_of_ipv6_and_a_socket_bound_to_a_group() {
    check(Seed(3), |sim| async move {
        let (a, b) = (sim.client("a"), sim.client("b"));
        let group = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0xfb);
        let inbox = b.network().bind_udp("[::]:9").await?;
        inbox.join_multicast_v6(&group, 0)?;
        a.network().bind_udp("[::]:0").await?.send_to(b"six", "[ff02::fb]:9").await?;
        assert_eq!(texts(sim, &inbox).await, ["six"]);

        let bound = b.network().bind_udp("239.1.2.3:10").await?;
        bound.join_multicast_v4(GROUP, ANY)?;
        let sender = a.network().bind_udp("0.0.0.0:0").await?;
        sender.send_to(b"to the machine", format!("{}:10", b.address())).await?;
        sender.send_to(b"to the group", "239.1.2.3:10").await?;
        assert_eq!(texts(sim, &bound).await, ["to the group"]);
        Ok(())
    });
}

#[test]
fn broadcast_takes_a_permission_and_reaches_every_machine() {
    check(Seed(4), |sim| async move {
        let [a, b, c] = ["a", "b", "c"].map(|name| sim.client(name));
        let (one, other) =
            (b.network().bind_udp("0.0.0.0:9").await?, c.network().bind_udp("0.0.0.0:9").await?);
        let sender = a.network().bind_udp("0.0.0.0:0").await?;
        let refused = sender.send_to(b"x", "255.255.255.255:9").await.expect_err("without permission");
        assert_eq!(refused.kind(), ErrorKind::PermissionDenied);
        sender.set_broadcast(true)?;
        sender.send_to(b"to all", "255.255.255.255:9").await?;
        assert_eq!(
            (texts(sim, &one).await, texts(sim, &other).await),
            (vec!["to all".to_owned()], vec!["to all".to_owned()])
        );
        Ok(())
    });
}

#[test]
fn each_member_has_its_own_luck_and_a_closed_socket_leaves_the_group() {
    check(Seed(5), |sim| async move {
        let [a, b, c] = ["a", "b", "c"].map(|name| sim.client(name));
        let (one, other) = (member(&b).await?, member(&c).await?);
        let _lossy = sim.impair(&a, &b, Impairment { loss_ppm: 1_000_000, ..Impairment::default() });
        let sender = a.network().bind_udp("0.0.0.0:0").await?;
        sender.send_to(b"x", TO_GROUP).await?;
        assert_eq!((texts(sim, &one).await.len(), texts(sim, &other).await.len()), (0, 1));
        drop(other);
        let again = c.network().bind_udp("0.0.0.0:9").await?;
        sender.send_to(b"x", TO_GROUP).await?;
        assert_eq!(texts(sim, &again).await.len(), 0, "the socket that had joined is closed");
        Ok(())
    });
}

#[test]
#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[expect(clippy::disallowed_methods, reason = "a program as people write it")]
fn a_program_as_it_is_finds_others_by_multicast() {
    check(Seed(6), |sim| async move {
        let listen = || {
            let socket = std::net::UdpSocket::bind("0.0.0.0:5353").expect("a free port");
            socket.join_multicast_v4(&GROUP, &ANY).expect("a group");
            let mut buffer = [0; 100];
            let (n, from) = socket.recv_from(&mut buffer).expect("a question");
            assert_eq!(&buffer[..n], b"who is there?");
            socket.send_to(b"I am", from).expect("a way back");
            socket.leave_multicast_v4(&GROUP, &ANY).expect("it had joined");
        };
        let [one, other] = ["one", "other"].map(|name| sim.program(name, listen));
        let (one, other) = (one.start().await?, other.start().await?);
        let asks = sim.program("asks", || {
            std::thread::sleep(Duration::from_secs(1));
            let socket = std::net::UdpSocket::bind("0.0.0.0:0").expect("a port");
            socket.send_to(b"who is there?", (GROUP, 5353)).expect("a network");
            let mut from = [(); 2].map(|()| socket.recv_from(&mut [0; 10]).expect("an answer").1.ip());
            from.sort();
            assert_ne!(from[0], from[1]);
        });
        for machine in [asks.start().await?, one, other] {
            let life = machine.ended().await;
            anyhow::ensure!(life.is_success(), "{life}");
        }
        Ok(())
    });
}
