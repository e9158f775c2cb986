//! A service under systemd, and one whose configuration SIGHUP has read again: each test is the service manager of a process.
#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "a test's helpers are tests")]

use std::env;
use std::fs;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::PathBuf;
use std::process::{self, Child, Command, ExitCode, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use steelmill_core::{Config, ConfigWatch, Daemon, Factory, Health, HealthChecks, Result, Scope};
use steelmill_runtime::{Options, configure, run};

const KIND: &str = "TEST_SERVICE";
const FILE: &str = "TEST_FILE";

/// The service manager of one process.
struct Manager {
    socket: UnixDatagram,
    service: Child,
    file: PathBuf,
}

impl Manager {
    /// Starts a service that sends to a path, or to an abstract name.
    fn start(kind: &str, is_abstract: bool, variables: &[(&str, &str)]) -> Manager {
        let name = format!("steelmill-{}-{}", process::id(), kind.replace(' ', "-"));
        let path = env::temp_dir().join(format!("{name}.sock"));
        let file = env::temp_dir().join(format!("{name}.config"));
        let _ = fs::remove_file(&path);
        fs::write(&file, "1").unwrap();
        let (socket, address) = if is_abstract {
            let address = SocketAddr::from_abstract_name(&name).unwrap();
            (UnixDatagram::bind_addr(&address).unwrap(), format!("@{name}"))
        } else {
            (UnixDatagram::bind(&path).unwrap(), path.to_str().unwrap().to_owned())
        };
        socket.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        let service = Command::new(env::current_exe().unwrap())
            .args(["--exact", "service", "--nocapture", "--quiet"])
            .env_remove("RUST_LOG")
            .env(KIND, kind)
            .env(FILE, &file)
            .env("NOTIFY_SOCKET", address)
            .envs(variables.iter().copied())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Manager { socket, service, file }
    }

    fn receive(&self) -> String {
        let mut buffer = [0; 4096];
        let count = self.socket.recv(&mut buffer).expect("the service says something");
        String::from_utf8(buffer[..count].to_vec()).unwrap()
    }

    /// Waits for a message of which this holds, at most 30 seconds. (A process that was started with SIGHUP ignored, as by
    /// nohup(1), reads no configuration again.)
    fn until(&self, holds: impl Fn(&str) -> bool) -> String {
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            let message = self.receive();
            if holds(&message) {
                return message;
            }
            assert!(Instant::now() < deadline, "the message does not come; the last one is {message:?}");
        }
    }

    fn signal(&self, signal: &str) {
        let id = self.service.id().to_string();
        assert!(Command::new("kill").args(["-s", signal, &id]).status().unwrap().success());
    }

    /// Waits for the end of the process, at most 30 seconds.
    fn end(mut self) -> Option<i32> {
        let deadline = Instant::now() + Duration::from_secs(30);
        while self.service.try_wait().unwrap().is_none() {
            assert!(Instant::now() < deadline, "the process does not end");
            pause();
        }
        self.service.wait().unwrap().code()
    }
}

impl Drop for Manager {
    fn drop(&mut self) {
        let _ = self.service.kill();
        let _ = self.service.wait();
        let _ = fs::remove_file(&self.file);
        let path = self.file.with_extension("sock");
        let _ = fs::remove_file(path);
    }
}

#[expect(clippy::disallowed_methods, reason = "a test that waits")]
fn pause() {
    thread::sleep(Duration::from_millis(150));
}

fn fields(message: &str) -> Vec<&str> {
    message.lines().collect()
}

#[test]
fn the_manager_is_told_of_the_start_and_of_the_stop() {
    for is_abstract in [false, true] {
        let kind = if is_abstract { "steady abstract" } else { "steady" };
        let manager = Manager::start(kind, is_abstract, &[]);
        let ready = manager.until(|message| message.contains("READY=1"));
        assert_eq!(fields(&ready), ["READY=1", "STATUS=test: ready"]);
        manager.signal("TERM");
        assert_eq!(manager.until(|message| message.starts_with("STOPPING")), "STOPPING=1");
        assert_eq!(manager.end(), Some(0));
    }
}

#[test]
fn a_service_that_ends_by_itself_says_that_it_stops() {
    for _ in 0..20 {
        let manager = Manager::start("leaving", false, &[]);
        manager.until(|message| message == "STOPPING=1");
        assert_eq!(manager.end(), Some(0));
    }
}

#[test]
fn what_is_not_well_is_the_status() {
    let manager = Manager::start("ill", false, &[]);
    manager.until(|message| message == "STATUS=test: not ready; test: Ill is failing: no disk");
    manager.signal("TERM");
    manager.until(|message| message == "STOPPING=1");
    assert_eq!(manager.end(), Some(0));
}

#[test]
fn a_service_that_drains_says_that_it_stops() {
    let manager = Manager::start("draining", false, &[]);
    manager.until(|message| message.contains("READY=1"));
    manager.signal("TERM");
    manager.until(|message| message == "STOPPING=1");
    manager.until(|message| message.starts_with("STATUS=test: not ready; test is draining"));
    pause(); // longer than a burst of signals that counts as one
    manager.signal("TERM");
    assert_eq!(manager.end(), Some(0), "the second signal ends the drain");
}

