//! Runs of scenarios with programs are made in processes of their own, so that statics are new in each.

use std::process::ExitCode;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::Duration;

use steelmill_core::Result;
use steelmill_sim::{Campaign, Cause, Seed, Sim, Verify, check};

const SECOND: Duration = Duration::from_secs(1);

/// How many runs of these tests came to their end in this process.
static CALLS: AtomicU32 = AtomicU32::new(0);

/// Runs a program alone on a machine; its end has to be as described.
async fn ends(sim: &Sim, end: &str, main: impl Fn() -> i32 + Send + Sync + 'static) -> Result {
    let life = sim.program("program", main).start().await?.ended().await;
    anyhow::ensure!(life.to_string().contains(end), "{life}");
    Ok(())
}

#[test]
fn statics_are_new_in_each_run() {
    let campaign = Campaign::new(|sim: Sim| async move {
        ends(&sim, "code 0", || 0).await?;
        anyhow::ensure!(CALLS.fetch_add(1, Relaxed) == 0, "the second in this process");
        Ok(())
    });
    let summary = campaign.seeds(20).verify(Verify::Twice).run();
    assert!(summary.passed() && summary.seeds == 20, "{:?}", summary.failed);
    assert_eq!(CALLS.load(Relaxed), 0, "this process makes none of the runs");
}

#[test]
fn a_later_campaign_of_a_test_is_reached_past_those_before_it() {
    let red = |unlucky: u64| {
        Campaign::new(move |sim: Sim| async move {
            eprintln!("A {}", std::fs::read_link("/proc/self").unwrap().display());
            ends(&sim, "code 0", || 0).await?;
            sim.count("runs", 1);
            anyhow::ensure!(sim.seed() != Seed(unlucky), "unlucky");
            Ok(())
        })
    };
    for unlucky in [3, 5] {
        // Only what the first campaign gave leads to the second.
        let summary = red(unlucky).seeds(10).failures_max(1).run();
        assert_eq!((summary.failed[0].seed, summary.counts["runs"].total), (Seed(unlucky), unlucky));
        let failure = summary.failed[0].failure.as_ref().expect("it is red");
        assert!(matches!(&failure.cause, Cause::Error(error) if error.to_string() == "unlucky"), "{failure}");
    }
    check(Seed(1), |sim| async move { ends(&sim, "code 7", || 7).await });
}

#[test]
fn a_later_campaign_is_reached_past_one_whose_first_seeds_have_no_programs() {
    for runs in [10, 12] {
        let summary = Campaign::new(|sim: Sim| async move {
            if sim.seed() > Seed(4) {
                eprintln!("A {}", std::fs::read_link("/proc/self").unwrap().display());
                ends(&sim, "code 0", || 0).await?;
            }
            sim.count("runs", 1);
            Ok(())
        });
        let summary = summary.seeds(runs).jobs(1).run();
        assert!(summary.passed() && summary.counts["runs"].total == runs, "{:?}", summary.failed);
    }
}

/// Ends by using up the stack.
fn depth(n: u64) -> u64 {
    std::hint::black_box(if n == u64::MAX { n } else { depth(n + 1) + 1 })
}

/// Never asks for anything.
#[inline(never)]
fn spins() -> i32 {
    let mut n = 1_u64;
    while std::hint::black_box(n) != 0 {
        n = n.wrapping_mul(3);
    }
    0
}

#[test]
fn what_ends_the_process_fails_its_run_and_no_other() {
    let campaign = Campaign::new(|sim: Sim| async move {
        let seed = sim.seed();
        ends(&sim, "code 0", move || match seed {
            Seed(5) => depth(0) as i32,
            Seed(6) => spins(),
            _ => 0,
        })
        .await?;
        if seed == Seed(3) {
            eprintln!("the last words");
            std::process::abort();
        }
        Ok(())
    });
    let summary = campaign.seeds(7).failures_max(7).jobs(2).poll_time_limit(SECOND).run();
    let failed = summary
        .failed
        .iter()
        .map(|outcome| (outcome.seed.0, outcome.failure.as_ref().expect("it is red").to_string()));
    let [(3, aborted), (5, overflown), (6, spun)] = &*failed.collect::<Vec<_>>() else { panic!("{summary}") };
    assert!(aborted.contains("signal: 6 (SIGABRT)") && aborted.contains("the last words"), "{aborted}");
    assert!(overflown.contains("signal: 11 (SIGSEGV)"), "{overflown}");
    assert!(spun.contains("one poll of \"program: main\" has lasted for 1s"), "{spun}");
    assert!(
        spun.contains("in programs::processes::spins at steelmill-sim/tests/programs/processes.rs"),
        "its stack: {spun}"
    );
}

