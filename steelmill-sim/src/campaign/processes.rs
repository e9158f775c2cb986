//! A process for each run of a scenario with programs. The libraries that programs use keep state in statics, such as a
//! counter of runtimes, so the second run in a process would not be the first one's equal.
//!
//! The campaign starts this program again. That reaches the same campaign, and there becomes a server, which forks a child
//! for each run that it is asked for. Campaigns before it are not run again: the server is given their outcomes.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Child, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use anyhow::Context as _;
use serde::{Deserialize, Serialize};
use steelmill_core::Result;

use crate::campaign::again::{SECOND_RUN_VARIABLE, SERVER_VARIABLE, SameProgram};
use crate::campaign::record::KeptSeed;
use crate::host::fork;
use crate::machine::statics;
use crate::run::simulate::can_have_guests;
use crate::schema::look::Look;
use crate::schema::outcome::Outcome;
use crate::schema::settings::Settings;

/// A run that a server is asked for.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Request {
    pub(super) settings: Settings,
    pub(super) look: Option<Look>,
    /// Whether the run logs nothing, and nothing is seen of what it prints: it is one of many that explain another.
    pub(super) is_silent: bool,
}

/// What is sent back: an outcome by the child, if it gets that far, and its end by the server.
#[derive(Debug, Serialize, Deserialize)]
enum Reply {
    Outcome(Box<Outcome>),
    Ended {
        /// How, as wait(2) tells.
        status: i32,
        /// How many bytes it printed, unless that was shown at once. They follow.
        output: u64,
    },
}

/// The outcomes of a campaign, in the order in which they were reported.
#[derive(Debug, Deserialize)]
pub(super) struct Past {
    pub(super) requested: u64,
    pub(super) outcomes: Vec<(Option<KeptSeed>, Outcome)>,
}

/// Of the campaigns of this thread so far: those with processes, by number, as JSON.
type Pasts = BTreeMap<u64, String>;

thread_local! {
    static NEXT: Cell<u64> = const { Cell::new(0) };
    static PASTS: RefCell<Pasts> = const { RefCell::new(Pasts::new()) };
}

/// A process that was started as a server.
struct Role {
    /// The number of the campaign that it serves.
    served: u64,
    /// Without a buffer: each request is read by another process.
    socket: UnixStream,
    is_shown: bool,
    pasts: Pasts,
}

impl Role {
    /// That of this process, if it is a server.
    fn of_process() -> Option<&'static Self> {
        static ROLE: OnceLock<Option<Role>> = OnceLock::new();
        ROLE.get_or_init(Self::take).as_ref()
    }

    fn take() -> Option<Self> {
        let served = std::env::var(SERVER_VARIABLE).ok()?;
        fork::ignore_interrupts();
        // It stands in place of the standard input.
        let socket = UnixStream::from(io::stdin().as_fd().try_clone_to_owned().ok()?);
        let mut length = [0; 8];
        (&socket).read_exact(&mut length).ok()?;
        let mut first = vec![0; usize::try_from(u64::from_le_bytes(length)).ok()?];
        (&socket).read_exact(&mut first).ok()?;
        let (is_shown, pasts) = serde_json::from_slice(&first).ok()?;
        Some(Self { served: served.parse().ok()?, socket, is_shown, pasts })
    }
}

/// AWS-LC, which rustls uses by default, and OpenSSL take entropy from the processor by an instruction that nothing catches
/// (`rdrand`), unless this variable says that it has none (OPENSSL_ia32cap(3)). They read it before `main`.
const OPENSSL_CAPABILITIES: &str = "OPENSSL_ia32cap";
const WITHOUT_RDRAND: &str = "~0x4000000000000000";

/// As [`share_one_arena`](crate::machine::threads::share_one_arena), in a program that may have threads before it is asked for runs.
const ARENAS: &str = "MALLOC_ARENA_MAX";

/// The processes of a campaign's runs.
#[derive(Debug, Default)]
pub(crate) struct Processes {
    /// Whether a run turned out to need a process.
    are_needed: AtomicBool,
    stage: Mutex<Option<Stage>>,
    idle: Mutex<Vec<Server>>,
    /// The outcomes that were reported, as JSON.
    noted: Mutex<Vec<String>>,
}

/// What a server has to know of the campaign.
#[derive(Debug, Clone)]
struct Stage {
    number: u64,
    program: Arc<Result<SameProgram>>,
    pasts: Pasts,
    /// Whether what a run prints is shown at once.
    is_shown: bool,
}

