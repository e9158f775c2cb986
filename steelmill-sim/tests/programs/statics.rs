//! Each process of a machine has statics, arguments and an environment of its own.
#![expect(unsafe_code, reason = "setting environment variables")]
#![expect(
    clippy::disallowed_methods,
    reason = "these are programs as people write them, with what clippy bans in code for the simulation"
)]

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::thread;
use std::time::Duration;

use steelmill_core::Result;
use steelmill_sim::{Campaign, LifeEnd, Machine, Seed, Sim, check};

const SECOND: Duration = Duration::from_secs(1);

/// The exit code with which a program ends.
async fn code(machine: Machine) -> Result<i32> {
    match machine.start().await?.ended().await.end {
        LifeEnd::ExitCode(code) => Ok(code),
        other => anyhow::bail!("{other:?}"),
    }
}

#[test]
fn statics_belong_to_a_process_from_its_start_to_its_end() {
    static STARTS: AtomicU32 = AtomicU32::new(5);
    static NAME: OnceLock<String> = OnceLock::new();

    fn main() -> i32 {
        let name = std::env::args().next().expect("argv[0]");
        STARTS.fetch_add(1, Relaxed);
        NAME.set(name.clone()).expect("nobody of this process has set it");
        let other = thread::spawn(|| {
            for _ in 0..10 {
                thread::sleep(SECOND);
                STARTS.fetch_add(1, Relaxed);
            }
        });
        other.join().expect("it does not panic");
        assert_eq!(NAME.get(), Some(&name));
        STARTS.load(Relaxed) as i32
    }

    let summary = Campaign::new(|sim: Sim| async move {
        let [a, b] = ["a", "b"].map(|name| sim.program(name, main));
        let (a, b) = (a.start().await?, b.start().await?);
        sim.clock().sleep(Duration::from_secs(5)).await;
        b.restart().await?;
        anyhow::ensure!(matches!(a.ended().await.end, LifeEnd::ExitCode(16)));
        anyhow::ensure!(matches!(b.ended().await.end, LifeEnd::ExitCode(16)));
        // The scenario and its tasks have those of the real process, which nobody has touched.
        anyhow::ensure!(STARTS.load(Relaxed) == 5 && NAME.get().is_none());
        Ok(())
    })
    .seeds(10)
    .run();
    assert!(summary.passed(), "{summary}");
}

#[test]
fn nothing_is_left_of_a_process_that_ended_in_its_first_turn() {
    static CALLS: AtomicU32 = AtomicU32::new(0);

    check(Seed(1), |sim| async move {
        let machine = sim.program("m", || CALLS.fetch_add(1, Relaxed) as i32);
        for _ in 0..3 {
            anyhow::ensure!(code(machine.clone()).await? == 0);
            anyhow::ensure!(CALLS.load(Relaxed) == 0, "the scenario's own");
        }
        anyhow::ensure!(code(sim.program("other", || CALLS.load(Relaxed) as i32)).await? == 0);
        Ok(())
    });
}

#[test]
fn every_process_may_exit_by_std() {
    check(Seed(1), |sim| async move {
        for (name, wanted) in [("a", 3), ("b", 4)] {
            let ends = sim.program(name, move || -> i32 {
                thread::spawn(move || std::process::exit(wanted));
                thread::sleep(SECOND);
                99
            });
            anyhow::ensure!(code(ends).await? == wanted, "the code that {name} gave");
        }
        Ok(())
    });
}

#[test]
fn every_process_may_have_a_global_subscriber() {
    check(Seed(1), |sim| async move {
        for name in ["a", "b"] {
            let logs = sim.program(name, || {
                let subscriber = tracing_subscriber::fmt().with_writer(std::io::sink).finish();
                tracing::subscriber::set_global_default(subscriber).expect("the first of this process");
                tracing::info!("hello");
            });
            anyhow::ensure!(code(logs).await? == 0);
        }
        Ok(())
    });
}

#[test]
fn arguments_and_environment_are_what_the_scenario_says() {
    fn main() {
        let args: Vec<String> = std::env::args().collect();
        assert_eq!(args, ["server", "--port", "80", "-v"]);
        let vars: Vec<(String, String)> = std::env::vars().collect();
        assert_eq!(vars, [("MODE".to_owned(), "test".to_owned()), ("EMPTY".to_owned(), String::new())]);
        assert_eq!(std::env::var("MODE").as_deref(), Ok("test"));
        assert!(std::env::var_os("PATH").is_none());
    }

    check(Seed(1), |sim| async move {
        let server = sim.program("server", main).args(["--port", "80"]).args(["-v"]);
        let server = server.env("MODE", "wrong").env("MODE", "test").env("EMPTY", "");
        anyhow::ensure!(code(server).await? == 0);
        anyhow::ensure!(code(sim.program("other", || assert_eq!(std::env::vars().count(), 0))).await? == 0);
        Ok(())
    });
}

#[test]
fn what_a_process_sets_in_its_environment_no_other_sees() {
    fn main(name: &'static str) {
        for n in 0..20 {
            // SAFETY: the process has one thread.
            unsafe { std::env::set_var(format!("{name}{n}"), name) };
            thread::sleep(SECOND);
        }
        // SAFETY: as above.
        unsafe { std::env::remove_var(format!("{name}0")) };
        let vars: Vec<(String, String)> = std::env::vars().collect();
        assert_eq!(vars.len(), 19);
        assert!(vars.iter().all(|(key, value)| key.starts_with(name) && value == name), "{vars:?}");
    }

    check(Seed(1), |sim| async move {
        let [a, b] = ["A", "B"].map(|name| sim.program(name, move || main(name)));
        let (a, b) = (a.start().await?, b.start().await?);
        anyhow::ensure!(a.ended().await.is_success() && b.ended().await.is_success());
        anyhow::ensure!(std::env::var_os("PATH").is_some() && std::env::var_os("A1").is_none());
        Ok(())
    });
}

#[test]
fn a_panic_hook_is_of_the_process_that_sets_it_and_hides_no_panic() {
    let scenario = |sets_hook: bool| {
        move |sim: Sim| async move {
            let other = sim.program("other", || std::panic::set_hook(Box::new(|_| std::process::exit(9))));
            other.start().await?.ended().await;
            let panics = sim.program("panics", move || {
                if sets_hook {
                    std::panic::set_hook(Box::new(|_| {}));
                }
                let _ = thread::spawn(|| panic!("unheard")).join();
            });
            anyhow::ensure!(code(panics).await? == 0);
            Ok(())
        }
    };
    for (sets_hook, text) in [(false, "unheard"), (true, "whose message went to the panic hook")] {
        let summary = Campaign::new(scenario(sets_hook)).seeds(1).run();
        let failure = summary.failed[0].failure.as_ref().expect("it is red").to_string();
        assert!(failure.contains(text) && failure.contains("panics"), "{failure}");
    }
}
