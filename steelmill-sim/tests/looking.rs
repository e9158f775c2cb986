//! Looking does not change what is seen: a run has the same digest whatever is logged or traced.

use std::cell::RefCell;
use std::fmt;
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rand_core::Rng as _;
use steelmill_core::Result;
use steelmill_sim::{Campaign, Cause, Outcome, Rng, Seed, Settings, Sim, Verify, logging, simulate};
use tracing::level_filters::LevelFilter;
use tracing::{Dispatch, dispatcher};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::SubscriberExt as _;

/// Draws for what it logs, and then sleeps for as long as the next draw says.
async fn draws_to_log(sim: Sim) -> Result {
    let mut rng = sim.client("client").entropy().rng();
    for _ in 0..3 {
        let outer = tracing::debug_span!("outer", id = rng.next_u64());
        let inner = tracing::info_span!(parent: &outer, "inner", id = rng.next_u64());
        let entered = inner.enter();
        tracing::info!(id = rng.next_u64(), "kept");
        tracing::trace!("a trace of {}", rng.next_u64());
        drop(entered);
        sim.clock().sleep(Duration::from_nanos(rng.next_u64() % 1000)).await;
    }
    Ok(())
}

#[derive(Clone, Default)]
struct Written(Arc<Mutex<Vec<u8>>>);

impl Written {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().expect("not poisoned").clone()).expect("UTF-8")
    }

    /// A subscriber that writes here what the filter enables.
    fn listener(&self, filter: &str) -> Dispatch {
        let written = self.clone();
        let layer = logging::layer(move || written.clone());
        Dispatch::new(tracing_subscriber::registry().with(EnvFilter::new(filter)).with(layer))
    }
}

impl io::Write for Written {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("not poisoned").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn run(trace: bool, log_level: LevelFilter, listener: &Dispatch) -> Outcome {
    let settings = Settings { trace, log_level, ..Settings::new(Seed(7)) };
    let outcome = dispatcher::with_default(listener, || simulate(settings, &draws_to_log));
    assert!(outcome.passed(), "{:?}", outcome.failure);
    outcome
}

#[test]
fn a_run_has_the_same_digest_whoever_listens() {
    for log_level in [LevelFilter::TRACE, LevelFilter::INFO, LevelFilter::OFF] {
        let unseen = run(false, log_level, &Dispatch::none());
        for trace in [false, true] {
            for filter in ["trace", "info", "looking=debug,off", "off"] {
                let seen = run(trace, log_level, &Written::default().listener(filter));
                assert_eq!(seen.digest, unseen.digest, "{log_level}, traced: {trace}, logged: {filter}");
            }
            assert_eq!(run(trace, log_level, &Dispatch::none()).digest, unseen.digest);
        }
    }
    let [all, none] =
        [LevelFilter::TRACE, LevelFilter::OFF].map(|level| run(false, level, &Dispatch::none()));
    assert_ne!(all.digest, none.digest, "a draw that is not made leaves the next one to others");
}

#[test]
fn a_listener_gets_what_it_asks_for_up_to_the_runs_level() {
    let logged = |level, filter| {
        let written = Written::default();
        run(true, level, &written.listener(filter));
        let text = written.text();
        ["kept", "a trace of", "outer{id=", "inner{id="].map(|part| text.matches(part).count())
    };
    assert_eq!(logged(LevelFilter::TRACE, "trace"), [3, 3, 6, 6]);
    assert_eq!(logged(LevelFilter::TRACE, "info"), [3, 0, 0, 3], "a span inside of one that nobody wants");
    assert_eq!(logged(LevelFilter::TRACE, "off"), [0; 4]);
    assert_eq!(logged(LevelFilter::INFO, "trace"), [3, 0, 0, 3]);
}

#[test]
fn a_callsite_that_was_passed_outside_of_any_run_is_enabled_in_one() {
    fn logs(rng: &mut Option<Rng>) -> bool {
        let mut is_evaluated = false;
        tracing::warn!(
            id = {
                is_evaluated = true;
                rng.as_mut().map_or(0, |rng| rng.next_u64())
            }
        );
        is_evaluated
    }
    #[expect(clippy::disallowed_methods, reason = "a thread that runs no simulation")]
    let outside = std::thread::spawn(|| logs(&mut None)).join().expect("it does not panic");
    assert!(!outside, "nobody listens there");
    let outcome = simulate(Settings::new(Seed(1)), &|sim| async move {
        let mut rng = Some(sim.client("client").entropy().rng());
        anyhow::ensure!(logs(&mut rng), "not evaluated");
        Ok(())
    });
    assert!(outcome.passed(), "{:?}", outcome.failure);
}

#[test]
fn seeds_of_a_campaign_are_logged_to_where_its_thread_logs() {
    let written = Written::default();
    let summary = dispatcher::with_default(&written.listener("info"), || {
        Campaign::new(draws_to_log).seeds(5).jobs(2).run()
    });
    assert_eq!((summary.seeds, written.text().matches("kept").count()), (5, 15));
    assert_eq!(summary.digest, Campaign::new(draws_to_log).seeds(5).run().digest);
}

/// Draws when it is formatted, which happens only where a log is written.
struct DrawsWhenShown(RefCell<Rng>);

impl fmt::Display for DrawsWhenShown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.borrow_mut().next_u64())
    }
}