#[test]
fn a_sign_of_life_comes_until_a_daemon_is_unresponsive() {
    let manager = Manager::start("hanging", false, &[("WATCHDOG_USEC", "400000")]);
    manager.until(|message| message == "WATCHDOG=1");
    manager.until(|message| message == "WATCHDOG=1");
    // Its check hangs from now on.
    manager.signal("HUP");
    manager.until(|message| message.contains("test: not ready, not live"));
    manager.socket.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
    let mut buffer = [0; 4096];
    while let Ok(count) = manager.socket.recv(&mut buffer) {
        assert_ne!(&buffer[..count], b"WATCHDOG=1", "a sign of life of one that hangs");
    }
}

#[test]
fn another_process_gives_no_sign_of_life() {
    let manager = Manager::start("steady other", false, &[("WATCHDOG_USEC", "20000"), ("WATCHDOG_PID", "1")]);
    manager.until(|message| message.contains("READY=1"));
    manager.signal("TERM");
    let message = manager.until(|message| message == "WATCHDOG=1" || message == "STOPPING=1");
    assert_eq!(message, "STOPPING=1");
    assert_eq!(manager.end(), Some(0));
}

#[test]
fn a_reload_is_told_and_a_bad_configuration_leaves_the_old_one() {
    let manager = Manager::start("configured", false, &[]);
    manager.until(|message| message.contains("READY=1"));
    for (config, status) in [
        ("2", "STATUS=Configuration<Limit>(generation 2)"),
        ("0", "STATUS=test: the new Limit is refused, and generation 2 stays: must be at least 1"),
        (
            "x",
            "STATUS=test: the new Limit is refused, and generation 2 stays: no number: invalid digit found in string",
        ),
        ("3", "STATUS=Configuration<Limit>(generation 3)"),
    ] {
        fs::write(&manager.file, config).unwrap();
        manager.signal("HUP");
        let reloading = manager.until(|message| message.starts_with("RELOADING=1"));
        let micros = fields(&reloading)[1].strip_prefix("MONOTONIC_USEC=").unwrap();
        assert_ne!(micros.parse::<u64>().unwrap(), 0);
        let done = manager.until(|message| message.starts_with("READY=1"));
        assert_eq!(fields(&done), ["READY=1", status]);
    }
    manager.signal("TERM");
    assert_eq!(manager.end(), Some(0), "it has seen no other values");
}

#[test]
fn a_wrong_address_is_an_error() {
    let manager = Manager::start("steady wrong", false, &[("NOTIFY_SOCKET", "vsock:2:1")]);
    assert_eq!(manager.end(), Some(1));
}

/// Not a test: the tests start this binary again with this function, and [`KIND`] set to the service to run.
#[test]
fn service() {
    let Ok(kind) = env::var(KIND) else { return };
    let mut options = Options { name: "test".to_owned(), ..Options::default() };
    if kind == "draining" {
        options.drain = Duration::from_secs(3_600);
    }
    let code = run(options, |factory| {
        let timeout = Duration::from_millis(100);
        factory.health_checks(HealthChecks { every: Duration::from_millis(20), timeout });
        match kind.as_str() {
            "ill" => factory.with::<Ill>(),
            "leaving" => factory.with::<Leaving>(),
            "hanging" => {
                configure(factory, || Ok(Limit(HUNG_UP.swap(true, Ordering::Relaxed).into())))?;
                factory.with::<Hanging>()
            }
            "configured" => {
                configure(factory, load)?;
                factory.with::<Following>()
            }
            _ => Ok(()),
        }
    });
    process::exit(if code == ExitCode::SUCCESS { 0 } else { 1 });
}

struct Ill;

impl Daemon for Ill {
    fn build(_: &mut Factory) -> Result<Self> {
        Ok(Ill)
    }

    async fn health(&self) -> Health {
        Health::failing("no disk")
    }
}

/// Stops its factory as soon as it runs.
struct Leaving;

impl Daemon for Leaving {
    fn build(_: &mut Factory) -> Result<Self> {
        Ok(Leaving)
    }

    async fn run(self: &Arc<Self>, scope: &Scope) -> Result {
        scope.request_stop();
        Ok(())
    }
}

struct Limit(u32);

static HUNG_UP: AtomicBool = AtomicBool::new(false);

impl Config for Limit {
    fn validate(&self) -> Result {
        ensure!(self.0 > 0 || env::var(KIND).is_ok_and(|kind| kind == "hanging"), "must be at least 1");
        Ok(())
    }
}

fn load() -> Result<Limit> {
    Ok(Limit(fs::read_to_string(env::var(FILE)?)?.trim().parse().context("no number")?))
}

/// Its check hangs once the configuration was read again.
struct Hanging(ConfigWatch<Limit>);

impl Daemon for Hanging {
    fn build(factory: &mut Factory) -> Result<Self> {
        Ok(Hanging(factory.config()?))
    }

    async fn health(&self) -> Health {
        if self.0.current().0 > 0 {
            std::future::pending::<()>().await;
        }
        Health::Healthy
    }
}

/// Fails at its stop unless it was told of each configuration.
struct Following(ConfigWatch<Limit>);

impl Daemon for Following {
    fn build(factory: &mut Factory) -> Result<Self> {
        Ok(Following(factory.config()?))
    }

    async fn run(self: &Arc<Self>, scope: &Scope) -> Result {
        let mut limit = self.0.clone();
        let mut seen = vec![limit.current().0];
        while let Some(limit) = scope.until_stopping(limit.changed()).await {
            seen.push(limit.0);
        }
        let last = self.0.current().0;
        ensure!(
            last == 3 && seen.is_sorted() && !seen.contains(&0),
            "it has seen {seen:?}, and {last} is left"
        );
        Ok(())
    }
}
