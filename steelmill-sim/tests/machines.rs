//! The four ends of a machine: their effects on peers, and that they leak nothing.

use std::io::ErrorKind;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use steelmill_core::{Daemon, DaemonRef, Factory, Result, Scope, SetOnce};
use steelmill_sim::{Clock, Machine, Network, Seed, Sim, TcpListener, TcpStream, check};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

const SECOND: Duration = Duration::from_secs(1);

/// An echo server that counts how often it was built and stopped.
struct Echo {
    network: DaemonRef<Network>,
    listener: SetOnce<TcpListener>,
    lives: Arc<Lives>,
}

#[derive(Default)]
struct Lives {
    built: AtomicU32,
    stopped: AtomicU32,
}

impl Daemon for Echo {
    fn build(factory: &mut Factory) -> Result<Self> {
        let lives = factory.value::<Lives>()?;
        lives.built.fetch_add(1, Ordering::Relaxed);
        Ok(Self { network: factory.get()?, listener: SetOnce::new(), lives })
    }

    async fn prepare(&self, _: &Scope) -> Result {
        self.listener.set(self.network.bind("0.0.0.0:7").await?)
    }

    async fn run(self: &Arc<Self>, scope: &Scope) -> Result {
        let listener = self.listener.get()?;
        while let Some(accepted) = scope.until_stopping(listener.accept()).await {
            let (mut stream, _) = accepted?;
            let scope_of_it = scope.clone();
            scope.spawn("connection", async move {
                let mut byte = [0];
                while let Some(Ok(1)) = scope_of_it.until_stopping(stream.read(&mut byte)).await {
                    if stream.write_all(&byte).await.is_err() {
                        break;
                    }
                }
            });
        }
        Ok(())
    }

