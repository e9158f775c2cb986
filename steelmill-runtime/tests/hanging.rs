//! Nothing that a daemon does keeps its process from ending within twice its stop deadline: each test runs a service in child
//! processes, on one processor and on two, and wants each of them to end by itself in time and to name what was guilty.
//!
//! Time is counted in waits of this test, which take longer on a busy machine: so a process may be late where this test is.
//!
//! `HANGING_SEEDS=500` runs that many random mixtures instead of a few, and with `-- --nocapture` says how long they really took from
//! the stop on.
#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "a test's helpers are tests")]
#![expect(
    clippy::disallowed_methods,
    reason = "services that block threads on purpose, and a test that waits"
)]

use std::env;
use std::fmt;
use std::future::{Future, pending};
use std::io::{self, BufRead, BufReader, Write};
use std::pin::pin;
use std::process::{self, Child, Command, ExitCode, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver};
use std::task::{Context, Wake, Waker};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use rustix::time::{ClockId, clock_gettime};
use steelmill_core::{Daemon, DaemonRef, Error, Factory, Result, Scope};
use steelmill_runtime::{Options, run};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

/// The stop deadline of services whose report is read: long enough for it to be written on a busy machine, too.
const DEADLINE: Duration = Duration::from_secs(2);

/// The stop deadline of the others.
const SHORT_DEADLINE: Duration = Duration::from_millis(400);

/// For a process to begin to stop.
const START_MAX: Duration = Duration::from_secs(20);

/// How long this test waits at a time.
const WAIT: Duration = Duration::from_millis(5);

const BLOCKS: &str = "did not end when it was aborted: it blocks its thread";

#[test]
fn a_daemon_that_asks_for_a_stop_and_then_blocks_its_thread() {
    check(
        "asks and blocks",
        &["Hostile[asks and blocks] failed to stop", BLOCKS, "patient was stopped"],
        &[],
    );
}

#[test]
fn a_daemon_that_blocks_its_thread_when_one_worker_is_configured() {
    for processors in PROCESSORS {
        let one_worker = [("TOKIO_WORKER_THREADS", "1")];
        let end = Service::start_with(processors, "asks and blocks", DEADLINE, &one_worker).end();
        end.contains(&["Hostile[asks and blocks] failed to stop", BLOCKS, "patient was stopped"]);
    }
}

#[test]
fn a_daemon_that_joins_a_thread_which_never_ends() {
    check("joins", &["Hostile[joins] failed to stop", BLOCKS, "patient was stopped"], &[]);
}

#[test]
fn a_daemon_that_waits_for_another_process() {
    let guilty = "Hostile[waits for a process] failed to stop";
    check("waits for a process", &[guilty, BLOCKS, "patient was stopped"], &[]);
}

#[test]
fn a_daemon_that_leaves_a_process() {
    for processors in PROCESSORS {
        let end = Service::start(processors, "leaves a process").end();
        end.contains(&["patient was stopped"]);
        assert_eq!(end.code, Some(0), "{end}");
    }
}

#[test]
fn a_daemon_that_panics() {
    let guilty = "Hostile[panics] failed to run: panicked: out of luck";
    check("panics", &[guilty, "patient was stopped"], &[]);
}

#[test]
fn a_prepare_that_blocks_its_thread() {
    check("prepare blocks", &["Hostile[prepare blocks]", BLOCKS, "patient was stopped"], &[]);
}

#[test]
fn a_stop_that_blocks_its_thread() {
    check("stop blocks", &["Hostile[stop blocks]", BLOCKS, "patient was stopped"], &[]);
}

#[test]
fn a_future_whose_destructor_blocks_when_it_is_aborted() {
    check("abort blocks", &["Hostile[abort blocks] failed to stop", BLOCKS, "patient was stopped"], &[]);
}

#[test]
fn daemons_that_block_all_threads() {
    let guilty = "Hostile[blocks all] failed to stop: did not end when it was aborted";
    check("blocks all", &[guilty], &[]);
}

#[test]
fn a_daemon_whose_destructor_blocks() {
    let guilty = "Hostile[drop blocks] failed to stop: was not dropped within";
    check("drop blocks", &[guilty, "its `Drop` blocks", "patient was stopped"], &[]);
}

