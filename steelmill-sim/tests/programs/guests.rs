//! Programs that were not written for the simulation: threads, locks, blocking sockets, tokio runtimes of their own.
#![expect(
    clippy::disallowed_methods,
    reason = "these are programs as people write them, with what clippy bans in code for the simulation"
)]

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, Condvar, Mutex, RwLock, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use steelmill_core::Result;
use steelmill_sim::{Campaign, LifeEnd, Outcome, Seed, Settings, Sim, check, simulate};

const SECOND: Duration = Duration::from_secs(1);

fn run<F: Future<Output = Result> + 'static>(
    seed: u64,
    scenario: impl Fn(Sim) -> F + Send + Sync,
) -> Outcome {
    let settings = Settings::new(Seed(seed));
    thread::scope(|scope| scope.spawn(|| simulate(settings, &scenario)).join().expect("a run does not panic"))
}

/// Runs a program alone on a machine and waits for its end.
async fn alone(sim: Sim, main: impl Fn() -> std::io::Result<()> + Send + Sync + 'static) -> Result {
    let life = sim.program("program", main).start().await?.ended().await;
    anyhow::ensure!(life.is_success(), "{life}");
    Ok(())
}

#[test]
fn a_thread_sleeps_in_virtual_time() {
    check(Seed(1), |sim| async move {
        alone(sim, || {
            let begun = Instant::now();
            thread::sleep(Duration::from_secs(3600));
            assert_eq!(begun.elapsed(), Duration::from_secs(3600));
            Ok(())
        })
        .await?;
        assert_eq!(sim.elapsed(), Duration::from_secs(3600));
        Ok(())
    });
}

#[test]
fn threads_take_turns_at_a_lock_and_are_joined() {
    check(Seed(1), |sim| async move {
        alone(sim, || {
            let total = Arc::new(Mutex::new(0));
            let threads: Vec<_> = (0..8)
                .map(|n| {
                    let total = total.clone();
                    thread::spawn(move || {
                        for _ in 0..10 {
                            let mut total = total.lock().expect("not poisoned");
                            let seen = *total;
                            thread::sleep(Duration::from_millis(1)); // others wait for the lock meanwhile
                            *total = seen + 1;
                        }
                        n
                    })
                })
                .collect();
            let sum: u32 = threads.into_iter().map(|thread| thread.join().expect("it does not panic")).sum();
            assert_eq!((sum, *total.lock().expect("not poisoned")), (28, 80));
            Ok(())
        })
        .await?;
        assert_eq!(sim.elapsed(), Duration::from_millis(80));
        Ok(())
    });
}

/// pthread_t is an address, which another thread gets once a thread was joined, and not before.
#[test]
fn a_thread_that_has_ended_keeps_its_name_until_it_is_joined() {
    check(Seed(1), |sim| async move {
        alone(sim, || {
            let mut threads = Vec::new();
            for n in 0..20 {
                threads.push((n, thread::spawn(move || n)));
                thread::sleep(Duration::from_millis(1)); // it ends before the next one begins
            }
            drop(threads.drain(10..)); // these are detached after their end
            for n in 20..30 {
                threads.push((n, thread::spawn(move || n)));
            }
            for (n, thread) in threads {
                assert_eq!(thread.join().expect("it does not panic"), n);
            }
            Ok(())
        })
        .await
    });
}

#[test]
fn condition_variables_channels_and_timeouts_work() {
    check(Seed(1), |sim| async move {
        alone(sim, || {
            let (sender, receiver) = mpsc::channel();
            let pair = Arc::new((Mutex::new(false), Condvar::new()));
            let other = pair.clone();
            let thread = thread::spawn(move || {
                thread::sleep(SECOND);
                sender.send(7).expect("somebody receives");
                thread::sleep(SECOND);
                *other.0.lock().expect("not poisoned") = true;
                other.1.notify_all();
            });
            let begun = Instant::now();
            assert_eq!(receiver.recv_timeout(SECOND / 2), Err(mpsc::RecvTimeoutError::Timeout));
            assert_eq!(begun.elapsed(), SECOND / 2);
            assert_eq!(receiver.recv(), Ok(7));
            let mut is_done = pair.0.lock().expect("not poisoned");
            while !*is_done {
                is_done = pair.1.wait(is_done).expect("not poisoned");
            }
            drop(is_done);
            assert_eq!(begun.elapsed(), 2 * SECOND);
            thread.join().expect("it does not panic");
            Ok(())
        })
        .await
    });
}

