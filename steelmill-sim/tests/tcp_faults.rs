//! TCP under partitions, exits and power losses: timeouts, retransmission and resets as in tcp(7), RFC 9293 and Linux's
//! documentation of its settings.

use std::io::{Error, ErrorKind, Result as IoResult};
use std::time::Duration;

use steelmill_core::{Clock as _, Result};
use steelmill_sim::{InFlightAtCut, Machine, Seed, Sim, SynSchedule, TcpListener, TcpStream, check};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

const MICRO: Duration = Duration::from_micros(1);
const MILLI: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

/// The time until unacknowledged data times out: `tcp_retries2` of 15 (tcp(7)).
const PATIENCE: u64 = 924;

/// Two machines, a listener on the second and a connection between them. The latency is one millisecond.
struct Pair {
    sim: Sim,
    a: Machine,
    b: Machine,
    listener: TcpListener,
    near: TcpStream,
    far: TcpStream,
}

async fn pair(sim: Sim) -> Result<Pair> {
    sim.set_latency(MILLI..=MILLI);
    let (a, b) = (sim.client("a"), sim.client("b"));
    let listener = b.network().bind("0.0.0.0:7").await?;
    let near = a.network().connect("b:7").await?;
    let (far, _) = listener.accept().await?;
    Ok(Pair { sim, a, b, listener, near, far })
}

async fn sleep(sim: Sim, seconds: u64) {
    sim.clock().sleep(Duration::from_secs(seconds)).await;
}

/// Writes until the buffers are full, with nothing in flight; returns the number of bytes.
async fn fill(sim: Sim, stream: &TcpStream) -> IoResult<usize> {
    let mut written = 0;
    loop {
        match stream.try_write(&[7; 10_000]) {
            Ok(length) => written += length,
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                let before = written;
                sleep(sim, 1).await;
                while let Ok(length) = stream.try_write(&[7; 10_000]) {
                    written += length;
                }
                if written == before {
                    return Ok(written);
                }
            }
            Err(error) => return Err(error),
        }
    }
}

/// Reads until the buffer is empty; returns the number of bytes.
fn drain(stream: &TcpStream) -> usize {
    let mut read = 0;
    while let Ok(length) = stream.try_read(&mut [0; 100_000]) {
        read += length;
        if length == 0 {
            break;
        }
    }
    read
}

fn kind<T>(result: IoResult<T>) -> Option<ErrorKind> {
    result.err().as_ref().map(Error::kind)
}

/// Whether a stream neither becomes readable nor fails, for hours.
async fn stays_silent(sim: Sim, stream: &TcpStream) -> bool {
    sim.clock().timeout(10_000 * SECOND, stream.readable()).await.is_err()
}

/// Waits for a read to fail; returns the seconds until then, and the error.
async fn read_error(sim: Sim, stream: &mut TcpStream) -> (u64, ErrorKind) {
    let begun = sim.elapsed();
    let error = stream.read(&mut [0]).await.expect_err("an error");
    ((sim.elapsed() - begun).as_secs(), error.kind())
}

/// Data arrives but acknowledgements are lost: retransmission continues until the timeout.
#[test]
fn a_sender_without_acknowledgements_times_out() {
    check(Seed(1), |sim| async move {
        let Pair { a, b, mut near, mut far, .. } = pair(sim).await?;
        let cut = sim.partition_one_way(&b, &a);
        near.write_all(b"x").await?;
        assert_eq!(far.read_u8().await?, b'x', "it arrives");
        assert_eq!(read_error(sim, &mut near).await, (PATIENCE, ErrorKind::TimedOut));
        assert_eq!(near.read(&mut [0]).await?, 0);
        assert_eq!(kind(near.write(b"y").await), Some(ErrorKind::BrokenPipe));
        drop(cut);
        Ok(())
    });
}

#[test]
fn acknowledgements_just_before_the_timeout_keep_the_connection() {
    check(Seed(2), |sim| async move {
        let Pair { a, b, mut near, mut far, .. } = pair(sim).await?;
        for _ in 0..3 {
            let cut = sim.partition_one_way(&b, &a);
            near.write_all(b"x").await?;
            assert_eq!(far.read_u8().await?, b'x');
            sleep(sim, 800).await;
            drop(cut);
            sleep(sim, 200).await; // the next retransmission is acknowledged
        }
        sleep(sim, 10_000).await;
        near.write_all(b"y").await?;
        assert_eq!(far.read_u8().await?, b'y');
        Ok(())
    });
}