#[test]
fn a_daemon_whose_destructor_panics() {
    let guilty = "Hostile[drop panics] failed to stop: while it was dropped: panicked: a bad destructor";
    check("drop panics", &[guilty, "patient was stopped"], &[]);
}

#[test]
fn an_error_whose_display_panics() {
    let guilty = "Hostile[display panics] failed to run: an error whose `Display` panicked: a bad text";
    check("display panics", &[guilty, "patient was stopped"], &[]);
}

#[test]
fn an_error_whose_display_blocks() {
    check("display blocks", &["Hostile[display blocks] failed to", BLOCKS, "patient was stopped"], &[]);
}

#[test]
fn an_error_whose_destructor_panics() {
    let guilty = "Hostile[error panics] failed to run: a bad error";
    check("error panics", &[guilty, "patient was stopped"], &[]);
}

#[test]
fn an_error_whose_destructor_blocks() {
    let guilty = "Hostile[error blocks] failed to run: a bad error";
    check("error blocks", &[guilty, "patient was stopped"], &[]);
}

#[test]
fn tasks_whose_errors_have_destructors_that_block() {
    let guilty = "Hostile[tasks fail]: task \"failing\" failed: a bad error";
    check("tasks fail", &[guilty, "its daemons were not dropped", "patient was stopped"], &[]);
}

/// A stop calls it, in the supervisor.
#[test]
fn a_waker_that_panics() {
    let supervisor = "test: its supervisor failed: panicked: a bad waker";
    let guilty = "Hostile[bad waker] failed to stop: was aborted, because the factory's supervisor failed";
    check("bad waker", &[supervisor, guilty], &["abandoned"]);
}

#[test]
fn a_subscriber_that_panics() {
    check("subscriber panics", &["Hostile[fails] failed to run", "patient was stopped"], &["abandoned"]);
}

#[test]
fn a_subscriber_that_blocks() {
    let guilty = "Hostile[fails] failed to run: out of luck";
    check(
        "subscriber blocks",
        &[guilty, "its daemons were not dropped", "a log line", "patient was stopped"],
        &[],
    );
}

#[test]
fn a_child_that_blocks_its_thread() {
    let child = "test/child failed to stop: took longer than 2s and was aborted";
    check("has a child", &[child, "patient was stopped"], &[]);
}

#[test]
fn an_inbox_that_never_empties() {
    let guilty = "Hostile[asks forever] failed to run: took longer than 2s and was aborted";
    check("asks forever", &[guilty, "patient was stopped"], &[BLOCKS]);
}

#[test]
fn a_hundred_thousand_tasks_that_end_slowly_are_not_blamed() {
    let service = ("many tasks", 3 * DEADLINE); // it is about blame, not about haste
    check_with(service, &["task \"slow\" failed: 100000 of them", "was aborted"], &[BLOCKS]);
}

#[test]
fn a_signal_stops_a_service_whose_threads_are_all_blocked() {
    for processors in PROCESSORS {
        let mut service = Service::start(processors, "silently blocks all");
        service.wait_for("ready");
        service.signal();
        service
            .end()
            .contains(&["Hostile[silently blocks all] failed to stop: did not end when it was aborted"]);
    }
}

/// What main does after the end of the daemons is in the way as well: here, a log line that blocks.
#[test]
fn the_last_resort_names_what_is_known() {
    for processors in PROCESSORS {
        let end = Service::start(processors, "log blocks at the end").end();
        end.contains(&["test has not ended by twice its stop deadline of 2s, so the process is ended"]);
        assert_eq!(end.code, Some(1), "{end}");
    }
}

/// Nothing runs yet that could be stopped.
#[test]
fn a_setup_that_blocks() {
    for processors in PROCESSORS {
        let mut service = Service::start(processors, "setup blocks");
        service.wait_for("listening");
        service.signal();
        let end = service.end();
        end.contains(&["test has not ended by twice its stop deadline of 2s", "its setup has not returned"]);
        assert_eq!(end.code, Some(1), "{end}");
    }
}

/// It calls destructors of its thread, and nobody else can end the process in that way meanwhile: the second signal does.
#[test]
fn an_exit_that_blocks() {
    for processors in PROCESSORS {
        let mut service = Service::start(processors, "exit blocks");
        service.wait_for(STOPS);
        service.signal();
        thread::sleep(Duration::from_millis(300)); // longer than a burst
        service.signal();
        let end = service.end();
        assert_eq!(end.code, Some(143), "{end}");
    }
}