#[test]
fn thread_locals_are_each_threads_own_and_are_dropped_within_the_run() {
    static DROPPED: AtomicU32 = AtomicU32::new(0);
    struct Own(u32, Instant);
    impl Drop for Own {
        fn drop(&mut self) {
            assert_eq!(self.1.elapsed(), SECOND, "virtual time");
            DROPPED.fetch_add(self.0, Relaxed);
        }
    }
    thread_local!(static OWN: std::cell::RefCell<Option<Own>> = const { std::cell::RefCell::new(None) });
    check(Seed(1), |sim| async move {
        alone(sim, || {
            let threads = [1, 10].map(|n| {
                thread::spawn(move || {
                    OWN.set(Some(Own(n, Instant::now())));
                    thread::sleep(SECOND);
                })
            });
            for thread in threads {
                thread.join().expect("it does not panic");
            }
            assert_eq!(DROPPED.load(Relaxed), 11);
            Ok(())
        })
        .await
    });
}

/// Echoes what each connection sends, a thread each.
fn echo() -> std::io::Result<()> {
    for stream in TcpListener::bind("0.0.0.0:7")?.incoming() {
        let mut stream = stream?;
        thread::spawn(move || {
            let mut buffer = [0; 1024];
            while let Ok(n @ 1..) = stream.read(&mut buffer) {
                if stream.write_all(&buffer[..n]).is_err() {
                    break;
                }
            }
        });
    }
    Ok(())
}

#[test]
fn blocking_sockets_of_std_talk_over_the_simulated_network() {
    check(Seed(1), |sim| async move {
        let _server = sim.program("server", echo).start().await?;
        sim.clock().sleep(SECOND).await;
        let begun = sim.elapsed();
        alone(sim, || {
            let mut stream = TcpStream::connect("server:7")?;
            stream.write_all(b"hello")?;
            let mut answer = [0; 5];
            stream.read_exact(&mut answer)?;
            assert_eq!(&answer, b"hello");
            assert_eq!(stream.peer_addr()?.port(), 7);
            let refused = TcpStream::connect("server:8").expect_err("nobody listens");
            assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
            stream.set_read_timeout(Some(SECOND))?;
            let timed_out = stream.read(&mut answer).expect_err("nobody answers");
            assert_eq!(timed_out.kind(), ErrorKind::WouldBlock);
            assert!(TcpStream::connect("nowhere:7").is_err(), "no such machine");
            Ok(())
        })
        .await?;
        assert!(sim.elapsed() > begun + SECOND, "messages take time");
        Ok(())
    });
}

#[test]
fn a_socket_of_ipv6_talks_to_both_families() {
    check(Seed(1), |sim| async move {
        let server = sim.program("server", || {
            let listener = TcpListener::bind("[::]:7")?;
            for _ in 0..2 {
                let (mut stream, peer) = listener.accept()?;
                assert!(peer.is_ipv6());
                stream.write_all(b"hello")?;
            }
            std::io::Result::Ok(())
        });
        let server = server.start().await?;
        sim.clock().sleep(SECOND).await;
        alone(sim, || {
            // A machine's name stands for its IPv4 address.
            for address in ["server:7", "[fd00::2]:7"] {
                let mut text = String::new();
                TcpStream::connect(address)?.read_to_string(&mut text)?;
                assert_eq!(text, "hello");
            }
            Ok(())
        })
        .await?;
        anyhow::ensure!(server.ended().await.is_success());
        Ok(())
    });
}

#[test]
fn datagrams_of_std_arrive() {
    check(Seed(1), |sim| async move {
        let _server = sim
            .program("server", || {
                let socket = UdpSocket::bind("0.0.0.0:53")?;
                let mut buffer = [0; 64];
                loop {
                    let (n, peer) = socket.recv_from(&mut buffer)?;
                    socket.send_to(&buffer[..n], peer)?;
                }
                #[expect(unreachable_code, reason = "it gives the type")]
                std::io::Result::Ok(())
            })
            .start()
            .await?;
        sim.clock().sleep(SECOND).await;
        alone(sim, || {
            let socket = UdpSocket::bind("0.0.0.0:0")?;
            socket.connect("server:53")?;
            socket.send(b"who")?;
            let mut buffer = [0; 64];
            assert_eq!(socket.recv(&mut buffer)?, 3);
            assert_eq!(&buffer[..3], b"who");
            Ok(())
        })
        .await
    });
}