/// Late acknowledgements count up to the timeout.
#[test]
fn acknowledgements_that_are_held_count_when_they_are_released() {
    for (held, is_in_time) in [(900, true), (1000, false)] {
        check(Seed(27), move |sim| async move {
            let Pair { a, b, mut near, mut far, .. } = pair(sim).await?;
            let hold = sim.hold_one_way(&b, &a);
            near.write_all(b"x").await?;
            assert_eq!(far.read_u8().await?, b'x');
            sleep(sim, held).await;
            drop(hold);
            sleep(sim, 10_000).await;
            far.write_all(b"y").await?;
            assert_eq!(kind(near.read_u8().await), (!is_in_time).then_some(ErrorKind::TimedOut));
            Ok(())
        });
    }
}

/// Window updates travel with acknowledgements.
#[test]
fn a_window_does_not_open_while_acknowledgements_are_lost() {
    check(Seed(3), |sim| async move {
        let Pair { a, b, near, far, .. } = pair(sim).await?;
        let written = fill(sim, &near).await?;
        let cut = sim.partition_one_way(&b, &a);
        assert_eq!(drain(&far), written, "everything arrived and is read");
        sleep(sim, 60).await;
        assert_eq!(kind(near.try_write(b"x")), Some(ErrorKind::WouldBlock));
        cut.heal();
        near.writable().await?;
        assert_eq!(fill(sim, &near).await?, written, "the whole window is open again");
        assert_eq!(drain(&far), written);
        Ok(())
    });
}

/// A host whose connection has timed out answers its segments with a reset (RFC 9293 §3.10.7.1).
#[test]
fn sending_to_a_peer_that_has_timed_out_is_reset() {
    for by_writing in [true, false] {
        check(Seed(4), move |sim| async move {
            let Pair { a, b, mut near, mut far, .. } = pair(sim).await?;
            let cut = sim.partition(&a, &b);
            near.write_all(b"lost").await?;
            assert_eq!(read_error(sim, &mut near).await.1, ErrorKind::TimedOut);
            cut.heal();
            assert!(stays_silent(sim, &far).await, "no reset is sent by itself");
            if by_writing {
                far.write_all(b"hello?").await?;
            } else {
                far.shutdown().await?;
            }
            assert_eq!(read_error(sim, &mut far).await, (0, ErrorKind::ConnectionReset));
            Ok(())
        });
    }
}

/// Keepalive is off by default (tcp(7)).
#[test]
fn an_idle_connection_survives_a_cut() {
    check(Seed(5), |sim| async move {
        let Pair { a, b, mut near, mut far, .. } = pair(sim).await?;
        near.write_all(b"x").await?;
        near.shutdown().await?;
        assert_eq!(far.read_u8().await?, b'x');
        sleep(sim, 1).await;
        let cut = sim.partition(&a, &b);
        sleep(sim, 10_000).await;
        cut.heal();
        far.write_all(b"y").await?;
        assert_eq!(near.read_u8().await?, b'y');
        Ok(())
    });
}

/// Zero-window probes without an answer have the same timeout (RFC 9293 §3.8.6.1).
#[test]
fn a_writer_with_a_full_window_times_out_behind_a_cut() {
    let ways: [fn(&Pair) -> Option<steelmill_sim::Partition>; 4] = [
        |pair| Some(pair.sim.partition(&pair.a, &pair.b)),
        |pair| Some(pair.sim.partition_one_way(&pair.a, &pair.b)),
        |pair| Some(pair.sim.partition_one_way(&pair.b, &pair.a)),
        |pair| {
            pair.b.power_loss();
            None
        },
    ];
    for cut in ways {
        check(Seed(6), move |sim| async move {
            let mut pair = pair(sim).await?;
            fill(sim, &pair.near).await?;
            sleep(sim, 2000).await;
            let _cut = cut(&pair);
            let begun = sim.elapsed();
            let error = pair.near.write(b"x").await.expect_err("timed out");
            assert_eq!((error.kind(), (sim.elapsed() - begun).as_secs()), (ErrorKind::TimedOut, PATIENCE));
            Ok(())
        });
    }
}