#[test]
fn a_drain_comes_before_the_stop() {
    for processors in PROCESSORS {
        let mut service = Service::start(processors, "drains");
        service.wait_for("ready");
        service.signal();
        service.wait_for("drains");
        service.signalled = Some(now());
        service.lasts += DRAIN;
        let end = service.end();
        end.contains(&["Hostile[drains] failed to stop", BLOCKS, "patient was stopped"]);
    }
}

#[test]
fn a_drain_that_is_ended_is_not_counted() {
    for processors in PROCESSORS {
        let mut service = Service::start(processors, "drains long");
        service.wait_for("ready");
        service.signal();
        service.wait_for("drains");
        thread::sleep(Duration::from_millis(300)); // longer than a burst
        service.signal();
        let end = service.end();
        end.contains(&["Hostile[drains long] failed to stop", BLOCKS, "patient was stopped"]);
    }
}

#[test]
fn random_mixtures() {
    /// How many run at the same time.
    const LANES: u64 = 3;
    let seeds = env::var("HANGING_SEEDS").map_or(6, |seeds| seeds.parse().unwrap());
    let run_lane = |lane| (lane..seeds).step_by(LANES as usize).flat_map(random_mixture).collect::<Vec<_>>();
    let mut took: Vec<_> = thread::scope(|scope| {
        let lanes: Vec<_> = (0..LANES).map(|lane| scope.spawn(move || run_lane(lane))).collect();
        lanes.into_iter().flat_map(|lane| lane.join().unwrap()).collect()
    });
    took.sort();
    for processors in PROCESSORS {
        let of_deadline = |took: Duration| took.as_secs_f64() / SHORT_DEADLINE.as_secs_f64();
        let took: Vec<_> =
            took.iter().filter(|(on, _)| *on == processors).map(|(_, took)| of_deadline(*took)).collect();
        let share = |percent: usize| took[(took.len() - 1) * percent / 100];
        println!(
            "on {processors}: {} processes; from the stop to the end, in stop deadlines of {SHORT_DEADLINE:?}: 10 % {:.2}, median \
             {:.2}, 90 % {:.2}, 99 % {:.2}, most {:.3}; more than 2: {}",
            took.len(),
            share(10),
            share(50),
            share(90),
            share(99),
            share(100),
            took.iter().filter(|took| **took > 2.0).count(),
        );
    }
}

/// How long the processes took from the stop to their end.
fn random_mixture(seed: u64) -> Vec<(&'static str, Duration)> {
    let mut random = Random(seed);
    let acts: Vec<_> =
        (0..=random.below(3)).map(|_| ACTS[random.below(ACTS.len() as u64) as usize]).collect();
    let mixture = format!("mixture {}", acts.join(", "));
    let signal = (random.below(2) == 0).then(|| Duration::from_millis(random.below(300)));
    let run_on = |processors| {
        let mut service = Service::start_with(processors, &mixture, SHORT_DEADLINE, &[]);
        if let Some(after) = signal {
            service.wait_for("listening");
            thread::sleep(after);
            service.signal();
        }
        let end = service.end();
        let is_named = ["Hostile[", "has not ended by"].iter().any(|text| end.log.contains(text));
        assert!(is_named || end.code == Some(0), "seed {seed}, {mixture}: {end}");
        (processors, end.took_to_stop)
    };
    PROCESSORS.into_iter().map(run_on).collect()
}

const PROCESSORS: [&str; 2] = ["0", "0,1"];

/// What a daemon of a random mixture does.
const ACTS: [&str; 18] = [
    "asks and blocks",
    "joins",
    "prepare blocks",
    "stop blocks",
    "abort blocks",
    "blocks all",
    "drop blocks",
    "drop panics",
    "display panics",
    "display blocks",
    "error panics",
    "error blocks",
    "tasks fail",
    "has a child",
    "fails",
    "panics",
    "leaves a process",
    "waits for a process",
];

/// Runs a service, and wants these texts on its stderr, and those not.
fn check(service: &str, expected: &[&str], unexpected: &[&str]) {
    check_with((service, DEADLINE), expected, unexpected);
}

