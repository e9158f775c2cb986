//! What can be seen of a TCP stream's segments: congestion and receive windows that grow, losses of a part, reads that end inside a
//! message; and datagrams longer than a packet.

use std::num::{NonZeroU16, NonZeroU64};
use std::time::Duration;

use steelmill_core::Result;
use steelmill_sim::{Impairment, Machine, Outcome, Seed, Settings, Sim, TcpStream, check, simulate};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

const MILLI: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

/// A stream between two machines, with this latency each way.
async fn stream(sim: Sim, latency: Duration) -> Result<(Machine, Machine, TcpStream, TcpStream)> {
    sim.set_latency(latency..=latency);
    let (a, b) = (sim.client("a"), sim.client("b"));
    let listener = b.network().bind("0.0.0.0:7").await?;
    let near = a.network().connect("b:7").await?;
    let far = listener.accept().await?.0;
    Ok((a, b, near, far))
}

/// How long it takes to send so many bytes, and what arrived when at first.
async fn transfer(
    sim: Sim,
    from: &Machine,
    (mut near, mut far): (TcpStream, TcpStream),
    bytes: usize,
) -> Result<(Duration, Vec<(Duration, usize)>)> {
    let sent: Vec<u8> = (0..bytes).map(|index| (index / 7) as u8).collect();
    let begun = sim.elapsed();
    let expected = sent.clone();
    let writer = from.spawn("writer", async move { near.write_all(&sent).await.map(|()| near) });
    let (mut received, mut arrivals) = (Vec::<u8>::new(), Vec::new());
    let mut buffer = vec![0; 1 << 20];
    while received.len() < bytes {
        let n = far.read(&mut buffer).await?;
        received.extend(&buffer[..n]);
        arrivals.push((sim.elapsed() - begun, n));
    }
    assert!(received == expected, "the bytes are those that were sent");
    writer.await??;
    Ok((sim.elapsed() - begun, arrivals))
}

#[test]
fn a_small_message_is_one_flight() {
    let events = |bytes: usize| {
        let outcome: Outcome = simulate(Settings::new(Seed(1)), &move |sim| async move {
            let (a, _b, near, far) = stream(sim, MILLI).await?;
            let (_, arrivals) = transfer(sim, &a, (near, far), bytes).await?;
            assert_eq!(arrivals, [(MILLI, bytes)]);
            Ok(())
        });
        assert!(outcome.passed(), "{:?}", outcome.failure);
        outcome.events
    };
    assert_eq!(events(14_480), events(1), "ten segments are as many events as a byte");
}

/// RFC 6928: ten segments at first, twice as many after each round trip.
#[test]
fn a_connection_begins_slowly() {
    check(Seed(2), |sim| async move {
        let latency = 50 * MILLI;
        let (a, _b, near, far) = stream(sim, latency).await?;
        let (_, arrivals) = transfer(sim, &a, (near, far), 100_000).await?;
        let expected = [(latency, 14_480), (3 * latency, 28_960), (5 * latency, 100_000 - 43_440)];
        assert_eq!(arrivals, expected);
        Ok(())
    });
}

#[test]
fn a_narrow_link_is_busy_all_the_time() {
    check(Seed(3), |sim| async move {
        let (a, b, near, far) = stream(sim, 10 * MILLI).await?;
        let narrow = Impairment { bandwidth: NonZeroU64::new(1_000_000), ..Impairment::default() };
        let _narrow = sim.impair(&a, &b, narrow);
        let (took, _) = transfer(sim, &a, (near, far), 10_000_000).await?;
        assert!((10 * SECOND..10 * SECOND + 200 * MILLI).contains(&took), "10 MB at 1 MB/s took {took:?}");
        Ok(())
    });
}

#[test]
fn the_window_grows_on_a_long_way() {
    check(Seed(4), |sim| async move {
        let (a, _b, near, far) = stream(sim, 50 * MILLI).await?;
        let (took, _) = transfer(sim, &a, (near, far), 50_000_000).await?;
        // With 256 KiB in each round trip of 100 ms it took 19 s.
        assert!(took < 4 * SECOND, "50 MB took {took:?}");
        Ok(())
    });
}