/// The cut precedes the full window: data that arrived is not acknowledged.
#[test]
fn a_writer_that_fills_the_window_behind_a_cut_times_out() {
    check(Seed(7), |sim| async move {
        let Pair { a, b, mut near, .. } = pair(sim).await?;
        let cut = sim.partition_one_way(&b, &a);
        fill(sim, &near).await?;
        assert_eq!(kind(near.write(b"x").await), Some(ErrorKind::TimedOut));
        drop(cut);
        Ok(())
    });
}

#[test]
fn a_writer_with_a_full_window_continues_after_a_cut() {
    for one_way in [None, Some(true), Some(false)] {
        check(Seed(8), move |sim| async move {
            let Pair { a, b, mut near, mut far, .. } = pair(sim).await?;
            let filled = fill(sim, &near).await?;
            let cut = match one_way {
                None => sim.partition(&a, &b),
                Some(true) => sim.partition_one_way(&a, &b),
                Some(false) => sim.partition_one_way(&b, &a),
            };
            let writer = a.spawn("writer", async move {
                near.write_all(&[8; 500_000]).await?;
                near.shutdown().await?;
                IoResult::Ok(near)
            });
            sleep(sim, 30).await;
            assert_eq!(drain(&far), filled, "data that arrived before the cut is readable");
            sleep(sim, 30).await;
            assert_eq!(kind(far.try_read(&mut [0])).is_some(), one_way != Some(false) || drain(&far) == 0);
            cut.heal();
            let mut rest = Vec::new();
            far.read_to_end(&mut rest).await?;
            assert_eq!((rest.len(), rest.iter().all(|byte| *byte == 8)), (500_000, true));
            writer.await??;
            assert!(sim.elapsed() < 200 * SECOND, "{:?}", sim.elapsed());
            Ok(())
        });
    }
}

/// A window update restarts the timeout.
#[test]
fn a_window_update_restarts_the_timeout() {
    check(Seed(28), |sim| async move {
        let Pair { a, b, mut near, far, .. } = pair(sim).await?;
        fill(sim, &near).await?;
        let cut = sim.partition_one_way(&a, &b);
        sleep(sim, 600).await;
        assert!(drain(&far) > 0);
        near.write_all(b"x").await?;
        assert_eq!(read_error(sim, &mut near).await, (PATIENCE, ErrorKind::TimedOut));
        drop(cut);
        Ok(())
    });
}

/// Answered zero-window probes keep the connection open without a limit.
#[test]
fn a_writer_waits_for_a_slow_reader_without_a_limit() {
    check(Seed(9), |sim| async move {
        let Pair { mut near, far, .. } = pair(sim).await?;
        let filled = fill(sim, &near).await?;
        let written = sim.clock().timeout(50_000 * SECOND, near.write(b"x")).await;
        assert!(written.is_err(), "it waits");
        assert_eq!(drain(&far), filled);
        near.write_all(b"x").await?;
        Ok(())
    });
}

/// `tcp_orphan_retries`: a closed connection times out sooner.
#[test]
fn a_closed_connection_times_out_sooner() {
    check(Seed(10), |sim| async move {
        let Pair { a, b, mut near, mut far, listener, .. } = pair(sim).await?;
        let cut = sim.partition(&a, &b);
        near.write_all(b"last words").await?;
        drop(near);
        sleep(sim, 40).await;
        cut.heal();
        let mut words = String::new();
        far.read_to_string(&mut words).await?;
        assert_eq!(words, "last words", "retransmitted at 51 s");
        drop(far);

        let mut near = a.network().connect("b:7").await?;
        let (mut far, _) = listener.accept().await?;
        let cut = sim.partition(&a, &b);
        near.write_all(b"last words").await?;
        drop(near);
        sleep(sim, 120).await;
        cut.heal();
        assert!(stays_silent(sim, &far).await, "given up within two minutes, without a reset");
        far.write_all(b"hello?").await?;
        assert_eq!(read_error(sim, &mut far).await, (0, ErrorKind::ConnectionReset));
        drop((far, listener));
        assert_eq!((sim.sizes().connections, sim.sizes().ports), (0, 0));
        Ok(())
    });
}