#[test]
fn tokio_of_one_thread_runs_unmodified() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::{TcpListener, TcpStream};
    check(Seed(1), |sim| async move {
        let server = sim.tokio_program("server", || async {
            let listener = TcpListener::bind("0.0.0.0:7").await?;
            loop {
                let (mut stream, _) = listener.accept().await?;
                tokio::spawn(async move {
                    let (mut reader, mut writer) = stream.split();
                    tokio::io::copy(&mut reader, &mut writer).await
                });
            }
            #[expect(unreachable_code, reason = "it gives the type")]
            std::io::Result::Ok(())
        });
        let _server = server.start().await?;
        sim.clock().sleep(SECOND).await;
        let client = sim.tokio_program("client", || async {
            let begun = tokio::time::Instant::now();
            tokio::time::sleep(SECOND).await;
            // tokio's timer has a resolution of a millisecond.
            assert!((begun.elapsed() - SECOND) <= Duration::from_millis(1), "{:?}", begun.elapsed());
            let mut stream = TcpStream::connect("server:7").await?;
            for n in 0..100_u32 {
                stream.write_all(&n.to_be_bytes()).await?;
                assert_eq!(stream.read_u32().await?, n);
            }
            let blocking = tokio::task::spawn_blocking(|| {
                thread::sleep(SECOND);
                7
            });
            assert_eq!(blocking.await.expect("it does not panic"), 7);
            std::io::Result::Ok(())
        });
        let life = client.start().await?.ended().await;
        anyhow::ensure!(life.is_success(), "{life}");
        Ok(())
    });
}

#[test]
fn a_process_whose_main_fails_or_panics_ends_with_the_code_of_rusts_runtime() {
    type Main = fn() -> std::result::Result<(), &'static str>;
    check(Seed(1), |sim| async move {
        sim.allow_failure("panics", "on purpose");
        let fails: Main = || Err("no luck");
        let panics: Main = || panic!("on purpose");
        for (name, main, code) in [("fails", fails, 1), ("panics", panics, 101)] {
            let life = sim.program(name, main).start().await?.ended().await;
            assert!(matches!(life.end, LifeEnd::ExitCode(other) if other == code), "{name}: {life}");
        }
        Ok(())
    });
}

#[test]
fn a_machine_that_is_killed_executes_nothing_more_not_even_destructors() {
    static DROPPED: AtomicU32 = AtomicU32::new(0);
    struct Guard;
    impl Drop for Guard {
        fn drop(&mut self) {
            DROPPED.fetch_add(1, Relaxed);
        }
    }
    check(Seed(1), |sim| async move {
        let server = sim.program("server", || {
            let _guard = Guard;
            let thread = thread::spawn(|| {
                let _guard = Guard;
                thread::sleep(3600 * SECOND);
            });
            thread.join().expect("it never ends");
        });
        let server = server.start().await?;
        sim.clock().sleep(SECOND).await;
        server.exit();
        sim.clock().sleep(SECOND).await;
        assert!(!server.is_up());
        assert_eq!(DROPPED.load(Relaxed), 0);
        // And it can be started again.
        let server = server.start().await?;
        sim.clock().sleep(SECOND).await;
        server.power_loss();
        assert_eq!(sim.sizes().descriptors, 0);
        Ok(())
    });
    assert_eq!(DROPPED.load(Relaxed), 0);
}

#[test]
fn a_loop_that_waits_for_a_point_in_time_comes_to_it_and_lets_others_go_on() {
    check(Seed(1), |sim| async move {
        alone(sim, || {
            let count = Arc::new(AtomicU32::new(0));
            let counts = count.clone();
            let other = thread::spawn(move || {
                for _ in 0..10 {
                    thread::sleep(Duration::from_micros(100));
                    counts.fetch_add(1, Relaxed);
                }
            });
            let begun = Instant::now();
            while begun.elapsed() < Duration::from_millis(2) {
                std::hint::spin_loop();
            }
            assert_eq!(count.load(Relaxed), 10);
            other.join().expect("no panic");
            Ok(())
        })
        .await?;
        assert!(sim.elapsed() < Duration::from_millis(3));
        Ok(())
    });
}

