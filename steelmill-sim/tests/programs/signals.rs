//! Signals of programs, and the stop of a machine that runs one.
#![expect(unsafe_code, reason = "handlers of signals")]
#![expect(
    clippy::disallowed_methods,
    reason = "these are programs as people write them, with what clippy bans in code for the simulation"
)]

use std::io::{ErrorKind, Read as _};
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use signal_hook::consts::{SIGABRT, SIGHUP, SIGTERM, SIGUSR1};
use steelmill_core::Result;
use steelmill_sim::{LifeEnd, Machine, Seed, Signal, Sim, check};
use tokio::io::AsyncReadExt as _;
use tokio::signal::unix::{SignalKind, signal};

const SECOND: Duration = Duration::from_secs(1);

/// Starts a machine and lets a second pass.
async fn started(sim: Sim, machine: Machine) -> Result<Machine> {
    let machine = machine.start().await?;
    sim.clock().sleep(SECOND).await;
    Ok(machine)
}

fn is_code(end: &LifeEnd, code: i32) -> bool {
    matches!(end, LifeEnd::ExitCode(other) if *other == code)
}

fn is_signal(end: &LifeEnd, signal: i32) -> bool {
    matches!(end, LifeEnd::Signaled(other) if *other == signal)
}

#[test]
fn a_stop_is_heard_by_tokios_signals_on_the_machine_that_is_stopped_alone() {
    async fn serve() -> i32 {
        let mut terminate = signal(SignalKind::terminate()).expect("SIGTERM may be handled");
        let mut ticks = tokio::time::interval(SECOND);
        let mut seconds = 0;
        loop {
            tokio::select! {
                _ = terminate.recv() => break,
                _ = ticks.tick() => seconds += 1,
            }
        }
        tokio::time::sleep(SECOND).await; // it drains
        seconds
    }

    check(Seed(1), |sim| async move {
        let [a, b] = ["a", "b"].map(|name| sim.tokio_program(name, serve));
        let (a, b) = (a.start().await?, b.start().await?);
        sim.clock().sleep(Duration::from_millis(4500)).await;
        let began = sim.clock().now();
        let end = a.stop().await?.end;
        anyhow::ensure!(is_code(&end, 5), "{end:?}");
        anyhow::ensure!(sim.clock().now().duration_since(began) >= SECOND);
        sim.clock().sleep(5 * SECOND).await;
        anyhow::ensure!(b.is_up(), "nobody has stopped it");
        let end = b.stop().await?.end;
        anyhow::ensure!(is_code(&end, 11), "{end:?}");
        Ok(())
    });
}

#[test]
fn a_stop_drops_a_future_that_handles_no_signal() {
    struct Says(Arc<AtomicU32>);

    impl Drop for Says {
        fn drop(&mut self) {
            tokio::runtime::Handle::current(); // it is dropped inside of its runtime
            self.0.fetch_add(1, Relaxed);
        }
    }

    check(Seed(1), |sim| async move {
        let dropped = Arc::new(AtomicU32::new(0));
        let says = dropped.clone();
        let machine = sim.tokio_program("service", move || {
            let says = Says(says.clone());
            async move {
                let _says = says;
                std::future::pending::<()>().await;
            }
        });
        let life = started(sim, machine).await?.stop().await?;
        anyhow::ensure!(is_signal(&life.end, SIGTERM) && life.is_success(), "{life}");
        anyhow::ensure!(dropped.load(Relaxed) == 1);
        Ok(())
    });
}

#[test]
fn a_program_without_a_handler_ends_at_once_by_the_signal() {
    check(Seed(1), |sim| async move {
        let machine = sim.program("waits", || thread::sleep(1000 * SECOND));
        let life = started(sim, machine).await?.stop().await?;
        anyhow::ensure!(is_signal(&life.end, SIGTERM) && life.is_success(), "{life}");
        let machine = sim.program("hangs up", || thread::sleep(1000 * SECOND));
        let machine = started(sim, machine).await?;
        machine.signal(Signal::User1);
        let life = machine.ended().await;
        anyhow::ensure!(is_signal(&life.end, SIGUSR1) && !life.is_success(), "{life}");
        Ok(())
    });
}

#[test]
fn a_handler_of_signal_hook_interrupts_a_sleep_which_goes_on() {
    check(Seed(1), |sim| async move {
        let machine = sim.program("service", || -> i32 {
            let (hung_up, terminated) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicBool::new(false)));
            let counted = hung_up.clone();
            // SAFETY: an atomic is all that the handler touches.
            unsafe {
                signal_hook::low_level::register(SIGHUP, move || {
                    counted.fetch_add(1, Relaxed);
                })
            }
            .expect("SIGHUP may be handled");
            signal_hook::flag::register(SIGTERM, terminated.clone()).expect("SIGTERM may be handled");
            let began = Instant::now();
            thread::sleep(10 * SECOND);
            assert_eq!(began.elapsed().as_secs(), 10, "std sleeps on for what is left");
            while !terminated.load(Relaxed) {
                thread::sleep(SECOND);
            }
            hung_up.load(Relaxed) as i32
        });
        let machine = started(sim, machine).await?;
        for _ in 0..3 {
            machine.signal(Signal::Hangup);
            sim.clock().sleep(SECOND).await;
        }
        sim.clock().sleep(10 * SECOND).await;
        let end = machine.stop().await?.end;
        anyhow::ensure!(is_code(&end, 3), "{end:?}");
        Ok(())
    });
}

