//! Nondeterminism planted on purpose (clocks, entropy, threads, hash keys): it repeats with the seed, or is reported.
#![expect(
    clippy::disallowed_macros,
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "these are the leaks"
)]
#![cfg(all(target_os = "linux", target_env = "gnu"))]

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use futures::FutureExt as _;
use rand::RngExt as _;
use steelmill_core::{Daemon, DaemonRef, Factory, Result, Scope};
use steelmill_sim::{Campaign, Cause, Clock, Difference, Seed, Sim, Summary, SystemCall, SystemUse, Verify};

/// Makes the run depend on a number, so that the number affects the digest.
async fn let_decide(sim: Sim, number: u64) {
    sim.clock().sleep(Duration::from_nanos(number % 1_000_000)).await;
}

fn run(
    verify: Verify,
    scenario: impl AsyncFn(Sim) -> Result + Copy + Send + Sync + 'static,
    is_audited: bool,
) -> Summary {
    let campaign = Campaign::new(move |sim| async move { scenario(sim).await });
    let campaign = campaign.seeds(3).jobs(2).verify(verify);
    if is_audited { campaign.audit().run() } else { campaign.run() }
}

/// Asserts that runs repeat within one process and across two; returns the audit.
fn repeats(scenario: impl AsyncFn(Sim) -> Result + Copy + Send + Sync + 'static) -> Vec<SystemUse> {
    let summary = run(Verify::Twice, scenario, false);
    assert!(summary.passed(), "{}", summary.failed[0].failure.as_ref().expect("the run failed"));
    assert_eq!(summary.audit, None);
    let summary = run(Verify::Process, scenario, true);
    assert!(summary.passed(), "{}", summary.failed[0].failure.as_ref().expect("the run failed"));
    assert_eq!(summary.impure, 0);
    summary.audit.expect("the audit is on")
}

fn differs(
    verify: Verify,
    scenario: impl AsyncFn(Sim) -> Result + Copy + Send + Sync + 'static,
) -> Box<Difference> {
    let campaign = Campaign::new(move |sim| async move { scenario(sim).await });
    let mut summary = campaign.seeds(1).verify(verify).run();
    match summary.failed.pop().and_then(|failed| failed.failure).map(|failure| failure.cause) {
        Some(Cause::NotRepeatable(difference)) => difference,
        other => panic!("a difference expected, not {other:?}"),
    }
}

/// Asserts that the audit has one use, in this file, by the scenario: twice in each of three seeds.
fn assert_audited(audit: &[SystemUse], call: SystemCall, function: &str) {
    let [used] = audit else { panic!("one use expected: {audit:#?}") };
    assert_eq!((used.call, used.times, used.machine.as_str()), (call, 6, "scenario"), "{used}");
    assert!(used.place.contains("tests/purity.rs:") && used.backtrace.contains(function), "{used}");
    assert!(!used.backtrace.contains("steelmill_sim::"), "frames of the sim are left in: {used}");
}

#[test]
fn a_randomly_keyed_map_repeats() {
    let audit = repeats(async |sim| {
        let map: HashMap<u64, u64> = (0..100).map(|n| (n, n)).collect();
        for key in map.into_keys() {
            let_decide(sim, key).await;
        }
        Ok(())
    });
    assert_eq!(audit, [], "hash keys are drawn before the run");
}

#[test]
fn the_monotonic_clock_repeats_and_is_audited() {
    let audit = repeats(async |sim| {
        for _ in 0..2 {
            let begun = Instant::now();
            let_decide(sim, 17).await;
            assert_eq!(begun + Duration::from_nanos(17), sim.clock().now());
        }
        Ok(())
    });
    assert_audited(&audit, SystemCall::MonotonicClock, "the_monotonic_clock_repeats_and_is_audited");
}