fn check_with((service, deadline): (&str, Duration), expected: &[&str], unexpected: &[&str]) {
    for processors in PROCESSORS {
        let end = Service::start_with(processors, service, deadline, &[]).end();
        end.contains(expected);
        for text in unexpected {
            assert!(!end.log.contains(text), "{text:?} is in the log of {service:?} on {processors}: {end}");
        }
        assert_eq!(end.code, Some(1), "{end}");
    }
}

/// A process that runs one of the services below.
struct Service {
    child: Child,
    lines: Receiver<String>,
    /// All lines that were received.
    log: Vec<String>,
    name: String,
    since: Instant,
    /// How long it may take to stop.
    lasts: Duration,
    /// On the clock of all processes.
    signalled: Option<Duration>,
}

/// The clock of all processes.
fn now() -> Duration {
    let now = clock_gettime(ClockId::Monotonic);
    Duration::new(now.tv_sec.try_into().unwrap(), now.tv_nsec.try_into().unwrap())
}

/// How a process ended.
struct End {
    code: Option<i32>,
    took: Duration,
    /// From the first request to stop or failure on, if there was one.
    took_to_stop: Duration,
    log: String,
}

impl End {
    fn contains(&self, expected: &[&str]) {
        for text in expected {
            assert!(self.log.contains(text), "{text:?} is missing: {self}");
        }
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "exit code {:?} after {:?}\n{}", self.code, self.took, self.log)
    }
}

const SERVICE: &str = "HANGING_SERVICE";

/// The stop deadline in milliseconds.
const STOP_DEADLINE: &str = "HANGING_STOP_DEADLINE";

impl Service {
    fn start(processors: &str, name: &str) -> Service {
        Self::start_with(processors, name, DEADLINE, &[])
    }

    /// Starts a service on these processors; on all of them where there is no `taskset`, or there are no such processors.
    fn start_with(processors: &str, name: &str, deadline: Duration, variables: &[(&str, &str)]) -> Service {
        let this = env::current_exe().unwrap();
        let can_set = || Command::new("taskset").args(["-c", processors, "true"]).output();
        let mut command = if can_set().is_ok_and(|output| output.status.success()) {
            let mut command = Command::new("taskset");
            command.args(["-c", processors]).arg(this);
            command
        } else {
            Command::new(this)
        };
        let since = Instant::now();
        let mut child = command
            .args(["--exact", "service", "--nocapture", "--quiet"])
            .env_remove("RUST_LOG")
            .env_remove("RUST_BACKTRACE")
            .env(SERVICE, name)
            .env(STOP_DEADLINE, deadline.as_millis().to_string())
            .envs(variables.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let (sender, lines) = mpsc::channel();
        thread::spawn(move || {
            for line in stderr.split(b'\n').map_while(io::Result::ok) {
                let _ = sender.send(String::from_utf8_lossy(&line).into_owned());
            }
        });
        let (log, lasts, name) = (Vec::new(), 2 * deadline, name.to_owned());
        Service { child, lines, log, name, since, lasts, signalled: None }
    }

    fn wait_for(&mut self, text: &str) {
        loop {
            let line = self.lines.recv_timeout(START_MAX).unwrap();
            self.log.push(line);
            if self.log.last().unwrap().contains(text) {
                return;
            }
        }
    }

    fn signal(&mut self) {
        self.signalled = Some(now());
        // It may have ended already.
        let _ = kill_process(Pid::from_child(&self.child), Signal::TERM);
    }

    /// When it was asked to stop, or stopped by itself: said by the service, or signalled.
    fn stops_since(&mut self) -> Option<Duration> {
        self.log.extend(self.lines.try_iter());
        let micros = self.log.iter().find_map(|line| line.strip_prefix(STOPS)?.trim().parse().ok());
        micros.map(Duration::from_micros).into_iter().chain(self.signalled).min()
    }

    /// Waits for the end of the process, which has to come within twice the stop deadline.
    fn end(mut self) -> End {
        let (mut waited, mut stops) = (Duration::ZERO, None);
        let code = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break Some(status);
            }
            if stops.is_none() {
                stops = self.stops_since();
            }
            if stops.is_some() {
                waited += WAIT;
            }
            if waited > self.lasts || self.since.elapsed() > START_MAX + 2 * self.lasts {
                self.child.kill().unwrap();
                break None;
            }
            thread::sleep(WAIT);
        };
        let took = self.since.elapsed();
        let ended = now();
        self.log.extend(self.lines.iter());
        let took_to_stop = self.stops_since().map_or(Duration::ZERO, |stops| ended.saturating_sub(stops));
        let has_ended = code.is_some();
        let code = code.and_then(|status| status.code());
        let end = End { code, took, took_to_stop, log: self.log.join("\n") };
        assert!(has_ended, "{:?} has not ended within {:?} of its stop: {end}", self.name, self.lasts);
        end
    }
}