#[test]
fn a_power_loss_leaves_what_had_arrived_of_a_message() {
    for seed in 0..5 {
        check(Seed(seed), |sim| async move {
            let (a, b, mut near, mut far) = stream(sim, 10 * MILLI).await?;
            let narrow = Impairment { bandwidth: NonZeroU64::new(1_000_000), ..Impairment::default() };
            let _narrow = sim.impair(&a, &b, narrow);
            near.write_all(&[7; 60_000]).await?;
            sim.clock().sleep(Duration::from_millis(10 + sim.draw(50))).await;
            a.power_loss();
            sim.clock().sleep(SECOND).await;
            let mut buffer = vec![0; 100_000];
            let n = far.read(&mut buffer).await?;
            assert!(n > 0 && n < 60_000, "{n} bytes had arrived");
            Ok(())
        });
    }
}

#[test]
fn a_cut_loses_a_part_and_all_arrives_after_the_heal() {
    check(Seed(5), |sim| async move {
        let (a, b, near, far) = stream(sim, 10 * MILLI).await?;
        let narrow = Impairment { bandwidth: NonZeroU64::new(1_000_000), ..Impairment::default() };
        let _narrow = sim.impair(&a, &b, narrow);
        let (cutter, sender) = (b.clone(), a.clone());
        sim.spawn("cut", async move {
            for _ in 0..3 {
                sim.clock().sleep(300 * MILLI).await;
                let cut = sim.partition(&sender, &cutter);
                sim.clock().sleep(SECOND).await;
                cut.heal();
            }
        });
        let (took, _) = transfer(sim, &a, (near, far), 2_000_000).await?;
        assert!(took > 5 * SECOND && took < 20 * SECOND, "{took:?}");
        Ok(())
    });
}

#[test]
fn loss_delays_and_tears_a_stream_but_loses_nothing() {
    for seed in 0..20 {
        check(Seed(seed), |sim| async move {
            let (a, b, near, far) = stream(sim, 5 * MILLI).await?;
            let lossy = Impairment { loss_ppm: 20_000, short_ppm: 200_000, ..Impairment::default() };
            let _lossy = sim.impair(&a, &b, lossy);
            let (_, arrivals) = transfer(sim, &a, (near, far), 300_000).await?;
            let is_whole = |(_, bytes): &(Duration, usize)| bytes.is_multiple_of(1_448);
            assert!(!arrivals.iter().all(is_whole), "torn at any byte: {arrivals:?}");
            Ok(())
        });
    }
}

#[test]
fn a_write_may_take_less_than_there_is_room_for() {
    check(Seed(6), |sim| async move {
        let (a, b, near, _far) = stream(sim, MILLI).await?;
        let short = Impairment { short_ppm: 500_000, ..Impairment::default() };
        let _short = sim.impair_one_way(&a, &b, short);
        let mut taken = Vec::new();
        for _ in 0..20 {
            near.writable().await?;
            taken.push(near.try_write(&[7; 100])?);
        }
        let short = taken.iter().filter(|taken| **taken < 100).count();
        assert!((5..16).contains(&short) && taken.iter().all(|taken| *taken > 0), "{taken:?}");
        Ok(())
    });
}

#[test]
fn a_datagram_of_many_packets_is_lost_more_often_than_one_of_one() {
    check(Seed(7), |sim| async move {
        sim.set_latency(MILLI..=MILLI);
        let (a, b) = (sim.client("a"), sim.client("b"));
        let inbox = b.network().bind_udp("0.0.0.0:9").await?;
        let socket = a.network().bind_udp("0.0.0.0:0").await?;
        socket.connect("b:9").await?;
        let mut lost = Vec::new();
        for (bytes, mtu) in [(1_000, None), (30_000, None), (30_000, NonZeroU16::new(9_000))] {
            let lossy = sim.impair(&a, &b, Impairment { loss_ppm: 10_000, mtu, ..Impairment::default() });
            let (mut arrived, message) = (0, vec![0; bytes]);
            let mut buffer = vec![0; bytes];
            for _ in 0..1_000 {
                socket.send(&message).await?;
                sim.clock().sleep(2 * MILLI).await;
                arrived += usize::from(inbox.try_recv(&mut buffer).is_ok());
            }
            lost.push(1_000 - arrived);
            lossy.repair();
        }
        // One packet, 21 of 1,500 bytes, four of 9,000: 1 %, 19 % and 4 %.
        assert!((3..20).contains(&lost[0]), "{lost:?}");
        assert!((150..240).contains(&lost[1]), "{lost:?}");
        assert!((20..65).contains(&lost[2]), "{lost:?}");
        Ok(())
    });
}
