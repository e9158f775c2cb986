//! The loss of exactly one TCP segment, and what Linux does about it.

use std::io::ErrorKind;

use steelmill_core::{Clock as _, Result};
use steelmill_sim::fault::Segment;
use steelmill_sim::{Machine, Seed, Sim, TcpStream, check};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::{MILLI, SECOND, two};

async fn pair(sim: Sim) -> Result<(Machine, Machine, TcpStream, TcpStream)> {
    let (a, b, listener) = two(sim).await?;
    let near = a.network().connect("b:7").await?;
    Ok((a, b, near, listener.accept().await?.0))
}

#[test]
fn a_lost_syn_or_syn_ack_costs_a_second_of_the_connect_that_it_is_of() {
    for (segment, is_from_client) in [(Segment::Syn, true), (Segment::SynAck, false)] {
        check(Seed(1), move |sim| async move {
            let (a, b, _listener) = two(sim).await?;
            let (from, to) = if is_from_client { (&a, &b) } else { (&b, &a) };
            let _loss = sim.lose_segment(from, to, segment, 2);
            for expected in [2 * MILLI, SECOND + 2 * MILLI, 2 * MILLI] {
                let begun = sim.elapsed();
                let _stream = a.network().connect("b:7").await?;
                assert_eq!(sim.elapsed() - begun, expected, "{segment}");
            }
            Ok(())
        });
    }
}

#[test]
fn a_lost_ack_leaves_a_handshake_half_done_until_more_is_sent() {
    for (sends, expected) in [(false, SECOND + 3 * MILLI), (true, 500 * MILLI)] {
        check(Seed(1), move |sim| async move {
            let (a, b, listener) = two(sim).await?;
            let _loss = sim.lose_segment(&a, &b, Segment::Ack, 1);
            let begun = sim.elapsed();
            let mut near = a.network().connect("b:7").await?;
            assert_eq!(sim.elapsed() - begun, 2 * MILLI, "the client is connected");
            if sends {
                sim.clock().sleep(497 * MILLI).await;
                near.write_all(b"x").await?;
            }
            listener.accept().await?;
            assert_eq!(sim.elapsed() - begun, expected);
            Ok(())
        });
    }
}

#[test]
fn a_lost_fin_is_sent_again_by_timeout() {
    check(Seed(1), |sim| async move {
        let (a, b, mut near, mut far) = pair(sim).await?;
        let _loss = sim.lose_segment(&a, &b, Segment::Fin, 1);
        let begun = sim.elapsed();
        near.write_all(b"all").await?;
        near.shutdown().await?;
        assert_eq!(far.read(&mut [0; 9]).await?, 3);
        assert_eq!(sim.elapsed() - begun, MILLI);
        assert_eq!(far.read(&mut [0; 9]).await?, 0);
        assert_eq!(sim.elapsed() - begun, 201 * MILLI);
        Ok(())
    });
}

#[test]
fn what_is_behind_a_lost_segment_waits_for_it() {
    // With three behind it a round trip; else the timeout.
    for (segments, delay) in [(10, 2 * MILLI), (4, 200 * MILLI)] {
        check(Seed(1), move |sim| async move {
            let (a, b, mut near, mut far) = pair(sim).await?;
            let loss = sim.lose_segment(&a, &b, Segment::Data, 3);
            let begun = sim.elapsed();
            near.write_all(&vec![1; segments * 1_448]).await?;
            let mut buffer = vec![0; 100_000];
            assert_eq!(far.read(&mut buffer).await?, 2 * 1_448);
            assert_eq!(sim.elapsed() - begun, MILLI);
            assert_eq!(far.read(&mut buffer).await?, (segments - 2) * 1_448);
            assert_eq!(sim.elapsed() - begun, MILLI + delay);
            let begun = sim.elapsed();
            near.write_all(&[1; 10 * 1_448]).await?;
            far.read_exact(&mut buffer[..10 * 1_448]).await?;
            assert!(sim.elapsed() - begun < 10 * MILLI, "it was one");
            drop(loss);
            assert_eq!(sim.sizes().link_rules, 0);
            Ok(())
        });
    }
}

#[test]
fn nobody_hears_of_a_lost_reset_until_something_is_sent() {
    check(Seed(1), |sim| async move {
        let (a, b, near, mut far) = pair(sim).await?;
        far.write_all(b"unread").await?;
        sim.clock().sleep(SECOND).await;
        let _loss = sim.lose_segment(&a, &b, Segment::Reset, 1);
        drop(near); // with bytes that were not read
        assert!(sim.clock().timeout(1_000 * SECOND, far.read(&mut [0; 9])).await.is_err(), "half open");
        far.write_all(b"x").await?;
        let error = far.read(&mut [0; 9]).await.expect_err("the second reset arrives");
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
        Ok(())
    });
}

#[test]
fn a_connect_whose_refusal_is_lost_is_refused_a_second_later() {
    check(Seed(1), |sim| async move {
        let (a, b, _listener) = two(sim).await?;
        let _loss = sim.lose_segment(&b, &a, Segment::Reset, 1);
        let begun = sim.elapsed();
        let error = a.network().connect("b:9").await.expect_err("nobody listens");
        assert_eq!((error.kind(), sim.elapsed() - begun), (ErrorKind::ConnectionRefused, SECOND + 2 * MILLI));
        Ok(())
    });
}

#[test]
fn without_the_last_ack_a_connection_is_there_until_the_fin_was_sent_again() {
    check(Seed(1), |sim| async move {
        let (a, b, mut near, mut far) = pair(sim).await?;
        let _loss = sim.lose_segment(&a, &b, Segment::LastAck, 1);
        near.shutdown().await?;
        assert_eq!(far.read(&mut [0; 9]).await?, 0);
        far.shutdown().await?;
        assert_eq!(near.read(&mut [0; 9]).await?, 0);
        sim.clock().sleep(150 * MILLI).await;
        assert!(far.peer_addr().is_ok(), "LAST_ACK");
        sim.clock().sleep(100 * MILLI).await;
        assert_eq!(far.peer_addr().map_err(|error| error.kind()), Err(ErrorKind::NotConnected));
        Ok(())
    });
}

#[test]
fn a_segment_that_was_not_sent_in_time_is_not_lost() {
    check(Seed(1), |sim| async move {
        let (a, b, mut near, mut far) = pair(sim).await?;
        drop(sim.lose_segment(&a, &b, Segment::Fin, 1));
        let _other = sim.lose_segment(&b, &a, Segment::Fin, 1);
        let begun = sim.elapsed();
        near.shutdown().await?;
        assert_eq!(far.read(&mut [0; 9]).await?, 0);
        assert_eq!(sim.elapsed() - begun, MILLI);
        Ok(())
    });
}