/// Not a test: the tests start this binary again with this function, and [`SERVICE`] set to the service to run.
#[test]
fn service() {
    let Ok(name) = env::var(SERVICE) else { return };
    let code = match name.as_str() {
        "subscriber panics" => {
            tracing::subscriber::set_global_default(Bad(|level| panic!("a bad subscriber, at {level}")))
                .unwrap();
            serve(&["fails"])
        }
        "subscriber blocks" => {
            tracing::subscriber::set_global_default(Bad(|level| block_if(level == Level::ERROR))).unwrap();
            serve(&["fails"])
        }
        "log blocks at the end" => {
            tracing::subscriber::set_global_default(Bad(|level| block_if(level == Level::INFO))).unwrap();
            serve(&["asks"])
        }
        name => match name.strip_prefix("mixture ") {
            Some(acts) => serve(&acts.split(", ").collect::<Vec<_>>()),
            None => serve(&[name]),
        },
    };
    process::exit(if code == ExitCode::SUCCESS { 0 } else { 1 });
}

fn serve(acts: &[&str]) -> ExitCode {
    let stop_deadline = Duration::from_millis(env::var(STOP_DEADLINE).unwrap().parse().unwrap());
    let drain = match acts {
        ["drains"] => DRAIN,
        ["drains long"] => 100 * DRAIN,
        _ => Duration::ZERO,
    };
    let options = Options { name: "test".to_owned(), stop_deadline, drain, ..Options::default() };
    run(options, |factory| {
        say("listening"); // for signals
        block_if(acts == ["setup blocks"]);
        acts.iter().try_for_each(|act| factory.with_named::<Hostile>(act))
    })
}

fn block() {
    loop {
        thread::park();
    }
}

fn block_if(is_time: bool) {
    if is_time {
        block();
    }
}

/// What is said, with the time, before a stop is requested, or what stops the factory fails.
const STOPS: &str = "stops at ";

fn say_that_it_stops() {
    say(&format!("{STOPS}{}", now().as_micros()));
}

const DRAIN: Duration = Duration::from_millis(500);

thread_local! {
    static EXIT_BLOCKS: DropBlocks = const { DropBlocks(true) };
}

/// What fails in its `run`.
const FAILS: [&str; 5] = ["fails", "panics", "display panics", "error panics", "error blocks"];

fn ask_to_stop(scope: &Scope) {
    say_that_it_stops();
    scope.request_stop();
}

