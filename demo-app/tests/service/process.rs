//! The program under test: started on free ports, observed by its log, and killed on drop.

use std::io::{BufRead as _, BufReader, Read, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// The timeout of every wait.
pub const TIMEOUT: Duration = Duration::from_secs(30);

/// Arguments for all daemons in one process.
pub const ALL: [&str; 4] = ["--daemons", "lease,store,gateway", "--listen", "gateway=127.0.0.1:0"];

/// A running program.
pub struct Demo {
    child: Child,
    log: Arc<Log>,
    /// Read its output until its end.
    readers: Vec<JoinHandle<()>>,
}

#[derive(Default)]
struct Log {
    lines: Mutex<Vec<String>>,
    grew: Condvar,
}

/// The command that starts the program with `args`.
pub fn program(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_demo-app"));
    command.args(args).env_remove("RUST_LOG").env("NO_COLOR", "1").stdin(Stdio::null());
    command
}

/// Runs the program until it exits.
pub fn output(args: &[&str]) -> Output {
    program(args).output().expect("the program starts")
}

impl Demo {
    pub fn start(args: &[&str]) -> Self {
        Self::run(program(args))
    }

    /// Runs a command that becomes the program.
    pub fn run(mut command: Command) -> Self {
        let mut child =
            command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the program starts");
        let log = Arc::new(Log::default());
        let pipes: [Box<dyn Read + Send>; 2] =
            [Box::new(child.stdout.take().expect("piped")), Box::new(child.stderr.take().expect("piped"))];
        let readers = pipes.map(|pipe| {
            let log = log.clone();
            std::thread::spawn(move || {
                for line in BufReader::new(pipe).lines().map_while(Result::ok) {
                    log.lines.lock().expect("no reader panics").push(line);
                    log.grew.notify_all();
                }
            })
        });
        Self { child, log, readers: readers.into() }
    }

    /// Starts all daemons in one process, and waits until it holds the lease: one that a busy machine renews in time.
    pub fn serving() -> Self {
        let demo = Self::start(&[&ALL[..], &["--lease-ttl", "30s"]].concat());
        demo.wait_for_line("holds the lease, token");
        demo
    }

    /// Waits for a line of the log that contains `text`, and returns it.
    pub fn wait_for_line(&self, text: &str) -> String {
        let deadline = Instant::now() + TIMEOUT;
        let mut lines = self.log.lines.lock().expect("no reader panics");
        loop {
            if let Some(line) = lines.iter().find(|line| line.contains(text)) {
                return line.clone();
            }
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "no line with {text:?} in:\n{}", lines.join("\n"));
            lines = self.log.grew.wait_timeout(lines, left).expect("no reader panics").0;
        }
    }

    /// The address that its daemon listens on.
    pub fn address(&self, daemon: &str) -> SocketAddr {
        let line = self.wait_for_line(&format!("{daemon} listens on "));
        line.split_whitespace().last().and_then(|address| address.parse().ok()).expect("ends with an address")
    }

    pub fn connect(&self) -> Raw {
        Raw::open(self.address("gateway"))
    }

    /// A connection of the Redis client library to its gateway.
    pub fn redis(&self) -> redis::Connection {
        let client = redis::Client::open(format!("redis://{}", self.address("gateway"))).expect("an address");
        let connection = client.get_connection_with_timeout(TIMEOUT).expect("it is accepted");
        connection.set_read_timeout(Some(TIMEOUT)).expect("a socket");
        connection
    }

    /// Its resident memory, in MiB.
    pub fn resident(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("it runs");
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("Linux says so");
        line.split_whitespace().nth(1).and_then(|kib| kib.parse::<u64>().ok()).expect("a number") / 1024
    }

    pub fn signal(&self, name: &str) {
        let kill = Command::new("sh").args(["-c", &format!("kill -{name} {}", self.child.id())]).status();
        assert!(kill.expect("there is a shell").success());
    }

    /// Waits until it has ended, and all is read that it has said.
    pub fn wait_for_exit(&mut self) -> ExitStatus {
        let deadline = Instant::now() + TIMEOUT;
        loop {
            if let Some(status) = self.child.try_wait().expect("it is our child") {
                self.readers.drain(..).for_each(|reader| reader.join().expect("no reader panics"));
                return status;
            }
            assert!(Instant::now() < deadline, "it does not exit; its log:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    pub fn log(&self) -> String {
        self.log.lines.lock().expect("no reader panics").join("\n")
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        // Fails if it has exited already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A connection for raw bytes.
pub struct Raw(pub TcpStream);

impl Raw {
    pub fn open(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).expect("it is accepted");
        stream.set_read_timeout(Some(TIMEOUT)).expect("a socket");
        stream.set_write_timeout(Some(TIMEOUT)).expect("a socket");
        stream.set_nodelay(true).expect("a socket");
        Self(stream)
    }

    pub fn send(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).expect("it is taken");
    }

    /// Reads `expected.len()` bytes, and compares.
    #[track_caller]
    pub fn expect(&mut self, expected: &[u8]) {
        let mut bytes = vec![0; expected.len()];
        self.0.read_exact(&mut bytes).expect("a reply in time");
        assert_eq!(bytes.escape_ascii().to_string(), expected.escape_ascii().to_string());
    }

    /// Sends `bytes`, and reads a reply of one line.
    pub fn ask(&mut self, bytes: &[u8]) -> String {
        self.send(bytes);
        let mut line = Vec::new();
        let mut byte = [0];
        while !line.ends_with(b"\r\n") {
            self.0.read_exact(&mut byte).expect("a reply in time");
            line.push(byte[0]);
        }
        String::from_utf8(line).expect("text").trim_end().to_owned()
    }

    /// All bytes until the peer closes the connection.
    pub fn rest(&mut self) -> String {
        let mut bytes = Vec::new();
        self.0.read_to_end(&mut bytes).expect("it closes, and does not reset");
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

/// A gateway in a process of its own, which serves; `addresses` are those of store and lease daemon.
pub fn gateway([store, lease]: &[String; 2], ttl: &str) -> Demo {
    let demo = Demo::start(&[
        "--daemons",
        "gateway",
        "--listen",
        "gateway=127.0.0.1:0",
        "--connect",
        store,
        "--connect",
        lease,
        "--lease-ttl",
        ttl,
    ]);
    demo.address("gateway");
    demo
}