    async fn stop(&self, _: &Scope) -> Result {
        self.lives.stopped.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}

/// An echo server, a client, and a connection between them that has carried data.
async fn pair(sim: Sim) -> Result<(Machine, Machine, TcpStream)> {
    sim.root(|factory| factory.provide_value(Lives::default())).await?;
    let server = sim.machine("server", |factory| factory.with::<Echo>()).start().await?;
    let client = sim.client("client");
    let mut stream = client.network().connect("server:7").await?;
    echo(&mut stream, 1).await?;
    Ok((server, client, stream))
}

async fn echo(stream: &mut TcpStream, byte: u8) -> std::io::Result<u8> {
    stream.write_all(&[byte]).await?;
    stream.read_u8().await
}

#[test]
fn a_stopped_machine_ends_its_streams_and_refuses_new_ones() {
    check(Seed(1), |sim| async move {
        let (server, client, mut stream) = pair(sim).await?;
        let life = server.stop().await?;
        assert!(life.is_success(), "{life}");
        assert_eq!(stream.read(&mut [0]).await?, 0, "the end of the stream");
        let refused = client.network().connect("server:7").await.expect_err("no listener");
        assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
        assert!(!server.is_up());
        Ok(())
    });
}

#[test]
fn a_reply_sent_before_the_exit_still_arrives() {
    check(Seed(2), |sim| async move {
        let (server, client) = (sim.client("server"), sim.client("client"));
        let listener = server.network().bind("0.0.0.0:7").await?;
        let accepted = server.spawn("accept", async move { listener.accept().await });
        let mut stream = client.network().connect("server:7").await?;
        let (mut peer, _) = accepted.await??;
        peer.write_all(b"last words").await?;
        server.exit();
        let mut words = String::new();
        stream.read_to_string(&mut words).await?;
        assert_eq!(words, "last words");
        drop(peer); // of a process that is gone: does nothing
        Ok(())
    });
}

#[test]
fn an_exit_with_unread_data_resets_the_peer() {
    check(Seed(3), |sim| async move {
        let (server, client) = (sim.client("server"), sim.client("client"));
        let listener = server.network().bind("0.0.0.0:7").await?;
        let mut stream = client.network().connect("server:7").await?;
        stream.write_all(b"never read").await?;
        sim.clock().sleep(SECOND).await;
        server.exit();
        let reset = stream.read(&mut [0]).await.expect_err("a reset");
        assert_eq!(reset.kind(), ErrorKind::ConnectionReset);
        drop(listener);
        Ok(())
    });
}

#[test]
fn connections_to_a_machine_without_power_time_out() {
    check(Seed(4), |sim| async move {
        let (server, client, mut stream) = pair(sim).await?;
        server.power_loss();
        stream.write_all(&[9]).await?; // into the window: nobody says that nobody is there
        let mut byte = [0];
        let nothing = tokio_select_timeout(&sim, 300, stream.read(&mut byte)).await;
        assert!(nothing.is_none(), "neither data nor an end");
        let begun = sim.elapsed();
        let gone = stream.read(&mut byte).await.expect_err("it times out");
        assert_eq!(gone.kind(), ErrorKind::TimedOut);
        assert!(sim.elapsed() - begun > 500 * SECOND, "before the TCP timeout");
        let begun = sim.elapsed();
        let unreachable = client.network().connect("server:7").await.expect_err("no answer");
        assert_eq!((unreachable.kind(), (sim.elapsed() - begun).as_secs()), (ErrorKind::TimedOut, 131));
        Ok(())
    });
}

async fn tokio_select_timeout<T>(sim: &Sim, seconds: u64, future: impl Future<Output = T>) -> Option<T> {
    tokio::select! {
        biased;
        done = future => Some(done),
        () = sim.clock().sleep(Duration::from_secs(seconds)) => None,
    }
}

#[test]
fn a_restarted_machine_is_built_anew_and_knows_no_old_connection() {
    check(Seed(5), |sim| async move {
        let (server, client, mut stream) = pair(sim).await?;
        let before = server.get::<Echo>()?;
        server.power_loss();
        assert!(server.get::<Echo>().is_err());
        server.restart().await?;
        assert_eq!(before.lives.built.load(Ordering::Relaxed), 2);
        assert_eq!(before.lives.stopped.load(Ordering::Relaxed), 0, "no daemon is stopped by a power loss");
        let reset = echo(&mut stream, 2).await.expect_err("the old connection is unknown");
        assert_eq!(reset.kind(), ErrorKind::ConnectionReset);
        let mut fresh = client.network().connect("server:7").await?;
        assert_eq!(echo(&mut fresh, 3).await?, 3);
        Ok(())
    });
}

#[test]
fn destructors_of_a_dead_process_can_break_nothing() {
    struct Mischief(Machine, Arc<Mutex<Vec<String>>>);
    impl Drop for Mischief {
        fn drop(&mut self) {
            let task = self.0.spawn("ghost", async {});
            self.1.lock().expect("not poisoned").push(format!("ghost finished: {}", task.is_finished()));
        }
    }
    check(Seed(6), |sim| async move {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let machine = sim.client("machine");
        let peer = sim.client("peer");
        let inbox = peer.network().bind_udp("0.0.0.0:9").await?;
        let mischief = Mischief(machine.clone(), seen.clone());
        machine.spawn("holder", async move {
            let held = mischief;
            std::future::pending::<()>().await;
            drop(held);
        });
        sim.clock().sleep(SECOND).await;
        machine.exit();
        assert_eq!(*seen.lock().expect("not poisoned"), ["ghost finished: true"]);
        let bound = machine.network().bind("0.0.0.0:1").await.expect_err("the process is gone");
        assert!(bound.to_string().contains("Network is down"), "{bound}");
        assert!(inbox.try_recv_from(&mut [0; 8]).is_err());
        Ok(())
    });
}

#[test]
fn nothing_of_a_machine_is_left_when_it_has_ended() {
    check(Seed(7), |sim| async move {
        sim.root(|factory| factory.provide_value(Lives::default())).await?;
        let client = sim.client("client");
        let server = sim.machine("server", |factory| factory.with::<Echo>());
        let before = sim.sizes();
        for round in 0..50 {
            let server = if server.is_up() { server.clone() } else { server.clone().start().await? };
            let mut streams = Vec::new();
            for byte in 0..10 {
                let mut stream = client.network().connect("server:7").await?;
                echo(&mut stream, byte).await?;
                streams.push(stream);
            }
            match round % 3 {
                0 => server.exit(),
                1 => server.power_loss(),
                _ => drop(server.stop().await?),
            }
            drop(streams);
            sim.clock().sleep(SECOND).await;
        }
        // Retransmission to a machine without power times out eventually.
        sim.clock().sleep(1000 * SECOND).await;
        let after = sim.sizes();
        assert_eq!((after.tasks, after.connections, after.listeners), (before.tasks, 0, 0), "{after:?}");
        assert_eq!((after.timers, after.ports, after.udp_sockets), (before.timers, 0, 0), "{after:?}");
        Ok(())
    });
}

#[test]
fn a_machine_reads_its_own_clock_and_not_that_of_the_cluster() {
    struct Reads(DaemonRef<Clock>);
    impl Daemon for Reads {
        fn build(factory: &mut Factory) -> Result<Self> {
            Ok(Self(factory.get()?))
        }
    }
    check(Seed(8), |sim| async move {
        sim.root(|factory| factory.with::<Reads>()).await?;
        let machine = sim.machine("machine", |factory| factory.with::<Reads>()).start().await?;
        machine.set_drift(100_000);
        let (begun, own) = (sim.clock().now(), machine.get::<Reads>()?);
        let own_begun = own.0.now();
        own.0.sleep(11 * SECOND).await;
        assert_eq!(sim.clock().now() - begun, 10 * SECOND, "a clock ten per cent fast");
        assert_eq!(own.0.now() - own_begun, 11 * SECOND);
        Ok(())
    });
}

#[test]
fn a_change_of_pace_moves_the_sleeps_that_are_under_way() {
    check(Seed(9), |sim| async move {
        let machine = sim.client("machine");
        let clock = machine.clock();
        let sleeper = machine.spawn("sleeper", async move { clock.sleep(20 * SECOND).await });
        sim.clock().sleep(10 * SECOND).await;
        machine.set_drift(1_000_000); // twice as fast
        sleeper.await?;
        assert_eq!(sim.elapsed(), 15 * SECOND);
        Ok(())
    });
}

#[test]
fn the_wall_clock_can_be_off_while_the_monotonic_one_is_not() {
    check(Seed(10), |sim| async move {
        let machine = sim.client("machine");
        let (wall, now) = (machine.clock().wall(), machine.clock().now());
        machine.set_wall_offset(3600 * SECOND, true);
        assert_eq!(wall.duration_since(machine.clock().wall())?, 3600 * SECOND);
        assert_eq!(machine.clock().now(), now);
        Ok(())
    });
}

/// A daemon that takes ten seconds to start.
struct Slow(DaemonRef<Clock>);

impl Daemon for Slow {
    fn build(factory: &mut Factory) -> Result<Self> {
        Ok(Self(factory.get()?))
    }

