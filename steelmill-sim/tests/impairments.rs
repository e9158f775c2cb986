//! Link impairments (hold, delay, loss, bandwidth, duplication, reordering): rates, and effects on TCP and UDP.

use std::io::ErrorKind;
use std::num::NonZeroU64;
use std::time::Duration;

use steelmill_core::Result;
use steelmill_sim::{Campaign, Impairment, Machine, Seed, Sim, TcpStream, UdpSocket, check};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

const MILLI: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

/// Two machines with a latency of one millisecond.
fn two(sim: Sim) -> (Machine, Machine) {
    sim.set_latency(MILLI..=MILLI);
    (sim.client("a"), sim.client("b"))
}

async fn stream(a: &Machine, b: &Machine) -> Result<(TcpStream, TcpStream)> {
    let listener = b.network().bind("0.0.0.0:7").await?;
    let near = a.network().connect("b:7").await?;
    Ok((near, listener.accept().await?.0))
}

async fn sockets(a: &Machine, b: &Machine) -> Result<(UdpSocket, UdpSocket)> {
    let inbox = b.network().bind_udp("0.0.0.0:9").await?;
    let socket = a.network().bind_udp("0.0.0.0:0").await?;
    socket.connect("b:9").await?;
    Ok((socket, inbox))
}

/// Sends numbers a millisecond apart; returns those that arrive, in order of arrival.
async fn sent_over(sim: Sim, impairment: Impairment, datagrams: u32) -> Result<Vec<u32>> {
    let (a, b) = two(sim);
    let (socket, inbox) = sockets(&a, &b).await?;
    let _impaired = sim.impair_one_way(&a, &b, impairment);
    let mut arrived = Vec::new();
    let mut word = [0; 4];
    for number in 0..datagrams {
        socket.send(&number.to_le_bytes()).await?;
        sim.clock().sleep(MILLI).await;
        while let Ok(4) = inbox.try_recv(&mut word) {
            arrived.push(u32::from_le_bytes(word));
        }
    }
    sim.clock().sleep(SECOND).await;
    while let Ok(4) = inbox.try_recv(&mut word) {
        arrived.push(u32::from_le_bytes(word));
    }
    Ok(arrived)
}

#[test]
fn datagrams_are_lost_doubled_and_overtaken_at_the_configured_rates() {
    let close = |seen: usize, expected: usize| seen.abs_diff(expected) < expected / 10;
    check(Seed(1), move |sim| async move {
        let lossy = Impairment { loss_ppm: 200_000, ..Impairment::default() };
        let arrived = sent_over(sim, lossy, 10_000).await?;
        assert!(close(10_000 - arrived.len(), 2_000), "{} arrived", arrived.len());
        assert!(arrived.is_sorted());
        Ok(())
    });
    check(Seed(2), move |sim| async move {
        let doubling = Impairment { duplication_ppm: 100_000, ..Impairment::default() };
        let arrived = sent_over(sim, doubling, 10_000).await?;
        assert!(close(arrived.len() - 10_000, 1_000), "{} arrived", arrived.len());
        Ok(())
    });
    check(Seed(3), move |sim| async move {
        let shuffling = Impairment { reordering_ppm: 100_000, ..Impairment::default() };
        let arrived = sent_over(sim, shuffling, 10_000).await?;
        assert_eq!(arrived.len(), 10_000, "no datagram is lost");
        let (mut newest, mut overtaken) = (0, 0);
        for number in arrived {
            overtaken += usize::from(number < newest);
            newest = newest.max(number);
        }
        // A delayed datagram is held for up to 20 ms; the twentieth held for less than one is not overtaken.
        assert!(close(overtaken, 950), "{overtaken} were overtaken");
        Ok(())
    });
}

