//! How a process ends: each test runs a service in a child process, and checks its exit code and stderr.
#![cfg(unix)]
#![expect(clippy::unwrap_used, reason = "a test's helpers are tests")]
#![expect(
    clippy::disallowed_methods,
    reason = "services that block threads on purpose, and a test that waits"
)]

use std::env;
use std::future::pending;
use std::io::{BufRead, BufReader, Read};
use std::net::TcpListener;
use std::process::{self, Child, ChildStderr, Command, ExitCode, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use steelmill_core::{Daemon, DaemonRef, Error, Factory, Result, Scope, ToAddress};
use steelmill_runtime::{LogFormat, Network, Options, run};

#[test]
fn the_first_signal_stops_gracefully() {
    for (signal, name) in [("INT", "SIGINT"), ("TERM", "SIGTERM"), ("HUP", "SIGHUP")] {
        if signal == "HUP" && is_under_nohup() {
            continue;
        }
        let mut service = Service::start("patient");
        service.wait_for("ready");
        service.signal(signal);
        let (code, log) = service.end();
        assert_eq!(code, Some(0), "{log}");
        assert!(log.contains(&format!("{name}: stopping")), "{log}");
        assert!(log.contains("stop was called"), "{log}");
        assert!(log.contains("test: ended cleanly"), "{log}");
    }
}

#[test]
fn the_second_signal_ends_the_process_at_once() {
    for (signal, code) in [("INT", 130), ("TERM", 143), ("HUP", 129)] {
        if signal == "HUP" && is_under_nohup() {
            continue;
        }
        let mut service = Service::start("stubborn");
        service.wait_for("ready");
        service.signal("INT");
        service.wait_for("SIGINT: stopping");
        thread::sleep(Duration::from_millis(300)); // longer than a burst
        service.signal(signal);
        let (ended, log) = service.end();
        assert_eq!(ended, Some(code), "{log}");
    }
}

#[test]
fn under_nohup_a_service_outlives_its_terminal() {
    let mut shell = Command::new("sh");
    shell.args(["-c", "trap '' HUP; exec \"$0\" \"$@\""]).arg(env::current_exe().unwrap());
    let mut service = Service::start_by(shell, "patient", &[]);
    service.wait_for("ready");
    service.signal("HUP");
    thread::sleep(Duration::from_millis(100));
    service.signal("TERM");
    let (code, told) = service.end();
    assert_eq!(code, Some(0), "{told}");
    assert!(told.contains("SIGTERM: stopping") && !told.contains("SIGHUP"), "{told}");
}

/// As `timeout(1)` sends them: to the process and to its group.
#[test]
fn a_burst_of_signals_counts_as_one() {
    let mut service = Service::start("slow to stop");
    service.wait_for("ready");
    let id = service.child.id().to_string();
    let burst = format!("kill -s TERM {id}; kill -s TERM {id}; kill -s INT {id}");
    assert!(Command::new("sh").args(["-c", &burst]).status().unwrap().success());
    let (code, log) = service.end();
    assert_eq!(code, Some(1), "its stop was waited for, up to its deadline: {log}");
    assert!(log.contains("test: 1 failure\n"), "{log}");
}

#[test]
fn the_second_signal_works_though_all_threads_are_stuck() {
    let mut service = Service::start("stuck");
    service.wait_for("ready");
    service.signal("TERM");
    // The first signal has no effect here that could be waited for.
    thread::sleep(Duration::from_millis(300));
    service.signal("TERM");
    let (code, log) = service.end();
    assert_eq!(code, Some(143), "{log}");
}

#[test]
fn a_service_that_is_run_after_another_one_is_stopped_by_its_own_first_signal() {
    let mut service = Service::start("one after another");
    service.wait_for("ready");
    service.signal("TERM");
    let (code, log) = service.end();
    assert_eq!(code, Some(0), "{log}");
    assert!(log.contains("stop was called"), "{log}");
    assert_eq!(log.matches("test: ended cleanly").count(), 2, "{log}");
}

#[test]
fn what_exceeds_the_deadline_is_aborted_and_named() {
    let mut service = Service::start("slow to stop");
    service.wait_for("ready");
    service.signal("TERM");
    let (code, log) = service.end();
    assert_eq!(code, Some(1), "{log}");
    assert!(log.contains("test: 1 failure\n"), "{log}");
    assert!(log.contains("Stubborn") && log.contains("200ms"), "{log}");
}

#[test]
fn a_signal_while_starting_rolls_back() {
    let mut service = Service::start("slow to start");
    service.wait_for("preparing");
    service.signal("INT");
    let (code, log) = service.end();
    assert_eq!(code, Some(0), "{log}");
    assert!(log.contains("SIGINT: stopping"), "{log}");
    assert!(log.contains("stop was called"), "{log}");
}

#[test]
fn a_failing_daemon_ends_the_process_with_one() {
    let (code, log) = Service::start("failing").end();
    assert_eq!(code, Some(1), "{log}");
    assert!(log.contains("test: Failing failed to run: out of luck"), "{log}");
}

#[test]
fn a_daemon_can_end_the_process() {
    let (code, log) = Service::start("satisfied").end();
    assert_eq!(code, Some(0), "{log}");
}

#[test]
fn an_address_in_use_is_told_with_the_address() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let (code, log) = Service::start(&format!("listening {address}")).end();
    assert_eq!(code, Some(1), "{log}");
    let expected = format!(
        "error: test did not start: test: Listening failed to prepare: cannot listen on {address}: Address already in use"
    );
    assert!(log.contains(&expected), "{log}");
}