/// Retransmissions before the close count towards that timeout.
#[test]
fn closing_behind_a_cut_does_not_restart_the_timeout() {
    check(Seed(11), |sim| async move {
        let Pair { a, b, mut near, mut far, .. } = pair(sim).await?;
        let cut = sim.partition(&a, &b);
        near.write_all(b"last words").await?;
        sleep(sim, 500).await;
        drop(near);
        sleep(sim, 200).await; // until it tries again, and finds that it should have given up
        cut.heal();
        assert!(stays_silent(sim, &far).await);
        far.write_all(b"hello?").await?;
        assert_eq!(read_error(sim, &mut far).await, (0, ErrorKind::ConnectionReset));
        Ok(())
    });
}

#[test]
fn a_fin_is_retransmitted() {
    check(Seed(12), |sim| async move {
        let Pair { a, b, mut near, far, .. } = pair(sim).await?;
        let cut = sim.partition(&a, &b);
        drop(far);
        sleep(sim, 30).await;
        assert_eq!(kind(near.try_read(&mut [0])), Some(ErrorKind::WouldBlock));
        cut.heal();
        assert_eq!(near.read(&mut [0]).await?, 0);
        Ok(())
    });
}

#[test]
fn an_unacknowledged_fin_times_out() {
    check(Seed(13), |sim| async move {
        let Pair { a, b, mut near, mut far, .. } = pair(sim).await?;
        let cut = sim.partition_one_way(&b, &a);
        near.shutdown().await?;
        assert_eq!(far.read(&mut [0]).await?, 0, "it arrives");
        assert_eq!(read_error(sim, &mut near).await, (PATIENCE, ErrorKind::TimedOut));
        drop(cut);
        Ok(())
    });
}

/// A reset is sent once and may be lost; later segments are answered with another.
#[test]
fn a_lost_reset_is_repeated_for_later_segments() {
    check(Seed(14), |sim| async move {
        let Pair { a, b, mut near, far, listener, .. } = pair(sim).await?;
        let cut = sim.partition_one_way(&b, &a);
        far.set_zero_linger()?;
        drop(far);
        sleep(sim, 1).await;
        cut.heal();
        assert!(stays_silent(sim, &near).await, "a reset is not retransmitted");
        near.write_all(b"hello?").await?;
        assert_eq!(read_error(sim, &mut near).await, (0, ErrorKind::ConnectionReset));

        // Data sent during the cut is retransmitted after it, and answered with a reset.
        let mut near = a.network().connect("b:7").await?;
        let (far, _) = listener.accept().await?;
        let cut = sim.partition_one_way(&b, &a);
        far.set_zero_linger()?;
        drop(far);
        near.write_all(b"hello?").await?;
        sleep(sim, 60).await;
        cut.heal();
        let (after, error) = read_error(sim, &mut near).await;
        assert!(error == ErrorKind::ConnectionReset && after < 60, "{error:?} after {after} s");
        Ok(())
    });
}

/// Data for a closed end is answered with a reset, which also drops the unsent data of that end.
#[test]
fn data_for_a_closed_end_behind_a_cut_resets_it() {
    check(Seed(15), |sim| async move {
        let Pair { a, b, mut near, mut far, .. } = pair(sim).await?;
        let cut = sim.partition_one_way(&b, &a);
        far.write_all(b"words").await?;
        drop(far);
        near.write_all(b"x").await?;
        sleep(sim, 1).await;
        cut.heal();
        assert_eq!(read_error(sim, &mut near).await.1, ErrorKind::ConnectionReset);
        Ok(())
    });
}

/// The kernel outlives its processes and still sends the data they wrote.
#[test]
fn data_written_before_an_exit_behind_a_cut_is_delivered() {
    check(Seed(16), |sim| async move {
        let Pair { a, b, mut near, mut far, .. } = pair(sim).await?;
        let cut = sim.partition(&a, &b);
        far.write_all(b"last words").await?;
        b.exit();
        sleep(sim, 30).await;
        cut.heal();
        let mut words = String::new();
        near.read_to_string(&mut words).await?;
        assert_eq!(words, "last words");
        Ok(())
    });
}

