//! Machines whose addresses change: what becomes of their sockets, as observed on Linux 6.18 (`ip addr del`, `ip addr add`).

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::Duration;

use steelmill_core::Clock as _;
use steelmill_sim::fault::{Budget, Fault, Faults, Kind, Plan, When};
use steelmill_sim::{Campaign, Seed, Settings, Sim, check, simulate};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::{SECOND, two};

fn errno<T>(result: std::io::Result<T>) -> Option<i32> {
    result.err().and_then(|error| error.raw_os_error())
}

#[test]
fn a_name_stands_for_the_new_address_and_nobody_is_at_the_old_one() {
    check(Seed(1), |sim| async move {
        let (a, b, _listener) = two(sim).await?;
        let first = b.address();
        let second = b.change_address();
        assert_eq!(b.address(), second);
        assert_ne!(first, second);
        assert_eq!(a.network().lookup("b:7").await?, [SocketAddr::new(second, 7)]);
        assert_eq!(a.network().connect("b:7").await?.peer_addr()?.ip(), second);
        let begun = sim.elapsed();
        let error = a.network().connect((first, 7)).await.expect_err("nobody is there");
        assert_eq!((error.kind(), sim.elapsed() - begun), (ErrorKind::HostUnreachable, 3 * SECOND));
        let error = b.network().bind((first, 0)).await.expect_err("not its own");
        assert_eq!(error.kind(), ErrorKind::AddrNotAvailable);
        b.network().bind((second, 0)).await?;

        let third = b.change_address();
        assert!(third != second && third != first);
        b.restore_address();
        assert_eq!(b.address(), first);
        a.network().connect((first, 7)).await?;
        assert_eq!(sim.sizes().link_rules, 0);
        // A machine that is made later gets none of these.
        assert!(![first, second, third].contains(&sim.client("c").address()));
        Ok(())
    });
}

#[test]
fn a_connection_at_the_old_address_is_dead_at_both_ends_and_nobody_is_told() {
    check(Seed(1), |sim| async move {
        let (a, _b, listener) = two(sim).await?;
        let mut near = a.network().connect("b:7").await?;
        let (mut far, _) = listener.accept().await?;
        let dropped = a.network().connect("b:7").await?;
        let (mut half_open, _) = listener.accept().await?;
        let before = near.local_addr()?;
        a.change_address();
        assert_eq!(near.local_addr()?, before, "a socket keeps its address");
        drop(dropped);
        let silence = sim.clock().timeout(500 * SECOND, half_open.read(&mut [0; 9])).await;
        assert!(silence.is_err(), "neither FIN nor RST arrives");

        near.write_all(b"x").await?;
        far.write_all(b"y").await?;
        let begun = sim.elapsed();
        for end in [&mut near, &mut far] {
            let error = end.read(&mut [0; 9]).await.expect_err("nothing gets through");
            assert_eq!(error.raw_os_error(), Some(libc::ETIMEDOUT));
        }
        assert!((900..950).contains(&(sim.elapsed() - begun).as_secs()));

        let mut anew = a.network().connect("b:7").await?;
        let (mut accepted, peer) = listener.accept().await?;
        assert_eq!(peer.ip(), a.address());
        anew.write_all(b"z").await?;
        assert_eq!(accepted.read(&mut [0; 9]).await?, 1);
        Ok(())
    });
}

#[test]
fn a_connection_goes_on_when_the_address_is_back() {
    check(Seed(1), |sim| async move {
        let (a, b, listener) = two(sim).await?;
        let mut near = a.network().connect("b:7").await?;
        let (mut far, _) = listener.accept().await?;
        far.write_all(b"in flight ").await?;
        a.change_address();
        near.write_all(b"kept").await?;
        sim.clock().sleep(60 * SECOND).await;
        a.change_address();
        sim.clock().sleep(60 * SECOND).await;
        a.restore_address();
        let mut word = [0; 10];
        near.read_exact(&mut word).await?;
        assert_eq!(&word, b"in flight ");
        far.read_exact(&mut word[..4]).await?;
        assert_eq!(&word[..4], b"kept");
        assert!(sim.elapsed() < 300 * SECOND);

        // Of the server's address it is the same.
        b.change_address();
        near.write_all(b"more").await?;
        sim.clock().sleep(60 * SECOND).await;
        b.restore_address();
        far.read_exact(&mut word[..4]).await?;
        assert_eq!(&word[..4], b"more");
        Ok(())
    });
}

