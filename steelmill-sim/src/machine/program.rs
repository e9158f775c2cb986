//! A `main` as the process of a machine: a program that was not written for the simulation, on guest threads.

use std::ffi::{CString, c_void};
use std::fmt;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::ptr::null;
use std::sync::Arc;

use steelmill_core::{Error, Result};

use super::cluster;
use super::lives::LifeEnd;
use super::machine::{Machine, ProcessEnd};
use super::panic_log;
use super::runtimes;
use super::signals;
use super::sim::Sim;
use super::threads;
use super::world::Process;
use crate::schema::outcome::Cause;

/// The exit code of a process whose main thread panicked, as Rust's runtime has it.
pub(super) const PANICKED: i32 = 101;

/// What a machine's process executes: its `main`, which gives the exit code.
pub(crate) type Main = Arc<dyn Fn() -> i32 + Send + Sync>;

/// What a `main` may return.
#[diagnostic::on_unimplemented(
    message = "a program cannot end with `{Self}`",
    label = "this program's value is no exit status",
    note = "end it with `()`, an exit code (`i32`, `std::process::ExitCode`), or a `Result` of those"
)]
pub trait ExitStatus {
    /// The exit code of the process.
    fn code(self) -> i32;
}

impl ExitStatus for () {
    fn code(self) -> i32 {
        0
    }
}

/// `!`, which a loop that never ends has: stable Rust names it only as the output of a function.
impl ExitStatus for <fn() -> ! as never::Function>::Output {
    fn code(self) -> i32 {
        self
    }
}

mod never {
    pub trait Function {
        type Output;
    }

    impl<T> Function for fn() -> T {
        type Output = T;
    }
}

impl<T: ExitStatus, E: fmt::Debug> ExitStatus for std::result::Result<T, E> {
    fn code(self) -> i32 {
        match self {
            Ok(value) => value.code(),
            Err(error) => {
                let error = format!("{error:?}");
                tracing::error!("main returned an error: {error}");
                if let Some(machine) = current_machine() {
                    machine.main_failed(&error);
                }
                1
            }
        }
    }
}

impl Sim {
    /// Makes a machine that runs a program: any `main`, with threads, blocking sockets and async runtimes of its own. It
    /// is down until it is started; `main` is called at every start anew.
    ///
    /// Whatever the program asks of Linux through the C library is answered by the machine: time, threads, locks, sockets.
    /// Its process ends when `main` returns, and with it all its threads.
    ///
    /// Each process of the machine, from its start to its end, has the program's statics for itself, as they are before
    /// `main`; so have those of other machines. A campaign makes each run with programs in a real process of its own. What a
    /// run changes outside of itself, such as a variable that the scenario captured, is therefore not seen by the test: count
    /// with [`Sim::count`], and return errors. [`simulate`](crate::simulate) makes its run beside others, and there all share
    /// statics: a second program that calls `std::process::exit` then fails the run, with a message.
    ///
    /// The command line is the machine's name and [`args`](Machine::args), the environment what [`env`](Machine::env) sets.
    ///
    /// # Panics
    /// When there is a machine of that name.
    ///
    /// ```
    /// use std::io::{Read, Write};
    /// use std::net::{TcpListener, TcpStream};
    ///
    /// steelmill_sim::check(steelmill_sim::Seed(1), |sim| async move {
    ///     let server = sim.program("server", || {
    ///         let (mut stream, _) = TcpListener::bind("0.0.0.0:80")?.accept()?;
    ///         stream.write_all(b"hello")
    ///     });
    ///     let client = sim.program("client", || {
    ///         let mut text = String::new();
    ///         TcpStream::connect("server:80")?.read_to_string(&mut text)?;
    ///         assert_eq!(text, "hello");
    ///         std::io::Result::Ok(())
    ///     });
    ///     let _server = server.start().await?;
    ///     sim.clock().sleep(std::time::Duration::from_millis(10)).await;
    ///     let ended = client.start().await?.ended().await;
    ///     assert!(ended.is_success(), "{ended}");
    ///     Ok(())
    /// });
    /// ```
    pub fn program<R: ExitStatus>(
        &self,
        name: &str,
        main: impl Fn() -> R + Send + Sync + 'static,
    ) -> Machine {
        Machine::new_program(self.run, name, Arc::new(move || main().code()))
    }