#[test]
fn a_log_field_that_draws_when_it_is_shown_is_found_by_running_twice() {
    let campaign = Campaign::new(|sim: Sim| async move {
        let shown = DrawsWhenShown(RefCell::new(sim.client("client").entropy().rng()));
        tracing::info!("{shown}");
        let next = shown.0.borrow_mut().next_u64();
        sim.clock().sleep(Duration::from_nanos(next % 1000)).await;
        Ok(())
    });
    let mut summary = campaign.seeds(1).verify(Verify::Twice).run();
    let failure = summary.failed.pop().and_then(|failed| failed.failure).expect("the runs differ");
    let Cause::NotRepeatable(difference) = failure.cause else { panic!("{failure}") };
    assert!(difference.only_untraced && difference.first.digest != difference.second.digest, "{difference}");
    assert!(difference.to_string().contains("the first was traced, the second was not"), "{difference}");
}

/// `RUST_BACKTRACE` has errors capture their stacks, and a service may print or send one: then a run would differ by it.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[test]
fn an_error_in_a_run_has_no_stack_and_a_panic_has_one_if_it_is_wanted() {
    const ASKED: &str = "TEST_PRINTS_STACKS";
    const FRAME: &str = "core::panicking::panic_fmt";
    if std::env::var_os(ASKED).is_some() {
        let errors = |_: Sim| async {
            let error = steelmill_core::Error::msg("an error");
            assert_eq!(error.backtrace().status(), std::backtrace::BacktraceStatus::Disabled);
            if error.to_string() == "an error" {
                panic!("wanted");
            }
            Ok(())
        };
        println!(
            "{}",
            simulate(Settings::new(Seed(1)), &errors)
                .failure
                .expect("it panicked")
                .panicked
                .expect("its text")
        );
        return;
    }
    let program = std::env::current_exe().expect("a test has a binary");
    let output = |wanted: &str| {
        let output = std::process::Command::new(&program)
            .args([
                "--exact",
                "an_error_in_a_run_has_no_stack_and_a_panic_has_one_if_it_is_wanted",
                "--nocapture",
            ])
            .env_remove("RUST_LIB_BACKTRACE")
            .env("RUST_BACKTRACE", wanted)
            .env(ASKED, "1")
            .output()
            .expect("the test's binary runs");
        String::from_utf8(output.stdout).expect("UTF-8")
    };
    let (with, without) = (output("1"), output("0"));
    assert!(with.contains(": wanted\n") && with.contains(FRAME), "{with}");
    assert!(without.contains(": wanted\n") && !without.contains(FRAME), "{without}");
}