#[test]
fn datagrams_come_from_the_new_address_unless_their_socket_has_the_old_one() {
    check(Seed(1), |sim| async move {
        let (a, b, _listener) = two(sim).await?;
        let inbox = b.network().bind_udp("0.0.0.0:9").await?;
        let wild = a.network().bind_udp("0.0.0.0:0").await?;
        let bound = a.network().bind_udp((a.address(), 5)).await?;
        let connected = a.network().bind_udp("0.0.0.0:0").await?;
        connected.connect("b:9").await?;
        let local = a.network().bind_udp("127.0.0.1:0").await?;
        let dual = a.network().bind_udp("[::]:0").await?;
        let before = (bound.local_addr()?, connected.local_addr()?);
        inbox.send_to(b"late", before.0).await?; // in flight when it changes
        let address = a.change_address();

        let target = SocketAddr::new(b.address(), 9);
        let mut word = [0; 9];
        for socket in [&wild, &dual] {
            socket.send_to(b"x", target).await?;
            assert_eq!(inbox.recv_from(&mut word).await?.1.ip(), address);
        }
        for _ in 0..2 {
            assert_eq!(errno(bound.send_to(b"x", target).await), Some(libc::ENETUNREACH));
            assert_eq!(errno(connected.send(b"x").await), Some(libc::ENETUNREACH));
            assert_eq!(errno(connected.connect(target).await), Some(libc::ENETUNREACH));
        }
        assert_eq!((bound.local_addr()?, connected.local_addr()?), before);
        local.send_to(b"x", local.local_addr()?).await?;
        local.recv(&mut word).await?;

        inbox.send_to(b"x", before.0).await?; // to nobody, without an error
        sim.clock().sleep(SECOND).await;
        assert_eq!(bound.try_recv(&mut word).map_err(|error| error.kind()), Err(ErrorKind::WouldBlock));
        a.restore_address();
        bound.send_to(b"back", target).await?;
        assert_eq!(inbox.recv_from(&mut word).await?, (4, before.0));
        inbox.send_to(b"x", before.0).await?;
        bound.recv(&mut word).await?;
        Ok(())
    });
}

#[test]
fn a_handshake_in_the_middle_of_which_the_address_changes_gets_nowhere() {
    for (at, moves_client) in [(500, true), (1_500, true), (500, false), (1_500, false)] {
        check(Seed(1), move |sim| async move {
            let (a, b, listener) = two(sim).await?;
            let network = a.network();
            let connects = a.spawn("connects", async move { network.connect("b:7").await });
            sim.clock().sleep(Duration::from_micros(at)).await;
            let moved = if moves_client { &a } else { &b };
            moved.change_address();
            sim.clock().sleep(20 * SECOND).await;
            let is_connected = connects.is_finished();
            moved.restore_address();
            let mut stream = connects.await??;
            let (mut accepted, _) = listener.accept().await?;
            stream.write_all(b"x").await?;
            assert_eq!(accepted.read(&mut [0; 9]).await?, 1);
            // The server's SYN-ACK was on its way from where it was.
            assert_eq!(is_connected, (at, moves_client) == (1_500, false));
            Ok(())
        });
    }
}

/// Whoever connects anew after an error or a silence gets through, as soon as the addresses stay.
#[test]
fn a_client_that_connects_anew_by_name_bears_every_change() {
    Campaign::new(|sim| async move {
        let (a, b, listener) = two(sim).await?;
        let host = b.clone();
        b.spawn("answers", async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                host.spawn("answer", async move {
                    let mut word = [0; 1];
                    while stream.read_exact(&mut word).await.is_ok() && stream.write_all(&word).await.is_ok()
                    {
                    }
                });
            }
        });
        let (network, clock) = (a.network(), a.clock());
        let asks = a.spawn("asks", async move {
            let mut answers = 0;
            while answers < 300 {
                let ask = async {
                    let mut stream = network.connect("b:7").await?;
                    loop {
                        stream.write_all(b"?").await?;
                        stream.read_exact(&mut [0; 1]).await?;
                        answers += 1;
                        clock.sleep(SECOND / 10).await;
                        if answers >= 300 {
                            return std::io::Result::Ok(());
                        }
                    }
                };
                let _ = clock.timeout(5 * SECOND, ask).await;
            }
        });
        let machines = vec![a, b];
        let budget = Budget { addresses: machines, ..Budget::default() };
        anyhow::ensure!(sim.inject_faults(budget).run().await?.struck > 0, "nothing struck");
        asks.await?;
        anyhow::ensure!(sim.sizes().link_rules == 0, "addresses are back");
        Ok(())
    })
    .seeds(50)
    .check();
}

#[test]
fn a_plan_moves_a_machine_where_the_budget_allows_it() {
    let what = Kind::AddressChange { machine: "a".into() };
    let faults = vec![Fault { when: When::At(SECOND), lasts: 3 * SECOND, what }];
    let plan = Plan { faults, ..Plan::default() };
    for is_allowed in [true, false] {
        let settings = Settings { faults: Faults::Plan(plan.clone()), trace: true, ..Settings::new(Seed(1)) };
        let outcome = simulate(settings, &move |sim: Sim| async move {
            let a = sim.machine("a", |_| Ok(())).start().await?;
            let addresses = if is_allowed { vec![a.clone()] } else { Vec::new() };
            let budget = Budget { lasts: 10 * SECOND, addresses, ..Budget::of(&[a]) };
            sim.inject_faults(budget).run().await.map(drop)
        });
        if is_allowed {
            let trace = outcome.trace.expect("tracing is on");
            let at = |what: &str| trace.lines().find(|line| line.what.starts_with(what)).map(|line| line.at);
            assert_eq!(at("machine a moves to 10."), Some(SECOND));
            assert_eq!(at("machine a is at 10."), Some(4 * SECOND));
        } else {
            let failure = outcome.failure.expect("the budget does not allow it").to_string();
            assert!(
                failure.contains("a may not change its address; the budget allows: no machine"),
                "{failure}"
            );
        }
    }
}