#[test]
fn loss_delays_a_stream_and_loses_no_byte() {
    let summary = Campaign::new(|sim| async move {
        let (a, b) = two(sim);
        let (mut near, mut far) = stream(&a, &b).await?;
        let _lossy = sim.impair(&a, &b, Impairment { loss_ppm: 300_000, ..Impairment::default() });
        let mut late = 0;
        for byte in 0..100 {
            let begun = sim.elapsed();
            near.write_u8(byte).await?;
            assert_eq!(far.read_u8().await?, byte);
            let took = sim.elapsed() - begun;
            assert!(took == MILLI || took >= 201 * MILLI, "{took:?}");
            late += u64::from(took > MILLI);
        }
        sim.count("late", late);
        Ok(())
    })
    .seeds(20)
    .run();
    let late = summary.counts["late"].total;
    assert!(summary.passed() && (500..700).contains(&late), "{late} of 2000 were late\n{summary}");
}

#[test]
fn a_connect_over_a_lossy_link_is_late_by_whole_seconds() {
    Campaign::new(|sim| async move {
        let (a, b) = two(sim);
        let _listener = b.network().bind("0.0.0.0:7").await?;
        let _lossy = sim.impair(&a, &b, Impairment { loss_ppm: 500_000, ..Impairment::default() });
        let begun = sim.elapsed();
        match a.network().connect("b:7").await {
            // The retransmitted SYN takes two ways; a SYN-ACK that the peer retransmits by itself, one.
            Ok(_) => assert!(matches!((sim.elapsed() - begun).subsec_millis(), 1 | 2)),
            Err(error) => assert_eq!(error.kind(), ErrorKind::TimedOut),
        }
        Ok(())
    })
    .seeds(50)
    .check();
}

#[test]
fn a_stream_continues_after_total_loss() {
    check(Seed(10), |sim| async move {
        let (a, b) = two(sim);
        let (mut near, mut far) = stream(&a, &b).await?;
        let dead = sim.impair(&a, &b, Impairment { loss_ppm: 1_000_000, ..Impairment::default() });
        near.write_u8(7).await?;
        sim.clock().sleep(30 * SECOND).await;
        assert_eq!(far.try_read(&mut [0]).expect_err("nothing to read").kind(), ErrorKind::WouldBlock);
        dead.repair();
        let begun = sim.elapsed();
        assert_eq!(far.read_u8().await?, 7);
        assert!(sim.elapsed() - begun < 30 * SECOND, "later than the next retransmission");
        Ok(())
    });
}

#[test]
fn bandwidth_limits_throughput() {
    check(Seed(4), |sim| async move {
        let (a, b) = two(sim);
        let (mut near, mut far) = stream(&a, &b).await?;
        let narrow = Impairment { bandwidth: NonZeroU64::new(1_000_000), ..Impairment::default() };
        let narrow = sim.impair_one_way(&a, &b, narrow);
        let begun = sim.elapsed();
        let writer =
            a.spawn("writer", async move { near.write_all(&vec![7; 5_000_000]).await.map(|()| near) });
        let mut received = vec![0; 5_000_000];
        far.read_exact(&mut received).await?;
        let took = sim.elapsed() - begun;
        assert!(took >= 5 * SECOND && took < 6 * SECOND, "5 MB at 1 MB/s took {took:?}");
        narrow.repair();
        let near = writer.await??;
        let begun = sim.elapsed();
        drop(near);
        far.read_to_end(&mut received).await?;
        assert_eq!(sim.elapsed() - begun, MILLI);
        Ok(())
    });
}

#[test]
fn datagrams_beyond_the_queue_of_a_narrow_link_are_dropped() {
    check(Seed(5), |sim| async move {
        let (a, b) = two(sim);
        let (socket, inbox) = sockets(&a, &b).await?;
        let narrow = Impairment { bandwidth: NonZeroU64::new(100_000), ..Impairment::default() };
        let _narrow = sim.impair(&a, &b, narrow);
        for _ in 0..100 {
            socket.send(&[0; 1000]).await?; // ten milliseconds each
        }
        sim.clock().sleep(2 * SECOND).await;
        let mut arrived = 0;
        while inbox.try_recv(&mut [0; 1000]).is_ok() {
            arrived += 1;
        }
        assert_eq!(arrived, 26, "datagrams that queue for at most 250 ms");
        Ok(())
    });
}