/// The failure of a program's run, in a process of its own.
fn failure_of(program: impl Fn() + Clone + Send + Sync + 'static) -> String {
    let campaign = Campaign::new(move |sim| {
        let program = program.clone();
        async move {
            sim.program("server", program).start().await?.ended().await;
            Ok(())
        }
    });
    let summary = campaign.seeds(1).run();
    summary.failed.first().and_then(|outcome| outcome.failure.as_ref()).expect("it is a deadlock").to_string()
}

fn named(name: &str) -> thread::Builder {
    thread::Builder::new().name(name.into())
}

#[test]
fn a_deadlock_of_threads_names_each_with_what_it_waits_for_and_who_holds_it() {
    fn takes_both(first: &Mutex<()>, second: &Mutex<()>) {
        let _first = first.lock().expect("not poisoned");
        thread::sleep(SECOND);
        let _second = second.lock().expect("not poisoned");
    }

    let failure = failure_of(|| {
        let locks = Arc::new((Mutex::new(()), Mutex::new(())));
        let same = locks.clone();
        let other = named("other").spawn(move || takes_both(&same.1, &same.0)).expect("a thread");
        takes_both(&locks.0, &locks.1);
        other.join().expect("it ends");
    });
    for (thread, holder) in [("main", "other"), ("other", "main")] {
        let line = failure.lines().find(|line| line.starts_with(&format!("  server: \"{thread}\", polled")));
        let line = line.unwrap_or_else(|| panic!("{thread} is not listed: {failure}"));
        let ending = format!("waits for a lock (a Mutex), held by server: \"{holder}\"");
        assert!(line.ends_with(&ending), "{failure}");
    }
    let places = failure.matches("takes_both at steelmill-sim/tests/programs/guests.rs").count();
    assert_eq!(places, 2, "{failure}");
    assert!(!failure.contains("start_thread"), "{failure}");
}

#[test]
fn a_lock_whose_holder_has_ended_is_said_to_be_so() {
    let failure = failure_of(|| {
        let lock = Arc::new(Mutex::new(()));
        let other = lock.clone();
        let forgets = named("forgets").spawn(move || std::mem::forget(other.lock()));
        forgets.expect("a thread").join().expect("no panic");
        drop(lock.lock());
    });
    assert!(
        failure.contains("waits for a lock (a Mutex), held by server: \"forgets\", which has ended"),
        "{failure}"
    );
}

#[test]
fn readers_that_keep_a_writer_from_a_lock_are_all_named() {
    let failure = failure_of(|| {
        let lock = Arc::new(RwLock::new(()));
        for name in ["one", "another"] {
            let lock = lock.clone();
            let reads = move || {
                let _read = lock.read();
                thread::park();
            };
            named(name).spawn(reads).expect("a thread");
            thread::sleep(SECOND);
        }
        drop(lock.write());
    });
    let ending = "waits for a lock (an RwLock), held by server: \"one\" and server: \"another\"";
    assert!(failure.contains(ending), "{failure}");
    assert!(
        failure.contains("server: \"one\", polled 1 times, waits for another thread to unpark it"),
        "{failure}"
    );
}

#[test]
fn what_a_thread_waits_for_is_told_by_name() {
    let failure = failure_of(|| {
        let (sender, receiver) = mpsc::channel::<()>();
        named("receives").spawn(move || receiver.recv()).expect("a thread");
        let waits = || {
            let (lock, condition) = (Mutex::new(()), Condvar::new());
            drop(condition.wait(lock.lock().expect("not poisoned")));
        };
        named("waits").spawn(waits).expect("a thread");
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().expect("a runtime");
        runtime.block_on(std::future::pending::<()>());
        drop(sender);
    });
    for text in [
        "\"receives\", polled 1 times, waits for a message in a channel (mpsc), to receive",
        "\"waits\", polled 1 times, waits for a condition variable (a Condvar)",
        "waits for a task to poll (a worker of a tokio runtime)",
    ] {
        assert!(failure.contains(text), "{text}: {failure}");
    }
}