impl Processes {
    /// A campaign begins on this thread. In a server of this campaign it ends here. Gives what came of the campaign before,
    /// in a server of a later one.
    pub(super) fn begin(&self, run: &(dyn Fn(Request) -> Outcome + Sync)) -> Option<Past> {
        let number = NEXT.replace(NEXT.get() + 1);
        let role = Role::of_process();
        let known = role.and_then(|role| role.pasts.get(&number));
        if let Some(role) = role.filter(|role| role.served == number) {
            serve(role, run);
        }
        if let Some(past) = known {
            PASTS.with_borrow_mut(|pasts| pasts.insert(number, past.clone()));
        }
        self.idle().clear();
        self.noted().clear();
        *self.stage() = Some(Stage {
            number,
            program: Arc::new(SameProgram::of_this_thread()),
            pasts: PASTS.with_borrow(Clone::clone),
            is_shown: is_shown(),
        });
        known.map(|past| serde_json::from_str(past).expect("another process of this program wrote it"))
    }

    pub(super) fn have_begun(&self) -> bool {
        self.stage().is_some()
    }

    pub(super) fn is_server() -> bool {
        Role::of_process().is_some()
    }

    pub(super) fn are_needed(&self) -> bool {
        self.are_needed.load(Ordering::Relaxed)
    }

    pub(super) fn need(&self) {
        self.are_needed.store(true, Ordering::Relaxed);
    }

    /// Makes a run in a process of its own.
    pub(super) fn run(&self, request: &Request) -> Outcome {
        let seed = request.settings.seed;
        self.try_run(request).unwrap_or_else(|error| Outcome::without_run(seed, error))
    }

    fn try_run(&self, request: &Request) -> Result<Outcome> {
        let idle = self.idle().pop();
        let mut server = idle.map_or_else(|| self.start(), Ok)?;
        let outcome = server.run(request)?; // a server that fails is not used again
        self.idle().push(server);
        outcome.map_err(anyhow::Error::msg)
    }

    fn start(&self) -> Result<Server> {
        let stage = self.stage().clone();
        let stage = stage.expect("a campaign begins before it runs");
        let program = stage.program.as_ref().as_ref().map_err(|error| anyhow::anyhow!("{error:#}"))?;
        let (ours, theirs) = UnixStream::pair().context("cannot make a pair of sockets")?;
        let mut command = program.command();
        command.env_remove(SECOND_RUN_VARIABLE).env(SERVER_VARIABLE, stage.number.to_string());
        for (name, value) in [(OPENSSL_CAPABILITIES, WITHOUT_RDRAND), (ARENAS, "1")] {
            if std::env::var_os(name).is_none() {
                command.env(name, value);
            }
        }
        command.stdin(Stdio::from(std::os::fd::OwnedFd::from(theirs)));
        fork::fix_addresses(&mut command);
        if !stage.is_shown {
            // What the harness would keep in the server reaches the output of the child, and from there this process's harness.
            command.stderr(Stdio::null()).env("RUST_TEST_NOCAPTURE", "1");
        }
        let child = command.spawn();
        let child = child.with_context(|| format!("{} cannot be started", program.program.display()))?;
        drop(command); // and with it their socket
        let mut server = Server { child, socket: BufReader::new(ours) };
        let first = serde_json::to_vec(&(stage.is_shown, &stage.pasts))?;
        let length = (first.len() as u64).to_le_bytes();
        server.write(&[&length[..], &first].concat())?;
        Ok(server)
    }

    fn idle(&self) -> impl std::ops::DerefMut<Target = Vec<Server>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes an outcome that is reported, for servers of later campaigns.
    pub(super) fn note(&self, kept: Option<&KeptSeed>, outcome: &Outcome) {
        if self.are_needed() {
            let noted = serde_json::to_string(&(kept, outcome)).expect("plain data");
            self.noted().push(noted);
        }
    }

    /// The campaign has ended: it had so many seeds to run, and reported so many outcomes. Unless all of them were noted, as
    /// they are from the first run on that needs a process, a server of a later campaign makes the runs of this one again.
    pub(super) fn keep(&self, requested: u64, reported: u64) {
        let noted = std::mem::take(&mut *self.noted());
        let is_whole = self.are_needed() && noted.len() as u64 == reported;
        if let Some(Stage { number, .. }) = self.stage().as_ref().filter(|_| is_whole) {
            let past = format!("{{\"requested\": {requested}, \"outcomes\": [{}]}}", noted.join(","));
            PASTS.with_borrow_mut(|pasts| pasts.insert(*number, past));
        }
    }

