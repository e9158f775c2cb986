//! Hosts that sleep: clocks, timers, and connections that outlive it.

use std::io::ErrorKind;
use std::time::Duration;

use steelmill_sim::fault::{Budget, Fault, Faults, Kind, Plan, When};
use steelmill_sim::{Campaign, Seed, Settings, Sim, check, simulate};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::{MILLI, SECOND, two};

#[test]
fn timers_go_on_where_they_stood_and_the_wall_clock_has_gone_on() {
    check(Seed(1), |sim| async move {
        let laptop = sim.client("laptop");
        let (clock, begun, wall) = (laptop.clock(), laptop.clock().now(), laptop.clock().wall());
        let waits = laptop.spawn("waits", async move {
            clock.sleep(10 * SECOND).await;
            clock.now().duration_since(begun)
        });
        for _ in 0..3 {
            sim.clock().sleep(2 * SECOND).await;
            laptop.suspend();
            laptop.suspend(); // does nothing
            let late = laptop.clock(); // a timer that is set meanwhile waits as well
            let also = laptop.spawn("also waits", async move { late.sleep(SECOND).await });
            sim.clock().sleep(100 * SECOND).await;
            assert!(laptop.is_suspended() && !also.is_finished());
            assert_eq!(laptop.clock().wall().duration_since(wall)?, sim.elapsed());
            laptop.wake();
            also.await?;
        }
        assert_eq!(waits.await?, 10 * SECOND);
        assert_eq!(sim.elapsed(), 310 * SECOND);
        assert_eq!(laptop.clock().wall().duration_since(wall)?, sim.elapsed());
        Ok(())
    });
}

#[test]
fn what_arrives_meanwhile_is_lost_and_streams_go_on_afterwards() {
    check(Seed(1), |sim| async move {
        let (a, b, listener) = two(sim).await?;
        let mut near = a.network().connect("b:7").await?;
        let (mut far, _) = listener.accept().await?;
        let inbox = b.network().bind_udp("0.0.0.0:9").await?;
        let socket = a.network().bind_udp("0.0.0.0:0").await?;
        near.write_all(b"before ").await?;
        far.write_all(b"sent in time").await?;
        b.suspend();
        socket.send_to(b"x", "b:9").await?;
        near.write_all(b"and meanwhile").await?;
        let connects = {
            let a = a.network();
            sim.spawn("connects", async move { a.connect("b:7").await })
        };
        let mut word = [0; 20];
        near.read_exact(&mut word[..12]).await?;
        assert_eq!(&word[..12], b"sent in time");
        sim.clock().sleep(60 * SECOND).await;
        assert!(!connects.is_finished());
        b.wake();
        far.read_exact(&mut word).await?;
        assert_eq!(&word, b"before and meanwhile");
        assert!(sim.elapsed() < 200 * SECOND);
        connects.await??;
        assert_eq!(inbox.try_recv(&mut word).map_err(|error| error.kind()), Err(ErrorKind::WouldBlock));
        Ok(())
    });
}

#[test]
fn a_peer_gives_up_after_a_quarter_of_an_hour_and_the_sleeper_does_not() {
    check(Seed(1), |sim| async move {
        let (a, b, listener) = two(sim).await?;
        // The one that sleeps has sent something that was not acknowledged.
        let mut near = a.network().connect("b:7").await?;
        let (mut far, _) = listener.accept().await?;
        let cut = sim.partition(&a, &b);
        near.write_all(b"kept").await?;
        let (network, clock) = (a.network(), a.clock());
        let connects = a.spawn("connects", async move {
            let begun = clock.now();
            network.connect("b:7").await.map(|_| clock.now().duration_since(begun))
        });
        sim.clock().sleep(SECOND).await;
        a.suspend();
        sim.clock().sleep(3_000 * SECOND).await;
        cut.heal();
        sim.clock().sleep(3_000 * SECOND).await;
        a.wake();
        let mut word = [0; 4];
        far.read_exact(&mut word).await?;
        assert_eq!(&word, b"kept");
        assert!(connects.await?? < 131 * SECOND);

        b.suspend();
        near.write_all(b"x").await?;
        let error = near.read(&mut word).await.expect_err("no acknowledgement");
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        Ok(())
    });
}