#[test]
fn delays_and_tails_are_added_to_the_latency() {
    check(Seed(6), |sim| async move {
        let (a, b) = two(sim);
        let (mut near, mut far) = stream(&a, &b).await?;
        let slow = Impairment { delay_min: 5 * MILLI, delay_max: 9 * MILLI, ..Impairment::default() };
        let tail = Impairment { tail_ppm: 100_000, tail_max: SECOND, ..Impairment::default() };
        let (_slow, _tail) = (sim.impair(&a, &b, slow), sim.impair(&a, &b, tail));
        let mut late = 0;
        for _ in 0..1000 {
            let begun = sim.elapsed();
            near.write_u8(1).await?;
            far.read_u8().await?;
            let took = sim.elapsed() - begun;
            assert!(took >= 6 * MILLI && took <= SECOND + 10 * MILLI, "{took:?}");
            late += u32::from(took > 10 * MILLI);
        }
        assert!((70..130).contains(&late), "{late} of 1000");
        Ok(())
    });
}

#[test]
fn held_messages_arrive_in_order_when_they_are_released() {
    Campaign::new(|sim| async move {
        let (a, b) = two(sim);
        sim.set_latency(MILLI..=50 * MILLI);
        let (socket, inbox) = sockets(&a, &b).await?;
        let (mut near, mut far) = stream(&a, &b).await?;
        let hold = sim.hold(&a, &b);
        for byte in 0..20 {
            socket.send(&[byte]).await?;
            near.write_u8(byte).await?;
        }
        sim.clock().sleep(10 * SECOND).await;
        assert_eq!(inbox.try_recv(&mut [0]).expect_err("nothing to read").kind(), ErrorKind::WouldBlock);
        assert_eq!(far.try_read(&mut [0]).expect_err("nothing to read").kind(), ErrorKind::WouldBlock);
        hold.release();
        socket.send(&[20]).await?;
        sim.clock().sleep(SECOND).await;
        for expected in 0..=20 {
            let mut byte = [0];
            inbox.recv(&mut byte).await?;
            assert_eq!(byte[0], expected);
        }
        for expected in 0..20 {
            assert_eq!(far.read_u8().await?, expected);
        }
        Ok(())
    })
    .seeds(20)
    .check();
}

#[test]
fn a_connect_that_is_held_succeeds_when_it_is_released_and_times_out_when_it_is_not() {
    check(Seed(7), |sim| async move {
        let (a, b) = two(sim);
        let listener = b.network().bind("0.0.0.0:7").await?;
        let connect = |sim: Sim, network: steelmill_sim::Network| {
            sim.spawn("connect", async move { network.connect("b:7").await })
        };
        let hold = sim.hold(&a, &b);
        let pending = connect(sim, a.network());
        sim.clock().sleep(100 * SECOND).await;
        assert!(!pending.is_finished());
        let begun = sim.elapsed();
        hold.release();
        let mut near = pending.await??;
        assert_eq!(sim.elapsed() - begun, 2 * MILLI, "released without waiting for a retransmission");
        let (mut far, _) = listener.accept().await?;
        sim.clock().sleep(60 * SECOND).await; // past the time at which it would have failed
        near.write_u8(1).await?;
        assert_eq!(far.read_u8().await?, 1);

        let hold = sim.hold_one_way(&a, &b);
        let error = connect(sim, a.network()).await?.expect_err("held for too long");
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        drop(hold);
        sim.clock().sleep(SECOND).await;
        drop((near, far));
        sim.clock().sleep(SECOND).await;
        assert_eq!(sim.sizes().connections, 0);
        Ok(())
    });
}