    /// Makes a machine that runs a future inside a tokio runtime of its own, as `#[tokio::main(flavor =
    /// "current_thread")]` does. For a runtime with several threads see [`program`](Sim::program).
    ///
    /// A [stop](Machine::stop) of the machine drops the future, unless it handles SIGTERM, as by `tokio::signal`.
    ///
    /// # Panics
    /// When there is a machine of that name.
    ///
    /// ```
    /// use tokio::io::AsyncWriteExt as _;
    /// use tokio::net::{TcpListener, TcpStream};
    ///
    /// steelmill_sim::check(steelmill_sim::Seed(1), |sim| async move {
    ///     let _server = sim.tokio_program("server", || async {
    ///         let listener = TcpListener::bind("0.0.0.0:80").await?;
    ///         loop {
    ///             let (mut stream, _) = listener.accept().await?;
    ///             tokio::spawn(async move { stream.write_all(b"hello").await });
    ///         }
    ///         #[expect(unreachable_code, reason = "it gives the type")]
    ///         std::io::Result::Ok(())
    ///     });
    ///     # drop(_server);
    ///     Ok(())
    /// });
    /// ```
    pub fn tokio_program<F>(&self, name: &str, main: impl Fn() -> F + Send + Sync + 'static) -> Machine
    where
        F: Future<Output: ExitStatus>,
    {
        self.program(name, move || {
            let mut builder = tokio::runtime::Builder::new_current_thread();
            runtimes::tell_of_tasks(&mut builder);
            let Ok(runtime) = builder.enable_all().build() else { return 1 };
            let process = threads::process().expect("a program executes on a guest thread");
            let stop = cluster::with(process.run, |run| run.drop_future_at_sigterm(process.machine));
            let code = runtime.block_on(async {
                tokio::select! {
                    biased;
                    status = main() => Some(status.code()),
                    () = stop.notified() => None,
                }
            });
            drop(runtime);
            code.unwrap_or_else(|| signals::end_by(process, libc::SIGTERM))
        })
    }
}

impl ExitStatus for ExitCode {
    fn code(self) -> i32 {
        // It says which it is only to one who asks for each.
        (0..=u8::MAX).find(|code| ExitCode::from(*code) == self).map_or(1, i32::from)
    }
}

impl ExitStatus for i32 {
    fn code(self) -> i32 {
        self
    }
}

/// What the main thread of a process is given.
struct Start {
    main: Main,
    machine: Machine,
}

fn c_string(text: &str) -> CString {
    CString::new(text)
        .unwrap_or_else(|_| panic!("{text:?} contains a zero, which ends a string of the system"))
}

/// Starts a machine's process: its main thread is ready.
pub(super) fn start(machine: &Machine, place: Process, main: Main) -> Result {
    let setup = machine.with(|run| run.guest_setup.clone());
    let setup = setup.map_err(Error::msg)?;
    let mut startup = machine.startup().clone();
    let is_customized = !startup.arguments.is_empty() || !startup.environment.is_empty();
    startup.arguments.insert(0, c_string(machine.name()));
    if !machine.with(|run| run.begin_statics(place, &startup)) && is_customized {
        return Err(Error::msg(format!(
            "the machine {:?} did not start: a program has arguments and an environment of its own only in a run with a \
             process of its own, as `check` and `Campaign` make it, from a program whose symbols were not stripped",
            machine.name()
        )));
    }
    let start = Box::into_raw(Box::new(Start { main, machine: machine.clone() }));
    threads::spawn(place, threads::MAIN, null(), execute, start.cast(), setup)?;
    Ok(())
}

#[expect(unsafe_code, reason = "a thread is given a pointer")]
extern "C" fn execute(start: *mut c_void) -> *mut c_void {
    // SAFETY: `start` made it from a box, for this thread.
    let Start { main, machine } = *unsafe { Box::from_raw(start.cast::<Start>()) };
    let code = catch_unwind(AssertUnwindSafe(|| main())).unwrap_or_else(|payload| {
        panic_log::drop_payload(payload);
        PANICKED
    });
    drop(main);
    exit(machine, code)
}

/// Writes what C's streams (stdio(3)) have in their buffers.
#[expect(unsafe_code, reason = "streams are known by their addresses")]
fn flush_streams(process: Process) {
    for stream in cluster::with(process.run, |run| run.streams_of(process)) {
        // SAFETY: it has not been closed, or it would not be among them; and it is the C library's own pointer.
        unsafe { libc::fflush(std::ptr::with_exposed_provenance_mut(stream)) };
    }
}

/// Ends the process of this guest thread as exit(3) does: all its threads, this one too.
pub(crate) fn exit(machine: Machine, code: i32) -> ! {
    threads::call_exit_functions(code);
    if let Some(process) = threads::process() {
        flush_streams(process);
    }
    exit_now(machine, code)
}

/// The same as _exit(2) does: nothing of the program is called any more.
pub(crate) fn exit_now(machine: Machine, code: i32) -> ! {
    machine.end(ProcessEnd::Exit, LifeEnd::ExitCode(code));
    drop(machine);
    threads::never_again()
}

impl Machine {
    /// Appends to the program's command line, which begins with the machine's name. For [`std::env::args`], and so for crates
    /// that parse it. It holds from the next start on.
    ///
    /// # Panics
    /// When the machine runs no [program](Sim::program), or an argument contains a zero.
    ///
    /// ```
    /// steelmill_sim::check(steelmill_sim::Seed(1), |sim| async move {
    ///     let main = || assert_eq!(std::env::args().skip(1).collect::<Vec<_>>(), ["--port", "80"]);
    ///     let server = sim.program("server", main).args(["--port", "80"]);
    ///     assert!(server.start().await?.ended().await.is_success());
    ///     Ok(())
    /// });
    /// ```
    #[must_use]
    pub fn args<S: AsRef<str>>(self, args: impl IntoIterator<Item = S>) -> Self {
        self.startup().arguments.extend(args.into_iter().map(|arg| c_string(arg.as_ref())));
        self
    }

    /// Sets an environment variable of the program. It sees no others: none of the real process. It holds from the next start
    /// on.
    ///
    /// # Panics
    /// When the machine runs no [program](Sim::program); when the key is empty or contains `=`, or either contains a zero.
    #[must_use]
    pub fn env(self, key: &str, value: &str) -> Self {
        assert!(
            !key.is_empty() && !key.contains('='),
            "{key:?} cannot be the name of an environment variable"
        );
        let prefix = format!("{key}=");
        let mut startup = self.startup();
        startup.environment.retain(|variable| !variable.as_bytes().starts_with(prefix.as_bytes()));
        startup.environment.push(c_string(&format!("{prefix}{value}")));
        drop(startup);
        self
    }

    /// Fails the run in the name of the machine's program.
    pub(crate) fn fail_run(&self, text: &'static str) {
        let error = Error::msg(format!("{}: {text}", self.name()));
        self.with(|run| run.kernel.fail(Cause::Error(error)));
    }
}

/// The machine of this guest thread.
pub(crate) fn current_machine() -> Option<Machine> {
    let process = threads::process()?;
    cluster::with_current(|run| run.machines.iter().find(|machine| machine.id() == process.machine).cloned())
        .flatten()
}