#[test]
fn a_handshake_goes_on_whichever_end_slept_through_a_part_of_it() {
    for (suspended_at, is_client) in
        [(500, true), (1_500, true), (500, false), (1_500, false), (2_500, false)]
    {
        check(Seed(1), move |sim| async move {
            let (a, b, listener) = two(sim).await?;
            let network = a.network();
            let connects = a.spawn("connects", async move { network.connect("b:7").await });
            sim.clock().sleep(Duration::from_micros(suspended_at)).await;
            let sleeper = if is_client { a } else { b };
            sleeper.suspend();
            sim.clock().sleep(30 * SECOND).await;
            sleeper.wake();
            let mut stream = connects.await??;
            let (mut accepted, _) = listener.accept().await?;
            stream.write_all(b"x").await?;
            assert_eq!(accepted.read(&mut [0; 9]).await?, 1);
            assert!(sim.elapsed() < 100 * SECOND, "{:?}", sim.elapsed());
            Ok(())
        });
    }
}

#[test]
fn a_refusal_that_arrives_meanwhile_is_asked_for_again() {
    check(Seed(1), |sim| async move {
        let (a, _b, _listener) = two(sim).await?;
        let network = a.network();
        let connects = a.spawn("connects", async move { network.connect("b:9").await });
        sim.clock().sleep(MILLI * 3 / 2).await;
        a.suspend();
        sim.clock().sleep(30 * SECOND).await;
        a.wake();
        assert_eq!(
            connects.await?.map(drop).map_err(|error| error.kind()),
            Err(ErrorKind::ConnectionRefused)
        );
        Ok(())
    });
}

#[test]
fn what_is_on_its_way_within_a_machine_arrives_when_it_wakes() {
    check(Seed(1), |sim| async move {
        let (_a, b, listener) = two(sim).await?;
        let inbox = b.network().bind_udp("127.0.0.1:9").await?;
        let mut near = b.network().connect("127.0.0.1:7").await?;
        let (mut far, _) = listener.accept().await?;
        near.write_all(b"x").await?;
        inbox.send_to(b"y", "127.0.0.1:9").await?;
        b.suspend();
        sim.clock().sleep(2_000 * SECOND).await;
        b.wake();
        let woken = sim.elapsed();
        assert_eq!(far.read(&mut [0; 9]).await?, 1);
        assert_eq!(inbox.recv(&mut [0; 9]).await?, 1);
        assert!(sim.elapsed() - woken <= MILLI);
        Ok(())
    });
}

#[test]
fn a_pause_outlasts_a_suspension_and_the_end_of_the_process_ends_both() {
    check(Seed(1), |sim| async move {
        let a = sim.client("a");
        let ticks = |n: u32| {
            let clock = a.clock();
            a.spawn("waits", async move { clock.sleep(n * SECOND).await })
        };
        a.pause();
        a.suspend();
        let waits = ticks(1);
        assert!(a.is_paused() && a.is_suspended());
        a.wake();
        assert!(a.is_paused() && !a.is_suspended());
        sim.clock().sleep(5 * SECOND).await;
        assert!(!waits.is_finished());
        a.suspend();
        a.resume(); // takes effect when it wakes
        assert!(!a.is_paused());
        sim.clock().sleep(5 * SECOND).await;
        assert!(!waits.is_finished());
        a.wake();
        waits.await?;

        a.suspend();
        a.exit();
        assert!(!a.is_suspended() && !a.is_paused());
        let now = a.clock().now();
        sim.clock().sleep(SECOND).await;
        assert_eq!(a.clock().now().duration_since(now), SECOND);
        a.power_loss();
        a.suspend();
        assert!(!a.is_suspended(), "it has no power to sleep by");
        a.restart().await
    });
}