#[test]
fn arguments_without_a_process_of_its_own_are_an_error_that_says_so() {
    let outcome = run(1, |sim| async move {
        let machine = sim.program("server", || ()).args(["--port", "80"]);
        let error = machine.start().await.map(drop).expect_err("this process is another's").to_string();
        anyhow::ensure!(
            error.contains("\"server\" did not start") && error.contains("process of its own"),
            "{error}"
        );
        Ok(())
    });
    assert!(outcome.passed(), "{:?}", outcome.failure);
}

#[test]
fn a_panic_of_a_thread_is_the_failure_of_the_run_with_its_machine() {
    let outcome = run(1, |sim| async move {
        let _server = sim
            .program("server", || {
                thread::spawn(|| panic!("in a thread"));
                thread::sleep(10 * SECOND);
            })
            .start()
            .await?;
        sim.clock().sleep(60 * SECOND).await;
        Ok(())
    });
    let failure = outcome.failure.expect("it is not lost").to_string();
    assert!(failure.contains("in a thread") && failure.contains("server"), "{failure}");
}

#[test]
fn runs_of_one_seed_are_equal_and_of_another_differ() {
    let digest = |seed| {
        let outcome = run(seed, |sim| async move {
            let _server = sim.program("server", echo).start().await?;
            sim.clock().sleep(SECOND).await;
            let clients: Vec<_> = (0..3)
                .map(|n| {
                    sim.program(&format!("client-{n}"), || {
                        let mut stream = TcpStream::connect("server:7")?;
                        for _ in 0..20 {
                            stream.write_all(b"hello")?;
                            stream.read_exact(&mut [0; 5])?;
                        }
                        std::io::Result::Ok(())
                    })
                })
                .collect();
            for client in clients {
                client.start().await?.ended().await;
            }
            Ok(())
        });
        assert!(outcome.passed(), "{:?}", outcome.failure);
        outcome.digest
    };
    assert_eq!(digest(1), digest(1));
    assert_ne!(digest(1), digest(2));
}

#[test]
fn a_program_that_fails_is_the_failure_of_a_run_in_which_nobody_looks_or_allows_it() {
    let outcome = |is_looked_at: bool, allowed: &'static str| {
        run(1, move |sim| async move {
            sim.allow_failure("fails", allowed);
            let machine = sim.program("fails", || Err::<(), _>("no luck")).start().await?;
            sim.clock().sleep(SECOND).await;
            if is_looked_at {
                assert!(!machine.past_lives()[0].is_success());
            }
            Ok(())
        })
    };
    let failure = outcome(false, "something else").failure.expect("it is not lost").to_string();
    assert!(failure.contains("\"fails\" failed"), "{failure}");
    assert!(failure.contains("exited with code 1: main returned an error: \"no luck\""), "{failure}");
    assert!(outcome(true, "something else").passed());
    assert!(outcome(false, "exited with code 1").passed());
}

#[test]
fn to_stop_what_has_failed_is_no_look_at_how() {
    let outcome = run(1, |sim| async move {
        let machine = sim.program("fails", || Err::<(), _>("no luck")).start().await?;
        sim.clock().sleep(SECOND).await;
        machine.stop().await.expect_err("it has ended");
        Ok(())
    });
    let failure = outcome.failure.expect("it is not lost").to_string();
    assert!(failure.contains("\"fails\" failed"), "{failure}");
}

#[test]
fn a_life_says_whose_it_was_and_what_main_returned() {
    check(Seed(1), |sim| async move {
        let fails = sim.program("fails", || {
            thread::sleep(SECOND);
            Err::<(), _>("no luck")
        });
        let life = fails.start().await?.ended().await;
        assert_eq!(
            life.to_string(),
            "fails exited with code 1: main returned an error: \"no luck\" (it ran from 0.000000000 s to 1.000000000 s)"
        );
        let exits = sim.program("exits", || 3).start().await?.ended().await;
        assert_eq!((exits.error.as_deref(), &*exits.machine), (None, "exits"));
        Ok(())
    });
}

#[test]
fn who_waits_for_the_end_of_what_was_never_started_is_told_so() {
    let outcome = run(1, |sim| async move {
        let never = sim.program("never", || ());
        let stopped = never.stop().await.expect_err("nothing runs").to_string();
        assert!(stopped.contains("was never started"), "{stopped}");
        never.ended().await;
        Ok(())
    });
    let failure = outcome.failure.expect("it waits for ever").to_string();
    assert!(failure.contains("a machine that was never started"), "{failure}");
}