#[test]
fn a_handler_set_without_sa_restart_interrupts_a_read() {
    extern "C" fn ignore(_: i32) {}

    fn main() -> std::io::Result<()> {
        let mut action: libc::sigaction;
        // SAFETY: zeros are a sigaction, and the handler does nothing.
        unsafe {
            action = std::mem::zeroed();
            action.sa_sigaction = (ignore as extern "C" fn(i32)) as usize;
            assert_eq!(libc::sigaction(SIGUSR1, &raw const action, std::ptr::null_mut()), 0);
        }
        let (mut stream, _) = TcpListener::bind("0.0.0.0:80")?.accept()?;
        let interrupted = stream.read(&mut [0]).expect_err("nobody writes");
        assert_eq!(interrupted.kind(), ErrorKind::Interrupted);
        action.sa_flags = libc::SA_RESTART;
        // SAFETY: as above.
        unsafe { libc::sigaction(SIGUSR1, &raw const action, std::ptr::null_mut()) };
        assert_eq!(stream.read(&mut [0])?, 0, "the end of the stream");
        Ok(())
    }

    check(Seed(1), |sim| async move {
        let server = started(sim, sim.program("server", main)).await?;
        let client = sim.client("client");
        let mut stream = client.network().connect("server:80").await?;
        for _ in 0..2 {
            sim.clock().sleep(SECOND).await;
            server.signal(Signal::User1);
        }
        sim.clock().sleep(SECOND).await;
        anyhow::ensure!(server.is_up(), "it waits for the end of the stream");
        tokio::io::AsyncWriteExt::shutdown(&mut stream).await?;
        let _ = stream.read(&mut [0]).await;
        let life = server.ended().await;
        anyhow::ensure!(life.is_success(), "{life}");
        Ok(())
    });
}

#[test]
fn a_process_may_signal_itself_and_abort() {
    check(Seed(1), |sim| async move {
        let machine = sim.program("service", || -> i32 {
            let heard = Arc::new(AtomicBool::new(false));
            signal_hook::flag::register(SIGUSR1, heard.clone()).expect("SIGUSR1 may be handled");
            // SAFETY: raise(3) and kill(2) take any signal.
            unsafe {
                assert_eq!(libc::raise(SIGUSR1), 0);
                assert!(heard.swap(false, Relaxed), "before raise returns");
                assert_eq!(libc::kill(std::process::id() as i32, SIGUSR1), 0);
                assert!(heard.load(Relaxed));
                assert_eq!(libc::kill(std::process::id() as i32 + 1, SIGUSR1), -1, "there is no other");
            }
            5
        });
        anyhow::ensure!(is_code(&machine.start().await?.ended().await.end, 5));
        let aborts = sim.program("aborts", || -> () { std::process::abort() });
        let life = aborts.start().await?.ended().await;
        anyhow::ensure!(is_signal(&life.end, SIGABRT) && !life.is_success(), "{life}");
        Ok(())
    });
}

/// tokio keeps what signals wake its runtimes by for the whole process.
#[test]
fn a_runtime_outside_of_a_run_hears_real_signals_after_a_run() {
    check(Seed(1), |sim| async move {
        sim.clock().sleep(SECOND).await;
        Ok(())
    });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let heard = runtime.expect("what a run made is not in its way").block_on(async {
        let mut signals = signal(SignalKind::user_defined2())?;
        // SAFETY: raise(3) takes any signal.
        unsafe { libc::raise(libc::SIGUSR2) };
        Ok::<_, std::io::Error>(signals.recv().await)
    });
    assert_eq!(heard.expect("SIGUSR2 may be handled"), Some(()));
}

/// sigaction(2) with SA_SIGINFO: the own process and its user, or the init system's.
#[test]
fn a_handler_is_told_who_has_sent_its_signal() {
    static SENDER: AtomicU32 = AtomicU32::new(0);
    static USER: AtomicU32 = AtomicU32::new(7);
    extern "C" fn handle(_: i32, info: *mut libc::siginfo_t, _: *mut libc::c_void) {
        // SAFETY: it is valid as long as the handler executes, and of a signal that a process has sent.
        unsafe {
            SENDER.store((*info).si_pid() as u32, Relaxed);
            USER.store((*info).si_uid(), Relaxed);
        }
    }
    fn main() {
        // SAFETY: zeros are a sigaction, with an empty mask, and the handler only stores.
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = handle as *const () as usize;
            action.sa_flags = libc::SA_SIGINFO;
            assert_eq!(libc::sigaction(SIGUSR1, &raw const action, std::ptr::null_mut()), 0);
            assert_eq!(libc::raise(SIGUSR1), 0);
            assert_eq!((SENDER.load(Relaxed), USER.load(Relaxed)), (std::process::id(), libc::getuid()));
        }
        thread::sleep(2 * SECOND);
        assert_eq!((SENDER.load(Relaxed), USER.load(Relaxed)), (1, 0));
    }
    check(Seed(1), |sim| async move {
        let machine = started(sim, sim.program("program", main)).await?;
        machine.signal(Signal::User1);
        anyhow::ensure!(machine.ended().await.is_success());
        Ok(())
    });
}