#[test]
fn the_wall_clock_repeats_and_is_audited() {
    let audit = repeats(async |sim| {
        for _ in 0..2 {
            let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?;
            let_decide(sim, now.as_nanos() as u64).await;
        }
        Ok(())
    });
    assert_audited(&audit, SystemCall::WallClock, "the_wall_clock_repeats_and_is_audited");
}

#[test]
fn getrandom_2_repeats_and_is_audited() {
    let audit = repeats(async |sim| {
        for _ in 0..2 {
            let mut bytes = [0; 8];
            getrandom02::getrandom(&mut bytes).expect("there is entropy");
            let_decide(sim, u64::from_le_bytes(bytes)).await;
        }
        Ok(())
    });
    assert_audited(&audit, SystemCall::Entropy, "getrandom_2_repeats_and_is_audited");
}

#[test]
fn getrandom_3_repeats_and_is_audited() {
    let audit = repeats(async |sim| {
        for _ in 0..2 {
            let mut bytes = [0; 8];
            getrandom03::fill(&mut bytes).map_err(std::io::Error::other)?;
            let_decide(sim, u64::from_le_bytes(bytes)).await;
        }
        Ok(())
    });
    assert_audited(&audit, SystemCall::Entropy, "getrandom_3_repeats_and_is_audited");
}

#[test]
fn getrandom_4_repeats_and_is_audited() {
    let audit = repeats(async |sim| {
        for _ in 0..2 {
            let_decide(sim, getrandom04::u64().map_err(std::io::Error::other)?).await;
        }
        Ok(())
    });
    assert_audited(&audit, SystemCall::Entropy, "getrandom_4_repeats_and_is_audited");
}

#[test]
fn the_generator_of_a_thread_repeats_and_is_audited() {
    let audit = repeats(async |sim| {
        for _ in 0..10 {
            let_decide(sim, rand::rng().random()).await;
        }
        Ok(())
    });
    let [used] = audit.as_slice() else { panic!("one use expected: {audit:#?}") };
    assert_eq!((used.call, used.times), (SystemCall::Entropy, 3), "once per thread: {used}");
    assert!(used.place.contains("tests/purity.rs:"), "{used}");
}

#[test]
fn tokios_select_repeats() {
    let audit = repeats(async |sim| {
        for _ in 0..50 {
            let chosen = tokio::select! { () = async {} => 1, () = async {} => 2, () = async {} => 3 };
            let_decide(sim, chosen).await;
        }
        Ok(())
    });
    assert_eq!(audit, []);
}

/// Its generator is seeded by the number of threads that have used one in this process.
#[test]
fn the_select_of_futures_is_found_by_running_twice() {
    let difference = differs(Verify::Twice, async |sim| {
        for _ in 0..50 {
            let chosen = futures::select! {
                () = async {}.fuse() => 1,
                () = async {}.fuse() => 2,
                () = async {}.fuse() => 3,
            };
            let_decide(sim, chosen).await;
        }
        Ok(())
    });
    let what = |side: &steelmill_sim::Side| side.event.as_ref().map(|event| event.what.clone());
    assert!(what(&difference.first).expect("an event").starts_with("time passes"), "{difference}");
    assert_ne!(what(&difference.first), what(&difference.second));
}

#[test]
fn a_thread_of_a_task_is_audited_and_is_simulated() {
    let campaign = Campaign::new(|sim: Sim| async move {
        let (send, receive) = tokio::sync::oneshot::channel();
        drop(std::thread::spawn(move || send.send(7)));
        let_decide(sim, receive.await?).await;
        Ok(())
    });
    let summary = campaign.seeds(1).verify(Verify::Process).audit().run();
    assert!(summary.passed() && summary.impure == 0, "{:?}", summary.failed);
    let audit = summary.audit.expect("the audit is on");
    let [used] = audit.as_slice() else { panic!("one thread expected: {audit:#?}") };
    assert_eq!((used.call, used.times), (SystemCall::Thread, 1));
    assert!(used.place.contains("tests/purity.rs:"), "{used}");
}