/// The kernel does not outlive a power loss.
#[test]
fn a_power_loss_after_an_exit_loses_unsent_data() {
    check(Seed(17), |sim| async move {
        let Pair { a, b, mut near, mut far, .. } = pair(sim).await?;
        let cut = sim.partition(&a, &b);
        far.write_all(b"last words").await?;
        b.exit();
        b.power_loss();
        cut.heal();
        assert!(stays_silent(sim, &near).await);
        near.write_all(b"hello?").await?;
        assert_eq!(read_error(sim, &mut near).await, (PATIENCE, ErrorKind::TimedOut));
        Ok(())
    });
}

#[test]
fn an_exit_closes_connections_and_resets_those_with_unread_data() {
    check(Seed(18), |sim| async move {
        let Pair { a, b, mut near, mut far, listener, .. } = pair(sim).await?;
        let mut unread = a.network().connect("b:7").await?;
        let (unread_far, _) = listener.accept().await?;
        near.write_all(b"x").await?;
        far.read_u8().await?;
        unread.write_all(b"x").await?;
        let mut unaccepted = a.network().connect("b:7").await?;
        sleep(sim, 1).await;
        b.exit();
        assert_eq!(near.read(&mut [0]).await?, 0);
        assert_eq!(kind(unread.read(&mut [0]).await), Some(ErrorKind::ConnectionReset));
        assert_eq!(kind(unaccepted.read(&mut [0]).await), Some(ErrorKind::ConnectionReset));
        drop((far, unread_far));
        Ok(())
    });
}

#[test]
fn half_closed_streams_end_with_their_process() {
    check(Seed(19), |sim| async move {
        let Pair { a, b, mut near, mut far, listener, .. } = pair(sim).await?;
        // Half-closed by the machine that stays up;
        near.shutdown().await?;
        assert_eq!(far.read(&mut [0]).await?, 0);
        far.write_all(b"answer").await?;
        // half-closed by the process that exits, with unread data.
        let mut other = a.network().connect("b:7").await?;
        let (mut other_far, _) = listener.accept().await?;
        other_far.shutdown().await?;
        other.write_all(b"unread").await?;
        sleep(sim, 1).await;
        b.exit();
        let mut answer = String::new();
        near.read_to_string(&mut answer).await?;
        assert_eq!(answer, "answer");
        sleep(sim, 1).await;
        assert_eq!(other.read(&mut [0]).await?, 0, "end of stream precedes the reset");
        assert_eq!(kind(other.write(b"more").await), Some(ErrorKind::BrokenPipe));
        Ok(())
    });
}

/// Whether the first segment is data, a FIN or a zero-window probe.
#[test]
fn a_restarted_machine_resets_connections_of_its_former_incarnation() {
    check(Seed(20), |sim| async move {
        let Pair { a, b, near: mut full, far: full_far, listener, .. } = pair(sim).await?;
        let mut written = a.network().connect("b:7").await?;
        let written_far = listener.accept().await?;
        let mut ended = a.network().connect("b:7").await?;
        let ended_far = listener.accept().await?;
        fill(sim, &full).await?;
        b.power_loss();
        written.write_all(b"x").await?;
        ended.shutdown().await?;
        sleep(sim, 300).await;
        b.restart().await?;
        for stream in [&mut written, &mut ended, &mut full] {
            let (after, error) = read_error(sim, stream).await;
            assert!(error == ErrorKind::ConnectionReset && after <= 120, "{error:?} after {after} s");
        }
        let refused = a.network().connect("b:7").await;
        assert_eq!(kind(refused), Some(ErrorKind::ConnectionRefused));
        drop((full_far, written_far, ended_far, listener));
        Ok(())
    });
}

/// The SYN-ACK is retransmitted 1, 3, 7, 15 and 31 s after the SYN: `tcp_synack_retries` of 5 (tcp(7)).
#[test]
fn a_handshake_whose_ack_is_lost_is_finished_later() {
    check(Seed(21), |sim| async move {
        let Pair { a, b, listener, .. } = pair(sim).await?;
        let begun = sim.elapsed();
        let network = a.network();
        let connect = a.spawn("connect", async move { network.connect("b:7").await });
        sim.clock().sleep(1500 * MICRO).await; // the answer is on its way
        let cut = sim.partition_one_way(&a, &b);
        let near = connect.await??;
        assert_eq!(sim.elapsed() - begun, 2 * MILLI, "the connect has succeeded on its side");
        sleep(sim, 2).await;
        cut.heal();
        let (_, peer) = listener.accept().await?;
        assert_eq!(peer, near.local_addr()?);
        assert_eq!(sim.elapsed() - begun, 3 * SECOND + 3 * MILLI);
        Ok(())
    });
}