    fn noted(&self) -> impl std::ops::DerefMut<Target = Vec<String>> {
        self.noted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn stage(&self) -> impl std::ops::DerefMut<Target = Option<Stage>> {
        self.stage.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether the harness shows at once what a test prints.
fn is_shown() -> bool {
    let is_test = std::thread::current().name().is_some_and(|name| name != "main");
    let is_uncaptured = || {
        let mut args = std::env::args();
        ["RUST_TEST_NOCAPTURE", "NEXTEST"].iter().any(|name| std::env::var_os(name).is_some())
            || args.any(|arg| ["--nocapture", "--no-capture", "--show-output"].contains(&&*arg))
    };
    !is_test || is_uncaptured()
}

/// A process that forks one for each run.
#[derive(Debug)]
struct Server {
    child: Child,
    socket: BufReader<UnixStream>,
}

impl Server {
    fn send(&mut self, message: &impl Serialize) -> Result {
        let mut line = serde_json::to_vec(message)?;
        line.push(b'\n');
        self.write(&line)
    }

    fn write(&mut self, bytes: &[u8]) -> Result {
        let sent = self.socket.get_mut().write_all(bytes);
        sent.map_err(|_| self.gone())
    }

    /// The outcome of a run, or how its process ended without one.
    ///
    /// # Errors
    /// When the server has ended.
    fn run(&mut self, request: &Request) -> Result<Result<Outcome, String>> {
        self.send(request)?;
        let mut outcome = None;
        loop {
            let mut line = Vec::new();
            if self.socket.read_until(b'\n', &mut line).map_err(|_| self.gone())? == 0 {
                return Err(self.gone());
            }
            match serde_json::from_slice(&line) {
                Ok(Reply::Outcome(received)) => outcome = Some(received),
                Ok(Reply::Ended { status, output: length }) => {
                    let mut output = Vec::new();
                    let read = self.socket.by_ref().take(length).read_to_end(&mut output);
                    if read.map_err(|_| self.gone())? as u64 != length {
                        return Err(self.gone());
                    }
                    let output = String::from_utf8_lossy(&output);
                    if let Some(outcome) = outcome {
                        if !request.is_silent {
                            print!("{output}");
                        }
                        return Ok(Ok(*outcome));
                    }
                    let status = ExitStatus::from_raw(status);
                    let how = if status.success() { "it exited".to_owned() } else { status.to_string() };
                    let output = output.trim_end();
                    let separator = if output.is_empty() { "" } else { "\n" };
                    return Ok(Err(format!(
                        "the process of this run ended before its end: {how}{separator}{output}"
                    )));
                }
                Err(error) if error.is_data() => panic!("an outcome is not read as it is written: {error}"),
                // Empty, or what a child had written when it was killed.
                Err(_) => {}
            }
        }
    }

    fn gone(&mut self) -> anyhow::Error {
        let how = self.child.wait().map_or_else(|error| error.to_string(), |status| status.to_string());
        anyhow::anyhow!(
            "this scenario has programs, so its runs are made in processes, which are forked from this program started \
             again; that ended ({how}) before it reached this campaign, as the same arguments and environment should have it"
        )
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a child exits with if nobody asks for a run any more.
const NOBODY_ASKS: i32 = 86;

/// Makes the runs that are asked for, each in a child, until nobody asks any more.
///
/// Libraries decide by addresses, as parking_lot does which locks share a queue. So a child is forked before its request is read, and
/// between two forks nothing is allocated: each begins with the same heap.
fn serve(Role { socket, is_shown, .. }: &Role, run: &(dyn Fn(Request) -> Outcome + Sync)) -> ! {
    statics::prepare();
    let _ = can_have_guests(); // once, and not in each child
    loop {
        let Ok(output) = (!is_shown).then(fork::file_in_memory).transpose() else { fork::end() };
        let ended = fork::in_a_child(|| {
            let mut line = String::new();
            let request: Option<Request> = match BufReader::new(socket).read_line(&mut line) {
                Ok(1..) => serde_json::from_str(&line).ok(),
                _ => None,
            };
            let Some(request) = request else { fork::exit(NOBODY_ASKS) };
            drop(line);
            match (&output, nowhere(&request)) {
                (Some(output), _) => fork::redirect_output(output),
                (None, Some(nowhere)) => fork::redirect_output(&nowhere),
                (None, None) => fork::redirect_output(&io::stderr()),
            }
            let outcome = Reply::Outcome(Box::new(run(request)));
            let _ = writeln!(&mut { socket }, "{}", serde_json::to_string(&outcome).expect("plain data"));
        });
        let Ok(status) = ended else { fork::end() };
        if status.code() == Some(NOBODY_ASKS) || report(socket, status, output.as_ref()).is_err() {
            fork::end()
        }
    }
}

/// Where a run prints of which nothing is seen.
fn nowhere(request: &Request) -> Option<File> {
    request.is_silent.then(|| File::options().write(true).open("/dev/null").ok()).flatten()
}

/// Says how a child ended, and sends what it printed. It allocates nothing.
fn report(mut socket: &UnixStream, status: ExitStatus, output: Option<&File>) -> io::Result<()> {
    let length = output.map_or(Ok(0), |output| output.metadata().map(|output| output.len()))?;
    // The child may have been killed within a line.
    let mut line = [0; 128];
    let mut rest = &mut line[..];
    writeln!(rest, "\n{{\"Ended\":{{\"status\":{},\"output\":{length}}}}}", status.into_raw())?;
    let left = rest.len();
    socket.write_all(&line[..line.len() - left])?;
    output.map_or(Ok(()), |output| fork::send_all(socket, output, length))
}