#[test]
fn what_cannot_be_built_is_told() {
    let (code, log) = Service::start("unbuildable").end();
    assert_eq!((code, log.as_str()), (Some(1), "error: test: building Unbuildable: a part is missing\n"));
}

#[test]
fn a_blocking_thread_does_not_keep_the_process() {
    let mut service = Service::start("blocking");
    service.wait_for("ready");
    service.signal("TERM");
    let (code, log) = service.end();
    assert_eq!(code, Some(0), "{log}");
}

#[test]
fn nobody_has_to_read_the_log() {
    let mut service = Service::start("patient");
    service.wait_for("ready");
    drop(service.stderr.take());
    service.signal("TERM");
    assert_eq!(service.end().0, Some(0));
}

#[test]
fn json_is_json_to_the_last_line() {
    let (code, log) = Service::start("failing in json").end();
    assert_eq!(code, Some(1), "{log}");
    assert!(log.lines().all(|line| line.starts_with('{') && line.ends_with('}')), "{log}");
    let last = log.lines().last().unwrap();
    assert!(last.contains(r#""level":"ERROR""#) && last.contains("failed to run: out of luck"), "{last}");
}

#[test]
fn rust_log_wins_over_the_options_but_failures_are_told() {
    // In a process of its own: a span that another filter has registered stays registered.
    let (_, log) = Service::start_with("failing", &[("RUST_LOG", "error")]).end();
    assert!(log.contains("daemon{factory=\"test\" daemon=\"Failing\"}"), "{log}");
    let (code, log) = Service::start_with("failing", &[("RUST_LOG", "off")]).end();
    assert_eq!(code, Some(1));
    assert_eq!(log, "error: test: 1 failure\n  test: Failing failed to run: out of luck\n");
}

#[test]
fn an_invalid_filter_is_an_error() {
    let (code, log) = Service::start_with("patient", &[("RUST_LOG", "demo=loud")]).end();
    assert_eq!(code, Some(1));
    assert!(log.starts_with(r#"error: RUST_LOG is "demo=loud", which is not a valid filter: "#), "{log}");
}

/// Whether these tests were started with SIGHUP ignored: then the services are, too, and nothing can undo it.
fn is_under_nohup() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:")).unwrap_or("0");
    u64::from_str_radix(mask.trim(), 16).unwrap() & 1 == 1
}

/// A process that runs one of the services below.
struct Service {
    child: Child,
    stderr: Option<BufReader<ChildStderr>>,
    log: String,
}

const KIND: &str = "TEST_SERVICE";

impl Service {
    fn start(kind: &str) -> Service {
        Self::start_with(kind, &[])
    }

    fn start_with(kind: &str, variables: &[(&str, &str)]) -> Service {
        Self::start_by(Command::new(env::current_exe().unwrap()), kind, variables)
    }

    fn start_by(mut command: Command, kind: &str, variables: &[(&str, &str)]) -> Service {
        let mut child = command
            .args(["--exact", "service", "--nocapture", "--quiet"])
            .env_remove("RUST_LOG")
            .env(KIND, kind)
            .envs(variables.iter().copied())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let stderr = child.stderr.take().map(BufReader::new);
        Service { child, stderr, log: String::new() }
    }

    /// Reads stderr up to the line that contains `text`.
    fn wait_for(&mut self, text: &str) {
        let stderr = self.stderr.as_mut().unwrap();
        loop {
            let start = self.log.len();
            assert_ne!(stderr.read_line(&mut self.log).unwrap(), 0, "it never said {text:?}:\n{}", self.log);
            if self.log[start..].contains(text) {
                return;
            }
        }
    }

    fn signal(&self, signal: &str) {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").args(["-s", signal, &id]).status().unwrap().success());
    }

    /// Waits for the end of the process, at most 30 seconds; returns its exit code and all of stderr.
    fn end(mut self) -> (Option<i32>, String) {
        let deadline = Instant::now() + Duration::from_secs(30);
        while self.child.try_wait().unwrap().is_none() {
            if Instant::now() > deadline {
                self.child.kill().unwrap();
                panic!("the process did not end:\n{}", self.log);
            }
            thread::sleep(Duration::from_millis(5));
        }
        if let Some(mut stderr) = self.stderr {
            stderr.read_to_string(&mut self.log).unwrap();
        }
        (self.child.wait().unwrap().code(), self.log)
    }
}

/// Not a test: the tests start this binary again with this function, and [`KIND`] set to the service to run.
#[test]
fn service() {
    let Ok(kind) = env::var(KIND) else { return };
    let mut options =
        Options { name: "test".to_owned(), stop_deadline: Duration::from_secs(60), ..Options::default() };
    let code = match kind.as_str() {
        "patient" => run(options, |factory| factory.with::<Patient>()),
        "one after another" => {
            assert_eq!(run(options.clone(), |factory| factory.with::<Satisfied>()), ExitCode::SUCCESS);
            run(options, |factory| factory.with::<Patient>())
        }
        "stubborn" => run(options, |factory| factory.with::<Stubborn>()),
        "slow to stop" => {
            options.stop_deadline = Duration::from_millis(200);
            run(options, |factory| factory.with::<Stubborn>())
        }
        "slow to start" => run(options, |factory| factory.with::<SlowToStart>()),
        "stuck" => run(options, |factory| factory.with::<Stuck>()),
        "blocking" => run(options, |factory| factory.with::<Blocking>()),
        "failing" => run(options, |factory| factory.with::<Failing>()),
        "failing in json" => {
            options.log = LogFormat::Json;
            run(options, |factory| factory.with::<Failing>())
        }
        "satisfied" => run(options, |factory| factory.with::<Satisfied>()),
        "unbuildable" => run(options, |factory| factory.with::<Unbuildable>()),
        listening => run(options, |factory| {
            let address = listening.strip_prefix("listening ").expect("a known service");
            factory.provide_value(Address(address.to_owned()))?;
            factory.with::<Listening>()
        }),
    };
    process::exit(if code == ExitCode::SUCCESS { 0 } else { 1 });
}

struct Patient;

impl Daemon for Patient {
    fn build(_: &mut Factory) -> Result<Self> {
        Ok(Patient)
    }

    async fn run(self: &Arc<Self>, scope: &Scope) -> Result {
        tracing::info!("ready");
        scope.stopping().await;
        Ok(())
    }

    async fn stop(&self, _: &Scope) -> Result {
        tracing::info!("stop was called");
        Ok(())
    }
}

/// Ignores the stop.
struct Stubborn;

impl Daemon for Stubborn {
    fn build(_: &mut Factory) -> Result<Self> {
        Ok(Stubborn)
    }

    async fn run(self: &Arc<Self>, _: &Scope) -> Result {
        tracing::info!("ready");
        pending().await
    }
}

/// Is preparing when the signal arrives; its dependency is prepared.
struct SlowToStart {
    _patient: DaemonRef<Patient>,
}

impl Daemon for SlowToStart {
    fn build(factory: &mut Factory) -> Result<Self> {
        Ok(SlowToStart { _patient: factory.get()? })
    }

    async fn prepare(&self, _: &Scope) -> Result {
        tracing::info!("preparing");
        pending().await
    }
}

/// Blocks every thread of the tokio runtime.
struct Stuck;

impl Daemon for Stuck {
    fn build(_: &mut Factory) -> Result<Self> {
        Ok(Stuck)
    }

    async fn run(self: &Arc<Self>, scope: &Scope) -> Result {
        for _ in 0..2 * thread::available_parallelism()?.get() {
            scope.spawn("stuck", async { thread::sleep(Duration::from_secs(60)) });
        }
        tracing::info!("ready");
        thread::sleep(Duration::from_secs(60));
        Ok(())
    }
}

/// Leaves a blocking thread behind.
struct Blocking;

impl Daemon for Blocking {
    fn build(_: &mut Factory) -> Result<Self> {
        Ok(Blocking)
    }

    async fn run(self: &Arc<Self>, scope: &Scope) -> Result {
        drop(tokio::task::spawn_blocking(|| thread::sleep(Duration::from_secs(60))));
        tracing::info!("ready");
        scope.stopping().await;
        Ok(())
    }
}

struct Failing;

impl Daemon for Failing {
    fn build(_: &mut Factory) -> Result<Self> {
        Ok(Failing)
    }

    async fn run(self: &Arc<Self>, _: &Scope) -> Result {
        Err(Error::msg("out of luck"))
    }
}

/// Requests the stop itself.
struct Satisfied;

impl Daemon for Satisfied {
    fn build(_: &mut Factory) -> Result<Self> {
        Ok(Satisfied)
    }

    async fn run(self: &Arc<Self>, scope: &Scope) -> Result {
        scope.request_stop();
        Ok(())
    }
}

struct Unbuildable;

impl Daemon for Unbuildable {
    fn build(_: &mut Factory) -> Result<Self> {
        Err(Error::msg("a part is missing"))
    }
}

struct Address(String);

struct Listening {
    network: DaemonRef<Network>,
    address: Arc<Address>,
}

impl Daemon for Listening {
    fn build(factory: &mut Factory) -> Result<Self> {
        Ok(Listening { network: factory.get()?, address: factory.value()? })
    }

    async fn prepare(&self, _: &Scope) -> Result {
        self.network.bind(self.address.0.to_address()).await?;
        Ok(())
    }
}