#[test]
fn data_finishes_a_handshake_too() {
    check(Seed(22), |sim| async move {
        let Pair { a, b, listener, .. } = pair(sim).await?;
        let network = a.network();
        let connect = a.spawn("connect", async move { network.connect("b:7").await });
        sim.clock().sleep(1500 * MICRO).await;
        let cut = sim.partition_one_way(&a, &b);
        let mut near = connect.await??;
        sim.clock().sleep(SECOND / 2).await;
        cut.heal();
        let begun = sim.elapsed();
        near.write_all(b"x").await?;
        let (mut far, _) = listener.accept().await?;
        assert_eq!((far.read_u8().await?, sim.elapsed() - begun), (b'x', MILLI));
        Ok(())
    });
}

#[test]
fn a_handshake_that_is_never_finished_is_forgotten() {
    check(Seed(23), |sim| async move {
        let Pair { a, b, listener, near: _near, far: _far, .. } = pair(sim).await?;
        let network = a.network();
        let connect = a.spawn("connect", async move { network.connect("b:7").await });
        sim.clock().sleep(1500 * MICRO).await;
        let cut = sim.partition_one_way(&a, &b);
        let mut near = connect.await??;
        sleep(sim, 100).await;
        cut.heal();
        assert!(sim.clock().timeout(1000 * SECOND, listener.accept()).await.is_err());
        near.write_all(b"hello?").await?;
        assert_eq!(read_error(sim, &mut near).await, (0, ErrorKind::ConnectionReset));
        Ok(())
    });
}

/// SYN and SYN-ACK are retransmitted independently, so one open direction suffices for each.
#[test]
fn a_lost_syn_ack_is_retransmitted_even_if_no_syn_arrives() {
    check(Seed(24), |sim| async move {
        let Pair { a, b, listener: _listener, .. } = pair(sim).await?;
        let begun = sim.elapsed();
        let network = a.network();
        let no_answer = sim.partition_one_way(&b, &a);
        let connect = a.spawn("connect", async move { network.connect("b:7").await });
        sim.clock().sleep(SECOND / 2).await;
        let _no_question = sim.partition_one_way(&a, &b);
        no_answer.heal();
        connect.await??;
        assert_eq!(sim.elapsed() - begun, SECOND + 2 * MILLI);
        Ok(())
    });
}

/// The SYN-ACK was sent before the exit; the reset follows the ACK.
#[test]
fn an_exit_during_a_handshake_resets_the_connection() {
    check(Seed(25), |sim| async move {
        let Pair { a, b, listener: _listener, .. } = pair(sim).await?;
        let begun = sim.elapsed();
        let network = a.network();
        let connect = a.spawn("connect", async move { network.connect("b:7").await });
        sim.clock().sleep(1500 * MICRO).await;
        b.exit();
        let mut near = connect.await??;
        assert_eq!(kind(near.read(&mut [0]).await), Some(ErrorKind::ConnectionReset));
        assert_eq!(sim.elapsed() - begun, 4 * MILLI);
        Ok(())
    });
}

#[test]
fn a_lost_refusal_is_repeated_for_the_next_syn() {
    check(Seed(26), |sim| async move {
        let Pair { a, b, .. } = pair(sim).await?;
        let begun = sim.elapsed();
        let cut = sim.partition_one_way(&b, &a);
        let network = a.network();
        let connect = a.spawn("connect", async move { network.connect("b:8").await.map(drop) });
        sleep(sim, 6).await;
        assert!(!connect.is_finished());
        cut.heal();
        assert_eq!(kind(connect.await?), Some(ErrorKind::ConnectionRefused));
        assert_eq!(sim.elapsed() - begun, 7 * SECOND + 2 * MILLI);
        Ok(())
    });
}