/// Another process, which lasts longer than any stop here.
fn sleeping() -> Command {
    let mut command = Command::new("sleep");
    command.arg("5").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

/// Writes past the log.
fn say(text: &str) {
    let _ = writeln!(io::stderr(), "{text}");
}

/// What all others need: it stops after them.
struct Patient;

impl Daemon for Patient {
    fn build(_: &mut Factory) -> Result<Self> {
        Ok(Patient)
    }

    async fn stop(&self, _: &Scope) -> Result {
        say("patient was stopped");
        Ok(())
    }
}

/// Does what its name says.
struct Hostile {
    act: String,
    _patient: DaemonRef<Patient>,
}

impl Daemon for Hostile {
    fn build(factory: &mut Factory) -> Result<Self> {
        Ok(Hostile { act: factory.name().unwrap_or_default().to_owned(), _patient: factory.get()? })
    }

    async fn prepare(&self, scope: &Scope) -> Result {
        if self.act == "prepare blocks" {
            ask_to_stop(scope);
            block();
        }
        Ok(())
    }

    async fn run(self: &Arc<Self>, scope: &Scope) -> Result {
        let _late = DropBlocks(self.act == "abort blocks");
        if FAILS.contains(&self.act.as_str()) {
            say_that_it_stops();
        }
        match self.act.as_str() {
            "asks and blocks" => {
                ask_to_stop(scope);
                block();
            }
            "joins" => {
                ask_to_stop(scope);
                let _ = thread::spawn(block).join();
            }
            "abort blocks" => {
                ask_to_stop(scope);
                pending::<()>().await;
            }
            "blocks all" | "silently blocks all" => {
                let spawned = scope.clone();
                for _ in 0..64 {
                    spawned.spawn("blocking", async { block() });
                }
                if self.act == "blocks all" {
                    ask_to_stop(scope);
                } else {
                    say("ready");
                }
                block();
            }
            "display panics" => return Err(BadText(|| panic!("a bad text")).into()),
            "display blocks" => {
                // Nobody hears of the failure.
                ask_to_stop(scope);
                return Err(BadText(block).into());
            }
            "error panics" => return Err(BadError(|| panic!("a bad destructor")).into()),
            "error blocks" => return Err(BadError(block).into()),
            "fails" => return Err(Error::msg("out of luck")),
            "panics" => panic!("out of luck"),
            "exit blocks" => {
                say_that_it_stops();
                EXIT_BLOCKS.with(|_| ());
                process::exit(0);
            }
            "drains" | "drains long" => {
                say("ready");
                scope.draining().await;
                say("drains");
                scope.stopping().await;
                block();
            }
            "leaves a process" => {
                drop(sleeping().spawn()?);
                ask_to_stop(scope);
            }
            "waits for a process" => {
                ask_to_stop(scope);
                sleeping().status()?;
            }
            "tasks fail" => {
                for _ in 0..50 {
                    scope.spawn("failing", async { Err(Error::new(BadError(block))) });
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
                ask_to_stop(scope);
            }
            "has a child" => {
                let mut child = scope.child("child")?;
                child.with_named::<Hostile>("blocks later")?;
                let child = child.start().await?;
                ask_to_stop(scope);
                child.join().await;
            }
            "bad waker" => {
                let waker = Waker::from(Arc::new(BadWaker));
                let mut stopping = pin!(scope.stopping());
                let _ = stopping.as_mut().poll(&mut Context::from_waker(&waker));
                ask_to_stop(scope);
                pending::<()>().await;
            }
            "blocks later" => {
                scope.stopping().await;
                block();
            }
            "asks forever" => {
                for _ in 0..300 {
                    let scope = scope.clone();
                    tokio::spawn(async move { while scope.status().await.is_some() {} });
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
                ask_to_stop(scope);
                pending::<()>().await;
            }
            "many tasks" => {
                for _ in 0..100_000 {
                    scope.spawn("slow", async {
                        let _slow = DropTakes(Duration::from_micros(5));
                        pending::<()>().await;
                    });
                }
                ask_to_stop(scope);
            }
            _ => ask_to_stop(scope),
        }
        Ok(())
    }

    async fn stop(&self, _: &Scope) -> Result {
        block_if(self.act == "stop blocks");
        Ok(())
    }
}

impl Drop for Hostile {
    fn drop(&mut self) {
        block_if(self.act == "drop blocks");
        assert!(self.act != "drop panics", "a bad destructor");
    }
}

struct DropBlocks(bool);

impl Drop for DropBlocks {
    fn drop(&mut self) {
        block_if(self.0);
    }
}

struct DropTakes(Duration);

impl Drop for DropTakes {
    fn drop(&mut self) {
        let since = Instant::now();
        while since.elapsed() < self.0 {}
    }
}

struct BadWaker;

impl Wake for BadWaker {
    fn wake(self: Arc<Self>) {
        panic!("a bad waker");
    }
}

#[derive(Debug)]
struct BadText(fn());

impl fmt::Display for BadText {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        (self.0)();
        Ok(())
    }
}

impl std::error::Error for BadText {}

#[derive(Debug)]
struct BadError(fn());

impl fmt::Display for BadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a bad error")
    }
}

impl std::error::Error for BadError {}

impl Drop for BadError {
    fn drop(&mut self) {
        (self.0)();
    }
}

/// A subscriber that does this at each log line.
struct Bad(fn(Level));

impl Subscriber for Bad {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("steelmill")
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        (self.0)(*event.metadata().level());
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

/// SplitMix64.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % limit
    }
}