    async fn prepare(&self, _: &Scope) -> Result {
        self.0.sleep(10 * SECOND).await;
        Ok(())
    }
}

#[test]
fn a_start_that_was_replaced_by_another_one_does_not_end_it() {
    check(Seed(12), |sim| async move {
        let machine = sim.machine("slow", |factory| factory.with::<Slow>());
        let starting = machine.clone();
        let first = sim.spawn("start", async move { starting.start().await.map(drop) });
        sim.clock().sleep(SECOND).await;
        machine.restart().await?;
        assert!(first.await?.is_err() && machine.is_up());
        Ok(())
    });
}

#[test]
fn a_machine_that_dies_while_it_starts_says_so() {
    check(Seed(11), |sim| async move {
        let machine = sim.machine("slow", |factory| factory.with::<Slow>());
        let starting = machine.clone();
        let start = sim.spawn("start", async move { starting.start().await.map(drop) });
        sim.clock().sleep(SECOND).await;
        machine.power_loss();
        let error = start.await?.expect_err("it lost its power");
        assert!(error.to_string().contains("slow"), "{error:?}");
        assert!(!machine.is_up());
        Ok(())
    });
}

#[test]
fn a_paused_machine_runs_no_task_but_its_kernel_answers() {
    check(Seed(20), |sim| async move {
        let (server, client, mut stream) = pair(sim).await?;
        server.pause();
        let begun = sim.elapsed();
        let mut second = client.network().connect("server:7").await?; // nobody has accepted it
        stream.write_all(&[5]).await?;
        assert!(tokio_select_timeout(&sim, 30, stream.read_u8()).await.is_none(), "no answer");
        server.resume();
        assert_eq!(stream.read_u8().await?, 5);
        assert_eq!(echo(&mut second, 6).await?, 6);
        assert!(sim.elapsed() - begun < 31 * SECOND);
        Ok(())
    });
}

#[test]
fn timers_of_a_paused_machine_fire_late_and_its_clock_does_not_stop() {
    check(Seed(21), |sim| async move {
        let machine = sim.client("machine");
        let clock = machine.clock();
        let sleeper = machine.spawn("sleeper", async move {
            let begun = clock.now();
            clock.sleep(SECOND).await;
            clock.now() - begun
        });
        sim.clock().sleep(SECOND / 2).await;
        machine.pause();
        sim.clock().sleep(10 * SECOND).await;
        machine.resume();
        assert_eq!(sleeper.await?, 10 * SECOND + SECOND / 2);
        Ok(())
    });
}

#[test]
fn a_paused_process_that_ends_leaves_nothing_and_starts_afresh() {
    check(Seed(22), |sim| async move {
        let (server, client, stream) = pair(sim).await?;
        let before = sim.sizes();
        for _ in 0..5 {
            server.pause();
            let mut pending = client.network().connect("server:7").await?;
            pending.write_all(&[1]).await?;
            sim.clock().sleep(SECOND).await;
            server.exit();
            server.restart().await?;
            drop(pending);
            let mut stream = client.network().connect("server:7").await?;
            assert_eq!(echo(&mut stream, 3).await?, 3);
        }
        drop(stream);
        sim.clock().sleep(SECOND).await;
        let after = sim.sizes();
        assert!(after.tasks <= before.tasks && after.timers <= before.timers, "{before:?} {after:?}");
        Ok(())
    });
}

#[test]
fn tasks_of_a_slow_machine_run_late_and_those_of_others_do_not() {
    check(Seed(23), |sim| async move {
        sim.set_latency(Duration::from_millis(1)..=Duration::from_millis(1));
        let (server, _client, mut stream) = pair(sim).await?;
        let round_trip = Duration::from_millis(2);
        let begun = sim.elapsed();
        echo(&mut stream, 1).await?;
        assert_eq!(sim.elapsed() - begun, round_trip);
        server.set_slowness(Duration::from_millis(100));
        let begun = sim.elapsed();
        for _ in 0..20 {
            echo(&mut stream, 1).await?;
        }
        let slow = (sim.elapsed() - begun) / 20;
        assert!(slow > 10 * round_trip && slow < 100 * round_trip, "{slow:?}");
        server.set_slowness(Duration::ZERO);
        sim.clock().sleep(SECOND).await;
        let begun = sim.elapsed();
        echo(&mut stream, 1).await?;
        assert_eq!(sim.elapsed() - begun, round_trip);
        Ok(())
    });
}

#[test]
fn a_wall_clock_jumps_and_the_monotonic_one_does_not() {
    check(Seed(24), |sim| async move {
        let machine = sim.client("machine");
        let clock = machine.clock();
        let (wall, now) = (clock.wall(), clock.now());
        machine.jump_wall(60 * SECOND, false);
        machine.jump_wall(20 * SECOND, true);
        assert_eq!(clock.wall().duration_since(wall)?, 40 * SECOND);
        machine.set_wall_offset(5 * SECOND, true);
        assert_eq!(wall.duration_since(clock.wall())?, 5 * SECOND);
        assert_eq!(clock.now(), now);
        Ok(())
    });
}