/// As when a cable is cut: TCP sends again after the heal. The other choice is a setting.
#[test]
fn a_cut_loses_what_is_in_flight() {
    for (choice, arrives_after) in [(InFlightAtCut::Lost, 3000), (InFlightAtCut::Arrives, 1)] {
        check(Seed(28), move |sim| async move {
            let Pair { a, b, mut near, mut far, .. } = pair(sim).await?;
            sim.set_in_flight_at_cut(choice);
            let socket = b.network().bind_udp("0.0.0.0:9").await?;
            let begun = sim.elapsed();
            near.write_all(b"x").await?;
            a.network().bind_udp("0.0.0.0:0").await?.send_to(b"datagram", "b:9").await?;
            sim.clock().sleep(MILLI / 2).await;
            let cut = sim.partition(&a, &b);
            let heals = sim.clock().sleep(2 * SECOND);
            let reads = async { (far.read_u8().await, sim.elapsed() - begun) };
            let ((read, took), ()) = futures::future::join(reads, async {
                heals.await;
                cut.heal();
            })
            .await;
            assert_eq!(read?, b'x');
            assert_eq!(took.as_millis() > 2000, arrives_after > 2000, "{took:?}");
            let datagram = socket.try_recv(&mut [0; 10]);
            assert_eq!(datagram.is_ok(), choice == InFlightAtCut::Arrives);
            Ok(())
        });
    }
}

#[test]
fn a_cut_loses_a_handshake_on_its_way() {
    check(Seed(29), |sim| async move {
        let Pair { a, b, listener: _listener, .. } = pair(sim).await?;
        let begun = sim.elapsed();
        let network = a.network();
        let connect = a.spawn("connect", async move { network.connect("b:7").await });
        sim.clock().sleep(MILLI / 2).await; // the SYN is on its way
        let cut = sim.partition_one_way(&a, &b);
        sim.clock().sleep(MILLI).await;
        cut.heal();
        connect.await??;
        assert_eq!(sim.elapsed() - begun, SECOND + 2 * MILLI);
        Ok(())
    });
}

/// After a retransmission timeout the congestion window is one segment, the one that is sent again (RFC 5681 §3.1).
#[test]
fn nothing_new_is_sent_after_the_first_timeout_without_acknowledgements() {
    check(Seed(30), |sim| async move {
        let Pair { a, b, mut near, mut far, .. } = pair(sim).await?;
        let cut = sim.partition_one_way(&b, &a);
        near.write_all(b"x").await?;
        sim.clock().sleep(100 * MILLI).await;
        near.write_all(b"y").await?;
        sim.clock().sleep(SECOND).await;
        near.write_all(b"z").await?;
        sleep(sim, 10).await;
        let mut arrived = [0; 10];
        assert_eq!(far.read(&mut arrived).await?, 2, "what was written before the timeout");
        assert_eq!(kind(far.try_read(&mut [0])), Some(ErrorKind::WouldBlock));
        cut.heal();
        assert_eq!(far.read_u8().await?, b'z');
        near.write_all(b"!").await?;
        assert_eq!(far.read_u8().await?, b'!');
        Ok(())
    });
}

#[test]
fn an_older_kernel_gives_up_a_connect_four_seconds_sooner() {
    for (schedule, end) in [(SynSchedule::Linear, 131), (SynSchedule::Exponential, 127)] {
        check(Seed(31), move |sim| async move {
            let Pair { a, b, .. } = pair(sim).await?;
            sim.set_syn_schedule(schedule);
            let _cut = sim.partition(&a, &b);
            let begun = sim.elapsed();
            assert_eq!(kind(a.network().connect("b:7").await), Some(ErrorKind::TimedOut));
            assert_eq!((sim.elapsed() - begun).as_secs(), end);
            Ok(())
        });
    }
}

/// With both FINs sent there is nothing left to reset (RFC 9293 §3.10.4).
#[test]
fn closing_with_unread_data_after_both_ends_resets_nothing() {
    check(Seed(32), |sim| async move {
        let Pair { mut near, mut far, .. } = pair(sim).await?;
        far.write_all(b"unread").await?;
        far.shutdown().await?;
        near.shutdown().await?;
        near.set_zero_linger()?;
        sleep(sim, 1).await;
        drop(near);
        sleep(sim, 1).await;
        assert!(far.take_error()?.is_none());
        assert_eq!(far.read(&mut [0]).await?, 0);
        Ok(())
    });
}