#[test]
fn a_main_may_return_an_exit_code() {
    check(Seed(1), |sim| async move {
        let life = sim.program("program", || ExitCode::from(200)).start().await?.ended().await;
        anyhow::ensure!(life.to_string().contains("code 200"), "{life}");
        Ok(())
    });
}

#[test]
#[expect(clippy::disallowed_methods, reason = "these are programs as people write them")]
fn a_main_may_never_return() {
    check(Seed(1), |sim| async move {
        let thread = sim.program("thread", || {
            loop {
                std::thread::sleep(SECOND);
            }
        });
        let future = sim.tokio_program("future", async || {
            loop {
                tokio::time::sleep(SECOND).await;
            }
        });
        let (thread, future) = (thread.start().await?, future.start().await?);
        sim.clock().sleep(10 * SECOND).await;
        anyhow::ensure!(thread.is_up() && future.is_up());
        Ok(())
    });
}

#[test]
fn std_process_exit_ends_the_program_with_its_code() {
    Campaign::new(|sim: Sim| async move {
        ends(&sim, "code 3", || std::process::exit(3)).await?;
        sim.clock().sleep(SECOND).await; // the run goes on
        Ok(())
    })
    .seeds(5)
    .check();
}

#[test]
fn a_red_run_with_programs_is_shrunk() {
    let campaign = Campaign::new(|sim: Sim| async move {
        let rounds = sim.limit("rounds", 0..=50);
        let life = sim.program("program", move || i32::from(rounds >= 8)).start().await?.ended().await;
        anyhow::ensure!(life.is_success(), "too many rounds");
        Ok(())
    });
    let shrunk = campaign.shrink(Seed(1), |_| ()).expect("it is red");
    assert_eq!(shrunk.plan.limits["rounds"], 8, "{:?}", shrunk.plan);
    let failure = format!("{:?}", shrunk.outcome.failure);
    let trace = shrunk.outcome.trace.expect(&failure);
    assert!(trace.tasks.values().any(|task| task.name == "main"), "{:?}", trace.tasks);
}

/// AWS-LC and OpenSSL would take entropy by an instruction that nothing catches.
#[test]
fn the_process_of_a_run_says_that_the_processor_has_no_entropy() {
    let scenario = |sim: Sim| async move {
        ends(&sim, "code 0", || i32::from(std::env::var_os("OPENSSL_ia32cap").is_some())).await?;
        // The scenario is a part of the process itself.
        anyhow::ensure!(std::env::var("OPENSSL_ia32cap")? == "~0x4000000000000000");
        Ok(())
    };
    Campaign::new(scenario).seeds(1).check();
}

/// A red test shows what its programs have printed and logged, as it shows what daemons have.
#[test]
fn what_programs_print_and_log_is_what_their_test_prints() {
    const ASKED: &str = "A_TEST_IS_TO_BE_RED";
    let name = "processes::what_programs_print_and_log_is_what_their_test_prints";
    if std::env::var_os(ASKED).is_some() {
        Campaign::new(|sim: Sim| async move {
            let main = || {
                println!("printed by the program");
                std::fs::write("/dev/stdout", "written to the device\n").expect("it is there");
                Err::<(), _>("no luck")
            };
            let life = sim.program("program", main).start().await?.ended().await;
            anyhow::ensure!(life.is_success(), "{life}");
            Ok(())
        })
        .check();
        return;
    }
    let mut test = std::process::Command::new(std::env::current_exe().expect("it has a path"));
    test.args(["--exact", name]).env(ASKED, "1").env("STEELMILL_SEED", "1").env_remove("RUST_TEST_NOCAPTURE");
    let output = test.output().expect("it can be started");
    let printed = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(101), "{printed}");
    for part in
        ["printed by the program", "written to the device", "ERROR", "main returned an error: \"no luck\""]
    {
        assert!(
            printed.contains(part),
            "{part} is not in\n{printed}\n{}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
}