#[test]
fn reset_connections_fail_at_both_ends_and_others_do_not_notice() {
    check(Seed(8), |sim| async move {
        let (a, b) = two(sim);
        let c = sim.client("c");
        let listener = b.network().bind("0.0.0.0:7").await?;
        let mut near = a.network().connect("b:7").await?;
        let (mut far, _) = listener.accept().await?;
        let mut other = c.network().connect("b:7").await?;
        let (mut other_far, _) = listener.accept().await?;
        near.write_all(b"on its way").await?;
        sim.reset_connections(&b, &a);
        assert_eq!(near.read_u8().await.expect_err("reset").kind(), ErrorKind::ConnectionReset);
        assert_eq!(far.read_u8().await.expect_err("reset").kind(), ErrorKind::ConnectionReset);
        other.write_u8(1).await?;
        assert_eq!(other_far.read_u8().await?, 1);
        Ok(())
    });
}

#[test]
fn rules_leave_nothing_behind() {
    check(Seed(9), |sim| async move {
        let (a, b) = two(sim);
        let lossy = Impairment { loss_ppm: 1_000_000, ..Impairment::default() };
        let rules = (sim.impair(&a, &b, lossy), sim.hold(&a, &b), sim.partition(&a, &b), sim.isolate(&a));
        assert_eq!(sim.sizes().link_rules, 3);
        drop(rules);
        assert_eq!(sim.sizes().link_rules, 0);
        Ok(())
    });
}

#[test]
fn a_byte_of_a_datagram_is_changed_at_the_rate_and_never_the_length() {
    check(Seed(1), |sim| async move {
        let (a, b) = two(sim);
        let (socket, inbox) = sockets(&a, &b).await?;
        let _impaired =
            sim.impair_one_way(&a, &b, Impairment { corruption_ppm: 200_000, ..Impairment::default() });
        let sent = [7; 100];
        let (mut changed, mut places) = (0, std::collections::BTreeSet::new());
        for _ in 0..2_000 {
            socket.send(&sent).await?;
            let mut received = [0; 200];
            assert_eq!(inbox.recv(&mut received).await?, 100);
            let differing: Vec<usize> = (0..100).filter(|at| received[*at] != sent[*at]).collect();
            assert!(differing.len() <= 1, "{differing:?}");
            changed += differing.len();
            places.extend(differing);
        }
        assert!((350..450).contains(&changed), "{changed}");
        assert!(places.len() > 90, "anywhere in it: {places:?}");
        Ok(())
    });
}

#[test]
fn a_stream_keeps_every_byte_unless_it_is_told_to_change_them() {
    for (stream_corruption_ppm, is_changed) in [(0, false), (100_000, true)] {
        check(Seed(1), move |sim| async move {
            let (a, b) = two(sim);
            let (mut near, mut far) = stream(&a, &b).await?;
            let impairment =
                Impairment { corruption_ppm: 1_000_000, stream_corruption_ppm, ..Impairment::default() };
            let _impaired = sim.impair(&a, &b, impairment);
            let sent: Vec<u8> = (0..=255).cycle().take(100_000).collect();
            let expected = sent.clone();
            sim.spawn("writes", async move {
                for part in sent.chunks(100) {
                    near.write_all(part).await?;
                    sim.clock().sleep(MILLI).await;
                }
                near.shutdown().await
            });
            let mut received = Vec::new();
            far.read_to_end(&mut received).await?;
            assert_eq!(received.len(), expected.len());
            let changed = received.iter().zip(&expected).filter(|(a, b)| a != b).count();
            assert_eq!(changed > 0, is_changed);
            assert!(changed < 200, "about one in ten of a thousand flights: {changed}");
            Ok(())
        });
    }
}

#[test]
fn what_a_cut_lost_of_a_corrupt_stream_is_sent_again_as_it_was() {
    check(Seed(1), |sim| async move {
        let (a, b) = two(sim);
        let (mut near, mut far) = stream(&a, &b).await?;
        let corrupt = Impairment { stream_corruption_ppm: 1_000_000, ..Impairment::default() };
        let impaired = sim.impair(&a, &b, corrupt);
        near.write_all(b"hello").await?;
        let cut = sim.partition(&a, &b);
        drop(impaired);
        sim.clock().sleep(SECOND).await;
        cut.heal();
        let mut word = [0; 5];
        far.read_exact(&mut word).await?;
        assert_eq!(&word, b"hello");
        Ok(())
    });
}