/// A middlebox that forgets a connection resets both ends; one that has its peer's FIN is told of a broken pipe (`tcp_reset()`).
#[test]
fn a_reset_after_the_peers_end_is_a_broken_pipe() {
    check(Seed(33), |sim| async move {
        let Pair { a, b, mut near, far, .. } = pair(sim).await?;
        near.shutdown().await?;
        sleep(sim, 1).await;
        sim.reset_connections(&a, &b);
        let errors = [near.take_error()?, far.take_error()?].map(|error| error.map(|error| error.kind()));
        assert_eq!(errors, [Some(ErrorKind::ConnectionReset), Some(ErrorKind::BrokenPipe)]);
        Ok(())
    });
}

/// The defaults of tcp(7): probes begin after two hours, and nine are sent, 75 s apart.
const KEEP_IDLE: u64 = 7200;
const KEEP_PROBES: u64 = 9 * 75;

/// As [`pair`], but the connector probes for its peer.
async fn probing_pair(sim: Sim) -> Result<Pair> {
    sim.set_latency(MILLI..=MILLI);
    let (a, b) = (sim.client("a"), sim.client("b"));
    let listener = b.network().bind("0.0.0.0:7").await?;
    let socket = a.network().tcp_socket_v4()?;
    socket.set_keepalive(true)?;
    let near = socket.connect((b.address(), 7).into()).await?;
    let (far, _) = listener.accept().await?;
    Ok(Pair { sim, a, b, listener, near, far })
}

/// When a read of the connector ends, in seconds from now, and how.
async fn end_of_read(pair: &mut Pair) -> (u64, ErrorKind) {
    let begun = pair.sim.elapsed();
    let error = pair.near.read(&mut [0; 8]).await.expect_err("the connection ends");
    ((pair.sim.elapsed() - begun + 10 * MILLI).as_secs(), error.kind())
}

#[test]
fn keepalive_finds_a_peer_that_has_vanished() {
    check(Seed(1), |sim| async move {
        let mut pair = probing_pair(sim).await?;
        pair.b.power_loss();
        assert_eq!(end_of_read(&mut pair).await, (KEEP_IDLE + KEEP_PROBES, ErrorKind::TimedOut));
        Ok(())
    });
}

/// The probes until then were answered, every two hours.
#[test]
fn keepalive_keeps_its_times_while_the_peer_is_there() {
    check(Seed(1), |sim| async move {
        let mut pair = probing_pair(sim).await?;
        sleep(sim, 3 * KEEP_IDLE + 100).await;
        let _cut = sim.partition_one_way(&pair.b, &pair.a);
        assert_eq!(end_of_read(&mut pair).await, (KEEP_IDLE - 100 + KEEP_PROBES, ErrorKind::TimedOut));
        Ok(())
    });
}

#[test]
fn a_peer_that_was_rebooted_answers_a_probe_with_a_reset() {
    check(Seed(1), |sim| async move {
        let mut pair = probing_pair(sim).await?;
        pair.b.power_loss();
        sleep(sim, KEEP_IDLE + 100).await;
        pair.b.restart().await?;
        // The probe at 7200 s found nobody, and that after 75 s; the next one comes after 75 s more.
        assert_eq!(end_of_read(&mut pair).await, (50, ErrorKind::ConnectionReset));
        Ok(())
    });
}

#[test]
fn a_probe_after_a_heal_keeps_the_connection() {
    check(Seed(1), |sim| async move {
        let Pair { a, b, mut near, mut far, .. } = probing_pair(sim).await?;
        let cut = sim.partition(&a, &b);
        sleep(sim, KEEP_IDLE + KEEP_PROBES - 100).await; // before the ninth probe
        drop(cut);
        sleep(sim, 5 * KEEP_IDLE).await;
        near.write_all(b"still here").await?;
        assert_eq!(far.read(&mut [0; 100]).await?, 10);
        Ok(())
    });
}

/// Its peer vanished, which only a probe would have told.
#[test]
fn without_keepalive_nobody_finds_out() {
    check(Seed(1), |sim| async move {
        let mut pair = pair(sim).await?;
        pair.b.power_loss();
        let found = tokio::select! {
            biased;
            end = end_of_read(&mut pair) => Some(end),
            () = sim.clock().sleep(Duration::from_secs(10 * KEEP_IDLE)) => None,
        };
        assert_eq!(found, None);
        Ok(())
    });
}