static STARTED: AtomicU64 = AtomicU64::new(0);

/// Sleeps for as many nanoseconds as earlier instances in this process.
struct Counts {
    clock: DaemonRef<Clock>,
}

impl Daemon for Counts {
    fn build(factory: &mut Factory) -> Result<Self> {
        Ok(Self { clock: factory.get()? })
    }

    async fn run(self: &Arc<Self>, scope: &Scope) -> Result {
        let clock = *self.clock;
        scope.spawn("wait", async move {
            clock.sleep(Duration::from_nanos(STARTED.fetch_add(1, Ordering::Relaxed))).await;
        });
        Ok(())
    }
}

#[test]
fn a_static_counter_is_found_by_running_twice() {
    let difference = differs(Verify::Twice, async |sim| {
        sim.clock().sleep(Duration::from_millis(5)).await;
        sim.machine("m", |factory| factory.with::<Counts>()).start().await?.stop().await?;
        Ok(())
    });
    let text = difference.to_string();
    for part in ["two runs of this seed differ", "events that both have", "the first run:", "both passed"] {
        assert!(text.contains(part), "{part:?} is not in: {text}");
    }
    let last = difference.before.last().expect("common events before the difference");
    let whose = (last.machine.as_deref(), last.factory.as_deref(), last.daemon.as_deref());
    assert_eq!(whose, (Some("m"), Some("m"), Some("Counts")), "{text}");
    assert!(last.at == Duration::from_millis(5) && text.contains("m: Counts: \"wait\" #"), "{text}");
}

#[test]
fn an_address_is_found_by_running_in_another_process() {
    let difference = differs(Verify::Process, async |sim| {
        let on_the_heap = Box::new(7);
        let_decide(sim, (&raw const *on_the_heap).addr() as u64 / 16).await;
        Ok(())
    });
    let text = difference.to_string();
    assert!(text.contains("the second run, in another process:"), "{text}");
    assert_ne!(difference.first.event, difference.second.event, "{text}");
}

/// Equal events, but different outcomes.
#[test]
fn a_difference_only_in_the_failure_is_found() {
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    let difference = differs(Verify::Twice, async |_| {
        anyhow::ensure!(COUNTER.fetch_add(1, Ordering::Relaxed) == 0, "not the first");
        Ok(())
    });
    assert_eq!((difference.first.digest, &difference.first.event), (difference.second.digest, &None));
    assert!(
        difference.to_string().contains("their events are equal, only their outcomes differ"),
        "{difference}"
    );
}

#[test]
fn a_seed_that_fails_in_the_same_way_each_time_repeats() {
    let scenario = async |sim| {
        let_decide(sim, 5).await;
        anyhow::bail!("always")
    };
    let summary = run(Verify::Process, scenario, false);
    let failure = summary.failed[0].failure.as_ref().expect("the run failed");
    assert!(matches!(&failure.cause, Cause::Error(error) if error.to_string() == "always"), "{failure}");
}

#[test]
fn another_process_needs_a_test_to_run_again() {
    let campaign = || Campaign::new(|_| async { Ok(()) }).seeds(1).verify(Verify::Process).run();
    let panic = std::thread::spawn(campaign).join().expect_err("the thread is no test's");
    let text = steelmill_core::panic_message(panic.as_ref());
    assert!(text.contains("main thread or on its test's thread"), "{text}");
}

/// With several campaigns in one test, the other process must run the same one.
#[test]
fn each_campaign_of_a_test_is_verified() {
    for latency in [1, 2, 3] {
        let summary = Campaign::new(move |sim: Sim| async move {
            sim.clock().sleep(Duration::from_secs(latency)).await;
            Ok(())
        })
        .seeds(1)
        .first_seed(Seed(latency))
        .verify(Verify::Process)
        .run();
        assert!(summary.passed(), "{:?}", summary.failed);
        assert_eq!(summary.simulated, Duration::from_secs(latency));
    }
}
