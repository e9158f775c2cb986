//! Partitions and delays, and their effect on TCP and UDP.

use std::io::ErrorKind;
use std::time::Duration;

use steelmill_core::Result;
use steelmill_sim::{Campaign, Machine, Seed, Sim, TcpStream, check};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

const MILLI: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

/// Two machines and a connection between them. The latency is one millisecond.
async fn connected(sim: Sim) -> Result<(Machine, Machine, TcpStream, TcpStream)> {
    sim.set_latency(MILLI..=MILLI);
    let (a, b) = (sim.client("a"), sim.client("b"));
    let listener = b.network().bind("0.0.0.0:7").await?;
    let near = a.network().connect("b:7").await?;
    let (far, _) = listener.accept().await?;
    Ok((a, b, near, far))
}

#[test]
fn latency_is_exact_when_it_is_fixed() {
    check(Seed(1), |sim| async move {
        let (a, b, mut near, mut far) = connected(sim).await?;
        let begun = sim.elapsed();
        near.write_all(b"x").await?;
        far.read_u8().await?;
        assert_eq!(sim.elapsed() - begun, MILLI);
        sim.set_link_latency(&a, &b, 20 * MILLI..=20 * MILLI);
        let begun = sim.elapsed();
        far.write_all(b"y").await?;
        near.read_u8().await?;
        assert_eq!(sim.elapsed() - begun, 20 * MILLI);
        Ok(())
    });
}

#[test]
fn latency_that_varies_never_reorders_a_stream() {
    Campaign::new(|sim| async move {
        let (_, _, mut near, mut far) = connected(sim).await?;
        sim.set_latency(MILLI..=50 * MILLI);
        let writer = sim.spawn("writer", async move {
            for byte in 0..=255 {
                near.write_all(&[byte]).await?;
                sim.clock().sleep(MILLI).await;
            }
            Ok::<_, std::io::Error>(near)
        });
        let mut received = vec![0; 256];
        far.read_exact(&mut received).await?;
        assert_eq!(received, (0..=255).collect::<Vec<u8>>());
        writer.await??;
        Ok(())
    })
    .seeds(30)
    .check();
}

#[test]
fn a_cut_stream_stalls_and_loses_no_byte_when_it_is_healed() {
    check(Seed(2), |sim| async move {
        let (a, b, mut near, mut far) = connected(sim).await?;
        near.write_all(b"before ").await?;
        let cut = sim.partition(&a, &b);
        near.write_all(b"during ").await?;
        let mut received = [0; 7];
        sim.clock().sleep(30 * SECOND).await;
        assert_eq!(far.try_read(&mut received).expect_err("nothing to read").kind(), ErrorKind::WouldBlock);
        cut.heal();
        near.write_all(b"after").await?;
        drop(near);
        let mut rest = String::new();
        far.read_to_string(&mut rest).await?;
        assert_eq!(rest, "before during after", "what was in flight is sent again");
        Ok(())
    });
}

#[test]
fn a_cut_longer_than_tcp_is_patient_times_out() {
    check(Seed(3), |sim| async move {
        let (a, b, mut near, _far) = connected(sim).await?;
        let cut = sim.partition(&a, &b);
        near.write_all(b"lost").await?;
        let begun = sim.elapsed();
        let error = near.read(&mut [0]).await.expect_err("timed out");
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        assert_eq!((sim.elapsed() - begun).as_secs(), 924);
        cut.heal();
        Ok(())
    });
}

#[test]
fn a_one_way_cut_lets_the_other_direction_flow() {
    check(Seed(4), |sim| async move {
        let (a, b, mut near, mut far) = connected(sim).await?;
        let cut = sim.partition_one_way(&a, &b);
        far.write_all(b"y").await?;
        assert_eq!(near.read_u8().await?, b'y');
        near.write_all(b"x").await?;
        sim.clock().sleep(5 * SECOND).await;
        assert!(far.try_read(&mut [0]).is_err());
        drop(cut); // dropping heals
        assert_eq!(far.read_u8().await?, b'x');
        Ok(())
    });
}

#[test]
fn a_partitioned_connect_waits_and_is_not_refused() {
    check(Seed(5), |sim| async move {
        sim.set_latency(MILLI..=MILLI);
        let (a, b) = (sim.client("a"), sim.client("b"));
        let listener = b.network().bind("0.0.0.0:7").await?;
        let cut = sim.partition(&a, &b);
        let network = a.network();
        let connect = a.spawn("connect", async move { network.connect("b:7").await });
        sim.clock().sleep(5 * SECOND).await;
        assert!(!connect.is_finished());
        cut.heal();
        let begun = sim.elapsed();
        let stream = connect.await??;
        assert_eq!(sim.elapsed() - begun, 2 * SECOND + 2 * MILLI, "the SYN is retransmitted at 7 s");
        let (_, peer) = listener.accept().await?;
        assert_eq!(peer, stream.local_addr()?);

        let cut = sim.isolate(&b);
        let begun = sim.elapsed();
        let error = a.network().connect("b:7").await.expect_err("timed out");
        assert_eq!((error.kind(), (sim.elapsed() - begun).as_secs()), (ErrorKind::TimedOut, 131));
        drop(cut);
        Ok(())
    });
}