/// A stream that is written to without an answer for a minute, in which each end sleeps now and then.
#[test]
fn no_byte_is_lost_however_often_an_end_sleeps() {
    Campaign::new(|sim| async move {
        let (a, b, listener) = two(sim).await?;
        let mut near = a.network().connect("b:7").await?;
        let (mut far, _) = listener.accept().await?;
        let clock = a.clock();
        a.spawn("writes", async move {
            for number in 0..600_u32 {
                near.write_all(&number.to_le_bytes()).await?;
                clock.sleep(SECOND / 10).await;
            }
            near.shutdown().await
        });
        let reads = b.spawn("reads", async move {
            let mut all = Vec::new();
            far.read_to_end(&mut all).await.map(|_| all)
        });
        let machines = vec![a, b];
        let budget = Budget { suspensions: machines.clone(), links: machines, ..Budget::default() };
        let struck = sim.inject_faults(budget).run().await?.struck;
        anyhow::ensure!(struck > 0, "nothing struck");
        let expected: Vec<u8> = (0..600_u32).flat_map(u32::to_le_bytes).collect();
        match reads.await? {
            Ok(all) => anyhow::ensure!(all == expected, "{} bytes", all.len()),
            Err(error) => anyhow::ensure!(error.kind() == ErrorKind::ConnectionReset, "{error}"),
        }
        Ok(())
    })
    .seeds(100)
    .check();
}

#[test]
fn a_plan_suspends_a_machine_and_wakes_it() {
    let what = Kind::Suspension { machine: "a".into() };
    let faults = vec![Fault { when: When::At(SECOND), lasts: 3 * SECOND, what }];
    let plan = Plan { faults, ..Plan::default() };
    for (is_allowed, struck) in [(true, Some(1)), (false, None)] {
        let settings = Settings { faults: Faults::Plan(plan.clone()), trace: true, ..Settings::new(Seed(1)) };
        let outcome = simulate(settings, &move |sim: Sim| async move {
            let a = sim.machine("a", |_| Ok(())).start().await?;
            let begun = a.clock().now();
            let machines = vec![a.clone()];
            let suspensions = if is_allowed { machines } else { Vec::new() };
            let budget = Budget { lasts: 10 * SECOND, suspensions, ..Budget::default() };
            sim.count("struck", sim.inject_faults(budget).run().await?.struck);
            assert_eq!(a.clock().now().duration_since(begun), 7 * SECOND);
            Ok(())
        });
        assert_eq!(outcome.counts.get("struck").copied(), struck);
        if is_allowed {
            let trace = outcome.trace.expect("tracing is on");
            let at = |what: &str| trace.lines().find(|line| line.what == what).map(|line| line.at);
            assert_eq!(at("machine a is suspended"), Some(SECOND));
            assert_eq!(at("machine a wakes"), Some(4 * SECOND));
        } else {
            let failure = outcome.failure.expect("the budget does not allow it").to_string();
            assert!(failure.contains("a may not be suspended; the budget allows: no machine"), "{failure}");
        }
    }
}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[test]
#[expect(clippy::disallowed_methods, reason = "a program as people write it")]
fn a_program_sees_it_by_its_wall_clock_alone() {
    use std::time::{Instant, SystemTime};
    check(Seed(1), |sim| async move {
        let laptop = sim.program("laptop", || {
            let (now, wall) = (Instant::now(), SystemTime::now());
            std::thread::sleep(10 * SECOND);
            assert_eq!(now.elapsed(), 10 * SECOND);
            assert_eq!(wall.elapsed().expect("it goes forward"), 3_610 * SECOND);
        });
        let laptop = laptop.start().await?;
        sim.clock().sleep(5 * SECOND).await;
        laptop.suspend();
        sim.clock().sleep(3_600 * SECOND).await;
        laptop.wake();
        let life = laptop.ended().await;
        anyhow::ensure!(life.is_success(), "{life}");
        Ok(())
    });
}