#[test]
fn an_abandoned_connect_never_surfaces() {
    check(Seed(6), |sim| async move {
        sim.set_latency(MILLI..=MILLI);
        let (a, b) = (sim.client("a"), sim.client("b"));
        let listener = b.network().bind("0.0.0.0:7").await?;
        for after in [Duration::from_micros(500), Duration::from_micros(1500)] {
            let network = a.network();
            let connect = a.spawn("connect", async move { network.connect("b:7").await.map(drop) });
            sim.clock().sleep(after).await;
            connect.abort();
        }
        let cut = sim.partition_one_way(&b, &a); // the answer to the SYN is lost, and nobody asks again
        let network = a.network();
        let connect = a.spawn("connect", async move { network.connect("b:7").await.map(drop) });
        sim.clock().sleep(2 * MILLI).await;
        connect.abort();
        drop(cut);
        sim.clock().sleep(200 * SECOND).await;
        let sizes = sim.sizes();
        assert_eq!((sizes.connections, sizes.ports), (0, 1), "{sizes:?}");
        let stream = a.network().connect("b:7").await?;
        assert_eq!(listener.accept().await?.1, stream.local_addr()?, "the first to be accepted");
        Ok(())
    });
}

#[test]
fn a_full_backlog_keeps_later_connects_waiting() {
    check(Seed(7), |sim| async move {
        let (a, b) = (sim.client("a"), sim.client("b"));
        let listener = b.network().bind("0.0.0.0:7").await?;
        let mut streams = Vec::new();
        // tokio requests a backlog of 1024; Linux queues one more.
        for _ in 0..1025 {
            streams.push(a.network().connect("b:7").await?);
        }
        sim.clock().sleep(SECOND).await;
        let network = a.network();
        let late = a.spawn("late", async move { network.connect("b:7").await });
        sim.clock().sleep(SECOND / 2).await;
        assert!(!late.is_finished());
        listener.accept().await?;
        late.await??;
        Ok(())
    });
}

#[test]
fn a_machine_that_does_not_exist_is_unreachable() {
    check(Seed(8), |sim| async move {
        let a = sim.client("a");
        let begun = sim.elapsed();
        let error = a.network().connect("10.9.9.9:7").await.expect_err("no such host");
        assert_eq!((error.kind(), sim.elapsed() - begun), (ErrorKind::HostUnreachable, 3 * SECOND));
        let error = a.network().connect("192.0.2.1:7").await.expect_err("no way there");
        assert_eq!(error.kind(), ErrorKind::NetworkUnreachable);
        Ok(())
    });
}

#[test]
fn datagrams_across_a_cut_are_lost_without_an_error() {
    check(Seed(9), |sim| async move {
        let (a, b) = (sim.client("a"), sim.client("b"));
        let inbox = b.network().bind_udp("0.0.0.0:9").await?;
        let socket = a.network().bind_udp("0.0.0.0:0").await?;
        let cut = sim.partition(&a, &b);
        assert_eq!(socket.send_to(b"lost", "b:9").await?, 4);
        sim.clock().sleep(SECOND).await;
        cut.heal();
        socket.send_to(b"found", "b:9").await?;
        let mut buffer = [0; 16];
        let (n, from) = inbox.recv_from(&mut buffer).await?;
        assert_eq!((&buffer[..n], from.ip()), (&b"found"[..], a.address()));
        Ok(())
    });
}

#[test]
fn datagrams_overtake_each_other_when_latency_varies() {
    let summary = Campaign::new(|sim| async move {
        let (a, b) = (sim.client("a"), sim.client("b"));
        sim.set_latency(MILLI..=20 * MILLI);
        let inbox = b.network().bind_udp("0.0.0.0:9").await?;
        let socket = a.network().bind_udp("0.0.0.0:0").await?;
        for byte in 0..10 {
            socket.send_to(&[byte], "b:9").await?;
        }
        let mut order = Vec::new();
        for _ in 0..10 {
            let mut byte = [0];
            inbox.recv_from(&mut byte).await?;
            order.push(byte[0]);
        }
        sim.count("out of order", u64::from(!order.is_sorted()));
        Ok(())
    })
    .seeds(10)
    .run();
    assert!(summary.passed() && summary.counts["out of order"].total > 5, "{summary}");
}

#[test]
fn the_way_within_a_machine_is_never_cut() {
    check(Seed(10), |sim| async move {
        let (a, _b) = (sim.client("a"), sim.client("b"));
        let cut = sim.isolate(&a);
        let listener = a.network().bind("127.0.0.1:7").await?;
        let mut near = a.network().connect("127.0.0.1:7").await?;
        let (mut far, _) = listener.accept().await?;
        near.write_all(b"x").await?;
        assert_eq!(far.read_u8().await?, b'x');
        drop(cut);
        Ok(())
    });
}
